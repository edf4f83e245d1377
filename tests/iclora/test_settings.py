"""What a run is asked to do: settings merge by key, can be unset, and say where they come from."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import iclora
from iclora.settings import PLUG_INS, Settings, in_force
from miniature import film
from miniature.world import draw_scene
from pipeline import families, plugins, task
from pipeline.errors import BadInput
from pipeline.store import read_settings
from training.config import Config

Typed = Callable[..., tuple[int, str, str]]
BARE = ("--captioner", "sidecar", "--scorer", "none")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two folders of three images."""
    for folder in ("day", "night"):
        for number in range(1, 4):
            scene = draw_scene(Random(f"{folder} {number}"))
            film.picture(scene, tmp_path / "films" / folder / f"{number}.png", (320, 160))
    return tmp_path / "films"


def of(**asked: object) -> Settings:
    return Settings.model_validate({"task": "storyboard", "sources": ("/films",)} | asked)


def origins(settings: Settings) -> dict[str, str]:
    return {one.key: one.origin for one in in_force(settings)}


def values(settings: Settings) -> dict[str, object]:
    return {one.key: one.value for one in in_force(settings)}


# ---- merging


def test_a_later_setting_leaves_the_earlier_ones_in_force() -> None:
    first = of().changed(settings=["group.near=0", "group.ceiling=1"])
    later = first.changed(settings=["caption.attempts=2"])
    assert later.overrides == {"group.near": 0, "group.ceiling": 1, "caption.attempts": 2}
    assert first.overrides == {"group.near": 0, "group.ceiling": 1}


KEYS = st.sampled_from(["group.near", "group.window", "caption.attempts", "seed"])


@given(st.dictionaries(KEYS, st.integers(2, 9)), st.dictionaries(KEYS, st.integers(2, 9)))
def test_settings_merge_like_dictionaries_in_every_form(first: dict[str, int], later: dict[str, int]) -> None:
    lines = [f"{key} = {value}" for key, value in later.items()]
    assert of(overrides=first).changed(settings=lines).overrides == first | later
    assert of(overrides=first).changed(settings=later).overrides == first | later
    taken_back = of(overrides=first).changed(settings=later).changed(unset=list(first | later))
    assert taken_back.overrides == {}


def test_nested_tables_set_their_keys() -> None:
    changed = of(overrides={"group.near": 1}).changed(
        settings={"group": {"window": 8}, "export": {"formats": ["kohya"]}}
    )
    assert changed.overrides == {"group.near": 1, "group.window": 8, "export.formats": ["kohya"]}
    assert changed.changed(settings=["group = {span = 3}"]).overrides["group.span"] == 3


def test_paths_of_plug_ins_hold_in_other_folders_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed = of().changed(settings=["group.by=./every.py", 'export.formats=["x.py", "kohya"]'])
    assert changed.overrides == {
        "group.by": str(tmp_path / "every.py"),
        "export.formats": [str(tmp_path / "x.py"), "kohya"],
    }
    monkeypatch.chdir("/")
    assert changed.changed(settings=["seed=1"]).overrides["group.by"] == str(tmp_path / "every.py")


def test_paths_in_a_task_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "every.py").write_text("")
    text = Path(plugins.find(plugins.TASKS, "storyboard").target).read_text(encoding="utf-8")
    text = re.sub(r'by = "\w+"', 'by = "./every.py"', text) + '\n[export]\nformats = ["imagefolder", "../x.py"]\n'
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    loaded = task.load(str(tmp_path / "mine.toml"))
    assert loaded.group.by == str(tmp_path / "every.py")
    assert loaded.export.formats == ("imagefolder", str(tmp_path.parent / "x.py"))


def test_unset_removes_a_setting_and_a_source_and_a_plug_in() -> None:
    asked = of(captioner="sidecar", scorer="none", overrides={"group.near": 0})
    assert asked.changed(unset=["group.near"]).overrides == {}
    assert asked.changed(unset=["captioner"]).captioner == "local"
    back = asked.changed(unset=["source", "scorer"])
    assert (back.sources, back.drawn, back.scorer) == ((), True, "open_clip")


def test_a_key_that_is_both_unset_and_set_is_set() -> None:
    assert of(overrides={"seed": 1}).changed(unset=["seed"], settings={"seed": 2}).overrides == {"seed": 2}


