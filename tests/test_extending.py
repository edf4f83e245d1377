"""The recipes of docs/extending.md, each as a package outside the repository to which the contract test is applied."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from installed import installed
from PIL import Image

from pipeline import plugins
from pipeline.captioning.protocol import Question
from pipeline.families.base import Recipe
from pipeline.records import Position

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
FAMILY, BACKEND = "A model family", "A training backend"
SCREEN = 75
"""Lines of a recipe at most, blank ones and its test included."""


def blocks_of(title: str) -> dict[str, str]:
    """The files of a recipe by the names in their first lines."""
    return dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", RECIPES[title], re.M | re.S))


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works_in_a_package_of_its_own(title: str, tmp_path: Path) -> None:
    blocks = blocks_of(title)
    text = blocks.pop("pyproject.toml") + (blocks_of(FAMILY)["pyproject.toml"] if title == BACKEND else "")
    declared = tomllib.loads(text)["project"]["entry-points"]
    entries = {f"{group} {name}": value for group, names in declared.items() for name, value in names.items()}
    (test,) = (name for name in blocks if name.startswith("test_"))
    code = compile(blocks.pop(test), test, "exec")
    assert len(blocks) == 1, "a plug-in is one file"
    if title == BACKEND:  # the family from the recipe before it
        blocks |= {name: text for name, text in blocks_of(FAMILY).items() if name.startswith("my_plugins/")}
    files = {name.removeprefix("my_plugins/"): text for name, text in blocks.items()}
    with installed(tmp_path / "site", "my_plugins", files, entries):
        space: dict[str, object] = {}
        exec(code, space)
        for name, function in space.items():
            if name.startswith("test_") and inspect.isfunction(function):
                work = tmp_path / name
                work.mkdir()
                function(**({"tmp_path": work} if inspect.signature(function).parameters else {}))


def test_the_whole_pyproject_declares_a_recipe_and_packs_modules_and_tasks() -> None:
    (text,) = re.findall(r"^```toml\n# pyproject.toml\n(.*?)^```", PAGE.partition("\n## ")[0], re.M | re.S)
    whole, recipe = tomllib.loads(text), tomllib.loads(blocks_of("A captioner")["pyproject.toml"])
    assert whole["project"]["entry-points"] == recipe["project"]["entry-points"]
    assert {"name", "version"} < whole["project"].keys()
    assert whole["tool"]["setuptools"] == {"packages": ["my_plugins"], "package-data": {"my_plugins": ["*.toml"]}}


def test_a_run_takes_plug_ins_by_path_and_notices_when_one_changes(
    tmp_path: Path, iclora: Callable[..., tuple[int, str, str]], draw: Callable[..., Image.Image]
) -> None:
    for title in ("A grouping strategy", "A captioner", "A scorer", "An exporter"):
        for name, text in blocks_of(title).items():
            if name.startswith("my_plugins/"):
                (tmp_path / Path(name).name).write_text(text, encoding="utf-8")
    lines = []
    for number in range(7):
        (tmp_path / "in").mkdir(exist_ok=True)
        draw(number, (320, 160)).save(tmp_path / "in" / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": "", "group": "one"}))
    (tmp_path / "in" / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ("dataset", "storyboard", "--source", "in", "--captioner", "./colours.py", "--scorer", "palette.py")
    sets = ("group.by=./albums.py", 'export.formats=["./prompts.py"]', "grids=[1,9]", "group.floor=0.0",
            "layout.panel_width=128", "layout.panel_height=64", "filter.floor=-1", "filter.slack=9",
            "filter.summary=-1", "filter.copies=2", "filter.texts=2", "filter.related=-1")  # fmt: skip
    code, out, errors = iclora(*words, *(word for line in sets for word in ("--set", line)))
    assert code == 0, errors
    assert "group: 7 in, 6 kept" in out and "export: 2 in, 2 kept" in out
    written = (tmp_path / "runs" / "storyboard" / "dataset" / "prompts.jsonl").read_text(encoding="utf-8")
    assert "a field of the colour" in written
    changes = {
        "prompts.py": ('prompt": sample.text', 'prompt": sample.text.upper()', "export"),
        "colours.py": ("a field of", "a plain of", "caption"),
        "albums.py": ("of album", "from album", "group"),
    }
    stages = ["collect", "inspect", "group", "compose", "caption", "filter", "export"]
    for name, (before, after, first) in changes.items():
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(before, after), encoding="utf-8")
        code, out, errors = iclora("dataset", "storyboard")
        assert code == 0, errors
        worked = [stage for stage in stages if f"{stage}: done" not in out]
        assert worked[0] == first, f"{name} changed, and the run went on from {worked}"


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_no_longer_than_a_screen(title: str) -> None:
    assert len(RECIPES[title].splitlines()) <= SCREEN


def test_the_lists_of_the_page_are_complete() -> None:
    listed = {
        "A grouping strategy": [field.name for field in fields(Position)],
        "A captioner": [field.name for field in fields(Question)],
        FAMILY: list(Recipe.model_fields),
    }
    for title, names in listed.items():
        assert not [name for name in names if f"`{name}`" not in RECIPES[title]], title


def test_the_page_says_which_kinds_need_an_entry_point() -> None:
    first = " ".join(PAGE.partition("## ")[0].split())
    told = "This works for tasks, grouping strategies, captioners, scorers, image encoders, detectors and exporters."
    assert told in first
    assert [kind.word for kind in plugins.KINDS if kind.by_path] == [
        "task", "grouping strategy", "captioner", "scorer", "exporter", "image encoder", "detector"
    ]  # fmt: skip


def test_there_is_a_recipe_for_every_kind() -> None:
    groups = {kind.group for kind in plugins.KINDS}
    assert {group for group in groups if f'entry-points."{group}"' in PAGE} == groups
