"""Captions -> Scores: checks every grid's pictures and texts against thresholds; rejections name score and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache import Cache
from pipeline.consistency import belonging, repetition, similarity, thresholds, verdict
from pipeline.consistency.repetition import Earlier
from pipeline.consistency.scorers.base import Scorer, kind_of
from pipeline.consistency.similarity import Encoder, Measures, Vectors
from pipeline.consistency.thresholds import Calibration, Evidence, Threshold
from pipeline.consistency.verdict import Verdict
from pipeline.engines.base import Ahead, Facts, Stage
from pipeline.plugins import extras
from pipeline.records import Caption, Grid, Rejected, Score, Scores
from pipeline.task import Task

PLOT = "scores.png"
FAULTS = {
    "text": "text",
    "order": "order",
    "summary": "summary",
    "least alike": "strangers",
    "most alike": "copies",
    "texts alike": "same texts",
    "earlier grid": "seen before",
    verdict.BELONGS: "strangers",
    verdict.RECURS: "seen once",
}
"""Short class of the rejection if the score fails."""
PER_PANEL = ("text", verdict.BELONGS, verdict.RECURS)
"""Scores that every panel has; the panel's number, from 1, follows the name."""
EARLIER = "earlier grid"


@dataclass(frozen=True)
class Parameters:
    """What the scores and decisions of a run depend on besides the captions."""

    task: Task
    grids: Mapping[str, Grid]
    """The run's grids by id, including those without a caption."""
    scorer: Scorer | None
    """Pickled without its weights, which every process loads when it first needs them."""
    folder: Path
    """The run's folder."""
    cache: Cache
    taught: Mapping[str, bool]
    """By id of the grid, what a person decided, if the belonging rule is to be trained on it."""


def stage(
    task: Task,
    grids: Sequence[Grid],
    scorer: Scorer | None,
    folder: Path,
    cache: Cache,
    taught: Mapping[str, bool] | None = None,
) -> Stage[Caption]:
    """The filter stage.

    Args:
        taught: by id of the grid, what a person decided, if the belonging rule is to be trained on it.
    """
    identity = scorer.identity() if scorer else {"scorer": "none"}

    def intact() -> bool:
        fitted = len(grids) >= belonging.FEWEST and task.grid_layout.size > 1
        drawn = bool(grids) if scorer else fitted
        return not drawn or (folder / PLOT).is_file() or bool(extras.missing("plots"))

    config = {
        "filter": task.filter.model_dump(),
        "markers": task.markers,
        "named": task.group.by == "names",
        "ties": task.group.ties,
        "people": task.caption.people,
        "rules": thresholds.RULES,
        "taught": dict(taught or {}),
        "scorer": identity,
    }
    parameters = Parameters(task, {grid.id: grid for grid in grids}, scorer, folder, cache, taught or {})
    run = partial(filter_, parameters=parameters)

    def ahead(captions: Sequence[Caption]) -> Ahead:
        assert scorer
        described = [parameters.grids[caption.grid] for caption in captions]
        return Ahead(Encoder(scorer, cache, folder).compute, similarity.parts(described, captions))

    facts, known = (lambda _: {"scorer": identity}), ahead if scorer else None
    return Stage(
        "filter", "scores", run, config, needs=getattr(scorer, "needs", "core"), intact=intact, facts=facts, ahead=known
    )


def filter_(captions: Sequence[Caption], *, parameters: Parameters) -> Iterator[Scores | Rejected | Facts]:
    """Every caption's scores, with a rejection if one fails; then the thresholds as facts. Also draws the plot."""
    own, folder = parameters, parameters.folder
    grids = [own.grids[caption.grid] for caption in captions]
    encoder = Encoder(own.scorer, own.cache, folder) if own.scorer else None
    judged = Judged.of(own.task, grids, captions, encoder, own.taught)
    judged.draw(folder / PLOT)
    for grid, caption, scores in zip(grids, captions, judged.scores(), strict=True):
        corrections = caption.parts.corrections if caption.parts else None
        yield Scores(caption.grid, scores, caption.text, grid.path, corrections)
        if failed := [score for score in scores if not score.passed]:
            kinds = " and ".join(sorted({FAULTS[_measure(score)] for score in failed}))
            yield Rejected(caption.grid, grid.path, kinds, " ".join(s.reason for s in failed))
    lacking = extras.sentence(f"the plot {PLOT}", "plots")
    yield Facts(judged.facts() | ({"no plot": lacking} if lacking else {}))


