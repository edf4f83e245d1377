"""What is measured of a grid, from unit vectors of its panels and of its panels' texts.

Shapes: N panels of a grid, D dimensions of the scorer's vectors, E of those by which panels are compared, T panels that
were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COPY_PERCENTILE = 99
"""Of the largest similarity within each real grid, above which two panels are copies; and of that of each held-out grid
to panels that were trained on, above which a panel is memorised. So 1 % of real grids would be called either."""
MOST_ALIKE = 0.995
"""Cosine from which two panels are copies whatever the real grids are like."""
ENOUGH = 12
"""Held-out grids from which the scale is made of them alone; with fewer, those that were trained on count too."""
LEAST_APART = 1e-4
"""Cosines between the two ends of a scale, at the least. A mean cosine of float32 vectors is off by about 1e-6, so on a
narrower scale even the second decimal of a figure would be rounding."""
LEAST_GRIDS = 2
"""Real grids that a scale needs: with one there is no other to shuffle it with."""


@dataclass(frozen=True)
class Vectors:
    """Of one grid."""

    panels_ND: Floats
    texts_ND: Floats
    """Of the panels' own texts, in the order of the panels."""
    compared_NE: Floats | None = None
    """Of the panels by another image encoder, which then compares them; None if the scorer's vectors do."""
    backgrounds_NE: Floats | None = None
    """Of the panels without their subjects."""
    subjects_NE: Floats | None = None
    """Of the subjects, cut out; None without a detector."""
    people: float | None = None
    """How well the people that a detector found agree with those in the texts, 0..100; None if that is unknown."""
    given: tuple[int, ...] = ()
    """Panels, from 0, that were not drawn but given."""
    beside_NE: Floats | None = None
    """Of the reference images beside a single panel, which stand for the other panels of its grid."""
    real_NE: Floats | None = None
    """Where panels are given: all panels of the real grid that these are from."""

    @property
    def looks_NE(self) -> Floats:
        """By what panels are compared with each other, and with those that were trained on."""
        return self.panels_ND if self.compared_NE is None else self.compared_NE


@dataclass(frozen=True)
class Measures:
    """Of one grid. Cosines lie in -1..1. Only panels that were drawn are measured, beside consistency."""

    following: float
    """Mean cosine of a panel and its own text (CLIP-T)."""
    retrieval: float
    """Share of the panels that are nearer to their own text than to any other of the grid, 0..1."""
    consistency: float
    """Mean cosine of two panels (ViStoryBench's CIDS-self, over whole panels), or of a single one and its reference
    images (CIDS-cross)."""
    closest: float
    """The largest of these cosines; 0 where there are none."""
    memory: float
    """The largest cosine of a panel and one that was trained on; 0 where nothing was."""
    distance: float = 0.0
    """Mean distance (1 - cosine) of two backgrounds: how much the scene changes."""
    subjects: float | None = None
    """Mean cosine of the subjects of two panels (CIDS-self, over crops); None without a detector."""
    people: float | None = None
    """How well the number of people agrees with the text, 0..100 (ViStoryBench's OCCM); None where it is unknown."""
    to_given: float | None = None
    """Mean cosine of a panel that was drawn and one that was given (CIDS-cross); None where none was given."""
    pasted: float | None = None
    """How far drawn panels prefer the given ones to the real panels in their own places, 0..1: 0.5 is no preference, 1
    is copied (ViStoryBench's copy-paste figure)."""


def measure(grid: Vectors, trained_TE: Floats) -> Measures:
    """Measures a grid against its texts, itself and what was trained on."""
    looks, texts = grid.looks_NE, grid.texts_ND
    drawn = [panel for panel in range(len(looks)) if panel not in grid.given]
    fits = (grid.panels_ND @ texts.T)[drawn]
    pairs = _together(grid)
    subjects = None if grid.subjects_NE is None else _pairs(grid.subjects_NE)
    return Measures(
        following=float(fits[range(len(drawn)), drawn].mean()),
        retrieval=float((fits.argmax(axis=1) == drawn).mean()),
        consistency=_mean(pairs),
        closest=float(pairs.max()) if pairs.size else 0.0,
        memory=float(nearest(looks[drawn], trained_TE).max()) if len(trained_TE) else 0.0,
        distance=0.0 if grid.backgrounds_NE is None else 1 - _mean(_pairs(grid.backgrounds_NE)),
        subjects=None if subjects is None else _mean(subjects),
        people=grid.people,
        to_given=float((looks[drawn] @ looks[list(grid.given)].T).mean()) if grid.given else None,
        pasted=None if grid.real_NE is None else _pasted(looks, grid.real_NE, grid.given),
    )


