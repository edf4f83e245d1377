"""The reader of drawn panels: trained on frames, and on frames worn as a generator's are."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional

from miniature.descent import Descent
from miniature.frames import ATTRIBUTES, Pool, labels_of
from miniature.lessons import SEED, pixels, render
from miniature.reader import Reader
from miniature.resumable import Course, Place

STEPS = 800
BLURRED = 0.5  # share of the batches


def train(pool: Pool, place: Place) -> Reader:
    reader = Reader()
    labels = torch.tensor([labels_of(scene) for scene in pool.scenes])
    descent = Descent([(reader, 3e-3)], STEPS)

    def loss_of(step: int) -> Tensor:
        some = random.Random(step).sample(range(len(pool.scenes)), 64)
        panels = worn(pixels(pool, some))
        told = reader(panels)
        losses = [functional.cross_entropy(logits, labels[some, a]) for a, logits in enumerate(told)]
        return torch.stack(losses).mean()

    Course("reader", SEED, STEPS, nn.ModuleDict({"reader": reader}), descent, loss_of).run(place)
    reader.eval().standardise(pixels(pool, list(range(500))))
    reader.save()
    held = render(1_000, SEED + 1_000_000)
    true = torch.tensor([labels_of(scene) for scene in held.scenes])
    with torch.inference_mode():
        told = torch.stack([logits.argmax(-1) for logits in reader(pixels(held, list(range(1_000))))], 1)
    rights = (told == true).float().mean(0).tolist()
    print("reader", {name: round(right, 3) for name, right in zip(ATTRIBUTES, rights, strict=True)}, flush=True)
    return reader.requires_grad_(False)


def worn(panels: Tensor) -> Tensor:
    """Panels as a generator may give them: a little blurred, noisy or of another brightness."""
    if torch.rand(()) < BLURRED:
        small = functional.interpolate(panels, scale_factor=float(torch.empty(()).uniform_(0.5, 0.95)), mode="area")
        panels = functional.interpolate(small, size=panels.shape[-2:], mode="bilinear")
    gain = torch.empty(len(panels), 1, 1, 1).uniform_(0.85, 1.15)
    return (panels * gain + 0.03 * torch.randn_like(panels)).clamp(0, 1)
