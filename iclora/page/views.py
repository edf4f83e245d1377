"""Rows as they are sent to the browser: plain values, with texts split into pieces by panel."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from iclora.page import others
from iclora.page.bulk import Search
from iclora.page.session import ReviewSession
from iclora.page.steps import Step
from pipeline.consistency import evidence, thresholds
from pipeline.consistency.thresholds import NO_LIMIT
from pipeline.records import Caption, Row, Score
from pipeline.review import replacing
from pipeline.review.notes import captioners_word, persons_word, picture_notes, strangers_of
from pipeline.review.reviews import Change
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.markers import inside, spans

AT_ONCE = 500
"""Rows that are told at once at most."""
PREVIEWED, COMPARED = 50, 10
"""Replacements that are shown in full before they are made, and how many of them are compared in one request."""
NUMBERED = re.compile(r"[ \d]+$")
"""What tells scores of one kind apart, at the end of their names."""


def state(session: ReviewSession) -> bytes:
    """What the page shows of all rows when it is loaded, as JSON; `one` has the rest of a row."""
    layout, found, rows = session.task.grid_layout, session.read(), session.rows()
    content = {
        "title": session.task.title,
        "markers": session.task.markers,
        "canvas": layout.canvas,
        "boxes": layout.boxes,
        "skeleton": grammar.skeleton(session.task),
        "prefix": session.task.prefix,
        "scales": scales(rows),
        "shared": others.agreed(rows, session.reviewer),
        "doubted": len(found.doubted),
        "left": found.left_to_check,
        "evaluated": (session.run.evaluation / "evaluation.csv").is_file(),
    }
    text = f'{_json(content)[:-1]}, "rows": [{", ".join(_listed(session, rows))}]}}'
    return text.encode("utf-8", "backslashreplace")


def some(session: ReviewSession, grids: Sequence[str]) -> bytes:
    """The rows of grids as `state` has them, as JSON."""
    return f"[{', '.join(_listed(session, session.outlines(grids)))}]".encode("utf-8", "backslashreplace")


def _listed(session: ReviewSession, rows: Iterable[Row]) -> Iterator[str]:
    """`entries` as JSON, each made anew only when it is another: every list has all rows."""
    places, borderline = session.places(), session.borderline
    for row in rows:
        key = session.shown(row), row.id in borderline, places[row.id]
        known = session.listed.get(row.id)
        if known is None or known[0][0] is not key[0] or known[0][1:] != key[1:]:
            known = session.listed[row.id] = key, _json(_entry(session, row, places[row.id]))
        yield known[1]


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)


def one(session: ReviewSession, grid: str) -> dict[str, Any]:
    """The current state of one row."""
    found, ours = session.row(grid), session.caption(grid)
    row = session.shown(found).row
    human = bool(row.review and (row.review.text or row.review.panels))
    return {
        **_entry(session, found, session.place(grid)),
        "note": row.review.note if row.review else "",
        "words": others.words(row),
        "formed": row.grid.group.formed,
        "reasons": row.reasons,
        "panels": [panel.source for panel in row.grid.group.records],
        "records": [panel.id for panel in row.grid.group.records],
        **text_of(row.caption, session.task),
        "scores": scores_of(row.scores),
        "people": people_of(row.caption),
        "parts": parts_of(row),
        "word": captioners_word(row.caption.parts),
        "corrected": persons_word(row.caption.parts),
        "notes": picture_notes(row),
        "machine": compared(ours, row.caption.text) if human and ours and ours.text else None,
    }


def entries(session: ReviewSession, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows among the others: what filters, orders and the wall need of them."""
    places = session.places()
    return [_entry(session, row, places[row.id]) for row in rows]


def checked(session: ReviewSession, after: int) -> dict[str, Any]:
    """What has come of checking captions: the rows that have problems or another decision now, and how many captions
    are left.

    Args:
        after: how many of the former have been told.
    """
    rows, seen, left = session.found_by_checks(after, AT_ONCE)
    return {"rows": entries(session, rows), "doubted": seen, "left": left}


