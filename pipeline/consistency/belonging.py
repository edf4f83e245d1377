"""Whether a panel belongs to its group: a logistic regression fitted to a run's own groups and shuffled controls.

The predecessor of the method used a group classifier trained on human labels (Group Diffusion Transformers, arXiv
2410.15027). No labels are needed here: shuffled groups are certain to be strangers, and most of the run's own groups
are correct. For each measure, a panel's similarity to the rest of its group becomes a surprisal: the negative log of
the share of strangers that are at least as similar. The regression weights the surprisals; with equal weights this
would be Fisher's method of combining tests. Weights are never negative, so similarity never counts against a panel,
and they are shrunk towards their mean, which matters if groups are few. A grid scores as its worst panel.

The threshold maximises the share of one-stranger grids that are caught, minus the weighted share of correct grids that
are rejected. The share of strangers in the run is estimated first and corrected for, so that the threshold does not
drift with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency.likeness import SUMMARIES, Likeness, features

FEWEST = 8
"""Smallest number of groups that a rule is fitted to."""
MOST = 2_000
"""Largest number of the run's groups that a rule is fitted to, and of shuffled groups of each kind."""
SHUFFLES = 12
"""Shuffled groups of each kind per group, in smaller runs."""
SHRINKAGE = 0.01
"""Strength of the penalty that shrinks the weights towards their mean, relative to the mean loss per panel."""
MOST_CAUGHT = 0.98
"""Largest share of one-stranger grids that a threshold aims to catch: the last few would cost correct grids."""
MOST_WRONG = 0.9
"""Upper bound of the estimated share of wrong groups in a run."""
STANDARD_ERRORS = 0.5
"""Standard errors that are subtracted from that estimate."""
LOW = 0.6
"""The mix of wrong groups is estimated at scores below which at most this share of the one-stranger grids lies."""
LEVELS = (1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02, 0.012, 0.007, 0.004, 0.002, 0.001)
"""Shares of strangers at which the surprisal is tabulated; between them it is interpolated."""
LEAST_AREA = 0.65
"""ROC AUC of groups against shuffled controls that the upper end of a run's interval must reach. Unrelated pictures
have 0.5, a run in which half the groups are wrong about 0.72, a single film, whose scenes share people, 0.6 to 0.9."""
SEED = 17
DIGITS = 6
"""Scores are rounded to this many digits, so that rounding errors decide nothing if no measure separates the groups."""
FOLDS = 5
"""Cross-validation folds."""
DECIDED_WEIGHT = 10.0
"""Weight of a group that a person has decided on; other groups weigh 1."""
RESAMPLES = 500
"""Bootstrap resamples of the sources for a confidence interval."""


@dataclass(frozen=True)
class Shuffled:
    """Shuffled controls, as indices of panels: groups x panels."""

    strangers: np.ndarray
    """Every panel comes from a different source."""
    one: np.ndarray
    """A group of the run in which one panel is replaced by one from another source."""
    place: np.ndarray
    """The replaced panel of each group."""


def shuffle(groups: np.ndarray, sources: Sequence[object]) -> Shuffled:
    """Shuffled controls made of a run's own panels.

    Args:
        groups: indices of panels, groups x panels.
        sources: the film or folder of each group. If one source has more than half of the groups, every group counts
            as a source of its own.
    """
    rng = np.random.default_rng(SEED)
    count, size = groups.shape
    known = list(dict.fromkeys(sources))
    of = np.array([known.index(source) for source in sources])
    if np.bincount(of).max() > count / 2:
        of = np.arange(count)
    number = min(MOST, SHUFFLES * count)
    drawn = rng.integers(count, size=(number, size))
    for column in range(1, size):  # redraw until all sources differ, or give up if there are too few
        for _ in range(50):
            same = (of[drawn[:, :column]] == of[drawn[:, column], None]).any(axis=1)
            if not same.any():
                break
            drawn[same, column] = rng.integers(count, size=int(same.sum()))
    strangers = groups[drawn, rng.integers(size, size=(number, size))]
    home, away = rng.integers(count, size=number), rng.integers(count, size=number)
    for _ in range(50):
        same = of[home] == of[away]
        away[same] = rng.integers(count, size=int(same.sum()))
    place, one = rng.integers(size, size=number), groups[home].copy()
    one[np.arange(number), place] = groups[away, rng.integers(size, size=number)]
    return Shuffled(strangers, one, place)