@pytest.mark.parametrize(
    ("overrides", "key", "message"),
    [
        (
            {"group.near": 0},
            "group.neer",
            "group.neer is not set in this run; only group.near, source are set; did you mean 'group.near'?",
        ),
        ({}, "captioner", "captioner is not set in this run; only source is set."),
        ({}, "task", "task is not set in this run"),
    ],
)
def test_a_setting_that_was_never_set_cannot_be_unset(overrides: dict[str, object], key: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        of(overrides=overrides).changed(unset=[key])
    assert str(caught.value).startswith(message)


def test_another_captioner_drops_the_settings_of_the_earlier_one_and_the_same_one_keeps_them() -> None:
    asked = of(captioner="server", overrides={"captioner.url": "http://127.0.0.1:1/v1", "caption.attempts": 2})
    assert asked.changed(captioner="server").overrides == asked.overrides
    other = asked.changed(captioner="local", settings={"captioner.batch": 1})
    assert other.overrides == {"caption.attempts": 2, "captioner.batch": 1}


def test_new_sources_replace_the_earlier_ones_and_nothing_else(tmp_path: Path) -> None:
    asked = of(captioner="sidecar", overrides={"group.near": 0})
    changed = asked.changed(sources=[tmp_path, tmp_path / "more"])
    assert changed.sources == (str(tmp_path), str(tmp_path / "more"))
    assert (changed.captioner, changed.overrides) == (asked.captioner, asked.overrides)


# ---- checking


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.lerning_rate=1", "unknown key 'train.lerning_rate', did you mean 'learning_rate'?"),
        ("scorer.nonsense=1", "unknown key 'scorer.nonsense' (known: model, pretrained)"),
        ("captioner.modle='x'", "unknown key 'captioner.modle', did you mean 'model'?"),
        ("filter.floor=nan", "filter.floor: Input should be a finite number, got nan"),
        ("filter.floor=inf", "filter.floor: Input should be a finite number, got inf"),
        ("train.clip=inf", "train.clip: Input should be a finite number, got inf"),
        ("export.formats=['koyha']", "export.formats: no exporter named 'koyha', did you mean 'kohya'?"),
        ("export.hold_out=0.2", "unknown key 'export.hold_out', did you mean 'held_out'?"),
        ("train=3", "train: Input should be a valid dictionary, got 3"),
        ("train.warmup=9000", "train: warmup 9000 leaves no step of 5000"),
    ],
)
def test_every_section_is_checked_when_the_task_is_loaded(setting: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        iclora.load_task("storyboard", [setting])
    assert str(caught.value).startswith(f"task storyboard: {message}")
    assert not str(caught.value).endswith("?.")


def test_all_faults_in_all_sections_are_reported_at_once() -> None:
    wrong = {
        "captioner.batch": 0,
        "scorer.nonsense": 1,
        "train.rank": 0,
        "export.held_out": 3,
        "group.near": 99,
        "x": 1,
    }
    with pytest.raises(BadInput) as caught:
        iclora.load_task("storyboard", wrong)
    assert all(key in str(caught.value) for key in wrong)
    assert str(caught.value).count("export.held_out") == 1


def test_the_valid_options_are_those_of_the_captioner_in_use() -> None:
    assert iclora.load_task("storyboard", {"captioner.url": "http://x/v1"}, captioner="server").captioner
    with pytest.raises(BadInput, match=r"unknown key 'captioner\.url' \(known: model, "):
        iclora.load_task("storyboard", {"captioner.url": "http://x/v1"})
    with pytest.raises(BadInput, match=r"unknown key 'scorer\.model' \(known: none\)"):
        iclora.load_task("storyboard", {"scorer.model": "x"}, scorer="none")


@pytest.mark.parametrize("kind", PLUG_INS)
def test_the_options_of_every_captioner_and_scorer_can_be_checked(kind: str) -> None:
    for name in plugins.names(PLUG_INS[kind]):
        model = plugins.load(PLUG_INS[kind], name).Options
        assert issubclass(model, plugins.Options)
        assert model.model_config["extra"] == "forbid" and model.model_config["allow_inf_nan"] is False


@pytest.mark.parametrize("value", [object(), b"x", {1}])
def test_a_value_that_a_task_file_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="the setting seed is "):
        iclora.load_task("storyboard", {"seed": value})


# ---- where a value comes from


def test_every_setting_in_force_says_where_it_comes_from() -> None:
    origin_of = origins(of(captioner="server", overrides={"group.near": 0, "captioner.model": "x", "train.steps": 9}))
    assert {key for key, origin in origin_of.items() if origin == "run"} == {
        *("source", "captioner", "group.near", "captioner.model", "train.steps")
    }
    assert (origin_of["scorer"], origin_of["captioner.url"], origin_of["train.rank"]) == ("default",) * 3
    assert (origin_of["markers"], origin_of["layout.rows"], origin_of["group.by"]) == ("task file",) * 3
    assert origin_of["layout.fit"] == "default"


def test_without_a_source_the_miniature_is_used() -> None:
    drawn = Settings(task="storyboard")
    origin_of = origins(drawn)
    miniature = {key for key, origin in origin_of.items() if origin == "miniature"}
    assert {"source", "captioner.model", "scorer.model", "train.model", "train.steps"} <= miniature
    assert origins(drawn.changed(settings={"train.steps": 5}))["train.steps"] == "run"
    assert "miniature" not in origins(of()).values()


