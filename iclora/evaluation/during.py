"""Scores the grids that a training draws on its way, as an evaluation does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from iclora.evaluation.instruments import Instruments
from iclora.evaluation.measuring import Measuring
from pipeline import pixels
from pipeline.consistency.scorers.base import Scorer
from pipeline.records import Layout
from pipeline.task import Task
from training.dataset import Data
from training.evaluation.grid_scorer import Scores
from training.evaluation.measures import measure
from training.evaluation.statistics import Draws
from training.generator import GenerationRequest

if TYPE_CHECKING:
    from PIL import Image


class DataSetScorer:
    """Scores grids on the scale of a data set's own ones."""

    def __init__(self, scorer: Scorer, task: Task, data: Data) -> None:
        self._made_from = (Instruments(scorer, None, None), task, data)

    def prepare(self) -> None:
        """Measures the data set's own grids.

        Raises:
            BadInput: they are too few, or no better than shuffled ones.
            MissingWeights: the scorer's model is not available.
        """
        self._measuring = Measuring(*self._made_from)

    def score(self, captions: Sequence[str], grids: Sequence[Image.Image], layout: Layout) -> Scores:
        """
        Args:
            captions: of the grids.
            grids: RGB, at the size of the layout.
        """
        measuring, scale = self._measuring, self._measuring.scale
        found = [
            measure(measuring.vectors(pixels.cut(grid, layout), GenerationRequest(caption)), measuring.trained)
            for caption, grid in zip(captions, grids, strict=True)
        ]
        followed, kept = (np.array([[of(one)] for one in found]) for of in (scale.followed, scale.kept))
        return Scores(
            score=Draws(len(found), 1).score(followed, kept)[0],
            followed=float(followed.mean()),
            kept=float(kept.mean()),
            copies=sum(map(scale.is_copy, found)) / len(found),
            memorised=sum(map(scale.is_memorised, found)) / len(found),
        )
