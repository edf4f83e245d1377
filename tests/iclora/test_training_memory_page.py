"""docs/training-memory.md: its commands run, and its figures are those of the plan."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import planned
import pytest

from training import presets
from training.job import find_backend

PAGE = (Path(__file__).parents[2] / "docs/training-memory.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)\n```", PAGE, re.S)


@pytest.mark.slow
def test_every_command_of_the_page_plans(
    iclora: Callable[..., tuple[int, str, str]], grids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(grids, tmp_path / "runs" / "storyboard" / "dataset")
    said = []
    for command in COMMANDS:
        code, out, err = iclora(*shlex.split(command)[1:])
        assert code == 0, err
        said.append(out)
    bare, preset, away = said
    assert "is too small for this training" in bare and "what fits it: train.preset=12gb" in bare
    assert "preset 16gb: " in preset and "(nf4, on cuda)" in preset
    assert "a GPU with 10 GiB has room for this training" in away


def test_the_table_of_presets_is_that_of_the_code() -> None:
    backend = find_backend("flux-1", None, None)
    rows = []
    for name, settings in presets.TABLE.items():
        kept = " | ".join(f"`{settings[key]}`" for key in presets.COLUMNS)
        peak = planned.peak(backend, planned.with_preset(name), planned.CARDS[name])
        rows.append(f"| `{name}` | {kept} | {peak:.1f} |")
    assert re.findall(r"^\| `\d+gb` .*$", PAGE, re.M) == rows
