"""Reference images from the prompt to the grid: shown something else, the same model draws something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image, ImageChops

import iclora
from iclora.evaluation.candidates import shown_beside
from iclora.generation import ImageSet
from iclora.prompts import Prompt, read
from pipeline.errors import BadInput
from training import generator as setup
from training import loop
from training.job import Job
from training.processes import Processes

TEXT = "[MOVIE-SHOTS] a day, [SCENE-1] runs, [SCENE-2] sits, [SCENE-3] sleeps."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.flux_1_kontext(tmp_path_factory.mktemp("models") / "kontext")


@pytest.fixture
def lora(make_job: Callable[..., Job], model: Path) -> Path:
    shown: list[dict[str, Any]] = [{"seen": "reference", "panels": [2]}]
    job = make_job(overrides=['base="flux-1-kontext"'], model=str(model), conditions=shown, steps=1, learning_rate=0.05)
    return loop.train(job, Processes(), lambda *_: None).file


def picture(folder: Path, colour: str) -> Path:
    file = folder / f"{colour}.png"
    Image.new("RGB", (512, 256), colour).save(file)
    return file


def apart(one: ImageSet, other: ImageSet) -> int:
    """The largest difference of any pixel."""
    return max(high for _, high in ImageChops.difference(one.grid, other.grid).getextrema())


def test_what_is_shown_beside_a_grid_changes_it(lora: Path, model: Path, tmp_path: Path) -> None:
    red, blue = picture(tmp_path, "red"), picture(tmp_path, "blue")
    table = tmp_path / "prompts.csv"
    table.write_text(f'prompt,reference 1\n"{TEXT}",red.png\n"{TEXT}",blue.png\n', encoding="utf-8")
    of_table = iclora.generate(lora, read(table), model=str(model), steps=1)
    (other,) = iclora.generate(lora, TEXT, references=[blue], model=str(model), steps=1)
    assert apart(of_table[1], other) <= 1 < apart(of_table[0], of_table[1])  # drawn together, the last bits differ
    assert other.recipe["references"] == 1
    (own,) = iclora.generate(lora, Prompt(TEXT, references=(red,)), references=[blue], model=str(model), steps=1)
    assert apart(own, of_table[0]) <= 1


def test_a_lora_that_was_always_shown_a_reference_says_so_and_too_many_are_refused(
    lora: Path, model: Path, tmp_path: Path
) -> None:
    bare = iclora.open_generation(lora, TEXT, model=str(model), steps=1)
    assert "the LoRA has learnt to draw with reference images, and here is none; use --reference FILE." in bare.remarks
    red = picture(tmp_path, "red")
    assert not [
        one for one in iclora.open_generation(lora, TEXT, references=[red], model=str(model)).remarks if "refer" in one
    ]
    with pytest.raises(BadInput, match=r"2 reference images are given, and .* takes at most 1"):
        iclora.generate(lora, TEXT, references=[red, red], model=str(model), steps=1)


def test_a_held_out_grid_is_drawn_beside_the_panel_that_the_lora_has_learnt_to_be_shown(
    lora: Path, model: Path, make_job: Callable[..., Job]
) -> None:
    sample = make_job().data.held_out[0]
    made = iclora.open_generation(lora, TEXT, model=str(model)).generator
    (shown,) = shown_beside(sample, {"base": replace(made, loras=()), "lora": made})
    assert shown.tobytes() == Image.open(sample.path).convert("RGB").crop(sample.layout.boxes[1]).tobytes()
    assert shown_beside(sample, {"base": replace(made, loras=())}) == ()
    assert setup.base_of(lora, made.card, str(model)).REFERENCES == 1  # type: ignore[arg-type]
