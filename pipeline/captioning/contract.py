"""Asks a captioner and holds it to its contract: whatever one of another package gives, no question is lost unseen."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from typing import Any

from pipeline.captioning.jpegs import Form
from pipeline.captioning.protocol import Answer, Captioner, Question
from pipeline.errors import BadInput

EVERY = "it must yield a pair of place and Answer for every question"
VALUES = {"text": str, "failure": str, "tokens": int, "read": int, "finished": bool, "seconds": float, "cost": float}
KINDS = {str: "a str", int: "an int", bool: "a bool", float: "a finite number"}
MOST_SHOWN = 100
"""Characters of a value that a sentence shows."""


def identity_of(captioner: Captioner) -> dict[str, Any]:
    """What a captioner says of itself, before it is asked anything.

    Raises:
        BadInput: the captioner breaks its contract, or can't say it.
        MissingWeights: its model can't be had on this machine.
    """
    identity = captioner.identity()
    if not isinstance(identity, dict) or not isinstance(identity.get("captioner"), str):
        raise _broken(captioner, f"identity returned {_shown(identity)}; it must have the name under 'captioner'")
    try:
        json.dumps(identity)
    except (TypeError, ValueError) as error:
        raise _broken(captioner, f"identity must hold plain values ({error})") from error
    if not _is_whole(captioner.batch) or captioner.batch < 1:
        raise _broken(captioner, f"batch must be a number of questions, got {_shown(captioner.batch)}")
    form_of(captioner)
    return identity


def form_of(captioner: Captioner) -> Form | None:
    """In which form it sends panels, if it says so.

    Raises:
        BadInput: the captioner breaks its contract.
    """
    form = getattr(captioner, "sends", None)
    if form is not None and not isinstance(form, Form):
        raise _broken(captioner, f"sends must be a jpegs.Form or None, got {_shown(form)}")
    return form


def ask(captioner: Captioner, questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
    """One answer per question, as they come, each with its question's place.

    Raises:
        BadInput: the captioner breaks its contract, or something stops all questions.
    """
    left = iter(questions)
    if getattr(captioner, "streams", False):
        yield from _answers(captioner, left)
        return
    start = 0
    while batch := list(itertools.islice(left, captioner.batch)):
        for place, answer in _answers(captioner, batch):
            yield start + place, answer
        start += len(batch)


def _answers(captioner: Captioner, questions: Sequence[Question] | Iterator[Question]) -> Iterator[tuple[int, Answer]]:
    waiting: set[int] = set()

    def begun() -> Iterator[Question]:
        for place, question in enumerate(questions):
            waiting.add(place)
            yield question

    given: Any = begun() if isinstance(questions, Iterator) else list(begun())
    came = captioner.ask(given)
    if not isinstance(came, Iterable):
        raise _broken(captioner, f"ask returned {_shown(came)}; {EVERY}")
    with closing(came) if isinstance(came, Generator) else nullcontext():
        for pair in came:
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], Answer):  # noqa: PLR2004
                raise _broken(captioner, f"ask yielded {_shown(pair)}; {EVERY}")
            place, answer = pair
            if not _is_whole(place) or place not in waiting:
                raise _broken(captioner, f"ask answered question {_shown(place)}, which does not wait for an answer")
            if fault := _fault(answer):
                raise _broken(captioner, fault)
            waiting.remove(place)
            yield place, answer
    if waiting or (isinstance(given, Iterator) and next(given, None) is not None):
        raise _broken(captioner, f"ask ended before every question had an answer; {EVERY}")


def _fault(answer: Answer) -> str:
    """What is wrong with the values of an answer; empty if nothing is."""
    for name, kind in VALUES.items():
        value = getattr(answer, name)
        if not _is_a(kind, value):
            return f"an Answer's {name} must be {KINDS[kind]}, got {_shown(value)}"
    return ""


def _is_a(kind: type, value: object) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return _is_whole(value) if kind is int else isinstance(value, kind)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """A value for a sentence; what another package made may have no end, or no words for itself."""
    try:
        return repr(value)[:MOST_SHOWN]
    except Exception:  # whatever a stranger's __repr__ raises
        return f"a {type(value).__name__}"


def _broken(captioner: Captioner, what: str) -> BadInput:
    return BadInput(f"{captioner}: {what} (docs/extending.md).")
