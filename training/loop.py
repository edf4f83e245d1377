"""The training loop from top to bottom: encode, attach the LoRA, step, validate and sample, save.

Shapes: P panels of a grid.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.dataset import uses
from pipeline.errors import BadInput, Diverged
from pipeline.progress import LOG, Progress
from pipeline.wording import counted
from training import batches, checkpoint, fused, lora, machine, memory, offload, results
from training.checkpoint import State
from training.config import Config
from training.evaluation.grid_scorer import DrawnGrid
from training.job import Job
from training.latents import EncodedDataset, Encoder
from training.monitoring import heldout, preview, status
from training.monitoring.journal import Journal
from training.monitoring.losses import mean
from training.monitoring.status import Standing, Status
from training.processes import Processes

RECENT = 20
"""Steps whose mean loss is reported."""
AT_LEAST_EVERY = 600.0
"""The most seconds between two checkpoints, however slow the steps are."""


@dataclass(frozen=True)
class Losses:
    """The losses of a step's grids, over all processes."""

    mean: float
    panels_P: list[float | None]
    """By panel, over the grids in which it was learnt; None if there were none."""


@dataclass(frozen=True)
class Outcome:
    """The result of a training."""

    file: Path
    """The LoRA: averaged weights, with `patience` those of the best held-out loss or score."""
    step: int
    """Steps done."""
    of_step: int
    """The step whose weights are in the file: the last, with `patience` the best, or the one that an evaluation has
    chosen."""
    held_out: float | None
    """Held-out loss at the end."""
    lowest: results.Lowest | None
    """The lowest held-out loss of the training, which may be that of another step."""
    took: int
    """Steps done by this call."""
    seconds: float
    """Their duration, without encoding and loading."""
    own: Path | None = None
    """The LoRA that the training ended with, where an evaluation has chosen another, which stays."""


def train(job: Job, processes: Processes, progress: Progress) -> Outcome:
    """Runs a training to its end; an interrupted one resumes from its last checkpoint.

    Raises:
        BadInput: the folder holds another training, or the GPU's memory is too small.
        Diverged: loss, gradient or weights are NaN or infinite, or the gradient is zero.
    """
    saved = checkpoint.load(job)
    if saved and (done := _finished(job, saved)):
        return done
    job.folder.mkdir(parents=True, exist_ok=True)
    with status.kept(job.folder, _status(job)) if processes.is_main else nullcontext() as standing:
        try:
            return _train(job, processes, progress, saved, standing)
        except torch.OutOfMemoryError as error:
            raise BadInput(_too_large(job)) from error


def _finished(job: Job, saved: dict[str, Any]) -> Outcome | None:
    """The outcome of a training that is over and whose files are there."""
    if not _is_over(saved["step"], saved["waited"], job.config):
        return None
    of_step = results.final_step(job.config, saved["step"], saved["best"])
    if not results.are_written(job, saved["step"], of_step):
        return None
    done, lowest = results.result(job, of_step), results.lowest(job)
    return Outcome(results.file_of(job), saved["step"], done.of_step, saved["held_out"], lowest, 0, 0.0, done.own)


def _status(job: Job) -> Status:
    return Status(
        task=job.task.name,
        title=job.task.title,
        base=results.base_name(job.backend),
        grids=len(job.data.train),
        held_out=len(job.data.held_out),
        steps=job.config.steps,
    )


def _train(
    job: Job, processes: Processes, progress: Progress, saved: dict[str, Any] | None, standing: Standing | None
) -> Outcome:
    config, device = job.config, processes.device
    _prepare_scorer(job, processes)
    encoded = encode(job, processes, progress)
    transformer = machine.load_transformer(job.backend, config, device)
    state = _begin(job, transformer, saved, device)
    if config.compile:
        machine.compile_blocks(job.backend, transformer)
    first, started, saved_at = state.step, time.monotonic(), time.monotonic()
    recent: deque[float] = deque(maxlen=RECENT)
    with _journal(job, state.step) if processes.is_main else nullcontext() as journal:
        if state.step == 0:  # the base alone, for comparison
            LOG.info("measuring the base alone")
            _validate(job, encoded, transformer, state, journal, processes)
            _evaluate(job, encoded, transformer, state, journal, processes)
            _draw(job, encoded, transformer, state, journal, processes)
        LOG.info("waiting for the first step")
        if standing:
            standing.begin(state.step)
        while not _is_over(state.step, state.waited, config):
            begun, rate = time.monotonic(), learning_rate(config, state.step)
            losses = gradients(job, encoded, transformer, state, processes)
            norm = descend(job, state, rate, losses)
            if journal:
                seconds, memory = time.monotonic() - begun, machine.memory_in_use(device)
                journal.step(state.step, losses.mean, losses.panels_P, rate, norm, seconds=seconds, memory=memory)
            recent.append(losses.mean)
            LOG.debug("%s", _standing(recent, state))
            progress("training", state.step, config.steps)
            if state.step == config.steps or state.step % config.validate_every == 0:
                _validate(job, encoded, transformer, state, journal, processes)
            if config.evaluate_every and (state.step == config.steps or state.step % config.evaluate_every == 0):
                _evaluate(job, encoded, transformer, state, journal, processes)
            last = _is_over(state.step, state.waited, config)  # what was measured may have decided so
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
    done = results.result(job, results.final_step(config, state.step, state.best))
    lowest = results.lowest(job) if processes.is_main else None  # only the main one writes the log
    return Outcome(
        results.file_of(job), state.step, done.of_step, state.held_out, lowest, state.step - first, seconds, done.own
    )


