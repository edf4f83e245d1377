"""Measured records as `inspect` makes them, without any files: the input of grouping tests."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from pipeline.records import Position, Record

COLOURS = {"red": 0, "green": 40, "blue": 80}


def histogram(**parts: float) -> str:
    """Of an image that has so much of each colour."""
    bins = np.zeros(128)
    for colour, part in parts.items():
        bins[COLOURS[colour]] = part
    return bytes(np.round(255 * np.sqrt(bins / bins.sum())).astype(np.uint8).tolist()).hex()


def record(name: str, *, size: tuple[int, int] = (640, 360), phash: str = "", **colours: float) -> Record:
    """A measured image; by default its hash is like no other's."""
    folder, _, stem = name.rpartition("/")
    return Record(
        id=name,
        path=f"/{name}.png",
        source=f"/{name}.png",
        position=Position(folder=folder, stem=stem),
        width=size[0],
        height=size[1],
        phash=phash or f"{random.Random(name).getrandbits(64):016x}",
        histogram=histogram(**colours or {"red": 1}),
    )


def film(name: str, shots: int, *, every: float = 2.0, **colours: float) -> list[Record]:
    made = [record(f"{name}/{shot:03d}", **colours) for shot in range(shots)]
    return [replace(r, position=Position("/films", r.id, name, n, n * every)) for n, r in enumerate(made)]


def of_set(name: str, page: int, set_name: str = "s") -> Record:
    made = record(name, **{list(COLOURS)[page % 3]: 1})
    return replace(made, position=replace(made.position, set=set_name, page=page), text="joint")


def coloured(*seeds: int, spread: int = 40) -> str:
    """A histogram that the first seed determines and each further one changes a little."""
    bins = np.random.default_rng(seeds[0]).integers(0, 200, 128)
    for seed in seeds[1:]:
        bins = bins + np.random.default_rng(seed).integers(-spread, spread, 128)
    return bytes(np.clip(bins, 0, 255).astype(np.uint8).tolist()).hex()


def reel(name: str, shots: int, seed: int) -> list[Record]:
    """A film with its own colours."""
    return [replace(r, histogram=coloured(seed, 100 * seed + n)) for n, r in enumerate(film(name, shots))]
