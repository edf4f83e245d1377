"""Grid + Task + Captioner -> Caption: ask, read, check, ask again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from captioners.base import Answer, Captioner, Question, Turn
from pipeline import grammar, instructions, names, pixels, replies
from pipeline.cache import Cache, key_of
from pipeline.engine import Stage
from pipeline.errors import Abstained, BadReply
from pipeline.records import Caption, Grid, Rejected
from pipeline.task import Task

KEPT = 8_000
"""Letters that are kept of an answer that can't be read, and that go back with its faults; a longer one went astray."""
RUNS = 3
"""Runs in which a question may go without an answer; then it is given up."""
UNANSWERED = "no answer yet"
"""How the problem of a grid begins whose question the next run asks again."""


def stage(
    task: Task, grids: Sequence[Grid], captioner: Captioner, folder: Path, cache: Cache, earlier: Sequence[Caption] = ()
) -> Stage[Grid]:
    """The caption stage. It is not done while a question is unanswered that has not been given up.

    Args:
        grids: all grids of the run; a grid's place among them decides the names that its people get.
        earlier: captions that an earlier run made.
    """
    unanswered = any(problem.startswith(UNANSWERED) for caption in earlier for problem in caption.problems)
    asking = Asking(task, captioner, folder, cache, {grid.id: place for place, grid in enumerate(grids)})
    config = {
        "task": task.name,
        "prefix": task.prefix,
        "opening": task.opening,
        "markers": task.markers,
        "stand_ins": task.stand_ins,
        "caption": task.caption.model_dump(),
        "seed": task.seed,
        "captioner": asking.identity,
        "instruction": asking.instruction,
    }
    return Stage(
        "caption",
        "captions",
        asking.caption,
        config,
        batch=captioner.batch,
        intact=lambda: not unanswered,
        facts=asking.facts,
    )


@dataclass
class _Open:
    """A grid that has no good caption yet."""

    grid: Grid
    question: Question
    best: Caption | None = None
    attempts: int = 0
    failure: str = ""
    """Why there is no answer to the last question."""
    unrelated: str = ""
    """Why the captioner finds that the panels don't belong together."""

    @property
    def waits(self) -> bool:
        """Whether there is a question to ask; one that got no answer is for another run."""
        return not self.failure and not self.unrelated and (self.best is None or bool(self.best.problems))

    def take(self, answer: Answer, caption: Caption) -> None:
        """Keeps the caption where it is the best so far, and sends the answer's faults back with the question."""
        if self.best is None or _faults(caption) < _faults(self.best):
            self.best = caption
        turn = Turn(answer.text[:KEPT], caption.problems)
        self.question = replace(self.question, earlier=(*self.question.earlier, turn))