def test_a_default_of_the_base_family_is_distinguished_from_a_default_of_the_toolkit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(families.load("flux-1"), recipe={"rank": 32, "ema": 0.9})
    monkeypatch.setattr(families, "load", lambda _: own)
    asked = of(overrides={"train.ema": 0.5})
    origin_of, shown = origins(asked), values(asked)
    assert (origin_of["train.rank"], origin_of["train.ema"], origin_of["train.alpha"]) == ("family", "run", "default")
    assert (shown["train.rank"], shown["train.ema"]) == (32, 0.5)


def test_every_key_that_a_task_file_may_have_is_shown_with_its_value() -> None:
    shown = values(of(overrides={"train.scales": [0.5, 1.0]}))
    assert {"prefix", "caption.looks", "filter.floor", "export.formats", "train.optimizer", "scorer.model"} <= set(
        shown
    )
    assert shown["train.scales"] == [0.5, 1.0] and shown["layout.panel_width"] == 1024
    sections = {name: type(value) for name, value in task.load("storyboard") if isinstance(value, BaseModel)}
    keys = {f"{name}.{key}" for name, kind in (sections | {"train": Config}).items() for key in kind.model_fields}
    assert len(keys) > 80 and keys <= set(shown)


# ---- on the command line


def stored() -> dict[str, object]:
    return read_settings(Path("runs/storyboard")) or {}


def test_a_later_command_keeps_the_settings_of_an_earlier_one(iclora: Typed, films: Path) -> None:
    first = ("--set", "group.near=0", "--set", "group.ceiling=1", "--set", "group.floor=0")
    assert iclora("caption", "storyboard", "--source", str(films), *BARE, *first)[0] == 0
    code, output, _ = iclora("caption", "storyboard", "--set", "caption.attempts=2")
    assert code == 0 and "compose: done, 2 kept, nothing to do" in output
    assert iclora("compose", "storyboard", "--unset", "group.near", "--unset", "caption.attempts")[0] == 0
    assert stored()["overrides"] == {"group.ceiling": 1, "group.floor": 0}
    shown = iclora("show", "storyboard", "settings")[1].splitlines()
    assert [line.split()[:3] for line in shown if line.startswith(("group.floor ", "group.near ", "layout.rows "))] == [
        ["layout.rows", "task", "file"],
        ["group.floor", "run", "0.0"],
        ["group.near", "default", "6"],
    ]
    rows = json.loads(iclora("show", "storyboard", "settings", "--json")[1])
    assert {"key": "source", "value": [str(films)], "from": "run"} in rows
    assert iclora("show", "storyboard", "settings", "--csv")[1].startswith("key,value,from\n")


def test_the_two_kinds_of_thresholds_of_the_filter_are_settings_like_any_other(iclora: Typed, films: Path) -> None:
    iclora("filter", "storyboard", "--source", str(films), *BARE, "--set", "group.floor=0", "--fixed")
    assert stored()["overrides"] == {"group.floor": 0, "filter.fixed": True}
    iclora("filter", "storyboard", "--calibrated")
    assert stored()["overrides"] == {"group.floor": 0, "filter.fixed": False}


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "train.lerning_rate=1"),
        ("--set", "filter.floor=nan"),
        ("--unset", "group.window"),
        ("--source", "nowhere"),
        ("--captioner", "local", "--set", "captioner.model=/nowhere"),
        ("--scorer", "open_clip", "--set", "scorer.model=local-dir:/nowhere"),
        ("--captioner", "sidcar"),
    ],
    ids=" ".join,
)
def test_a_refused_command_changes_nothing(iclora: Typed, films: Path, words: tuple[str, ...]) -> None:
    iclora("group", "storyboard", "--source", str(films), *BARE)
    before = stored()
    assert iclora("dataset", "storyboard", "--set", "seed=3", *words)[0] == 2
    assert stored() == before


@pytest.mark.parametrize("words", [("--set", "x=1"), ("--source", "nowhere"), ("--captioner", "local")], ids=" ".join)
def test_a_refused_first_command_creates_no_run(iclora: Typed, films: Path, words: tuple[str, ...]) -> None:
    assert iclora("dataset", "storyboard", "--source", str(films), *words)[0] == 2
    assert not Path("runs").exists()


def test_a_command_that_finds_another_one_running_changes_nothing(iclora: Typed, films: Path) -> None:
    iclora("group", "storyboard", "--source", str(films), *BARE)
    before = stored()
    lock = sqlite3.connect("runs/storyboard/working.lock", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    code, _, errors = iclora("dataset", "storyboard", "--source", str(films / "day"), "--set", "seed=3")
    lock.close()
    assert (code, stored()) == (2, before)
    assert "another process is" in errors


def test_a_file_in_place_of_a_runs_folder_is_told_as_that(iclora: Typed, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    code, _, errors = iclora("show", "storyboard", "--out", "run")
    assert (code, errors.strip()) == (2, "error: run is a file and no run's folder; name a folder.")
