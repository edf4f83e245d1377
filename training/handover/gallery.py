"""Pictures that a training has drawn with a LoRA, beside what the base draws of the same noise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.monitoring.sample_files import FOLDER, KEY, name_of


@dataclass(frozen=True)
class Sample:
    picture: Path
    prompt: str
    base: Path | None
    """The base's picture of the same prompt and noise, where it was drawn."""


def find(lora: Path, step: int) -> tuple[Sample, ...]:
    """The samples of a LoRA's step; none if the training drew none at that step, or is not beside the file."""
    homes = (lora.parent / FOLDER, lora.parent.parent / FOLDER)  # a checkpoint lies one folder deeper
    home = next((home for home in homes if home.is_dir()), None)
    found = []
    for picture in sorted(home.glob(f"{step:06d}-*.png"), key=_number) if home else ():
        base = picture.with_name(name_of(0, _number(picture)))
        if prompt := _prompt(picture):  # samples of earlier versions don't tell theirs
            found.append(Sample(picture, prompt, base if base.exists() else None))
    return tuple(found)


def _number(picture: Path) -> int:
    return int(picture.stem.rpartition("-")[2])


def _prompt(picture: Path) -> str:
    with Image.open(picture) as opened:
        return str(json.loads(opened.info.get(KEY, "{}")).get("prompt", ""))
