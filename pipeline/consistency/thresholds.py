"""Thresholds of the filter's scores: found from a run's own scores, or fixed; and how often each would be wrong.

A floor lies some robust deviations under the median of the run's scores. The median hardly moves where a part of
the captions is bad, so the run may hold what the filter is there to find. Shuffled controls tell how much of what is
wrong for certain would pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.consistency.similarity import ACROSS, WITHIN, Measures
from pipeline.task import Task

FEWEST = 8
"""Grids below which a run's own scores say too little to find a threshold."""
COPIES = "copies of a panel"
SAME = 0.9995
"""Cosine of a picture or a text with itself, rounding allowed for."""
CONFIDENCE = 0.95
NO_LIMIT = -1.0
"""No cosine is under it: nothing is asked of the score unless by hand."""


@dataclass(frozen=True)
class Rule:
    """What a threshold of one measure is when nothing is known of the run, and which controls it must tell apart."""

    ceiling: bool
    setting: str
    """Key of the task's filter section that fixes it by hand."""
    fixed: Mapping[str, float]
    """By kind of scorer."""
    controls: tuple[str, ...]
    spreads: float = 3.0
    """Robust deviations under the median: of normal scores 1 in 740 lies lower than 3, so what does is of another kind.
    What other numbers do is in LOG.md."""


# Published thresholds for CLIP ViT-B/32 are 0.28 and 0.30 for image and text (LAION, to thin out billions of short
# texts) and data-juicer's default of 0.1 for image and text as for two images; none is for panels and their segments,
# and none for SigLIP. Without a run's own scores only what fits nothing should go, so for CLIP the low one it is.
# SigLIP's cosines are lower and nearer together (a right and a wrong text of one picture 0.07 apart: logits -1.2 and
# -8.9 at a scale of 112, issues 716 and 746 of open_clip), so its values are less than half of CLIP's: an estimate, not
# measured. Nor is a ceiling published: with our own CLIP copies trimmed by 4 % score 0.965 and more, different shots up
# to 0.93, the texts of different shots up to 0.9. The slack is ours too.
RULES = {
    "text": Rule(False, "floor", {"clip": 0.10, "siglip": 0.04}, (WITHIN, ACROSS)),
    "order": Rule(True, "slack", {"clip": 0.02, "siglip": 0.01}, (WITHIN,)),
    # Right grids scatter widely in this one, to the low side: it is to veto what is far off and no more.
    "summary": Rule(False, "summary", {"clip": 0.10, "siglip": 0.04}, (ACROSS,), spreads=5.0),
    # Never found from the run: under its own median it would follow whatever the run holds. `consistency` judges that.
    "least alike": Rule(False, "related", {"clip": NO_LIMIT, "siglip": NO_LIMIT}, ()),
    "most alike": Rule(True, "copies", {"clip": 0.97, "siglip": 0.97}, (COPIES,)),
    "texts alike": Rule(True, "texts", {"clip": 0.97, "siglip": 0.97}, ()),
    "earlier grid": Rule(True, "copies", {"clip": 0.97, "siglip": 0.97}, (COPIES,)),
}


@dataclass(frozen=True)
class Evidence:
    """What thresholds are found from."""

    run: Measures
    controls: Mapping[str, Measures]
    """Measures of the shuffled controls; none where there are too few grids."""
    copies: np.ndarray
    """Cosines of panels with copies of them; none where there are too few grids."""

    @property
    def grids(self) -> int:
        return len(self.run["text"])

    def right(self, name: str) -> np.ndarray:
        """The run's own scores of a measure."""
        return _there(self.run[name])

    def wrong(self, name: str) -> dict[str, np.ndarray]:
        """By control the scores of what a measure's threshold must keep out."""
        found = {control: _there(shuffled[name]) for control, shuffled in self.controls.items()}
        found[COPIES] = self.copies
        return {control: found[control] for control in RULES[name].controls if len(found.get(control, ()))}


