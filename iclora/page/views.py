"""Rows as they are sent to the browser: plain values, with texts split into pieces by panel."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from iclora.page.session import ReviewSession, base_of
from pipeline.consistency import thresholds
from pipeline.consistency.thresholds import NO_LIMIT
from pipeline.records import Caption, Row, Score
from pipeline.review import reviews, risk
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.markers import inside, spans

BORDER = 0.1
"""Share of the passing rows that count as borderline: those closest to their thresholds on any scorer's scale."""


def state(session: ReviewSession) -> dict[str, Any]:
    """Everything that the page shows when it is loaded."""
    rows, machine = session.rows(), session.captions()
    layout = session.task.grid_layout
    near = borderline(rows)
    return {
        "title": session.task.title,
        "markers": session.task.markers,
        "canvas": layout.canvas,
        "boxes": layout.boxes,
        "skeleton": grammar.skeleton(session.task),
        "rows": [row_of(row, machine, session.task, near) for row in rows],
    }


def one(session: ReviewSession, grid: str) -> dict[str, Any]:
    """The current state of one row."""
    rows = session.rows()
    row = next(row for row in rows if row.id == grid)
    return row_of(row, session.captions(), session.task, borderline(rows))


def borderline(rows: Sequence[Row]) -> set[str]:
    """Ids of the rows that passed all thresholds, but at least one of them only narrowly."""
    margins = {row.id: risk.margin(row) for row in rows if not row.reasons}
    measured = sorted((margin, grid) for grid, margin in margins.items() if 0 <= margin < math.inf)
    return {grid for _, grid in measured[: math.ceil(BORDER * len(measured))]}


def row_of(row: Row, machine: Mapping[str, Caption], task: Task, near: set[str]) -> dict[str, Any]:
    ours = machine.get(row.id)
    human = bool(row.review and (row.review.text or row.review.panels))
    return {
        "id": row.id,
        "base": base_of(row),
        "decision": row.decision,
        "by": "person" if row.decided else "toolkit",
        "note": row.review.note if row.review else "",
        "formed": row.grid.group.formed,
        "reasons": row.reasons,
        "picture": row.grid.path,  # a different path is a different image
        "panels": [panel.source for panel in row.grid.group.records],
        **text_of(row.caption, task),
        "scores": scores_of(row.scores),
        "people": people_of(row.caption),
        "word": reviews.captioners_word(row.caption.parts),
        "notes": reviews.picture_notes(row),
        "machine": compared(ours, row.caption.text) if human and ours and ours.text else None,
        "filters": [
            name
            for name, yes in (
                ("rejected", bool(row.reasons)),
                ("borderline", row.id in near),
                ("problems", bool(row.caption.problems)),
                ("undecided", not row.decided or row.decision == "unsure"),
            )
            if yes
        ],
    }


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


def compared(caption: Caption, other: str) -> dict[str, Any]:
    """A caption compared with another text word by word: pieces in both, and pieces only in the caption."""
    a, b = (re.findall(r"\s*\S+", each) for each in (caption.text, other))
    matcher = difflib.SequenceMatcher(a=[word.strip() for word in a], b=[word.strip() for word in b], autojunk=False)
    parts = [
        {"kind": "same" if kind == "equal" else "new", "text": "".join(a[start:end])}
        for kind, start, end, _, _ in matcher.get_opcodes()
        if end > start
    ]
    return {"text": caption.text, "pieces": parts, "people": people_of(caption)}


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
