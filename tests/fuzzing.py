"""How long the fuzz tests look for input that breaks something.

`FUZZ_EXAMPLES=10000 pytest --timeout 3600 -m fuzz` takes hours, and finds other examples each time; by default each
test takes a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st

Test = TypeVar("Test", bound=Callable[..., None])
WANTED = os.environ.get("FUZZ_EXAMPLES")
SETTINGS = settings(max_examples=int(WANTED), derandomize=False) if WANTED else settings()


def fuzzed(test: Test) -> Test:
    """Marks a property test as one that looks for input which breaks something."""
    marked: Test = pytest.mark.fuzz(SETTINGS(test))
    return marked


ANY_TEXT = st.text(st.characters(), max_size=60)
"""Every character there is, halves of letters and control characters included."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of which a few stretches are cut out, doubled, overwritten or moved."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 80)))
        put = draw(
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from([b"", b'"', b"\n", b"\x00", b"[", b"{", b",", b"=", b"<", content[start:end] * 2]),
                ANY_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")),
            )
        )
        content = content[:start] + put + content[end:]
    return content
