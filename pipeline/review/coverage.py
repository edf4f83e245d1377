"""What the kept grids cover of what was collected: by source, by shot size, and by the colours of the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.consistency.evidence import histograms
from pipeline.grouping.explain import name_of
from pipeline.records import Record, Row
from pipeline.task import Task
from pipeline.text import framing
from pipeline.wording import counted

FEWEST = 8
"""Kept grids from which on shares are worth telling."""
MOST = 0.6
"""A larger share of the grids or panels than this is called one-sided."""
TELLING = 0.5
"""Share of the panel texts that must tell a shot size for the others to be called missing."""
CLUSTERS, PICTURES_EACH = 8, 12
"""Clusters of pictures at most, and pictures per cluster at least."""
SAMPLE = 5_000
"""Pictures on which clusters are fitted; all are assigned."""
MISSED = 0.05
"""A cluster with at least this share of the pictures is told of if no kept grid has one of them."""
NAMED = 3


@dataclass(frozen=True)
class Aspect:
    """One way to look at a data set's variety."""

    name: str
    unit: str
    """What is counted: grids or panels."""
    counts: Mapping[str, int]
    """By value, the most frequent first."""
    remarks: tuple[str, ...] = ()
    """What is one-sided or missing: a sentence each, without its full stop."""


def measure(rows: Sequence[Row], pool: Sequence[Record], task: Task) -> list[Aspect]:
    """How the kept grids are spread.

    Args:
        rows: all grids; those with the decision "keep" count.
        pool: all usable pictures of the run.
    """
    kept = [row for row in rows if row.decision == "keep"]
    if not kept:
        return []
    return [
        aspect for aspect in (_sources(kept, pool, task), _shot_sizes(kept), _colours(kept, pool)) if aspect is not None
    ]


def _sources(kept: Sequence[Row], pool: Sequence[Record], task: Task) -> Aspect:
    """Films and folders that the grids come from."""
    chosen = Counter(_source_of(row.grid.group.records[0]) for row in kept)
    available = Counter(map(_source_of, pool))
    names = _short_names({*chosen, *available})
    remarks = []
    (most, count), *_ = chosen.most_common(1)
    if len(kept) >= FEWEST and len(available) > 1 and count > MOST * len(kept):
        remarks.append(f"{count} of {len(kept)} grids come from {names[most]}")
    elif len(kept) >= FEWEST and len(available) == 1 and pool and pool[0].position.film:
        remarks.append(f"all grids come from one film, {names[most]}; others would show more people and places")
    size = task.grid_layout.size
    missing = [names[source] for source, usable in available.items() if source not in chosen and usable >= size]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        remarks.append(f"no grid comes from {', '.join(missing[:NAMED])}{more}")
    return Aspect("source", "grids", {names[source]: count for source, count in chosen.most_common()}, tuple(remarks))


def _source_of(record: Record) -> str:
    return record.source if record.position.film else record.position.folder


def _short_names(sources: Iterable[str]) -> dict[str, str]:
    """The last part of each address, or all of it where two would have one name."""
    names = {source: source.rstrip("/").rpartition("/")[2] or source for source in sorted(sources)}
    often = Counter(names.values())
    return {source: name if often[name] == 1 else source for source, name in names.items()}


def _shot_sizes(kept: Sequence[Row]) -> Aspect | None:
    """How near the panels are, as far as their texts tell; None if none does."""
    texts = [text for row in kept for text in row.caption.panels if text]
    found = Counter(size for text in texts if (size := framing.size_of(text)))
    told = sum(found.values())
    if not told:
        return None
    remarks = []
    if len(kept) >= FEWEST and told >= TELLING * len(texts):
        (most, count), *_ = found.most_common(1)
        if count > MOST * told:
            remarks.append(f"{count} of {told} panels whose texts tell a shot size are a {most}")
        if missing := [size for size in framing.SIZES if not found[size]]:
            remarks.append(f"no panel is a {' or a '.join(missing)}")
    counts = {size: found[size] for size in framing.SIZES} | {"not told": len(texts) - told}
    return Aspect("shot size", "panels", counts, tuple(remarks))


def _colours(kept: Sequence[Row], pool: Sequence[Record]) -> Aspect | None:
    """Clusters of pictures whose colours are alike, which places and light are told by; None for a small pool."""
    if len(pool) < 2 * PICTURES_EACH:
        return None
    cluster = _clusters(pool)
    row_of = {record.id: row for row, record in enumerate(pool)}
    used = [row_of[one.id] for row in kept for one in row.grid.group.records if one.id in row_of]
    sizes, chosen = np.bincount(cluster), np.bincount(cluster[used], minlength=cluster.max() + 1)
    remarks = []
    if len(kept) >= FEWEST and chosen.max() > MOST * len(used) > 0:
        example = next(pool[row] for row in used if cluster[row] == chosen.argmax())
        remarks.append(f"{chosen.max()} of {len(used)} panels are alike in colour, such as {name_of(example)}")
    unused = np.flatnonzero((chosen == 0) & (sizes >= MISSED * len(pool))) if len(kept) >= FEWEST else ()
    for number in unused:
        example = pool[int(np.argmax(cluster == number))]
        alike = counted(int(sizes[number]), "picture")
        remarks.append(f"{alike} of like colours, such as {name_of(example)}, are in no grid")
    counts = {f"like {name_of(pool[int(np.argmax(cluster == n))])}": int(chosen[n]) for n in np.argsort(-chosen)}
    return Aspect("colours", "panels", counts, tuple(remarks))


def _clusters(pool: Sequence[Record]) -> np.ndarray:
    """The cluster of each picture, by k-means on the colour histograms from fixed starting points."""
    import faiss

    colours = histograms(pool).astype(np.float32)
    fitted = colours[np.linspace(0, len(colours) - 1, min(len(colours), SAMPLE)).astype(int)]
    count = min(CLUSTERS, len(pool) // PICTURES_EACH)
    means = faiss.Kmeans(colours.shape[1], count, seed=0, min_points_per_centroid=1)
    means.train(fitted)
    nearest = means.index.search(colours, 1)[1][:, 0]
    found: np.ndarray = np.unique(nearest, return_inverse=True)[1]  # numbered without gaps
    return found
