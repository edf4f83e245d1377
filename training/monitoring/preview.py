"""Samples drawn while a training runs, with the same captions, noise and given panels each time to compare steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.records import TrainingSample
from training import conditions, dataset, machine, objective, random_streams, sampling
from training.backends.base import Prompts, dtype_of
from training.conditions import Condition
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
    job: Job,
    encoded: EncodedDataset,
    transformer: Any,
    device: torch.device,
    samples: Sequence[tuple[TrainingSample, Condition | None]],
) -> list[Image.Image]:
    """One grid per caption of some samples and kind of condition, on the canvas of `job.shown`."""
    settings = sampling.SamplingSettings(job.config.sample_steps, job.config.guidance)
    drawn = []
    for sample, kind in samples:
        view, given = dataset.plain(sample, job.shown), heldout.given_of(job, sample, kind)
        posterior = encoded.grids[view]
        rng = random_streams.generator(job.config.seed, "sample", sample.id)
        noise = torch.randn(posterior.mean.shape, generator=rng)[None].to(device)
        boxes = job.backend.latent_boxes(job.shown.boxes)
        panels = None
        if given.in_canvas and given.seen != "reference":
            mask = objective.panel_mask(boxes, given.in_canvas, *noise.shape[-2:])
            panels = sampling.GivenPanels(posterior.alone[None].to(device), mask.to(device), given.seen or "clean")
        references = dataset.references_of(view, given)
        text, empty = (encoded.texts[job.prompt(words, references)] for words in (sample.text, ""))
        prompts = Prompts([text], [empty], encoded.latents_of([references], device))
        with machine.autocast(device, dtype_of(transformer)):
            drawn.append(sampling.draw(job.backend, transformer, prompts, noise, settings, panels))
    with job.backend.loaded(["vae"], machine.encoder_dtype(device), device) as parts:
        return [sampling.to_images(job.backend, parts["vae"], latents)[0] for latents in drawn]


def save(job: Job, step: int, images: Sequence[Image.Image]) -> None:
    """Writes `samples/000250-1.png` and so on, each with its caption in it."""
    home = job.folder / FOLDER
    home.mkdir(exist_ok=True)
    for number, (image, (sample, kind)) in enumerate(zip(images, job.prompted, strict=True), start=1):
        header, given = PngInfo(), conditions.name_of(kind)
        header.add_itxt(KEY, json.dumps({"prompt": sample.text, "step": step, "given": given}, ensure_ascii=False))
        image.save(home / name_of(step, number), pnginfo=header)


def write_strip(job: Job) -> None:
    """`samples.png`: all samples, one row per caption and one column per step."""
    pictures: dict[int, list[Image.Image]] = {}
    for file in sorted((job.folder / FOLDER).glob("*.png")):
        step, _, number = file.stem.partition("-")
        if int(step) <= job.config.steps and int(number) <= len(job.prompted):
            pictures.setdefault(int(step), []).append(Image.open(file))
    several = len(job.kinds) > 1
    texts = [f"{conditions.name_of(kind)}: {sample.text}" if several else sample.text for sample, kind in job.prompted]
    figures.draw_strip(pictures, texts, job.folder / STRIP)
