"""Tables as text, CSV and JSON: names and reasons whole, nothing that a terminal or a spreadsheet acts on."""

import csv
import io
import json
from typing import Any

import pytest

import iclora
from iclora import tables

LONG = "/home/somebody/pictures/of the summer/2024/holiday-by-the-sea-0001.heic"
DETAIL = f"{LONG} is a HEIC picture, which can't be read; convert it to PNG or JPEG."
REJECTED = [
    {"stage": "collect", "id": "r-" + 48 * "0", "what": LONG, "reason": "unsupported", "detail": DETAIL},
    {"stage": "group", "id": "r-" + 48 * "1", "what": "1.png", "reason": "no neighbours", "detail": "1.png: alone."},
]
EVIL = "\x1b[2J\x00\u202e"


def words(lines: list[str]) -> list[str]:
    return " ".join(lines).split()


def test_reasons_are_whole_where_there_is_no_terminal_and_ids_take_no_room() -> None:
    header, *lines = tables.as_text("rejected", REJECTED, None)
    assert header.split() == ["stage", "what", "reason", "detail"]
    assert len(lines) == 2
    assert lines[0].endswith(f"unsupported    {DETAIL}")
    assert "00000000" not in lines[0]


@pytest.mark.parametrize("width", [200, 120, 80, 40])
def test_reasons_and_names_are_whole_in_a_terminal_of_any_width(width: int) -> None:
    lines = tables.as_text("rejected", REJECTED, width)
    assert DETAIL in " ".join(words(lines))
    assert all(len(line) <= width or max(map(len, line.split())) > width - 24 for line in lines)


@pytest.mark.parametrize("width", [80, 60, 40, 20])
def test_the_names_of_tasks_and_their_markers_are_never_cut(width: int) -> None:
    rows = [(task.name, f"{task.title}; {' '.join(task.markers)}") for task in iclora.list_tasks()]
    found = words(tables.aligned(("task", "about"), rows, width))
    for task in iclora.list_tasks():
        assert task.name in found
        assert all(part in found for marker in task.markers for part in marker.split())


def test_a_wide_row_becomes_a_block_of_lines_with_every_value() -> None:
    rows = [{"a": "x" * 30, "b": {"c": "y" * 30, "d": 0.123456789}, "e": ["z"], "histogram": "ff"}] * 2
    lines = tables.as_text("records", rows, 40)
    block = [f"a: {'x' * 30}", f"b.c: {'y' * 30}", "b.d: 0.123457", 'e: ["z"]']
    assert lines == [*block, "", *block]
    assert tables.as_text("records", [], 40) == ["records is empty"]


def test_characters_of_two_columns_keep_the_columns_in_line() -> None:
    assert tables.aligned(("a", "b"), [("日本", "x"), ("abc", "y")], None) == ["a     b", "日本  x", "abc   y"]


def test_settings_keep_their_values_whole() -> None:
    rows = [
        {"key": "caption.exclude", "value": ["a", "b"], "from": "run"},
        {"key": "x", "value": {"y": 1}, "from": "d"},
    ]
    assert tables.as_text("settings", rows, None) == [
        'caption.exclude  run  ["a", "b"]',
        'x                d    {"y": 1}',
    ]


def test_no_form_of_a_table_has_what_a_terminal_acts_on() -> None:
    rows = [{"id": f"a{EVIL}", "text": f"{EVIL} text", "more": {f"key{EVIL}": [EVIL]}}]
    forms = [*tables.as_text("captions", rows, None), *tables.as_text("captions", rows, 30)]
    forms += [tables.as_csv("captions", rows), tables.as_json(rows)]
    for form in forms:
        assert not {"\x1b", "\x00", "\u202e"} & set(form)
        assert r"\x1b[2J" in form or r"\u001b[2J" in form or not form.strip()
    assert json.loads(tables.as_json(rows)) == rows


def test_json_keeps_what_no_other_form_can_hold() -> None:
    rows = [{"what": "byte\udcff \x7f \U000e0041 é"}]
    text = tables.as_json(rows)
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
    assert json.loads(text) == rows


@pytest.mark.parametrize(
    "formula", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")', "\t=1", "\uff1d1+1", "'=1", "007", "true"]
)
def test_a_spreadsheet_finds_no_formula_in_csv(formula: str) -> None:
    rows: list[dict[str, Any]] = [{"id": "g-1", "text": formula, "value": -0.5, "passed": False, "none": None}]
    header, row = csv.reader(io.StringIO(tables.as_csv("captions", rows)))
    assert header == ["id", "text", "value", "passed", "none"]
    assert row[1][0] in "'\\" and row[1].endswith(formula.lstrip("\t"))
    assert (row[0], *row[2:]) == ("g-1", "-0.5", "False", "")


def test_csv_has_a_line_per_row_whatever_is_in_the_cells() -> None:
    rows = [{"id": "1", "detail": 'two\nlines, "quoted"'}, {"id": "2", "other": {"deep": {"er": "x"}}}]
    lines = tables.as_csv("rejected", rows).splitlines()
    assert lines[0] == "id,detail,other.deep.er"
    assert len(lines) == 3
