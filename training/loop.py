"""The training, from top to bottom: encode, put the LoRA on, step, look on, save.

Shapes: P panels of a grid.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import BadInput, Diverged
from pipeline.progress import Progress
from training import batches, checkpoint, flow, fused, latents, lora, machine, results
from training.batches import EncodedDataset
from training.checkpoint import State
from training.config import Config
from training.job import Job
from training.monitoring import heldout, preview
from training.monitoring.journal import Journal
from training.processes import Processes

AT_LEAST_EVERY = 600.0
"""Seconds between two checkpoints at most, however slow the steps are."""


@dataclass(frozen=True)
class Losses:
    """What a step's grids cost, over all processes."""

    mean: float
    panels_P: list[float | None]
    """By panel, over the grids that had to learn it; None where none had."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to."""

    file: Path
    """The LoRA: averaged weights, those of the best held-out loss where `patience` is set."""
    step: int
    """Steps done."""
    of_step: int
    """The step whose weights the file has."""
    held_out: float | None
    """Held-out loss at the end."""
    took: int
    """Steps that this call took."""
    seconds: float
    """What they took, without encoding and loading."""


def train(job: Job, processes: Processes, progress: Progress) -> Outcome:
    """Runs a training to its end; one that was stopped goes on from its last checkpoint.

    Raises:
        BadInput: the folder holds another training, or the GPU's memory is too small.
        Diverged: loss, gradient or weights are no numbers, or the gradient is nothing.
    """
    try:
        return _train(job, processes, progress)
    except torch.OutOfMemoryError as error:
        raise BadInput(_too_large(job)) from error


def _train(job: Job, processes: Processes, progress: Progress) -> Outcome:
    config, device = job.config, processes.device
    saved = checkpoint.load(job)
    file = results.file_of(job)
    if saved and _is_over(saved["step"], saved["waited"], config):
        of_step = results.counting(config, saved["step"], saved["best"])
        if results.are_written(job, saved["step"], of_step):
            return Outcome(file, saved["step"], of_step, saved["held_out"], 0, 0.0)
    job.folder.mkdir(parents=True, exist_ok=True)
    encoded = encode(job, processes, progress)
    transformer = machine.load_transformer(job.backend, config, device)
    state = _begin(job, transformer, saved)
    if config.compile:
        machine.compile_blocks(transformer)
    first, started, saved_at = state.step, time.monotonic(), time.monotonic()
    with _journal(job, state.step) if processes.is_main else nullcontext() as journal:
        if state.step == 0:  # the base itself, to compare with
            _validate(job, encoded, transformer, state, journal, processes)
            _draw(job, encoded, transformer, state, journal, processes)
        while not _is_over(state.step, state.waited, config):
            begun, rate = time.monotonic(), learning_rate(config, state.step)
            losses = gradients(job, encoded, transformer, state, processes)
            norm = descend(job, state, rate, losses)
            if journal:
                journal.step(state.step, losses.mean, losses.panels_P, rate, norm, time.monotonic() - begun)
            progress("training", state.step, config.steps)
            if state.step == config.steps or state.step % config.validate_every == 0:
                _validate(job, encoded, transformer, state, journal, processes)
            last = _is_over(state.step, state.waited, config)  # which the validation may have decided
            if last or state.step % config.sample_every == 0:
                _draw(job, encoded, transformer, state, journal, processes)
            if last or state.step % config.save_every == 0 or time.monotonic() - saved_at > AT_LEAST_EVERY:
                saved_at = time.monotonic()
                if processes.is_main:
                    results.save(job, state)
    seconds = time.monotonic() - started
    if processes.is_main:
        results.finish(job, state)
    processes.wait()
    of_step = results.counting(config, state.step, state.best)
    return Outcome(file, state.step, of_step, state.held_out, state.step - first, seconds)


def _too_large(job: Job) -> str:
    """What takes less memory: first what lets the training go on, then what makes another one of it."""
    config, ways = job.config, []
    if config.micro_batch > 1:
        ways.append("train.micro_batch=1")
    if not machine.recomputes(config, job.backend.blank("transformer")):
        ways.append("train.checkpointing=true")
    fewer_bits = "" if config.base_weights == "nf4" else " or train.base_weights=nf4"
    go_on = f"go on with {' and '.join(ways)}, or " if ways else ""
    return (
        f"the GPU's memory is too small for a step of {config.micro_batch} grids at a time with "
        f"train.base_weights={config.base_weights}; {go_on}begin anew with smaller train.scales{fewer_bits}."
    )


# ---- before the first step


def encode(job: Job, processes: Processes, progress: Progress) -> EncodedDataset:
    """Everything that the transformer will read; one process fills the cache, the others find it full."""
    dtype, device = machine.encoder_dtype(processes.device), processes.device
    if not processes.is_main:
        processes.wait()
    texts = latents.encode_texts(job.backend, job.texts(), job.cache, dtype, device, progress)
    grids = latents.encode_grids(job.backend, job.views(), job.cache, dtype, device, progress)
    if processes.is_main:
        processes.wait()
    return EncodedDataset(texts, grids)


