"""A person's last word: the table out and in, the contact sheet, and the data set that follows."""

import csv
import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image

from miniature.film import picture
from miniature.world import draw_scene
from pipeline import reviews, task
from pipeline.errors import BadInput
from pipeline.records import Row
from pipeline.road import Road, Settings
from pipeline.stages import review, sheet

TRICKY = [
    "a man says 'no', \"yes\", and <Mara> nods; then",
    "=HYPERLINK(1) she reads",
    "-5 degrees and +1 more @home",
    "'= already quoted at the start",
    "emoji 🎬 and right-to-left שלום here",
    "e1234567890 and 3/4 and 00:01:02",
]


def answer(number: int) -> str:
    texts = [f"{TRICKY[number]} in shot {shot} of the film" for shot in ("one", "two", "three")]
    return json.dumps({"summary": f"story {number} about a day", "panels": [{"text": text} for text in texts]})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six grids whose captions are what spreadsheets stumble over."""
    home = tmp_path_factory.mktemp("review")
    rng = random.Random(0)
    for number in range(6):
        (home / f"film-{number}").mkdir()
        for shot in range(3):
            picture(draw_scene(rng), home / f"film-{number}" / f"{shot}.png")
    answers = json.dumps([answer(number) for number in range(6)])
    settings = Settings(
        task="storyboard",
        sources=(str(home),),
        captioner="scripted",
        scorer="none",
        overrides=(f"captioner.answers={answers}", "group.floor=0.0"),
    )
    road = Road(settings, home / "run")
    with road.store:
        list(road.run(lambda *_: None))
    return home / "run"


@pytest.fixture
def road(finished: Path, tmp_path: Path) -> Road:
    """The finished run with a fresh memory: no review has been made."""
    from pipeline.store import Store

    with Store(finished) as store:
        settings = store.settings()
        store._db.execute("DELETE FROM reviews")
        store._db.execute("DELETE FROM events")
    road = Road(Settings.model_validate(settings), finished)
    road.write_review()
    return road


def rows(road: Road) -> list[Row]:
    return reviews.rows(road.store, road.task)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def write(path: Path, table: list[dict[str, str]], **options: str) -> Path:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(table[0]), quoting=csv.QUOTE_ALL, **options)
    writer.writeheader()
    writer.writerows(table)
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    return path


def export(road: Road) -> list[str]:
    list(road.run(lambda *_: None))
    return sorted(path.read_text(encoding="utf-8") for path in (road.folder / "dataset").glob("*/*.txt"))


def test_an_untouched_table_changes_nothing(road: Road) -> None:
    assert road.apply(road.folder / "captions.csv") == []


def test_the_table_has_one_row_a_grid_and_every_text_comes_back(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    by_id = {row.id: row for row in rows(road)}
    assert [entry["id"] for entry in table] == list(by_id)
    for entry in table:
        row = by_id[entry["id"]]
        assert review.unguard(entry["caption"]) == row.caption.text
        assert tuple(review.unguard(entry[f"panel_{panel}"]) for panel in (1, 2, 3)) == row.caption.panels
        assert Path(road.folder / entry["picture"]).is_file()


def test_the_table_begins_with_a_byte_order_mark_and_quotes_every_cell(road: Road) -> None:
    content = (road.folder / "captions.csv").read_bytes()
    assert content.startswith(b'\xef\xbb\xbf"id","decision","caption",')
    assert b"\r" not in content


def test_no_cell_would_be_run_as_a_formula(road: Road) -> None:
    cells = [cell for entry in read(road.folder / "captions.csv") for cell in entry.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("text", ["=1+1", "'=1", "''=1", "-a", "plain", "'quoted'", "", "@x", "\tx"])
def test_the_guard_is_undone_exactly(text: str) -> None:
    assert review.unguard(review.guard(text)) == text


def test_a_dropped_row_leaves_the_data_set(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    before = export(road)
    table[0] |= {"decision": "drop", "note": "too dark"}
    changes = road.apply(write(road.folder / "edited.csv", table))
    assert [(change.review.decision, change.review.note) for change in changes] == [("drop", "too dark")]
    gone = review.unguard(table[0]["caption"])
    assert export(road) == sorted(set(before) - {gone})
    assert "too dark" in road.store.rejected("export")[0].detail


def test_an_edited_caption_reaches_the_data_set_word_for_word(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    table[1]["caption"] = (
        "[MOVIE-SHOTS] My own words, [SCENE-1] one thing there, [SCENE-2] two more, [SCENE-3] the end of it."
    )
    road.apply(write(road.folder / "edited.csv", table))
    assert table[1]["caption"] in export(road)


def test_an_edited_panel_changes_its_part_of_the_caption_only(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    old = rows(road)[2].caption
    table[2]["panel_2"] = "a wholly other thing, as I see it"
    road.apply(write(road.folder / "edited.csv", table))
    new = rows(road)[2].caption
    assert new.panels == (old.panels[0], "a wholly other thing, as I see it", old.panels[2])
    assert new.text == old.text.replace(old.panels[1], "a wholly other thing, as I see it")


def test_what_a_spreadsheet_does_to_the_file_does_no_harm(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    table[3]["decision"] = "Drop"
    mixed = [{"my notes": "x"} | entry for entry in reversed(table)]
    path = write(road.folder / "edited.csv", mixed, delimiter=";", lineterminator="\r\n")
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    changes = road.apply(path)
    assert [change.review.grid for change in changes] == [table[3]["id"]]


def test_a_byte_order_mark_inside_the_first_header_is_no_obstacle(road: Road) -> None:
    path = road.folder / "edited.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (road.folder / "captions.csv").read_bytes())
    assert road.apply(path) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("decision", "maybe", "row 2, decision: 'maybe' is none of keep, drop, unsure"),
        ("id", "g-nothing", "row 2, id: 'g-nothing' is no grid of this run"),
        ("caption", "no markers at all", "row 2, caption: the edited caption lacks one of"),
        ("panel_1", "", "row 2, panel_1: is empty"),
        ("panel_1", "a [SCENE-2] marker inside", "row 2, panel_1"),
    ],
)
def test_a_row_in_doubt_is_named_and_nothing_is_applied(road: Road, field: str, value: str, message: str) -> None:
    table = read(road.folder / "captions.csv")
    table[0][field] = value
    table[1]["decision"] = "drop"
    with pytest.raises(BadInput, match="nothing was applied") as caught:
        road.apply(write(road.folder / "edited.csv", table))
    assert message in str(caught.value)
    assert road.store.table("reviews") == []


def test_missing_and_doubled_rows_are_named(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    with pytest.raises(BadInput, match=r"stands twice.*1 grids have no row"):
        road.apply(write(road.folder / "edited.csv", [*table[1:], table[1]]))


def test_a_stale_row_is_refused(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    table[0]["decision"] = "drop"
    road.apply(write(road.folder / "first.csv", table))
    table[0]["decision"] = "unsure"
    with pytest.raises(BadInput, match="base: the row has changed"):
        road.apply(write(road.folder / "second.csv", table))


def test_applying_a_table_twice_changes_nothing_more(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    table[0]["decision"] = "drop"
    path = write(road.folder / "edited.csv", table)
    assert len(road.apply(path)) == 1
    assert road.apply(path) == []


def test_every_change_is_an_event(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    table[0] |= {"decision": "drop", "note": "why not"}
    road.apply(write(road.folder / "edited.csv", table))
    events = road.store.table("events")
    assert [(event["field"], event["was"], event["becomes"]) for event in events] == [
        ("decision", "keep", "drop"),
        ("note", "", "why not"),
    ]


def test_a_persons_words_outlive_a_new_round_of_captions(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    mine = "[MOVIE-SHOTS] Mine, [SCENE-1] my first words, [SCENE-2] my second words, [SCENE-3] my third words."
    table[0]["caption"] = mine
    road.apply(write(road.folder / "edited.csv", table))
    again = json.dumps([answer(5)])
    other = road.settings.model_copy(update={"overrides": (f"captioner.answers={again}", "group.floor=0.0")})
    second = Road(other, road.folder)
    list(second.run(lambda *_: None))
    texts = [row.caption.text for row in rows(second)]
    assert texts[0] == mine
    assert "story 5" in texts[1]


def test_the_contact_sheet_shows_every_grid_and_runs_no_text_as_markup(road: Road) -> None:
    table = read(road.folder / "captions.csv")
    table[0]["note"] = "<script>alert(1)</script>"
    road.apply(write(road.folder / "edited.csv", table))
    road.write_review()
    page = (road.folder / "review.html").read_text(encoding="utf-8")
    for row in rows(road):
        assert f'src="{row.grid.path}"' in page
        with Image.open(road.folder / row.grid.path) as picture_:
            assert picture_.size == (1024, 1536)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_contact_sheet_of_a_run_without_rejects_says_so_and_tells_what_to_type(tmp_path: Path) -> None:
    page = tmp_path / "review.html"
    sheet.write([], {"collect": []}, task.load("storyboard"), page, "iclora review storyboard --out 'a & b'")
    text = page.read_text(encoding="utf-8")
    assert "Nothing was rejected." in text
    assert "<details>" not in text
    assert "iclora review storyboard --out &#x27;a &amp; b&#x27;" in text
