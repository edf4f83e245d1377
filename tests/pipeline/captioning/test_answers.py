"""Kept answers: one that is not what was written is asked for again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from captioners import scripted
from pipeline.cache import Cache
from pipeline.captioning.answers import RUNS, Answers
from pipeline.captioning.protocol import Question

QUESTION = Question(panels=(), texts=("",), markers=("[A]",), instruction="Describe it.")


@pytest.mark.parametrize(
    "other",
    [
        {"text": 5},
        {"text": None},
        {"text": ["a"]},
        {"finished": "yes"},
        {"finished": None},
        {"tokens": "5"},
        {"tokens": None},
        {"seconds": float("nan")},
        {"cost": float("inf")},
        {"failures": "timeout"},
        {"failures": [1, 2, 3]},
        {"read": [1]},
    ],
    ids=str,
)
def test_an_answer_that_is_not_what_was_written_is_asked_for_again(other: dict[str, Any], tmp_path: Path) -> None:
    cache, captioner = Cache(tmp_path), scripted.make({"answers": ["a good answer"]})
    first = Answers(captioner, cache, "p")
    (told,) = first.to([QUESTION])
    (file,) = (tmp_path / "replies").rglob("*.json")
    kept = cache.get_reply(file.stem) or {}
    cache.put_reply(file.stem, kept | other)
    again = Answers(captioner, cache, "p")
    assert again.spent()["answers"] == 0
    assert [*again.to([QUESTION])] == [told] and (again.asked, again.known) == (1, 0)
    assert cache.get_reply(file.stem) == kept and again.spent() == first.spent()


def test_a_kept_answer_with_half_a_letter_in_it_is_read_without(tmp_path: Path) -> None:
    cache, captioner = Cache(tmp_path), scripted.make({"answers": ["a good answer"]})
    list(Answers(captioner, cache, "p").to([QUESTION]))
    (file,) = (tmp_path / "replies").rglob("*.json")
    file.write_text(file.read_text().replace("a good answer", "a good \\ud800answer"))
    (told,) = Answers(captioner, cache, "p").to([QUESTION])
    assert told.answer.text == "a good ?answer"


def test_failures_that_can_t_be_read_do_not_give_a_question_up(tmp_path: Path) -> None:
    cache, captioner = Cache(tmp_path), scripted.make({"answers": ["a good answer"]})
    list(Answers(captioner, cache, "p").to([QUESTION]))
    (file,) = (tmp_path / "replies").rglob("*.json")
    cache.put_reply(file.stem, {"failures": {"a": 1} | dict.fromkeys(map(str, range(RUNS)), 1)})
    (told,) = Answers(captioner, cache, "p").to([QUESTION])
    assert told.answer.text == "a good answer"