def _standing(recent: Collection[float], state: State) -> str:
    """The losses, for a person who waits; single steps scatter with their noise levels."""
    held_out = "" if state.held_out is None else f", held-out loss {state.held_out:.4f}"
    return f"loss {sum(recent) / len(recent):.4f}{held_out}"


def _too_large(job: Job) -> str:
    """What takes less memory: first what lets this training resume, then what makes it a different one."""
    config, changes = job.config, []
    if config.micro_batch > 1:
        changes.append("train.micro_batch=1")
    if not machine.recomputes(config, job.backend.blank("transformer")):
        changes.append("train.checkpointing=true")
    stays = config.offload or config.compile or config.base_weights in {"int8", "nf4"}
    if not changes and not stays:  # slower than the others
        changes.append("train.offload=true")
    fewer_bits = "" if config.base_weights == "nf4" else " or train.base_weights=nf4"
    resume = f"resume with {' and '.join(changes)}, or " if changes else ""
    several = counted(config.micro_batch, uses.noun(job.task))
    return (
        f"the GPU's memory is too small for a step of {several} at a time with "
        f"train.base_weights={config.base_weights}; {resume}start over with smaller train.scales{fewer_bits}."
    )


# ---- before the first step


def encode(job: Job, processes: Processes, progress: Progress) -> EncodedDataset:
    """Everything that the transformer will read. The main process fills the cache for the others.

    Raises:
        BadInput: the GPU's memory is too small for it.
    """
    try:
        return _encode(job, processes, progress)
    except torch.OutOfMemoryError as error:
        raise BadInput(
            f"the GPU's memory is too small to encode the {uses.noun(job.task)}s; end what else uses it, or start over "
            "with smaller train.scales."
        ) from error


def _encode(job: Job, processes: Processes, progress: Progress) -> EncodedDataset:
    dtype, device = machine.encoder_dtype(processes.device), processes.device
    prompts = job.prompts()
    longest = max(job.backend.count_tokens([prompt.text for prompt in prompts]))
    reading = memory.reads(job.backend, job.backend.text_tokens(longest) + job.picture_tokens(), device)
    text_device = memory.text_device(reading, device, machine.gpu_memory(device))
    encoder = Encoder(job.backend, job.cache, dtype, device, text_device, progress)
    if not processes.is_main:
        processes.wait()
    texts, grids = encoder.texts(prompts), encoder.grids(job.views())
    references = encoder.references({one: job.reference_size(one) for one in job.references()})
    if processes.is_main:
        processes.wait()
    return EncodedDataset(texts, grids, references)


def _prepare_scorer(job: Job, processes: Processes) -> None:
    if job.config.evaluate_every and job.grid_scorer and processes.is_main:
        job.grid_scorer.prepare()


def _begin(job: Job, transformer: Any, saved: dict[str, Any] | None, device: torch.device) -> State:
    """Attaches a LoRA to the transformer, a new one or as it was saved."""
    weights = lora.attach(transformer, job.backend, job.config)
    fused.fuse(transformer)
    if job.config.offload:
        offload.stream(transformer, job.backend.blocks(transformer), device)
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
        scored=job.config.evaluate_every is not None,
    )


# ---- a step


