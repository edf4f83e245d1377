"""CLIP consistency: every panel against its own text, and the texts assigned to the panels; kept or rejected with why.

A whole joint caption is longer than CLIP reads (77 tokens: the third scene is never seen), so each panel's picture is
scored against its own segment, which fits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline import pixels
from pipeline.cache import Cache, key_of
from pipeline.engine import Stage
from pipeline.records import Caption, Grid, Rejected, Score, Scores
from pipeline.scorers.base import Scorer
from pipeline.task import FilterSection, Task

FEWEST = 8
"""Grids below which a run's own scores say too little to set a floor."""
SPREADS = 3.0
"""The floor lies this many robust standard deviations under the median of a run's matched scores: of normal scores
1 in 740 lies lower, so what does is of another kind. What 2, 2.5 and 3 reject rightly and wrongly is in LOG.md."""


def stage(task: Task, grids: Sequence[Grid], scorer: Scorer | None, folder: Path, cache: Cache) -> Stage[Caption]:
    facts: dict[str, Any] = {}
    by_id = {grid.id: grid for grid in grids}

    def filter_(captions: Sequence[Caption]) -> Iterator[Scores | Rejected]:
        if scorer is None:
            yield from (Scores(caption.grid, (), caption.text) for caption in captions)
            return
        matrices = Matrices(scorer, cache, folder).all([by_id[caption.grid] for caption in captions], captions)
        floor = find_floor(matrices, task.filter)
        facts.update(floor.facts())
        for caption, matrix in zip(captions, matrices.own, strict=True):
            scores = judge(matrix, floor.value, task)
            yield Scores(caption.grid, scores, caption.text)
            if failed := [score.reason for score in scores if not score.passed]:
                kinds = {score.name.split(" ")[0] for score in scores if not score.passed}
                yield Rejected(caption.grid, by_id[caption.grid].path, " and ".join(sorted(kinds)), " ".join(failed))

    identity = scorer.identity() if scorer else {"scorer": "none"}
    config = {"filter": task.filter.model_dump(), "markers": task.markers, "scorer": identity}
    return Stage("filter", "scores", filter_, config, facts=lambda _: {"scorer": identity} | facts)


# ---- measuring


@dataclass(frozen=True)
class Measured:
    """Cosines of a run's panels and segments; NaN where a panel has no text."""

    own: list[np.ndarray]
    """Per grid panels x segments."""
    foreign: np.ndarray
    """Panels against segments of other grids: the shuffled control."""

    @property
    def matched(self) -> np.ndarray:
        diagonals = np.concatenate([np.diag(matrix) for matrix in self.own]) if self.own else np.zeros(0)
        found: np.ndarray = diagonals[~np.isnan(diagonals)]
        return found


class Matrices:
    """Computes each vector once; the cache is keyed by content and model, so a later run computes none again."""

    def __init__(self, scorer: Scorer, cache: Cache, folder: Path) -> None:
        self.scorer, self.cache, self.folder = scorer, cache, folder
        self.model = key_of(**scorer.identity())

    def all(self, grids: Sequence[Grid], captions: Sequence[Caption]) -> Measured:
        panels = np.stack([self._panels(grid) for grid in grids]) if grids else np.zeros((0, 1, 1), np.float32)
        texts = np.stack([self._texts(caption) for caption in captions]) if captions else panels
        own = [panel @ text.T for panel, text in zip(panels, texts, strict=True)]
        cross = np.einsum("gpd,hsd->gphs", panels, texts)
        other = ~np.eye(len(grids), dtype=bool)
        foreign = cross.transpose(0, 2, 1, 3)[other].ravel()
        return Measured(own, foreign[~np.isnan(foreign)])

    def _panels(self, grid: Grid) -> np.ndarray:
        content = hashlib.sha256((self.folder / grid.path).read_bytes()).hexdigest()
        keys = [key_of(model=self.model, picture=content, panel=panel) for panel in range(grid.layout.size)]
        found = [self.cache.get_vector(key) for key in keys]
        if any(vector is None for vector in found):
            picture = pixels.open_image(self.folder / grid.path)
            vectors = self.scorer.image_vectors(pixels.cut(picture, grid.layout))
            for key, vector in zip(keys, vectors, strict=True):
                self.cache.put_vector(key, vector)
            return vectors
        return np.stack([vector for vector in found if vector is not None])

    def _texts(self, caption: Caption) -> np.ndarray:
        vectors = []
        for text in caption.panels:
            key = key_of(model=self.model, text=plain(text))
            vector = self.cache.get_vector(key)
            if vector is None:
                vector = self.scorer.text_vectors([plain(text) or "."])[0]
                self.cache.put_vector(key, vector)
            vectors.append(vector if text else np.full_like(vector, np.nan))
        return np.stack(vectors)


