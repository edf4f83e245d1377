"""What the commands from a data set to a LoRA print: what is planned, what was learnt, and where to look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from iclora.console.output import line, lines
from pipeline.wording import command, counted

if TYPE_CHECKING:
    from iclora.evaluation import Evaluation
    from iclora.lora import Training
    from iclora.run import Run
    from training.handover.folder import Handover
    from training.job import Job
    from training.loop import Outcome


def plan(training: Training, gpu: float | None = None) -> None:
    """What a training will see and need, and what it would be refused for.

    Args:
        gpu: GiB of another GPU than the one at hand.
    """
    lines(training.lines(gpu))
    if missing := training.missing(gpu):
        line(f"warning: {missing}")
    line(f"What the model will see: {training.sheet()}")


def trained(outcome: Outcome, job: Job) -> None:
    """What a training came to, and where to look."""
    speed = f", {outcome.seconds / outcome.took:.2f} s per step" if outcome.took else ", nothing to do"
    held_out = "" if outcome.held_out is None else f", held-out loss {outcome.held_out:.4f}"
    line(f"trained: {counted(outcome.step, 'step')}{speed}{held_out}")
    lines(_which_step(outcome, job.config.best_by))
    line(f"The LoRA is {outcome.file}; the losses are in {job.folder / 'loss.png'}.")
    if (picture := job.folder / "base-and-lora.png").exists():
        line(f"What it has learnt, beside the base alone: {picture}")


def to_try(run: Run | None, outcome: Outcome, job: Job) -> None:
    """What to type after a training: an evaluation where there is a run with the data set, else a caption to draw.

    Args:
        run: whose data set was trained on; None for another data set.
    """
    if run is None:
        caption = (job.data.held_out or job.data.train)[0].text
        line(f"next, draw with it: {command(['iclora', 'generate', str(outcome.file), caption])}")
        return
    named = [] if outcome.file == run.lora else ["--lora", str(outcome.file)]
    line(f"next, compare it with its base: {run.command('evaluate', *named)}")


def evaluated(run: Run, evaluation: Evaluation) -> None:
    """What an evaluation found, and what to type if the run's LoRA is better than the base."""
    lines(evaluation.lines())
    line(f"pictures side by side, worst first: {evaluation.folder / 'evaluation.html'}")
    if evaluation.file or evaluation.chosen == run.task.name:
        line(f"next, hand the LoRA over: {command(['iclora', 'handover', str(run.lora)])}")


def handed_over(done: Handover) -> None:
    """What lies in a hand-over folder, and what doesn't."""
    line(f"Handed over in {done.folder}: {', '.join(map(str, done.files))}.")
    lines(f"note: {remark}" for remark in done.remarks)


def _which_step(outcome: Outcome, best_by: Literal["loss", "score"]) -> Iterator[str]:
    """Which step's weights the LoRA has and why, and what to do where another step did better."""
    if outcome.own is not None:
        yield (
            f"The LoRA has the averaged weights of step {outcome.of_step}, as iclora evaluate chose; the training "
            f"ended with {outcome.own}."
        )
        return
    last = outcome.of_step == outcome.step
    best = "whose score was the best" if best_by == "score" else "whose held-out loss was the lowest"
    why = "the last" if last else f"{best} (train.patience)"
    yield f"The LoRA has the averaged weights of step {outcome.of_step}, {why}."
    if best_by == "score" and not last:
        return
    lowest = outcome.lowest
    if lowest is None or lowest.step == outcome.of_step or (lowest.step and not last):
        return
    told = f"The held-out loss was lowest at step {lowest.step}, {lowest.held_out:.4f}"
    if not lowest.step:
        yield (
            f"{told}, which is the base alone: on held-out grids the training made it worse; train for fewer steps, at "
            "a lower train.learning_rate, or on more grids."
        )
    elif lowest.file:
        yield f"{told}: {lowest.file} has the weights of that step; train.patience=3 hands over such a step."
    else:
        yield f"{told}, and that step was not saved; train.patience=3 hands over such a step."