def score_one(  # noqa: PLR0913, PLR0917  (one grid, and what its run found)
    task: Task,
    grid: Grid,
    caption: Caption,
    scorer: Scorer | None,
    folder: Path,
    cache: Cache,
    facts: Mapping[str, Any],
) -> tuple[Score, ...]:
    """One grid's scores against the thresholds of the last filter run; empty if it scored nothing.

    Scores that need the whole run are left out: copies of earlier grids, and whether the panels belong together.

    Args:
        facts: the facts of the filter's mark.
    """
    found = thresholds.from_facts(facts)
    if scorer is None or not found:
        return ()
    vectors = Encoder(scorer, cache, folder).vectors([grid], [caption])
    return judge(_alone(similarity.measure(vectors), 0), _matrix(vectors, 0), found, task)


# ---- judging


class Judged:
    """The grids of a run with their captions, and what was found about them."""

    def __init__(self, task: Task, grids: Sequence[Grid], captions: Sequence[Caption], together: Verdict) -> None:
        self.task, self.grids, self.captions, self.together = task, grids, captions, together
        self.vectors: Vectors | None = None
        self.earlier: Earlier | None = None
        self.evidence: Evidence | None = None
        self.calibration: Calibration | None = None

    @staticmethod
    def of(
        task: Task,
        grids: Sequence[Grid],
        captions: Sequence[Caption],
        encoder: Encoder | None,
        taught: Mapping[str, bool],
    ) -> Judged:
        """
        Args:
            encoder: None without a scorer; then colours and texts alone decide what belongs together.
            taught: by id of the grid, whether a person finds it correct.
        """
        vectors = encoder.vectors(grids, captions) if encoder and grids else None
        judged = Judged(task, grids, captions, verdict.verdict(task, grids, captions, vectors, taught))
        if encoder and vectors:
            judged._calibrate(vectors, encoder)
        return judged

    def _calibrate(self, vectors: Vectors, encoder: Encoder) -> None:
        enough = len(self.grids) >= thresholds.FEWEST
        self.earlier = repetition.earlier(vectors.panels)
        run = similarity.measure(vectors, self.earlier.overlaps)
        shuffled = similarity.controls(vectors) if enough else {}  # texts alone are shuffled, panels stay
        controls = {name: similarity.measure(one, self.earlier.overlaps) for name, one in shuffled.items()}
        copies = encoder.copies(self.grids, vectors.panels) if enough else np.zeros(0)
        self.vectors, self.evidence = vectors, Evidence(run, controls, copies)
        self.calibration = thresholds.calibrate(self.evidence, self.task, kind_of(encoder.scorer))

    def facts(self) -> dict[str, Any]:
        found = self.calibration.facts() if self.calibration else {}
        belonging_ = self.together.facts()
        return found | ({"belonging": belonging_} if belonging_ else {})

    def draw(self, path: Path) -> None:
        """Draws the plot of the scores behind the thresholds; removes an old one where none is drawn."""
        from pipeline.consistency import plot

        found = self.calibration.thresholds if self.calibration else {}
        charts = plot.make(self.evidence, found, self.together.found)
        if charts and not extras.missing("plots"):
            plot.write(charts, path)
        else:
            path.unlink(missing_ok=True)

    def scores(self) -> Iterator[tuple[Score, ...]]:
        """The scores of each grid. Of grids with nearly the same panels, the first that otherwise passes is kept."""
        own = [self._own_scores(number) for number in range(len(self.captions))]
        if not (self.vectors and self.earlier and self.calibration):
            yield from own
            return
        out = {number for number, scores in enumerate(own) if not all(score.passed for score in scores)}
        kept = repetition.Kept(self.vectors.panels, self.earlier, out)
        for number, scores in enumerate(own):
            if nearest := kept.nearest(number):
                limit = self.calibration.thresholds[EARLIER]
                scores = (*scores, _seen_before(*nearest, self.grids, limit))  # noqa: PLW2901
            if all(score.passed for score in scores):
                kept.add(number)
            yield scores

    def _own_scores(self, number: int) -> tuple[Score, ...]:
        """A grid's scores but for that against earlier ones."""
        scores = verdict.scores(self.together, number, self.captions[number], self.task)
        if not (self.vectors and self.evidence and self.calibration):
            return scores
        values, matrix = _alone(self.evidence.run, number), _matrix(self.vectors, number)
        return (*judge(values, matrix, self.calibration.thresholds, self.task), *scores)


