"""Rows that are kept up to date are those that would be read, whatever is decided by whomever."""

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.records import (
    Appearance,
    Caption,
    Corrections,
    Grid,
    Group,
    Layout,
    Parts,
    Person,
    Position,
    Record,
    Review,
    Row,
    Score,
    Scores,
    Shown,
    Tie,
    Word,
)
from pipeline.review import decisions, reviews, risk
from pipeline.review.current import CurrentRows
from pipeline.review.decisions import Journal, Line
from pipeline.store import Store
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.counters import ESTIMATE

LAYOUT = Layout(3, 1, 64, 32)
GRIDS = 4


def record(name: str) -> Record:
    return Record(name, f"{name}.png", f"/films/{name}.png", Position())


def text(number: int, task: Task) -> str:
    return grammar.render(f"story {number}", [f"a man does {thing} here" for thing in "xyz"], [], task)


@pytest.fixture
def store(tmp_path: Path, storyboard: Task) -> Iterator[Store]:
    """A run of four grids; the last has no caption, and the filter has rejected the second."""
    groups = [
        Group(f"s-{number}", storyboard.name, tuple(record(f"r{number}{panel}") for panel in range(3)), "", 1)
        for number in range(GRIDS)
    ]
    grids = [Grid(f"g-{n}", group, LAYOUT, f"grids/g-{n}.png", f"p{n}") for n, group in enumerate(groups)]
    captions = [replace(described(number, storyboard), grid=f"g-{number}") for number in range(GRIDS - 1)]
    scores = [
        Scores(
            one.grid, (Score("text 1", 0.1 * (place + 3), 0.35, place > 0, "why"),), one.text, f"grids/{one.grid}.png"
        )
        for place, one in enumerate(captions)
    ]
    with Store(tmp_path / "run") as store:
        for table, rows in (
            ("records", [one for group in groups for one in (*group.records, record(f"{group.id} spare"))]),
            ("groups", groups),
            ("grids", grids),
            ("captions", captions),
            ("scores", scores),
        ):
            store.add("some", table, rows, [], 0)  # type: ignore[arg-type]
        yield store


def described(number: int, task: Task) -> Caption:
    """The captioner's, with parts unless it is the first."""
    if not number:
        return grammar.parse(text(number, task), task)
    shown = tuple(Shown(f"<Mara> does {thing} here", (Appearance("Mara"),)) for thing in "xyz")
    mara = Person("Mara", "a tall woman", "her hat")
    return grammar.caption_of(Parts((mara,), shown, f"story {number}", (Tie("a kite", (0, 2)),), (1,)), task)


def vars_of(caption: Caption) -> dict[str, object]:
    return {name: getattr(caption, name) for name in ("text", "prefix", "summary", "panels", "names", "problems")}


def decide(store: Store, *lines: Line) -> None:
    with decisions.deciding(store.folder):
        decisions.append(store.folder, lines)


def some_line(rng: random.Random, grids: list[Grid], task: Task) -> Line:
    """Some decision by somebody: on a grid of the run, on one that has its picture or its panels, or on none."""
    of = rng.choice(grids)
    panels = rng.choice([(), (), of.group.origin[::-1], (f"{of.group.id} spare", *of.group.origin[1:])])
    edited = rng.choice(["", text(rng.randrange(9), task), "too short"])
    keep = rng.choice(["keep", "drop", "unsure", None]) if edited != "too short" else "drop"
    said = rng.choice([None, Corrections(strangers=(0,)), Corrections((Tie("a hat", (0, 1)),), (), (None, (), None))])
    words = edited or ("x" if panels else "")
    review = Review(of.id, keep, rng.choice(["", "a note"]), words, panels, corrections=said)
    reviewer = rng.choice([None, "", "Ann", "Ben"])
    says = rng.choice([None, Word(reviewer, rng.choice(["keep", "drop", None]))]) if reviewer is not None else None
    made = decisions.line_on(of, rng.choice([review, review, Review(of.id, None)]), [], "page", reviewer, says)
    elsewhere = {"panels": (f"other {rng.randrange(3)}", "b", "c"), "grid": "g-other"}
    changed = rng.choice([{}, {}, {"panels": ()}, elsewhere, {**elsewhere, "picture": "none"}])
    return Line(**{name: changed.get(name, getattr(made, name)) for name in Line.__dataclass_fields__})


