"""Random streams that depend only on the seed and a place: the order of samples, their noise, what is dropped.

No generator is carried from step to step, so that a resumed training, or one shared by several processes, draws the
same numbers as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from dataclasses import dataclass

import torch

from training import conditions
from training.conditions import Given
from training.config import Config

ALL_ORDERS = 4
"""Panels up to which every order is drawn. Each order is encoded once, and five panels would have 120."""


def seed_of(seed: int, *place: object) -> int:
    """63 bits from a seed and a place."""
    digest = hashlib.sha256(json.dumps([seed, *place], default=str).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def generator(seed: int, *place: object) -> torch.Generator:
    """A generator on the CPU whatever the device, since different GPUs draw different numbers."""
    return torch.Generator().manual_seed(seed_of(seed, *place))


def sample_at(seed: int, position: int, count: int) -> int:
    """Which of `count` samples is at a position of the endless sequence; each comes once per epoch."""
    epoch, place = divmod(position, count)
    order = list(range(count))
    random.Random(seed_of(seed, "order", epoch)).shuffle(order)
    return order[place]


@dataclass(frozen=True)
class Draw:
    """What is drawn for one sample of one step."""

    sample: int
    """Its index in the data set."""
    order: tuple[int, ...]
    """Which of the grid's own panels stands where: the identity, except in permuted grids, where it never is."""
    given: Given
    dropped: bool
    """Whether the empty caption replaces its own."""


def draw(config: Config, position: int, count: int, panels: int, named: tuple[int, ...], most: int) -> Draw:
    """What is drawn for a position.

    Args:
        count: samples of the data set.
        panels: panels of a grid.
        named: places (from 0) that the task names as given.
        most: reference images that the model takes.
    """
    rng = random.Random(seed_of(config.seed, "sample", position))
    others = other_orders(panels)
    return Draw(
        sample=sample_at(config.seed, position, count),
        order=rng.choice(others) if others and rng.random() < config.permute else tuple(range(panels)),
        given=conditions.draw(config.conditions or (), rng, panels, named, most),
        dropped=rng.random() < config.caption_dropout,
    )


def other_orders(panels: int) -> list[tuple[int, ...]]:
    """The orders of permuted grids, without the identity: all for up to four panels (23), rotations for more."""
    if panels <= ALL_ORDERS:
        return list(itertools.permutations(range(panels)))[1:]
    row = tuple(range(panels))
    return [row[start:] + row[:start] for start in row[1:]]


def scale_at(config: Config, step: int) -> float:
    """The scale of a step's canvas; one per step, so that a batch has one shape."""
    return random.Random(seed_of(config.seed, "scale", step)).choice(config.scales)
