"""Scores the grids that a training draws on its way, as an evaluation does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iclora.evaluation.instruments import Instruments
from iclora.evaluation.measuring import Measuring
from iclora.evaluation.results import counting
from pipeline.consistency.scorers.base import Scorer
from pipeline.records import Layout
from pipeline.task import Task
from training.dataset import Data
from training.evaluation.grid_scorer import DrawnGrid, Scores
from training.evaluation.statistics import Draws


class DataSetScorer:
    """Scores grids on the scale of a data set's own ones.

    Args:
        given: panels, from 0, that are given in every grid.
    """

    def __init__(self, scorer: Scorer, task: Task, data: Data, given: tuple[int, ...] = ()) -> None:
        self._made_from = (Instruments(scorer, None, None), task, data, given)

    def prepare(self) -> None:
        """Measures the data set's own grids.

        Raises:
            BadInput: they are too few, or no better than shuffled ones.
            MissingWeights: the scorer's model is not available.
        """
        self._measuring = Measuring(*self._made_from)

    def score(self, grids: Sequence[DrawnGrid], layout: Layout) -> Scores:
        """Scores at least one grid."""
        grades = [self._measuring.grade(one.image, layout, one.caption, one.given) for one in grids]
        counts = counting(np.array([one.told_each for one in grades]))
        followed, kept = (
            np.array(values, np.float64)[counts, None]
            for values in ([one.followed for one in grades], [one.kept for one in grades])
        )
        return Scores(
            score=Draws(len(kept), 1).score(followed, kept)[0],
            followed=float(np.mean([one.followed for one in grades])),
            kept=float(kept.mean()),
            copies=float(np.mean([one.copy for one in grades])),
            memorised=float(np.mean([one.memorised for one in grades])),
            malformed=float(np.mean([one.malformed for one in grades])),
        )
