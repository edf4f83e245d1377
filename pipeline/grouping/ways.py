"""Possible groups of much the same images, as the windows of a film give them, and how alike the images of each are."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from pipeline.consistency.likeness import ByVector, features
from pipeline.grouping.pictures import Pictures, pairs_of
from pipeline.records import Record


class Ways:
    """Possible groups of one size. Each image is read once, and all groups are measured together."""

    def __init__(self, pictures: Pictures, groups: Sequence[Sequence[Record]]) -> None:
        rows = pictures.rows_of(groups)
        self._pictures, (self._images, places) = pictures, np.unique(rows, return_inverse=True)
        self._places = places.reshape(rows.shape)

    @property
    def size(self) -> int:
        """Images of a group."""
        return int(self._places.shape[1])

    def least_in_colour(self) -> np.ndarray:
        """Least similarity in colour over all pairs of each group, 0..1; a single image is like itself."""
        colours = self._pictures.looks.colours[self._images]
        return self._of_pairs(colours @ colours.T).min(axis=1, initial=1.0)

    def most_alike(self) -> np.ndarray:
        """The similarity of the two most similar images of each group, of at least two."""
        return self._of_pairs(self._similarities).max(axis=1)

    def least_related(self) -> np.ndarray:
        """Of each group of at least two, the image that is least similar to the most similar other one: that value."""
        found = self._similarities[self._places[:, :, None], self._places[:, None]]
        found[:, range(self.size), range(self.size)] = -1.0
        least: np.ndarray = found.max(axis=2).min(axis=1)
        return least

    def features(self, some: np.ndarray) -> np.ndarray:
        """What the rule about strangers reads of some of the groups: `likeness.features`.

        Args:
            some: their places.
        """
        measures = {name: ByVector(one.rows[self._images]) for name, one in self._pictures.measures.items()}
        return features(measures, self._places[some])

    @functools.cached_property
    def _similarities(self) -> np.ndarray:
        rows = np.nan_to_num(self._pictures.compared[self._images], copy=False)
        found: np.ndarray = rows @ rows.T
        return found

    def _of_pairs(self, cosines: np.ndarray) -> np.ndarray:
        """The cosines of all pairs within each group: groups x pairs."""
        one, other = pairs_of(self.size)
        found: np.ndarray = cosines[self._places[:, one], self._places[:, other]]
        return found
