"""Samples drawn while a training runs, with the same captions, noise and given panels each time to compare steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline import files
from pipeline.records import TrainingSample
from training import conditions, dataset, machine, objective, random_streams, sampling
from training.backends.base import Prompts, dtype_of
from training.conditions import Condition
from training.job import Job
from training.latents import EncodedDataset
from training.monitoring import figures, heldout, sample_files
from training.monitoring.sample_files import FOLDER, KEY, name_of

STRIP = "samples.png"
COMPARISON = "base-and-lora.png"
TITLE = "What the LoRA has learnt: the same captions and noise, without it above and with it below"


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
        with files.replacing(home / name_of(step, number)) as part:
            image.save(part, format="PNG", pnginfo=header)


def write_strip(job: Job) -> None:
    """`samples.png`: all samples, one row per caption and one column per step."""
    steps = [step for step in sample_files.find(job.folder) if step <= job.config.steps]
    pictures = {step: _opened(job, step) for step in steps}
    figures.draw_strip(pictures, _texts(job), job.folder / STRIP)


def write_comparison(job: Job, of_step: int) -> None:
    """`base-and-lora.png`: the base's samples above, the LoRA's below, for the same captions and noise.

    Args:
        of_step: the step whose weights the LoRA has; if no samples were drawn then, those of the nearest step are
            shown, under its own number.
    """
    steps = [step for step in sample_files.find(job.folder) if step <= job.config.steps]
    if 0 not in steps or len(steps) == 1:  # resumed from a version or with settings that drew none
        return
    nearest = min(steps[1:], key=lambda step: abs(step - of_step))
    rows = {"the base alone": _opened(job, 0), f"with the LoRA of step {nearest:,}": _opened(job, nearest)}
    figures.draw_rows(TITLE, rows, _texts(job), job.folder / COMPARISON)


def _opened(job: Job, step: int) -> list[Image.Image]:
    """The samples of a step, one per caption and kind of condition."""
    paths = [job.folder / FOLDER / name_of(step, number) for number in range(1, len(job.prompted) + 1)]
    return [Image.open(path) for path in paths if path.exists()]


def _texts(job: Job) -> list[str]:
    """Captions of the samples, with the kind of condition where there are several."""
    several = len(job.kinds) > 1
    return [f"{conditions.name_of(kind)}: {sample.text}" if several else sample.text for sample, kind in job.prompted]
