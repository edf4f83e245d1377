"""How far reviewers agree: on what share of the grids that several have decided, and how much of that is not chance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from pipeline.records import Decision, Word
from pipeline.review.reviewers import told
from pipeline.wording import counted

Decided = tuple[Decision | None, Decision | None]
"""What two reviewers decided on a grid."""


@dataclass(frozen=True)
class Agreement:
    """Of two reviewers; of more, the means over all pairs of them who have decided some grids together."""

    reviewers: tuple[str, ...]
    """Those who have decided a grid that others have decided too, by name; the one without a name is ''."""
    grids: int
    """How many grids two or more of them have decided."""
    equal: float
    """Share of equal decisions, 0 to 1."""
    kappa: float | None
    """Cohen's kappa, at most 1, and 0 at chance; None where there is none."""


def measure(said: Iterable[Iterable[Word]]) -> Agreement | None:
    """How far reviewers agree on what is kept and what is dropped; None if no two have decided the same grid.

    A grid of which a reviewer is unsure is not decided by them yet.

    Args:
        said: what each reviewer says, grid by grid.
    """
    pairs: dict[tuple[str, str], Counter[Decided]] = defaultdict(Counter)
    grids = 0
    for words in map(tuple, said):
        if len(words) < 2:  # noqa: PLR2004  (of most grids, in thousands)
            continue
        decided = sorted((word.reviewer, word.decision) for word in words if word.settled)
        grids += len(decided) > 1
        for (one, first), (other, second) in combinations(decided, 2):
            pairs[one, other][first, second] += 1
    if not pairs:
        return None
    kappas = [kappa for counts in pairs.values() if (kappa := cohens_kappa(counts)) is not None]
    return Agreement(
        reviewers=tuple(sorted({reviewer for pair in pairs for reviewer in pair})),
        grids=grids,
        equal=fmean(_equal(counts) for counts in pairs.values()),
        kappa=fmean(kappas) if kappas else None,
    )


def cohens_kappa(counts: Mapping[Decided, int]) -> float | None:
    """Agreement of two reviewers beyond chance: (p_o - p_e) / (1 - p_e), where p_o is the share of equal decisions and
    p_e the share that would be equal by chance, if each gave every decision as often as they do.

    J. Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological Measurement 20 (1960).

    Args:
        counts: how many grids have what two decisions; at least one.

    Returns:
        -1 to 1; None if both decided the same everywhere, so that chance could do no worse.
    """
    total = sum(counts.values())
    first, second = Counter[Decision | None](), Counter[Decision | None]()
    for (one, other), count in counts.items():
        first[one] += count
        second[other] += count
    chance = sum(first[decision] * second[decision] for decision in first)  # in grids squared, so that 1 - p_e is exact
    return None if chance == total**2 else (_equal(counts) - chance / total**2) / (1 - chance / total**2)


def _equal(counts: Mapping[Decided, int]) -> float:
    return sum(count for (one, other), count in counts.items() if one == other) / sum(counts.values())


def line(found: Agreement) -> str:
    """The agreement as a sentence without its full stop."""
    *rest, last = map(told, found.reviewers)
    share = f"{100 * found.equal:.1f}".removesuffix(".0")
    kappa = "no kappa, since all said the same" if found.kappa is None else f"Cohen's kappa {found.kappa:.2f}"
    mean = "means over pairs: " if len(rest) > 1 else ""
    return f"{', '.join(rest)} and {last} agree on {share}% of {counted(found.grids, 'grid')} ({mean}{kappa})"
