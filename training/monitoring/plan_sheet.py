"""A picture of what a training will see: its first grids at their size, in their order and with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training import dataset, random_streams
from training.dataset import View
from training.job import Job
from training.monitoring import figures

FILE = "plan.png"
SHOWN = 6
"""Grids on the sheet."""


def write(job: Job) -> Path:
    """`plan.png`: the first grids of the training as the model will see them, with what chance decides for each."""
    seen = [_seen(job, position) for position in range(SHOWN)]
    texts = [dataset.caption(view, job.task) for view, _, _ in seen]
    counts: Sequence[int | None] = job.count_tokens(texts) or [None] * SHOWN
    shown = [
        figures.Shown(dataset.picture(view), view.layout, text, count, given, note)
        for (view, given, note), text, count in zip(seen, texts, counts, strict=True)
    ]
    job.folder.mkdir(parents=True, exist_ok=True)
    figures.draw_sheet(shown, job.folder / FILE)
    return job.folder / FILE


def _seen(job: Job, position: int) -> tuple[View, tuple[int, ...], str]:
    """What stands at a position of the training: a view, the panels given, and what else there is to say."""
    step = position // job.config.batch
    scale = random_streams.scale_at(job.config, step)
    layout = job.layouts[scale]
    drawn = random_streams.draw(job.config, position, len(job.data.train), layout.size, job.condition)
    notes = [f"step {step + 1}", f"scale {scale:g}"]
    if drawn.order != tuple(range(layout.size)):
        notes.append(f"order {' '.join(str(panel + 1) for panel in drawn.order)}")
    notes += ["caption dropped"] if drawn.dropped else []
    return View(job.data.train[drawn.sample], layout, drawn.order), drawn.given, ", ".join(notes)
