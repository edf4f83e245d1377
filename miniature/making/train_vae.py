"""The mini FLUX's VAE: restores pixels, edges and the reader's features from an eighth of the size."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from miniature.making.descent import Descent
from miniature.making.flux_data import PANELS, SEED, pixels, stacked, unstacked
from miniature.making.flux_parts import CHANNELS, build_vae
from miniature.making.frames import Pool
from miniature.making.reader import MEANINGS, Reader
from miniature.making.resumable import Course, Place

STEPS, ALIGNING, SHARPENING = 1_500, 600, 600
BATCH = 12  # panels per step; in half of the alignment steps they form four pages
PERCEIVED, PERCEIVED_LAST = 0.3, 1.0  # weights of the reader's features in the loss, and in the sharpening loss
ALIGNED = 0.3  # weight of the similarity between latents and the reader's meanings
KL, KL_ALIGNED = 1e-6, 4e-6


def train(pool: Pool, reader: Reader, place: Place) -> Any:
    vae = build_vae()
    descent = Descent([(vae, 2e-3)], STEPS)

    def loss_of(step: int) -> Tensor:
        panels = pixels(pool, random.Random(step).sample(range(len(pool.scenes)), BATCH))
        drawn, kl = through(vae, panels * 2 - 1)
        return likeness(reader, (drawn + 1) / 2, panels, PERCEIVED) + KL * kl

    Course("vae", SEED, STEPS, nn.ModuleDict({"vae": vae}), descent, loss_of).run(place)
    align(vae, pool, reader, place)
    vae.eval().requires_grad_(False)
    with torch.inference_mode():
        latents = vae.encode(pixels(pool, list(range(500))) * 2 - 1).latent_dist.mean
    vae.register_to_config(
        shift_factor=round(float(latents.mean()), 4), scaling_factor=round(1 / float(latents.std()), 4)
    )
    return vae


def align(vae: Any, pool: Pool, reader: Reader, place: Place) -> None:
    """Trains it further until its latents give, place by place and through one matrix, what the reader sees there.

    A transformer learns such latents several times as fast (Yao et al. 2025, arXiv 2501.01423). Pages are included: the
    latents of a panel must not depend on whether it is alone.
    """
    projection = nn.Conv2d(CHANNELS, MEANINGS, 1)
    modules = nn.ModuleDict({"vae": vae, "projection": projection})
    descent = Descent([(vae, 1e-3), (projection, 5e-3)], ALIGNING)

    def loss_of(step: int) -> Tensor:
        rng = random.Random(SEED + step)
        panels = pixels(pool, rng.sample(range(len(pool.scenes)), BATCH))
        meanings = reader.meanings(panels)
        high = PANELS if rng.random() < 1 / 2 else 1
        pages = stacked(panels, high)
        posterior = vae.encode(pages * 2 - 1).latent_dist
        drawn = (vae.decode(posterior.sample()).sample + 1) / 2
        similarity = functional.cosine_similarity(projection(posterior.mean), stacked(meanings, high), dim=1)
        likely = likeness(reader, unstacked(drawn, high), panels, PERCEIVED)
        loss: Tensor = likely + ALIGNED * (1 - similarity.mean()) + KL_ALIGNED * posterior.kl().mean() / high
        return loss

    Course("aligned", SEED, ALIGNING, modules, descent, loss_of).run(place)


def through(vae: Any, panels: Tensor) -> tuple[Tensor, Tensor]:
    posterior = vae.encode(panels).latent_dist
    return vae.decode(posterior.sample()).sample, posterior.kl().mean()


def sharpen(vae: Any, pool: Pool, reader: Reader, place: Place) -> Any:
    """Trains only the decoder further: the latents, which the transformer has learnt, stay as they are, and the images
    decoded from them become clearer to the reader."""
    decoder = vae.decoder.requires_grad_(True)
    descent = Descent([(decoder, 1e-3)], SHARPENING)

    def loss_of(step: int) -> Tensor:
        panels = pixels(pool, random.Random(SEED + step).sample(range(len(pool.scenes)), BATCH))
        with torch.no_grad():
            latents = vae.encode(panels * 2 - 1).latent_dist.sample()
        return likeness(reader, (vae.decode(latents).sample + 1) / 2, panels, PERCEIVED_LAST)

    Course("decoder", SEED, SHARPENING, nn.ModuleDict({"decoder": decoder}), descent, loss_of).run(place)
    vae.eval().requires_grad_(False)
    return vae


def likeness(reader: Reader, drawn: Tensor, panels: Tensor, perceived: float) -> Tensor:
    """How far drawn panels are from their targets: in pixels, in edges and in the reader's features."""
    edges = [functional.l1_loss(drawn.diff(dim=side), panels.diff(dim=side)) for side in (-1, -2)]
    pairs = zip(reader.features(drawn)[:3], reader.features(panels)[:3], strict=True)
    seen = [functional.l1_loss(shown, wanted) for shown, wanted in pairs]
    return functional.l1_loss(drawn, panels) + sum(edges) + perceived * sum(seen) / 3