@dataclass(frozen=True)
class Surprisal:
    """Maps a similarity to its surprisal: the negative log of the share of strangers that are at least as similar."""

    similarity: np.ndarray
    """In ascending order."""
    surprisal: np.ndarray

    @staticmethod
    def among(strangers: np.ndarray) -> Surprisal:
        known = np.sort(strangers[~np.isnan(strangers)])
        if not len(known):
            return Surprisal(np.zeros(1), np.zeros(1))
        places = np.minimum(len(known) - 1, np.round((1 - np.array(LEVELS)) * len(known)).astype(int))
        edges = np.unique(known[places])
        share = 1 - np.searchsorted(known, edges, side="left") / len(known)
        return Surprisal(edges, -np.log(np.maximum(share, 1 / len(known))))

    def of(self, values: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), np.nan, np.interp(values, self.similarity, self.surprisal))


@dataclass(frozen=True)
class Rule:
    """Turns a panel's features into the log-odds that it belongs, given equally many strangers and correct panels."""

    names: tuple[str, ...]
    """Names of the measures."""
    surprisals: tuple[Surprisal, ...]
    """One per feature."""
    unknown: np.ndarray
    """Per feature, the surprisal assumed if it can't be measured: half the median of the correct panels."""
    weights: np.ndarray
    bias: float

    def scores(self, features_: np.ndarray) -> np.ndarray:
        """Log-odds per panel: groups x panels, from groups x panels x features."""
        total = _fill(_surprisals(features_, self.surprisals), self.unknown) @ self.weights + self.bias
        rounded: np.ndarray = np.round(total, DIGITS)
        return rounded

    def shares(self) -> dict[str, float]:
        """Share of each measure in the total weight; 0 if it can't be measured or is constant."""
        varies = np.array([len(surprisal.similarity) > 1 for surprisal in self.surprisals])
        by_measure = (self.weights * varies).reshape(len(self.names), len(SUMMARIES)).sum(axis=1)
        return dict(zip(self.names, (by_measure / max(by_measure.sum(), 1e-9)).tolist(), strict=True))


@dataclass(frozen=True)
class Labelled:
    """Features of panels that are known to belong or not (panels x features), and the weight of each panel."""

    right: np.ndarray
    wrong: np.ndarray
    right_weight: np.ndarray
    wrong_weight: np.ndarray


def fit(names: Sequence[str], panels: Labelled, strangers: np.ndarray) -> Rule:
    """Fits the rule that separates correct panels from wrong ones.

    Args:
        names: names of the measures.
        strangers: features of the panels in groups of strangers, which define the surprisals.
    """
    from scipy.optimize import minimize

    surprisals = tuple(Surprisal.among(column) for column in strangers.T)
    right, wrong = (_surprisals(rows, surprisals) for rows in (panels.right, panels.wrong))
    unknown = np.array([_median(column) / 2 for column in right.T])
    x = np.concatenate([_fill(rows, unknown) for rows in (right, wrong)])
    y = np.concatenate([np.ones(len(right)), -np.ones(len(wrong))])
    weight = np.concatenate([one / (2 * max(one.sum(), 1e-9)) for one in (panels.right_weight, panels.wrong_weight)])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = theta[:-1], theta[-1]
        margin = y * (x @ w + b)
        slope = -y * weight / (1 + np.exp(np.clip(margin, -500, 500)))
        apart = w - w.mean()
        value = float((weight * np.logaddexp(0, -margin)).sum() + SHRINKAGE * (apart @ apart + 0.1 * w @ w))
        return value, np.append(x.T @ slope + SHRINKAGE * (2 * apart + 0.2 * w), slope.sum())

    start = np.append(np.full(x.shape[1], 1 / x.shape[1]), 0.0)
    bounds = [(0, None)] * x.shape[1] + [(None, None)]
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Rule(tuple(names), surprisals, unknown, theta[:-1], float(theta[-1]))


