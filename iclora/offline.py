"""What serves a run without sources: material that the miniature draws, and the miniature's models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.progress import LOG, Progress, silent
from pipeline.task import Task

MINIATURE = Path(__file__).parent.parent / "miniature"
FILMS, SHOTS, SETS = 30, 10, 44
"""How much is drawn: enough for 24 grids after the filter, which rejects up to a third of the sets; and many short
films rather than a few long ones, since a model needs many characters to learn to keep any (LOG.md)."""


def model_settings(captioner: str, scorer: str) -> dict[str, Any]:
    """Settings that put the miniature's models in the place of those that need a download."""
    models = {}
    if captioner == "local":
        models["captioner.model"] = str(MINIATURE / "vlm")
    if scorer == "open_clip":
        models["scorer.model"] = f"local-dir:{MINIATURE / 'clip'}"
    return models


def draw_source(task: Task, folder: Path, progress: Progress = silent) -> Path:
    """The miniature's material for a task, drawn unless it exists: films, pairs or sets of images.

    Args:
        folder: the run's folder.
        progress: called with "drawing" and how many of the films are drawn; images take no time.
    """
    from miniature import film

    home, layout = folder / "miniature", task.grid_layout
    if not home.exists():
        LOG.info("drawing the miniature's source")
    size = (layout.panel_width // 32 * 16, layout.panel_height // 32 * 16)
    if task.group.by == "names" and layout.size == 2:  # noqa: PLR2004
        film.write_pairs(home, pairs=SETS, seed=film.OFFLINE_SEED, size=size)
    elif task.group.by == "shots":
        film.write_films(home, films=FILMS, shots=SHOTS, seed=film.OFFLINE_SEED, progress=progress)
    else:
        film.write_sets(home, sets=SETS, pictures=layout.size, seed=film.OFFLINE_SEED, size=size)
    return home
