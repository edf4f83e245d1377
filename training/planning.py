"""What a training will see and need, worked out before any weights are loaded."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from pipeline.dataset import uses
from pipeline.errors import BadInput, MissingWeights
from pipeline.records import Layout, TrainingSample
from pipeline.sources.names import listed
from pipeline.text import budget, grammar
from pipeline.text.counters import ESTIMATE
from pipeline.wording import counted
from training import batches, checkpoint, conditions, dataset, machine, memory, presets
from training.activations import Lora, Sight
from training.config import Config
from training.job import Job
from training.memory import GIB, Phase
from training.model_files import parameter_count
from training.monitoring import journal

OFFLOADED = {"base_weights": "bf16", "checkpointing": True, "offload": True, "micro_batch": 1}
"""What fits where no preset does."""
ENLARGED = 1.5
"""How much a grid may be enlarged without a warning."""
RECENT = 100
"""Logged steps whose median duration is the machine's speed."""


@dataclass(frozen=True)
class Plan:
    """Figures of a training."""

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
    phases: tuple[Phase, ...]
    """What each takes of the device's memory. Text encoders and VAE are freed before the next."""
    gpu: float | None
    """Bytes of the GPU at hand, or of the one that is asked about; None where there is neither."""
    choices: dict[str, Phase]
    """The phase that takes most with other settings, those set by hand unchanged; empty without a GPU."""
    done: int
    """Steps that are already done in the folder."""
    seconds_per_step: float | None
    """According to their log, without validations and samples."""

    @property
    def largest(self) -> Phase:
        """The phase that takes most."""
        return _largest(self.phases)

    def parts(self, name: str) -> Mapping[str, float]:
        """What a phase takes, in bytes by what takes it."""
        return next(phase.parts for phase in self.phases if phase.name == name)


def make(job: Job, device: torch.device, processes: int = 1, gpu: float | None = None) -> Plan:
    """The figures, from configs, tokenizer and pictures alone.

    Args:
        processes: how many share the grids of a step; the memory is that of one.
        gpu: GiB of another GPU than the one at hand.
    """
    device = device if gpu is None else torch.device("cuda")
    config, backend = job.config, job.backend
    transformer = backend.blank("transformer")
    layers = {name: layer for name, layer in transformer.named_modules() if re.fullmatch(backend.targets, name)}
    lora = Lora(
        layers=frozenset(layers),
        rank=config.rank,
        size=sum(config.rank * (layer.in_features + layer.out_features) for layer in layers.values()),
    )
    tokens = {layout: backend.tokens(layout.canvas) for layout in job.layouts.values()}
    references = max((job.reference_tokens(sample) for sample in job.samples), default=0)
    texts = [sample.text for sample in job.samples]
    counts = job.count_tokens(texts)
    text = counts or [budget.fit(grammar.parse(text, job.task), job.task, ESTIMATE).tokens for text in texts]
    most = math.ceil(config.batch / processes)
    size = machine.gpu_memory(device) if gpu is None else gpu * GIB
    pictures = job.picture_tokens()

    def phases(config: Config) -> tuple[Phase, ...]:
        sight = Sight(
            image=max(tokens.values()) + references,
            text=backend.text_tokens(max(text), pictures),
            together=min(config.micro_batch, most),
            canvas=job.shown.canvas,
            read=backend.text_tokens(max(text)) + pictures,
        )
        return memory.phases(backend, config, lora, sight, device, size)

    done = _done(job)
    return Plan(
        tokens=tokens,
        references=references,
        text=text,
        counted=counts is not None,
        base=parameter_count(transformer),
        held=f"{machine.weights_format(config, device)}, on {device}",
        layers=len(layers),
        lora=lora.size,
        together=min(config.micro_batch, most),
        phases=phases(config),
        gpu=size,
        choices=_choices(job, phases, size) if size else {},
        done=done,
        seconds_per_step=_speed(job.folder / journal.STEPS) if done else None,
    )


def _choices(job: Job, phases: Callable[[Config], tuple[Phase, ...]], gpu: float) -> dict[str, Phase]:
    """The phase that takes most with every preset, and with the base in main memory, by how they are set; each without
    samples too where nothing has room with them."""
    found = {f"train.preset={name}": presets.TABLE[name] for name in presets.TABLE}
    found["train.base_weights=bf16 train.offload=true"] = OFFLOADED
    configs = {
        name: job.config.model_copy(
            update={key: value for key, value in settings.items() if settings is OFFLOADED or key not in job.task.train}
        )
        for name, settings in found.items()
    }
    every = {name: _largest(phases(config)) for name, config in configs.items()}
    if job.config.samples and all(phase.total > gpu for phase in every.values()):
        bare = {f"{name} train.samples=0": one.model_copy(update={"samples": 0}) for name, one in configs.items()}
        every |= {name: _largest(phases(config)) for name, config in bare.items()}
    return every


