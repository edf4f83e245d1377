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


@pytest.mark.slow
def test_the_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(offline, "FILMS", 12)  # of thirty, which the guide's first run draws
    exec(compile(EXAMPLE, "python-api.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "too dark" in printed and "after 100 steps" in printed
    assert (tmp_path / "runs/api/training/storyboard.safetensors").stat().st_size > 0
    with Image.open(tmp_path / "grid.png") as grid, Image.open(tmp_path / "panel.png") as panel:
        assert (grid.width, grid.height) == (panel.width, 3 * panel.height)


def test_every_public_name_and_method_that_the_page_lists_exists_and_none_is_left_out() -> None:
    table = PAGE.split("## Reference")[1].split("**Settings**")[0]
    listed = set(re.findall(r"`(?:run\.)?(\w+)\(", table))
    functions = {name for name in iclora.__all__ if name[0].islower()}
    assert functions <= listed
    for name in listed:
        assert hasattr(iclora, name) or hasattr(iclora.Run, name)


def test_the_page_is_no_longer_than_two_screens() -> None:
    assert len(PAGE.splitlines()) <= 120
