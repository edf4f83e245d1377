"""Grid + Task + Captioner -> Caption: ask, read, check, ask again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from captioners.base import Answer, Captioner, Question, Turn, instruction, instruction_id, read
from pipeline import grammar, names, pixels
from pipeline.cache import Cache, key_of
from pipeline.engine import Stage
from pipeline.errors import BadReply
from pipeline.records import Caption, Grid
from pipeline.task import Task


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
        "caption": task.caption.model_dump(),
        "seed": task.seed,
        "captioner": captioner.identity(),
    }
    return Stage("caption", "captions", asking.caption, config, batch=captioner.batch, facts=asking.facts)


@dataclass
class _Open:
    """A grid that has no good caption yet."""

    grid: Grid
    question: Question
    best: Caption | None = None


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

    def __post_init__(self) -> None:
        self.instruction = instruction(self.task)

    def facts(self) -> dict[str, Any]:
        return {
            "captioner": self.captioner.identity(),
            "instruction": instruction_id(self.instruction),
            "asked": self.asked,
            "answers from the cache": self.known,
            "tokens written": self.tokens,
        }

    def caption(self, grids: Sequence[Grid]) -> Iterator[Caption]:
        """One caption a grid. Grids whose last answer still has faults keep the best one, with its problems named."""
        waiting = [_Open(grid, self._question(grid)) for grid in grids]
        settled: dict[str, Caption] = {}
        rounds = 1 if self.captioner.verbatim else self.task.caption.attempts
        for attempt in range(1, rounds + 1):
            answers = self._answers([case.question for case in waiting])
            for case, answer in zip(waiting, answers, strict=True):
                caption = replace(self._read(answer, case.grid), attempts=attempt)
                if case.best is None or len(caption.problems) < len(case.best.problems):
                    case.best = caption
                case.question = replace(
                    case.question, earlier=(*case.question.earlier, Turn(answer.text, caption.problems))
                )
                settled[case.grid.id] = case.best
            waiting = [case for case in waiting if case.best and case.best.problems]
            if not waiting:
                break
        yield from (settled[grid.id] for grid in grids)

    def _question(self, grid: Grid) -> Question:
        picture = pixels.open_image(self.folder / grid.path)
        return Question(
            panels=tuple(pixels.cut(picture, grid.layout)),
            texts=tuple(record.text for record in grid.group.records),
            markers=self.task.markers,
            instruction=self.instruction,
        )

    def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers from the cache, the rest from the captioner; each is kept before anything is made of it."""
        keys = [self._key(question) for question in questions]
        found = [self.cache.get_reply(key) for key in keys]
        missing = [number for number, reply in enumerate(found) if reply is None]
        started = time.perf_counter()
        fresh = self.captioner.ask([questions[number] for number in missing]) if missing else []
        seconds = round((time.perf_counter() - started) / max(len(fresh), 1), 3)
        for number, answer in zip(missing, fresh, strict=True):
            reply = {"text": answer.text, "tokens": answer.tokens, "finished": answer.finished}
            about = {"seconds": seconds, "instruction": instruction_id(self.instruction)}
            self.cache.put_reply(keys[number], reply | about | self.captioner.identity())
            found[number] = reply
        self.asked, self.known = self.asked + len(missing), self.known + len(found) - len(missing)
        self.tokens += sum(answer.tokens for answer in fresh)
        return [Answer(reply["text"], reply["tokens"], reply["finished"]) for reply in found if reply is not None]

    def _key(self, question: Question) -> str:
        return key_of(
            captioner=self.captioner.identity(),
            pixels=[(panel.size, hashlib.sha256(panel.tobytes()).hexdigest()) for panel in question.panels],
            texts=question.texts,
            markers=question.markers,
            instruction=question.instruction,
            earlier=[(turn.answer, turn.faults) for turn in question.earlier],
        )

    def _read(self, answer: Answer, grid: Grid) -> Caption:
        try:
            caption = self._make(answer.text, grid)
        except BadReply as error:
            caption = grammar.parse(answer.text, self.task)
            caption = replace(caption, problems=(str(error), *caption.problems))
        if not answer.finished:
            cut = "the answer was cut off by the token limit; raise captioner.max_new_tokens"
            caption = replace(caption, problems=(cut, *caption.problems))
        if self.captioner.verbatim and (bare := _bare(grid)):
            caption = replace(caption, problems=(bare, *caption.problems))
        prompt = "" if self.captioner.verbatim else instruction_id(self.instruction)
        kind = str(self.captioner.identity()["captioner"])
        return replace(caption, grid=grid.id, captioner=kind, prompt=prompt)

    def _make(self, text: str, grid: Grid) -> Caption:
        caption = read(text, self.task)
        if self.captioner.verbatim or not caption.names:
            return caption
        # Whatever a model calls people, they get names of ours: one culture's favourites would else be on every page.
        drawn = names.draw(len(caption.names), self.places[grid.id], self.task.seed)
        return grammar.parse(grammar.rename(caption.text, dict(zip(caption.names, drawn, strict=True))), self.task)


def _bare(grid: Grid) -> str:
    """Which panels no text came with."""
    bare = [str(panel) for panel, record in enumerate(grid.group.records, start=1) if not record.text]
    return f"no text came with panel {', '.join(bare)}" if bare else ""