def _largest(phases: Sequence[Phase]) -> Phase:
    return max((phase for phase in phases if not phase.on_cpu), key=lambda phase: phase.total)


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
    noun = uses.noun(job.task)
    of_panels = f" of {panels.rows} x {panels.cols} panels" if noun == "grid" else ""
    yield f"task {job.task.name}: {counted(data.train, noun)}{of_panels}, {_held_out(job)}"
    for layout, tokens in plan.tokens.items():
        width, height = layout.canvas
        of_panels = f"panels of {layout.panel_width} x {layout.panel_height}"
        shift = f"noise levels shifted {batches.shift_of(job, tokens):.2f} times"
        yield f"canvas {width} x {height}: {of_panels}, {tokens} tokens, {shift}"
    if plan.references:
        yield f"reference images: up to {plan.references} more tokens per {noun}"
    yield from _captions(job, plan)
    yield from _doubts(job)
    seen = _times(config.steps * config.batch / len(data.train))
    done = f"; {plan.done} of the steps are done" if plan.done else ""
    length = f"{counted(config.steps, 'step')} of {counted(config.batch, noun)}"
    yield f"{length}, {plan.together} at a time: each {noun} is seen {seen}{done}"
    if config.micro_batch > plan.together:
        most = f"the {counted(plan.together, noun)} that each process gets per step"
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
    yield from _memory(job, plan)
    left = config.steps - plan.done
    if plan.seconds_per_step is not None and left > 0:
        yield (
            f"time, about: {plan.seconds_per_step * left / 60:.0f} min for the remaining {counted(left, 'step')}, at "
            f"{plan.seconds_per_step:.2f} s per step, without validations and samples ({job.folder / journal.STEPS})"
        )


def _memory(job: Job, plan: Plan) -> Iterator[str]:
    """What it takes, phase by phase, and whether the GPU has it."""
    told = ", ".join(
        f"{phase.name} {phase.total / GIB:.2f} GiB{' of main memory' * phase.on_cpu}" for phase in plan.phases
    )
    yield f"memory, about: {told}"
    yield f"in training: {', '.join(f'{name} {size / GIB:.2f}' for name, size in plan.parts('training').items())}"
    if (preset := job.config.preset) is not None:
        own = [key for key in presets.TABLE[preset] if key in job.task.train]
        set_to = [f"{key}={_plain(value)}" for key, value in presets.TABLE[preset].items() if key not in own]
        yield f"preset {preset}: {', '.join(set_to)}{f'; set by hand: {listed(own)}' if own else ''}"
    if plan.gpu is not None:
        yield from _fit(plan, plan.gpu)


def _fit(plan: Plan, gpu: float) -> Iterator[str]:
    """Whether a GPU of so many bytes is large enough, and with which settings it would be."""
    which = f"a GPU with {gpu / GIB:.3g} GiB"
    if any(phase.on_cpu for phase in plan.phases):
        encoders = plan.parts("reading texts")["text encoders"] / GIB
        yield f"texts are read on the CPU, each once: {which} is too small for the text encoders ({encoders:.1f} GiB)"
    spare = (gpu - plan.largest.total) / GIB
    if spare >= 0:
        yield f"{which} has room for this training, with {spare:.1f} GiB to spare"
    else:
        yield f"warning: {which} is too small for this training, by {-spare:.1f} GiB ({plan.largest.name})"
    sizes = {name: f"{name} ({phase.total / GIB:.1f} GiB)" for name, phase in plan.choices.items()}
    fitting = [sizes[name] for name, phase in plan.choices.items() if phase.total <= gpu]
    if fitting:
        yield f"what fits it: {', '.join(fitting)}"
    else:
        least, phase = min(plan.choices.items(), key=lambda choice: choice[1].total)
        way = "use smaller train.scales" if phase.without_canvas <= gpu else "use another base"
        yield f"nothing fits it at this canvas, {sizes[least]} comes nearest, too large in {phase.name}; {way}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


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
        noun = uses.noun(task)
        which = counted(small, f"{noun} is", f"{noun}s are")
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
