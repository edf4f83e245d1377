"""Whether a panel belongs to its group: a rule found from the run's own groups held against shuffled ones.

The predecessor of the method had a group classifier taught by people (Group Diffusion Transformers, arXiv 2410.15027).
Here nobody has to label anything: groups shuffled before they are captioned are strangers for certain, and the run's
own are mostly right. How alike a panel is to the others of its group is read, measure by measure, as a surprise: minus
the logarithm of the share of strangers that are as alike. A logistic regression weighs the surprises, as Fisher's
method for combining tests does with equal weights; no weight is negative, so that likeness never counts against a
panel, and weights are drawn towards one another where few groups are there to tell them apart. A grid is as good as
its worst panel.

The threshold lies where most grids with one stranger are caught for the fewest right ones. How many strangers the run
itself holds is estimated first and taken out of the count of right ones, so the threshold does not drift with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency.likeness import SUMMARIES, Likeness, features

FEWEST = 8
"""Groups below which a run says too little to find a rule."""
MOST = 2_000
"""Groups that a rule is found from at most, and shuffled ones of each kind."""
EACH = 12
"""Shuffled groups of each kind for every group of a smaller run."""
STIFFNESS = 0.01
"""How strongly weights are drawn towards their common mean, in losses of one panel per squared weight and panel."""
CATCH = 0.98
"""Share of grids with one stranger that a threshold is to catch at most: to want the last would cost right ones."""
MOST_SPOILT = 0.9
SURE = 0.5
"""Standard errors that an estimate of how much of the run is wrong is lowered by."""
LOW = 0.6
"""Share of the grids with one stranger under the scores at which the run is searched for wrong ones."""
LEVELS = (1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02, 0.012, 0.007, 0.004, 0.002, 0.001)
"""Shares of strangers at which a surprise is read off; between them it is interpolated."""
LINE = 0.65
"""Area under the curve, groups against shuffled ones, that must lie within a run's interval: unrelated pictures have
0.5, a run of which half is spoilt about 0.72, one film by itself, whose scenes share their people, 0.6 to 0.9."""
SEED = 17
DIGITS = 6
"""Of scores: where nothing tells groups apart, rounding errors are not to decide."""
FOLDS = 5
TAUGHT = 10.0
"""What a group that a person has judged weighs beside one that nobody has."""
DRAWS = 500
"""Times that the sources are drawn anew for an interval."""


@dataclass(frozen=True)
class Shuffled:
    """Groups that are no groups, as places of panels: groups x panels."""

    strangers: np.ndarray
    """Every panel of another source."""
    one: np.ndarray
    """A right group with one panel of another source in place of its own."""
    place: np.ndarray
    """Which panel that is, by group."""


def shuffle(groups: np.ndarray, sources: Sequence[object]) -> Shuffled:
    """Strangers out of a run's own panels.

    Args:
        groups: places of panels, groups x panels.
        sources: by group the film or folder that it comes from; where a single one holds most of them, other groups of
            it count as other sources.
    """
    rng = np.random.default_rng(SEED)
    count, size = groups.shape
    known = list(dict.fromkeys(sources))
    of = np.array([known.index(source) for source in sources])
    if np.bincount(of).max() > count / 2:
        of = np.arange(count)
    number = min(MOST, EACH * count)
    drawn = rng.integers(count, size=(number, size))
    for column in range(1, size):  # drawn again until no two come from one source, or there are no more sources
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
class Surprise:
    """How a likeness becomes a surprise: minus the logarithm of the share of strangers that are as alike or more."""

    likeness: np.ndarray
    """Rising."""
    surprise: np.ndarray

    @staticmethod
    def among(strangers: np.ndarray) -> Surprise:
        known = np.sort(strangers[~np.isnan(strangers)])
        if not len(known):
            return Surprise(np.zeros(1), np.zeros(1))
        places = np.minimum(len(known) - 1, np.round((1 - np.array(LEVELS)) * len(known)).astype(int))
        edges = np.unique(known[places])
        share = 1 - np.searchsorted(known, edges, side="left") / len(known)
        return Surprise(edges, -np.log(np.maximum(share, 1 / len(known))))

    def of(self, values: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), np.nan, np.interp(values, self.likeness, self.surprise))


@dataclass(frozen=True)
class Rule:
    """How a panel's features become one number: the log-odds that it belongs, as many strangers as right ones."""

    names: tuple[str, ...]
    """Of the measures."""
    surprises: tuple[Surprise, ...]
    """By feature."""
    unknown: np.ndarray
    """By feature, the surprise that stands for what can't be measured: half of what right panels usually have."""
    weights: np.ndarray
    bias: float

    def scores(self, found: np.ndarray) -> np.ndarray:
        """By group and panel."""
        total = _filled(_surprising(found, self.surprises), self.unknown) @ self.weights + self.bias
        rounded: np.ndarray = np.round(total, DIGITS)
        return rounded

    def share(self) -> dict[str, float]:
        """What each measure counts of the whole; one that can't be measured, or is always the same, counts nothing."""
        telling = np.array([len(surprise.likeness) > 1 for surprise in self.surprises])
        by_measure = (self.weights * telling).reshape(len(self.names), len(SUMMARIES)).sum(axis=1)
        return dict(zip(self.names, (by_measure / max(by_measure.sum(), 1e-9)).tolist(), strict=True))


