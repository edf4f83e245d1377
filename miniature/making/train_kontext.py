"""A mini Kontext: the mini FLUX, trained further until a reference image tells what a description told before.

The mini FLUX itself is the teacher. It reads pages that describe their character in every panel; the student reads the
same pages with nothing but a name, and is shown another picture of that character as further tokens, as FLUX.1 Kontext
is. For the same noise both are to predict the same velocity, at any strength of guidance. A step depends only on its
number, and every two minutes all that is needed to resume is written to `.training`, beside the pipeline's folder.
"""

from __future__ import annotations

import random
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxKontextPipeline
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from miniature.making import train_flux
from miniature.making.deck import LENGTHS, PADDED, SHIFT, latents_of
from miniature.making.descent import Descent, warm_level
from miniature.making.flux_data import PANELS, SEED, is_held_out, pixels, render, stacked
from miniature.making.frames import Pool
from miniature.making.reader import MEANINGS, Reader
from miniature.making.resumable import Course, Place
from miniature.making.spelling import T5_LENGTH
from miniature.world import Scene, bare, describe
from pipeline.text.names import POOL
from training import objective
from training.backends import flux_1_kontext
from training.backends._flux_1 import token_places
from training.backends.base import pack

FRAMES = 12_000
STEPS = 2_700
PAGES = 6
"""Per step. Pages cost less than as many single panels: the reference is shown once for three."""
ALIGNED = 0.5
"""Weight of the similarity between the third block's tokens, the references' too, and the reader's meanings."""
WORDINGS = 6
"""Phrasings that `describe` knows."""
SCALE = 0.125
"""Of the canvas, as the miniature draws; references are scaled with it."""


@dataclass(frozen=True)
class Lesson:
    """What a step learns from; latents are B x tokens x 64."""

    noisy: Tensor
    references: Tensor
    meanings: Tensor
    """What the reader sees at every token, of the canvas and then of the reference: B x tokens x channels."""
    sigma: Tensor
    strength: Tensor
    described: list[str]
    named: list[str]
    length: int
    size: tuple[int, int]
    reference_size: tuple[int, int]
    """Rows and columns of latents, of the canvas and of the reference."""


