"""Thresholds of the filter's scores: calibrated on a run's own scores or fixed, with their error rates.

A floor lies some robust deviations below the median of the run's scores. The median hardly moves if some captions are
bad, so calibration tolerates the very faults that the filter looks for. Shuffled controls, which are certain to be
wrong, give the false-accept rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.consistency.similarity import ACROSS, WITHIN, Measures
from pipeline.task import Task

FEWEST = 8
"""Smallest number of grids that thresholds are calibrated on."""
COPIES = "copies of a panel"
SAME = 0.9995
"""Cosine similarity of a picture or a text to itself, with an allowance for rounding."""
CONFIDENCE = 0.95
NO_LIMIT = -1.0
"""No cosine similarity is below it: the score rejects nothing unless a threshold is set by hand."""


@dataclass(frozen=True)
class Rule:
    """The defaults of one measure's threshold, and the controls that it must keep out."""

    ceiling: bool
    setting: str
    """Key of the task's filter section that sets it by hand."""
    fixed: Mapping[str, float]
    """Default per kind of scorer."""
    controls: tuple[str, ...]
    spreads: float = 3.0
    """Robust deviations below the median: only 1 in 740 normally distributed scores lies below 3, so one that does is
    probably not one of them. LOG.md compares other values."""


# Published thresholds for CLIP ViT-B/32 are 0.28 and 0.30 for image and text (LAION, which thinned out billions of
# short texts) and 0.1 for image and text or two images (data-juicer's default). None is meant for panels and their
# segments, and none for SigLIP. Without calibration only a complete mismatch should be rejected, hence the low value
# for CLIP. SigLIP's cosine similarities are lower and closer together (the right and a wrong text of one picture are
# 0.07 apart: logits -1.2 and -8.9 at a scale of 112, open_clip issues 716 and 746), so its values are less than half of
# CLIP's; that is an estimate, not a measurement. No ceiling is published either: with our own CLIP, copies trimmed by
# 4 % score at least 0.965, different shots up to 0.93, the texts of different shots up to 0.9. The slack is our choice.
RULES = {
    "text": Rule(False, "floor", {"clip": 0.10, "siglip": 0.04}, (WITHIN, ACROSS)),
    "order": Rule(True, "slack", {"clip": 0.02, "siglip": 0.01}, (WITHIN,)),
    # The scores of correct grids have a long lower tail here, so this one rejects only extreme outliers.
    "summary": Rule(False, "summary", {"clip": 0.10, "siglip": 0.04}, (ACROSS,), spreads=5.0),
    # Never calibrated: a floor below the run's own median would follow the share of strangers. `belonging` finds them.
    "least alike": Rule(False, "related", {"clip": NO_LIMIT, "siglip": NO_LIMIT}, ()),
    "most alike": Rule(True, "copies", {"clip": 0.97, "siglip": 0.97}, (COPIES,)),
    "texts alike": Rule(True, "texts", {"clip": 0.97, "siglip": 0.97}, ()),
    "earlier grid": Rule(True, "copies", {"clip": 0.97, "siglip": 0.97}, (COPIES,)),
}


def is_ceiling(score: str) -> bool:
    """Whether scores of this name (`text 2`) are good below their threshold; the others are good above it."""
    rule = RULES.get(score.rstrip(" 0123456789"))
    return rule is not None and rule.ceiling


@dataclass(frozen=True)
class Evidence:
    """What thresholds are calibrated on."""

    run: Measures
    controls: Mapping[str, Measures]
    """Measures of the shuffled controls; empty if there are too few grids."""
    copies: np.ndarray
    """Cosine similarities of panels and their copies; empty if there are too few grids."""

    @property
    def grids(self) -> int:
        return len(self.run["text"])

    def right(self, name: str) -> np.ndarray:
        """The run's own scores of a measure."""
        return _measured(self.run[name])

    def wrong(self, name: str) -> dict[str, np.ndarray]:
        """Per control, the scores that a measure's threshold must keep out."""
        found = {control: _measured(shuffled[name]) for control, shuffled in self.controls.items()}
        found[COPIES] = self.copies
        return {control: found[control] for control in RULES[name].controls if len(found.get(control, ()))}


def _measured(values: np.ndarray) -> np.ndarray:
    measured: np.ndarray = values[~np.isnan(values)]
    return measured


@dataclass(frozen=True)
class Estimate:
    """An observed share with its 95 % Wilson interval, which treats all observations as independent."""

    count: int
    of: int

    @staticmethod
    def among(hits: np.ndarray) -> Estimate:
        return Estimate(int(hits.sum()), len(hits))

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.stats import binomtest

        low, high = binomtest(self.count, self.of).proportion_ci(CONFIDENCE, method="wilson")
        return float(low), float(high)

    def facts(self) -> dict[str, Any]:
        low, high = (round(end, 4) for end in self.interval)
        return {"count": self.count, "of": self.of, "rate": round(self.count / self.of, 4), "low": low, "high": high}


def share(estimate: Mapping[str, Any]) -> str:
    """An estimate's facts as text: `3 of 40 (2.6 to 19.9 %)`."""
    interval = f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f}"
    return f"{estimate['count']} of {estimate['of']} ({interval} %)"


