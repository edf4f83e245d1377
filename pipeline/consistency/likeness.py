"""How alike any two panels of a run are, by several measures; and how alone a panel stands in its group.

pictures  cosine of the scorer's vectors of the two pictures
colours   cosine of their colour histograms
texts     cosine of the scorer's vectors of their texts, in which looks stand for names
people    the two people in them who look most alike, by the words for their looks
words     the words that their texts have in common, looks and names left out

The last two are cosines of tf-idf vectors, so that what half of the run says ("a medium shot") counts little.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np

from pipeline.text.looks import EMPTY
from pipeline.text.markers import NAME

SUMMARIES = ("best", "mean")
"""What is told of a panel's likeness to the other panels of its group."""


class Likeness(Protocol):
    """One measure over the panels of a run, which are numbered from 0 through all its groups."""

    def pairs(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How alike the panels are, pair by pair, 1 for the same; NaN where that can't be measured."""


class ByVector:
    """Cosines of vectors, a row a panel; a row of NaN where there is none."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)

    def pairs(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        cosines: np.ndarray = (self.rows[one] * self.rows[other]).sum(axis=-1)
        return cosines


class ByWords:
    """Cosines of tf-idf vectors of texts; of a panel with several texts that of the best pair.

    Args:
        texts: by panel; a panel without any can't be measured.
        known: words that count; without it all do.
    """

    def __init__(self, texts: Sequence[Sequence[str]], known: Set[str] | None = None) -> None:
        self._rows = tf_idf([content_words(text) for some in texts for text in some], known)
        most = max((len(some) for some in texts), default=0)
        self._places = np.full((len(texts), max(1, most)), -1)
        number = itertools.count()
        for panel, some in enumerate(texts):
            self._places[panel, : len(some)] = [next(number) for _ in some]

    def pairs(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        best = np.full(len(one), np.nan)
        for a, b in itertools.product(range(self._places.shape[1]), repeat=2):
            mine, theirs = self._places[one, a], self._places[other, b]
            there = (mine >= 0) & (theirs >= 0)
            if there.any():
                product = self._rows[mine[there]].multiply(self._rows[theirs[there]]).sum(axis=1)
                best[there] = np.fmax(best[there], np.asarray(product).ravel())
        return best


def tf_idf(texts: Sequence[Set[str]], known: Set[str] | None = None) -> Any:
    """Unit vectors of texts in a sparse matrix, a row a text: each word counts once, the more the rarer it is."""
    from scipy import sparse

    told = [sorted(words if known is None else words & known) for words in texts]
    frequency = Counter(word for words in told for word in words)
    place = {word: number for number, word in enumerate(sorted(frequency))}
    weight = {word: math.log((1 + len(texts)) / count) for word, count in frequency.items()}
    rows, columns, values = [], [], []
    for row, words in enumerate(told):
        length = math.sqrt(sum(weight[word] ** 2 for word in words)) or 1.0
        rows += [row] * len(words)
        columns += [place[word] for word in words]
        values += [weight[word] / length for word in words]
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), max(1, len(place))))


def content_words(text: str) -> set[str]:
    return set(re.findall(r"\w+", NAME.sub(" ", text).casefold())) - EMPTY


def matrices(measures: Mapping[str, Likeness], groups: np.ndarray) -> dict[str, np.ndarray]:
    """By measure the likeness of all pairs within each group: groups x panels x panels, NaN on the diagonal.

    Args:
        groups: places of panels, groups x panels.
    """
    count, size = groups.shape
    found = {}
    one, other = np.triu_indices(size, 1)
    for name, measure in measures.items():
        values = measure.pairs(groups[:, one].ravel(), groups[:, other].ravel()).reshape(count, len(one))
        matrix = np.full((count, size, size), np.nan)
        matrix[:, one, other] = matrix[:, other, one] = values
        found[name] = matrix
    return found


def features(measures: Mapping[str, Likeness], groups: np.ndarray) -> np.ndarray:
    """Per panel and measure its best and its mean likeness to the others: groups x panels x (2 a measure)."""
    told = []
    for matrix in matrices(measures, groups).values():
        measured = ~np.isnan(matrix)
        count = measured.sum(axis=-1)
        best = np.where(measured, matrix, -np.inf).max(axis=-1)
        mean = np.where(measured, matrix, 0.0).sum(axis=-1) / np.maximum(count, 1)
        told += [np.where(count > 0, best, np.nan), np.where(count > 0, mean, np.nan)]
    return np.stack(told, axis=-1)
