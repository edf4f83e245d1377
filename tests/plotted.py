"""Made-up figures to be plotted, for the tests of plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.claim_figures import BARS, DRAWN, WAYS, Known
from training.evaluation.statistics import Estimate
from training.monitoring.journal import Journal

SIZES, STEPS = (20, 40, 80), 400


def made_up_claim() -> Known:
    """Figures of `bench.claim`, all alike."""
    figures = dict.fromkeys((*DRAWN, *(looks for _, looks in BARS)), Estimate(0.78, 0.7, 0.85, 0.04))
    names = ["base", *(f"{size} grids, {STEPS} steps" for size in SIZES)]
    names += [f"{SIZES[-1]} grids, {step} steps" for step in (100, 200, 300)]
    names += [f"{words}: {way}" for words, _ in BARS for way in WAYS]
    return dict.fromkeys(names, figures)


def logged(folder: Path, steps: int, every: int = 0, learnt: tuple[int, ...] = (1, 2, 3)) -> Path:
    """A folder with the log of a training of so many steps."""
    rng = np.random.default_rng(0)
    with Journal(folder, 3, from_step=0, wandb=False, name="", settings={}) as log:
        for step in range(1, steps + 1):
            losses = [float(rng.lognormal(-1, 0.3)) if panel in learnt else None for panel in (1, 2, 3)]
            log.step(step, 0.4 + 1 / step, losses, 1e-4, 1.0, seconds=0.1)
            if every and step % every == 0:
                log.validation(
                    step, {("joint", s, panel): s + panel / step for s in (0.1, 0.5, 0.9) for panel in learnt}
                )
    return folder