@pytest.mark.parametrize("few", [1, 100])
def test_after_any_decisions_the_rows_are_those_that_would_be_read(
    store: Store, storyboard: Task, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("pipeline.review.current.FEW", few)
    rng, current = random.Random(0), CurrentRows(store, storyboard, ESTIMATE)
    grids = store.items(Grid, "grids")
    current.update()
    for _ in range(150):
        some = [some_line(rng, grids, storyboard) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
        if rng.random() < 0.5:
            decide(store, *some)
        else:
            with decisions.deciding(store.folder):
                current.update()
                current.write(some, b"".join(map(decisions.written, some)))
        current.update()
        read = reviews.rows(store, storyboard, ESTIMATE)
        outlines = {grid.id: current.outline(grid.id) for grid in rng.sample(grids, rng.randrange(3))}
        for row in read:
            assert row.id not in outlines or is_outline(outlines[row.id], row)
        while current.check_some(0):
            pass
        assert current.riskiest_first() == risk.riskiest_first(read)
        assert [current.row(grid.id) for grid in grids] == [
            next((row for row in read if row.id == grid.id), None) for grid in grids
        ]
        shown = {grid.id: grid.group.origin for grid in [*grids, *(row.grid for row in read)]}
        assert {(one, grid) for one, some in current.users.items() for grid in some} == {
            (one, grid) for grid, origin in shown.items() for one in origin
        }


def is_outline(outline: Row | None, row: Row) -> bool:
    """Whether an outline is that of a row, or the row itself."""
    if outline is None or outline.checked:
        return outline == row
    caption = Caption(row.caption.text, "", "", (), row.id)
    known = replace(outline, caption=replace(caption, text=outline.caption.text), decision=row.decision, checked=True)
    return known == replace(row, caption=caption) and outline.decision in (row.decision, "unsure")


def test_a_caption_is_checked_once_and_who_has_problems_is_told(store: Store, storyboard: Task) -> None:
    current = CurrentRows(store, storyboard, ESTIMATE)
    (good, bad, *_) = store.items(Grid, "grids")
    poor = text(7, storyboard).replace("a man does y here", "y")
    keep, leave = Review(good.id, "keep", text=text(8, storyboard)), Review(bad.id, None, text=poor)
    decide(store, *(decisions.line_on(grid, review, [], "page") for grid, review in ((good, keep), (bad, leave))))
    current.update()
    assert (current.left_to_check, current.doubted) == (2, [])
    outline = current.outline(bad.id)
    assert outline and (outline.checked, outline.decision, outline.caption.text) == (False, "unsure", poor)
    assert current.check_some(0)
    assert not current.check_some(0)
    assert (current.left_to_check, current.doubted) == (0, [bad.id])
    checked = current.row(bad.id)
    assert checked and checked.checked and checked.caption.problems
    decide(store, decisions.line_on(bad, replace(leave, decision="drop", note="short"), [], "page"))
    current.update()
    dropped = current.outline(bad.id)
    assert dropped and (dropped.decision, dropped.caption) == ("drop", checked.caption)
    assert (current.left_to_check, current.doubted) == (0, [bad.id])  # the text is the same
    decide(store, decisions.line_on(bad, Review(bad.id, None), [], "page"))
    current.update()
    first = current.outline(bad.id)
    assert first and first.checked and first.caption in store.items(Caption, "captions")


def test_lines_that_are_written_are_not_read_again(store: Store, storyboard: Task) -> None:
    current, file = CurrentRows(store, storyboard, ESTIMATE), store.folder / decisions.FILE
    grids = store.items(Grid, "grids")
    lines = [decisions.line_on(grid, Review(grid.id, "drop", "why"), [], "page") for grid in grids]
    decide(store, lines[0])
    current.update()
    with decisions.deciding(store.folder):
        current.write(lines[1:], b"".join(map(decisions.written, lines[1:])))
    journal = Journal(store.folder)
    assert journal.read_on()[1] == tuple(lines)
    assert all(current.counts(line) for line in lines)
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"why"', b'"who"'))
    os.utime(file, ns=(0, 0))
    current.update()
    assert {row.review.note for row in current.riskiest_first() if row.review} == {"who"}
    assert not any(current.counts(line) for line in lines)


def test_a_line_behind_one_that_was_cut_off_is_read_from_the_file(store: Store, storyboard: Task) -> None:
    current, file = CurrentRows(store, storyboard, ESTIMATE), store.folder / decisions.FILE
    (grid, *_) = store.items(Grid, "grids")
    file.write_bytes(b'{"at": "now", "who": "page", "gri')
    current.update()
    line = decisions.line_on(grid, Review(grid.id, "drop", "why"), [], "page")
    with decisions.deciding(store.folder):
        current.update()
        current.write([line], decisions.written(line))
    current.update()
    row = current.row(grid.id)
    assert row and row.decision == "drop"


def test_reading_tells_how_many_rows_are_made(store: Store, storyboard: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.review.current.TOLD", 2)
    told: list[tuple[str, int, int]] = []
    rows, count = CurrentRows(store, storyboard, ESTIMATE), store.count("grids")
    rows.update(lambda *words: told.append(words))
    assert told == [("rows", done, count) for done in range(2, count + 1, 2)]
    rows.update(lambda *words: told.append(words))
    assert len(told) == count // 2  # nothing is read twice


def test_a_table_that_another_process_changes_is_read_again(store: Store, storyboard: Task) -> None:
    current = CurrentRows(store, storyboard, ESTIMATE)
    assert current.update()
    assert not current.update()
    with Store(store.folder) as other:
        (first, *_) = other.items(Caption, "captions")
        anew = Caption(**{**vars_of(first), "grid": first.grid, "text": text(8, storyboard)})  # type: ignore[arg-type]
        other.add("some", "captions", [anew], [], 0)
    assert current.update()
    assert [row.caption.text for row in current.riskiest_first() if row.id == first.grid] == [anew.text]


def lines(found: tuple[bool, object]) -> tuple[bool, list[str]]:
    anew, some = found
    return anew, [line.who for line in some]  # type: ignore[attr-defined]


def said(who: str) -> Line:
    return Line("now", who, "g-1", review=Review("g-1", "keep"))


def test_a_journal_gives_each_line_once(store: Store) -> None:
    journal = Journal(store.folder)
    assert lines(journal.read_on()) == (False, [])
    decide(store, said("one"), said("two"))
    assert lines(journal.read_on()) == (True, ["one", "two"])
    decide(store, said("three"))
    assert lines(journal.read_on()) == (False, ["three"])
    assert lines(journal.read_on()) == (False, [])


def test_a_journal_that_was_not_appended_to_but_changed_is_read_from_its_start(store: Store) -> None:
    journal, file = Journal(store.folder), store.folder / decisions.FILE
    decide(store, said("one"), said("two"))
    journal.read_on()
    edits = (b'"one"', b'"six"'), (b'"six"', b'"seven"')  # as long as before, and longer
    for was, becomes in edits:
        content = file.read_bytes().replace(was, becomes)
        file.write_bytes(content)
        os.utime(file, ns=(0, 0))
        assert lines(journal.read_on()) == (True, [becomes.decode().strip('"'), "two"])
    decide(store, said("three"))
    file.write_bytes(file.read_bytes() + b'{"at": "now", "who": "four", ')
    assert lines(journal.read_on()) == (False, ["three"])  # half a line is none
    file.write_bytes(file.read_bytes() + b'"grid": "g-1", "decided": null}\n')
    assert lines(journal.read_on()) == (True, ["seven", "two", "three", "four"])
    file.unlink()
    assert lines(journal.read_on()) == (True, [])


def test_borderline_rows_are_the_tenth_that_passed_most_narrowly() -> None:
    def row(number: int) -> Row:
        grid = Grid(f"g-{number:02}", Group("s", "storyboard", (), "", 1), LAYOUT, "")
        score = Score("text 1", number / 100, 0.0, True, "")
        return Row(grid, Caption("", "", "", (), grid=grid.id), (score,) if number < 90 else ())

    rows = [row(number) for number in random.Random(0).sample(range(95), 95)]
    near = risk.Borderline(rows)
    assert sorted(one.id for one in rows if one.id in near) == [f"g-{number:02}" for number in range(9)]
    for number in range(5):
        near.discard(f"g-{number:02}")
    near.discard("g-94")
    assert sorted(one.id for one in rows if one.id in near) == [f"g-{number:02}" for number in range(5, 14)]
