"""What plug-ins have in common: found by file name, options checked."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import field_validator

import captioners
from pipeline import plugins, sources
from pipeline.consistency import scorers
from pipeline.errors import BadInput


@pytest.fixture
def gadgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package of plug-ins: one that works, two that can't be imported, and files that are none."""
    home = tmp_path / "gadgets"
    home.mkdir()
    files = {
        "__init__": "",
        "base": "raise RuntimeError('listing must not import')",
        "_draft": "",
        "good": "answer = 42",
        "poor": "import a_package_that_nobody_has",
        "stale": "from json import a_name_that_json_has_not",
    }
    for name, code in files.items():
        (home / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    import gadgets  # type: ignore[import-not-found]

    yield gadgets
    for name in [name for name in sys.modules if name.split(".")[0] == "gadgets"]:
        del sys.modules[name]


def test_plug_ins_are_the_files_of_the_folder_but_base_and_drafts(gadgets: ModuleType) -> None:
    assert plugins.names(gadgets) == ["good", "poor", "stale"]
    assert not [name for name in sys.modules if name.startswith("gadgets.")]


def test_a_plug_in_is_loaded_by_its_name(gadgets: ModuleType) -> None:
    assert plugins.load(gadgets, "good").answer == 42


@pytest.mark.parametrize("name", ["god", "base", "_draft", "", "os.path"])
def test_an_unknown_name_is_told_with_those_that_are_known(gadgets: ModuleType, name: str) -> None:
    with pytest.raises(BadInput, match=rf"^no gadget named '{name}'.*known: good, poor, stale"):
        plugins.load(gadgets, name)


def test_a_near_miss_gets_a_suggestion(gadgets: ModuleType) -> None:
    with pytest.raises(BadInput, match="did you mean 'good'"):
        plugins.load(gadgets, "god")


def test_a_missing_package_is_named_with_the_command_that_installs_it(gadgets: ModuleType) -> None:
    with pytest.raises(BadInput, match=r"gadget 'poor' needs .* pip install a_package_that_nobody_has"):
        plugins.load(gadgets, "poor")


def test_a_plug_in_that_asks_too_much_of_a_package_says_so(gadgets: ModuleType) -> None:
    with pytest.raises(BadInput, match="'stale' can't be imported: cannot import name 'a_name_that_json_has_not'"):
        plugins.load(gadgets, "stale")


def test_the_toolkits_own_plug_ins_are_found() -> None:
    assert {"local", "scripted", "sidecar"} <= set(plugins.names(captioners))
    assert {"none", "open_clip"} <= set(plugins.names(scorers))
    assert {"folder", "grids", "video"} <= set(plugins.names(sources))


class Options(plugins.Options):
    size: int = 3
    word: str = ""
    share: float = 0.5

    @field_validator("word")
    @classmethod
    def _said(cls, word: str) -> str:
        if word == "never":
            raise ValueError("nobody says that")
        return word


def test_good_options_are_taken_over() -> None:
    assert plugins.parse_options(Options, "the gadget", {"size": 5}) == Options(size=5)


def test_all_faults_of_options_are_told_at_once_with_their_values() -> None:
    with pytest.raises(BadInput) as caught:
        plugins.parse_options(Options, "the gadget good", {"size": "wide" * 99, "sise": 4}, "gadget.")
    told = str(caught.value)
    assert told.startswith("options of the gadget good: gadget.size: Input should be a valid integer")
    assert ", got 'widewide" in told and "...;" in told and len(told) < 300
    assert told.endswith("unknown key 'gadget.sise', did you mean 'size'?")


def test_known_options_are_listed_only_where_none_is_near() -> None:
    for key, listed in (("sise", False), ("colour", True)):
        with pytest.raises(BadInput) as caught:
            plugins.parse_options(Options, "the gadget", {key: 4})
        assert str(caught.value).endswith("(known: size, word, share).") == listed


def test_a_rule_of_the_options_own_is_told_in_its_own_words() -> None:
    with pytest.raises(BadInput, match=r"^options of the gadget: word: nobody says that, got 'never'\.$"):
        plugins.parse_options(Options, "the gadget", {"word": "never"})


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_no_finite_number_is_no_option(number: float) -> None:
    with pytest.raises(BadInput, match=f"share: Input should be a finite number, got {number}"):
        plugins.parse_options(Options, "the gadget", {"share": number})


def test_a_thousand_faults_make_no_long_sentence() -> None:
    with pytest.raises(BadInput, match="and 995 more") as caught:
        plugins.parse_options(Options, "the gadget", {f"key{number}": 0 for number in range(1000)})
    assert len(str(caught.value)) < 500
