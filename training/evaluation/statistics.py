"""Intervals by clustered bootstrap: seeds of one prompt are not independent, so prompts are drawn, and seeds in them.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile intervals. Candidates are compared on the
same draws, so that the difference is paired. Whether it could be chance, a randomisation test says, which holds for any
number of prompts, where a bootstrap of a few of them finds too much significant (LOG.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

DRAWS = 2_000
EXCHANGES = 9_999
"""Of a randomisation test, where there are too many to make them all."""
ALL_EXCHANGES = 13
"""Prompts up to which all are made: 8,192."""
CONFIDENCE = 0.95
ROUNDING = 1e-6
"""Scores that are no further apart are equal: they come from cosines of float32 vectors."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, which is unknown where there is one prompt: it doesn't tell how others vary."""

    value: float
    low: float | None = None
    high: float | None = None
    error: float | None = None
    """Standard error."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None if they are unknown."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        ends = f" ({self.interval[0]:z.2f} to {self.interval[1]:z.2f})" if self.interval else ""
        return f"{self.value:z.2f}{ends}"


def score(followed: Numbers, kept: Numbers) -> Numbers:
    """The harmonic mean of how well texts are followed and how well panels keep together; 0 if either is 0."""
    total = followed + kept
    return np.asarray(np.divide(2 * followed * kept, total, out=np.zeros_like(total), where=total > 0))


class Draws:
    """The same draws of prompts and seeds for all candidates of an evaluation."""

    def __init__(self, prompts: int, seeds: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._prompts = rng.integers(0, prompts, (DRAWS, prompts))
        self._seeds = rng.integers(0, seeds, (DRAWS, prompts, seeds))

    def means(self, values_PS: Numbers) -> Numbers:
        """The mean in every draw.

        Args:
            values_PS: one value for each prompt and seed.
        """
        drawn = np.take_along_axis(values_PS[self._prompts], self._seeds, axis=2)
        return np.asarray(drawn.mean(axis=(1, 2)))

    def mean(self, values_PS: Numbers) -> Estimate:
        """The mean with its interval."""
        return self._estimate(float(values_PS.mean()), self.means(values_PS))

    def score(self, followed_PS: Numbers, kept_PS: Numbers) -> tuple[Estimate, Numbers]:
        """The score with its interval, and in every draw."""
        drawn = score(self.means(followed_PS), self.means(kept_PS))
        whole = score(np.array([followed_PS.mean()]), np.array([kept_PS.mean()]))
        return self._estimate(float(whole[0]), drawn), drawn

    def _estimate(self, value: float, drawn: Numbers) -> Estimate:
        return estimate(value, drawn) if self._prompts.shape[1] > 1 else Estimate(value)


def estimate(value: float, draws: Numbers) -> Estimate:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value, float(low), float(high), float(draws.std(ddof=1)))


def difference(one: tuple[Estimate, Numbers], other: tuple[Estimate, Numbers]) -> Estimate:
    """By how much the first score is better, paired by draws.

    Args:
        one, other: as `Draws.score` returns them.
    """
    value = one[0].value - other[0].value
    return Estimate(value) if one[0].interval is None else estimate(value, one[1] - other[1])


def randomisation_test(one: tuple[Numbers, Numbers], other: tuple[Numbers, Numbers]) -> float:
    """The two-sided p-value of two scores being the same.

    It is the share of exchanges of the two sides, prompt by prompt, that set the scores at least as far apart as they
    are (Fisher, "The Design of Experiments", 1935).

    Exact for few prompts. For many, some exchanges are drawn, and what was found counts as one of them, so that p is
    never 0 (Phipson and Smyth, "Permutation p-values should never be zero", 2010).

    Args:
        one, other: how well texts are followed, and how well panels keep together; each prompts x seeds.
    """
    (followed_P, kept_P), (others_followed_P, others_kept_P) = (
        [values_PS.mean(axis=1) for values_PS in side] for side in (one, other)
    )
    exchanged_EP = _exchanges(len(followed_P))
    first, second = (
        score(*(np.where(exchanged_EP, *pair).mean(axis=1) for pair in pairs))
        for pairs in (
            ((others_followed_P, followed_P), (others_kept_P, kept_P)),
            ((followed_P, others_followed_P), (kept_P, others_kept_P)),
        )
    )
    apart = np.abs(first - second)
    return float((apart >= apart[0] - ROUNDING).mean())


def _exchanges(prompts: int) -> NDArray[np.bool_]:
    """Which prompts are exchanged: exchanges x prompts; none of them in the first row."""
    if prompts <= ALL_EXCHANGES:
        return np.asarray(np.arange(2**prompts)[:, None] >> np.arange(prompts) & 1, np.bool_)
    drawn = np.random.default_rng(0).integers(0, 2, (EXCHANGES + 1, prompts)).astype(np.bool_)
    drawn[0] = False
    return drawn


def least_p(prompts: int) -> float:
    """The smallest p-value that `randomisation_test` can find: as found, and with all sides exchanged."""
    return 2 / 2**prompts if prompts <= ALL_EXCHANGES else 1 / (EXCHANGES + 1)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in their order."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    found, worst = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(values) - rank) * values[place]))
        found[place] = worst
    return found


def choose(scores: Mapping[str, Estimate]) -> str:
    """The first candidate whose score is within one standard error of the best (Breiman et al. 1984).

    Args:
        scores: in the order of preference, such as from the smallest step; with known errors.
    """
    best = max(scores.values(), key=lambda one: one.value)
    return next(name for name, one in scores.items() if one.value >= best.value - (best.error or 0.0))


def wilson(successes: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); 0 to 1 of nothing."""
    if not of:
        return 0.0, 1.0
    share, z = successes / of, NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = ((middle + side * half) / (1 + z * z / of) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


def share(values_PS: Numbers) -> Estimate:
    """The share of ones with its interval, which is not 0 to 0 where none was found.

    Args:
        values_PS: 0 or 1 for each prompt and seed.
    """
    value, of = float(values_PS.mean()), values_PS.size
    if len(values_PS) == 1:
        return Estimate(value)
    return Estimate(value, *wilson(int(values_PS.sum()), of), math.sqrt(value * (1 - value) / of))


def sign_test(wins: int, losses: int) -> float:
    """The two-sided p-value of pairs in which neither side is better (exact; McNemar's test of the same counts)."""
    of = wins + losses
    tail = sum(math.comb(of, number) for number in range(min(wins, losses) + 1))
    return min(1.0, float(2 * tail / 2**of))


def known_mean(values_PS: Numbers) -> Estimate | None:
    """The mean of what is known, by prompts, with its interval; None if nothing is.

    Args:
        values_PS: one value for each prompt and seed, NaN where there is none.
    """
    known = [row[~np.isnan(row)].mean() for row in values_PS if not np.isnan(row).all()]
    return Draws(len(known), 1).mean(np.array(known)[:, None]) if known else None


def alpha(ratings_RU: Numbers) -> float:
    """Krippendorff's alpha with the interval metric: 1 is full agreement of the raters, 0 what chance gives.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011). Units with fewer than two ratings don't count.

    Args:
        ratings_RU: raters x units, NaN where a rater left one out.

    Returns:
        NaN where all ratings are the same or none can be compared: then nothing can be said.
    """
    units = [column[~np.isnan(column)] for column in ratings_RU.T]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        return math.nan
    values = np.concatenate(units)
    if np.ptp(values) == 0:
        return math.nan
    # Squares over all ordered pairs of distinct ratings; a unit of m ratings has weight 1 / (m - 1).
    observed = sum(_squares(unit) / (len(unit) - 1) for unit in units) / len(values)
    expected = _squares(values) / (len(values) * (len(values) - 1))
    return 1 - observed / expected


def _squares(values: Numbers) -> float:
    """The sum of squared differences over all ordered pairs."""
    return float(2 * len(values) * ((values - values.mean()) ** 2).sum())


def agreement(ratings_RU: Numbers) -> Estimate | None:
    """Krippendorff's alpha with its 95 % interval by a bootstrap over units; None where nothing can be said.

    Of one unit no interval is known.
    """
    value, units = alpha(ratings_RU), ratings_RU.shape[1]
    if math.isnan(value):
        return None
    rng = np.random.default_rng(0)
    draws = np.array([alpha(ratings_RU[:, rng.integers(0, units, units)]) for _ in range(DRAWS // 2)])
    draws = draws[~np.isnan(draws)]
    return estimate(value, draws) if units > 1 and len(draws) > 1 else Estimate(value)
