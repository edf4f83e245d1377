"""A person's decisions as a table: `captions.csv`, written and read back.

Only decision, caption, summary, panel texts, people, ties, strangers and note are read back, by id, whatever the order
of the rows and whatever columns were added. Each row carries hashes of the texts that it was written with, which show
what was edited: a cell left alone undoes nothing that was decided elsewhere since, and an edit of something that has
changed since is in doubt. Nothing is applied while any row is in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.records import Corrections, Person, Row, spelt_hash
from pipeline.review import notes, reviewers, reviews, spreadsheet, ties
from pipeline.review.people import people_cell, people_in, redescribed, with_looks
from pipeline.review.reviews import Change
from pipeline.review.risk import riskiest_first
from pipeline.review.texts import with_panels
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.counters import TokenCounter
from pipeline.text.markers import CONTROL

DECIDED_BY = "decided by"
"""The column that says who decided what; not read back."""
SHORT = 6  # letters of a cell's hash: the chance that two texts agree in it is 1 in 64 million


# ---- out


def write_csv(found: Sequence[Row], task: Task, path: Path) -> None:
    """One row per grid, the riskiest first: what a reviewer edits, what helps to decide, and what only we read."""
    written = columns(found, task)
    entries = (guarded(entry, task) for entry in list_entries(found, task))
    spreadsheet.write(path, written, [[entry[name] for name in written] for entry in entries])


def columns(found: Sequence[Row], task: Task) -> list[str]:
    """The table's columns; the names of the scores depend on the rows."""
    scores = _score_columns(found, task).values()
    return ["id", *edited_columns(task), DECIDED_BY, "problems", *scores, "picture", "base"]


def list_entries(found: Sequence[Row], task: Task) -> list[dict[str, str]]:
    """The table's rows by column, as they are before they are guarded against spreadsheets."""
    scores = _score_columns(found, task)
    return [_entry(row, scores, task) for row in riskiest_first(found)]


def guarded(entry: Mapping[str, str], task: Task) -> dict[str, str]:
    """A row whose texts a spreadsheet leaves alone."""
    texts = {*edited_columns(task), DECIDED_BY, "problems"} - {"decision"}
    return {name: spreadsheet.guard(text) if name in texts else text for name, text in entry.items()}


def _score_columns(found: Sequence[Row], task: Task) -> dict[str, str]:
    """By score, its column: `summary` is the summary's text, so how well it fits is in `summary score`."""
    edited = edited_columns(task)
    names = dict.fromkeys(score.name for row in found for score in row.scores)
    return {name: f"{name} score" if name in edited else name for name in names}


def _entry(row: Row, scores: Mapping[str, str], task: Task) -> dict[str, str]:
    values = {score.name: f"{score.value:.4f}" for score in row.scores}
    return {
        "id": row.id,
        **_seen(row, task),
        DECIDED_BY: reviewers.cell(row.words),
        "problems": grammar.fold("; ".join((*row.reasons, *row.caption.problems))),
        **{column: values.get(name, "") for name, column in scores.items()},
        "picture": row.grid.path,
        "base": base(row, task),
    }


def edited_columns(task: Task) -> list[str]:
    """The columns that a reviewer may edit."""
    panels = [f"panel_{number}" for number in range(1, len(task.markers) + 1)]
    return ["decision", "caption", "summary", *panels, "people", "ties", "strangers", "note"]


def _seen(row: Row, task: Task) -> dict[str, str]:
    """The cells of a row that a person may edit, by column. An empty caption is shown as what one starts from."""
    caption = row.caption if row.caption.text else grammar.parse(grammar.skeleton(task), task)
    told = notes.in_cells(row.caption.parts, row.scores)
    return {
        "decision": row.decision,
        "caption": caption.text,
        "summary": caption.summary,
        **{f"panel_{number}": text for number, text in enumerate(caption.panels, start=1)},
        "people": grammar.fold(people_cell(row.caption.parts)),
        "ties": told["ties"],
        "strangers": told["strangers"],
        "note": grammar.fold(row.review.note if row.review else ""),
    }


def base(row: Row, task: Task) -> str:
    """Hashes of the cells that may be edited, in their order, and of the pictures that they describe."""
    pictures = " ".join(record.id for record in row.grid.group.records)
    return "b-" + "".join(map(_hash, (*_seen(row, task).values(), pictures)))


def _hash(text: str) -> str:
    return spelt_hash(text, SHORT)


# ---- in


