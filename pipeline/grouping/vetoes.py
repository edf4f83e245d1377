"""What speaks against a group: strangers among its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.likeness import SUMMARIES, features
from pipeline.grouping import relatedness
from pipeline.grouping.pictures import Pictures
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
class Vetoes:
    """What a strategy asks before it forms a group."""

    task: Task
    pictures: Pictures
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
        alike = [self.pictures.likeness(records)[0] for records in ways]
        near = [records for records, value in zip(ways, alike, strict=True) if value >= self.floor]
        if not near:
            return Veto(max(alike), self.floor)
        if (related := self._related(near[0])) is not None:
            best = [self._least_related(records) for records in near]
            if max(best) < related:
                said = f"{self.pictures.by} {max(best):.2f}, at least {related:.2f} is needed"
                return Veto(max(alike), self.floor, said)
            near = [records for records, value in zip(near, best, strict=True) if value >= related]
        if self.found is None:
            return tuple(near[0])
        read = features(self.pictures.measures, self.pictures.rows_of(near))
        scores = self.found.rule.scores(read) + evidence.ADJACENT_SHOT * evidence.nearness(near)
        allowed = scores.min(axis=1) >= self.found.threshold
        if allowed.any():
            return tuple(near[int(np.argmax(allowed))])
        nearest = read[np.argmax(np.nan_to_num(read[:, 0]).sum(axis=-1)), 0]
        likenesses = verdict.likenesses(list(self.pictures.measures), nearest[:: len(SUMMARIES)], self.found.usual)
        return Veto(max(alike), self.floor, likenesses)

    def _related(self, records: Sequence[Record]) -> float | None:
        """Least similarity of an image to the most similar other one, as a person or shots far apart have set it."""
        related = self.related if records[0].position.film else None
        if self.task.group.related is not None:
            related = self.task.group.related
        return related if len(records) > 1 else None

    def _least_related(self, records: Sequence[Record]) -> float:
        """The similarity of the image that is least like any other of the group to the one that is most like it."""
        rows = self.pictures.compared_rows(records)
        alike = rows @ rows.T
        np.fill_diagonal(alike, -1.0)
        return float(alike.max(axis=1).min())

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
        prior = evidence.ADJACENT_SHOT * evidence.nearness(groups)
        rows = self.pictures.rows_of(groups)
        found = belonging.fit_run(self.pictures.measures, rows, sources, PRICE, prior)
        return replace(self, found=found, related=related)
