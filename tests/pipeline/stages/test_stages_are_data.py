"""A stage is a module-level function with frozen parameters, so that any process can run it."""

import pickle
import sys
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import captioners
from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.consistency.scorers import open_clip
from pipeline.engines.base import Stage
from pipeline.stages import caption, collect, compose, export, filter, inspect
from pipeline.text.counters import ESTIMATE

STORYBOARD = task.load("storyboard")
CLIP = Path(__file__).parents[3] / "miniature" / "clip"


def stages(folder: Path) -> dict[str, Stage[Any]]:
    captioner = plugins.load(captioners, "scripted").make({"answers": ["an answer"]})
    scorer, cache = open_clip.make({"model": f"local-dir:{CLIP}"}), Cache(folder / "cache")
    return {
        "collect": collect.stage(STORYBOARD, [], folder, []),
        "inspect": inspect.stage(STORYBOARD, folder, 2),
        "compose": compose.stage(STORYBOARD, folder, 2, []),
        "caption": caption.stage(caption.Parameters(STORYBOARD, captioner, folder, cache, ESTIMATE, {"g": 0})),
        "filter": filter.stage(STORYBOARD, [], scorer, folder, cache),
        "export": export.stage(
            STORYBOARD,
            folder,
            {},
            ESTIMATE,
            redraw=partial(compose.redraw, fit="crop", folder=folder),
            state="",
            earlier=None,
        ),
    }


@pytest.mark.parametrize("name", ["collect", "inspect", "compose", "caption", "filter", "export"])
def test_a_stage_is_a_module_level_function_with_frozen_parameters_and_can_be_pickled(
    name: str, tmp_path: Path
) -> None:
    run = stages(tmp_path)[name].run
    assert isinstance(run, partial) and run.args == ()
    assert getattr(sys.modules[run.func.__module__], run.func.__name__) is run.func
    parameters = run.keywords["parameters"]
    assert is_dataclass(parameters) and type(parameters).__dataclass_params__.frozen  # type: ignore[attr-defined]
    travelled = pickle.loads(pickle.dumps(run))
    assert travelled.func is run.func
    assert type(travelled.keywords["parameters"]) is type(parameters)
