"""Grid + Task + Captioner -> Caption: ask, read, check, ask again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from captioners.base import Answer, Captioner, Question, Turn
from pipeline import grammar, instructions, names, pixels, replies
from pipeline.cache import Cache, key_of
from pipeline.engine import Stage
from pipeline.errors import BadReply
from pipeline.records import Caption, Grid
from pipeline.task import Task

KEPT = 8_000
"""Letters that are kept of an answer that can't be read, and that go back with its faults; a longer one went astray."""


def stage(task: Task, grids: Sequence[Grid], captioner: Captioner, folder: Path, cache: Cache) -> Stage[Grid]:
    """The caption stage.

    Args:
        grids: all grids of the run; a grid's place among them decides the names that its people get.
    """
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
    return Stage("caption", "captions", asking.caption, config, batch=captioner.batch, facts=asking.facts)


@dataclass
class _Open:
    """A grid that has no good caption yet."""

    grid: Grid
    question: Question
    best: Caption | None = None
    attempts: int = 0

    def take(self, answer: Answer, caption: Caption) -> None:
        """Keeps the caption where it is the best so far, and sends the answer's faults back with the question."""
        self.attempts += 1
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
    instruction: str = field(init=False)
    identity: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.instruction = instructions.write(self.task)
        self.identity = self.captioner.identity()

    def facts(self) -> dict[str, Any]:
        return {
            "captioner": self.identity,
            "instruction": instructions.id_of(self.instruction),
            "asked": self.asked,
            "answers from the cache": self.known,
            "tokens written": self.tokens,
        }

    def caption(self, grids: Sequence[Grid]) -> Iterator[Caption]:
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
                case.take(answer, self._read(answer))
            waiting = [case for case in waiting if case.best and case.best.problems]
            if not waiting:
                break
        for case in cases:
            if case.best:
                yield self._signed(self._named(case.best, case.grid), case.grid, case.attempts)

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
        """Answers from the cache, the rest from the captioner; each is kept before anything is made of it."""
        keys = [self._key(question) for question in questions]
        found = [_answer(self.cache.get_reply(key)) for key in keys]
        missing = [number for number, answer in enumerate(found) if answer is None]
        for place, answer in self.captioner.ask([questions[number] for number in missing]) if missing else ():
            number = missing[place]
            text = answer.text.encode(errors="replace").decode()  # half a surrogate pair is no text
            reply = {"text": text, "tokens": answer.tokens, "finished": answer.finished}
            about = {"seconds": round(answer.seconds, 3), "instruction": instructions.id_of(self.instruction)}
            self.cache.put_reply(keys[number], reply | about | self.identity)
            found[number] = _answer(reply)
            self.tokens += answer.tokens
        self.asked, self.known = self.asked + len(missing), self.known + len(found) - len(missing)
        return [answer for answer in found if answer is not None]

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
        except BadReply as error:
            caption = grammar.parse(answer.text[:KEPT], self.task)
            caption = replace(caption, problems=(str(error), *caption.problems))
        if not answer.finished:
            cut = "the answer is longer than captioner.max_new_tokens allows and was cut off"
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
        return Answer(reply["text"], reply["tokens"], finished=reply["finished"]) if reply else None
    except KeyError:
        return None


def _faults(caption: Caption) -> tuple[int, int]:
    """Orders captions, the best first: a panel without a text weighs more than any other fault."""
    return sum(not text for text in caption.panels), len(caption.problems)
