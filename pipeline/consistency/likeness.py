"""How similar two panels of a run are, by several measures, and how similar a panel is to the rest of its group.

pictures  cosine similarity of the scorer's vectors of the two pictures
colours   cosine similarity of their colour histograms
texts     cosine similarity of the scorer's vectors of their texts, with looks in place of names
people    similarity of the two people in them who look most alike, by the words that describe their looks
words     similarity of their texts without looks and names

The last two are cosine similarities of tf-idf vectors, so that words common in the run ("a medium shot") count little.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np

from pipeline.rows import Rows
from pipeline.text.looks import EMPTY
from pipeline.text.markers import NAME

SUMMARIES = ("best", "mean")
"""How a panel's similarities to the other panels of its group are summarised."""


class Likeness(Protocol):
    """One measure over the panels of a run, which are numbered from 0 across all groups."""

    def pairs(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The similarity of each pair of panels, 1 for identical ones; NaN if it can't be measured."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Vectors of any length as unit vectors; one of zeros stays as it is."""
    divided: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return divided


class UnitBytes:
    """Unit vectors that take a byte per number: kept at another length, by which they are divided when read."""

    def __init__(self, kept: np.ndarray) -> None:
        """
        Args:
            kept: whole numbers from 0 to 255: rows x numbers.
        """
        self._kept = kept

    @property
    def shape(self) -> tuple[int, ...]:
        return self._kept.shape

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, places: Any, /) -> np.ndarray:
        return unit(self._kept[places].astype(np.float32))


class ByVector:
    """Cosine similarity of unit vectors, one row per panel; a row of NaN if a panel has none."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def pairs(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        cosines: np.ndarray = (self.rows[one] * self.rows[other]).sum(axis=-1)
        return cosines


class ByWords:
    """Cosine similarity of tf-idf vectors of texts; the best pair counts if a panel has several texts.

    Args:
        texts: the texts of each panel; a panel without any can't be measured.
        known: the words that count; None for all.
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
            first, second = self._places[one, a], self._places[other, b]
            measured_pairs = (first >= 0) & (second >= 0)
            if measured_pairs.any():
                product = self._rows[first[measured_pairs]].multiply(self._rows[second[measured_pairs]]).sum(axis=1)
                best[measured_pairs] = np.fmax(best[measured_pairs], np.asarray(product).ravel())
        return best


def tf_idf(texts: Sequence[Set[str]], known: Set[str] | None = None) -> Any:
    """Tf-idf unit vectors in a sparse matrix, one row per text; a word counts once and weighs log((1 + texts) / df)."""
    from scipy import sparse

    documents = [sorted(words if known is None else words & known) for words in texts]
    frequency = Counter(word for words in documents for word in words)
    place = {word: number for number, word in enumerate(sorted(frequency))}
    weight = {word: math.log((1 + len(texts)) / count) for word, count in frequency.items()}
    rows, columns, values = [], [], []
    for row, words in enumerate(documents):
        length = math.sqrt(sum(weight[word] ** 2 for word in words)) or 1.0
        rows += [row] * len(words)
        columns += [place[word] for word in words]
        values += [weight[word] / length for word in words]
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), max(1, len(place))))


def content_words(text: str) -> set[str]:
    """The words of a text without names and stop words, in lower case."""
    return set(re.findall(r"\w+", NAME.sub(" ", text).casefold())) - EMPTY


def features(measures: Mapping[str, Likeness], groups: np.ndarray) -> np.ndarray:
    """Per panel, best and mean similarity to the others by each measure: groups x panels x (2 per measure).

    Args:
        groups: indices of panels, groups x panels.
    """
    size = groups.shape[1]
    one, other = (groups[:, side] for side in np.triu_indices(size, 1))
    pairs = {name: measure.pairs(one.ravel(), other.ravel()) for name, measure in measures.items()}
    return features_of({name: values.reshape(one.shape) for name, values in pairs.items()}, size)


def features_of(similarities: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """As `features`, by similarities that are known.

    Args:
        similarities: per measure, those of the pairs of panels of each group, in order, NaN if they can't be measured:
            groups x pairs.
        size: panels of a group.
    """
    columns = []
    one, other = np.triu_indices(size, 1)
    for values in similarities.values():
        matrix = np.full((len(values), size, size), np.nan)
        matrix[:, one, other] = matrix[:, other, one] = values
        measured = ~np.isnan(matrix)
        count = measured.sum(axis=-1)
        best = np.where(measured, matrix, -np.inf).max(axis=-1)
        mean = np.where(measured, matrix, 0.0).sum(axis=-1) / np.maximum(count, 1)
        columns += [np.where(count > 0, best, np.nan), np.where(count > 0, mean, np.nan)]
    return np.stack(columns, axis=-1)
