"""Tables of any bytes: read as edits, or refused in a sentence that names what is in doubt."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from fuzzing import ANY_TEXT, damaged, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.captioning import replies
from pipeline.errors import BadInput
from pipeline.records import Caption, Grid, Group, Layout, Position, Record, Row
from pipeline.review import csv_table, reviews, spreadsheet
from pipeline.text import grammar
from pipeline.text.counters import ESTIMATE
from pipeline.text.markers import CONTROL

STORYBOARD = task.load("storyboard")


def row(name: str, caption: Caption) -> Row:
    records = tuple(Record(f"r{name}{panel}", "", "", Position()) for panel in range(3))
    grid = Grid(name, Group(f"s-{name}", "", records, "", 1), Layout(3, 1, 64, 64), f"grids/{name}.png")
    return Row(grid, replace(caption, grid=name), decision="keep")


ANSWER = {
    "panels": [{"text": "<P1> hauls a net"}, {"text": "=gulls é circle <P2>"}, {"text": "the nets dry, 'hair'"}],
    "people": [{"name": "P1", "looks": "a man in red"}, {"name": "P2", "looks": "a boy", "changes": "his cap"}],
    "summary": "a day of <P1>",
}
ROWS = [
    row("g-a", replies.read(json.dumps(ANSWER), STORYBOARD)),
    row("g-b", grammar.parse("[MOVIE-SHOTS] Sea, [SCENE-1] rain; [SCENE-2] «fog» here [SCENE-3] sun.", STORYBOARD)),
    row("g-c", Caption("", "", "", ("", "", ""))),
]
COLUMNS = csv_table.edited_columns(STORYBOARD)


@pytest.fixture(scope="module")
def table() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.csv"
        csv_table.write_csv(ROWS, STORYBOARD, path)
        return path.read_bytes()


def read(content: bytes, folder: Path) -> list[reviews.Change]:
    path = folder / "captions.csv"
    path.write_bytes(content)
    csv_table.has_edits(path, ROWS, STORYBOARD)
    return csv_table.read_csv(path, ROWS, STORYBOARD, ESTIMATE)


@fuzzed
@given(st.data())
def test_fuzz_a_damaged_table_is_read_or_refused_and_leaves_no_odd_character(
    table: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    content = data.draw(damaged(table))
    if data.draw(st.booleans()):
        content = content.decode(errors="replace").encode(
            data.draw(st.sampled_from(["utf-16", "utf-16-le", "cp1252"])), "ignore"
        )
    try:
        changes = read(content, tmp_path)
    except BadInput:
        return
    for change in changes:
        assert not CONTROL.search(f"{change.review.text}{change.review.note}")


@fuzzed
@given(st.binary(max_size=300))
def test_fuzz_any_bytes_are_refused_as_a_table(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadInput):
        read(content, tmp_path)


CELL = st.one_of(ANY_TEXT, st.sampled_from(["", "keep", "P1: a man", "P1: x; P1: y", "P1:(changes:)", "[SCENE-1] a"]))


@fuzzed
@given(st.dictionaries(st.sampled_from([*COLUMNS, "base", "id"]), CELL), st.integers(0, 2))
def test_fuzz_any_cells_are_edits_or_doubts(edited: dict[str, str], place: int) -> None:
    entries = csv_table.list_entries(ROWS, STORYBOARD)
    lines = [spreadsheet.Line(number, csv_table.guarded(each, STORYBOARD)) for number, each in enumerate(entries, 2)]
    lines[place] = spreadsheet.Line(place + 2, lines[place].cells | edited)
    try:
        changes = csv_table.find_changes(lines, "the table", ROWS, STORYBOARD, ESTIMATE)
    except BadInput as error:
        assert "the table" in str(error)
        return
    assert len(changes) <= 1


def test_a_cell_with_a_control_character_is_in_doubt() -> None:
    entries = csv_table.list_entries(ROWS[:1], STORYBOARD)
    line = spreadsheet.Line(2, entries[0] | {"note": "see\x00below", "panel_1": "a\x1b[31mman here"})
    with pytest.raises(BadInput) as raised:
        csv_table.find_changes([line], "t", ROWS[:1], STORYBOARD, ESTIMATE)
    assert r"row 2, note: has the control character '\x00'; take it out" in str(raised.value)
    assert r"row 2, panel_1: has the control character '\x1b'" in str(raised.value)


@pytest.mark.timeout(60)
def test_what_is_no_table_is_refused_whatever_its_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path, why in ((tmp_path / "pipe.csv", "not a regular file"), (Path("/dev/zero"), "not a regular file")):
        with pytest.raises(BadInput, match=why):
            csv_table.read_csv(path, ROWS, STORYBOARD, ESTIMATE)
    (tmp_path / "wide.csv").write_bytes(b'"' + b"x" * 200_000 + b'"\n')
    with pytest.raises(BadInput, match="save it as CSV"):
        csv_table.read_csv(tmp_path / "wide.csv", ROWS, STORYBOARD, ESTIMATE)
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(spreadsheet.MOST_BYTES + 1)
    with pytest.raises(BadInput, match="more than 268,435,456"):
        csv_table.read_csv(tmp_path / "huge.csv", ROWS, STORYBOARD, ESTIMATE)
