"""Records -> Groups. The source's own structure makes a group; similarity only vetoes copies and strangers.

Perceptual hashes tell nothing about relatedness (AUC 0.49 on real film panels) and real groups hold panels that look
unlike each other, so no group is ever formed because its images look alike.

Groups are formed twice: by structure alone, to find out what is usual in this run and whether its groups are more than
chance; and then with strangers vetoed, whose companions form other groups where they can. So nothing is paid for the
captions of strangers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.cache import Cache
from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.belonging import Found
from pipeline.consistency.likeness import SUMMARIES, features
from pipeline.consistency.scorers.base import Scorer
from pipeline.consistency.similarity import Encoder
from pipeline.engines.base import Stage
from pipeline.records import Group, Record, Rejected, content_id
from pipeline.task import Task

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

FIRST = ("before", "left", "top", "source", "input", "original", "a")
"""Last words of a pair's names that mean the first panel; any other word comes after them."""


FLOOR = 0.2
"""Where the groups are too few to tell what strangers are: lenient."""
PRICE = 10.0
"""What a right group that is vetoed counts against one with a stranger that is: more than in the filter, which knows
more."""


def stage(task: Task, scorer: Scorer | None, folder: Path, cache: Cache) -> Stage[Record]:
    """The group stage.

    Args:
        scorer: whose vectors tell strangers; without one the colours do.
    """
    facts: dict[str, Any] = {}

    def group(records: Sequence[Record]) -> Iterator[Group | Rejected]:
        pictures = Encoder(scorer, cache, folder).sources(records, task.layout) if scorer and records else None
        grouping = Grouping(task, records, pictures)
        yield from grouping.run()
        facts.update({"belonging": verdict.facts(grouping.found)} if grouping.found else {})

    config = {
        "task": task.name,
        "size": task.grid_layout.size,
        "group": task.group.model_dump(exclude={"prove"}),
        "grids": task.grids,
        "scorer": [scorer.identity(), task.layout.model_dump()] if scorer else "none",  # it sees pictures as panels
    }
    return Stage("group", "groups", group, config, facts=lambda _: facts)


