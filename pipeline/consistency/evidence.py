"""Similarity measures built from what is known of a run's panels, and which of them apply to which kind of tie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.consistency.likeness import ByVector, ByWords, Likeness, UnitBytes, content_words
from pipeline.records import Caption, Parts, Record, Tie
from pipeline.rows import Rows
from pipeline.task import Task
from pipeline.text import corrections, grammar

MEASURES: Mapping[str, tuple[str, ...]] = {
    "people": ("pictures", "colours", "texts", "people", "words"),
    "subject": ("pictures", "colours", "texts", "words"),
    "place": ("pictures", "colours", "texts", "words"),
    "style": ("pictures", "colours", "texts"),
    "change": ("pictures", "texts", "people", "words"),  # an effect may change all colours
}
"""The measures that detect each kind of tie."""
ADJACENT_SHOT = 0.25
"""Log-odds in favour of a panel whose shot is adjacent to another of its group, since an editor put them together: few
shots of a film are strangers to their neighbours, whereas any picture of a folder may be."""
CALLED_STRANGER = -0.5
"""Log-odds for a panel that the captioner calls a stranger, unless its own texts contradict it."""


def from_pictures(task: Task, records: Sequence[Record], pictures: Rows | None) -> dict[str, ByVector]:
    """The measures that need pictures only.

    Args:
        records: the panels of all groups in order.
        pictures: the scorer's vectors, one row per panel; without a scorer, colours are used instead.
    """
    wanted = _wanted(task)
    found: dict[str, ByVector] = {}
    if pictures is not None:
        found["pictures"] = ByVector(pictures)
    if "colours" in wanted or pictures is None:
        found["colours"] = ByVector(UnitBytes(histograms(records)))
    return found


def from_captions(task: Task, captions: Sequence[Caption], texts: np.ndarray | None) -> dict[str, Likeness]:
    """The measures that need captions.

    Args:
        texts: the scorer's vectors of the panel texts, one row per panel of all grids; NaN for a panel without a text.
    """
    wanted, found = _wanted(task), dict[str, Likeness]()
    if texts is not None:
        found["texts"] = ByVector(texts)
    if "people" in wanted and task.caption.people:
        found["people"] = ByWords([looks for caption in captions for looks in looks_of(caption)])
    if "words" in wanted:
        tying = tying_words(captions)
        texts_of = [bare_texts(caption) for caption in captions]
        found["words"] = ByWords([[text] if text else [] for some in texts_of for text in some], tying)
    return found


def tying_words(captions: Sequence[Caption]) -> set[str] | None:
    """Words with which the captioner describes ties anywhere in the run, such as places and things.

    None if it describes no ties: then every word counts.
    """
    ties = [tie.what for caption in captions if caption.parts for tie in caption.parts.ties]
    return {word for what in ties for word in content_words(what)} or None


def _wanted(task: Task) -> set[str]:
    return {measure for tie in task.group.ties for measure in MEASURES[tie]}


def histograms(records: Sequence[Record]) -> np.ndarray:
    """Colour histograms as bytes, records x bins."""
    found = np.empty((len(records), len(records[0].histogram) // 2 if records else 0), np.uint8)
    for row, record in enumerate(records):
        found[row] = np.frombuffer(bytes.fromhex(record.histogram), np.uint8)
    return found


def looks_of(caption: Caption) -> list[list[str]]:
    """Per panel, what the people in it look like; unknown, so empty, for a caption that came as plain text."""
    if caption.parts is None:
        return [[] for _ in caption.panels]
    known = {person.name: person.looks for person in caption.parts.people}
    return [
        [looks for one in panel.people if (looks := one.looks or known.get(one.name, ""))]
        for panel in caption.parts.panels
    ]


def bare_texts(caption: Caption) -> Sequence[str]:
    """Per panel, its text without looks."""
    return [panel.text for panel in caption.parts.panels] if caption.parts else caption.panels


def nearness(panels: Sequence[Record], groups: np.ndarray) -> np.ndarray:
    """Per panel, 1 / distance in shots to the nearest panel of its group in the same film; 0 for other pictures.

    Distance in seconds tells no more than in shots, and dates are of publication as often as of taking (LOG.md).

    Args:
        groups: indices of panels, groups x panels.
    """
    films: dict[tuple[str, str], int] = {}
    places = [one.position for one in panels]
    numbers = [films.setdefault((one.film, one.folder), len(films)) if one.film else -1 for one in places]
    film, shot = np.array(numbers)[groups], np.array([one.shot for one in places], float)[groups]
    others = (film[:, :, None] == film[:, None]) & (film[:, :, None] >= 0) & ~np.eye(film.shape[1], dtype=bool)
    gaps = np.where(others, np.abs(shot[:, :, None] - shot[:, None]), np.inf).min(axis=2)
    found: np.ndarray = 1 / np.maximum(gaps, 1)
    return found


def people_in(parts: Parts) -> list[set[str]]:
    """Per panel, the names of the people in it: those that a person says, else those in its text or its list."""
    return [
        {*corrections.shown_in(parts, number)}
        | (set() if corrections.is_said(parts, number) else {one.name for one in panel.people})
        for number, panel in enumerate(parts.panels)
    ]


def called_strangers(parts: Parts | None) -> tuple[int, ...]:
    """Panels, from 0, that a person calls strangers; where no person has said which are, those that the captioner calls
    strangers and that share no person with another panel."""
    if parts is None:
        return ()
    named = tuple(range(len(parts.panels))) if parts.unrelated else parts.strangers
    if settled(parts):
        return named
    people = people_in(parts)
    return tuple(
        panel
        for panel in named
        if not people[panel] & set().union(*(others for place, others in enumerate(people) if place != panel))
    )


def settled(parts: Parts | None) -> bool:
    """Whether a person has said which panels belong."""
    return bool(parts and parts.corrections and parts.corrections.strangers is not None)


def untold(tie: Tie, parts: Parts) -> tuple[int, ...]:
    """Panels, from 0, in which the captioner sees a tie, but whose texts have no word of it and nobody that it names.

    None if no text tells of it: it may be a style, or be told in other words.
    """
    words, names = content_words(tie.what), set(grammar.people(tie.what))
    people = people_in(parts)

    def tells(panel: int) -> bool:
        text = parts.panels[panel].text
        # Where words are not separated, as in Chinese, they can't be compared.
        return bool(names & people[panel] or words & content_words(text)) or " " not in text

    found = tuple(panel for panel in tie.panels if not tells(panel))
    return found if len(found) < len(tie.panels) else ()
