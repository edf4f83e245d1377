"""The file of a person's decisions: every line comes back, none is lost, and each is found again by content."""

from __future__ import annotations

import errno
import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.records import Grid, Group, Layout, Person, Position, Record, Review
from pipeline.review import decisions
from pipeline.review.decisions import Change, Line
from pipeline.task import Task

LAYOUT = Layout(3, 1, 64, 32)
TEXT = "[MOVIE-SHOTS] Mine, [SCENE-1] first words, [SCENE-2] second words, [SCENE-3] third words."


def grid(name: str, panels: str, pixels: str = "") -> Grid:
    records = tuple(Record(panel, f"{panel}.png", f"/films/{panel}.png", Position()) for panel in panels)
    return Grid(name, Group(f"s-{name}", "storyboard", records, "", 1), LAYOUT, f"grids/{name}.png", pixels)


def line(of: Grid, decision: str | None = "keep", note: str = "", **more: object) -> Line:
    review = Review(of.id, decision, note, **more)  # type: ignore[arg-type]
    return decisions.line_on(of, review, [("note", "", note)], "page")


def matched(lines: list[Line], grids: list[Grid], task: Task) -> dict[str, str]:
    """By grid, the note of its decision."""
    records = {record.id: record for one in grids for record in one.group.records}
    found = decisions.match(decisions.Log(tuple(lines)).latest(), grids, records, task)
    return {name: review.note for name, review in found.reviews.items()}


def notes(log: decisions.Log) -> list[str]:
    return [one.review.note for one in log.lines if one.review]


ONE, TWO = grid("g-1", "abc", "p1"), grid("g-2", "def", "p2")
TEXTS = st.text()


# ---- the file


@given(TEXTS, TEXTS, TEXTS)
def test_whatever_a_person_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, note: str, text: str, looks: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    written = [line(ONE, None, note, text=text, people=(Person("Mara", looks),), panels=("c", "b", "a")), line(TWO)]
    decisions.append(folder, written[:1])
    decisions.append(folder, written[1:])
    assert decisions.read(folder) == decisions.Log(tuple(written))
    assert (folder / "decisions.jsonl").read_bytes().count(b"\n") == 2


def test_half_a_character_from_a_browser_comes_back(tmp_path: Path) -> None:
    decisions.append(tmp_path, [line(ONE, note="\ud83d")])
    assert decisions.read(tmp_path).lines[0].review == Review("g-1", "keep", "\ud83d")


