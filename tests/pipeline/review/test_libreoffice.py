"""`captions.csv` through a real LibreOffice and back: nothing that a person did not edit may change.

Run by headless `soffice` (Debian: libreoffice-calc-nogui), with its defaults and with the options that people choose
when saving. Skipped where it is not installed.
"""

import csv
import io
import random
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.records import Decision, Grid, Group, Position, Record, Review, Row, Score, content_id
from pipeline.review import csv_table, spreadsheet
from pipeline.review.reviews import DECISIONS
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.counters import ESTIMATE

pytestmark = pytest.mark.skipif(
    shutil.which("soffice") is None, reason="LibreOffice is not installed: apt-get install libreoffice-calc-nogui"
)

SIZE = 500
UTF8 = "CSV:44,34,76,1"  # comma, quote sign, UTF-8, from the first row: the default for files with a byte order mark
SAVED_AS = {
    "semicolons": "59,34,76,1,,0,false,true,false",
    "tabs": "9,34,76,1,,0,false,true,false",
    "UTF-16": "44,34,65535,1,,0,false,true,false",
    "UTF-16, tabs, all quoted": "9,34,65535,1,,0,true,true,false",
    "all quoted": "44,34,76,1,,0,true,true,false",
}
TRICKY = [
    "a man says 'no', \"yes\", and <Mara> nods; then, slowly, she goes",
    "=1+1",
    '=HYPERLINK("http://example.org","she reads")',
    "-5 degrees and +1 more @home",
    "+1",
    "@home",
    "- a dog",
    "'= quoted before",
    "''=1+1",
    "“curly” and ‘curly’ signs",  # noqa: RUF001
    "a film 🎬 of a family 👩‍👩‍👧 at sea",
    "the sign says שלום עליכם and مرحبا بالعالم",
    "1234567890123456789012",
    "1234567e10",
    "0.2810000000",
    "007",
    "3/4",
    "00:01:02",
    "50%",
    "$5",
    "true",
    "and so on, and on " * 120 + "until the end",
]
Convert = Callable[..., Path]
Cell = ET.Element


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Five hundred decided rows whose captions, panel texts and notes are hard on spreadsheets."""
    from pipeline import task

    storyboard = task.load("storyboard")
    rng = random.Random(0)
    made = []
    for number in range(SIZE):
        texts = [rng.choice(TRICKY) for _ in range(3)]
        joined = ", ".join(f"{marker} {text}" for marker, text in zip(storyboard.markers, texts, strict=True))
        caption = grammar.parse(f"{rng.choice(TRICKY)} {storyboard.prefix} story {number}, {joined}.", storyboard)
        records = tuple(Record(f"{number}-{shot}", "a.png", "film.mp4", Position()) for shot in range(3))
        group = Group(content_id("o", number), storyboard.name, records, "neighbours", 1.0)
        grid = Grid(content_id("g", number), group, storyboard.grid_layout, f"grids/{number}.png")
        decision: Decision = rng.choice(DECISIONS)
        word = Review(grid.id, decision, rng.choice(["", *TRICKY]), caption.text)
        score = Score("text 1", rng.random(), 0.25, True, "fits")
        made.append(Row(grid, caption, (score,), decision, (), word))
    return made


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture
def convert(profile: Path, tmp_path: Path) -> Convert:
    """`convert(path, "ods")` is the file as LibreOffice saves it, in a new folder."""

    def convert(path: Path, to: str, read_as: str | None = None) -> Path:
        folder = tmp_path / f"saved-{len(list(tmp_path.iterdir()))}"
        words = ["soffice", f"-env:UserInstallation={profile.as_uri()}", "--headless"]
        words += [f"--infilter={read_as}"] if read_as else []
        words += ["--convert-to", to, "--outdir", str(folder), str(path)]
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        return folder / f"{path.stem}.{to.split(':', maxsplit=1)[0]}"

    return convert


@pytest.fixture
def table(rows: list[Row], storyboard: Task, tmp_path: Path) -> Path:
    path = tmp_path / "captions.csv"
    csv_table.write_csv(rows, storyboard, path)
    return path


def cells(path: Path, task: Task) -> dict[str, list[str]]:
    """All that is read back, by id."""
    columns = ["id", "decision", "caption", "panel_1", "panel_2", "panel_3", "note", "base"]
    return {line.cells["id"]: list(line.cells.values()) for line in spreadsheet.read(path, columns)}


def test_the_rows_are_as_nasty_as_they_should_be(rows: list[Row], table: Path, storyboard: Task) -> None:
    texts = [row.caption.text for row in rows]
    assert max(map(len, texts)) > 2000
    for beginning in ("=", "+", "-", "@", "'", "“"):
        assert [text for text in texts if text.startswith(beginning)]
    assert len(cells(table, storyboard)) == SIZE


def test_saving_again_with_the_defaults_changes_no_character(
    rows: list[Row], table: Path, storyboard: Task, convert: Convert
) -> None:
    saved = convert(table, "csv")
    assert saved.read_bytes() != table.read_bytes()  # it did write the file in its own way
    assert cells(saved, storyboard) == cells(table, storyboard)
    assert csv_table.read_csv(saved, rows, storyboard, ESTIMATE) == []
    by_id = {row.id: row for row in rows}
    for name, (_, decision, caption, *panels, note, _) in cells(saved, storyboard).items():
        row = by_id[name]
        assert decision == row.decision
        assert spreadsheet.unguard(caption).encode() == row.caption.text.encode()
        assert tuple(map(spreadsheet.unguard, panels)) == row.caption.panels
        assert row.review and spreadsheet.unguard(note) == row.review.note


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ods", "xlsx", "fods"])
def test_a_round_trip_through_the_spreadsheets_own_format_changes_no_character(
    rows: list[Row], table: Path, storyboard: Task, convert: Convert, kind: str
) -> None:
    saved = convert(convert(table, kind), "csv")
    assert cells(saved, storyboard) == cells(table, storyboard)
    assert csv_table.read_csv(saved, rows, storyboard, ESTIMATE) == []


@pytest.mark.slow
def test_every_format_that_people_choose_when_saving_is_read(
    rows: list[Row], table: Path, storyboard: Task, convert: Convert
) -> None:
    opened = convert(table, "ods", UTF8)
    for options in SAVED_AS.values():
        saved = convert(opened, f"csv:Text - txt - csv (StarCalc):{options}")
        assert cells(saved, storyboard) == cells(table, storyboard)
        assert csv_table.read_csv(saved, rows, storyboard, ESTIMATE) == []


@pytest.mark.slow
def test_a_table_opened_or_saved_in_another_encoding_is_refused_with_a_way_to_proceed(
    rows: list[Row], table: Path, storyboard: Task, convert: Convert
) -> None:
    as_latin = convert(convert(table, "ods"), f"csv:Text - txt - csv (StarCalc):{SAVED_AS['all quoted']}")
    with pytest.raises(BadInput, match="was opened in an encoding other than UTF-8; open the table again"):
        csv_table.read_csv(as_latin, rows, storyboard, ESTIMATE)
    in_latin = convert(convert(table, "ods", UTF8), "csv:Text - txt - csv (StarCalc):44,34,1,1")
    with pytest.raises(BadInput, match=r"is neither UTF-8 nor UTF-16 \(byte \d+, near row \d+\)"):
        csv_table.read_csv(in_latin, rows, storyboard, ESTIMATE)


# ---- edits


def test_only_edits_made_in_the_spreadsheet_come_back(
    rows: list[Row], table: Path, storyboard: Task, convert: Convert
) -> None:
    order = list(cells(table, storyboard))
    by_id = {row.id: row for row in rows}
    kept, note, whole, panel = (by_id[name] for name in order[:4])
    new = "[MOVIE-SHOTS] Hers, [SCENE-1] a « quiet » room, [SCENE-2] “two” cups, [SCENE-3] 🎬 שלום to all of them."
    opened = convert(table, "fods", UTF8)
    other = next(decision for decision in DECISIONS if decision != kept.decision)
    edit(opened, order, kept, "decision", other.upper())
    edit(opened, order, note, "note", "two lines\nof a note")
    edit(opened, order, whole, "caption", new)
    edit(opened, order, panel, "panel_2", "another thing")
    saved = convert(opened, f"csv:Text - txt - csv (StarCalc):{SAVED_AS['semicolons']}")
    changes = csv_table.read_csv(saved, rows, storyboard, ESTIMATE)
    text = grammar.replace_panel(panel.caption, 1, "another thing", storyboard)
    assert {change.review.grid: change.fields for change in changes} == {
        kept.id: (("decision", kept.decision, other),),
        note.id: (("note", note.review.note if note.review else "", "two lines of a note"),),
        whole.id: (("caption", whole.caption.text, new),),
        panel.id: (("caption", panel.caption.text, text),),
    }


def edit(document: Path, order: list[str], row: Row, column: str, text: str) -> None:
    """Types a text into a cell of a flat spreadsheet document."""
    for _, (prefix, address) in ET.iterparse(document, ["start-ns"]):
        ET.register_namespace(prefix, address)  # LibreOffice recognises the type of the document by its prefixes
    tree = ET.parse(document)
    body = tree.getroot().find(f".//{{{TABLE}}}table")
    assert body is not None
    lines = [spread(line) for line in body.iter(f"{{{TABLE}}}table-row")]
    place = ["".join(cell.itertext()).strip() for cell in lines[0]].index(column)
    cell = lines[order.index(row.id) + 1][place]
    cell.clear()
    cell.set(f"{{{OFFICE}}}value-type", "string")
    for part in text.split("\n"):  # what Ctrl+Enter does
        ET.SubElement(cell, f"{{{TEXT}}}p").text = part
    tree.write(document, encoding="utf-8", xml_declaration=True)


OPEN = "urn:oasis:names:tc:opendocument:xmlns"
TABLE, OFFICE, TEXT = f"{OPEN}:table:1.0", f"{OPEN}:office:1.0", f"{OPEN}:text:1.0"


def spread(line: ET.Element) -> list[Cell]:
    """A row's cells; equal neighbours, which the file stores as one cell with a count, are written separately."""
    for cell in list(line):
        count = int(cell.attrib.pop(f"{{{TABLE}}}number-columns-repeated", "1"))
        if count > 100:  # the empty rest of the sheet
            line.remove(cell)
            continue
        place = list(line).index(cell)
        for _ in range(count - 1):
            line.insert(place, ET.fromstring(ET.tostring(cell)))
    return list(line)


def test_an_extra_column_and_another_order_of_rows_do_no_harm(
    rows: list[Row], table: Path, storyboard: Task, convert: Convert, tmp_path: Path
) -> None:
    entries = list(csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline="")))
    mixed = tmp_path / "mixed.csv"
    with mixed.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(
            [["seen by", *entries[0]], *([f"me, {n}", *e] for n, e in enumerate(entries[:0:-1]))]
        )
    saved = convert(mixed, "csv")
    assert csv_table.read_csv(saved, rows, storyboard, ESTIMATE) == []
