"""Possible groups of much the same images, as the windows of a film give them, and how alike the images of each are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency import evidence
from pipeline.consistency.likeness import ByVector, features_of
from pipeline.grouping.pictures import Pictures, pairs_of
from pipeline.records import Record
from pipeline.rows import Rows


@dataclass(frozen=True)
class Question:
    """Which of several possible groups, all of one size, may be formed."""

    images: Sequence[Record]
    ways: np.ndarray
    """Places of images: groups x panels."""

    @classmethod
    def of(cls, groups: Sequence[Sequence[Record]]) -> Question:
        places: dict[str, int] = {}
        ways = np.array([[places.setdefault(one.id, len(places)) for one in group] for group in groups])
        images = {one.id: one for group in groups for one in group}
        return cls(list(images.values()), ways)

    def group(self, way: int) -> tuple[Record, ...]:
        """The images of one of the groups, in panel order."""
        return tuple(self.images[place] for place in self.ways[way].tolist())


class Ways:
    """The possible groups of several questions, all of one size, one after the other.

    Each image is read once and each pair compared once, whichever groups it is in.
    """

    def __init__(self, pictures: Pictures, questions: Sequence[Question]) -> None:
        self._pictures = pictures
        self._images = [image for question in questions for image in question.images]
        before = itertools.accumulate((len(question.images) for question in questions), initial=0)
        self._places = np.concatenate(
            [question.ways + first for question, first in zip(questions, before, strict=False)]
        )
        self._rows = pictures.rows_of([self._images])[0]
        one, other = (self._places[:, side] for side in pairs_of(self.size))
        codes = np.minimum(one, other) * len(self._images) + np.maximum(one, other)
        pairs, at = np.unique(codes, return_inverse=True)
        self._pairs, self._at = divmod(pairs, len(self._images)), at.reshape(codes.shape)
        self._compared: dict[int, np.ndarray] = {}

    @property
    def size(self) -> int:
        """Images of a group."""
        return int(self._places.shape[1])

    def least_in_colour(self) -> np.ndarray:
        """Least similarity in colour over all pairs of each group, 0..1; a single image is like itself."""
        least: np.ndarray = self._cosines(self._pictures.looks.colours).min(axis=1, initial=1.0)
        return least

    def most_alike(self) -> np.ndarray:
        """The similarity of the two most similar images of each group, of at least two."""
        most: np.ndarray = np.nan_to_num(self._cosines(self._pictures.compared)).max(axis=1)
        return most

    def least_related(self) -> np.ndarray:
        """How similar the least related image of each group of at least two is to the one that is most like it."""
        cosines = np.nan_to_num(self._cosines(self._pictures.compared))
        one, other = pairs_of(self.size)
        best = [cosines[:, (one == panel) | (other == panel)].max(axis=1) for panel in range(self.size)]
        least: np.ndarray = np.min(best, axis=0)
        return least

    def features(self, some: np.ndarray) -> np.ndarray:
        """What the rule about strangers reads of some of the groups: `likeness.features`.

        Args:
            some: their places.
        """
        cosines = {name: self._cosines(one.rows)[some] for name, one in self._pictures.measures.items()}
        return features_of(cosines, self.size)

    def nearness(self, some: np.ndarray) -> np.ndarray:
        """`evidence.nearness` of some of the groups; `some` are their places."""
        return evidence.nearness(self._images, self._places[some])

    def _cosines(self, rows: Rows) -> np.ndarray:
        """The cosine similarities of all pairs within each group, NaN for an image without a vector: groups x pairs.

        Args:
            rows: unit vectors of all pictures.
        """
        if id(rows) not in self._compared:
            self._compared[id(rows)] = ByVector(rows[self._rows]).pairs(*self._pairs)
        return self._compared[id(rows)][self._at]
