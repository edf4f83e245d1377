"""A person's final say: the table out and in, the contact sheet, and the data set that follows."""

import csv
import io
import json
import random
import tempfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from served import finish

from iclora.offline import MINIATURE
from iclora.run import Run
from iclora.settings import Settings
from miniature.film import picture
from miniature.world import draw_scene
from pipeline import task
from pipeline.errors import BadInput, EmptyResult, ToolkitError
from pipeline.records import Caption, Rejected, Review, Row, Score, Scores, content_id
from pipeline.review import contact_sheet, csv_table, decisions, reviews, risk, spreadsheet
from pipeline.review.coverage import Aspect
from pipeline.review.notes import picture_notes
from pipeline.review.texts import with_panels
from pipeline.store import read_settings
from pipeline.text import grammar

TRICKY = [
    "a man says 'no', \"yes\", and <Mara> nods; then",
    "=HYPERLINK(1) she reads",
    "-5 degrees and +1 more @home",
    "'= already quoted at the start",
    "emoji 🎬 and right-to-left שלום here",
    "e1234567890 and 3/4 and 00:01:02",
]


LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
MINE = "[MOVIE-SHOTS] Mine, [SCENE-1] my first words, [SCENE-2] my second words, [SCENE-3] my third words."


class Tags(HTMLParser):
    """The attributes of a page's tags by name, and its text, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[dict[str, str | None]]] = defaultdict(list)
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag].append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def answer(number: int) -> str:
    texts = [f"{TRICKY[number]} in shot {shot} of the film" for shot in ("one", "two", "three")]
    people = [{"name": "Mara", "looks": "a woman in a red scarf"}] if "<Mara>" in TRICKY[number] else []
    panels = [{"text": text} for text in texts]
    return json.dumps({"panels": panels, "people": people, "summary": f"story {number} about a day"})


ANSWERS = [answer(number) for number in range(6)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of six grids whose captions are hard on spreadsheets."""
    home = tmp_path_factory.mktemp("review")
    rng = random.Random(0)
    for number in range(6):
        (home / f"film-{number}").mkdir()
        for shot in range(3):
            picture(draw_scene(rng), home / f"film-{number}" / f"{shot}.png")
    return finish(home, ANSWERS)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    """The finished home with no memory of a review."""
    (finished / decisions.FILE).unlink(missing_ok=True)
    run = Run(Settings.model_validate(read_settings(finished)), finished)
    run.write_review()
    return run


def rows(run: Run) -> list[Row]:
    return run.reviewed()


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def write(path: Path, table: list[dict[str, str]], **options: str) -> Path:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(table[0]), quoting=csv.QUOTE_ALL, **options)
    writer.writeheader()
    writer.writerows(table)
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    return path


def export(run: Run) -> list[str]:
    run.advance()
    return sorted(path.read_text(encoding="utf-8") for path in (run.folder / "dataset").glob("*/*.txt"))


def test_an_untouched_table_changes_nothing(run: Run) -> None:
    assert run.apply(run.folder / "captions.csv") == []


