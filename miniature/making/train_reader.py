"""The reader of drawn panels: trained on frames, and on frames degraded like those of a generator."""

from __future__ import annotations

import random
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from miniature.making.descent import Descent
from miniature.making.flux_data import SEED, pixels, render
from miniature.making.frames import ATTRIBUTES, Pool, labels_of, value_of
from miniature.making.reader import Reader
from miniature.making.resumable import Course, Place

STEPS, JUDGING = 800, 400
BLURRED = 0.5  # share of the batches


def train(pool: Pool, place: Place) -> Reader:
    """A reader of drawn panels, whose features the VAE and the transformer are aligned to."""
    reader = Reader()
    _learn(reader, [pool], "reader", STEPS, 3e-3, place)
    reader.standardise(pixels(pool, list(range(500))))
    return reader.requires_grad_(False)


def judge(reader: Reader, pools: list[Pool], place: Place) -> Reader:
    """The reader trained further, so that it recognises panels cut out of films as well; judges what is generated."""
    learnt = deepcopy(reader).requires_grad_(True)
    _learn(learnt, pools, "judge", JUDGING, 1e-3, place)
    learnt.save()
    for filmed in (False, True):
        held = render(1_000, SEED + 1_000_000, filmed=filmed)
        readings = learnt.read(pixels(held, list(range(len(held.scenes)))))
        rights = {
            name: sum(one[name] == value_of(scene, name) for one, scene in zip(readings, held.scenes, strict=True))
            / 1_000
            for name in ATTRIBUTES
        }
        print("judge:", "filmed" if filmed else "drawn", "panels, shares named right:", rights, flush=True)
    return learnt.requires_grad_(False)


def _learn(reader: Reader, pools: list[Pool], name: str, steps: int, rate: float, place: Place) -> None:
    labels = [torch.tensor([labels_of(scene) for scene in pool.scenes]) for pool in pools]
    descent = Descent([(reader, rate)], steps)

    def loss_of(step: int) -> Tensor:
        which = step % len(pools)
        some = random.Random(step).sample(range(len(pools[which].scenes)), 64)
        logits_of = reader(worn(pixels(pools[which], some)))
        losses = [functional.cross_entropy(logits, labels[which][some, a]) for a, logits in enumerate(logits_of)]
        return torch.stack(losses).mean()

    reader.train()
    Course(name, SEED, steps, nn.ModuleDict({name: reader}), descent, loss_of).run(place)
    reader.eval()


def worn(panels: Tensor) -> Tensor:
    """Panels as a generator may produce them: slightly blurred, noisy or of another brightness."""
    if torch.rand(()) < BLURRED:
        small = functional.interpolate(panels, scale_factor=float(torch.empty(()).uniform_(0.5, 0.95)), mode="area")
        panels = functional.interpolate(small, size=panels.shape[-2:], mode="bilinear")
    gain = torch.empty(len(panels), 1, 1, 1).uniform_(0.85, 1.15)
    return (panels * gain + 0.03 * torch.randn_like(panels)).clamp(0, 1)
