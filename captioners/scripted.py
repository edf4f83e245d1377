"""Fixed answers in a fixed order, for tests and for trying a task without a model. Remembers what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captioners import base


class Options(base.Options):
    answers: tuple[str, ...]
    """Given in turn, from the first again after the last."""


class Scripted:
    batch = 8
    verbatim = False

    def __init__(self, options: Options) -> None:
        self.options = options
        self.asked: list[base.Question] = []

    def identity(self) -> dict[str, Any]:
        return {"captioner": "scripted", "answers": self.options.answers}

    def ask(self, questions: Sequence[base.Question]) -> list[base.Answer]:
        answers = self.options.answers
        first = len(self.asked)
        self.asked.extend(questions)
        return [base.Answer(answers[(first + number) % len(answers)]) for number in range(len(questions))]


def make(options: dict[str, Any]) -> Scripted:
    return Scripted(base.parse_options(Options, "the captioner scripted", options))
