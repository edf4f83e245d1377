"""The protocol of what scores the grids that a training draws on its way. Whoever sets up the training makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline.records import Layout, TrainingSample
from training.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class DrawnGrid:
    """A grid that a training has drawn."""

    sample: TrainingSample
    """The held-out grid whose caption it was drawn from."""
    image: Image.Image
    """RGB, at the size of the layout."""
    given: tuple[int, ...] = ()
    """Panels, from 0, that were given."""


@dataclass(frozen=True)
class Scores:
    """Of some grids; the first three between shuffled real grids (0) and real ones (1).

    A single panel that is drawn beside reference images takes them for the other panels of its grid.
    """

    score: Estimate
    """The harmonic mean of the next two."""
    followed: float
    kept: float
    copies: float
    """Share of grids with one panel twice, 0..1."""
    memorised: float
    """Share of grids with a panel that was trained on, 0..1."""
    malformed: float
    """Share of grids whose panels are not where the layout says, 0..1."""


class GridScorer(Protocol):
    """Scores drawn grids."""

    def prepare(self) -> None:
        """Loads and measures what it needs, before the training begins.

        Raises:
            BadInput: nothing can be measured on this data set.
            MissingWeights: a model is not on this machine and can't be fetched.
        """

    def score(self, grids: Sequence[Sequence[DrawnGrid]], layout: Layout) -> Scores:
        """Scores what was drawn from at least one caption.

        Args:
            grids: by caption, one for every kind of condition that is trained. Those of one caption are not
                independent.
        """
