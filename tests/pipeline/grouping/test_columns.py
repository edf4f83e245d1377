"""Groups by what a source says: which images, in which panels, and what is asked where it doesn't say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from measured import record

from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.records import Group, Record, Rejected
from pipeline.stages import group

PAIR = task.load("couple-profile", ["grids=[1,100]", "group.by=columns", "group.floor=0"])
FOUR = task.load("ppt-template", ["grids=[1,100]", "group.by=columns", "group.floor=0"])


def row(name: str, of: str, panel: str = "", order: float | None = None) -> Record:
    made = record(name)
    return replace(made, position=replace(made.position, group=of, panel=panel, order=order))


def formed(records: list[Record], of: task.Task = PAIR) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Groups by the ids of their images, and by id the reason and the sentence of those that were rejected."""
    strategy = plugins.find(plugins.GROUPING, "columns")
    results = list(group.stage(group.Parameters(of, strategy, None, Path(), Cache(Path()))).run(records))
    groups = [" ".join(one.id for one in result.records) for result in results if isinstance(result, Group)]
    return groups, {one.id: (one.reason, one.detail) for one in results if isinstance(one, Rejected)}


@pytest.mark.parametrize(
    "panels",
    [("[LEFT]", "[RIGHT]"), ("left", "Right"), ("1", "2"), ("panel 1", "panel 2"), ("front", "back"),
     ("before", "after"), ("source_image", "edited_image"), ("vorher", "nachher")],
)  # fmt: skip
def test_panels_are_markers_numbers_or_roles_whatever_the_order_of_the_rows(panels: tuple[str, str]) -> None:
    records = [
        row("a2", "A", panels[1]),
        row("b1", "B", panels[0]),
        row("a1", "A", panels[0]),
        row("b2", "B", panels[1]),
    ]
    assert formed(records) == (["a1 a2", "b1 b2"], {})


def test_words_that_nobody_knows_are_asked_and_can_be_said() -> None:
    records = [row("a1", "A", "sand"), row("a2", "A", "normal")]
    groups, rejected = formed(records)
    assert groups == [] and {reason for reason, _ in rejected.values()} == {"no panel"}
    assert "in the group A, nothing says which of 'sand', 'normal' is for which panel" in rejected["a1"][1]
    assert "--set group.roles=" in rejected["a1"][1]
    said = task.load(
        "couple-profile", ["grids=[1,100]", "group.by=columns", "group.floor=0", "group.roles=normal,sand"]
    )
    assert formed(records, said) == (["a2 a1"], {})


def test_numbers_order_what_has_no_known_panel() -> None:
    numbered = [row(f"a{number}", "A", "", float(10 - number)) for number in range(4)]
    assert formed(numbered, FOUR) == (["a3 a2 a1 a0"], {})
    columns = [row(f"b{number}", "B", name, float(number)) for number, name in enumerate("xkqz")]
    assert formed(columns, FOUR)[0] == ["b0 b1 b2 b3"]


def test_what_does_not_fit_is_rejected_with_the_name_of_its_group() -> None:
    records = [
        *(row(f"a{view}", "A", view) for view in ("front", "back", "side")),
        *(row(f"b{number}", "B", "front") for number in range(2)),
        row("c", "C", "front"),
        *(row(f"d{number}", "D", view) for number, view in enumerate(("front", "box"))),
        *(row(f"e{number}", "E", "", 1.0) for number in range(2)),
        *(row(f"f{number}", "F", "", float(number)) for number in range(3)),
        *(row(f"g{number}", "G") for number in range(2)),
        row("h", ""),
    ]
    said = task.load("couple-profile", ["grids=[1,100]", "group.by=columns", "group.floor=0", "group.roles=front,back"])
    groups, rejected = formed(records, said)
    assert groups == ["afront aback"]
    expected = {
        "aside": "couple-profile has no panel for 'side' of group A",
        "b0": "in the group B, 2 images are for the panel 'front'",
        "c": "in the group C, 1 usable image is too few, couple-profile takes 2",
        "d1": "in the group D, no image is for [RIGHT] ('box' may be meant; say so with group.roles)",
        "e0": "in the group E, 2 images have the number 1",
        "f2": "in the group F, 3 images are more than couple-profile takes, 2; say which are for its panels with",
        "g1": "in the group G, nothing says which image is for which panel; name the column that does with",
        "h": "nothing says which group it belongs to; name the column that does with --set table.group=COLUMN",
    }
    for name, sentence in expected.items():
        assert sentence in rejected[name][1], rejected[name][1]
    assert {rejected[name][0] for name in expected} == {"no panel", "no group", "incomplete group"}
