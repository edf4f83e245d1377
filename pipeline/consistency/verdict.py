"""From measures to a verdict on belonging: scores with reasons per grid, facts for the report, when to stop a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.consistency import belonging, evidence
from pipeline.consistency.likeness import SUMMARIES, features
from pipeline.consistency.similarity import Vectors
from pipeline.consistency.thresholds import Estimate, share
from pipeline.records import Caption, Grid, Score
from pipeline.task import Task

PRICE = 4.0
"""Cost of rejecting a correct grid, relative to the gain of catching one with a stranger."""
ONCE = 0.5
"""Threshold of the number of other panels in which somebody of this panel appears."""
BELONGS, RECURS = "belongs", "recurs"


@dataclass(frozen=True)
class Verdict:
    """The verdict on the grids of a run.

    `panels` holds the log-odds that each panel belongs (grids x panels); None if the run has too few grids to tell.
    """

    found: belonging.FittedRule | None
    features: np.ndarray
    measures: tuple[str, ...]
    panels: np.ndarray | None

    def facts(self) -> dict[str, Any]:
        if self.found is None or self.panels is None:
            return {}
        return facts(self.found) | {
            "false rejects": Estimate.among(self.panels.min(axis=1) < self.found.threshold).facts()
        }


def verdict(
    task: Task,
    grids: Sequence[Grid],
    captions: Sequence[Caption],
    vectors: Vectors | None,
    taught: Mapping[str, bool],
) -> Verdict:
    """The verdict on a run's grids.

    Args:
        vectors: the scorer's vectors; None without a scorer.
        taught: by id of the grid, whether a person finds it correct.
    """
    groups = [grid.group.records for grid in grids]
    places = np.arange(sum(map(len, groups))).reshape(len(grids), -1)
    flat = [record for group in groups for record in group]
    pictures, texts = (_rows(vectors.panels), _rows(vectors.segments)) if vectors else (None, None)
    measures = evidence.from_pictures(task, flat, pictures) | evidence.from_captions(task, captions, texts)
    panel_features = features(measures, places)
    if len(grids) < belonging.FEWEST or places.shape[1] == 1:
        return Verdict(None, panel_features, tuple(measures), None)
    prior = evidence.ADJACENT_SHOT * evidence.nearness(flat, places)
    for number, caption in enumerate(captions):
        prior[number, list(evidence.called_strangers(caption.parts))] += evidence.CALLED_STRANGER
    known = {number: taught[grid.id] for number, grid in enumerate(grids) if grid.id in taught}
    found = belonging.fit_run(measures, places, _sources(grids), PRICE, prior, known)
    return Verdict(found, panel_features, tuple(measures), found.rule.scores(panel_features) + prior)


def _rows(vectors: np.ndarray) -> np.ndarray:
    return vectors.reshape(-1, vectors.shape[-1])


def _sources(grids: Sequence[Grid]) -> list[tuple[str, str]]:
    firsts = [grid.group.records[0].position for grid in grids]
    return [(first.folder, first.film) for first in firsts]


# ---- one grid


def scores(found: Verdict, number: int, caption: Caption, task: Task) -> tuple[Score, ...]:
    """Per panel, a score for belonging and one for whether anybody in it appears in another panel.

    Where a person has said which panels belong, that decides, and only the others have a score. Without a fitted rule
    the captioner's opinion counts, unless its own texts contradict it.
    """
    settled = evidence.settled(caption.parts)
    belongs = persons_scores(caption, task) if settled else _judged(found, number, caption, task)
    return (*belongs, *_recurring(caption, task))


def _judged(found: Verdict, number: int, caption: Caption, task: Task) -> Iterator[Score]:
    """Scores for belonging by the rule, else by the captioner."""
    called = evidence.called_strangers(caption.parts)
    for panel, marker in enumerate(task.markers):
        word = f"the captioner: {_reason(caption)}" if panel in called else ""
        if found.found is not None and found.panels is not None:
            best = found.features[number, panel, :: len(SUMMARIES)]
            why = likenesses(found.measures, best, found.found.usual)
            yield _against_floor(found.found, found.panels, (number, panel), marker, f"{why}; {word}" if word else why)
        elif word:
            yield Score(f"{BELONGS} {panel + 1}", 0.0, 1.0, False, f"Panel {marker} is a stranger; {word}.")


def persons_scores(caption: Caption, task: Task) -> Iterator[Score]:
    """A failed score for every panel that does not belong by a person's word."""
    if evidence.settled(caption.parts):
        for panel in evidence.called_strangers(caption.parts):
            reason = f"Panel {task.markers[panel]} is a stranger; a person: {_reason(caption)}."
            yield Score(f"{BELONGS} {panel + 1}", 0.0, 1.0, False, reason)