class Album:
    """Filmed panels of known characters, as latents of the canvas and as latents of references."""

    def __init__(self, vae: Any, reader: Reader, place: Place) -> None:
        kept = place.load("album") or {}
        if not kept:
            pool = render(FRAMES, SEED + 3_000_000, filmed=True)
            known = [number for number, scene in enumerate(pool.scenes) if not is_held_out(scene.character)]
            kept = _encode(pool, known, vae, reader) | {"scenes": [pool.scenes[number] for number in known]}
            place.save("album", kept)
        self.latents, self.references, self.meanings = kept["latents"], kept["references"], kept["meanings"]
        self.scenes: list[Scene] = kept["scenes"]
        by_character = defaultdict(list)
        for number, scene in enumerate(self.scenes):
            by_character[scene.character].append(number)
        self._casts = [numbers for numbers in by_character.values() if len(numbers) > PANELS]

    def draw(self, step: int) -> Lesson:
        """Pages of one character each, and another picture of it."""
        rng = random.Random(SEED + step)
        drawn = [rng.sample(rng.choice(self._casts), PANELS + 1) for _ in range(PAGES)]
        seen, shown = [one[0] for one in drawn], [number for one in drawn for number in one[1:]]
        latents = stacked(self.latents[shown].float(), PANELS)
        height, width = latents.shape[-2:]
        sigma = objective.shifted(torch.sigmoid(torch.randn(PAGES)), SHIFT)
        noisy = torch.lerp(latents, torch.randn_like(latents), sigma[:, None, None, None])
        under = functional.avg_pool2d(stacked(self.meanings[shown].float(), PANELS), 2)
        rows, columns = self.references.shape[-2:]
        beside = functional.adaptive_avg_pool2d(self.meanings[seen].float(), (rows // 2, columns // 2))
        length = T5_LENGTH if rng.random() < PADDED else LENGTHS[1] + rng.randrange(16)
        texts = [_texts([self.scenes[number] for number in one[1:]], rng) for one in drawn]
        return Lesson(
            pack(noisy),
            pack(self.references[seen].float()),
            torch.cat([each.flatten(2).transpose(1, 2) for each in (under, beside)], dim=1),
            sigma,
            torch.empty(PAGES).uniform_(*train_flux.GUIDANCE),
            [described for described, _ in texts],
            [named for _, named in texts],
            length,
            (height, width),
            (rows, columns),
        )


@torch.inference_mode()
def _encode(pool: Pool, known: list[int], vae: Any, reader: Reader) -> dict[str, Tensor]:
    size = flux_1_kontext.make(None).reference_size((pool.frames.shape[2], pool.frames.shape[1]), SCALE)
    parts: dict[str, list[Tensor]] = {"latents": [], "references": [], "meanings": []}
    for start in range(0, len(known), 64):
        some = known[start : start + 64]
        panels = pixels(pool, some)
        large = [Image.fromarray(pool.frames[number]).resize(size, Image.Resampling.LANCZOS) for number in some]
        parts["latents"].append(latents_of(panels, vae))
        parts["references"].append(latents_of(torch.stack([_pixels(image) for image in large]), vae))
        parts["meanings"].append(reader.meanings(panels).half())
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _pixels(image: Image.Image) -> Tensor:
    scaled: Tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return scaled


def _texts(scenes: list[Scene], rng: random.Random) -> tuple[str, str]:
    """The caption in which every panel describes its character, and the one in which they only name it."""
    name = rng.choice(POOL)
    described = [describe(scene, name, rng.randrange(WORDINGS)) for scene in scenes]
    named = [bare(scene, name) for scene in scenes]
    summary = f" a short story about <{name}>," if rng.random() < 1 / 2 else ""
    full, short = (
        ", ".join(f"[SCENE-{number}] {text}" for number, text in enumerate(texts, start=1))
        for texts in (described, named)
    )
    return f"[MOVIE-SHOTS] {full}.", f"[MOVIE-SHOTS]{summary} {short}."


def train(out: Path, flux: Path) -> None:
    """
    Args:
        flux: folder of the mini FLUX as a Kontext.
    """
    place = Place(out.parent / ".training")
    torch.manual_seed(SEED)
    pipe: Any = FluxKontextPipeline.from_pretrained(flux, dtype=torch.float32)  # type: ignore[no-untyped-call]
    pipe.vae.eval().requires_grad_(False)
    album = Album(pipe.vae, Reader.load(), place)
    for tower in (pipe.text_encoder, pipe.text_encoder_2):
        tower.eval().requires_grad_(False)
    teach(pipe, album, place)
    pipe.to(torch.float16).save_pretrained(out)


def teach(pipe: Any, album: Album, place: Place) -> None:
    teacher = deepcopy(pipe.transformer).eval().requires_grad_(False)
    width = pipe.transformer.inner_dim
    projection = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, MEANINGS))
    modules = nn.ModuleDict({"transformer": pipe.transformer, "projection": projection})
    descent = Descent([(module, 5e-4) for module in modules.values()], STEPS, inner=[pipe.transformer], rate=warm_level)
    halfway: list[Tensor] = []
    pipe.transformer.transformer_blocks[-1].register_forward_hook(lambda *hooked: halfway.append(hooked[-1][1]))

    def loss_of(step: int) -> Tensor:
        lesson = album.draw(step)
        halfway.clear()
        with torch.no_grad():
            target = velocity(teacher, lesson, train_flux.read(pipe, lesson.described, lesson.length), seen=False)
            text = train_flux.read(pipe, lesson.named, lesson.length)
        loss = functional.mse_loss(velocity(pipe.transformer, lesson, text, seen=True), target)
        alike = functional.cosine_similarity(projection(halfway[0]), lesson.meanings, dim=-1)
        return loss + ALIGNED * (1 - alike.mean())

    Course("kontext", SEED, STEPS, modules, descent, loss_of).run(place)


def velocity(transformer: nn.Module, lesson: Lesson, text: train_flux.Text, *, seen: bool) -> Tensor:
    """The prediction for the canvas, with or without the reference beside it."""
    tokens, places = [lesson.noisy], [token_places(*lesson.size)]
    if seen:
        tokens.append(lesson.references)
        places.append(token_places(*lesson.reference_size, image=1))
    predicted = train_flux.predict(
        transformer, torch.cat(tokens, dim=1), torch.cat(places), text, lesson.sigma, lesson.strength
    )
    return predicted[:, : lesson.noisy.shape[1]]
