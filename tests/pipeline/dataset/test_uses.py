"""Which panel is the reference of which, what the captions then say, and what is left out with which reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline import families, task
from pipeline.dataset import uses
from pipeline.dataset.uses import Target
from pipeline.families.base import DESCRIPTION, INSTRUCTION, References
from pipeline.records import (
    Appearance,
    Grid,
    Group,
    Parts,
    Person,
    Position,
    Record,
    Rejected,
    Row,
    Shown,
    Tie,
)
from pipeline.text import grammar

MARA, BO = Person("Mara", "a red rabbit with a top hat"), Person("Bo", "a blue bear")


def of(use: str, *settings: str) -> task.Task:
    return task.load("storyboard", [f"export.use={use}", *settings])


def row(texts: tuple[str, ...], ties: tuple[Tie, ...] = (), *, plain: bool = False) -> Row:
    """A grid whose caption is data, or with `plain` the text alone."""
    panels = tuple(Shown(text, tuple(Appearance(name) for name in grammar.people(text))) for text in texts)
    people = tuple(one for one in (MARA, BO) if any(f"<{one.name}>" in text for text in texts))
    caption = replace(grammar.caption_of(Parts(people, panels, "a day out", ties), task.load("storyboard")), grid="g-a")
    if plain:
        caption = replace(grammar.parse(caption.text, task.load("storyboard")), grid="g-a")
    records = tuple(Record(f"r{panel}", "", f"{panel}.png", Position()) for panel in range(3))
    own = task.load("storyboard")
    return Row(Grid("g-a", Group("s-a", own.name, records, "", 1), own.grid_layout, "grids/a.png"), caption)


def references(found: list[Target | Rejected]) -> dict[int, tuple[int, ...]]:
    return {one.panel: one.references for one in found if isinstance(one, Target) and one.panel is not None}


def panels(texts: tuple[str, ...], *settings: str, ties: tuple[Tie, ...] = ()) -> list[Target | Rejected]:
    return list(uses.targets(row(texts, ties), of("panels", *settings)))


FLYING, READING = "a wide shot of <Mara>, flying a kite", "a close-up of <Mara>, reading a book"
DRUMMING = "a medium shot of <Bo>, beating a drum"


def test_a_grid_is_one_sample_with_its_joint_caption() -> None:
    own = row((FLYING, READING, DRUMMING))
    assert list(uses.targets(own, of("grids"))) == [Target(own.caption.text)]


def test_panels_that_the_task_gives_are_the_references_of_the_others_whatever_they_show() -> None:
    assert references(panels((FLYING, READING, DRUMMING), "condition=[2]")) == {0: (1,), 2: (1,)}
    assert references(panels((FLYING, READING, DRUMMING), "condition=[2,1]")) == {2: (1,)}
    assert references(panels((FLYING, READING, DRUMMING), "condition=[2,1]", "export.references=3")) == {2: (1, 0)}


def test_a_panel_refers_to_one_that_shows_the_same_people_and_one_that_shares_nothing_is_left_out() -> None:
    found = panels((FLYING, READING, DRUMMING))
    assert references(found) == {0: (1,), 1: (0,)}
    (left,) = [one for one in found if isinstance(one, Rejected)]
    assert (left.id, left.origin, left.reason) == ("g-a#3", "g-a", "no reference")
    assert left.detail.startswith("Panel 3 of g-a shows <Bo> and has no person and no recorded tie in common with")


def test_the_reference_shows_as_many_people_as_it_can_and_the_next_one_those_that_are_missing() -> None:
    both = "<Mara> hands <Bo> a drum"
    assert references(panels((FLYING, DRUMMING, both)))[2] == (1,)  # both show one of the two; the nearer counts
    assert references(panels((both, DRUMMING, both)))[2] == (0,)
    assert references(panels((FLYING, DRUMMING, both), "export.references=2"))[2] == (1, 0)


def test_a_recorded_tie_makes_a_reference_too() -> None:
    empty = "an empty beach at night"
    found = panels((FLYING, empty, DRUMMING), ties=(Tie("the beach", (0, 1)),))
    assert references(found) == {0: (1,), 1: (0,)}
    assert [one.id for one in found if isinstance(one, Rejected)] == ["g-a#3"]


def test_without_people_and_ties_a_panel_refers_to_those_before_it() -> None:
    texts = ("a bottle on sand", "a bottle in a hand", "a bottle at sea")
    assert references(panels(texts)) == {1: (0,), 2: (1,)}
    assert references(panels(texts, "export.references=3")) == {1: (0,), 2: (1, 0)}


def test_a_panel_without_a_text_is_left_out_and_the_reason_says_so() -> None:
    own = row((FLYING, READING, DRUMMING), plain=True)
    without = replace(own, caption=replace(own.caption, panels=(*own.caption.panels[:2], "")))
    left = [one for one in uses.targets(without, of("panels", "condition=[1]")) if isinstance(one, Rejected)]
    assert [(one.id, one.reason) for one in left] == [("g-a#3", "no caption")]


# ---- captions


def test_a_panel_s_caption_leaves_out_what_its_reference_shows_and_tells_what_it_does_not() -> None:
    first, second, third = panels((FLYING, READING, "<Mara> and <Bo> dance"))
    assert [one.text for one in (first, second, third) if isinstance(one, Target)] == [
        "A wide shot of <Mara>, flying a kite.",
        "A close-up of <Mara>, reading a book.",
        "<Mara> and a blue bear dance.",
    ]


def test_a_family_that_reads_instructions_has_a_fixed_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, told = (References(2, template) for template in (DESCRIPTION, INSTRUCTION))
    own, texts = families.load("flux-1"), []
    for known in (plain, told):
        monkeypatch.setattr(families, "load", lambda _, known=known: replace(own, references=known))
        (target, *_) = panels((FLYING, READING, DRUMMING))
        assert isinstance(target, Target)
        texts.append(target.text)
        assert uses.as_trained(of("panels")).prefix == known.template.removesuffix("{text}").strip()
    assert texts == [f"{start}A wide shot of <Mara>, flying a kite." for start in ("", INSTRUCTION[:-6])]


def test_what_a_person_has_worded_stays_as_it_is() -> None:
    own, storyboard = row((FLYING, READING, DRUMMING)), task.load("storyboard")
    text = grammar.replace_panel(own.caption, 1, "<Mara>, a red rabbit that reads, at home", storyboard)
    edited = replace(own, caption=grammar.edited(own.caption, text, storyboard))
    targets = [one for one in uses.targets(edited, of("panels", "condition=[1]")) if isinstance(one, Target)]
    assert targets[0].text == "<Mara>, a red rabbit that reads, at home."
    assert targets[1].text == "A medium shot of a blue bear, beating a drum."  # its text is as it was rendered
    bare = own.caption.text.replace(f", {MARA.looks},", ",")
    edited = replace(own, caption=grammar.edited(own.caption, bare, storyboard))
    (sheet,) = uses.targets(edited, of("sheets", "condition=[3]"))
    assert isinstance(sheet, Target) and sheet.text == bare  # its looks are not put back


# ---- sheets


def test_the_reference_of_a_grid_is_the_panel_with_most_of_those_who_recur() -> None:
    (sheet,) = uses.targets(row((FLYING, "<Mara> and <Bo> dance", DRUMMING)), of("sheets"))
    assert isinstance(sheet, Target) and (sheet.panel, sheet.references) == (None, (1,))
    (given,) = uses.targets(row((FLYING, READING, DRUMMING)), of("sheets", "condition=[3]"))
    assert isinstance(given, Target) and given.references == (2,)
    (first,) = uses.targets(row(("a bottle", "a bottle again", "a bottle still")), of("sheets"))
    assert isinstance(first, Target) and first.references == (0,)


def test_the_joint_caption_of_a_grid_leaves_out_what_its_reference_shows() -> None:
    own = row((FLYING, READING, DRUMMING))
    assert MARA.looks in own.caption.text
    (sheet,) = uses.targets(own, of("sheets"))
    assert isinstance(sheet, Target)
    assert MARA.looks not in sheet.text and BO.looks in sheet.text
    assert grammar.parse(sheet.text, of("sheets")).panels[0] == FLYING


def test_a_grid_in_which_nothing_recurs_is_left_out() -> None:
    (left,) = uses.targets(row((FLYING, DRUMMING, "an empty beach")), of("sheets"))
    assert isinstance(left, Rejected) and (left.id, left.reason) == ("g-a", "no reference")


# ---- the task of the data set


def test_a_training_on_panels_has_a_canvas_of_one_panel_and_no_markers() -> None:
    own = of("panels", "condition=[1]", "group.roles=a,b,c")
    trained = uses.as_trained(own)
    assert (trained.grid_layout.canvas, trained.markers, trained.condition) == ((1024, 512), (), ())
    assert uses.as_trained(trained) == trained
    kept = task.Task.model_validate(trained.model_dump(mode="json"))
    assert kept == trained


def test_a_training_on_sheets_gives_nothing_in_the_canvas() -> None:
    own = of("sheets", "condition=[1]")
    assert uses.as_trained(own) == own.model_copy(update={"condition": ()})
    assert uses.as_trained(of("grids", "condition=[1]")) == of("grids", "condition=[1]")
