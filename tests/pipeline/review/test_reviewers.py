"""Several reviewers in the file of decisions: each has a word of their own, which the others' lines leave alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.records import Decision, Grid, Group, Layout, Position, Record, Review, Word
from pipeline.review import decisions, reviewers
from pipeline.review.decisions import Line, Log
from pipeline.task import Task


def grid(name: str, panels: str, pixels: str = "") -> Grid:
    records = tuple(Record(panel, f"{panel}.png", f"/films/{panel}.png", Position()) for panel in panels)
    group = Group(f"s-{name}", "storyboard", records, "", 1)
    return Grid(name, group, Layout(3, 1, 64, 32), f"grids/{name}.png", pixels)


ONE = grid("g-1", "abc", "p1")


def line(reviewer: str | None, decision: Decision | None, says: Word | None = None) -> Line:
    return decisions.line_on(ONE, Review(ONE.id, decision), [], "page", reviewer, says)


def said(reviewer: str, decision: Decision | None, note: str = "") -> Line:
    return line(reviewer, decision, Word(reviewer, decision, note))


def words(task: Task, *lines: Line) -> list[tuple[str, Decision | None]]:
    """Who says what of a grid, the latest last."""
    log = Log(lines)
    found = decisions.match(log.latest(), [ONE], {}, task, log.heard())
    return [(word.reviewer, word.decision) for word in found.words.get(ONE.id, ())]


def test_each_reviewer_has_the_latest_word_of_their_own(storyboard: Task) -> None:
    lines = [said("Ann", "keep"), said("Ben", "drop"), said("Ann", "unsure"), said("Ann", "drop"), said("", "keep")]
    assert words(storyboard, *lines) == [("Ben", "drop"), ("Ann", "drop"), ("", "keep")]
    assert words(storyboard, *lines[:3]) == [("Ben", "drop"), ("Ann", "unsure")]


def test_what_counts_is_the_latest_word_of_anyone(storyboard: Task) -> None:
    log = Log((said("Ann", "keep"), said("Ben", "drop")))
    assert decisions.match(log.latest(), [ONE], {}, storyboard).reviews["g-1"].decision == "drop"


def test_a_line_without_a_word_leaves_every_word_as_it_was(storyboard: Task) -> None:
    """Ben edits the caption of a grid that Ann keeps: his line has her decision in it, which is not his."""
    assert words(storyboard, said("Ann", "keep"), line("Ben", "keep")) == [("Ann", "keep")]


def test_a_word_that_is_taken_back_leaves_those_of_others(storyboard: Task) -> None:
    back = line("Ben", "keep", Word("Ben"))
    assert words(storyboard, said("Ann", "keep"), said("Ben", "drop"), back) == [("Ann", "keep")]


def test_a_decision_of_a_version_without_names_is_the_unnamed_reviewers(storyboard: Task, tmp_path: Path) -> None:
    old = {
        "at": "2026-11-01T10:00:00+00:00", "who": "page", "grid": "g-1", "panels": ["a", "b", "c"], "picture": "p1",
        "decided": {"decision": "drop", "note": "dark"}, "changed": [],
    }  # fmt: skip
    (tmp_path / decisions.FILE).write_text(json.dumps(old) + "\n", encoding="utf-8")
    decisions.append(tmp_path, [said("Ann", "keep")])
    log = decisions.read(tmp_path)
    found = decisions.match(log.latest(), [ONE], {}, storyboard, log.heard())
    assert found.words["g-1"] == (Word("", "drop", "dark"), Word("Ann", "keep"))
    assert words(storyboard, line(None, "drop"), line(None, None)) == []


def test_words_by_a_grids_panels_and_by_its_name_alone_are_put_together(storyboard: Task) -> None:
    def by_name(one: Line) -> Line:
        return replace(one, panels=())

    lines = [by_name(said("Ann", "keep")), said("Ben", "drop"), by_name(said("Cleo", "keep")), said("Ann", "drop")]
    assert words(storyboard, *lines) == [("Ben", "drop"), ("Cleo", "keep"), ("Ann", "drop")]


NAMES = st.text().filter(lambda name: "\n" not in name)


@given(NAMES, st.sampled_from(["keep", "drop", "unsure", None]), st.text())
def test_whatever_name_and_word_are_written_come_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, decision: Decision | None, note: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    written = [said(name, decision, note), line(name, "keep")]
    decisions.append(folder, written)
    assert decisions.read(folder).lines == tuple(written)


def test_a_word_without_its_reviewers_name_is_still_read(tmp_path: Path) -> None:
    broken = {"at": "", "who": "page", "grid": "g-1", "decided": {"decision": "keep"}, "says": {"decision": "keep"}}
    (tmp_path / decisions.FILE).write_text(json.dumps(broken) + "\n", encoding="utf-8")
    log = decisions.read(tmp_path)
    assert (log.unreadable, log.lines[0].word) == ((), Word("", "keep"))


def test_reviewers_disagree_where_some_keep_what_others_drop_and_not_while_one_is_unsure() -> None:
    keep, drop, unsure = Word("Ann", "keep"), Word("Ben", "drop"), Word("Cleo", "unsure")
    assert reviewers.disagree([keep, drop, unsure])
    assert not reviewers.disagree([keep, unsure])
    assert not reviewers.disagree([keep, Word("Ben", "keep"), Word("Cleo")])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, ""), ("Ann", "Ann"), ("  Ann   Lee ", "Ann Lee"), ("Zoe\u0301", "Zo\u00e9"), ("李 雷", "李 雷"),
        ("x" * reviewers.MOST, "x" * reviewers.MOST),
    ],
)  # fmt: skip
def test_a_name_is_kept_as_it_is_seen(given: str | None, kept: str) -> None:
    assert reviewers.name_of(given) == kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "the reviewer's name is empty; give one, as in --as Ann, or leave it out"),
        (" \u3000", "the reviewer's name is empty"),
        ("An\x1bn", r"has the character '\\x1b', which can't be seen"),
        ("Ann\n", r"has the character '\\n', which can't be seen"),
        ("An\u202en", r"has the character '\\u202e', which can't be seen"),
        ("x" * 61, r"the reviewer's name 'x{20}\.\.\.' has 61 characters; use at most 60"),
        ("Unnamed", "'Unnamed' is what the reviewer without a name is called; choose another name"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_in_one_sentence(given: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        reviewers.name_of(given)
    assert str(caught.value).count(".") - str(caught.value).count("...") * 3 == 1