def changed(session: ReviewSession, step: Step | None, grids: Sequence[str]) -> dict[str, Any]:
    """A step that may be undone, with the rows that have changed as they are now: some of them, and the ids of the
    others."""
    rows = entries(session, session.outlines(grids[:AT_ONCE]))
    return {"rows": rows, "others": grids[AT_ONCE:], "step": step.number if step else None}


def _entry(session: ReviewSession, found: Row, place: int) -> dict[str, Any]:
    """As `entries`, of one row.

    Args:
        place: its grid's position in the run.
    """
    shown = session.shown(found)
    row, grid = shown.row, found.id
    filters = (
        ("rejected", row.reasons),
        ("borderline", grid in session.borderline),
        ("problems", row.caption.problems),
        ("unchecked", not row.checked),
        ("undecided", not shown.settled),
        ("disagree", shown.disagree),
    )
    return {
        "id": grid,
        "base": shown.base,
        "decision": row.decision,
        "by": "person" if row.decided else "toolkit",
        "told": shown.told,
        "waiting": shown.waiting,
        "filters": [name for name, yes in filters if yes],
        "place": place,
        "picture": row.grid.path,  # a different path is a different image
        "worst": worst(row.scores),
    }


def worst(scores: Iterable[Score]) -> dict[str, float]:
    """By kind of score, how far the worst one is on the good side of its limit; below 0 it failed."""
    margins: dict[str, float] = {}
    for score in scores:
        limit = 0.0 if score.threshold == NO_LIMIT else score.threshold
        margin = (limit - score.value) if thresholds.is_ceiling(score.name) else (score.value - limit)
        if math.isfinite(margin):
            kind = NUMBERED.sub("", score.name)
            margins[kind] = round(min(margin, margins.get(kind, math.inf)), 4)
    return margins


def found(session: ReviewSession, text: str) -> list[str]:
    """Ids of the rows whose caption, note or id has the text in it, whatever its case."""
    wanted = grammar.fold(text).casefold()

    def told(found: Row) -> str:
        row = session.shown(found).row
        return f"{row.id}\n{row.caption.text}\n{row.review.note if row.review else ''}"

    return [row.id for row in session.rows() if wanted in told(row).casefold()]


def searched(search: Search, task: Task, known: int) -> dict[str, Any]:
    """How far a search is, with some of the first replacements that it has found.

    Args:
        known: how many of these have been sent before.

    Raises:
        BadInput: nothing can be replaced.
    """
    ended, found = search.is_done, len(search.changes)
    if search.error:
        raise search.error
    most = min(found, PREVIEWED)
    shown = [replacement(change, task) for change in search.changes[known : min(most, known + COMPARED)]]
    progress = {"looked": search.looked, "of": len(search.rows), "found": found}
    return {"number": search.number, **progress, "shown": shown, "done": ended and known + len(shown) >= most}


def replacement(change: Change, task: Task) -> dict[str, Any]:
    """What a change does to a row's texts, word by word, by field."""
    fields = replacing.by_field(change, task).fields
    return {
        "id": change.review.grid,
        "fields": [{"name": name, "pieces": differences(was, becomes)} for name, was, becomes in fields],
    }


def scales(rows: Iterable[Row]) -> dict[str, tuple[float, float]]:
    """By kind of score, the least and the greatest of all values and thresholds, for the bars."""
    found: dict[str, tuple[float, float]] = {}
    for score in (score for row in rows for score in row.scores):
        limit = score.value if score.threshold == NO_LIMIT else score.threshold
        if math.isfinite(score.value) and math.isfinite(limit):
            least, most = found.get(score.name, (math.inf, -math.inf))
            found[score.name] = min(least, score.value, limit), max(most, score.value, limit)
    kinds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, ends in found.items():
        kinds[NUMBERED.sub("", name)].append(ends)
    return {kind: (min(least for least, _ in ends), max(most for _, most in ends)) for kind, ends in kinds.items()}