class Grouping:
    """One pass over all records of a run; holds their pixels' summaries as arrays."""

    def __init__(self, task: Task, records: Sequence[Record], pictures: np.ndarray | None = None) -> None:
        """
        Args:
            pictures: the scorer's vectors, a row a record.
        """
        self.task, self.size, self.records = task, task.grid_layout.size, records
        self.place = {record.id: number for number, record in enumerate(records)}
        vectors = evidence.histograms(records)
        self.vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
        self.hashes = np.array([list(bytes.fromhex(record.phash)) for record in records], np.uint8)
        self.measures = evidence.seen(task, records, pictures)
        self.found: Found | None = None
        """What the groups by structure alone say of strangers; None where they are too few."""

    def run(self) -> Iterator[Group | Rejected]:
        sets = [record for record in self.records if record.position.set]
        single = [record for record in self.records if not record.position.set]
        whole, rejected = self._sets(sets)
        form, copies = self._pairs, list[Rejected]()
        if self.task.group.by != "pairs":
            form = self._neighbours
            single, copies = self._without_copies(single)
        formed, more = form(single)
        if len(formed) >= belonging.FEWEST and self.size > 1:
            self.found = self._find(formed)
            formed, more = form(single)
        chosen, left = self._choose(formed, self.task.grids[1] - len(whole))
        yield from [*whole, *chosen]
        yield from [*rejected, *more, *copies, *left]

    def _find(self, groups: Sequence[Group]) -> Found:
        places = np.array([[self.place[record.id] for record in group.records] for group in groups])
        sources = [_sequence(group.records[0]) for group in groups]
        prior = evidence.NEAR * evidence.nearness([group.records for group in groups])
        return belonging.find(self.measures, places, sources, PRICE, prior)

    def _allowed(self, groups: Sequence[Sequence[Record]]) -> tuple[np.ndarray, np.ndarray]:
        """Which groups hold no stranger, and each panel's features."""
        places = np.array([[self.place[record.id] for record in group] for group in groups])
        read = features(self.measures, places)
        if self.found is None:
            return np.ones(len(groups), bool), read
        scores = self.found.rule.scores(read) + evidence.NEAR * evidence.nearness(groups)
        return scores.min(axis=1) >= self.found.threshold, read

    @property
    def _floor(self) -> float:
        """How alike in colour the panels of a group are at least."""
        if self.task.group.floor is not None:
            return self.task.group.floor
        return FLOOR if self.found is None else 0.0

    def _alone(self, read: np.ndarray) -> str:
        """How alike a panel is to the one of its group that is most like it."""
        assert self.found is not None
        return verdict.likenesses(list(self.measures), read[:: len(SUMMARIES)], self.found.usual)

    # ---- how groups form

    def _sets(self, records: Sequence[Record]) -> tuple[list[Group], list[Rejected]]:
        """What came as one set stays one, whatever it looks like."""
        groups, rejected = [], []
        for (_, name), members in _by(records, lambda r: (r.position.folder, r.position.set)).items():
            if len(members) == self.size:
                members.sort(key=lambda record: record.position.page)
                groups.append(self._group(members, f"came as one set, {name}"))
            else:
                why = f"its set {name} has {len(members)} usable pictures, {self.task.name} takes {self.size}"
                rejected += [_reject(record, "incomplete set", why) for record in members]
        return groups, rejected

    def _pairs(self, records: Sequence[Record]) -> tuple[list[Group], list[Rejected]]:
        """Images of one folder whose names agree up to the last word or number."""
        groups, rejected = [], []
        for (folder, common), members in _by(records, lambda r: (r.position.folder, _name_and_role(r)[0])).items():
            name = common or folder  # `before.png` and `after.png` may have a folder of their own
            if len(members) != self.size:
                why = f"{len(members)} pictures are named {name}, {self.task.name} takes {self.size}"
                rejected += [_reject(record, "incomplete pair", why) for record in members]
            elif (alike := self._likeness(members)[0]) < self._floor:
                why = f"the pictures named {name} are alike by {alike:.2f}, under the floor {self._floor:g}"
                rejected += [_reject(record, "strangers", why) for record in members]
            elif not (allowed := self._allowed([members]))[0][0]:
                why = f"the pictures named {name} do not belong together ({self._alone(allowed[1][0, 0])})"
                rejected += [_reject(record, "strangers", why) for record in members]
            else:
                members.sort(key=lambda record: _name_and_role(record)[1])
                groups.append(self._group(members, f"named alike, {name}"))
        return groups, rejected

    def _neighbours(self, records: Sequence[Record]) -> tuple[list[Group], list[Rejected]]:
        """Walks every film and folder from its start; each image is used once at most."""
        groups, rejected = [], []
        for sequence in _by(records, _sequence).values():
            left, window = list(sequence), self.task.group.window
            while left:
                members, why = self._from_first(left[:window])
                if members:
                    groups.append(self._group(members, _where(members)))
                    left[:window] = [record for record in left[:window] if record not in members]
                else:
                    rejected.append(_reject(left.pop(0), *why))
        return groups, rejected

    def _from_first(self, window: Sequence[Record]) -> tuple[list[Record], tuple[str, str]]:
        """The first record with the nearest followers that no veto forbids, or the class and sentence of why not."""
        part, first = self.task.group, window[0]
        near = [r for r in window[1:] if r.position.time - first.position.time <= part.span]
        if len(near) < self.size - 1:
            return [], ("no neighbours", f"has {len(near)} neighbours left, {self.task.name} needs {self.size - 1}")
        ways = [[first, *followers] for followers in itertools.combinations(near, self.size - 1)]
        ways = [members for members in ways if self._likeness(members)[0] >= self._floor]
        if not ways:
            return [], ("strangers", f"is less alike than the floor {self._floor:g} to all that stand near it")
        allowed, read = self._allowed(ways)
        if not allowed.any():
            nearest = read[np.argmax(np.nan_to_num(read[:, 0]).sum(axis=-1)), 0]
            return [], ("strangers", f"belongs with none of those that stand near it ({self._alone(nearest)})")
        return ways[int(np.argmax(allowed))], ("", "")

    def _without_copies(self, records: Sequence[Record]) -> tuple[list[Record], list[Rejected]]:
        """Drops all but the largest of pictures that show the same (another size or compression, a still shot)."""
        part = self.task.group
        if not records:
            return [], []
        import faiss

        places = np.array([self.place[record.id] for record in records])
        index = faiss.IndexBinaryFlat(64)
        index.add(self.hashes[places])
        limits, _, found = index.range_search(self.hashes[places], part.near + 1)  # the radius itself is left out
        copy_of: dict[int, int] = {}
        for i in sorted(range(len(records)), key=lambda i: -records[i].width * records[i].height):
            if i in copy_of:
                continue
            for j in found[limits[i] : limits[i + 1]].tolist():
                alike = float(self.vectors[places[i]] @ self.vectors[places[j]])
                if j != i and j not in copy_of and alike >= part.ceiling:
                    copy_of[j] = i
        fresh = [record for i, record in enumerate(records) if i not in copy_of]
        rejected = [
            _reject(records[j], "near copy", f"shows the same as {_what(records[i])} (hash within {part.near} bits)")
            for j, i in copy_of.items()
        ]
        return fresh, rejected

    # ---- which are taken

    def _choose(self, groups: list[Group], most: int) -> tuple[list[Group], list[Rejected]]:
        """At most so many, every film or folder in turn, each time the group least like those already taken."""
        if len(groups) <= most:
            return groups, []
        waiting = _by(groups, lambda group: _sequence(group.records[0]))
        means = {group.id: self._mean(group) for group in groups}
        nearest = {group.id: -1.0 for group in groups}
        taken: set[str] = set()
        for key in itertools.cycle(list(waiting)):
            if len(taken) >= most:
                break
            if not waiting[key]:
                continue
            best = min(waiting[key], key=lambda group: nearest[group.id])
            waiting[key].remove(best)
            taken.add(best.id)
            for group in groups:
                nearest[group.id] = max(nearest[group.id], float(means[group.id] @ means[best.id]))
        why = f"its group was not needed: {self.task.name} takes at most {self.task.grids[1]} grids"
        left = [_reject(r, "not needed", why) for group in groups if group.id not in taken for r in group.records]
        return [group for group in groups if group.id in taken], left

    # ---- likeness

    def _likeness(self, members: Sequence[Record]) -> tuple[float, float]:
        """Least and mean similarity over all pairs, 0..1; a single record is like itself."""
        vectors = self.vectors[[self.place[record.id] for record in members]]
        pairs = (vectors @ vectors.T)[np.triu_indices(len(members), 1)]
        return (float(pairs.min()), float(pairs.mean())) if len(pairs) else (1.0, 1.0)

    def _mean(self, group: Group) -> np.ndarray:
        mean = self.vectors[[self.place[record.id] for record in group.records]].mean(axis=0)
        unit: np.ndarray = mean / np.linalg.norm(mean)
        return unit

    def _group(self, members: Sequence[Record], formed: str) -> Group:
        ids = [record.id for record in members]
        cohesion = round(self._likeness(members)[1], 4)
        return Group(content_id("s", self.task.name, *ids), self.task.name, tuple(members), formed, cohesion)


def _by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by their key, both in order of appearance."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _sequence(record: Record) -> tuple[str, str]:
    """The film or folder that an image stands in; collect keeps shots and files in order."""
    return record.position.folder, record.position.film


def _name_and_role(record: Record) -> tuple[str, tuple[int, str]]:
    """`7_before` is `7` in the role of the first panel; roles sort by FIRST, then as words."""
    name, _, role = re.sub(r"[ _.\-]+", "-", record.position.stem.casefold()).rpartition("-")
    return name, (FIRST.index(role) if role in FIRST else len(FIRST), role.rjust(8))


def _where(members: Sequence[Record]) -> str:
    first, last = members[0].position, members[-1].position
    if first.film:
        shots = ", ".join(str(record.position.shot) for record in members)
        return f"shots {shots} of {first.film}, {first.time:.1f} to {last.time:.1f} s"
    return f"neighbours in {first.folder}: {', '.join(record.position.stem for record in members)}"


def _what(record: Record) -> str:
    return f"{record.position.film} shot {record.position.shot}" if record.position.film else record.source


def _reject(record: Record, reason: str, why: str) -> Rejected:
    return Rejected(record.id, _what(record), reason, f"{_what(record)}: {why}.")
