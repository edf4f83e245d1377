"""What an evaluation finds: grids, what a candidate comes to, and the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iclora.evaluation.judge import Judgement
from iclora.evaluation.measuring import Grade
from training.evaluation import statistics
from training.evaluation.measures import Scale
from training.evaluation.statistics import Draws, Estimate, Numbers
from training.results import own_file

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"
ALONE = 2
"""Results where a single LoRA is compared with its base."""
SIGNIFICANT = 0.05
"""A corrected p-value below which a difference from the base counts."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Grade):
    """One grid of an evaluation."""

    candidate: str
    prompt: str
    seed: int
    file: Path
    """Relative to the evaluation's folder."""


@dataclass(frozen=True)
class Result:
    """What a candidate comes to. Shares and means have 95 % intervals."""

    candidate: str
    score: Estimate
    """The harmonic mean of how well texts are followed and panels keep together, over the prompts of `kept`."""
    followed: Estimate
    kept: Estimate
    """Over prompts that tell looks once; over all where every prompt tells them in each panel."""
    retrieval: Estimate
    """Share of panels that are nearer to their own text than to others of the grid."""
    diversity: Estimate
    """How much scenes change from panel to panel, with the subjects greyed out: 1 as in real grids."""
    copies: Estimate
    memorised: Estimate
    malformed: Estimate
    kept_each: Estimate | None = None
    """Over prompts whose panels' own texts tell the looks again, which the base draws too; None without such."""
    kept_subjects: Estimate | None = None
    """Of subjects cut out; None without a detector, or where real grids' subjects are no more alike than others."""
    people: Estimate | None = None
    """People found against people told, 0 to 100; None without a detector, or where no text names anybody."""
    to_given: Estimate | None = None
    """Mean cosine of drawn panels and given ones; None where none were given."""
    pasted: Estimate | None = None
    """How far drawn panels prefer the given ones to the real ones in their places: 0.5 not at all, 1 copied."""
    better: Estimate | None = None
    """By how much the score is above that of the base; None for the base."""
    p: float | None = None
    """Of no difference from the base, corrected for the number of candidates (Holm); None for the base, and of one
    prompt."""


@dataclass(frozen=True)
class Judged:
    """What a judge finds of a candidate, 0..1."""

    follows: Estimate | None
    """How well panels show what their texts tell; None if the judge never said."""
    consistent: Estimate | None
    """Whether the same people and things are the same in all panels."""
    abstained: int
    """Questions without a usable answer."""
    asked: int

    def __str__(self) -> str:
        told = (f"{name} {value or 'unknown'}" for name, value in
                (("follows its texts", self.follows), ("consistent", self.consistent)))  # fmt: skip
        return f"{', '.join(told)}; {self.abstained} of {self.asked} questions without an answer."


