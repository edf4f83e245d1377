"""A picture of what a training will see: its first grids at their sizes, in their order, with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.wording import counted
from training import dataset, random_streams
from training.conditions import Given
from training.dataset import View
from training.job import Job
from training.monitoring import figures

FILE = "plan.png"
SHOWN = 6
"""How many grids are on the sheet."""


def write(job: Job) -> Path:
    """`plan.png`: the first grids of the training as the model will see them, with what is drawn at random for each."""
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
    """The view at a position of the training, its given panels, and a note on the rest."""
    step = position // job.config.batch
    scale = random_streams.scale_at(job.config, step)
    layout = job.layouts[scale]
    most = job.backend.REFERENCES
    drawn = random_streams.draw(job.config, position, len(job.data.train), layout.size, job.named, most)
    notes = [f"step {step + 1}", f"scale {scale:g}"]
    if drawn.order != tuple(range(layout.size)):
        notes.append(f"order {' '.join(str(panel + 1) for panel in drawn.order)}")
    notes += ["caption dropped"] if drawn.dropped else []
    view = View(job.data.train[drawn.sample], layout, drawn.order)
    shown = dataset.references_of(view, drawn.given)
    notes += [f"{counted(shown, 'reference image')} ({_listed(drawn.given)})"] if shown else []
    return view, drawn.given.in_canvas, ", ".join(notes)


def _listed(given: Given) -> str:
    """Where reference images are from."""
    numbers = ", ".join(str(panel + 1) for panel in given.panels)
    return f"panel {numbers}" if numbers else "its own"