def text_of(caption: Caption, task: Task, raw: str | None = None) -> dict[str, Any]:
    """A caption with its problems, split into pieces.

    Args:
        raw: the text as it was typed; if given, the pieces are pieces of this text, character for character.
    """
    text = caption.text if raw is None else raw
    return {"text": text, "pieces": pieces(text, task), "problems": caption.problems}


def pieces(text: str, task: Task) -> list[dict[str, Any]]:
    """The text, split at its markers; joined, the pieces give the text again.

    Pieces are sent rather than positions because browsers count characters differently.
    """
    found = spans(text, task)
    head = text[: next((start for start, _ in found if start >= 0), len(text))]
    prefix = task.prefix if task.prefix and head.startswith(task.prefix) else ""
    cut: list[tuple[str, int | None, str]] = [("marker", None, prefix), ("summary", None, head[len(prefix) :])]
    for panel, (start, end) in enumerate(found):
        if start >= 0:
            cut.append(("marker", panel, text[start:end]))
            cut.append(("text", panel, text[slice(*inside(found, panel, len(text)))]))
    return [{"kind": kind, "panel": panel, "text": part} for kind, panel, part in cut if part]


def people_of(caption: Caption) -> list[dict[str, str]]:
    """The people in a grid; empty if the caption came as a single text."""
    return [asdict(person) for person in caption.parts.people] if caption.parts else []


def parts_of(row: Row) -> dict[str, Any] | None:
    """What ties the panels of a row, which do not belong, and who is in which; None if the caption is plain text.

    Panels are counted from 0.
    """
    parts = row.caption.parts
    if parts is None:
        return None
    looks = [{one.name: one.looks for one in reversed(panel.people)} for panel in parts.panels]
    return {
        "ties": [asdict(tie) for tie in parts.ties],
        "strangers": strangers_of(parts, row.scores),
        "shown": [
            [
                {"name": person.name, "looks": seen.get(person.name, "")}
                for person in parts.people
                if person.name in there
            ]
            for seen, there in zip(looks, evidence.people_in(parts), strict=True)
        ],
    }


def compared(caption: Caption, other: str) -> dict[str, Any]:
    """A caption compared with another text word by word: pieces in both, and pieces only in the caption."""
    parts = [piece for piece in differences(other, caption.text) if piece["kind"] != "old"]
    return {"text": caption.text, "pieces": parts, "people": people_of(caption)}


def differences(was: str, becomes: str) -> list[dict[str, str]]:
    """Two texts compared word by word: pieces of both that are the `same`, `old` ones and `new` ones."""
    a, b = (re.findall(r"\s*\S+", each) for each in (was, becomes))
    matcher = difflib.SequenceMatcher(a=[word.strip() for word in a], b=[word.strip() for word in b], autojunk=False)
    parts = []
    for kind, start, end, begin, stop in matcher.get_opcodes():
        if kind == "equal":
            parts.append({"kind": "same", "text": "".join(b[begin:stop])})
        else:
            parts += [{"kind": "old", "text": "".join(a[start:end])}, {"kind": "new", "text": "".join(b[begin:stop])}]
    return [part for part in parts if part["text"]]


def scores_of(scores: Sequence[Score]) -> list[dict[str, Any]]:
    return [
        {
            "name": score.name,
            "value": _finite(score.value),
            "threshold": None if score.threshold == NO_LIMIT else _finite(score.threshold),
            "ceiling": thresholds.is_ceiling(score.name),
            "passed": score.passed,
            "reason": score.reason,
        }
        for score in scores
    ]


def offers(session: ReviewSession, grid: str, panel: int) -> list[dict[str, Any]]:
    """Images that may take a panel's place."""
    found = session.offers(session.row(grid), panel)
    return [{"id": offer.record.id, "name": offer.record.position.stem, "used": offer.used} for offer in found]


def _finite(value: float) -> float | None:
    """The value, or None if it is infinite or not a number, for which JSON has no notation."""
    return value if math.isfinite(value) else None