def _together(grid: Vectors) -> Floats:
    """Cosines of every two panels of a grid, or of a single one and its reference images."""
    return _pairs(grid.looks_NE) if grid.beside_NE is None else (grid.looks_NE @ grid.beside_NE.T).ravel()


def _mean(pairs: Floats) -> float:
    return float(pairs.mean()) if pairs.size else 1.0


def nearest(panels_NE: Floats, others_TE: Floats, count: int = 1) -> Floats:
    """The largest cosines of every panel and some others, by exhaustive search.

    Args:
        count: how many of them, at most as many as there are others.

    Returns:
        N x count, the largest first.
    """
    return _search(panels_NE, others_TE, count)[0]


def _search(panels_NE: Floats, others_TE: Floats, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """As `nearest`, and the places of the others."""
    import faiss

    found: tuple[Floats, NDArray[np.int64]] = faiss.knn(
        np.ascontiguousarray(panels_NE, np.float32),
        np.ascontiguousarray(others_TE, np.float32),
        count,
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    return found


PASTED_TEMPERATURE = 0.01
"""As in ViStoryBench: a cosine that is 0.01 larger is preferred by 73 %."""


def _pasted(looks_NE: Floats, real_NE: Floats, given: Sequence[int]) -> float:
    """Softmax over the cosines with the given panel and with the real one in the drawn panel's place, on average."""
    shares = []
    for panel in (panel for panel in range(len(looks_NE)) if panel not in given):
        for one in given:
            apart = float(looks_NE[panel] @ real_NE[one] - looks_NE[panel] @ real_NE[panel]) / PASTED_TEMPERATURE
            shares.append(1 / (1 + float(np.exp(-np.clip(apart, -50, 50)))))
    return float(np.mean(shares))


def _pairs(panels_ND: Floats) -> Floats:
    one, other = np.triu_indices(len(panels_ND), 1)
    return np.asarray((panels_ND @ panels_ND.T)[one, other], np.float32)


@dataclass(frozen=True)
class Scale:
    """Between what shuffled real grids (0) and real grids (1) measure."""

    following: tuple[float, float]
    consistency: tuple[float, float]
    copies: float
    """Cosine from which two panels of a grid are copies."""
    memory: float
    """Cosine from which a panel is memorised."""
    real: int
    """Real grids that it is made of."""
    distance: float = 0.0
    """Mean distance of two backgrounds of a real grid."""
    subjects: tuple[float, float] | None = None
    """None without a detector, or where the subjects of a real grid are no more alike than those of shuffled ones."""

    def followed(self, measures: Measures) -> float:
        """How well a grid follows its texts: 0 as shuffled ones, 1 as real ones. A grid of copies is a failure: 0."""
        return 0.0 if self.is_copy(measures) else _between(measures.following, self.following)

    def kept(self, measures: Measures) -> float:
        """How well a grid's panels keep together, in the same way."""
        return 0.0 if self.is_copy(measures) else _between(measures.consistency, self.consistency)

    def kept_subjects(self, measures: Measures) -> float | None:
        """How well the subjects, cut out of their panels, keep together; None where that can't be measured."""
        if self.subjects is None or measures.subjects is None:
            return None
        return 0.0 if self.is_copy(measures) else _between(measures.subjects, self.subjects)

    def varied(self, measures: Measures) -> float:
        """How much the scene changes from panel to panel: 0 if it stays the same, 1 as much as in real grids."""
        return max(0.0, measures.distance) / self.distance if self.distance > LEAST_APART else 1.0

    def is_copy(self, measures: Measures) -> bool:
        """Whether two panels of a grid are the same picture."""
        return measures.closest > self.copies

    def is_memorised(self, measures: Measures) -> bool:
        """Whether a panel is one that was trained on."""
        return measures.memory > self.memory


def _between(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return max(0.0, (value - low) / (high - low))


def calibrate(held_out: Sequence[Vectors], trained: Sequence[Vectors]) -> Scale:
    """The scale of a run from its own grids.

    Shuffled grids need no drawing of lots: the mean over all panels of other grids is what they come to.

    Args:
        held_out, trained: real grids, all with equally many panels. Those that were trained on count as real ones only
            where fewer than ENOUGH are held out.

    Raises:
        ValueError: there are fewer than two, or real grids are no better than shuffled ones.
    """
    real = held_out if len(held_out) >= ENOUGH else [*held_out, *trained]
    if len(real) < LEAST_GRIDS:
        raise ValueError("there are too few real grids to compare with")
    drawn = [panel for panel in range(len(real[0].panels_ND)) if panel not in real[0].given]
    panels = np.stack([grid.panels_ND[drawn] for grid in real])  # grids x N x D
    texts = np.stack([grid.texts_ND[drawn] for grid in real])
    apart = ~np.eye(len(real), dtype=bool)
    fits = np.einsum("gnd,hnd->gh", panels, texts) / panels.shape[1]
    following = float(fits[apart].mean()), float(np.diag(fits).mean())
    closest = [float(pairs.max()) for grid in real if (pairs := _together(grid)).size]
    others = [grid.beside_NE for grid in real if grid.beside_NE is not None]
    looks = [grid.looks_NE for grid in real]
    consistency = _ends_beside(looks, others) if len(others) == len(real) else _ends(looks)
    for low, high in (following, consistency):
        if high - low < LEAST_APART:
            raise ValueError("real grids are no better than shuffled ones by the vectors")
    cut_out = [grid.subjects_NE for grid in real if grid.subjects_NE is not None]
    subjects = _ends(cut_out) if cut_out else None
    distances = [1 - _mean(_pairs(grid.backgrounds_NE)) for grid in real if grid.backgrounds_NE is not None]
    return Scale(
        following,
        consistency,
        copies=min(MOST_ALIKE, float(np.percentile(closest, COPY_PERCENTILE))) if closest else MOST_ALIKE,
        memory=float(np.percentile(_unseen(held_out, trained), COPY_PERCENTILE)),
        real=len(real),
        distance=float(np.mean(distances)) if distances else 0.0,
        subjects=subjects if subjects and subjects[1] - subjects[0] >= LEAST_APART else None,
    )


def _ends(grids: Sequence[Floats]) -> tuple[float, float]:
    """Mean cosine of two panels of different grids, and of one grid. Grids: N x E each."""
    vectors = np.stack(grids)
    apart = ~np.eye(len(vectors), dtype=bool)
    return float(_between_grids(vectors)[apart].mean()), float(np.mean([_mean(_pairs(one)) for one in vectors]))


def _ends_beside(panels: Sequence[Floats], references: Sequence[Floats]) -> tuple[float, float]:
    """Mean cosine of a panel and the reference images of another, and its own. Panels: 1 x E; references: N x E, of
    which one panel may have more than the next."""
    means_GE = np.stack([of_one.mean(axis=0) for of_one in references])
    cosines_GG = np.concatenate(panels) @ means_GE.T
    return float(cosines_GG[~np.eye(len(panels), dtype=bool)].mean()), float(np.diag(cosines_GG).mean())


def _between_grids(panels_GNE: Floats) -> Floats:
    """Mean cosine of a panel of one grid and a panel of another, for every two grids."""
    grids, count, dimensions = panels_GNE.shape
    flat = panels_GNE.reshape(-1, dimensions)
    return np.asarray((flat @ flat.T).reshape(grids, count, grids, count).mean(axis=(1, 3)), np.float32)


def _unseen(held_out: Sequence[Vectors], trained: Sequence[Vectors]) -> Floats:
    """How near real grids come to others that were trained on: held-out ones, or where there are none, each of those
    that were trained on. One measured against itself would be as near as can be, and nothing ever memorised."""
    known = panels_of(trained)
    if held_out:
        if not len(known):
            return np.zeros(len(held_out), np.float32)
        cosines = nearest(panels_of(held_out), known)
        return np.asarray(cosines.reshape(len(held_out), -1).max(axis=1), np.float32)
    count = len(trained[0].looks_NE)
    cosines, places = _search(known, known, min(count + 1, len(known)))  # of these, one at least is of another grid
    own = np.repeat(np.arange(len(trained)), count)
    cosines = np.where(own[places] == own[:, None], np.float32(-1), cosines)
    return np.asarray(cosines.reshape(len(trained), -1).max(axis=1), np.float32)


def panels_of(grids: Sequence[Vectors]) -> Floats:
    """The vectors by which all panels of some grids are compared: T x E; none without grids."""
    return np.concatenate([grid.looks_NE for grid in grids]) if grids else np.empty((0, 0), np.float32)