def _there(values: np.ndarray) -> np.ndarray:
    there: np.ndarray = values[~np.isnan(values)]
    return there


@dataclass(frozen=True)
class Estimate:
    """A share that was counted, with its Wilson interval: as if no two of the counted had anything in common."""

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
    """An estimate's facts in words."""
    interval = f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f}"
    return f"{estimate['count']} of {estimate['of']} ({interval} %)"


@dataclass(frozen=True)
class Threshold:
    value: float
    ceiling: bool
    how: str
    usual: float | None = None
    """The median of the run's scores."""
    false_rejects: Estimate | None = None
    """Scores of the run on the wrong side: at most so many right ones are rejected, as some may be wrong indeed."""
    false_accepts: Mapping[str, Estimate] = field(default_factory=dict)
    """By control, what is wrong for certain and on the right side."""

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Which values are on the right side."""
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
    """The thresholds that a stage's facts tell of, without their estimates."""
    return {
        name: Threshold(told["value"], told["is"] == "ceiling", told["found by"], told["usual"])
        for name, told in facts.get("thresholds", {}).items()
    }


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a run, and how the filter as a whole does with them."""

    thresholds: dict[str, Threshold]
    how: str
    rejected: Estimate | None = None
    """Grids of the run that fail a threshold: at most so many right ones do."""
    accepted: Mapping[str, Estimate] = field(default_factory=dict)
    """By control, shuffled grids that pass every threshold."""

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
        kind: of the scorer, clip or siglip.
    """
    found = {name: _find(name, evidence, task, kind) for name in RULES}
    if not evidence.controls:
        few = f"the run has {evidence.grids} of the {FEWEST} grids that it takes to find others"
        return Calibration(found, f"fixed defaults of {kind} scorers: {few}")
    source = f"fixed defaults of {kind} scorers, as asked for" if task.filter.fixed else "found from the run's scores"
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
        return float(by_hand), f"fixed by filter.{rule.setting}"
    if task.group.by == "pairs" and name in ("most alike", "texts alike"):
        return SAME, "in a pair only the very same is a copy"
    if evidence.controls and not task.filter.fixed:
        if COPIES in rule.controls:
            return _under(evidence.copies, COPIES, rule.spreads)
        if not rule.ceiling and rule.controls and len(scores):
            return _under(scores, "the run's scores", rule.spreads)
    return rule.fixed[kind], f"fixed default of {kind} scorers"


def _under(scores: np.ndarray, whose: str, spreads: float) -> tuple[float, str]:
    """Some robust deviations under the median, and that in words."""
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(np.abs(scores - middle)))  # 1.4826 makes it a standard deviation
    how = f"median {middle:.3f} of {whose} less {spreads:g} robust deviations of {spread:.3f}"
    return middle - spreads * spread, how


def passing(run: Measures, thresholds: Mapping[str, Threshold]) -> np.ndarray:
    """Which grids pass every threshold; what can't be measured is no fault of theirs."""
    good = np.ones(len(run["text"]), bool)
    for name, threshold in thresholds.items():
        good &= (threshold.holds(run[name]) | np.isnan(run[name])).reshape(len(good), -1).all(axis=1)
    return good


def lines(facts: Mapping[str, Any]) -> list[str]:
    """What a person should know of the calibration, from the stage's facts: thresholds, then how often they err."""
    if "thresholds" not in facts:
        return []
    found = facts["thresholds"]
    named = ", ".join(f"{name} {threshold['value']:g}" for name, threshold in found.items())
    told = [f"thresholds ({facts['calibration']}): {named}"]
    for what, errors in (("panels by their text", found["text"]), ("whole grids", facts)):
        if errors["false rejects"]:
            wrong = ", ".join(f"{control} {share(rate)}" for control, rate in errors["false accepts"].items())
            told.append(f"{what}: false rejects at most {share(errors['false rejects'])}; false accepts: {wrong}")
    return told