def _begin(job: Job, transformer: Any, saved: dict[str, Any] | None) -> State:
    """A LoRA on the transformer, new or as it was saved."""
    weights = lora.attach(transformer, job.backend.TARGETS, job.config)
    fused.fuse(transformer)
    optimizer = machine.make_optimizer(weights.values(), job.config)
    state = State(weights, lora.Average(weights, job.config.ema), optimizer)
    if saved:
        for name, weight in weights.items():
            weight.data.copy_(saved["weights"][name])
            state.average.tensors[name].copy_(saved["average"][name])
        optimizer.load_state_dict(saved["optimizer"])
        state.step, state.held_out = saved["step"], saved["held_out"]
        state.best, state.waited = saved["best"], saved["waited"]
    return state


def _journal(job: Job, step: int) -> Journal:
    return Journal(
        job.folder,
        job.shown.size,
        from_step=step,
        wandb=job.config.wandb,
        name=job.task.name,
        settings=job.config.model_dump(mode="json"),
    )


# ---- a step


def learning_rate(config: Config, step: int) -> float:
    """Of a step (from 0): up over the warm-up, then level or down half a cosine."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    way = (step - config.warmup) / (config.steps - config.warmup)
    return config.learning_rate * (0.5 + 0.5 * math.cos(math.pi * way))


def gradients(job: Job, encoded: EncodedDataset, transformer: Any, state: State, processes: Processes) -> Losses:
    """Leaves a step's gradient on the weights: the mean over its grids, whichever process they fell to."""
    config, panels = job.config, job.shown.size
    own = processes.own(range(state.step * config.batch, (state.step + 1) * config.batch))
    mean, sums_P, counts_P = torch.zeros(()), torch.zeros(panels), torch.zeros(panels)
    for start in range(0, len(own), config.micro_batch):
        examples = [batches.example_at(job, encoded, state.step, at) for at in own[start : start + config.micro_batch]]
        batch = batches.gather(job, encoded, examples, processes.device)
        losses_BP = batches.losses(job, transformer, batch)
        loss = flow.grid_loss(losses_BP, batch.weights_BP).sum() / config.batch
        loss.backward()  # type: ignore[no-untyped-call]
        learnt_BP = batch.weights_BP > 0
        mean += loss.detach().cpu()
        sums_P += (losses_BP.detach() * learnt_BP).sum(0).cpu()
        counts_P += learnt_BP.sum(0).cpu()
    processes.add_up([_gradient(weight) for weight in state.weights.values()])
    processes.add_up([mean, sums_P, counts_P])
    means = zip(sums_P.tolist(), counts_P.tolist(), strict=True)
    return Losses(float(mean), [total / count if count else None for total, count in means])


def descend(job: Job, state: State, rate: float, losses: Losses) -> float:
    """Takes the step; the gradient's norm before it is cut.

    Raises:
        Diverged: there is no step to take, or none to go on from.
    """
    weights = list(state.weights.values())
    norm = float(nn.utils.clip_grad_norm_(weights, job.config.clip))
    if not (math.isfinite(losses.mean) and math.isfinite(norm)):
        raise _diverged(job, state.step + 1, f"the loss is {losses.mean} and the gradient's norm {norm}")
    if norm == 0:
        raise Diverged(
            f"step {state.step + 1}: the gradient is nothing, so nothing would be learnt: the LoRA's layers take no "
            f"part in what {job.backend.model} predicts; give a whole model."
        )
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    if not math.isfinite(size := float(nn.utils.get_total_norm([weight.detach() for weight in weights]))):
        raise _diverged(job, state.step, f"the norm of the LoRA's weights is {size}")  # before any file has them
    state.average.update(state.step)
    return norm


def _diverged(job: Job, step: int, what: str) -> Diverged:
    return Diverged(
        f"step {step}: {what}, so the training can't go on; begin again with a lower train.learning_rate than "
        f"{job.config.learning_rate:g}, or with train.base_weights=bf16."
    )


def _gradient(weight: nn.Parameter) -> Tensor:
    """A weight's gradient; zeros where it has none, so that all processes send the same."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def _is_over(step: int, waited: int, config: Config) -> bool:
    return step >= config.steps or (config.patience is not None and waited >= config.patience)


# ---- looking on


def _validate(
    job: Job, encoded: EncodedDataset, transformer: Any, state: State, journal: Journal | None, processes: Processes
) -> None:
    """Measures the averaged weights on the held-out grids, where there are any.

    Raises:
        Diverged: what comes out is no number.
    """
    if not job.data.held_out:
        return
    with state.average.applied():
        losses = heldout.measure(job, encoded, transformer, processes)
    state.held_out = heldout.mean(losses)
    if not math.isfinite(state.held_out):
        raise _diverged(job, state.step, f"the held-out loss is {state.held_out}")
    if journal:
        journal.validation(state.step, losses)
    if job.config.patience is None or state.step == 0:  # however good the base is, it is no training's result
        return
    if state.best is None or state.held_out < state.best["loss"]:
        tensors = {name: tensor.clone() for name, tensor in state.average.tensors.items()}
        state.best, state.waited = {"step": state.step, "loss": state.held_out, "average": tensors}, 0
    else:
        state.waited += 1


def _draw(
    job: Job, encoded: EncodedDataset, transformer: Any, state: State, journal: Journal | None, processes: Processes
) -> None:
    """Draws the samples with the averaged weights; the main process does, the others wait at the next sum."""
    if journal is None or not job.prompted:
        return
    with state.average.applied():
        images = preview.draw(job, encoded, transformer, processes.device)
    preview.save(job, state.step, images)
    for image in images:
        journal.picture(state.step, image)
