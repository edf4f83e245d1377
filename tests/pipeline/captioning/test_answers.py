"""Kept answers: one that is not what was written is asked for again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from captioners import scripted
from pipeline.cache import Cache
from pipeline.captioning.answers import RUNS, Answers
from pipeline.captioning.protocol import Answer, Question, Turn

QUESTION = Question(panels=(), texts=("",), markers=("[A]",), instruction="Describe it.")


@dataclass
class Case:
    name: str
    question: Question
    key: str


def told(answers: Answers) -> tuple[Answer, bool]:
    """The answer to the question, and whether the captioner was asked."""
    case = Case("", QUESTION, answers.key(QUESTION))
    (only,) = answers.settle([case], lambda _, answer, asked: (answer, asked))
    return only


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
    before = told(first)
    (file,) = (tmp_path / "replies").rglob("*.json")
    kept = cache.get_reply(file.stem) or {}
    cache.put_reply(file.stem, kept | other)
    again = Answers(captioner, cache, "p")
    assert again.spent()["answers"] == 0
    assert told(again) == before and (again.asked, again.known) == (1, 0)
    assert cache.get_reply(file.stem) == kept and again.spent() == first.spent()


def test_a_kept_answer_with_half_a_letter_in_it_is_read_without(tmp_path: Path) -> None:
    cache, captioner = Cache(tmp_path), scripted.make({"answers": ["a good answer"]})
    told(Answers(captioner, cache, "p"))
    (file,) = (tmp_path / "replies").rglob("*.json")
    file.write_text(file.read_text().replace("a good answer", "a good \\ud800answer"))
    answer, _ = told(Answers(captioner, cache, "p"))
    assert answer.text == "a good ?answer"


def test_no_control_character_of_an_answer_is_kept(tmp_path: Path) -> None:
    captioner = scripted.make({"answers": ["a good\x1b[31m\n\x00answer"]})
    answer, _ = told(Answers(captioner, Cache(tmp_path), "p"))
    assert answer.text == "a good\ufffd[31m\n\ufffdanswer"


def test_failures_that_can_t_be_read_do_not_give_a_question_up(tmp_path: Path) -> None:
    cache, captioner = Cache(tmp_path), scripted.make({"answers": ["a good answer"]})
    told(Answers(captioner, cache, "p"))
    (file,) = (tmp_path / "replies").rglob("*.json")
    cache.put_reply(file.stem, {"failures": {"a": 1} | dict.fromkeys(map(str, range(RUNS)), 1)})
    answer, _ = told(Answers(captioner, cache, "p"))
    assert answer.text == "a good answer"


# ---- many cases


class Line:
    """A captioner that has two questions under way and answers the older one; what was begun and answered, in order."""

    batch, verbatim, streams = 64, False, True

    def __init__(self) -> None:
        self.events: list[str] = []

    def identity(self) -> dict[str, Any]:
        return {"captioner": "line"}

    def ask(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
        running: list[tuple[int, Question]] = []
        for place, question in enumerate(questions):
            self.events.append(f"ask {question.texts[0]}{len(question.earlier) or ''}")
            running.append((place, question))
            if len(running) == 2:
                yield running[0][0], Answer(running.pop(0)[1].texts[0])
        yield from ((place, Answer(question.texts[0])) for place, question in running)


def settled(answers: Answers, names: str, again: str = "") -> Iterator[str]:
    """What comes of cases with these names, of which some have a second question."""

    def cases() -> Iterator[Case]:
        for name in names:
            question = replace(QUESTION, texts=(name,))
            yield Case(name, question, answers.key(question))

    def take(case: Case, answer: Answer, asked: bool) -> str | None:
        if case.name in again and not case.question.earlier:
            case.question = replace(case.question, earlier=(Turn(answer.text, ("a fault",)),))
            case.key = answers.key(case.question)
            return None
        return case.name if asked else case.name.upper()

    return answers.settle(cases(), take)


def test_second_questions_go_before_further_cases_and_those_of_the_last_answers_come_last(tmp_path: Path) -> None:
    line = Line()
    assert list(settled(Answers(line, Cache(tmp_path), "p"), "abcde", again="ae")) == ["b", "a", "c", "d", "e"]
    assert line.events == ["ask a", "ask b", "ask a1", "ask c", "ask d", "ask e", "ask e1"]


def test_known_answers_come_without_asking_and_among_those_that_are_asked_for(tmp_path: Path) -> None:
    line = Line()
    list(settled(Answers(line, Cache(tmp_path), "p"), "abde", again="b"))
    line.events.clear()
    assert list(settled(Answers(line, Cache(tmp_path), "p"), "abcdef", again="b")) == ["A", "B", "D", "E", "c", "f"]
    assert line.events == ["ask c", "ask f"]


def test_many_known_answers_are_given_before_all_cases_are_taken(tmp_path: Path) -> None:
    names = "".join(map(chr, range(0x4E00, 0x4E00 + 500)))
    list(settled(Answers(Line(), Cache(tmp_path), "p"), names))
    answers = Answers(Line(), Cache(tmp_path), "p")
    assert next(settled(answers, names)) == names[0] and answers.known <= 64


def test_a_captioner_that_takes_batches_gets_full_ones(tmp_path: Path) -> None:
    captioner = scripted.make({"answers": ["seen"]})
    captioner.batch = 3
    sizes = []
    ask = captioner.ask
    captioner.ask = lambda questions: (sizes.append(len(questions)), ask(questions))[1]  # type: ignore[method-assign]
    assert sorted(settled(Answers(captioner, Cache(tmp_path), "p"), "abcdefg", again="a")) == list("abcdefg")
    assert sizes == [3, 3, 2]