def _reason(caption: Caption) -> str:
    """Why panels are called strangers."""
    return (caption.parts and caption.parts.unrelated) or "it does not belong"


def _against_floor(
    found: belonging.FittedRule, panels: np.ndarray, place: tuple[int, int], marker: str, why: str
) -> Score:
    value, floor = round(float(panels[place]), 4), round(found.threshold, 4)
    verb = "belongs to" if value >= floor else "is a stranger in"
    reason = f"Panel {marker} {verb} its grid: {value:.4f}, floor {floor:.4f} ({why})."
    return Score(f"{BELONGS} {place[1] + 1}", value, floor, value >= floor, reason, round(float(np.median(panels)), 4))


def likenesses(measures: Sequence[str], best: np.ndarray, usual: Mapping[str, float]) -> str:
    """A panel's best similarities in words, each beside the usual one; those that can't be measured are left out."""
    pairs = [(name, value) for name, value in zip(measures, best.tolist(), strict=True) if not np.isnan(value)]
    return ", ".join(f"{name} {value:.2f}, usually {usual[name]:.2f}" for name, value in pairs)


def _recurring(caption: Caption, task: Task) -> tuple[Score, ...]:
    """For panels with people: does anybody appear in another panel? Otherwise it teaches no consistency."""
    parts = caption.parts
    if parts is None or not task.filter.recurring or "people" not in task.group.ties or len(parts.panels) == 1:
        return ()
    people = evidence.people_in(parts)
    made = []
    for panel, (marker, own) in enumerate(zip(task.markers, people, strict=True)):
        others = sum(bool(own & theirs) for place, theirs in enumerate(people) if place != panel)
        if own:
            subject = "Somebody" if others else "Nobody"
            reason = f"{subject} in panel {marker} appears in another panel: {others}, floor {ONCE:.4f}."
            made.append(Score(f"{RECURS} {panel + 1}", float(others), ONCE, others > 0, reason, usual=1.0))
    return tuple(made)


# ---- the run


def passing(found: belonging.FittedRule, scores_: np.ndarray) -> Estimate:
    """How many shuffled groups pass, by their scores; stated for as many groups as the run has, since they are no more
    independent than its own."""
    count = len(found.run)
    return Estimate(round(float((scores_ >= found.threshold).mean()) * count), count)


def facts(found: belonging.FittedRule) -> dict[str, Any]:
    """Facts about a run's groups for the report."""
    return {
        "groups": len(found.run),
        "area": belonging.area(found).facts(),
        "threshold": round(found.threshold, 4),
        "counts": {name: round(value, 3) for name, value in found.rule.shares().items()},
        "false rejects": Estimate.among(found.run < found.threshold).facts(),
        "strangers that pass": passing(found, found.strangers).facts(),
        "grids with one stranger that pass": passing(found, found.one).facts(),
    }


def lines(facts_: Mapping[str, Any]) -> list[str]:
    """A summary of the facts, as printed lines."""
    if not facts_:
        return []
    area = facts_["area"]
    return [
        f"groups against shuffled controls: ROC AUC {area['value']:.2f} ({area['low']:.2f} to {area['high']:.2f}; "
        "chance is 0.5)",
        f"belonging: false rejects at most {share(facts_['false rejects'])}; false accepts: grids of strangers "
        f"{share(facts_['strangers that pass'])}, grids with one stranger "
        f"{share(facts_['grids with one stranger that pass'])}",
    ]


def at_chance(facts_: Mapping[str, Any]) -> str:
    """Why a run should stop, as the beginning of a sentence; empty if its groups are better than chance."""
    if not facts_ or facts_["area"]["cleared"]:
        return ""
    area = facts_["area"]
    return (
        f"the {facts_['groups']} groups are hardly more alike than pictures put together at random (ROC AUC "
        f"{area['value']:.2f}, 95 % interval {area['low']:.2f} to {area['high']:.2f}, which falls short of "
        f"{area['line']})"
    )
