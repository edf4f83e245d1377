"""What a reviewer is told of a row beside its texts and scores: the captioner's word, and notes on its pictures."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.pixels.subject import CROPPED
from pipeline.records import Parts, Row


def captioners_word(parts: Parts | None) -> str:
    """What ties the panels, and which of them do not belong, according to the captioner; empty if it says neither."""
    if parts is None:
        return ""
    said = [f"{tie.what} in panels {_numbers(tie.panels)}" for tie in parts.ties]
    if parts.strangers:
        many = len(parts.strangers) > 1
        said.append(f"panel{'s' if many else ''} {_numbers(parts.strangers)} {'do' if many else 'does'} not belong")
    if parts.unrelated:
        said.append(f"no panels belong together: {parts.unrelated}")
    return "; ".join(said)


def picture_notes(row: Row) -> str:
    """What a person should know of a grid's pictures, such as that they show burnt-in text; empty if nothing."""
    records = row.grid.group.records
    panels: dict[str, list[int]] = {}
    for panel, record in enumerate(records):
        chosen = row.grid.crops and row.grid.crops[panel]
        notes = [note for note in record.notes if not (chosen and note.startswith(CROPPED))]
        for note in [*notes, *([f"{CROPPED} by a person"] if chosen else [])]:
            panels.setdefault(note, []).append(panel)
    said = []
    for note, those in sorted(panels.items(), key=lambda one: len(one[1])):
        where = f"panel{'s' if len(those) > 1 else ''} {_numbers(those)}" if len(those) < len(records) else "all panels"
        said.append(f"{note} ({where})")
    return "; ".join(said)


def _numbers(panels: Sequence[int]) -> str:
    *rest, last = (str(panel + 1) for panel in panels)
    return f"{', '.join(rest)} and {last}" if rest else last