def read_csv(path: Path, found: Sequence[Row], task: Task, counter: TokenCounter, reviewer: str = "") -> list[Change]:
    """What a person has changed in the table that the run does not have yet.

    Args:
        reviewer: their name; empty if they gave none.

    Raises:
        BadInput: the file can't be read as a table, or rows are in doubt; every doubt names its row and column.
    """
    return find_changes(_lines(path, task), str(path), found, task, counter, reviewer)


def find_changes(
    lines: Sequence[spreadsheet.Line],
    source: str,
    found: Sequence[Row],
    task: Task,
    counter: TokenCounter,
    reviewer: str = "",
) -> list[Change]:
    """What is changed in the lines of a table, of which errors speak as `source`.

    Raises:
        BadInput: rows are in doubt; every doubt is named with row and column.
    """
    by_id = {row.id: row for row in found}
    doubts: list[str] = []
    changes: list[Change] = []
    met: dict[str, int] = {}
    for line in lines:
        name = line.cells.get("id", "").strip()
        row = by_id.get(name)
        if line.fault:
            doubts.append(f"row {line.number}: {line.fault}")
        elif row is None:
            doubts.append(f"row {line.number}, id: '{name}' is not a grid of this run")
        elif first := met.get(name):
            doubts.append(f"row {line.number}, id: {name} is in row {first} already")
        else:
            met[name] = line.number
            change, faults = _change(row, line.cells, task, counter, reviewer)
            doubts += [f"row {line.number}, {doubt}" for doubt in faults]
            changes += [change] if change else []
    if missing := [name for name in by_id if name not in met]:
        doubts.append(f"there is no row for {', '.join(missing)}")
    if doubts:
        raise BadInput("\n  ".join([f"nothing was applied from {source}; in doubt are:", *doubts]))
    return changes


def has_edits(path: Path, found: Sequence[Row], task: Task) -> bool:
    """Whether a table has edits that the run does not have yet; true also if there is no telling."""
    by_id = {row.id: _seen(row, task) for row in found}
    try:
        lines = _lines(path, task)
    except BadInput:
        return True
    for line in lines:
        edited = _edited(line.cells, task) if not line.fault else None
        seen = by_id.get(line.cells.get("id", "").strip(), {})
        if edited is None or any(seen.get(name) != text for name, text in edited.items()):
            return True
    return False


def _lines(path: Path, task: Task) -> list[spreadsheet.Line]:
    return spreadsheet.read(path, ["id", *edited_columns(task), "base"])


def _edited(cells: Mapping[str, str], task: Task) -> dict[str, str] | None:
    """The cells that are not as they were written; None if the row's base is damaged."""
    hashes = _hashes(cells, task)
    if hashes is None:
        return None
    texts = {name: _read(name, cells[name], len(task.markers)) for name in edited_columns(task)}
    changed = {name: text for name, text in texts.items() if _hash(text) != hashes[name]}
    return {
        name: text for name, text in changed.items() if text or name != "decision"
    }  # an emptied decision says nothing


def _hashes(cells: Mapping[str, str], task: Task) -> dict[str, str] | None:
    """What a row's base says of every cell that may be edited, and of the pictures; None where it is damaged."""
    columns = [*edited_columns(task), "picture"]
    stored = cells["base"].strip().removeprefix("b-")
    if len(stored) != SHORT * len(columns):
        return None
    return {name: stored[SHORT * place : SHORT * (place + 1)] for place, name in enumerate(columns)}


def _read(name: str, cell: str, count: int) -> str:
    """A cell as it was before it was guarded; line breaks that a person typed become spaces.

    Args:
        count: of a grid's panels.
    """
    if name == "decision":
        return cell.strip().casefold()
    text = spreadsheet.unguard(grammar.fold(cell))
    with suppress(BadInput):  # said when it is applied
        if name == "ties":
            return ties.ties_cell(ties.ties_in(text))
        if name == "strangers":
            return ties.strangers_cell(ties.strangers_in(text, count), count)
    return grammar.clean(text) if name == "summary" or name.startswith("panel_") else text