def test_the_table_has_one_row_per_grid_and_every_text_comes_back(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    by_id = {row.id: row for row in rows(run)}
    assert [entry["id"] for entry in table] == [row.id for row in risk.riskiest_first(rows(run))]
    assert len(table) == len(by_id)
    for entry in table:
        row = by_id[entry["id"]]
        assert spreadsheet.unguard(entry["caption"]) == row.caption.text
        assert tuple(spreadsheet.unguard(entry[f"panel_{panel}"]) for panel in (1, 2, 3)) == row.caption.panels
        assert Path(run.folder / entry["picture"]).is_file()


def test_the_table_begins_with_a_byte_order_mark_and_quotes_every_cell(run: Run) -> None:
    content = (run.folder / "captions.csv").read_bytes()
    assert content.startswith(b'\xef\xbb\xbf"id","decision","caption",')
    assert b"\r" not in content


def test_no_cell_would_be_run_as_a_formula(run: Run) -> None:
    cells = [cell for entry in read(run.folder / "captions.csv") for cell in entry.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert [spreadsheet.guard(text) for text in ("=1", "007", "3/4", "true", "a = b")] == [
        "'=1", "'007", "'3/4", "'true", "a = b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "'=1",
        "''=1",
        "-a",
        "plain",
        "'quoted'",
        "",
        "@x",
        "007",
        "'1e5",
        "3/4 of it",
        "True",
        "1" * 50_000 + "x",
    ],
)
def test_the_guard_against_formulas_is_removed_exactly(text: str) -> None:
    assert spreadsheet.unguard(spreadsheet.guard(text)) == text


@given(st.lists(st.lists(st.text(alphabet=LETTERS), min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_cell_on_a_single_line_comes_back(lines: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        spreadsheet.write(path, ["a", "b", "c"], [["x" + spreadsheet.guard(cell) for cell in line] for line in lines])
        cells = [list(line.cells.values()) for line in spreadsheet.read(path, ["a", "b", "c"])]
    assert [[spreadsheet.unguard(cell[1:]) for cell in line] for line in cells] == lines


def test_a_dropped_row_leaves_the_data_set(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    before = export(run)
    table[0] |= {"decision": "drop", "note": "too dark"}
    changes = run.apply(write(run.folder / "edited.csv", table))
    assert [(change.review.decision, change.review.note) for change in changes] == [("drop", "too dark")]
    gone = spreadsheet.unguard(table[0]["caption"])
    assert export(run) == sorted(set(before) - {gone})
    assert "too dark" in run.store.rejected("export")[0].detail


def test_an_edited_caption_reaches_the_data_set_word_for_word(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[1]["caption"] = (
        "[MOVIE-SHOTS] My own words, [SCENE-1] one thing there, [SCENE-2] two more, [SCENE-3] the end of it."
    )
    run.apply(write(run.folder / "edited.csv", table))
    assert table[1]["caption"] in export(run)


def test_only_an_edited_caption_is_scored_again(run: Run) -> None:
    clip = (f"scorer.model=local-dir:{MINIATURE / 'clip'}",)
    scored = Run(run.settings.changed(scorer="open_clip", settings=clip), run.folder)
    with pytest.raises(EmptyResult):  # these captions tell nothing of what is seen
        export(scored)
    before = {score.grid: score for score in scored.store.items(Scores, "scores")}
    table = read(run.folder / "captions.csv")
    mine = table[0]["id"]
    name = before[mine].scores[0].name
    assert table[0][name] == f"{before[mine].scores[0].value:.4f}"
    table[0]["caption"] = MINE
    scored.apply(write(run.folder / "edited.csv", table))
    with pytest.raises(EmptyResult):
        scored.advance(start="filter")
    after = {score.grid: score for score in scored.store.items(Scores, "scores")}
    assert {grid for grid, score in after.items() if score.text != before[grid].text} == {mine}
    assert after[mine].text == MINE
    (again,) = [entry for entry in read(run.folder / "captions.csv") if entry["id"] == mine]
    assert again[name] == f"{after[mine].scores[0].value:.4f}" != table[0][name]
    export(run)


def test_an_edited_panel_changes_only_its_part_of_the_caption(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    old = rows(run)[2].caption
    table[2]["panel_2"] = "a wholly other thing, as I see it"
    run.apply(write(run.folder / "edited.csv", table))
    new = rows(run)[2].caption
    assert new.panels == (old.panels[0], "a wholly other thing, as I see it", old.panels[2])
    assert new.text == old.text.replace(old.panels[1], "a wholly other thing, as I see it")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_changes_that_a_spreadsheet_makes_to_a_file_do_no_harm(run: Run, delimiter: str, encoding: str) -> None:
    table = read(run.folder / "captions.csv")
    table[3]["decision"] = "Drop "
    mixed = [{"my notes, and; more": 'x "y"'} | entry for entry in reversed(table)]
    path = write(run.folder / "edited.csv", mixed, delimiter=delimiter, lineterminator="\r\n")
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    changes = run.apply(path)
    assert [(change.review.grid, change.fields) for change in changes] == [
        (table[3]["id"], (("decision", "keep", "drop"),))
    ]


@pytest.mark.parametrize("first", ['\ufeff\ufeff"id"', '"\ufeffid"', '"\ufeff""id"""', "\ufeffid", "“ID”", '" id "'])
def test_a_byte_order_mark_or_odd_quotes_inside_the_first_header_do_no_harm(run: Run, first: str) -> None:
    content = (run.folder / "captions.csv").read_text(encoding="utf-8-sig")
    assert content.startswith('"id"')
    path = run.folder / "edited.csv"
    path.write_text(first + content.removeprefix('"id"'), encoding="utf-8")
    assert run.apply(path) == []


def test_cells_that_a_spreadsheet_left_out_or_added_at_the_end_of_a_row_do_no_harm(run: Run) -> None:
    lines = (run.folder / "captions.csv").read_text(encoding="utf-8-sig").splitlines()
    lines = [lines[0] + ',"mine"', lines[1], lines[2] + ',"x"', "", lines[3] + ',"",,', *lines[4:]]
    path = run.folder / "edited.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert run.apply(path) == []


def test_line_breaks_typed_by_a_person_become_spaces(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["note"] = "first line\nsecond line\r\n third"
    (change,) = run.apply(write(run.folder / "edited.csv", table))
    assert change.review.note == "first line second line third"
    run.write_review()
    assert all(entry["note"] in ("", change.review.note) for entry in read(run.folder / "captions.csv"))
    assert len((run.folder / "captions.csv").read_bytes().splitlines()) == 1 + len(table)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("decision", "maybe", "row 2, decision: 'maybe' is not one of keep, drop, unsure"),
        ("id", "g-nothing", "row 2, id: 'g-nothing' is not a grid of this run"),
        ("caption", "no markers at all", "row 2, caption: the edited caption lacks one of"),
        ("panel_1", "", "row 2, panel_1: is empty"),
        ("panel_1", "a [SCENE-2] marker inside", "row 2, panel_1"),
        ("caption", "", "row 2, caption: is empty"),
        ("base", "", "row 2, base: '' is not what was written there"),
        ("base", "b-0.5", "row 2, base: 'b-0.5' is not what was written there"),
    ],
)
def test_a_row_in_doubt_is_named_and_nothing_is_applied(run: Run, field: str, value: str, message: str) -> None:
    table = read(run.folder / "captions.csv")
    table[0][field] = value
    table[1]["decision"] = "drop"
    with pytest.raises(BadInput, match="nothing was applied") as caught:
        run.apply(write(run.folder / "edited.csv", table))
    assert message in str(caught.value)
    assert run.table("decisions") == []


@pytest.mark.parametrize("column", ["id", "decision", "note", "panel_2", "base"])
def test_a_table_that_lacks_a_column_is_refused_and_the_column_is_named(run: Run, column: str) -> None:
    table = [{name: cell for name, cell in row.items() if name != column} for row in read(run.folder / "captions.csv")]
    with pytest.raises(BadInput, match=f"no column named '{column}'; it needs one of each"):
        run.apply(write(run.folder / "edited.csv", table))


def test_all_doubts_are_reported_at_once_by_row_and_column(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["decision"] = "yes"
    table[1]["panel_3"] = ""
    table[2]["id"] = "g-other"
    lines = write(run.folder / "edited.csv", table).read_text(encoding="utf-8").splitlines()
    (run.folder / "edited.csv").write_text("\n".join([*lines[:5], lines[5] + ',"cut"', *lines[6:]]), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        run.apply(run.folder / "edited.csv")
    missing = [row.id for row in rows(run) if row.id in {rows(run)[2].id, rows(run)[4].id}]
    assert str(caught.value).split("\n  ")[1:] == [
        "row 2, decision: 'yes' is not one of keep, drop, unsure",
        "row 3, panel_3: is empty",
        "row 4, id: 'g-other' is not a grid of this run",
        f"row 6: it has {len(table[0]) + 1} cells, the header {len(table[0])}; was a text cut in two?",
        f"there is no row for {', '.join(missing)}",
    ]


def test_only_quotation_marks_made_by_automatic_correction_are_in_doubt(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    row = next(entry for entry in table if "'no', \"yes\"" in entry["caption"])
    curly = row["caption"].replace("'no', \"yes\"", "‘no’, “yes”")  # noqa: RUF001
    number = table.index(row) + 2
    with pytest.raises(BadInput, match=f"row {number}, caption: only its quotation marks differ"):
        run.apply(
            write(run.folder / "edited.csv", [*table[: number - 2], row | {"caption": curly}, *table[number - 1 :]])
        )
    row["caption"] = curly.replace("and <", "and then <")
    (change,) = run.apply(write(run.folder / "edited.csv", table))
    assert "‘no’, “yes”, and then" in change.review.text  # noqa: RUF001


@pytest.mark.parametrize(
    ("was", "now", "harm"),
    [
        ('she says "no"', "she says “no”", "quotation marks"),
        ("it's 'so'", "it’s ‘so’", "quotation marks"),  # noqa: RUF001
        ('he says "no" loudly', "he says « no » loudly", "quotation marks"),
        ("she says “no”", 'she says "no"', ""),
        ('she says "no"', "she says “never”", ""),
        ("a film 🎬 here", "a film ?? here", "letters were lost"),
        ("in שלום here", "in ???? here", "letters were lost"),
        ("a naïve man", "a na\ufffdve man", "letters were lost"),
        ("is it so?", "is it so", ""),
        ("a naïve man", "a naive man", ""),
        ("a man", "a man?", ""),
    ],
)
def test_the_changes_of_a_spreadsheet_are_distinguished_from_those_of_a_person(was: str, now: str, harm: str) -> None:
    doubts = spreadsheet.damage(was, now)
    assert harm in doubts and bool(doubts) == bool(harm)


def test_missing_and_duplicate_rows_are_named(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    with pytest.raises(BadInput, match=r"is in row 2 already\n  there is no row for "):
        run.apply(write(run.folder / "edited.csv", [*table[1:], table[1]]))


def test_a_stale_row_is_refused(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["decision"] = "drop"
    run.apply(write(run.folder / "first.csv", table))
    table[0]["decision"] = "unsure"
    message = r"row 2, base: the row has changed in the run since .* \(decision\), so your edit of decision is in doubt"
    with pytest.raises(BadInput, match=message):
        run.apply(write(run.folder / "second.csv", table))


def test_applying_a_table_twice_changes_nothing_more(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["decision"] = "drop"
    table[1]["caption"] = MINE
    table[2]["panel_2"] = "a wholly other thing"
    table[3]["note"] = "look again"
    path = write(run.folder / "edited.csv", table)
    assert len(run.apply(path)) == 4
    events = run.table("events")
    assert run.apply(path) == []
    export(run)
    assert run.apply(path) == []
    assert run.table("events") == events


def test_an_old_table_reverts_nothing_that_was_decided_elsewhere(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    by_id = {row.id: row for row in rows(run)}
    word = reviews.change(by_id[table[0]["id"]], run.task, run.counter, decision="drop", text=MINE)
    assert word
    reviews.decide(run.store, [word], "page")
    table[1]["decision"] = "unsure"
    (change,) = run.apply(write(run.folder / "edited.csv", table))
    assert change.review.grid == table[1]["id"]
    assert {row.id: row.decision for row in rows(run)}[table[0]["id"]] == "drop"


def test_an_emptied_decision_says_nothing(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["decision"] = " "
    write(run.folder / "captions.csv", table)
    assert run.apply(run.folder / "captions.csv") == []
    run.write_review()
    assert run.set_aside is None


def test_edits_that_were_not_applied_are_never_overwritten(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    mine = run.folder / "captions.csv"
    run.write_review()
    assert run.set_aside is None
    table[0]["note"] = "an evening's work"
    edited = write(mine, table).read_bytes()
    run.write_review()
    assert run.set_aside and run.set_aside.read_bytes() == edited
    assert read(mine)[0]["note"] == ""
    assert len(run.apply(run.set_aside)) == 1
    run.set_aside.replace(mine)
    run.set_aside = None
    run.write_review()  # the home has these edits
    assert run.set_aside is None


def test_an_edited_caption_decides_nothing_if_the_toolkit_was_in_doubt(run: Run) -> None:
    (row, *_) = rows(run)
    doubtful = replace(row, decision="unsure", caption=replace(row.caption, problems=("the text is thin",)))
    change = reviews.change(doubtful, run.task, run.counter, text=MINE)
    assert change and change.review.decision is None
    assert change.fields == (("caption", row.caption.text, MINE),)
    reviews.decide(run.store, [change], "page")
    assert rows(run)[0].decision == "keep"  # the new text has no problems
    again = reviews.change(rows(run)[0], run.task, run.counter, text=MINE.replace("my first words", "words"))
    assert again and again.review.decision == "keep"  # a person's text in a row that is marked keep


def test_nobody_can_decide_anything_while_a_table_is_being_applied(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    change = reviews.change(rows(run)[0], run.task, run.counter, decision="drop")
    assert change
    monkeypatch.setattr(decisions, "PATIENCE", 0.05)
    busy = "another process is writing decisions .* so yours was not written; try again"
    with decisions.deciding(run.folder), pytest.raises(BadInput, match=busy), decisions.deciding(run.folder):
        pass
    with decisions.deciding(run.folder):
        reviews.decide(run.store, [change], "page")
    assert rows(run)[0].decision == "drop"


def test_a_person_may_confirm_what_the_toolkit_decided(run: Run) -> None:
    change = reviews.change(rows(run)[0], run.task, run.counter, decision="keep")
    assert change and (change.review.decision, change.fields) == ("keep", (("decision", "keep", "keep"),))
    reviews.decide(run.store, [change], "page")
    assert reviews.change(rows(run)[0], run.task, run.counter, decision="keep") is None


def test_a_row_without_a_caption_is_written_by_its_panels(run: Run) -> None:
    (row, *_) = rows(run)
    bare = replace(row, caption=replace(row.caption, text="", summary="", panels=("", "", "")), decision="unsure")
    texts = dict(enumerate(["a first thing", "a second thing", "a third thing"]))
    assert with_panels(bare, texts, run.task) == (
        "[MOVIE-SHOTS] [SCENE-1] a first thing, [SCENE-2] a second thing, [SCENE-3] a third thing."
    )


@pytest.mark.parametrize("name", ["storyboard", "couple-profile"])
def test_an_empty_caption_opens_as_a_skeleton_and_is_filled_in_any_way(run: Run, name: str, tmp_path: Path) -> None:
    own, (row, *_) = task.load(name), rows(run)
    texts = ["a first thing", "a second thing", "a third thing"][: len(own.markers)]
    bare = replace(row, caption=Caption("", "", "", ("",) * len(texts), grid=row.id), review=None, decision="unsure")
    csv_table.write_csv([bare], own, tmp_path / "captions.csv")
    ((line),) = read(tmp_path / "captions.csv")
    assert (line["caption"], line["summary"], line["panel_1"]) == (grammar.skeleton(own), "", "")
    assert csv_table.read_csv(tmp_path / "captions.csv", [bare], own, run.counter) == []
    assert not csv_table.has_edits(tmp_path / "captions.csv", [bare], own)
    whole = grammar.render("things in a row", texts, [], own)
    by_parts = {f"panel_{number}": text for number, text in enumerate(texts, start=1)}
    ways = ({"caption": whole}, by_parts | {"summary": "things in a row"})
    for way in (*ways, ways[0] | ways[1]):
        edited = write(tmp_path / "edited.csv", [line | way])
        (change,) = csv_table.read_csv(edited, [bare], own, run.counter)
        assert (change.review.text, change.problems) == (whole, ())
    (change,) = csv_table.read_csv(
        write(tmp_path / "one.csv", [line | {"panel_2": texts[1]}]), [bare], own, run.counter
    )
    assert grammar.parse(change.review.text, own).panels[:2] == ("", texts[1])
    with pytest.raises(BadInput, match="panel_1: differs from the caption"):
        csv_table.read_csv(write(edited, [line | ways[0] | {"panel_1": "another thing"}]), [bare], own, run.counter)


def test_five_hundred_long_rows_are_read_as_they_were_written(run: Run) -> None:
    (row, *_) = rows(run)
    long = grammar.parse(row.caption.text.replace("in shot two", "in shot two " + "and so on " * 200), run.task)
    many = [replace(row, grid=replace(row.grid, id=content_id("g", n)), caption=long) for n in range(500)]
    path = run.folder / "many.csv"
    csv_table.write_csv(many, run.task, path)
    assert csv_table.read_csv(path, many, run.task, run.counter) == []


def test_every_change_is_an_event(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0] |= {"decision": "drop", "note": "why not"}
    run.apply(write(run.folder / "edited.csv", table))
    events = run.table("events")
    assert [(event["field"], event["was"], event["becomes"]) for event in events] == [
        ("decision", "keep", "drop"),
        ("note", "", "why not"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"captioner.answers": [answer(5)]}},
        {"settings": {"captioner.answers": ["not JSON at all"]}},
        {"captioner": "sidecar"},
        {"settings": {"caption.instructions": "Say who is there."}},
    ],
    ids=["other answers", "useless answers", "another captioner", "another instruction"],
)
def test_a_persons_texts_outlive_a_new_round_of_captions(run: Run, change: dict[str, Any]) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["caption"] = MINE
    table[1] |= {"decision": "drop", "note": "never this one"}
    run.apply(write(run.folder / "edited.csv", table))
    events = run.table("events")
    second = Run(run.settings.changed(**change), run.folder)
    assert MINE in export(second)
    by_id = {row.id: row for row in rows(second)}
    assert (by_id[table[0]["id"]].caption.text, by_id[table[0]["id"]].decision) == (MINE, "keep")
    assert by_id[table[1]["id"]].decision == "drop"
    assert second.table("events") == events
    again = {entry["id"]: entry for entry in read(run.folder / "captions.csv")}
    assert again[table[0]["id"]]["caption"] == MINE
    assert again[table[1]["id"]]["note"] == "never this one"
    export(run)


def test_a_captioner_that_abstains_does_not_undo_a_persons_caption(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["caption"] = MINE
    run.apply(write(run.folder / "edited.csv", table))
    no = json.dumps([json.dumps({"unrelated": "They have nothing in common."})])
    second = Run(run.settings.changed(settings=[f"captioner.answers={no}"]), run.folder)
    assert export(second) == [MINE]
    assert second.store.count("captions") == 0
    assert [(row.id, row.caption.captioner) for row in rows(second)] == [(table[0]["id"], "person")]
    export(run)


def test_a_decision_on_the_same_panels_counts_in_another_layout_and_waits_while_they_form_no_grid(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0] |= {"caption": MINE, "note": "mine"}
    run.apply(write(run.folder / "edited.csv", table))
    smaller = Run(run.settings.changed(settings=["layout.panel_width=512"]), run.folder)
    assert MINE in export(smaller)
    assert not {row.id for row in rows(smaller)} & {entry["id"] for entry in table}
    without = Run(run.settings.changed(settings=["layout.max_enlarge=1"]), run.folder)
    with suppress(ToolkitError):  # nothing is left to export
        without.advance()
    assert rows(without) == []
    assert without.unmatched()["caption"].tolist() == [MINE]
    assert MINE in export(run)
    row = next(row for row in rows(run) if row.id == table[0]["id"])
    assert row.review and (row.review.text, row.review.note) == (MINE, "mine")


def test_the_contact_sheet_shows_every_grid_and_treats_no_text_as_markup(run: Run) -> None:
    table = read(run.folder / "captions.csv")
    table[0]["note"] = "<script>alert(1)</script>"
    run.apply(write(run.folder / "edited.csv", table))
    run.write_review()
    page = (run.folder / "review.html").read_text(encoding="utf-8")
    for row in rows(run):
        assert f'src="{row.grid.path}"' in page
        with Image.open(run.folder / row.grid.path) as picture_:
            assert picture_.size == (1024, 1536)
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert(1)" in page


def test_nothing_from_outside_is_markup_or_an_address_on_the_contact_sheet(run: Run) -> None:
    evil = """<img src=x onerror=alert(1)>'"><script>alert(1)</script><a href="javascript:alert(1)">&lt;b&gt;"""
    first = rows(run)[0]
    grid = replace(first.grid, path="javascript:alert(1)", group=replace(first.grid.group, formed=evil))
    caption = replace(first.caption, text=evil, problems=(evil,))
    review = Review(first.id, "drop", evil)
    scores = (Score(evil, 1, 0, False, evil),)
    row = replace(first, grid=grid, caption=caption, scores=scores, decision="drop", reasons=(evil,), review=review)
    rejected = {"collect": [Rejected("r", evil, evil, evil)]}
    hostile = run.task.model_copy(update={"title": evil, "markers": ("span", "class", "<"), "prefix": "&lt;"})
    aspect = Aspect(evil, evil, {evil: 1}, (evil,))
    sheet = contact_sheet.Sheet([row], rejected, hostile, evil, evil, {"r": evil}, [aspect])
    contact_sheet.write(sheet, run.folder / "evil.html")
    tags = Tags()
    tags.feed((run.folder / "evil.html").read_text(encoding="utf-8"))
    assert len(tags.found["script"]) == 1 and "b" not in tags.found  # the page's own, which alone may run
    sources = [picture["src"] for picture in tags.found["img"]]
    assert sources[0] == "javascript%3Aalert%281%29"
    assert not [source for source in sources if set(source) & set("<>\"': ")]
    page, picture, place = (link["href"] for link in tags.found["a"])
    assert (page, picture, place) == (contact_sheet.PAGE, "javascript%3Aalert%281%29", f"{contact_sheet.PAGE}#{row.id}")
    assert not [name for each in tags.found.values() for one in each for name in one if name.startswith("on")]
    assert any("default-src 'none'" in (one.get("content") or "") for one in tags.found["meta"])
    assert tags.text.count("<script>alert(1)</script>") >= 8


def test_the_contact_sheet_of_a_run_without_rejections_says_so_and_names_the_next_command(tmp_path: Path) -> None:
    page = tmp_path / "review.html"
    command = "iclora review storyboard --out 'a & b'"
    contact_sheet.write(contact_sheet.Sheet([], {"collect": []}, task.load("storyboard"), command, "serve it"), page)
    text = page.read_text(encoding="utf-8")
    assert "Nothing was rejected." in text
    assert "<details>" not in text
    assert "iclora review storyboard --out &#x27;a &amp; b&#x27;" in text and "<code>serve it</code>" in text


def test_the_contact_sheet_starts_with_the_riskiest_and_shows_scores_against_thresholds(run: Run) -> None:
    scored = []
    for row, value in zip(rows(run), (0.5, 0.26, 0.2, 0.01, 0.4, 0.3), strict=True):
        good = value >= 0.25
        scores = (
            Score("text 1", value, 0.25, good, f"{value}"),
            Score("free", 0.1, -1.0, True, ""),
            Score("order", 0.0, 0.9, True, ""),
        )
        reasons = () if good else ("no fit",)
        scored.append(replace(row, scores=scores, decision="keep" if good else "drop", reasons=reasons))
    theirs = replace(scored[0], decision="drop", review=Review(scored[0].id, "drop"))
    sheet = contact_sheet.Sheet([theirs, *scored[1:]], {}, run.task, "type this", "serve it")
    contact_sheet.write(sheet, run.folder / "sheet.html")
    page = (run.folder / "sheet.html").read_text(encoding="utf-8")
    order = [scored[place].id for place in (3, 2, 1, 5, 4, 0)]
    assert sorted(order, key=lambda name: page.index(f'<article id="{name}"')) == order
    assert "✕ text 1 0.010 ≥ 0.250<" in page
    assert "✓ order 0.000 ≤ 0.900<" in page
    assert "✓ free 0.100<" in page
    assert (
        page.index("1 grid dropped by you")
        > page.index("<h2>Kept (3)</h2>")
        > page.index("Dropped by their scores (2)")
    )


def test_what_is_noted_of_pictures_stands_beside_their_grid_with_the_panels(run: Run) -> None:
    row = rows(run)[0]
    first, *others = (replace(record, notes=("bars cut away: 8 px at the top",)) for record in row.grid.group.records)
    noted = [replace(first, notes=(*first.notes, "burnt-in text at the bottom")), *others]
    group = replace(row.grid.group, records=tuple(noted))
    told = replace(row, grid=replace(row.grid, group=group))
    words = "burnt-in text at the bottom (panel 1); bars cut away: 8 px at the top (all panels)"
    assert picture_notes(told) == words
    contact_sheet.write(contact_sheet.Sheet([told], {}, run.task, "type this", "serve it"), run.folder / "sheet.html")
    assert f"The pictures: {words}." in (run.folder / "sheet.html").read_text(encoding="utf-8")
