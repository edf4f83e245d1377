"""What is measured of a grid, from unit vectors of its panels and of its panels' texts.

Shapes: N panels of a grid, D dimensions, T panels that were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COPY_PERCENTILE = 99
"""Of the similarities within real grids, above which two panels are copies; and of held-out panels to those trained on,
above which a panel is memorised."""
MOST_ALIKE = 0.995
"""Cosine from which two panels are copies whatever the real grids are like."""
LEAST_GRIDS = 2
"""Real grids that a scale needs: with one there is no other to shuffle it with."""


@dataclass(frozen=True)
class Vectors:
    """Of one grid."""

    panels_ND: Floats
    texts_ND: Floats
    """Of the panels' own texts, in the order of the panels."""


@dataclass(frozen=True)
class Measures:
    """Of one grid. Cosines lie in -1..1."""

    following: float
    """Mean cosine of a panel and its own text (CLIP-T)."""
    retrieval: float
    """Share of the panels that are nearer to their own text than to any other of the grid, 0..1."""
    consistency: float
    """Mean cosine of two panels (ViStoryBench's CIDS-self, over whole panels)."""
    closest: float
    """The largest cosine of two panels; 0 for a grid of one panel."""
    memory: float
    """The largest cosine of a panel and one that was trained on; 0 where nothing was."""

    @property
    def diversity(self) -> float:
        """Mean distance of two panels: what consistency is paid with."""
        return 1 - self.consistency


def measure(grid: Vectors, trained_TD: Floats) -> Measures:
    """Measures a grid against its texts, itself and what was trained on."""
    panels, texts = grid.panels_ND, grid.texts_ND
    fits = panels @ texts.T
    pairs = _pairs(panels)
    return Measures(
        following=float(np.diag(fits).mean()),
        retrieval=float((fits.argmax(axis=1) == np.arange(len(panels))).mean()),
        consistency=float(pairs.mean()) if pairs.size else 1.0,
        closest=float(pairs.max()) if pairs.size else 0.0,
        memory=float((panels @ trained_TD.T).max()) if len(trained_TD) else 0.0,
    )


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

    def followed(self, measures: Measures) -> float:
        """How well a grid follows its texts: 0 as shuffled ones, 1 as real ones. A grid of copies is a failure: 0."""
        return 0.0 if self.is_copy(measures) else _between(measures.following, self.following)

    def kept(self, measures: Measures) -> float:
        """How well a grid's panels keep together, in the same way."""
        return 0.0 if self.is_copy(measures) else _between(measures.consistency, self.consistency)

    def is_copy(self, measures: Measures) -> bool:
        """Whether two panels of a grid are the same picture."""
        return measures.closest > self.copies

    def is_memorised(self, measures: Measures) -> bool:
        """Whether a panel is one that was trained on."""
        return measures.memory > self.memory


def _between(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return max(0.0, (value - low) / (high - low))


def calibrate(real: Sequence[Vectors], trained_TD: Floats) -> Scale:
    """The scale of a run from its own grids.

    Shuffled grids need no drawing of lots: the mean over all panels of other grids is what they come to.

    Args:
        real: grids of people's making, best held-out ones; all with equally many panels.

    Raises:
        ValueError: there are fewer than two, or real grids are no better than shuffled ones.
    """
    if len(real) < LEAST_GRIDS:
        raise ValueError("there are too few real grids to compare with")
    found = [measure(grid, trained_TD) for grid in real]
    panels = np.stack([grid.panels_ND for grid in real])  # grids x N x D
    texts = np.stack([grid.texts_ND for grid in real])
    grids, count, dimensions = panels.shape
    apart = ~np.eye(grids, dtype=bool)
    fits = np.einsum("gnd,hnd->gh", panels, texts) / count
    flat = panels.reshape(-1, dimensions)
    alike = (flat @ flat.T).reshape(grids, count, grids, count).mean(axis=(1, 3))
    following = float(fits[apart].mean()), float(np.mean([one.following for one in found]))
    consistency = float(alike[apart].mean()), float(np.mean([one.consistency for one in found]))
    for low, high in (following, consistency):
        if low >= high:
            raise ValueError("real grids are no better than shuffled ones by the scorer's vectors")
    within = np.concatenate([_pairs(grid.panels_ND) for grid in real])
    memory = np.array([one.memory for one in found])
    copies = min(MOST_ALIKE, float(np.percentile(within, COPY_PERCENTILE))) if within.size else MOST_ALIKE
    return Scale(following, consistency, copies, float(np.percentile(memory, COPY_PERCENTILE)))
