"""Commands of the toolkit as benchmarks run them, and the figures that `iclora evaluate` gives them."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bench.stories import TASK
from iclora.evaluation import BASE
from pipeline.pixels import open_image
from pipeline.wording import command
from training import lora_file
from training.evaluation.statistics import Estimate

JUDGE = Path(__file__).with_name("reader_judge.py")

Figures = Mapping[str, Estimate]
"""Of one condition, by their names in tables: described, follows, score, better."""


def run_command(*words: object) -> None:
    """Runs a command of the toolkit, and prints it."""
    line = [*map(str, words)]
    print(command(["iclora", *line]), flush=True)
    subprocess.run([str(Path(sys.executable).parent / "iclora"), *line], check=True, stdout=subprocess.DEVNULL)


def options_of(settings: Mapping[str, object]) -> list[str]:
    """Settings as words of a command."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that was kept."""

    folder: Path
    candidates: Mapping[str, str]
    """What the evaluation calls base and LoRAs, by the names that they have here."""

    @property
    def figures(self) -> dict[str, Figures]:
        """What base and LoRAs come to, by the names that they have here."""
        told = json.loads((self.folder / "evaluation.json").read_text(encoding="utf-8"))
        found = {one["candidate"]: one for one in told["candidates"]}
        judged = told["judge"]["candidates"]
        return {name: _figures(found[own], judged[own]) for name, own in self.candidates.items()}

    def pictures(self, name: str) -> dict[tuple[str, int], Image.Image]:
        """What base or LoRA has drawn, by prompt and seed."""
        with (self.folder / "evaluation.csv").open(encoding="utf-8", newline="") as table:
            rows = [row for row in csv.DictReader(table) if row["candidate"] == self.candidates[name]]
        return {(row["prompt"], int(row["seed"])): open_image(self.folder / row["file"]) for row in rows}


def _figures(candidate: Mapping[str, Any], judged: Mapping[str, Any]) -> Figures:
    found = {"described": judged["consistent"], "follows": judged["follows"]}
    found |= {key: candidate[key] for key in ("score", "better") if candidate[key]}
    return {name: Estimate(**told) for name, told in found.items()}


def evaluate(
    run: Path, name: str, loras: Mapping[str, Path], prompts: Path, seeds: int, looks: str = "both"
) -> Evaluated:
    """What `iclora evaluate` says of the base and of LoRAs, judged by the reader; only once, then it is read again.

    Args:
        run: its folder; the evaluation is kept in `evaluations` beside it.
        loras: files by the names that they have here.
        looks: what the reader looks at: both, kind or colour.
    """
    folder = run.parent / "evaluations" / name
    if not folder.exists():
        files = [word for file in loras.values() for word in ("--lora", file)]
        judge = ("--judge", JUDGE, "--set", f"judge.looks={looks}")
        run_command("evaluate", TASK, "--out", run, *files, "--prompts", prompts, "--seeds", seeds, *judge)
        folder.parent.mkdir(exist_ok=True)
        shutil.move(run / "evaluation", folder)
    told = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    by_weights = {one["weights"]: one["candidate"] for one in told["candidates"]}
    return Evaluated(folder, {BASE: BASE} | {own: by_weights[lora_file.digest_of(file)] for own, file in loras.items()})


def show(figures: Mapping[str, Figures], columns: Sequence[str]) -> None:
    """Prints a table with a row for each condition."""
    for name, known in figures.items():
        print(f"{name:<46}{'  '.join(f'{key} {known[key]}' for key in columns if key in known)}", flush=True)