def test_a_line_can_be_read_by_a_person(tmp_path: Path) -> None:
    decisions.append(tmp_path, [line(ONE, "drop", "zu dunkel, schöner Tag")])
    (written,) = (tmp_path / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    assert '"decided": {"decision": "drop", "note": "zu dunkel, schöner Tag"}' in written
    assert json.loads(written).keys() == {"at", "who", "grid", "panels", "picture", "decided", "changed"}


def test_the_file_is_only_ever_added_to(tmp_path: Path) -> None:
    before = b""
    for number in range(3):
        decisions.append(tmp_path, [line(ONE, note=str(number))])
        after = (tmp_path / "decisions.jsonl").read_bytes()
        assert after.startswith(before) and len(after) > len(before)
        before = after
    decisions.append(tmp_path, [])
    assert (tmp_path / "decisions.jsonl").read_bytes() == before


def test_a_line_that_was_cut_off_is_passed_over_and_takes_no_later_one_along(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    decisions.append(tmp_path, [line(ONE, note="first"), line(TWO, note="second")])
    whole = file.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        log = decisions.read(tmp_path)
        assert notes(log) == ["first"] and log.unreadable == (2,)
    decisions.append(tmp_path, [line(TWO, note="third")])
    log = decisions.read(tmp_path)
    assert notes(log) == ["first", "third"] and log.unreadable == (2,)
    assert file.read_bytes().startswith(whole[:-2])


def test_a_whole_line_without_its_end_counts(tmp_path: Path) -> None:
    decisions.append(tmp_path, [line(ONE)])
    file = tmp_path / "decisions.jsonl"
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    decisions.append(tmp_path, [line(TWO)])
    assert len(decisions.read(tmp_path).lines) == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"null", b"[]", b"7", b"\xff\xfe", b'{"grid": "g-1"}', b'{"at": 1, "who": "", "grid": "", "decided": null}',
        b'{"at": "", "who": "", "grid": "", "decided": 5}',
        b'{"at": "", "who": "", "grid": "", "decided": {"note": 5}}',
        b'{"at": "", "who": "", "grid": "", "decided": {"decision": "perhaps"}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_line_is_counted_and_the_others_hold(tmp_path: Path, damage: bytes) -> None:
    decisions.append(tmp_path, [line(ONE)])
    file = tmp_path / "decisions.jsonl"
    file.write_bytes(damage + b"\n\n" + file.read_bytes())
    log = decisions.read(tmp_path)
    assert log.unreadable == (1,) and [one.grid for one in log.lines] == ["g-1"]


def test_what_editors_do_to_the_file_and_fields_of_a_later_version_do_no_harm(tmp_path: Path) -> None:
    decisions.append(tmp_path, [line(ONE), line(TWO)])
    file = tmp_path / "decisions.jsonl"
    content = file.read_bytes().replace(b"\n", b"\r\n").replace(b'{"at"', b'{"mood": "good", "at"')
    file.write_bytes(b"\xef\xbb\xbf" + content)
    assert [one.grid for one in decisions.read(tmp_path).lines] == ["g-1", "g-2"]


def test_a_full_disk_decides_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    decisions.append(tmp_path, [line(ONE)])
    before = (tmp_path / "decisions.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BadInput, match=r"can't be written \(No space left on device\), so nothing"):
            decisions.append(tmp_path, [line(TWO)])
    assert (tmp_path / "decisions.jsonl").read_bytes() == before


def test_of_a_line_that_fits_only_in_part_nothing_is_left(tmp_path: Path) -> None:
    decisions.append(tmp_path, [line(ONE)])
    before = (tmp_path / "decisions.jsonl").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
    try:
        with pytest.raises(BadInput, match="so nothing was decided"):
            decisions.append(tmp_path, [line(TWO)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "decisions.jsonl").read_bytes() == before
    decisions.append(tmp_path, [line(TWO)])
    assert len(decisions.read(tmp_path).lines) == 2


# ---- which line counts


def test_the_last_line_counts_whatever_the_clock_says(storyboard: Task) -> None:
    late, early = line(ONE, note="first"), line(ONE, note="second")
    lines = [replace(late, at="2030-01-01T00:00:00+00:00"), replace(early, at="1970-01-01T00:00:00+00:00")]
    assert matched(lines, [ONE], storyboard) == {"g-1": "second"}


def test_a_later_line_takes_an_earlier_one_back(storyboard: Task) -> None:
    lines = [line(ONE, note="first"), line(TWO), line(ONE, None)]
    assert lines[-1].review is None
    assert matched(lines, [ONE, TWO], storyboard) == {"g-2": ""}
    assert matched([*lines, line(ONE, note="again")], [ONE, TWO], storyboard) == {"g-1": "again", "g-2": ""}


def test_a_line_of_history_changes_nothing(storyboard: Task) -> None:
    history = replace(line(ONE, note="history"), decides=False)
    assert matched([line(ONE, note="first"), history], [ONE], storyboard) == {"g-1": "first"}
    log = decisions.Log((history,))
    assert log.events() == [
        {
            "at": history.at,
            "grid": "g-1",
            "who": "page",
            "reviewer": "",
            "field": "note",
            "was": "",
            "becomes": "history",
        }
    ]


# ---- found again


@pytest.mark.parametrize(
    "anew",
    [
        grid("g-other", "abc"),  # another task's name or another layout: the same panels
        grid("g-other", "xyz", "p1"),  # the same picture from files with other bytes
        replace(grid("g-1", "xyz"), pixels=""),  # a line that knows no panels, and the same id
    ],
    ids=["panels", "picture", "id"],
)
def test_a_decision_is_found_again_by_content(storyboard: Task, anew: Grid) -> None:
    one = line(ONE, note="mine")
    one = replace(one, panels=()) if anew.id == "g-1" else one
    assert matched([one], [TWO, anew], storyboard) == {anew.id: "mine"}


def test_other_panels_or_another_order_of_them_are_another_grid(storyboard: Task) -> None:
    others = [grid("g-3", "acb", "p3"), grid("g-4", "abd", "p4"), TWO]
    assert matched([line(ONE)], others, storyboard) == {}
    found = decisions.match([line(ONE, note="mine")], others, {}, storyboard)
    assert [(one.line.grid, one.why) for one in found.unmatched] == [("g-1", "no grid of this run has these panels")]


def test_panels_that_a_person_put_together_are_found_where_structure_gives_the_same(storyboard: Task) -> None:
    exchanged, anew = line(ONE, note="mine", panels=("a", "b", "d")), grid("g-5", "abd")
    found = decisions.match([exchanged], [anew], {record.id: record for record in anew.group.records}, storyboard)
    assert found.reviews == {"g-5": Review("g-5", "keep", "mine")}


def test_swapped_panels_stay_swapped_when_the_files_have_other_bytes(storyboard: Task) -> None:
    anew = grid("g-7", "xyz", "p1")
    records = {record.id: record for record in anew.group.records}
    found = decisions.match([line(ONE, panels=("c", "b", "a"))], [anew], records, storyboard)
    assert found.reviews["g-7"].panels == ("z", "y", "x")


def test_swapped_panels_that_are_composed_like_that_now_need_no_swap(storyboard: Task) -> None:
    anew = grid("g-8", "cba", "p8")
    records = {record.id: record for record in anew.group.records}
    found = decisions.match([line(ONE, panels=("c", "b", "a"))], [anew], records, storyboard)
    assert found.reviews == {"g-8": Review("g-8", "keep")}


def test_a_grid_s_own_decision_comes_before_one_that_only_looks_alike(storyboard: Task) -> None:
    alike = grid("g-6", "xyz", "p1")
    lines = [line(alike, note="its own"), line(ONE, note="of the same picture")]
    assert matched(lines, [alike], storyboard) == {"g-6": "its own"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"panels": ("a", "b", "z")}, "the picture that was put into panel 3 is not in this run"),
        ({"panels": ("a", "b")}, "it has 2 panels, the task 3"),
        ({"text": "[LEFT] one, [RIGHT] two"}, r"its caption lacks one of [SCENE-1] [SCENE-2] [SCENE-3]"),
    ],
)
def test_a_decision_that_can_t_be_used_here_waits_with_the_reason(
    storyboard: Task, more: dict[str, object], why: str
) -> None:
    records = {record.id: record for record in ONE.group.records}
    found = decisions.match([line(ONE, **more)], [ONE], records, storyboard)
    assert found.reviews == {} and [one.why for one in found.unmatched] == [why]
    assert decisions.match([line(ONE, text=TEXT)], [ONE], records, storyboard).unmatched == ()


def test_changes_are_what_people_read() -> None:
    assert line(ONE, note="x").changed == (Change("note", "", "x"),)