def judge(
    values: Mapping[str, np.ndarray], matrix: np.ndarray, found: Mapping[str, Threshold], task: Task
) -> tuple[Score, ...]:
    """The scores of one grid; a missing text is left to the linter.

    Args:
        values: one grid's measures.
        matrix: cosine similarities of its panels (rows) and segments (columns).
    """
    scores = []
    for panel, (marker, value) in enumerate(zip(task.markers, values["text"], strict=True), start=1):
        scores.append(
            _score(f"text {panel}", value, found["text"], f"Panel {marker} {{}} its text", "fits", "does not fit")
        )
    order = "" if np.isnan(matrix).any() else ", ".join(str(place + 1) for place in similarity.best_order(matrix)[1])
    subjects = {
        "order": ("The texts {}", "stand in their best order", f"fit better in the order {order}"),
        "summary": ("The panels {} the summary", "fit", "do not fit"),
        "least alike": ("The panels {}", "are related", "include strangers"),
        "most alike": ("The panels {}", "are not copies", "include two copies of one picture"),
        "texts alike": ("The texts of the panels {}", "differ", "include two that say the same"),
    }
    scores += [_score(name, float(values[name]), found[name], *words) for name, words in subjects.items()]
    return tuple(score for score in scores if not np.isnan(score.value))


def _score(name: str, value: float, threshold: Threshold, subject: str, good: str, bad: str) -> Score:
    """A score with its reason.

    Args:
        subject: what the reason is about, with `{}` in place of the verdict, which is `good` or `bad`.
    """
    value = round(float(value), 4)  # as reported, so that report and decision never differ
    passed = bool(threshold.holds(np.asarray(value)))
    verdict = subject.replace("{}", good if passed else bad)
    limit = "ceiling" if threshold.ceiling else "floor"
    reason = f"{verdict}: {value:.4f}, {limit} {threshold.value:.4f}."
    return Score(name, value, threshold.value, passed, reason, threshold.usual)


def _seen_before(overlap: float, number: int, grids: Sequence[Grid], copies: Threshold) -> Score:
    """The score against the most similar earlier grid.

    Args:
        number: that grid's place.
    """
    subject = f"Nearly all panels {{}} {grids[number].id}"
    return _score(EARLIER, overlap, copies, subject, "differ from those of", "are also in")


def _alone(run: Measures, number: int) -> dict[str, np.ndarray]:
    return {name: values[number] for name, values in run.items()}


def _matrix(vectors: Vectors, number: int) -> np.ndarray:
    matrix: np.ndarray = vectors.panels[number] @ vectors.segments[number].T
    return matrix


def _measure(score: Score) -> str:
    """The name of what was measured: `text` of `text 2`."""
    return next((name for name in PER_PANEL if score.name.removeprefix(f"{name} ").isdecimal()), score.name)
