"""A captioner's answers: each question is asked once, and whatever comes back is kept before it is interpreted."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from pipeline.cache import Cache, key_of
from pipeline.captioning import contract, thoughts
from pipeline.captioning.jpegs import look
from pipeline.captioning.protocol import GIVEN_UP, Answer, Captioner, Question, Turn
from pipeline.text.markers import readable

RUNS = 3
"""A question that gets no answer in this many runs is given up."""
KNOWN = 64
"""Most results from known answers that wait while the captioner is at work on other questions."""
KEPT = 8_000
"""Characters of an answer with faults that are kept, and sent back with them; longer ones went astray."""
TAKEN = ("tokens", "read", "seconds", "cost")
"""What a question costs, summed over all its runs."""


class Case(Protocol):
    """Something that is asked about, perhaps several times."""

    question: Question
    key: str
    """Under which the answer to the question is kept."""


C = TypeVar("C", bound=Case)
R = TypeVar("R")


class Answers:
    """One captioner's answers, from the cache if it has answered before."""

    def __init__(self, captioner: Captioner, cache: Cache, prompt: str) -> None:
        """
        Args:
            prompt: id of the instruction in the questions; kept with the answers.

        Raises:
            BadInput: the captioner breaks its contract.
            MissingWeights: the captioner's model can't be had on this machine.
        """
        self._captioner, self._cache = captioner, cache
        self.identity = contract.identity_of(captioner)
        self._about = {"by": self.identity, "instruction": prompt}
        self.asked, self.known = 0, 0
        """Questions that went to the captioner, and questions whose answers were in the cache."""

    def settle(self, cases: Iterable[C], take: Callable[[C, Answer, bool], R | None]) -> Iterator[R]:
        """Asks about cases until each is settled; gives results as they come.

        The next case is taken when the captioner can begin with it. None waits for another one, except that questions
        which arise from the last answers of all are asked when these have come. A question that failed is asked again
        by the next run, and given up after RUNS.

        Args:
            take: given a case, the answer to its question and whether the captioner was asked, gives the case's result,
                or None if the case has another question now.
        """
        left, again = iter(cases), deque[C]()
        settled = deque[R]()

        def taken(case: C, answer: Answer, asked: bool) -> None:
            result = take(case, answer, asked)
            if result is None:
                again.append(case)
            else:
                settled.append(result)

        def unknown() -> Iterator[C]:
            while len(settled) < KNOWN and (case := again.popleft() if again else next(left, None)) is not None:
                if answer := self.find(case.key):
                    taken(case, answer, False)
                else:
                    yield case

        while True:
            missing = unknown()
            first = next(missing, None)
            if first is None and not settled:
                return
            yield from _drained(settled)
            if first is not None:
                with closing(self._ask(itertools.chain([first], missing))) as answers:
                    for case, answer in answers:
                        taken(case, answer, asked=True)
                        yield from _drained(settled)

    def key(self, question: Question) -> str:
        """Under which the answer to a question is kept."""
        return key_of(
            captioner=self.identity,
            pixels=question.jpegs.looks if question.jpegs else [look(panel) for panel in question.panels],
            texts=question.texts,
            markers=question.markers,
            instruction=question.instruction,
            earlier=[(turn.answer, turn.faults) for turn in question.earlier],
        )

    def find(self, key: str) -> Answer | None:
        """What is known about a question: its answer, or that it was given up; None if it has to be asked."""
        reply = self._known(key)
        failures = _failures(reply)
        found = _unanswered(failures) if len(failures) >= RUNS else None
        if "text" in reply:
            found = Answer(readable(reply["text"]), finished=reply["finished"])
        self.known += found is not None
        return found

    def _ask(self, cases: Iterable[C]) -> Generator[tuple[C, Answer]]:
        """Asks the captioner about cases whose answers are not known; gives answers as they come."""
        asked: dict[int, C] = {}

        def questions() -> Iterator[Question]:
            for place, case in enumerate(cases):
                asked[place] = case
                yield case.question

        for place, answer in contract.ask(self._captioner, questions()):
            case = asked.pop(place)
            self.asked += 1
            yield case, self._keep(case.key, answer)

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
            kept["failures"].append(readable(answer.failure))
            self._cache.put_reply(key, kept)
            return _unanswered(kept["failures"])
        text = readable(answer.text)
        self._cache.put_reply(key, kept | {"text": text, "finished": answer.finished})
        return replace(answer, text=text)

    def _known(self, key: str) -> dict[str, Any]:
        """What is kept about a question; nothing if there is no file, or one that we have not written."""
        reply = self._cache.get_reply(key) or {}
        return reply if _is_ours(reply) else {}


def sent_back(question: Question, answer: Answer, faults: Sequence[str]) -> Question:
    """The question with an answer that has faults, and without the thoughts in it."""
    turn = Turn(thoughts.cut(answer.text)[:KEPT], tuple(faults))
    return replace(question, earlier=(*question.earlier, turn))


def _drained(held: deque[R]) -> Iterator[R]:
    while held:
        yield held.popleft()


def _unanswered(failures: Sequence[str]) -> Answer:
    if len(failures) < RUNS:
        return Answer(failure=failures[-1])
    way = "write the caption in captions.csv, or ask for all captions anew with another captioner.seed"
    return Answer(failure=f"{GIVEN_UP}: no answer in {len(failures)} runs, most recently {failures[-1]}; {way}")


def _failures(reply: dict[str, Any]) -> list[str]:
    return list(reply.get("failures", []))


def _is_ours(reply: dict[str, Any]) -> bool:
    """Whether all that is read of a kept reply is of the kind that was written."""
    costs, failures = [reply.get(name, 0) for name in TAKEN], reply.get("failures", [])
    return (
        all(isinstance(cost, int | float) and math.isfinite(cost) for cost in costs)
        and isinstance(failures, list)
        and all(isinstance(failure, str) for failure in failures)
        and ("text" not in reply or (isinstance(reply["text"], str) and isinstance(reply.get("finished"), bool)))
    )
