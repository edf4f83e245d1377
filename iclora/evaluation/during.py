"""Scores the grids that a training draws on its way, as an evaluation does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iclora.evaluation.instruments import Instruments
from iclora.evaluation.measuring import Measuring, beside
from iclora.evaluation.results import counting
from pipeline import weights
from pipeline.consistency.scorers.base import Scorer
from pipeline.records import Layout
from pipeline.task import Task
from training.dataset import Data
from training.evaluation.grid_scorer import DrawnGrid, Scores
from training.evaluation.statistics import Draws


class DataSetScorer:
    """Scores grids on the scale of a data set's own ones, on the CPU: the plan of the training's memory has no scorer.

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
        with weights.on_cpu():
            self._measuring = Measuring(*self._made_from)

    def score(self, grids: Sequence[Sequence[DrawnGrid]], layout: Layout) -> Scores:
        """Scores what was drawn from at least one caption.

        Args:
            grids: by caption, one for every kind of condition; the interval takes them for seeds of one prompt.
        """
        with weights.on_cpu():
            grades = [
                self._measuring.grade(one.image, layout, one.sample.text, one.given, beside(one.sample))
                for drawn in grids
                for one in drawn
            ]
        table = np.array([(one.followed, one.kept, one.told_each) for one in grades], np.float64)
        followed_PS, kept_PS, each_PS = table.T.reshape(3, len(grids), -1)
        counts = counting(each_PS[:, 0] > 0)
        followed, kept = followed_PS[counts], kept_PS[counts]
        return Scores(
            score=Draws(*kept.shape).score(followed, kept)[0],
            followed=float(np.mean([one.followed for one in grades])),
            kept=float(kept.mean()),
            copies=float(np.mean([one.copy for one in grades])),
            memorised=float(np.mean([one.memorised for one in grades])),
            malformed=float(np.mean([one.malformed for one in grades])),
        )
