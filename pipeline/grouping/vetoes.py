"""What speaks against a group: near-copies, and strangers among its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.likeness import SUMMARIES, features
from pipeline.grouping.explain import name_of, reject
from pipeline.grouping.pictures import Pictures
from pipeline.records import Record, Rejected
from pipeline.task import GroupSection, Task

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


@dataclass(frozen=True)
class Vetoes:
    """What a strategy asks before it forms a group."""

    task: Task
    pictures: Pictures
    found: FittedRule | None = None
    """What the groups formed by structure alone say about strangers; None while there are too few of them."""

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

    def learn(self, groups: Sequence[Sequence[Record]], sources: Sequence[object]) -> Vetoes:
        """These vetoes with what groups formed by structure alone say about strangers; too few groups say nothing.

        Args:
            sources: the source of each group.
        """
        if len(groups) < belonging.FEWEST or self.task.grid_layout.size == 1:
            return self
        prior = evidence.ADJACENT_SHOT * evidence.nearness(groups)
        rows = self.pictures.rows_of(groups)
        return replace(self, found=belonging.fit_run(self.pictures.measures, rows, sources, PRICE, prior))


def drop_copies(
    records: Sequence[Record], pictures: Pictures, part: GroupSection
) -> tuple[list[Record], list[Rejected]]:
    """Keeps the largest of the images that show the same thing (another size or compression, a static shot)."""
    if not records:
        return [], []
    import faiss

    rows = np.array([pictures.rows[record.id] for record in records])
    index = faiss.IndexBinaryFlat(64)
    index.add(pictures.hashes[rows])
    limits, _, found = index.range_search(pictures.hashes[rows], part.near + 1)  # the radius itself is left out
    copy_of: dict[int, int] = {}
    for i in sorted(range(len(records)), key=lambda i: -records[i].width * records[i].height):
        if i in copy_of:
            continue
        for j in found[limits[i] : limits[i + 1]].tolist():
            alike = float(pictures.colours[rows[i]] @ pictures.colours[rows[j]])
            if j != i and j not in copy_of and alike >= part.ceiling:
                copy_of[j] = i
    fresh = [record for i, record in enumerate(records) if i not in copy_of]
    rejected = [
        reject(records[j], "near copy", f"shows the same as {name_of(records[i])} (hash within {part.near} bits)")
        for j, i in copy_of.items()
    ]
    return fresh, rejected