def _change(
    row: Row, cells: Mapping[str, str], task: Task, counter: TokenCounter, reviewer: str
) -> tuple[Change | None, list[str]]:
    """What a row changes, or what is in doubt about it, each doubt beginning with its column."""
    edited = _edited(cells, task)
    if edited is None:
        return None, [f"base: '{cells['base']}' is not what was written there; edit a freshly written table"]
    seen = _seen(row, task)
    wanted = {name: text for name, text in edited.items() if text != seen[name]}
    if wanted and cells["base"].strip() != base(row, task):
        return None, [
            f"base: the row has changed in the run since this table was written ({_changed(row, cells, task)}), "
            f"so your edit of {', '.join(wanted)} is in doubt; edit a freshly written table"
        ]
    doubts = []
    if "decision" in wanted and wanted["decision"] not in reviews.DECISIONS:
        doubts.append(f"decision: '{cells['decision']}' is not one of {', '.join(reviews.DECISIONS)}")
    for name, text in wanted.items():
        if name != "decision" and (harm := spreadsheet.damage(seen[name], text)):
            doubts.append(f"{name}: {harm}")
        if control := CONTROL.search(text):
            doubts.append(f"{name}: has the control character {control[0]!a}; take it out")
    try:
        words, people = _edit(row, wanted, task)
        decision = next((known for known in reviews.DECISIONS if known == wanted.get("decision")), None)
        note = wanted.get("note")
        change = reviews.change(
            row,
            task,
            counter,
            decision=decision,
            text=words,
            note=note,
            people=people,
            said=_said(wanted, task),
            reviewer=reviewer,
        )
    except BadInput as error:
        doubts.append(str(error))
    return (None, doubts) if doubts else (change, [])


def _changed(row: Row, cells: Mapping[str, str], task: Task) -> str:
    """Names of the columns of a row that have changed in the run since the table was written."""
    now = _hashes({"base": base(row, task)}, task) or {}
    return ", ".join(name for name, stored in (_hashes(cells, task) or {}).items() if now.get(name) != stored)


def _edit(row: Row, wanted: Mapping[str, str], task: Task) -> tuple[str | None, tuple[Person, ...]]:
    """The caption as edited, or None, and the people as edited; texts that describe them describe their new looks."""
    words = _text(row, wanted, task)
    people = redescribed(row, _people(row, wanted["people"])) if "people" in wanted else ()
    if words is None or not people:
        return words, people
    edited = grammar.edited(row.caption, words, task)
    anew = with_looks(edited, people, task)
    renderings = [anew] if "caption" in wanted else [anew, with_looks(edited, (), task)]
    if not any(_says_the_same(words, each, task) for each in renderings):
        other = next(name for name in wanted if name in ("caption", "summary") or name.startswith("panel_"))
        raise BadInput(f"people: differ from the {other}, which was edited too; change only one")
    return anew, people


def _said(wanted: Mapping[str, str], task: Task) -> Corrections | None:
    """What edited cells say of ties and strangers; None if they say nothing of them."""
    if not wanted.keys() & {"ties", "strangers"}:
        return None
    return Corrections(
        ties=ties.ties_in(wanted["ties"]) if "ties" in wanted else None,
        strangers=ties.strangers_in(wanted["strangers"], len(task.markers)) if "strangers" in wanted else None,
    )


def _people(row: Row, cell: str) -> list[Person]:
    """The people of an edited cell.

    Raises:
        BadInput: somebody was left out, or appears twice.
    """
    said = people_in(cell)
    known, there = row.caption.parts.people if row.caption.parts else (), {one.name for one in said}
    if missing := [person.name for person in known if person.name not in there]:
        raise BadInput(f"people: {missing[0]} is left out; describe them, or take <{missing[0]}> out of the caption")
    return said


def _says_the_same(text: str, other: str, task: Task) -> bool:
    one, two = grammar.parse(text, task), grammar.parse(other, task)
    return (one.summary, one.panels) == (two.summary, two.panels)


def _text(row: Row, wanted: Mapping[str, str], task: Task) -> str | None:
    """The caption as edited, as a whole or by summary and panels; both at once only if they agree."""
    panels = {
        panel: wanted[f"panel_{panel + 1}"] for panel in range(len(task.markers)) if f"panel_{panel + 1}" in wanted
    }
    summary = wanted.get("summary")
    if "caption" not in wanted:
        edited = panels or summary is not None
        return with_panels(row, panels, task, summary) if edited else None
    parsed = grammar.parse(wanted["caption"], task)
    if summary is not None and parsed.summary not in (summary, f"{task.opening} {summary}"):
        raise BadInput("summary: differs from the caption, which was edited too; change only one")
    for panel, text in panels.items():
        if parsed.panels[panel] != text:
            raise BadInput(f"panel_{panel + 1}: differs from the caption, which was edited too; change only one")
    return wanted["caption"]
