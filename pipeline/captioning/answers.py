"""A captioner's answers: each question is asked once, and whatever comes back is kept before it is interpreted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.cache import Cache, key_of
from pipeline.captioning.protocol import GIVEN_UP, Answer, Captioner, Question

RUNS = 3
"""A question that gets no answer in this many runs is given up."""
TAKEN = ("tokens", "read", "seconds", "cost")
"""What a question costs, summed over all its runs."""


class Told(NamedTuple):
    """What came back for one question."""

    place: int
    """The question's, among those asked together."""
    answer: Answer
    asked: bool
    """Whether the captioner was asked; else it had been asked before."""


class Answers:
    """One captioner's answers, from the cache if it has answered before."""

    def __init__(self, captioner: Captioner, cache: Cache, prompt: str) -> None:
        """
        Args:
            prompt: id of the instruction in the questions; kept with the answers.

        Raises:
            MissingWeights: the captioner's model can't be had on this machine.
        """
        self._captioner, self._cache = captioner, cache
        self.identity = captioner.identity()
        self._about = {"by": self.identity, "instruction": prompt}
        self.asked, self.known = 0, 0
        """Questions that went to the captioner, and questions whose answers were in the cache."""

    def to(self, questions: Sequence[Question]) -> Iterator[Told]:
        """One answer per question: first those that are known, then the others as they come.

        A failed one is asked again by the next run, and given up after RUNS.
        """
        keys = [self._key(question) for question in questions]
        missing = []
        for place, key in enumerate(keys):
            if (answer := self._find(key)) is None:
                missing.append(place)
            else:
                self.known += 1
                yield Told(place, answer, asked=False)
        if not missing:
            return
        for number, answer in self._captioner.ask([questions[place] for place in missing]):
            self.asked += 1
            yield Told(missing[number], self._keep(keys[missing[number]], answer), asked=True)

    def spent(self) -> dict[str, Any]:
        """What all answers that this captioner ever gave to this instruction in the run's folder have cost.

        Added up from what is kept, not counted on the way, so that neither a kill nor a second run falsifies it.
        """
        kept = [reply for reply in self._cache.replies() if _is_ours(reply) and self._about.items() <= reply.items()]
        took = {name: sum(reply.get(name, 0) for reply in kept) for name in TAKEN}
        spent = {
            "answers": sum("text" in reply for reply in kept),
            "tokens written": took["tokens"],
            "tokens read": took["read"],
            "seconds of answering": round(
                took["seconds"], 1
            ),  # more than the time that passed if several were under way at once
        }
        return spent | {"cost": round(took["cost"], 6)} if took["cost"] else spent

    def _keep(self, key: str, answer: Answer) -> Answer:
        """Keeps an answer with all that may be asked about it later, or the fact that there was none."""
        before = self._known(key)
        took = {name: round(before.get(name, 0) + getattr(answer, name), 6) for name in TAKEN}
        kept = self._about | took | {"failures": _failures(before)}
        if answer.failure:
            kept["failures"].append(answer.failure)
            self._cache.put_reply(key, kept)
            return _unanswered(kept["failures"])
        text = _whole(answer.text)
        self._cache.put_reply(key, kept | {"text": text, "finished": answer.finished})
        return replace(answer, text=text)

    def _find(self, key: str) -> Answer | None:
        """What is known about a question: its answer, or that it was given up; None if it has to be asked."""
        reply = self._known(key)
        failures = _failures(reply)
        if "text" in reply:
            return Answer(_whole(reply["text"]), finished=reply["finished"])
        return _unanswered(failures) if len(failures) >= RUNS else None

    def _known(self, key: str) -> dict[str, Any]:
        """What is kept about a question; nothing if there is no file, or one that we have not written."""
        reply = self._cache.get_reply(key) or {}
        return reply if _is_ours(reply) else {}

    def _key(self, question: Question) -> str:
        return key_of(
            captioner=self.identity,
            pixels=[(panel.size, hashlib.sha256(panel.tobytes()).hexdigest()) for panel in question.panels],
            texts=question.texts,
            markers=question.markers,
            instruction=question.instruction,
            earlier=[(turn.answer, turn.faults) for turn in question.earlier],
        )


def _unanswered(failures: Sequence[str]) -> Answer:
    if len(failures) < RUNS:
        return Answer(failure=failures[-1])
    way = "write the caption in captions.csv, or ask for all captions anew with another captioner.seed"
    return Answer(failure=f"{GIVEN_UP}: no answer in {len(failures)} runs, most recently {failures[-1]}; {way}")


def _failures(reply: dict[str, Any]) -> list[str]:
    return list(reply.get("failures", []))


def _whole(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can contain and no file can."""
    return text.encode(errors="replace").decode()


def _is_ours(reply: dict[str, Any]) -> bool:
    """Whether all that is read of a kept reply is of the kind that was written."""
    costs, failures = [reply.get(name, 0) for name in TAKEN], reply.get("failures", [])
    return (
        all(isinstance(cost, int | float) and math.isfinite(cost) for cost in costs)
        and isinstance(failures, list)
        and all(isinstance(failure, str) for failure in failures)
        and ("text" not in reply or (isinstance(reply["text"], str) and isinstance(reply.get("finished"), bool)))
    )
