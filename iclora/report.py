"""`report.json`: what every stage of a run let through and why not the rest, with settings, models and versions."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from iclora.stages import STAGES
from pipeline import files
from pipeline.plugins import extras
from pipeline.review import agreement, reviews, taking

if TYPE_CHECKING:
    from iclora.run import Run

PACKAGES = (
    "torch",
    "transformers",
    "open_clip_torch",
    "pillow",
    "av",
    "opencv-python-headless",
    "scenedetect-headless",
    "datasets",
)


def write(run: Run, stage: str) -> None:
    """Writes the report on all stages that are done, whole or not at all.

    Args:
        stage: the one that was just brought up to date.
    """
    marks = {name: mark for name in STAGES if (mark := run.store.mark(name)) and mark.done}
    stages = {
        name: {
            "in": mark.entered,
            "kept": mark.kept,
            "rejected": dict(Counter(row.reason for row in run.store.rejected(name))),
            "seconds": round(mark.seconds, 2),
            **mark.facts,
        }
        for name, mark in marks.items()
    }
    models = {
        kind: marks[name].facts[kind]
        for name, kind in (("caption", "captioner"), ("filter", "scorer"))
        if name in marks
    }
    report: dict[str, Any] = {
        "task": run.task.name,
        "settings": run.settings.model_dump(),
        "stages": stages,
        "models": models,
        "versions": versions(),
    }
    if STAGES.index(stage) >= STAGES.index("compose"):  # the grids are those of now
        found = reviews.decided(run.store, run.task)
        unmatched = len(found.unmatched) + len(taking.unmatched(run.store))
        report["decisions"] = {"in force": len(found.reviews), "unmatched": unmatched}
        if agreed := agreement.measure(found.words.values()):
            report["decisions"]["agreement"] = asdict(agreed)
    if STAGES.index(stage) >= STAGES.index("filter"):
        report["coverage"] = [asdict(aspect) for aspect in run.coverage()]
    files.write(run.folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")


@cache
def versions() -> dict[str, str]:
    """Versions of Python, iclora and the packages that results depend on; looked up once, not after every stage."""
    found = {"python": platform.python_version(), "iclora": metadata.version("iclora")}
    return found | {name: extras.version(name) or "not installed" for name in PACKAGES}
