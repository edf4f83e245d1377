"""What is made of belonging, grid by grid and for the run: scores with reasons, what the report tells, when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""What a right grid that is rejected counts against one with a stranger that is caught."""
ONCE = 0.5
"""Between a person seen in no other panel and one seen in one."""
BELONGS, RECURS = "belongs", "recurs"


@dataclass(frozen=True)
class Verdict:
    """On the grids of a run.

    `panels` is by grid and panel the log-odds that it belongs; None where the run has too few grids to tell.
    """

    found: belonging.Found | None
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
        vectors: by the scorer, where there is one.
        taught: by grid, whether a person finds it right.
    """
    groups = [grid.group.records for grid in grids]
    places = np.arange(sum(map(len, groups))).reshape(len(grids), -1)
    flat = [record for group in groups for record in group]
    pictures, texts = (_rows(vectors.panels), _rows(vectors.segments)) if vectors else (None, None)
    measures = evidence.seen(task, flat, pictures) | evidence.told(task, captions, texts)
    read = features(measures, places)
    if len(grids) < belonging.FEWEST or places.shape[1] == 1:
        return Verdict(None, read, tuple(measures), None)
    prior = evidence.NEAR * evidence.nearness(groups)
    for number, caption in enumerate(captions):
        prior[number, list(evidence.called_strangers(caption))] += evidence.WORD
    known = {number: taught[grid.id] for number, grid in enumerate(grids) if grid.id in taught}
    found = belonging.find(measures, places, _sources(grids), PRICE, prior, known)
    return Verdict(found, read, tuple(measures), found.rule.scores(read) + prior)


def _rows(vectors: np.ndarray) -> np.ndarray:
    return vectors.reshape(-1, vectors.shape[-1])


def _sources(grids: Sequence[Grid]) -> list[tuple[str, str]]:
    firsts = [grid.group.records[0].position for grid in grids]
    return [(first.folder, first.film) for first in firsts]


# ---- one grid


def scores(found: Verdict, number: int, caption: Caption, task: Task) -> tuple[Score, ...]:
    """A score a panel for belonging, and one for whether anybody in it is seen in another panel.

    Without a rule the captioner's own word counts, where its texts bear it out.
    """
    called = evidence.called_strangers(caption)
    reason = (caption.parts and caption.parts.unrelated) or "it does not belong"
    told = []
    for panel, marker in enumerate(task.markers):
        word = f"the captioner: {reason}" if panel in called else ""
        if found.found is not None and found.panels is not None:
            best = found.features[number, panel, :: len(SUMMARIES)]
            why = likenesses(found.measures, best, found.found.usual)
            told.append(
                _against_floor(found.found, found.panels, (number, panel), marker, f"{why}; {word}" if word else why)
            )
        elif word:
            told.append(Score(f"{BELONGS} {panel + 1}", 0.0, 1.0, False, f"Panel {marker} is a stranger; {word}."))
    return (*told, *_recurring(caption, task))


def _against_floor(found: belonging.Found, panels: np.ndarray, place: tuple[int, int], marker: str, why: str) -> Score:
    value, floor = round(float(panels[place]), 4), round(found.threshold, 4)
    verb = "belongs to" if value >= floor else "is a stranger in"
    reason = f"Panel {marker} {verb} its grid: {value:.4f}, floor {floor:.4f} ({why})."
    return Score(f"{BELONGS} {place[1] + 1}", value, floor, value >= floor, reason, round(float(np.median(panels)), 4))


def likenesses(measures: Sequence[str], best: np.ndarray, usual: Mapping[str, float]) -> str:
    pairs = [(name, value) for name, value in zip(measures, best.tolist(), strict=True) if not np.isnan(value)]
    return ", ".join(f"{name} {value:.2f}, usually {usual[name]:.2f}" for name, value in pairs)


def _recurring(caption: Caption, task: Task) -> tuple[Score, ...]:
    """Of panels with people: whether anybody in it is seen in another panel. Only such a panel teaches to keep them."""
    parts = caption.parts
    if parts is None or not task.filter.recurring or "people" not in task.group.ties or len(parts.panels) == 1:
        return ()
    people = evidence.people_in(parts)
    told = []
    for panel, (marker, mine) in enumerate(zip(task.markers, people, strict=True)):
        others = sum(bool(mine & theirs) for place, theirs in enumerate(people) if place != panel)
        if mine:
            seen = "Somebody" if others else "Nobody"
            reason = f"{seen} in panel {marker} is seen in another panel: {others}, floor {ONCE:.4f}."
            told.append(Score(f"{RECURS} {panel + 1}", float(others), ONCE, others > 0, reason, usual=1.0))
    return tuple(told)


# ---- the run


def facts(found: belonging.Found) -> dict[str, Any]:
    """What the report tells of a run's groups. Of shuffled groups as many count as the run has: they are no more
    independent than its own are."""
    count = len(found.run)

    def passing(scores_: np.ndarray) -> dict[str, Any]:
        return Estimate(round(float((scores_ >= found.threshold).mean()) * count), count).facts()

    return {
        "groups": count,
        "area": belonging.area(found).facts(),
        "threshold": round(found.threshold, 4),
        "counts": {name: round(value, 3) for name, value in found.rule.share().items()},
        "false rejects": Estimate.among(found.run < found.threshold).facts(),
        "strangers that pass": passing(found.strangers),
        "grids with one stranger that pass": passing(found.one),
    }


def lines(told: Mapping[str, Any]) -> list[str]:
    """What a person should know of it."""
    if not told:
        return []
    area = told["area"]
    return [
        f"groups against shuffled ones: area under the curve {area['value']:.2f} ({area['low']:.2f} to "
        f"{area['high']:.2f}; chance is 0.5)",
        f"strangers captioned as they are: of grids of them pass {share(told['strangers that pass'])}, of grids with "
        f"one {share(told['grids with one stranger that pass'])}; false rejects at most {share(told['false rejects'])}",
    ]


def at_chance(told: Mapping[str, Any]) -> str:
    """Why a run should stop, as the beginning of a sentence; empty where its groups are more than chance."""
    if not told or told["area"]["cleared"]:
        return ""
    area = told["area"]
    return (
        f"the {told['groups']} groups are hardly more alike than pictures put together at random (area under the "
        f"curve {area['value']:.2f}, 95 % interval {area['low']:.2f} to {area['high']:.2f}, which falls short of "
        f"{area['line']})"
    )
