"""What a training will see and take, told before any weight is loaded."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import nn

from pipeline.errors import BadInput, MissingWeights
from pipeline.records import Layout, TrainingSample
from pipeline.text import budget, grammar
from pipeline.text.counters import ESTIMATE
from training import batches, checkpoint, dataset, flow, machine
from training.backends.base import parameters
from training.job import Job
from training.monitoring import journal

GIB = 2**30
STATE = {"adamw": 8, "adamw8bit": 2}
"""Bytes of optimizer state a weight."""
BASE = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "fp8": 1.0, "nf4": 0.5}
"""Bytes a weight of the base, without the quantizer's own scales (a tenth more for nf4)."""
STORED = 17
"""Numbers a token and unit of width that a block keeps for its backward pass: 34 bytes at 16 bits (Korthikanti et al.
2022, arXiv 2205.05198, equation 2, without attention scores, which are never stored here)."""
PIXEL = 384
"""Numbers a pixel that the VAE holds at once at its widest: three maps of 128 channels at full size in FLUX.1's."""
ENLARGED = 1.5
"""Times that a grid may be enlarged without a word."""
RECENT = 100
"""Logged steps whose median time counts as the machine's speed."""


@dataclass(frozen=True)
class Plan:
    """Figures of a training; memory in bytes."""

    tokens: dict[Layout, int]
    """Tokens of every canvas; two scales may come to the same."""
    text: list[int]
    """Tokens of every caption, those of the held-out grids behind the others."""
    counted: bool
    """Whether by the model's own tokenizer; else, as it is not on this machine, by an estimate that errs upwards."""
    base: int
    """Parameters of the transformer."""
    held: str
    """The numbers that they are held in, and where."""
    layers: int
    """Layers that the LoRA is put on."""
    lora: int
    """Its parameters."""
    together: int
    """Grids that go through the model together."""
    memory: dict[str, float]
    """By what takes it; each line of the phases text, grids and training is freed before the next."""
    done: int
    """Steps that the folder has already."""
    seconds_per_step: float | None
    """As the log of those has it, without validations and samples."""


def make(job: Job, device: torch.device, processes: int = 1) -> Plan:
    """The figures, from configs, tokenizer and pictures alone.

    Args:
        processes: that share a step's grids; the memory is that of each.
    """
    config, backend = job.config, job.backend
    transformer = backend.blank("transformer")
    layers = [layer for name, layer in transformer.named_modules() if re.fullmatch(backend.TARGETS, name)]
    lora_size = sum(config.rank * (layer.in_features + layer.out_features) for layer in layers)
    tokens = {layout: flow.tokens(layout) for layout in job.layouts.values()}
    texts = [sample.text for sample in job.samples]
    counts = job.count_tokens(texts)
    together = min(config.micro_batch, math.ceil(config.batch / processes))
    done = _done(job)
    return Plan(
        tokens=tokens,
        text=counts or [budget.fit(grammar.parse(text, job.task), job.task, ESTIMATE).tokens for text in texts],
        counted=counts is not None,
        base=parameters(transformer),
        held=f"{machine.base_numbers(config, device)}, on {device}",
        layers=len(layers),
        lora=lora_size,
        together=together,
        memory=_memory(job, transformer, lora_size, (max(tokens.values()) + backend.text_limit) * together, device),
        done=done,
        seconds_per_step=_speed(job.folder / journal.STEPS) if done else None,
    )


def _memory(job: Job, transformer: nn.Module, lora_size: int, tokens: int, device: torch.device) -> dict[str, float]:
    """By what takes it; `tokens` are those of all grids that go through the model together, with their texts."""
    config, backend = job.config, job.backend
    encoder = machine.encoder_dtype(device).itemsize
    computed = machine.base_dtype(config, device)
    blocks, width = backend.shape(transformer)
    every = tokens * width * computed.itemsize
    again = machine.recomputes(config, transformer)
    return {
        "text encoders": encoder * sum(backend.count(part) for part in backend.ENCODERS),
        "VAE": encoder * (backend.count("vae") + PIXEL * math.prod(job.shown.canvas)),
        "base": BASE[machine.base_numbers(config, device)] * parameters(transformer),
        "LoRA, gradient, optimizer, average": lora_size * (4 + 4 + STATE[config.optimizer] + 4),
        # With blocks computed again each keeps only what goes into it, and one at a time all of its own.
        "activations": every * (blocks + STORED) if again else every * blocks * STORED,
    }


def _done(job: Job) -> int:
    """Steps that this very training has behind it in its folder."""
    try:
        saved = checkpoint.load(job)
    except (BadInput, MissingWeights):
        return 0
    return int(saved["step"]) if saved else 0


def _speed(log: Path) -> float | None:
    """Seconds a step, from a training's log."""
    if not log.exists():
        return None
    with log.open(encoding="utf-8", newline="") as file:
        seconds = [float(line["seconds"]) for line in csv.DictReader(file) if line.get("seconds")]
    return median(seconds[-RECENT:]) if seconds else None


