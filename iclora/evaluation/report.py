"""Writes what an evaluation found: figures, a row per grid, and the page."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from iclora.evaluation.page import page
from iclora.evaluation.results import Evaluation
from pipeline import files
from pipeline.wording import counted


def write(evaluation: Evaluation) -> None:
    summary: dict[str, Any] = {
        "prompts": evaluation.prompts,
        "seeds": evaluation.seeds,
        "real grids": evaluation.scale.real,
        "scale": asdict(evaluation.scale),
        "candidates": [asdict(one) | {"weights": evaluation.weights.get(one.candidate)} for one in evaluation.results],
        "measured by": dict(evaluation.instruments),
        "given": [panel + 1 for panel in evaluation.given],
        "chosen": evaluation.chosen,
        "reason": evaluation.reason,
    }
    folder = evaluation.folder
    files.write(folder / "evaluation.json", json.dumps(summary, ensure_ascii=False, indent=1))
    files.write(folder / "evaluation.csv", evaluation.table().to_csv(index=False))
    about = (
        f"{counted(evaluation.prompts, 'prompt')}, {counted(evaluation.seeds, 'seed')} each. 1 is as "
        f"{counted(evaluation.scale.real, 'real grid')} of the run, 0 as the same grids with their panels shuffled; a "
        "grid with one panel twice counts as 0, and so does a malformed one. Brackets: 95 % intervals by a bootstrap "
        "over prompts."
    )
    files.write(folder / "evaluation.html", page(evaluation, about))