@dataclass(frozen=True)
class Labelled:
    """Panels of which it is known whether they belong: panels x features, and what each weighs."""

    right: np.ndarray
    wrong: np.ndarray
    right_weight: np.ndarray
    wrong_weight: np.ndarray


def fit(names: Sequence[str], panels: Labelled, strangers: np.ndarray) -> Rule:
    """The rule that tells right panels from wrong ones.

    Args:
        names: of the measures.
        strangers: features of panels of groups of strangers, by whom surprises are measured.
    """
    from scipy.optimize import minimize

    surprises = tuple(Surprise.among(column) for column in strangers.T)
    right, wrong = (_surprising(rows, surprises) for rows in (panels.right, panels.wrong))
    unknown = np.array([_median(column) / 2 for column in right.T])
    x = np.concatenate([_filled(rows, unknown) for rows in (right, wrong)])
    y = np.concatenate([np.ones(len(right)), -np.ones(len(wrong))])
    weight = np.concatenate([one / (2 * max(one.sum(), 1e-9)) for one in (panels.right_weight, panels.wrong_weight)])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = theta[:-1], theta[-1]
        margin = y * (x @ w + b)
        slope = -y * weight / (1 + np.exp(np.clip(margin, -500, 500)))
        apart = w - w.mean()
        value = float((weight * np.logaddexp(0, -margin)).sum() + STIFFNESS * (apart @ apart + 0.1 * w @ w))
        return value, np.append(x.T @ slope + STIFFNESS * (2 * apart + 0.2 * w), slope.sum())

    start = np.append(np.full(x.shape[1], 1 / x.shape[1]), 0.0)
    bounds = [(0, None)] * x.shape[1] + [(None, None)]
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Rule(tuple(names), surprises, unknown, theta[:-1], float(theta[-1]))


def _surprising(rows: np.ndarray, surprises: Sequence[Surprise]) -> np.ndarray:
    return np.stack([surprise.of(rows[..., number]) for number, surprise in enumerate(surprises)], axis=-1)


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0


def _filled(rows: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(rows), unknown, rows)


@dataclass(frozen=True)
class Found:
    """What a run's groups say: the rule, the threshold, and the scores that it rests on.

    Scores that rates are counted from are those of rules which did not see the group (five folds).
    """

    rule: Rule
    threshold: float
    run: np.ndarray
    """By group, that of its worst panel."""
    strangers: np.ndarray
    one: np.ndarray
    sources: tuple[object, ...]
    usual: Mapping[str, float]
    """By measure, the median of a panel's best likeness to another of its group."""


def find(
    measures: Mapping[str, Likeness],
    groups: np.ndarray,
    sources: Sequence[object],
    price: float,
    prior: np.ndarray | None = None,
    taught: Mapping[int, bool] | None = None,
) -> Found:
    """The rule of a run of at least FEWEST groups, and what it comes to.

    Args:
        groups: places of panels, groups x panels.
        price: what a right group that is rejected counts against one with a stranger that is caught.
        prior: log-odds by group and panel that are known besides and added to the rule's. The threshold is found
            without them; shuffled groups get the run's own, since strangers would stand where its panels stand.
        taught: groups of which a person has said whether they are right.
    """
    shuffled = shuffle(groups, sources)
    some = np.arange(len(groups))
    if len(groups) > MOST:
        drawn = np.random.default_rng(SEED).choice(len(groups), MOST, replace=False)
        some = np.unique(np.concatenate([drawn, np.array(list(taught or ()), int)]))
    mine = features(measures, groups[some])
    strangers, one = features(measures, shuffled.strangers), features(measures, shuffled.one)
    wrong = one[np.arange(len(one)), shuffled.place]
    known = {place: taught[number] for place, number in enumerate(some.tolist()) if taught and number in taught}
    extra = np.zeros(mine.shape[:2]) if prior is None else prior[some]
    spare = extra[np.random.default_rng(SEED).integers(len(extra), size=len(strangers))]

    def rule_without(fold: int) -> Rule:
        left = np.array([number % FOLDS != fold for number in range(len(mine))])
        out = np.array([number % FOLDS != fold for number in range(len(strangers))])
        return _fitted(measures, mine, left, known, (strangers[out], wrong[out]))

    run, far, near = (np.empty(rows.shape[:2]) for rows in (mine, strangers, one))
    for fold in range(FOLDS):
        rule = rule_without(fold)
        for scores, rows in ((run, mine), (far, strangers), (near, one)):
            scores[fold::FOLDS] = rule.scores(rows[fold::FOLDS])
    best = mine[..., :: len(SUMMARIES)].reshape(-1, len(measures))
    return Found(
        rule_without(FOLDS),
        threshold(run.min(axis=1), far.min(axis=1), near.min(axis=1), price),
        (run + extra).min(axis=1),
        (far + spare).min(axis=1),
        (near + spare).min(axis=1),
        tuple(sources[number] for number in some.tolist()),
        {name: _median(column) for name, column in zip(measures, best.T, strict=True)},
    )


