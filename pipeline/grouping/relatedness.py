"""How alike two shots of a film must be to be of one scene or of the same people.

Shots far apart in time, or of different films, are strangers. A shot is compared with its neighbours and with as many
strangers; the floor is where these are told apart best, at the price that the filter puts on losing a right one. Shots
that are as unlike their neighbours as strangers are (one of a rabbit between two of a street) are not counted as lost:
their share is estimated as the filter does it. Where shots and strangers can't be told apart there is no floor.
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
DENSE, MOST_ALONE = 0.5, 0.5
"""The share of shots that belong to none of their neighbours is estimated where at least DENSE of the strangers are
kept out, and is MOST_ALONE at most."""
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
    edges = np.unique(np.concatenate([own, np.nextafter(strange, np.inf)]))  # the lowest of equally good ones counts
    caught = np.searchsorted(np.sort(strange), edges, "left") / len(strange)
    below = np.searchsorted(np.sort(own), edges, "left") / len(own)
    dense = caught > DENSE
    alone = min(MOST_ALONE, float((below[dense] / caught[dense]).min())) if dense.any() else 0.0
    lost = np.maximum(0.0, (below - alone * caught) / (1 - alone))
    gain = caught - PRICE * lost
    best = int(np.argmax(gain))
    return float(edges[best]) if gain[best] >= LEAST_GAIN else None