@dataclass(frozen=True)
class Evaluation:
    """Base and LoRAs, compared."""

    folder: Path
    results: tuple[Result, ...]
    """The base first."""
    grids: tuple[Drawn, ...]
    chosen: str | None
    """The first LoRA whose score is within one standard error of the best; smaller steps and strengths come first. None
    if the best is not better than the base."""
    scale: Scale
    prompts: int
    seeds: int
    instruments: Mapping[str, Any]
    """What measured: the identities of the scorer, the image encoder and the detector."""
    given: tuple[int, ...] = ()
    """Panels, from 0, that base and LoRAs were given, from the held-out grids or with the prompts."""
    note: str = ""
    """What a LoRA lacks that it has learnt to have, as a sentence."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the tensors of every LoRA that took part as it was trained, by candidate."""

    file: Path | None = None
    """The run's LoRA, if the chosen one was put there."""
    judgements: tuple[Judgement, ...] = ()
    """Of the grids, in their order, if there was a judge."""
    judge: Mapping[str, Any] | None = None
    """Who judged."""

    def lines(self) -> list[str]:
        """The results, one line for each candidate, and what was chosen."""
        judged = [f"Judge, {name}: {one}" for name, one in self.judged.items()]
        return [*map(_line, self.results), *judged, *(one for one in (self.reason, self.remark) if one)]

    @property
    def remark(self) -> str:
        """What the prompts keep the figures from showing, as a sentence; empty if nothing."""
        if not all(one.told_each for one in self.grids):
            return self.note
        return (
            "Every prompt tells the looks in each panel, which the base draws too: give prompts that tell them once, "
            f"in the summary, to see whether panels keep together. {self.note}"
        ).strip()

    @property
    def judged(self) -> dict[str, Judged]:
        """What the judge finds, by candidate; empty without one."""
        found = dict[str, Judged]()
        for result in self.results if self.judgements else ():
            pairs = zip(self.grids, self.judgements, strict=True)
            own = [judgement for grid, judgement in pairs if grid.candidate == result.candidate]
            follows, consistent = (
                np.array(values, np.float64).reshape(self.prompts, self.seeds)
                for values in ([one.follows for one in own], [one.consistent for one in own])
            )
            silent = int(np.isnan(follows).sum() + np.isnan(consistent).sum())
            known = statistics.known_mean
            found[result.candidate] = Judged(known(follows), known(consistent), silent, 2 * len(own))
        return found

    @property
    def reason(self) -> str:
        """Which LoRA was chosen and why, or why none was; empty where a single one is better than the base."""
        best, file = self.best, self.file
        if best.p is None:
            return (
                f"No LoRA is chosen: one prompt doesn't tell whether {best.candidate} is better than the base; give "
                "more with --prompts."
            )
        if self.chosen is None:
            return (
                f"No LoRA is chosen: {best.candidate} has the best score and is not better than the base "
                f"({best.better}, p {best.p:.3f}).{self._too_few}"
            )
        if len(self.results) <= ALONE and file is None:
            return ""
        told = [f"{self.chosen} is chosen: {self.rule}."]
        if file is not None:
            told.append(f"{file} is {self.chosen} now; the one that the training ended with is {own_file(file).name}.")
        return " ".join(told)

    @property
    def _too_few(self) -> str:
        """That so few prompts could not have shown a difference, as a further sentence; empty if they could."""
        counted = int(counting(np.array([one.told_each for one in self.grids[: self.prompts * self.seeds]])).sum())
        least = (len(self.results) - 1) * statistics.least_p(counted // self.seeds)
        if least < SIGNIFICANT:
            return ""
        return (
            f" With so few prompts p can't be below {min(1.0, least):.3f}, whatever is drawn; give more with --prompts."
        )

    @property
    def best(self) -> Result:
        """The LoRA with the best score."""
        return best_of(self.results)

    @property
    def rule(self) -> str:
        """The reason for the choice, with figures."""
        if len(self.results) <= ALONE:
            return f"the only one evaluated, with a score of {self.best.score}"
        return f"smallest step and strength within one standard error of the best score {self.best.score}"

    def table(self) -> pd.DataFrame:
        """Every grid with its figures, one row each."""
        import pandas as pd

        first = ("candidate", "prompt", "seed", "file", "malformed")
        rows = [{name: getattr(one, name) for name in first} | asdict(one) | asdict(one.measures) for one in self.grids]
        table = pd.DataFrame(rows).drop(columns="measures")
        if self.judgements:
            table["judge_follows"] = [one.follows for one in self.judgements]
            table["judge_consistent"] = [one.consistent for one in self.judgements]
        return table


def _line(one: Result) -> str:
    better = f", {one.better.value:+z.2f}" if one.better else ""
    if one.better and one.better.interval:
        low, high = one.better.interval
        better += f" ({low:+z.2f} to {high:+z.2f}, p {one.p:.3f})"
    more = {
        "where every panel tells": one.kept_each,
        "subjects": one.kept_subjects,
        "like the given": one.to_given,
        "pasted": one.pasted,
    }
    people = f", people as told {one.people.value:.0f} of 100" if one.people else ""
    return (
        f"{one.candidate}: score {one.score}{better}; follows {one.followed}, keeps together {one.kept}, "
        f"scenes {one.diversity.value:.2f}, copies {one.copies.value:.0%}, memorised {one.memorised.value:.0%}, "
        f"malformed {one.malformed.value:.0%}"
        + "".join(f", {name} {value.value:.2f}" for name, value in more.items() if value)
        + people
    )


def best_of(results: Sequence[Result]) -> Result:
    """The LoRA with the best score; of equal ones the first."""
    return max((one for one in results if one.candidate != BASE), key=lambda one: one.score.value)


def compare(grids: Sequence[Drawn], prompts: int, seeds: int) -> tuple[Result, ...]:
    """What every candidate comes to.

    Args:
        grids: all grids of the candidates, by prompt and seed; the base's too.
    """
    names = list(dict.fromkeys(one.candidate for one in grids))
    columns = {name: _columns(grids, name, prompts, seeds) for name in names}
    each = np.array([one.told_each for one in grids[: prompts * seeds : seeds]])
    counts = counting(each)
    draws = Draws(int(counts.sum()), seeds)
    both = {name: (values["followed"][counts], values["kept"][counts]) for name, values in columns.items()}
    scores = {name: draws.score(*values) for name, values in both.items()}
    tuned = [name for name in names if name != BASE]
    told = [statistics.randomisation_test(both[name], both[BASE]) for name in tuned] if counts.sum() > 1 else []
    corrected = dict(zip(tuned, statistics.holm(told), strict=False))
    return tuple(
        Result(
            candidate=name,
            score=scores[name][0],
            followed=_mean(values["followed"]),
            kept=_mean(values["kept"][counts]),
            retrieval=_mean(values["retrieval"]),
            diversity=_mean(values["diversity"]),
            copies=statistics.share(values["copies"]),
            memorised=statistics.share(values["memorised"]),
            malformed=statistics.share(values["malformed"]),
            kept_each=_known(values["kept"][each]),
            kept_subjects=_known(values["kept_subjects"]),
            people=_known(values["people"]),
            to_given=_known(values["to_given"]),
            pasted=_known(values["pasted"]),
            better=None if name == BASE else statistics.difference(scores[name], scores[BASE]),
            p=corrected.get(name),
        )
        for name, values in columns.items()
    )


def counting(each_P: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The prompts by which it is judged whether panels keep together: those that tell looks once, or all if none does.

    Args:
        each_P: whether a prompt tells the looks in each panel.
    """
    return each_P if each_P.all() else ~each_P


def _mean(values_PS: Numbers) -> Estimate:
    return Draws(*values_PS.shape).mean(values_PS)


def _known(values_PS: Numbers) -> Estimate | None:
    """Over the prompts for which a figure is known; None if there are none."""
    known = values_PS[~np.isnan(values_PS).any(axis=1)]
    return _mean(known) if len(known) else None


def _columns(grids: Sequence[Drawn], name: str, prompts: int, seeds: int) -> dict[str, Numbers]:
    """Every figure of a candidate: prompts x seeds, NaN where it can't be measured."""
    own = [one for one in grids if one.candidate == name]
    figures = {
        "followed": [one.followed for one in own],
        "kept": [one.kept for one in own],
        "retrieval": [one.measures.retrieval for one in own],
        "diversity": [one.varied for one in own],
        "copies": [one.copy for one in own],
        "memorised": [one.memorised for one in own],
        "malformed": [one.malformed for one in own],
        "kept_subjects": [one.kept_subjects for one in own],
        "people": [one.measures.people for one in own],
        "to_given": [one.measures.to_given for one in own],
        "pasted": [one.measures.pasted for one in own],
    }
    return {key: np.array(values, np.float64).reshape(prompts, seeds) for key, values in figures.items()}