def _surprisals(rows: np.ndarray, surprisals: Sequence[Surprisal]) -> np.ndarray:
    return np.stack([surprisal.of(rows[..., number]) for number, surprisal in enumerate(surprisals)], axis=-1)


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0


def _fill(rows: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(rows), unknown, rows)


@dataclass(frozen=True)
class FittedRule:
    """A rule fitted to a run's groups, its threshold, and the scores behind it.

    Error rates are counted on cross-validated scores: no group is scored by a rule that was fitted to it.
    """

    rule: Rule
    threshold: float
    run: np.ndarray
    """Score of each group's worst panel; `strangers` and `one` likewise for the shuffled controls."""
    strangers: np.ndarray
    one: np.ndarray
    sources: tuple[object, ...]
    usual: Mapping[str, float]
    """Per measure, the median over panels of the highest similarity to another panel of the group."""


def fit_run(
    measures: Mapping[str, Likeness],
    groups: np.ndarray,
    sources: Sequence[object],
    price: float,
    prior: np.ndarray | None = None,
    decisions: Mapping[int, bool] | None = None,
) -> FittedRule:
    """Fits the rule of a run of at least FEWEST groups and finds its threshold.

    Args:
        groups: indices of panels, groups x panels.
        price: cost of rejecting a correct group, relative to the gain of catching a group with one stranger.
        prior: further log-odds per group and panel that are added to the rule's. The threshold is found without them;
            shuffled groups get the run's own, since strangers would appear in the same places as its panels.
        decisions: by index of the group, whether a person found it correct.
    """
    shuffled = shuffle(groups, sources)
    some = np.arange(len(groups))
    if len(groups) > MOST:
        drawn = np.random.default_rng(SEED).choice(len(groups), MOST, replace=False)
        some = np.unique(np.concatenate([drawn, np.array(list(decisions or ()), int)]))
    own = features(measures, groups[some])
    strangers, one = features(measures, shuffled.strangers), features(measures, shuffled.one)
    wrong = one[np.arange(len(one)), shuffled.place]
    known = {
        place: decisions[number] for place, number in enumerate(some.tolist()) if decisions and number in decisions
    }
    offsets = np.zeros(own.shape[:2]) if prior is None else prior[some]
    drawn_offsets = offsets[np.random.default_rng(SEED).integers(len(offsets), size=len(strangers))]

    def rule_without(fold: int) -> Rule:
        included = np.array([number % FOLDS != fold for number in range(len(own))])
        out = np.array([number % FOLDS != fold for number in range(len(strangers))])
        return _fit_without(measures, own, included, known, (strangers[out], wrong[out]))

    run, far, near = (np.empty(rows.shape[:2]) for rows in (own, strangers, one))
    for fold in range(FOLDS):
        rule = rule_without(fold)
        for scores, rows in ((run, own), (far, strangers), (near, one)):
            scores[fold::FOLDS] = rule.scores(rows[fold::FOLDS])
    best = own[..., :: len(SUMMARIES)].reshape(-1, len(measures))
    return FittedRule(
        rule_without(FOLDS),
        threshold(run.min(axis=1), far.min(axis=1), near.min(axis=1), price),
        (run + offsets).min(axis=1),
        (far + drawn_offsets).min(axis=1),
        (near + drawn_offsets).min(axis=1),
        tuple(sources[number] for number in some.tolist()),
        {name: _median(column) for name, column in zip(measures, best.T, strict=True)},
    )