@dataclass
class Asking:
    """Asks one captioner for the captions of one task and counts what that takes."""

    task: Task
    captioner: Captioner
    folder: Path
    cache: Cache
    places: dict[str, int]
    asked: int = 0
    known: int = 0
    tokens: int = 0
    read: int = 0
    cost: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    instruction: str = field(init=False)
    identity: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.instruction = instructions.write(self.task)
        self.identity = self.captioner.identity()

    def facts(self) -> dict[str, Any]:
        """What the report tells, of the grids that this run has dealt with."""
        told: dict[str, Any] = {
            "captioner": self.identity,
            "instruction": instructions.id_of(self.instruction),
            "asked": self.asked,
            "answers from the cache": self.known,
            "attempts": {str(attempts): grids for attempts, grids in sorted(self.attempts.items())},
            "failures": dict(self.failures),
            "given up": self.given_up,
            "tokens written": self.tokens,
            "tokens read": self.read,
        }
        return told | {"cost": round(self.cost, 6)} if self.cost else told

    def caption(self, grids: Sequence[Grid]) -> Iterator[Caption | Rejected]:
        """One caption a grid. Grids whose last answer still has faults keep the best one, with its problems named."""
        if self.captioner.verbatim:
            questions = [self._question(grid) for grid in grids]
            for place, answer in self.captioner.ask(questions):
                yield self._signed(self._told(answer, grids[place]), grids[place], attempts=1)
            return
        cases = [_Open(grid, self._question(grid)) for grid in grids]
        waiting = cases
        for _ in range(self.task.caption.attempts):
            for case, answer in zip(waiting, self._answers([case.question for case in waiting]), strict=True):
                self._take(case, answer)
            waiting = [case for case in waiting if case.waits]
            if not waiting:
                break
        yield from map(self._settled, cases)

    def _take(self, case: _Open, answer: Answer) -> None:
        """Takes the answer to the case's question, or that there is none."""
        case.failure = answer.failure
        if answer.failure:
            return
        case.attempts += 1
        try:
            case.take(answer, self._read(answer))
        except Abstained as abstained:
            case.unrelated = str(abstained)

    def _settled(self, case: _Open) -> Caption | Rejected:
        """What becomes of a grid after its last question; one without any answer keeps its row."""
        self.attempts[case.attempts] += 1
        if case.unrelated:
            return Rejected(case.grid.id, case.grid.path, "abstained", case.unrelated)
        caption = (
            self._named(case.best, case.grid) if case.best else Caption("", "", "", ("",) * len(self.task.markers))
        )
        if case.failure:
            caption = replace(caption, problems=(case.failure, *caption.problems))
        return self._signed(caption, case.grid, case.attempts)

    def _question(self, grid: Grid) -> Question:
        """What is asked about a grid. Texts that are taken over word for word need no look at the picture."""
        picture = None if self.captioner.verbatim else pixels.open_image(self.folder / grid.path)
        return Question(
            panels=tuple(pixels.cut(picture, grid.layout)) if picture else (),
            texts=tuple(record.text for record in grid.group.records),
            markers=self.task.markers,
            instruction=self.instruction,
            grid=picture,
        )

    def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers from the cache, the rest from the captioner; each is kept before anything is made of it.

        The failure of a question without an answer is a sentence that says whether it will be asked again.
        """
        keys = [self._key(question) for question in questions]
        found = [self._known(key) for key in keys]
        missing = [number for number, answer in enumerate(found) if answer is None]
        self.asked, self.known = self.asked + len(missing), self.known + len(found) - len(missing)
        for place, answer in self.captioner.ask([questions[number] for number in missing]) if missing else ():
            number = missing[place]
            found[number] = self._failed(keys[number], answer) if answer.failure else self._kept(keys[number], answer)
            self.tokens += answer.tokens
            self.read += answer.read
            self.cost += answer.cost
        return [answer for answer in found if answer is not None]

    def _kept(self, key: str, answer: Answer) -> Answer:
        """Keeps an answer with all that may be asked about it later."""
        text = answer.text.encode(errors="replace").decode()  # half a surrogate pair is no text
        reply = {"text": text, "tokens": answer.tokens, "read": answer.read, "finished": answer.finished}
        about = {"seconds": round(answer.seconds, 3), "instruction": instructions.id_of(self.instruction)}
        self.cache.put_reply(key, self.identity | about | reply)
        return replace(answer, text=text)

    def _failed(self, key: str, answer: Answer) -> Answer:
        """Keeps that a question went without an answer, in the place where its answer will be."""
        failures = [*_failures(self.cache.get_reply(key)), answer.failure]
        self.cache.put_reply(key, {"failures": failures})
        return self._unanswered(failures)

    def _known(self, key: str) -> Answer | None:
        """What is known of a question: its answer, or that it was given up; None where it is to be asked."""
        reply = self.cache.get_reply(key)
        failures = _failures(reply)
        return self._unanswered(failures) if len(failures) >= RUNS else _answer(reply)

    def _unanswered(self, failures: Sequence[str]) -> Answer:
        last = failures[-1]
        self.failures[last.partition(":")[0]] += 1
        if len(failures) < RUNS:
            return Answer(failure=f"{UNANSWERED} ({last}); the next run asks again")
        self.given_up += 1
        way = "write the caption in captions.csv, or have all asked for anew with another captioner.seed"
        return Answer(failure=f"no answer in {len(failures)} runs, given up ({last}); {way}")

    def _key(self, question: Question) -> str:
        return key_of(
            captioner=self.identity,
            pixels=[(panel.size, hashlib.sha256(panel.tobytes()).hexdigest()) for panel in question.panels],
            texts=question.texts,
            markers=question.markers,
            instruction=question.instruction,
            earlier=[(turn.answer, turn.faults) for turn in question.earlier],
        )

    def _read(self, answer: Answer) -> Caption:
        """The caption in a model's answer, whatever it is; its problems are worded for the model as for a person."""
        try:
            caption = replies.read(answer.text, self.task)
            # One person under one spelling, in brackets everywhere: nobody needs to be asked again for that.
            spelt: dict[str, str] = {}
            one = {name: spelt.setdefault(name.casefold(), name) for name in caption.names}
            text = grammar.rename(grammar.bracket_names(caption.text, caption.names), one)
            caption = grammar.parse(text, self.task)
        except Abstained:
            raise
        except BadReply as error:
            caption = grammar.parse(answer.text[:KEPT], self.task)
            caption = replace(caption, problems=(str(error), *caption.problems))
        if not answer.finished:
            cut = "the answer is longer than captioner.max_new_tokens allows and was cut off"
            if not answer.text:
                cut = "captioner.max_new_tokens were spent on thinking before any answer was written"
            caption = replace(caption, problems=(cut, *caption.problems))
        return caption

    def _told(self, answer: Answer, grid: Grid) -> Caption:
        """The caption in texts that people wrote, word for word: what is wrong with them is for a person to mend."""
        texts = [record.text for record in grid.group.records]
        try:
            caption = replies.read(answer.text, self.task)
        except BadReply:
            caption = grammar.parse(" ".join(dict.fromkeys(texts)), self.task)
        bare = [str(panel) for panel, text in enumerate(texts, start=1) if not text]
        none = [f"no text came with panel {', '.join(bare)}"] if bare else []
        return replace(caption, problems=(*none, *caption.problems))

    def _named(self, caption: Caption, grid: Grid) -> Caption:
        """Whatever a model calls people, they get names of ours: one culture's favourites would else be everywhere."""
        drawn = names.draw(len(caption.names), self.places[grid.id], self.task.seed)
        given = dict(zip(caption.names, drawn, strict=True))
        problems = tuple(grammar.rename(problem, given) for problem in caption.problems)
        return replace(grammar.parse(grammar.rename(caption.text, given), self.task), problems=problems)

    def _signed(self, caption: Caption, grid: Grid, attempts: int) -> Caption:
        prompt = "" if self.captioner.verbatim else instructions.id_of(self.instruction)
        kind = str(self.identity["captioner"])
        return replace(caption, grid=grid.id, captioner=kind, prompt=prompt, attempts=attempts)


def _answer(reply: dict[str, Any] | None) -> Answer | None:
    """The answer in a kept reply; None where there is none or its file holds something else."""
    try:
        return Answer(reply["text"], reply["tokens"], reply.get("read", 0), reply["finished"]) if reply else None
    except KeyError:
        return None


def _failures(reply: dict[str, Any] | None) -> list[str]:
    failures = reply.get("failures") if reply else None
    return failures if isinstance(failures, list) else []


def _faults(caption: Caption) -> tuple[int, int]:
    """Orders captions, the best first: a panel without a text weighs more than any other fault."""
    return sum(not text for text in caption.panels), len(caption.problems)
