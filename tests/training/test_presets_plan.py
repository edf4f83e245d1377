"""Every base with every preset, at full size: there is room on the preset's card, or the plan says what has room."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import planned
import pytest

from pipeline import families, plugins, task
from training import backends, config, planning, presets
from training.job import Job

pytestmark = pytest.mark.slow

BASES = sorted(module.make(None).BASE for _, module in plugins.usable(backends))


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("base", BASES)
def test_a_preset_has_room_on_its_card_or_the_plan_says_what_has(base: str, make_job: Callable[..., Job]) -> None:
    job = make_job(overrides=[f'base="{base}"'], model=families.load(base).model)

    def plan(lines: list[str], gpu: float) -> tuple[planning.Plan, str]:
        of = task.load("storyboard", [f'base="{base}"', "train.scales=[1.0]", *lines])
        asked = replace(job, task=of, config=config.load(of))
        found = planning.make(asked, planned.GPU, gpu=gpu)
        return found, "\n".join(planning.lines(asked, found))

    for name in presets.TABLE:
        gpu = planned.CARDS[name]
        found, told = plan([f"train.preset={name}"], gpu)
        has_room = found.largest.total <= gpu * planned.GIB
        assert ("has room for this training" in told) == has_room
        if not has_room:
            (advice,) = re.findall(r"^what fits it: (.*?) \(", told, re.M)
            followed, _ = plan(advice.split(), gpu)
            assert followed.largest.total <= gpu * planned.GIB, (name, advice)
