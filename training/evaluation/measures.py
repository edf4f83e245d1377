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
ENOUGH = 12
"""Held-out grids from which the scale is made of them alone; with fewer, those that were trained on count too."""
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
    real: int
    """Real grids that it is made of."""

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
    panels = np.stack([grid.panels_ND for grid in real])  # grids x N x D
    texts = np.stack([grid.texts_ND for grid in real])
    apart = ~np.eye(len(real), dtype=bool)
    fits = np.einsum("gnd,hnd->gh", panels, texts) / panels.shape[1]
    following = float(fits[apart].mean()), float(np.diag(fits).mean())
    within = np.stack([_pairs(grid.panels_ND) for grid in real])
    consistency = float(_between_grids(panels)[apart].mean()), float(within.mean()) if within.size else 1.0
    for low, high in (following, consistency):
        if low >= high:
            raise ValueError("real grids are no better than shuffled ones by the scorer's vectors")
    copies = min(MOST_ALIKE, float(np.percentile(within, COPY_PERCENTILE))) if within.size else MOST_ALIKE
    memory = float(np.percentile(_unseen(held_out, trained), COPY_PERCENTILE))
    return Scale(following, consistency, copies, memory, len(real))


def _between_grids(panels_GND: Floats) -> Floats:
    """Mean cosine of a panel of one grid and a panel of another, for every two grids."""
    grids, count, dimensions = panels_GND.shape
    flat = panels_GND.reshape(-1, dimensions)
    return np.asarray((flat @ flat.T).reshape(grids, count, grids, count).mean(axis=(1, 3)), np.float32)


def _unseen(held_out: Sequence[Vectors], trained: Sequence[Vectors]) -> list[float]:
    """How near real grids come to others that were trained on: held-out ones, or where there are none, each of those
    that were trained on. One measured against itself would be as near as can be, and nothing ever memorised."""
    if held_out:
        panels = panels_of(trained)
        return [measure(grid, panels).memory for grid in held_out]
    others = [panels_of([*trained[:place], *trained[place + 1 :]]) for place in range(len(trained))]
    return [measure(grid, rest).memory for grid, rest in zip(trained, others, strict=True)]


def panels_of(grids: Sequence[Vectors]) -> Floats:
    """The vectors of all panels of some grids: T x D; none without grids."""
    return np.concatenate([grid.panels_ND for grid in grids]) if grids else np.empty((0, 0), np.float32)
