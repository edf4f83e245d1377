"""What speaks against a group: strangers among its images, and two shots that show the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.likeness import SUMMARIES
from pipeline.grouping import relatedness
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.ways import Question, Ways
from pipeline.records import Record
from pipeline.task import Task

FLOOR = 0.2
"""Least similarity in colour while there are too few groups to tell what strangers are: lenient."""
PRICE = 10.0
"""Cost of vetoing a sound group, relative to that of keeping one with a stranger; higher than in the filter, which
knows more."""


@dataclass(frozen=True)
class Veto:
    """Why none of several possible groups may be formed. As text, a predicate whose subject is their images."""

    alike: float
    """Least similarity in colour within the most uniform of the groups, 0..1."""
    floor: float
    likenesses: str = ""
    """How alike a stranger is to the most similar of the others; empty where the floor has vetoed them all."""

    def __str__(self) -> str:
        if self.likenesses:
            return f"do not belong together ({self.likenesses})"
        return f"are alike by {self.alike:.2f}, under the floor {self.floor:g}"

    def of_one(self, others: str) -> str:
        """The veto as a predicate on one image, which others, such as those that "stand near it", would have joined."""
        if self.likenesses:
            return f"belongs with none of those that {others} ({self.likenesses})"
        return f"is less alike than the floor {self.floor:g} to all that {others}"


@dataclass(frozen=True)
class _Measured:
    """What was measured on possible groups, and which of them pass one test after the other: one value per group."""

    alike: np.ndarray
    """Least similarity in colour; `near` where it is high enough."""
    near: np.ndarray
    most: np.ndarray
    """Similarity of the two most similar shots; `different` where it is low enough too."""
    different: np.ndarray
    least: np.ndarray
    """How related the least related image must be, and in `best` how related it is; `related` where that holds too."""
    best: np.ndarray
    related: np.ndarray
    allowed: np.ndarray
    """Where nothing speaks against the group."""
    read: np.ndarray | None
    """What the rule about strangers reads, NaN where something else speaks against the group: groups x panels x
    features. None while there is no rule."""


@dataclass(frozen=True)
class Vetoes:
    """What a strategy asks before it forms a group."""

    task: Task
    pictures: Pictures
    copies: float | None = None
    """Similarity of the scorer's vectors from which on two shots of a film are no different shots; None without one."""
    found: FittedRule | None = None
    """What the groups formed by structure alone say about strangers; None while there are too few of them."""
    related: float | None = None
    """Least similarity of a shot to the most similar other one of its group, as shots far apart say it; None where they
    don't, or before they were looked at."""

    @property
    def floor(self) -> float:
        """Least similarity in colour of the images of a group, 0..1."""
        if self.task.group.floor is not None:
            return self.task.group.floor
        return FLOOR if self.found is None else 0.0

    def first(self, ways: Sequence[Sequence[Record]]) -> tuple[Record, ...] | Veto:
        """The first of several possible groups, all of the task's size, that nothing speaks against."""
        return self.each([Question.of(ways)])[0]

    def each(self, questions: Sequence[Question]) -> list[tuple[Record, ...] | Veto]:
        """As `first`, of several; asking many at once takes a fraction of the time."""
        if not questions:
            return []
        measured = self._measured(questions)
        borders = itertools.accumulate((len(question.ways) for question in questions), initial=0)
        answers: list[tuple[Record, ...] | Veto] = []
        for question, (first, last) in zip(questions, itertools.pairwise(borders), strict=True):
            allowed = measured.allowed[first:last]
            here = slice(first, last)
            answers.append(question.group(int(allowed.argmax())) if allowed.any() else self._veto(measured, here))
        return answers

    def _measured(self, questions: Sequence[Question]) -> _Measured:
        ways = Ways(self.pictures, questions)
        film = np.repeat(
            [bool(question.images[0].position.film) for question in questions],
            [len(question.ways) for question in questions],
        )
        alike = ways.least_in_colour()
        near = alike >= self.floor
        most = np.full(len(near), -1.0)
        if self.copies is not None and ways.size > 1 and film.any():
            most = np.where(film, ways.most_alike(), most)
        different = near if self.copies is None else near & (most < self.copies)
        least = np.where(film, -np.inf if self.related is None else self.related, -np.inf)
        if self.task.group.related is not None:
            least = np.full(len(near), self.task.group.related)
        best = np.full(len(near), np.inf)
        if ways.size > 1 and (least > -np.inf).any():
            best = ways.least_related()
        related = different & (best >= least)
        if self.found is None:
            return _Measured(alike, near, most, different, least, best, related, related, None)
        some = np.flatnonzero(related)
        read = np.full((len(near), ways.size, len(SUMMARIES) * len(self.pictures.measures)), np.nan)
        read[some] = ways.features(some)
        scores = self.found.rule.scores(read[some]) + evidence.ADJACENT_SHOT * ways.nearness(some)
        allowed = related.copy()
        allowed[some] = scores.min(axis=1) >= self.found.threshold
        return _Measured(alike, near, most, different, least, best, related, allowed, read)

    def _veto(self, measured: _Measured, here: slice) -> Veto:
        """Why none of some ways may be formed."""
        alike = float(measured.alike[here].max())
        if not measured.near[here].any():
            return Veto(alike, self.floor)
        if not measured.different[here].any():
            most = measured.most[here][measured.near[here]].min()
            return Veto(
                alike, self.floor, f"two of them show the same, {self.pictures.by} {most:.2f}, ceiling {self.copies:g}"
            )
        if not measured.related[here].any():
            best, least = measured.best[here][measured.different[here]].max(), measured.least[here][0]
            return Veto(alike, self.floor, f"{self.pictures.by} {best:.2f}, at least {least:.2f} is needed")
        assert self.found is not None
        assert measured.read is not None
        read = measured.read[here][measured.related[here]]
        nearest = read[np.argmax(np.nan_to_num(read[:, 0]).sum(axis=-1)), 0]
        likenesses = verdict.likenesses(list(self.pictures.measures), nearest[:: len(SUMMARIES)], self.found.usual)
        return Veto(alike, self.floor, likenesses)

    def learn(self, groups: Sequence[Sequence[Record]], sources: Sequence[object], records: Sequence[Record]) -> Vetoes:
        """These vetoes with what shots far apart say about strangers, and what groups formed by structure alone say,
        unless they are too few.

        Args:
            sources: the source of each group.
            records: those that the groups were formed of.
        """
        if self.task.grid_layout.size == 1:
            return self
        related = relatedness.floor(records, self.task, self.pictures)
        if len(groups) < belonging.FEWEST:
            return replace(self, related=related)
        rows = self.pictures.rows_of(groups)
        panels = [record for group in groups for record in group]
        prior = evidence.ADJACENT_SHOT * evidence.nearness(panels, np.arange(len(panels)).reshape(rows.shape))
        found = belonging.fit_run(self.pictures.measures, rows, sources, PRICE, prior)
        return replace(self, found=found, related=related)
