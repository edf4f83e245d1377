"""What a training will see and need, worked out before any weights are loaded."""

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
from pipeline.sources.names import listed
from pipeline.text import budget, grammar
from pipeline.text.counters import ESTIMATE
from pipeline.wording import counted
from training import batches, checkpoint, conditions, dataset, machine
from training.job import Job
from training.model_files import parameter_count
from training.monitoring import journal

GIB = 2**30
STATE = {"adamw": 8, "adamw8bit": 2}
"""Bytes of optimizer state per weight."""
BASE = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "fp8": 1.0, "nf4": 0.5}
"""Bytes per weight of the base, without the quantizer's own scales (a tenth more for nf4)."""
STORED = 17
"""Floats per token and unit of width that a block stores for its backward pass: 34 bytes at 16 bits (Korthikanti et al.
2022, arXiv 2205.05198, equation 2, without attention scores, which are never stored here)."""
ENLARGED = 1.5
"""How much a grid may be enlarged without a warning."""
RECENT = 100
"""Logged steps whose median duration is the machine's speed."""


@dataclass(frozen=True)
class Plan:
    """Figures of a training; memory in bytes."""

    tokens: dict[Layout, int]
    """Tokens of every canvas; two scales may have the same canvas."""
    references: int
    """The most tokens that one grid's reference images take; 0 where there are none."""
    text: list[int]
    """Tokens of every caption, those of the held-out grids last."""
    counted: bool
    """Whether by the model's own tokenizer; if it is not on this machine, by an estimate that errs on the high side."""
    base: int
    """Parameters of the transformer."""
    held: str
    """How they are stored, and where."""
    layers: int
    """Layers with a LoRA."""
    lora: int
    """Parameters of the LoRA."""
    together: int
    """Grids that go through the model together."""
    memory: dict[str, float]
    """By what takes it. The text encoders and the VAE are freed before the next phase."""
    done: int
    """Steps that are already done in the folder."""
    seconds_per_step: float | None
    """According to their log, without validations and samples."""


def make(job: Job, device: torch.device, processes: int = 1) -> Plan:
    """The figures, from configs, tokenizer and pictures alone.

    Args:
        processes: how many share the grids of a step; the memory is that of one.
    """
    config, backend = job.config, job.backend
    transformer = backend.blank("transformer")
    layers = [layer for name, layer in transformer.named_modules() if re.fullmatch(backend.targets, name)]
    lora_size = sum(config.rank * (layer.in_features + layer.out_features) for layer in layers)
    tokens = {layout: backend.tokens(layout.canvas) for layout in job.layouts.values()}
    references = max((job.reference_tokens(sample) for sample in job.samples), default=0)
    texts = [sample.text for sample in job.samples]
    counts = job.count_tokens(texts)
    together = min(config.micro_batch, math.ceil(config.batch / processes))
    longest = max(tokens.values()) + references
    done = _done(job)
    return Plan(
        tokens=tokens,
        references=references,
        text=counts or [budget.fit(grammar.parse(text, job.task), job.task, ESTIMATE).tokens for text in texts],
        counted=counts is not None,
        base=parameter_count(transformer),
        held=f"{machine.weights_format(config, device)}, on {device}",
        layers=len(layers),
        lora=lora_size,
        together=together,
        memory=_memory(job, transformer, lora_size, (longest + backend.text_limit) * together, device),
        done=done,
        seconds_per_step=_speed(job.folder / journal.STEPS) if done else None,
    )


def _memory(job: Job, transformer: nn.Module, lora_size: int, tokens: int, device: torch.device) -> dict[str, float]:
    """By what takes it.

    Args:
        tokens: of all grids that go through the model together, with their texts and reference images.
    """
    config, backend = job.config, job.backend
    encoder = machine.encoder_dtype(device).itemsize
    computed = machine.base_dtype(config, device)
    blocks = len(backend.blocks(transformer))
    every = tokens * backend.width(transformer) * computed.itemsize
    again = machine.recomputes(config, transformer)
    return {
        "text encoders": encoder * sum(backend.count(part) for part in backend.ENCODERS),
        "VAE": encoder * (backend.count("vae") + backend.VAE_FLOATS * math.prod(job.shown.canvas)),
        "base": BASE[machine.weights_format(config, device)] * parameter_count(transformer),
        "LoRA, gradient, optimizer, average": lora_size * (4 + 4 + STATE[config.optimizer] + 4),
        # With checkpointing every block keeps only its input, and one block at a time everything else.
        "activations": every * (blocks + STORED) if again else every * blocks * STORED,
    }


def _done(job: Job) -> int:
    """Steps that this training has already done in its folder."""
    try:
        saved = checkpoint.load(job)
    except (BadInput, MissingWeights):
        return 0
    return int(saved["step"]) if saved else 0