def learning_rate(config: Config, step: int) -> float:
    """Of a step (from 0): linear warm-up, then constant or half a cosine down to 0."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup) / (config.steps - config.warmup)
    return config.learning_rate * (0.5 + 0.5 * math.cos(math.pi * done))


def gradients(job: Job, encoded: EncodedDataset, transformer: Any, state: State, processes: Processes) -> Losses:
    """Leaves the gradient of a step on the weights: the mean over its grids, whichever process had them."""
    config, panels = job.config, job.shown.size
    own = processes.own(range(state.step * config.batch, (state.step + 1) * config.batch))
    mean, sums_P, counts_P = torch.zeros(()), torch.zeros(panels), torch.zeros(panels)
    for start in range(0, len(own), config.micro_batch):
        examples = [batches.example_at(job, encoded, state.step, at) for at in own[start : start + config.micro_batch]]
        batch = batches.gather(job, encoded, examples, processes.device)
        losses_BP = batches.losses(job, transformer, batch)
        loss = batches.grid_losses(job, losses_BP, batch).sum() / config.batch
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
    """Takes the optimizer step; returns the norm of the gradient before clipping.

    Raises:
        Diverged: the gradient or the new weights are unusable.
    """
    weights = list(state.weights.values())
    norm = float(nn.utils.clip_grad_norm_(weights, job.config.clip))
    if not (math.isfinite(losses.mean) and math.isfinite(norm)):
        raise _diverged(job, state.step + 1, f"the loss is {losses.mean} and the gradient's norm {norm}")
    if norm == 0:
        raise Diverged(
            f"step {state.step + 1}: the gradient is zero, so nothing would be learnt: the layers with a LoRA have no "
            f"effect on what {job.backend.model} predicts; use an undamaged base model."
        )
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    if not math.isfinite(size := float(nn.utils.get_total_norm([weight.detach() for weight in weights]))):
        raise _diverged(job, state.step, f"the norm of the LoRA's weights is {size}")  # before they reach a file
    state.average.update(state.step)
    return norm


def _diverged(job: Job, step: int, what: str) -> Diverged:
    return Diverged(
        f"step {step}: {what}, so the training can't continue; start over with a train.learning_rate lower than "
        f"{job.config.learning_rate:g}, or with train.base_weights=bf16."
    )


def _gradient(weight: nn.Parameter) -> Tensor:
    """A weight's gradient; zeros if it has none, so that all processes send tensors of the same shape."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def _is_over(step: int, waited: int, config: Config) -> bool:
    return step >= config.steps or (config.patience is not None and waited >= config.patience)


# ---- validation and samples


def _validate(
    job: Job, encoded: EncodedDataset, transformer: Any, state: State, journal: Journal | None, processes: Processes
) -> None:
    """Measures the averaged weights on the held-out grids, if there are any.

    Raises:
        Diverged: the loss is NaN or infinite.
    """
    if not job.data.held_out:
        return
    with state.average.applied():
        losses = heldout.measure(job, encoded, transformer, processes)
    state.held_out = mean(losses)
    if not math.isfinite(state.held_out):
        raise _diverged(job, state.step, f"the held-out loss is {state.held_out}")
    if journal:
        journal.validation(state.step, losses)
    if job.config.best_by == "loss":
        _compare(job, state, state.held_out)


def _compare(job: Job, state: State, value: float) -> None:
    """Counts a measurement towards `patience`, and keeps the weights of the best.

    Args:
        value: a held-out loss or a score, whichever patience goes by.
    """
    by = job.config.best_by
    if job.config.patience is None or state.step == 0:  # the base alone can't be the best step of a training
        return
    best = state.best[by] if state.best and by in state.best else None  # it may have gone by the other
    if best is None or (value > best if by == "score" else value < best):
        tensors = {name: tensor.clone() for name, tensor in state.average.tensors.items()}
        state.best, state.waited = {"step": state.step, by: value, "average": tensors}, 0
    else:
        state.waited += 1


def _evaluate(
    job: Job, encoded: EncodedDataset, transformer: Any, state: State, journal: Journal | None, processes: Processes
) -> None:
    """Scores grids that the averaged weights draw from the held-out captions, in the main process; all learn the
    score, since it may end the training."""
    if job.config.evaluate_every is None or job.grid_scorer is None or not job.data.held_out:
        return
    score = torch.zeros(1, dtype=torch.float64)
    if journal:
        with state.average.applied():
            asked = [(sample, kind) for sample in job.data.held_out for kind in job.kinds]
            images = preview.draw(job, encoded, transformer, processes.device, asked)
        drawn = [
            DrawnGrid(sample, image, heldout.given_of(job, sample, kind).in_canvas)
            for (sample, kind), image in zip(asked, images, strict=True)
        ]
        grids = [drawn[start : start + len(job.kinds)] for start in range(0, len(drawn), len(job.kinds))]
        found = job.grid_scorer.score(grids, job.shown)
        journal.evaluation(state.step, found)
        score += found.score.value
    processes.add_up([score])
    _compare(job, state, float(score))


def _draw(
    job: Job, encoded: EncodedDataset, transformer: Any, state: State, journal: Journal | None, processes: Processes
) -> None:
    """Draws samples with the averaged weights in the main process; the others wait at the next all-reduce."""
    if journal is None or not job.prompted:
        return
    with state.average.applied():
        images = preview.draw(job, encoded, transformer, processes.device, job.prompted)
    preview.save(job, state.step, images)
    for image in images:
        journal.picture(state.step, image)
