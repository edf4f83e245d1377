"""Samples drawn while a training runs, with the same captions, noise and given panels each time to compare steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.records import TrainingSample
from training import dataset, machine, objective, random_streams, sampling
from training.backends.base import Prompts, dtype_of
from training.job import Job
from training.latents import EncodedDataset
from training.monitoring import figures, heldout

FOLDER = "samples"
STRIP = "samples.png"
KEY = "iclora"
"""Of what a picture was drawn from, in its PNG."""


def name_of(step: int, number: int) -> str:
    """A sample's file name.

    Args:
        step: 0 for the base alone.
        number: of the caption, from 1.
    """
    return f"{step:06d}-{number}.png"


def draw(
    job: Job, encoded: EncodedDataset, transformer: Any, device: torch.device, samples: Sequence[TrainingSample]
) -> list[Image.Image]:
    """One grid per caption of some samples, on the canvas of `job.shown`."""
    settings = sampling.SamplingSettings(job.config.sample_steps, job.config.guidance)
    drawn = []
    for sample in samples:
        posterior = encoded.grids[dataset.plain(sample, job.shown)]
        rng = random_streams.generator(job.config.seed, "sample", sample.id)
        noise = torch.randn(posterior.mean.shape, generator=rng)[None].to(device)
        boxes = job.backend.latent_boxes(job.shown.boxes)
        mask = objective.panel_mask(boxes, heldout.given_of(job, sample), *noise.shape[-2:])
        given = sampling.GivenPanels(posterior.alone[None].to(device), mask.to(device)) if mask.any() else None
        text, empty = (encoded.texts[job.prompt(sample, words)] for words in (sample.text, ""))
        prompts = Prompts([text], [empty], encoded.references_of([sample], device))
        with machine.autocast(device, dtype_of(transformer)):
            drawn.append(sampling.draw(job.backend, transformer, prompts, noise, settings, given))
    with job.backend.loaded(["vae"], machine.encoder_dtype(device), device) as parts:
        return [sampling.to_images(job.backend, parts["vae"], latents)[0] for latents in drawn]


def save(job: Job, step: int, images: Sequence[Image.Image]) -> None:
    """Writes `samples/000250-1.png` and so on, each with its caption in it."""
    home = job.folder / FOLDER
    home.mkdir(exist_ok=True)
    for number, (image, sample) in enumerate(zip(images, job.prompted, strict=True), start=1):
        header = PngInfo()
        header.add_itxt(KEY, json.dumps({"prompt": sample.text, "step": step}, ensure_ascii=False))
        image.save(home / name_of(step, number), pnginfo=header)


def write_strip(job: Job) -> None:
    """`samples.png`: all samples, one row per caption and one column per step."""
    pictures: dict[int, list[Image.Image]] = {}
    for file in sorted((job.folder / FOLDER).glob("*.png")):
        step, _, number = file.stem.partition("-")
        if int(step) <= job.config.steps and int(number) <= len(job.prompted):
            pictures.setdefault(int(step), []).append(Image.open(file))
    figures.draw_strip(pictures, [sample.text for sample in job.prompted], job.folder / STRIP)
