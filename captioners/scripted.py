"""Gives fixed answers in order, for tests and for trying out a task without a model; records its questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from pipeline import plugins
from pipeline.captioning import protocol


class Options(plugins.Options):
    answers: tuple[str, ...] = Field(min_length=1)
    """Answers to new questions in turn, starting over after the last; a repeated question gets the same answer."""


class Scripted:
    batch = 8
    verbatim = False

    def __init__(self, options: Options) -> None:
        self.options = options
        self.asked: list[protocol.Question] = []
        self._given: dict[str, str] = {}

    def __reduce__(self) -> tuple[type[Scripted], tuple[Options]]:
        """Another process gets the answers and records its own questions."""
        return type(self), (self.options,)

    def identity(self) -> dict[str, Any]:
        answers = hashlib.sha256(json.dumps(self.options.answers).encode()).hexdigest()[:16]
        return {"captioner": "scripted", "answers": answers}

    def ask(self, questions: Sequence[protocol.Question]) -> Iterator[tuple[int, protocol.Answer]]:
        self.asked.extend(questions)
        answers = self.options.answers
        for place, question in enumerate(questions):
            yield (
                place,
                protocol.Answer(self._given.setdefault(_key(question), answers[len(self._given) % len(answers)])),
            )


def _key(question: protocol.Question) -> str:
    pixels = [hashlib.sha256(panel.tobytes()).hexdigest() for panel in question.panels]
    return repr((pixels, question.texts, question.markers, question.instruction, question.earlier))


def make(options: dict[str, Any]) -> Scripted:
    return Scripted(plugins.parse_options(Options, "the captioner scripted", options))