# ---- for a person


def lines(job: Job, plan: Plan) -> Iterator[str]:
    """The plan in words."""
    config, data, panels = job.config, job.data, job.task.layout
    yield f"task {job.task.name}: {len(data.train)} grids of {panels.rows} x {panels.cols} panels, {_held_out(job)}"
    for layout, tokens in plan.tokens.items():
        width, height = layout.canvas
        of_panels = f"panels of {layout.panel_width} x {layout.panel_height}"
        shift = f"noise levels shifted {batches.shift(job, layout):.2f} times"
        yield f"canvas {width} x {height}: {of_panels}, {tokens} tokens, {shift}"
    yield from _captions(job, plan)
    yield from _doubts(job)
    seen = _times(config.steps * config.batch / len(data.train))
    done = f"; {plan.done} of the steps are done" if plan.done else ""
    yield f"{config.steps} steps of {config.batch} grids, {plan.together} at a time: each grid is seen {seen}{done}"
    if config.micro_batch > plan.together:
        most = f"{plan.together} grids that a process has of a step"
        yield f"warning: train.micro_batch={config.micro_batch} is more than the {most}"
    yield f"{_mode(job)}; caption dropout {config.caption_dropout}, permuted {config.permute:.0%}"
    yield (
        f"rank {config.rank}, alpha {config.alpha:g}, {config.optimizer} at {config.learning_rate:g} {config.schedule} "
        f"after {config.warmup} steps, average {config.ema}, seed {config.seed}"
    )
    yield (
        f"base {job.backend.model}: {plan.base / 1e6:,.1f} million parameters ({plan.held}); "
        f"LoRA on {plan.layers} layers, {plan.lora / 1e6:,.2f} million"
    )
    memory = plan.memory
    training = {name: size for name, size in memory.items() if name not in ("text encoders", "VAE")}
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in training.items())
    yield (
        f"memory, about: text encoders {memory['text encoders'] / GIB:.2f} GiB, freed; VAE {memory['VAE'] / GIB:.2f} "
        f"GiB, freed; training {sum(training.values()) / GIB:.2f} GiB ({parts})"
    )
    left = config.steps - plan.done
    if plan.seconds_per_step is not None and left > 0:
        yield (
            f"time, about: {plan.seconds_per_step * left / 60:.0f} min for the {left} steps that are left, at "
            f"{plan.seconds_per_step:.2f} s a step, without validations and samples ({job.folder / journal.STEPS})"
        )


def _times(number: float) -> str:
    told = f"{number:.0f}" if number >= 10 else f"{number:.2g}"  # noqa: PLR2004
    return "once" if told == "1" else f"{told} times"


def _held_out(job: Job) -> str:
    if job.data.held_out:
        return f"{len(job.data.held_out)} held out"
    return "none held out, so there will be no held-out loss"


def _captions(job: Job, plan: Plan) -> Iterator[str]:
    spread, limit = f"{min(plan.text)} to {max(plan.text)} tokens", job.backend.text_limit
    if plan.counted:
        yield f"captions of {spread}, {limit} are read"
        return
    yield (
        f"captions of about {spread}, {limit} are read; the tokenizer of {job.backend.model} is not on this machine, "
        "so this is an estimate that errs upwards"
    )
    over = [sample for sample, count in zip(job.samples, plan.text, strict=True) if count > limit]
    if over and not job.config.truncate:
        yield f"warning: {len(over)} captions may be longer than what is read, which would be an error: {_files(over)}"


def _doubts(job: Job) -> Iterator[str]:
    """What can be trained on, and is hardly meant."""
    task, samples = job.task, job.samples
    sizes = [(sample, job.shown.panel_width / sample.layout.panel_width) for sample in samples]
    if small := [sample for sample, times in sizes if times > ENLARGED]:
        most = max(times for _, times in sizes)
        yield f"warning: {len(small)} grids are enlarged to the canvas, up to {most:.1f} times: {_files(small)}"
    if unmarked := [sample for sample in samples if not grammar.is_joint(sample.text, task)]:
        markers = " ".join(task.markers)
        yield f"warning: {len(unmarked)} captions don't have {markers}, each and in this order: {_files(unmarked)}"
    if bare := [sample for sample in samples if not sample.text.startswith(task.prefix)]:
        yield f"warning: {len(bare)} captions don't begin with {task.prefix}: {_files(bare)}"


def _files(samples: Sequence[TrainingSample]) -> str:
    return dataset.listed([dataset.name_of(sample) for sample in samples])


def _mode(job: Job) -> str:
    share = job.config.conditional or 0.0
    if not share:
        return "joint mode: all panels are noised"
    which = f"panels {', '.join(map(str, job.task.condition))}" if job.task.condition else "panels drawn at random"
    name = "conditional mode" if share == 1 else f"conditional mode for {share:.0%} of the samples, else joint"
    return f"{name}: {which} stay clean"
