"""The filter: every grid's pictures and texts against thresholds; kept or rejected with score, threshold and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import similarity, thresholds
from pipeline.cache import Cache
from pipeline.engine import Stage
from pipeline.records import Caption, Grid, Rejected, Score, Scores
from pipeline.scorers.base import Scorer
from pipeline.similarity import Encoder, Measures, Vectors
from pipeline.task import Task
from pipeline.thresholds import Threshold

PLOT = "scores.png"
FAULTS = {
    "text": "text",
    "order": "order",
    "summary": "summary",
    "least alike": "strangers",
    "most alike": "copies",
    "texts alike": "same texts",
    "earlier grid": "seen before",
}
"""What a grid is rejected as when the score fails."""
EARLIER = "earlier grid"


def stage(task: Task, grids: Sequence[Grid], scorer: Scorer | None, folder: Path, cache: Cache) -> Stage[Caption]:
    identity = scorer.identity() if scorer else {"scorer": "none"}
    facts: dict[str, Any] = {"scorer": identity}
    by_id = {grid.id: grid for grid in grids}

    def filter_(captions: Sequence[Caption]) -> Iterator[Scores | Rejected]:
        if scorer is None:
            (folder / PLOT).unlink(missing_ok=True)
            yield from (Scores(caption.grid, (), caption.text, by_id[caption.grid].path) for caption in captions)
            return
        mine = [by_id[caption.grid] for caption in captions]
        encoder = Encoder(scorer, cache, folder)
        vectors = encoder.vectors(mine, captions)
        run = similarity.measure(vectors)
        found = _calibrated(run, vectors, encoder, mine, task)
        facts.update(found.facts())
        for caption, scores in zip(captions, _judged(run, vectors, mine, found.thresholds, task), strict=True):
            yield Scores(caption.grid, scores, caption.text, by_id[caption.grid].path)
            if failed := [score for score in scores if not score.passed]:
                kinds = " and ".join(sorted({FAULTS[_measure(score)] for score in failed}))
                yield Rejected(caption.grid, by_id[caption.grid].path, kinds, " ".join(s.reason for s in failed))

    def intact() -> bool:
        return scorer is None or not grids or (folder / PLOT).is_file()

    config = {
        "filter": task.filter.model_dump(),
        "markers": task.markers,
        "pairs": task.group.by == "pairs",
        "rules": thresholds.RULES,
        "scorer": identity,
    }
    return Stage("filter", "scores", filter_, config, intact=intact, facts=lambda _: facts)


def score_one(  # noqa: PLR0913, PLR0917  (what one grid is, and what the run found)
    task: Task,
    grid: Grid,
    caption: Caption,
    scorer: Scorer | None,
    folder: Path,
    cache: Cache,
    facts: Mapping[str, Any],
) -> tuple[Score, ...]:
    """One grid's scores against the thresholds that the last filter run found; none where it scored nothing.

    Whether the grid came before is the whole run's matter and not told.

    Args:
        facts: what the filter's mark tells.
    """
    found = thresholds.from_facts(facts)
    if scorer is None or not found:
        return ()
    vectors = Encoder(scorer, cache, folder).vectors([grid], [caption])
    return judge(_alone(similarity.measure(vectors), 0), _matrix(vectors, 0), found, task)


def _calibrated(
    run: Measures, vectors: Vectors, encoder: Encoder, grids: Sequence[Grid], task: Task
) -> thresholds.Calibration:
    """The run's thresholds, with the plot of what they rest on."""
    from pipeline import plot

    enough = len(grids) >= thresholds.FEWEST
    controls = {name: similarity.measure(v) for name, v in similarity.controls(vectors).items()} if enough else {}
    copies = encoder.copies(grids, vectors.panels) if enough else np.zeros(0)
    evidence = thresholds.Evidence(run, controls, copies)
    found = thresholds.calibrate(evidence, task, encoder.scorer.identity()["kind"])
    plot.write(evidence, found.thresholds, encoder.folder / PLOT)
    return found


# ---- judging


def _judged(
    run: Measures, vectors: Vectors, grids: Sequence[Grid], found: Mapping[str, Threshold], task: Task
) -> Iterator[tuple[Score, ...]]:
    """Scores grid by grid. Of grids with nearly the same panels the first that is good itself stays."""
    kept: list[int] = []
    for number in range(len(grids)):
        scores = judge(_alone(run, number), _matrix(vectors, number), found, task)
        if kept:
            scores = (*scores, _seen_before(vectors.panels, number, kept, grids, found[EARLIER]))
        if all(score.passed for score in scores):
            kept.append(number)
        yield scores


def judge(
    values: Mapping[str, np.ndarray], matrix: np.ndarray, found: Mapping[str, Threshold], task: Task
) -> tuple[Score, ...]:
    """The scores of one grid; what can't be measured for want of a text is the linter's matter, not a score.

    Args:
        values: one grid's measures.
        matrix: cosines of its panels (rows) with its segments (columns).
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
        "least alike": ("The panels {}", "are related", "hold strangers"),
        "most alike": ("The panels {}", "are no copies", "hold two copies of one picture"),
        "texts alike": ("The texts of the panels {}", "differ", "hold two that say the same"),
    }
    scores += [_score(name, float(values[name]), found[name], *words) for name, words in subjects.items()]
    return tuple(score for score in scores if not np.isnan(score.value))


def _score(name: str, value: float, threshold: Threshold, subject: str, good: str, bad: str) -> Score:
    """A score with its reason.

    Args:
        subject: what the reason is about, `{}` where the verdict goes: one of `good` and `bad`.
    """
    value = round(float(value), 4)  # as it is told, so that what is told and what is decided never differ
    passed = bool(threshold.holds(np.asarray(value)))
    verdict = subject.replace("{}", good if passed else bad)
    limit = "ceiling" if threshold.ceiling else "floor"
    reason = f"{verdict}: {value:.4f}, {limit} {threshold.value:.4f}."
    return Score(name, value, threshold.value, passed, reason, threshold.usual)


def _seen_before(
    panels: np.ndarray, number: int, kept: Sequence[int], grids: Sequence[Grid], copies: Threshold
) -> Score:
    """The earlier grid that is nearest."""
    alike = similarity.likeness(panels[number], panels[kept])
    nearest = int(np.argmax(alike))
    name = grids[kept[nearest]].id
    return _score(
        EARLIER, float(alike[nearest]), copies, f"Nearly all panels {{}} {name}", "differ from those of", "stand in"
    )


def _alone(run: Measures, number: int) -> dict[str, np.ndarray]:
    return {name: values[number] for name, values in run.items()}


def _matrix(vectors: Vectors, number: int) -> np.ndarray:
    matrix: np.ndarray = vectors.panels[number] @ vectors.segments[number].T
    return matrix


def _measure(score: Score) -> str:
    """The name of what was measured: `text` of `text 2`."""
    return "text" if score.name.startswith("text ") else score.name
