"""Chance that hangs on seed and place alone: which sample comes when, its noise, what is left out of it.

No generator is carried from step to step, so that a training that goes on after a kill, or that several processes
share, draws what an undisturbed one draws.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from dataclasses import dataclass

import torch

from training.config import Config

ALL_ORDERS = 4
"""Panels up to which every order is drawn: each is encoded once, and five panels would be 120."""


def seed_of(seed: int, *place: object) -> int:
    """63 bits from a seed and the name of a place."""
    digest = hashlib.sha256(json.dumps([seed, *place], default=str).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def generator(seed: int, *place: object) -> torch.Generator:
    """torch's, on the CPU whatever the device: a GPU's would give other numbers than another's."""
    return torch.Generator().manual_seed(seed_of(seed, *place))


def sample_at(seed: int, position: int, count: int) -> int:
    """Which of `count` samples stands at a position of the endless row: every one once before any comes again."""
    epoch, place = divmod(position, count)
    order = list(range(count))
    random.Random(seed_of(seed, "order", epoch)).shuffle(order)
    return order[place]


@dataclass(frozen=True)
class Draw:
    """What chance decides for one sample of one step."""

    sample: int
    """Its index in the data set."""
    order: tuple[int, ...]
    """Which of the grid's own panels stands where: the identity but for permuted grids, for which it never is."""
    given: tuple[int, ...]
    """Places (from 0) whose panels stay clean; none in joint mode."""
    dropped: bool
    """Whether the empty caption stands in for its own."""


def draw(config: Config, position: int, count: int, panels: int, condition: tuple[int, ...]) -> Draw:
    """What stands at a position.

    Args:
        count: samples of the data set.
        panels: panels of a grid.
        condition: places (from 0) that the task gives; where it names none, any but all of them are drawn.
    """
    rng = random.Random(seed_of(config.seed, "sample", position))
    others = other_orders(panels)
    return Draw(
        sample=sample_at(config.seed, position, count),
        order=rng.choice(others) if others and rng.random() < config.permute else tuple(range(panels)),
        given=draw_given(config, rng, panels, condition),
        dropped=rng.random() < config.caption_dropout,
    )


def draw_given(config: Config, rng: random.Random, panels: int, condition: tuple[int, ...]) -> tuple[int, ...]:
    """Which panels of a sample are given; none where it falls to the joint mode."""
    if rng.random() >= (config.conditional or 0.0):
        return ()
    return condition or tuple(sorted(rng.sample(range(panels), rng.randrange(1, panels))))


def other_orders(panels: int) -> list[tuple[int, ...]]:
    """The orders that permuted grids come in, none of which is their own: all of up to four panels (23), of more their
    rotations."""
    if panels <= ALL_ORDERS:
        return list(itertools.permutations(range(panels)))[1:]
    row = tuple(range(panels))
    return [row[start:] + row[:start] for start in row[1:]]


def scale_at(config: Config, step: int) -> float:
    """The scale of a step's canvas; one a step, so that a batch has one shape."""
    return random.Random(seed_of(config.seed, "scale", step)).choice(config.scales)
