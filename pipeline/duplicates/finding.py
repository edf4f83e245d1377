"""Copies of every kind among the pictures of a run, and of pictures that earlier runs use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.duplicates import exact, perceptual, vectors
from pipeline.duplicates.base import Copy, Limits, Looks, preference
from pipeline.rows import Joined

Kind = Callable[[Looks, np.ndarray, Limits, int], Iterator[Copy]]
"""Finds copies of one kind, given the pictures; the rows to look at, in the order in which pictures stay; the limits;
and how many rows at the start stay whatever they show, of which alone copies are looked for (0 if all are equal)."""
KINDS: tuple[Kind, ...] = (exact.pixel_copies, perceptual.copies, vectors.copies)


def copies(looks: Looks, limits: Limits) -> list[Copy]:
    """Pictures that show what another one shows, which stays."""
    return _found(looks, limits, preference(looks.records), 0)


def used(looks: Looks, earlier: Looks, limits: Limits) -> list[Copy]:
    """Pictures that show what a picture of earlier runs shows; `of` is a row of `earlier`."""
    fixed = len(earlier.records)
    if not fixed:
        return []
    of_both = None if earlier.vectors is None or looks.vectors is None else Joined(earlier.vectors, looks.vectors)
    both = Looks(
        [*earlier.records, *looks.records],
        Joined(earlier.colours, looks.colours),
        of_both,
    )
    order = np.concatenate([preference(earlier.records), preference(looks.records) + fixed])
    return [Copy(one.copy - fixed, one.of, one.how) for one in _found(both, limits, order, fixed)]


def _found(looks: Looks, limits: Limits, order: np.ndarray, fixed: int) -> list[Copy]:
    """Copies by one kind of likeness after the other, each among the pictures that are left."""
    found: list[Copy] = []
    for kind in KINDS:
        gone = {one.copy for one in found}
        found += kind(looks, np.array([row for row in order.tolist() if row not in gone], int), limits, fixed)
    return found
