"""Writes what an evaluation found: figures, a row per grid, and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iclora.evaluation.page import PLOT, page, with_people
from iclora.evaluation.people import Preference, preferences
from iclora.evaluation.plot import draw_results
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
        "judge": {"by": evaluation.judge, "candidates": {name: asdict(one) for name, one in evaluation.judged.items()}}
        if evaluation.judge
        else None,
    }
    folder = evaluation.folder
    files.write(folder / "evaluation.csv", evaluation.table().to_csv(index=False))
    about = (
        f"{counted(evaluation.prompts, 'prompt')}, {counted(evaluation.seeds, 'seed')} each. 1 is as "
        f"{counted(evaluation.scale.real, 'real grid')} of the run, 0 as the same grids with their panels shuffled; a "
        "grid with one panel twice counts as 0, and so does a malformed one. Brackets: 95 % intervals by a bootstrap "
        "over prompts, of shares Wilson's."
    )
    if evaluation.given:
        panels = ", ".join(str(panel + 1) for panel in evaluation.given)
        about += f" Given: panel {panels}; figures of how texts are followed are those of the others."
    summary["people"] = _plain(found := preferences(folder))
    files.write(folder / "evaluation.json", json.dumps(summary, ensure_ascii=False, indent=1))
    draw_results(evaluation.results, folder / PLOT)
    files.write(folder / "evaluation.html", page(evaluation, about, [str(one) for one in found]))


def add_people(folder: Path) -> None:
    """Brings what people prefer up to date in a report that is there."""
    found = preferences(folder)
    summary = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) | {"people": _plain(found)}
    files.write(folder / "evaluation.json", json.dumps(summary, ensure_ascii=False, indent=1))
    file = folder / "evaluation.html"
    files.write(file, with_people(file.read_text(encoding="utf-8"), [str(one) for one in found]))


def _plain(found: Sequence[Preference]) -> list[dict[str, Any]]:
    return [asdict(one) | {"share": one.share, "p": one.p} for one in found]