def _speed(log: Path) -> float | None:
    """Seconds per step, from a training's log."""
    if not log.exists():
        return None
    with log.open(encoding="utf-8", newline="") as file:
        seconds = [float(line["seconds"]) for line in csv.DictReader(file) if line.get("seconds")]
    return median(seconds[-RECENT:]) if seconds else None


# ---- for a person


def lines(job: Job, plan: Plan) -> Iterator[str]:
    """The plan in words."""
    config, data, panels = job.config, job.data, job.task.layout
    grids = counted(data.train, "grid")
    yield f"task {job.task.name}: {grids} of {panels.rows} x {panels.cols} panels, {_held_out(job)}"
    for layout, tokens in plan.tokens.items():
        width, height = layout.canvas
        of_panels = f"panels of {layout.panel_width} x {layout.panel_height}"
        shift = f"noise levels shifted {batches.shift_of(job, tokens):.2f} times"
        yield f"canvas {width} x {height}: {of_panels}, {tokens} tokens, {shift}"
    if plan.references:
        yield f"reference images: up to {plan.references} more tokens per grid"
    yield from _captions(job, plan)
    yield from _doubts(job)
    seen = _times(config.steps * config.batch / len(data.train))
    done = f"; {plan.done} of the steps are done" if plan.done else ""
    length = f"{counted(config.steps, 'step')} of {counted(config.batch, 'grid')}"
    yield f"{length}, {plan.together} at a time: each grid is seen {seen}{done}"
    if config.micro_batch > plan.together:
        most = f"the {counted(plan.together, 'grid')} that each process gets per step"
        yield f"warning: train.micro_batch={config.micro_batch} is more than {most}"
    yield f"{_mode(job)}; caption dropout {config.caption_dropout}, permuted {config.permute:.0%}"
    yield (
        f"rank {config.rank}, alpha {config.alpha:g}, {config.optimizer} at {config.learning_rate:g} {config.schedule} "
        f"after {counted(config.warmup, 'step')}, average {config.ema}, seed {config.seed}"
    )
    yield (
        f"base {job.backend.model}: {plan.base / 1e6:,.1f} million parameters ({plan.held}); "
        f"LoRA on {counted(plan.layers, 'layer')}, {plan.lora / 1e6:,.2f} million"
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
            f"time, about: {plan.seconds_per_step * left / 60:.0f} min for the remaining {counted(left, 'step')}, at "
            f"{plan.seconds_per_step:.2f} s per step, without validations and samples ({job.folder / journal.STEPS})"
        )


def _times(number: float) -> str:
    rounded = f"{number:.0f}" if number >= 10 else f"{number:.2g}"  # noqa: PLR2004
    return "once" if rounded == "1" else f"{rounded} times"


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
        "so this is an estimate that errs on the high side"
    )
    over = [sample for sample, count in zip(job.samples, plan.text, strict=True) if count > limit]
    if over and not job.config.truncate:
        yield f"warning: {counted(over, 'caption')} may be too long, which would be an error: {_files(over)}"


def _doubts(job: Job) -> Iterator[str]:
    """What can be trained on, but is probably not intended."""
    task, samples = job.task, job.samples
    yield from (f"note: {remark}" for remark in job.data.remarks)
    sizes = [(sample, job.shown.panel_width / sample.layout.panel_width) for sample in samples]
    if small := [sample for sample, times in sizes if times > ENLARGED]:
        most = max(times for _, times in sizes)
        which = counted(small, "grid is", "grids are")
        yield f"warning: {which} enlarged to fit the canvas, by up to {most:.1f} times: {_files(small)}"
    if unmarked := [sample for sample in samples if not grammar.is_joint(sample.text, task)]:
        markers = " ".join(task.markers)
        which = counted(unmarked, "caption doesn't", "captions don't")
        yield f"warning: {which} have {markers}, all of them in this order: {_files(unmarked)}"
    if bare := [sample for sample in samples if not sample.text.startswith(task.prefix)]:
        which = counted(bare, "caption doesn't", "captions don't")
        yield f"warning: {which} start with {task.prefix}: {_files(bare)}"


def _files(samples: Sequence[TrainingSample]) -> str:
    return listed([dataset.name_of(sample) for sample in samples])


def _mode(job: Job) -> str:
    joint = conditions.joint_share(job.conditions)
    if joint == 1:
        return "joint mode: all panels are noised"
    told = [
        f"{conditions.which(one, job.task.condition)} {conditions.SEEN[one.seen]} in {one.share:.0%} of the samples"
        for one in job.conditions
    ]
    return f"given: {', '.join(told)}{f'; joint mode in the other {joint:.0%}' if joint else ''}"