@dataclass(frozen=True)
class Threshold:
    """A threshold, how it was found, and its error rates."""

    value: float
    ceiling: bool
    how: str
    usual: float | None = None
    """The median of the run's scores."""
    false_rejects: Estimate | None = None
    """The run's scores that fail: an upper bound of the false rejects, since some may fail rightly."""
    false_accepts: Mapping[str, Estimate] = field(default_factory=dict)
    """Per control, the scores that pass although they are certain to be wrong."""

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Which values pass."""
        return values <= self.value if self.ceiling else values >= self.value

    def facts(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "is": "ceiling" if self.ceiling else "floor",
            "found by": self.how,
            "usual": self.usual,
            "false rejects": self.false_rejects.facts() if self.false_rejects else None,
            "false accepts": {name: found.facts() for name, found in self.false_accepts.items()},
        }


def from_facts(facts: Mapping[str, Any]) -> dict[str, Threshold]:
    """The thresholds in a stage's facts, without their error rates."""
    return {
        name: Threshold(one["value"], one["is"] == "ceiling", one["found by"], one["usual"])
        for name, one in facts.get("thresholds", {}).items()
    }


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a run and the error rates of the filter as a whole."""

    thresholds: dict[str, Threshold]
    how: str
    rejected: Estimate | None = None
    """Grids of the run that fail a threshold: an upper bound of the false rejects."""
    accepted: Mapping[str, Estimate] = field(default_factory=dict)
    """Per control, shuffled grids that pass every threshold."""

    def facts(self) -> dict[str, Any]:
        return {
            "calibration": self.how,
            "false rejects": self.rejected.facts() if self.rejected else None,
            "false accepts": {control: found.facts() for control, found in self.accepted.items()},
            "thresholds": {name: threshold.facts() for name, threshold in self.thresholds.items()},
        }


def calibrate(evidence: Evidence, task: Task, kind: str) -> Calibration:
    """The thresholds of a run.

    Args:
        kind: kind of scorer, "clip" or "siglip".
    """
    found = {name: _find(name, evidence, task, kind) for name in RULES}
    if not evidence.controls:
        few = f"the run has {evidence.grids} of the {FEWEST} grids that calibration takes"
        return Calibration(found, f"fixed defaults for {kind} scorers: {few}")
    source = (
        f"fixed defaults for {kind} scorers, by filter.fixed" if task.filter.fixed else "calibrated on the run's scores"
    )
    accepted = {control: Estimate.among(passing(shuffled, found)) for control, shuffled in evidence.controls.items()}
    return Calibration(found, source, Estimate.among(~passing(evidence.run, found)), accepted)


def _find(name: str, evidence: Evidence, task: Task, kind: str) -> Threshold:
    scores = evidence.right(name)
    value, how = _value(name, evidence, task, kind)
    usual = round(float(np.median(scores)), 4) if len(scores) else None
    bare = Threshold(round(value, 4), RULES[name].ceiling, how, usual)
    if not evidence.controls or not len(scores):
        return bare
    accepts = {control: Estimate.among(bare.holds(values)) for control, values in evidence.wrong(name).items()}
    return replace(bare, false_rejects=Estimate.among(~bare.holds(scores)), false_accepts=accepts)


def _value(name: str, evidence: Evidence, task: Task, kind: str) -> tuple[float, str]:
    """Where a threshold lies and how it was found."""
    rule, scores = RULES[name], evidence.right(name)
    if (by_hand := getattr(task.filter, rule.setting)) is not None:
        return float(by_hand), f"set by filter.{rule.setting}"
    if task.group.by == "names" and name in ("most alike", "texts alike"):
        return SAME, "only identical panels of named groups are copies"
    if evidence.controls and not task.filter.fixed:
        if COPIES in rule.controls:
            return _below(evidence.copies, COPIES, rule.spreads)
        if not rule.ceiling and rule.controls and len(scores):
            return _below(scores, "the run's scores", rule.spreads)
    return rule.fixed[kind], f"fixed default for {kind} scorers"


def _below(scores: np.ndarray, whose: str, spreads: float) -> tuple[float, str]:
    """The value some robust deviations below the median, and how it was found, in words."""
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(np.abs(scores - middle)))  # 1.4826 scales it to a standard deviation
    how = f"median {middle:.3f} of {whose} minus {spreads:g} robust deviations of {spread:.3f}"
    return middle - spreads * spread, how


def passing(run: Measures, thresholds: Mapping[str, Threshold]) -> np.ndarray:
    """Which grids pass every threshold; a value that can't be measured passes."""
    good = np.ones(len(run["text"]), bool)
    for name, threshold in thresholds.items():
        good &= (threshold.holds(run[name]) | np.isnan(run[name])).reshape(len(good), -1).all(axis=1)
    return good


def lines(facts: Mapping[str, Any]) -> list[str]:
    """The calibration as printed lines, from the stage's facts: the thresholds, then their error rates."""
    if "thresholds" not in facts:
        return []
    found = facts["thresholds"]
    named = ", ".join(f"{name} {threshold['value']:g}" for name, threshold in found.items())
    printed = [f"thresholds ({facts['calibration']}): {named}"]
    for what, errors in (("panels against their texts", found["text"]), ("whole grids", facts)):
        if errors["false rejects"]:
            wrong = ", ".join(f"{control} {share(rate)}" for control, rate in errors["false accepts"].items())
            printed.append(f"{what}: false rejects at most {share(errors['false rejects'])}; false accepts: {wrong}")
    return printed
