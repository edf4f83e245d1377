"""Training data of the mini FLUX's transformer, step by step: noised latents of panels and pages, with captions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from miniature.making.flux_data import PANELS, SEED, caption, is_held_out, pixels, stacked, story
from miniature.making.frames import Pool
from miniature.making.reader import Reader
from miniature.making.resumable import Place
from miniature.making.spelling import T5_LENGTH
from training import objective
from training.backends.base import pack

SINGLES, PAGES = 32, 12  # images or pages per step
RAMP = 4_000  # steps over which the share of steps with single panels falls from two thirds to one third
LENGTHS = (16, 80)  # minimum tokens of text to which the captions of a panel and of a page are padded
PADDED = 0.15  # share of the steps whose texts are padded to the full length, as the pipeline does
SHIFT = 1.6  # of the noise levels: FLUX.1's own for so short a sequence
DROPPED = 0.1  # share of the captions left out, so that guidance by an empty prompt can be learnt


class Deck:
    """Panels and pages as scaled latents, with the scenes that they show.

    Args:
        stories: how many of a step's pages have a caption that tells the story of the character in their first panel.
    """

    def __init__(self, name: str, pool: Pool, vae: Any, reader: Reader, place: Place, *, stories: int) -> None:
        self.pool, self.stories = pool, stories
        kept = place.load(name) or {}
        if not kept:
            known = [number for number, scene in enumerate(pool.scenes) if not is_held_out(scene.character)]
            random.Random(SEED).shuffle(known)
            kept = {
                "singles": self._encode(vae, [[number] for number in known]),
                "pages": self._encode(vae, [known[i : i + PANELS] for i in range(0, len(known) - PANELS + 1, PANELS)]),
                "meanings": self._read(reader, known),
                "known": known,
            }
            place.save(name, kept)
        self.singles, self.pages, self.meanings = kept["singles"], kept["pages"], kept["meanings"]
        self.scenes = [pool.scenes[number] for number in kept["known"]]

    @torch.inference_mode()
    def _encode(self, vae: Any, pages: list[list[int]]) -> Tensor:
        rows = []
        for start in range(0, len(pages), 64):
            some = pages[start : start + 64]
            panels = pixels(self.pool, [number for page in some for number in page])
            rows.append(latents_of(stacked(panels, len(some[0])), vae))
        return torch.cat(rows)

    @torch.inference_mode()
    def _read(self, reader: Reader, known: list[int]) -> Tensor:
        """What the reader sees at every token of a panel: N x channels x 4 x 8."""
        parts = [known[start : start + 64] for start in range(0, len(known), 64)]
        seen = [functional.avg_pool2d(reader.meanings(pixels(self.pool, some)), 2) for some in parts]
        return torch.cat(seen).half()

    def shown(self, page: int) -> range:
        """The scenes of a page, as they were combined at random."""
        return range(PANELS * page, PANELS * (page + 1))

    def draw(self, step: int) -> tuple[Tensor, Tensor, list[str]]:
        """Latents, meanings and captions of a step; the share of single panels falls over the first RAMP steps."""
        rng = random.Random(SEED + step)
        if rng.random() < (2 - min(1, step / RAMP)) / 3:
            some = rng.sample(range(len(self.singles)), SINGLES)
            captions = [caption([self.scenes[number]], rng) for number in some]
            return self.singles[some].float(), self.meanings[some].float(), captions
        some = rng.sample(range(len(self.pages)), PAGES)
        captions = [
            (story if place < self.stories else caption)([self.scenes[index] for index in self.shown(page)], rng)
            for place, page in enumerate(some)
        ]
        under = self.meanings[[index for page in some for index in self.shown(page)]]
        return self.pages[some].float(), stacked(under.float(), PANELS), captions


def latents_of(pictures_BCHW: Tensor, vae: Any) -> Tensor:
    """Scaled latents of pictures (0..1), in half precision. Means only: the posteriors of so slightly regularised a VAE
    are narrow."""
    mean = vae.encode(pictures_BCHW * 2 - 1).latent_dist.mean
    scaled: Tensor = (mean - vae.config.shift_factor) * vae.config.scaling_factor
    return scaled.half()


@dataclass(frozen=True)
class Sample:
    """Panels or pages of a step; latents and velocities are B x tokens x 64, `length` is that of the texts."""

    noisy: Tensor
    target: Tensor
    meanings: Tensor
    """What the reader sees at every token: B x tokens x channels."""
    sigma: Tensor
    captions: list[str]
    length: int
    height: int
    width: int
    """Rows and columns of latents."""


def noised(deck: Deck, step: int, *, dropped: float = DROPPED) -> Sample:
    """At logit-normal noise levels shifted as at inference (SD3 paper, section 3)."""
    latents, meanings, captions = deck.draw(step)
    rng = random.Random(step)
    captions = ["" if rng.random() < dropped else text for text in captions]
    b, _, h, w = latents.shape
    length = LENGTHS[h > w] + rng.randrange(16)
    if rng.random() < PADDED:
        length = T5_LENGTH
    noise = torch.randn_like(latents)
    sigma = objective.shifted(torch.sigmoid(torch.randn(b)), SHIFT)
    noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
    under = meanings.flatten(2).transpose(1, 2)
    return Sample(pack(noisy), pack(objective.velocity(latents, noise)), under, sigma, captions, length, h, w)
