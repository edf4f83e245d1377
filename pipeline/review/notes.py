"""What a reviewer is told of a row beside its texts and scores: the captioner's word, and notes on its pictures."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.consistency import evidence
from pipeline.pixels.subject import CROPPED
from pipeline.records import Parts, Row


def captioners_word(parts: Parts | None) -> str:
    """What ties the panels, and which of them do not belong, according to the captioner, and where its own texts say
    otherwise; empty if it says neither."""
    if parts is None:
        return ""
    said = []
    for tie in parts.ties:
        untold = evidence.untold(tie, parts)
        doubt = f" (not in the text of {_panels(untold)})" if untold else ""
        said.append(f"{tie.what} in panels {_numbers(tie.panels)}{doubt}")
    if parts.strangers:
        many = len(parts.strangers) > 1
        known = sorted({*parts.strangers}.difference(evidence.called_strangers(parts)))
        doubt = f" (but somebody in {_panels(known)} is in another panel too)" if known else ""
        said.append(f"{_panels(parts.strangers)} {'do' if many else 'does'} not belong{doubt}")
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
        said.append(f"{note} ({_panels(those) if len(those) < len(records) else 'all panels'})")
    return "; ".join(said)


def _panels(panels: Sequence[int]) -> str:
    return f"panel{'s' if len(panels) > 1 else ''} {_numbers(panels)}"


def _numbers(panels: Sequence[int]) -> str:
    *rest, last = (str(panel + 1) for panel in panels)
    return f"{', '.join(rest)} and {last}" if rest else last
