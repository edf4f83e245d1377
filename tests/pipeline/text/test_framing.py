"""Shot sizes as captions tell them."""

from __future__ import annotations

import pytest

from pipeline.text import framing


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a close-up of <Mara> at the window", "close-up"),
        ("Closeup on two hands", "close-up"),
        ("an extreme close up of an eye, then a wide shot of the sea", "close-up"),
        ("<Bo> in a medium shot, leaning on a car", "medium shot"),
        ("a medium close-up of <Bo>", "close-up"),
        ("framed from the waist up", "medium shot"),
        ("an establishing shot of the harbour", "wide shot"),
        ("a full-body portrait", "wide shot"),
        ("a wide-angle shot of the street", "wide shot"),
        ("a boat in the distance", "wide shot"),
        ("<Mara> closes up the shop with a long coat on", ""),
        ("", ""),
    ],
)
def test_the_shot_size_that_a_text_tells_first_is_found(text: str, size: str):
    assert framing.size_of(text) == size
