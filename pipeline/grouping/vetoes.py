"""What speaks against a group: strangers among its images, and two shots that show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.likeness import SUMMARIES
from pipeline.grouping import relatedness
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.ways import Ways
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
        measured, film = Ways(self.pictures, ways), bool(ways[0][0].position.film)
        alike = measured.least_in_colour()
        near = np.flatnonzero(alike >= self.floor)
        if not len(near):
            return Veto(float(alike.max()), self.floor)
        for seen in (self._different, self._related):
            fits, why = seen(measured, near, film=film)
            if not len(fits):
                return Veto(float(alike.max()), self.floor, why)
            near = fits
        if self.found is None:
            return tuple(ways[near[0]])
        read = measured.features(near)
        prior = evidence.ADJACENT_SHOT * evidence.nearness([ways[place] for place in near])
        allowed = (self.found.rule.scores(read) + prior).min(axis=1) >= self.found.threshold
        if allowed.any():
            return tuple(ways[near[int(np.argmax(allowed))]])
        nearest = read[np.argmax(np.nan_to_num(read[:, 0]).sum(axis=-1)), 0]
        likenesses = verdict.likenesses(list(self.pictures.measures), nearest[:: len(SUMMARIES)], self.found.usual)
        return Veto(float(alike.max()), self.floor, likenesses)

    def _different(self, measured: Ways, near: np.ndarray, *, film: bool) -> tuple[np.ndarray, str]:
        """The ways in which no two shots of a film show the same, and, if there are none, why.

        Args:
            near: places of the ways that are asked about.
            film: whether their images are of one.
        """
        if self.copies is None or not film or measured.size == 1:
            return near, ""
        most = measured.most_alike()[near]
        why = f"two of them show the same, {self.pictures.by} {most.min():.2f}, ceiling {self.copies:g}"
        return near[most < self.copies], why

    def _related(self, measured: Ways, near: np.ndarray, *, film: bool) -> tuple[np.ndarray, str]:
        """The ways in which every image is as like another one as a person or shots far apart have set it, and, if
        there are none, why. Arguments are those of `_different`."""
        least = self.related if film else None
        if self.task.group.related is not None:
            least = self.task.group.related
        if least is None or measured.size == 1:
            return near, ""
        best = measured.least_related()[near]
        why = f"{self.pictures.by} {best.max():.2f}, at least {least:.2f} is needed"
        return near[best >= least], why

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
