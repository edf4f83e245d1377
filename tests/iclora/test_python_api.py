"""docs/python-api.md, run as it stands: the worked example from films to a LoRA and its images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

import iclora
from iclora import offline

PAGE = (Path(__file__).parents[2] / "docs" / "python-api.md").read_text(encoding="utf-8")
EXAMPLE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
FEW_FILMS = 5
STEPS = '{"train.steps": 300}'
FEW_STEPS = '{"train.steps": 4, "train.samples": 1, "train.sample_steps": 2, "train.validate_every": 4}'


def drawn(folder: Path) -> None:
    """Asserts that the example's LoRA and images exist."""
    assert (folder / "runs/api/training/storyboard.safetensors").stat().st_size > 0
    with Image.open(folder / "grid.png") as grid, Image.open(folder / "panel.png") as panel:
        assert (grid.width, grid.height) == (panel.width, 3 * panel.height)


@pytest.mark.slow
def test_the_example_runs_on_a_few_films_and_for_a_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(offline, "FILMS", FEW_FILMS)
    assert EXAMPLE.count(STEPS) == 1
    exec(compile(EXAMPLE.replace(STEPS, FEW_STEPS), "python-api.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "too dark" in printed and "after 4 steps" in printed
    drawn(tmp_path)


@pytest.mark.slow
def test_the_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE, "python-api.md", "exec"), {})
    drawn(tmp_path)


def test_every_public_name_and_method_that_the_page_lists_exists_and_none_is_left_out() -> None:
    table = PAGE.split("## Reference")[1].split("**Settings**")[0]
    listed = set(re.findall(r"`(?:run\.)?(\w+)\(", table))
    functions = {name for name in iclora.__all__ if name[0].islower()}
    assert functions <= listed
    for name in listed:
        assert hasattr(iclora, name) or hasattr(iclora.Run, name)


def test_the_page_is_no_longer_than_two_screens() -> None:
    assert len(PAGE.splitlines()) <= 120