def plain(text: str) -> str:
    """The text as a scorer reads it best: names without their brackets."""
    return re.sub(r"[<>]", "", text)


# ---- judging


@dataclass(frozen=True)
class Floor:
    """Lowest score of a panel against its own text, and how it was found."""

    value: float | None
    how: str
    false_rejects: float | None = None
    """Part of the run's matched scores that lies under it."""
    false_accepts: float | None = None
    """Part of the shuffled scores that lies over it."""

    def facts(self) -> dict[str, Any]:
        return {
            "floor": self.value,
            "floor found by": self.how,
            "matched scores under it": self.false_rejects,
            "shuffled scores over it": self.false_accepts,
        }


def find_floor(measured: Measured, section: FilterSection) -> Floor:
    """The floor of a run: fixed by the task, or from the run's own scores where there are enough."""
    if section.floor is not None:
        value, how = section.floor, "fixed by filter.floor"
    elif len(measured.own) < FEWEST:
        return Floor(None, f"not set: fewer than {FEWEST} grids, only the order of the texts was tested")
    else:
        middle = float(np.median(measured.matched))
        spread = 1.4826 * float(np.median(np.abs(measured.matched - middle)))  # 1.4826 makes it a standard deviation
        value = middle - SPREADS * spread
        how = f"median {middle:.3f} less {SPREADS:g} robust deviations of {spread:.3f}"
    under = float((measured.matched < value).mean()) if len(measured.matched) else None
    over = float((measured.foreign >= value).mean()) if len(measured.foreign) else None
    return Floor(round(value, 4), how, _rounded(under), _rounded(over))


def judge(matrix: np.ndarray, floor: float | None, task: Task) -> tuple[Score, ...]:
    """Scores of one grid: each panel against its own text, then the order of the texts.

    Args:
        matrix: cosines, panels x segments; NaN columns for missing texts, which are the linter's matter.
    """
    scores = []
    for panel, marker in enumerate(task.markers):
        value = float(matrix[panel, panel])
        if not np.isnan(value):
            passed = floor is None or value >= floor
            limit = -1.0 if floor is None else floor
            verdict = "fits" if passed else "does not fit"
            reason = f"Panel {marker} {verdict} its text: {value:.3f}, floor {limit:.3f}."
            scores.append(Score(f"text {panel + 1}", round(value, 4), round(limit, 4), passed, reason))
    if len(matrix) > 1 and not np.isnan(matrix).any():
        scores.append(_order(matrix, task))
    return tuple(scores)


def _order(matrix: np.ndarray, task: Task) -> Score:
    """By how much the best order of the texts beats the one that they stand in, mean per panel (Hungarian method)."""
    rows, best = linear_sum_assignment(matrix, maximize=True)
    gain = float(matrix[rows, best].mean() - np.diag(matrix).mean())
    passed = gain <= task.filter.slack
    order = ", ".join(str(column + 1) for column in best)
    reason = (
        f"The texts stand in their best order: gain {gain:.3f}, limit {task.filter.slack:.3f}."
        if passed
        else f"The texts fit better in the order {order}: gain {gain:.3f}, limit {task.filter.slack:.3f}."
    )
    return Score("order", round(gain, 4), task.filter.slack, passed, reason)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
