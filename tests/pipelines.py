"""Our backend beside diffusers' own pipeline on the same small model, and how the two are compared."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import iclora
from pipeline.records import Reference
from training import dataset, loop, lora, sampling
from training.backends.base import Backend, Encoded, Prompts
from training.config import Config
from training.dataset import Data
from training.job import Job
from training.processes import Processes

TEXTS = ["[SCENE-1] a cat; [SCENE-2] the same cat\nsits, far from here", "a dog"]
HEIGHT, WIDTH = 64, 96
"""Of a canvas in pixels; unequal, so that swapping them is noticed."""
STEPS = 3


@dataclass(frozen=True)
class Pair:
    """A model as loaded by our backend and by diffusers' pipeline."""

    backend: Backend
    pipeline: Any

    @property
    def parts(self) -> dict[str, Any]:
        return {part: getattr(self.pipeline, part) for part in (*self.backend.ENCODERS, "vae", "transformer")}

    def encode(self, *texts: str) -> list[Encoded]:
        return self.backend.encode_text(self.parts, texts)

    def latents_of(self, image: Image.Image) -> Tensor:
        """C x H x W."""
        pixels = dataset.pixels(dataset.fitted(image, image.size))
        return self.backend.encode_image(self.pipeline.vae, pixels[None])[0][0]

    @property
    def noise(self) -> Tensor:
        """Of one grid per text: B x C x H x W."""
        shape = (len(TEXTS), *self.backend.latent_shape((WIDTH, HEIGHT)))
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def draw(
        self, guidance: float, images: Sequence[Image.Image] = (), given: sampling.GivenPanels | None = None
    ) -> Tensor:
        """Latents as the product samples them, all grids with the same reference images."""
        references = [[self.latents_of(image) for image in images]] * len(TEXTS) if images else ()
        prompts = Prompts(self.encode(*TEXTS), self.encode(*[""] * len(TEXTS)), references)
        settings = sampling.SamplingSettings(STEPS, guidance)
        return sampling.draw(self.backend, self.pipeline.transformer, prompts, self.noise, settings, given)

    def drawn(self, guidance: float, start: Tensor, **more: Any) -> Tensor:
        """What the pipeline draws of the texts, in its own form.

        Args:
            start: noise as it takes it.
        """
        more = {"prompt": TEXTS, "max_sequence_length": self.backend.text_limit, "output_type": "latent"} | more
        found: Tensor = self.pipeline(
            height=HEIGHT, width=WIDTH, num_inference_steps=STEPS, guidance_scale=guidance, latents=start, **more
        ).images
        return found


def load(make: Callable[[str], Backend], kind: Any, folder: Path) -> Pair:
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return Pair(make(str(folder)), pipeline)


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.byte().numpy())


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


# ---- a LoRA in both


BESIDE = [{"seen": "reference", "share": 0.5}]
"""Conditions under which half of the grids are shown their reference images."""


def with_references(job: Job, folder: Path, sizes: Sequence[tuple[int, int]]) -> Job:
    """The training with a reference image beside every grid, the sizes in turn."""
    found = []
    for number, size in enumerate(sizes):
        path = folder / f"reference-{number}.png"
        picture(number, size).save(path)
        found.append(Reference(f"{number:016}", str(path)))
    sides = (
        tuple(replace(sample, references=(found[number % len(found)],)) for number, sample in enumerate(side))
        for side in (job.data.train, job.data.held_out)
    )
    return replace(job, data=Data(*sides))


@torch.no_grad()
def check_lora(pair: Pair, job: Job) -> Path:
    """A LoRA of this training does in the pipeline what it does in our own transformer; returns its file.

    Args:
        job: on the pair's model, of a high learning rate, so that a few steps have an effect.
    """
    with torch.enable_grad():
        file = loop.train(job, Processes(), lambda *_: None).file
    backend, text = pair.backend, pair.encode(TEXTS[0])
    sigma, noise = torch.tensor([0.6]), pair.noise[:1]
    transformer: Any = backend.load("transformer", torch.float32, "cpu")
    base = backend.predict(transformer, noise, sigma, text)
    lora.attach(transformer, backend, Config(rank=job.config.rank, alpha=job.config.rank, init=str(file)))
    ours = backend.predict(transformer, noise, sigma, text)
    pair.pipeline.load_lora_weights(file.parent, weight_name=file.name)
    try:
        theirs = backend.predict(pair.pipeline.transformer, noise, sigma, text)
    finally:
        pair.pipeline.unload_lora_weights()
    assert (ours - base).abs().max() > 1e-3
    close(ours, theirs)
    return file


def check_script(pair: Pair, file: Path, *, same_noise: bool = True) -> None:
    """The script that is handed over with a LoRA draws what `iclora generate` draws.

    Args:
        same_noise: whether the pipeline starts from the same noise; otherwise it only has to draw a grid.
    """
    model, recipe = pair.backend.model, pair.backend.family.recipe
    home = iclora.hand_over(file, model=model).folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [str(home / "generate.py"), TEXTS[0]])
        runpy.run_path(str(home / "generate.py"))
    with Image.open(home / "generated.png") as theirs:
        assert theirs.size == (128, 192)
        if same_noise:
            sampled = {"steps": recipe["sample_steps"], "guidance": recipe["guidance"]}
            (ours,) = iclora.generate(file, TEXTS[0], model=model, **sampled)
            assert np.abs(np.asarray(theirs, int) - np.asarray(ours.grid, int)).max() <= 1
