"""What a reviewer is told of a row beside its texts and scores: who says what of its ties, and notes on pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.consistency import evidence
from pipeline.consistency.verdict import BELONGS
from pipeline.pixels.subject import CROPPED
from pipeline.records import Corrections, Parts, Row, Score, Tie
from pipeline.review.ties import shown_cell, strangers_cell, ties_cell
from pipeline.text.corrections import shown_in
from pipeline.wording import numbered


def captioners_word(parts: Parts | None) -> str:
    """What ties the panels, and which of them do not belong, according to the captioner, and where its own texts say
    otherwise; empty if it says neither. What a person has said in its place is left to `persons_word`."""
    if parts is None:
        return ""
    corrections = parts.corrections or Corrections()
    said = []
    for tie in parts.ties if corrections.ties is None else ():
        untold = evidence.untold(tie, parts)
        doubt = f" (not in the text of {_panels(untold)})" if untold else ""
        said.append(f"{_seen(tie)}{doubt}")
    if parts.strangers and corrections.strangers is None:
        known = sorted({*parts.strangers}.difference(evidence.called_strangers(parts)))
        doubt = f" (but somebody in {_panels(known)} is in another panel too)" if known else ""
        said.append(f"{_apart(parts.strangers)}{doubt}")
    if parts.unrelated and corrections.strangers is None:
        said.append(f"no panels belong together: {parts.unrelated}")
    return "; ".join(said)


def persons_word(parts: Parts | None) -> str:
    """What a person says of the same, and of who is in which panel; empty if they leave it to the captioner."""
    if parts is None or parts.corrections is None:
        return ""
    ties, strangers, shown = parts.corrections.ties, parts.corrections.strangers, parts.corrections.shown
    said = [] if ties is None else [_seen(tie) for tie in parts.ties] or ["the panels have no ties"]
    if strangers is not None:
        apart = "no panels belong together" if parts.unrelated else _apart(strangers) if strangers else ""
        said.append(apart or "all panels belong")
    for panel, people in enumerate(shown):
        if people is not None:
            names = [f"<{name}>" for name in shown_in(parts, panel)]
            said.append(f"panel {panel + 1} shows {' and '.join(names) or 'nobody who is named'}")
    return "; ".join(said)


def strangers_of(parts: Parts | None, scores: Iterable[Score]) -> tuple[int, ...]:
    """The panels, from 0, that do not belong: by a person's word, else by the captioner's or by their scores."""
    if parts is None:
        return ()
    everywhere = range(len(parts.panels))
    if parts.unrelated:
        return tuple(everywhere)
    if evidence.settled(parts):
        return parts.strangers
    failed = {score.name for score in scores if not score.passed}
    return tuple(panel for panel in everywhere if panel in parts.strangers or f"{BELONGS} {panel + 1}" in failed)


def in_cells(parts: Parts | None, scores: Iterable[Score]) -> dict[str, str]:
    """What is said of ties, strangers and who is in which panel, each on one line; empty for a plain text."""
    if parts is None:
        return dict.fromkeys(("ties", "strangers", "shown"), "")
    return {
        "ties": ties_cell(parts.ties),
        "strangers": strangers_cell(strangers_of(parts, scores), len(parts.panels)),
        "shown": shown_cell(parts),
    }


def _seen(tie: Tie) -> str:
    return f"{tie.what} in panels {numbered(tie.panels)}"


def _apart(strangers: Sequence[int]) -> str:
    return f"{_panels(strangers)} {'do' if len(strangers) > 1 else 'does'} not belong"


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
    return f"panel{'s' if len(panels) > 1 else ''} {numbered(panels)}"