def _fitted(
    measures: Mapping[str, Likeness],
    mine: np.ndarray,
    left: np.ndarray,
    known: Mapping[int, bool],
    wrong: tuple[np.ndarray, np.ndarray],
) -> Rule:
    """The rule from those of the run's groups that are `left`, and from strangers."""
    size = mine.shape[1]
    right = np.array([left[number] and known.get(number, True) for number in range(len(mine))])
    weight = np.array([TAUGHT if number in known else 1.0 for number in range(len(mine))])
    alone, replaced = wrong[0].reshape(-1, mine.shape[-1]), wrong[1]
    bad = [number for number, good in known.items() if left[number] and not good]
    dropped = mine[bad].reshape(-1, mine.shape[-1])
    both = len(alone) + len(replaced)
    panels = Labelled(
        mine[right].reshape(-1, mine.shape[-1]),
        np.concatenate([alone, replaced, dropped]),
        np.repeat(weight[right], size),
        np.concatenate(
            [
                np.full(len(alone), 0.5 / max(1, len(alone))) * both,
                np.full(len(replaced), 0.5 / max(1, len(replaced))) * both,
                np.full(len(dropped), TAUGHT),
            ]
        ),
    )
    return fit(list(measures), panels, alone)


def threshold(run: np.ndarray, strangers: np.ndarray, one: np.ndarray, price: float) -> float:
    """Where the share of grids with one stranger that are caught, less `price` times that of right ones, is greatest.

    Args:
        run: scores of the run's grids, `strangers` and `one` those of the shuffled ones.
    """
    edges = np.unique(np.concatenate([run, np.quantile(one, np.linspace(0, CATCH, 99))]))
    below, far, near = (_under(scores, edges) for scores in (run, strangers, one))
    shares = _spoilt(below, far, near, len(run))
    right = (below - shares[0] * far - shares[1] * near) / (1 - shares.sum())
    return float(edges[np.argmax(near - price * np.maximum(right, 0.0))])


def _under(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which share of the scores each edge would reject."""
    share: np.ndarray = np.searchsorted(np.sort(scores), edges, side="left") / len(scores)
    return share


def _spoilt(run: np.ndarray, strangers: np.ndarray, one: np.ndarray, count: int) -> np.ndarray:
    """The shares of the run that are grids of strangers and grids with one.

    Which kind prevails is found where hardly any right grid lies, by least squares; how many there are is what the run
    can hold at most, wherever one looks.

    Args:
        run: at each edge the share of the run under it, the others those of shuffled groups.
        count: grids of the run.
    """
    from scipy.optimize import nnls

    both = np.stack([strangers, one], axis=1)
    low = one <= LOW
    kinds = nnls(both[low], run[low])[0]
    if not kinds.sum():
        return kinds
    kinds /= kinds.sum()
    mixed = both @ kinds
    told = mixed > 0.5  # noqa: PLR2004  (where the smaller half of the wrong ones lies, shares are too rough)
    total = min(1.0, float((run[told] / mixed[told]).min())) if told.any() else 0.0
    sure = max(0.0, total - SURE * float(np.sqrt(total * (1 - total) / count)))
    least: np.ndarray = kinds * min(MOST_SPOILT, sure)
    return least


# ---- the run as a whole


@dataclass(frozen=True)
class Area:
    """Area under the curve, the run's groups against shuffled ones: the chance that a group is more of one than a
    shuffled group is. With a 95 % interval by drawing the sources anew."""

    value: float
    low: float
    high: float

    @property
    def cleared(self) -> bool:
        return self.high >= LINE

    def facts(self) -> dict[str, float | bool]:
        told = {name: round(getattr(self, name), 3) for name in ("value", "low", "high")}
        return told | {"line": LINE, "cleared": self.cleared}


def area(found: Found) -> Area:
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
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Area(float(beats.mean()), float(low), float(high))