def _fit_without(
    measures: Mapping[str, Likeness],
    own: np.ndarray,
    included: np.ndarray,
    known: Mapping[int, bool],
    wrong: tuple[np.ndarray, np.ndarray],
) -> Rule:
    """The rule fitted to the run's groups that are not held out, and to strangers."""
    size = own.shape[1]
    right = np.array([included[number] and known.get(number, True) for number in range(len(own))])
    weight = np.array([DECIDED_WEIGHT if number in known else 1.0 for number in range(len(own))])
    alone, replaced = wrong[0].reshape(-1, own.shape[-1]), wrong[1]
    bad = [number for number, good in known.items() if included[number] and not good]
    dropped = own[bad].reshape(-1, own.shape[-1])
    both = len(alone) + len(replaced)
    panels = Labelled(
        own[right].reshape(-1, own.shape[-1]),
        np.concatenate([alone, replaced, dropped]),
        np.repeat(weight[right], size),
        np.concatenate(
            [
                np.full(len(alone), 0.5 / max(1, len(alone))) * both,
                np.full(len(replaced), 0.5 / max(1, len(replaced))) * both,
                np.full(len(dropped), DECIDED_WEIGHT),
            ]
        ),
    )
    return fit(list(measures), panels, alone)


def threshold(run: np.ndarray, strangers: np.ndarray, one: np.ndarray, price: float) -> float:
    """The threshold that maximises the share of one-stranger grids caught minus `price` times that of correct grids.

    Args:
        run: scores of the run's grids.
        strangers: scores of shuffled grids in which no panels belong together.
        one: scores of shuffled grids with one stranger.
        price: cost of a correct grid that is rejected.
    """
    edges = np.unique(np.concatenate([run, np.quantile(one, np.linspace(0, MOST_CAUGHT, 99))]))
    below, far, near = (_under(scores, edges) for scores in (run, strangers, one))
    shares = _wrong_shares(below, far, near, len(run))
    right = (below - shares[0] * far - shares[1] * near) / (1 - shares.sum())
    return float(edges[np.argmax(near - price * np.maximum(right, 0.0))])


def _under(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The share of the scores that each threshold would reject."""
    share: np.ndarray = np.searchsorted(np.sort(scores), edges, side="left") / len(scores)
    return share


def _wrong_shares(run: np.ndarray, strangers: np.ndarray, one: np.ndarray, count: int) -> np.ndarray:
    """The estimated shares of the run that are grids of strangers and grids with one stranger.

    The ratio of the two is fitted by least squares at low scores, where there is hardly any correct grid. Their total
    is the largest that is compatible with the run's scores at every edge.

    Args:
        run: share of the run's scores below each edge; `strangers` and `one` likewise for shuffled groups.
        count: number of grids in the run.
    """
    from scipy.optimize import nnls

    both = np.stack([strangers, one], axis=1)
    low = one <= LOW
    kinds = nnls(both[low], run[low])[0]
    if not kinds.sum():
        return kinds
    kinds /= kinds.sum()
    mixed = both @ kinds
    dense = mixed > 0.5  # noqa: PLR2004  (below that, shares are too noisy)
    total = min(1.0, float((run[dense] / mixed[dense]).min())) if dense.any() else 0.0
    sure = max(0.0, total - STANDARD_ERRORS * float(np.sqrt(total * (1 - total) / count)))
    least: np.ndarray = kinds * min(MOST_WRONG, sure)
    return least


# ---- the run as a whole


@dataclass(frozen=True)
class Area:
    """ROC AUC of the run's groups against shuffled ones: the chance that a group scores higher than a shuffled one. The
    95 % interval is from a bootstrap over sources."""

    value: float
    low: float
    high: float

    @property
    def cleared(self) -> bool:
        return self.high >= LEAST_AREA

    def facts(self) -> dict[str, float | bool]:
        values = {name: round(getattr(self, name), 3) for name in ("value", "low", "high")}
        return values | {"line": LEAST_AREA, "cleared": self.cleared}


def area(found: FittedRule) -> Area:
    """ROC AUC of a fitted run."""
    known = list(dict.fromkeys(found.sources))
    of = np.array([known.index(source) for source in found.sources])
    if np.bincount(of).max() > len(of) / 2:
        of = np.arange(len(of))
    order = np.sort(found.strangers)
    beats = (np.searchsorted(order, found.run, "left") + np.searchsorted(order, found.run, "right")) / (2 * len(order))
    rng = np.random.default_rng(SEED)
    by_source = [beats[of == source] for source in np.unique(of)]
    drawn = [
        np.concatenate([by_source[pick] for pick in rng.integers(len(by_source), size=len(by_source))]).mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Area(float(beats.mean()), float(low), float(high))
