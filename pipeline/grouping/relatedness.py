"""How alike two shots of a film must be to be of one scene or of the same people, where a run has too few groups to
learn it from.

Shots far apart in time, or of different films, are strangers. A shot is compared with its neighbours and with as many
strangers; the floor is where these are told apart best, at the price that the filter puts on losing a right one. Where
they can't be told apart there is no floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.consistency.belonging import SEED
from pipeline.consistency.verdict import PRICE
from pipeline.grouping.pictures import Pictures
from pipeline.records import Record
from pipeline.task import Task

FEWEST = 12
"""Shots with neighbours and strangers below which nothing is said."""
MOST = 2_000
"""Shots that are compared."""
LEAST_GAIN = 0.5
"""Share of the strangers that the floor keeps out, less PRICE times the share of shots that it costs, at least."""


def floor(records: Sequence[Record], task: Task, pictures: Pictures) -> float | None:
    """Least similarity of a shot to the most similar other one of its group; None if that can't be said.

    Args:
        records: in the order of their sources.
    """
    shots = [record for record in records if record.position.film][:MOST]
    if len(shots) < FEWEST:
        return None
    vectors = pictures.compared_rows(shots)
    alike = vectors @ vectors.T
    films: dict[tuple[str, str], int] = {}
    film = np.array([films.setdefault((one.position.folder, one.position.film), len(films)) for one in shots])
    time, place = np.array([one.position.time for one in shots]), np.arange(len(shots))
    same, apart = film[:, None] == film, np.abs(time[:, None] - time)
    steps = np.abs(place[:, None] - place)
    near = same & (apart <= task.group.span) & (steps < task.group.window) & (steps > 0)
    far = ~same | ((apart > task.group.span) & (steps >= task.group.window))
    rng = np.random.default_rng(SEED)
    own, strange = [], []
    for row in range(len(shots)):
        count, strangers = int(near[row].sum()), np.flatnonzero(far[row])
        if count and len(strangers) >= count:
            own.append(alike[row][near[row]].max())
            strange.append(alike[row][rng.choice(strangers, count, replace=False)].max())
    return _told_apart(np.array(own), np.array(strange)) if len(own) >= FEWEST else None


def _told_apart(own: np.ndarray, strange: np.ndarray) -> float | None:
    edges = np.unique(own)
    caught = np.searchsorted(np.sort(strange), edges, "left") / len(strange)
    lost = np.searchsorted(np.sort(own), edges, "left") / len(own)
    gain = caught - PRICE * lost
    best = int(np.argmax(gain))
    return float(edges[best]) if gain[best] >= LEAST_GAIN else None
