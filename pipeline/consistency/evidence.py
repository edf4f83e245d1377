"""What is known of the panels of a run, as measures of likeness; which of them count for what ties a task's panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.consistency.likeness import ByVector, ByWords, Likeness, content_words
from pipeline.records import Caption, Parts, Record
from pipeline.task import Task
from pipeline.text import grammar

COUNTS: Mapping[str, tuple[str, ...]] = {
    "people": ("pictures", "colours", "texts", "people", "words"),
    "subject": ("pictures", "colours", "texts", "words"),
    "place": ("pictures", "colours", "texts", "words"),
    "style": ("pictures", "colours", "texts"),
    "change": ("pictures", "texts", "people", "words"),  # an effect may repaint the whole picture
}
"""By kind of tie, the measures by which it shows."""
NEAR = 0.25
"""Log-odds for a panel that is the very next shot to another of its group: an editor has put them together. Few shots
of a film are strangers to their neighbours, of the pictures of a folder any may be."""
WORD = -0.5
"""Log-odds against a panel that the captioner calls a stranger and whose text it does not contradict."""


def seen(task: Task, records: Sequence[Record], pictures: np.ndarray | None) -> dict[str, Likeness]:
    """What pictures alone tell.

    Args:
        records: panel after panel, through all groups.
        pictures: the scorer's vectors, a row a panel; without a scorer colours stand in for them.
    """
    wanted = _wanted(task)
    found: dict[str, Likeness] = {}
    if pictures is not None:
        found["pictures"] = ByVector(pictures)
    if "colours" in wanted or pictures is None:
        found["colours"] = ByVector(histograms(records))
    return found


def told(task: Task, captions: Sequence[Caption], texts: np.ndarray | None) -> dict[str, Likeness]:
    """What captions tell besides.

    Args:
        texts: the scorer's vectors of the panels' texts, a row a panel through all grids; NaN where there is none.
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
    """The words by which the captioner tells anywhere in the run what ties panels, people apart: its places and things.

    None where it tells of no ties at all: then any word may be one.
    """
    ties = [tie.what for caption in captions if caption.parts for tie in caption.parts.ties]
    return {word for what in ties for word in content_words(what)} or None


def _wanted(task: Task) -> set[str]:
    return {measure for tie in task.group.ties for measure in COUNTS[tie]}


def histograms(records: Sequence[Record]) -> np.ndarray:
    return np.array([list(bytes.fromhex(record.histogram)) for record in records], np.float32)


def looks_of(caption: Caption) -> list[list[str]]:
    """By panel, how the people in it look; nothing is known of them where a caption came as one text."""
    if caption.parts is None:
        return [[] for _ in caption.panels]
    known = {person.name: person.looks for person in caption.parts.people}
    return [
        [looks for one in panel.people if (looks := one.looks or known.get(one.name, ""))]
        for panel in caption.parts.panels
    ]


def bare_texts(caption: Caption) -> Sequence[str]:
    """By panel, what its text tells besides looks."""
    return [panel.text for panel in caption.parts.panels] if caption.parts else caption.panels


def nearness(groups: Sequence[Sequence[Record]]) -> np.ndarray:
    """How near in its film each panel stands to another of its group, 1 for the next shot; 0 for other pictures."""
    return np.array([[_nearest(record, group) for record in group] for group in groups])


def _nearest(record: Record, group: Sequence[Record]) -> float:
    here = record.position
    gaps = [
        abs(other.position.shot - here.shot)
        for other in group
        if other is not record
        and here.film
        and (other.position.film, other.position.folder) == (here.film, here.folder)
    ]
    return 1 / max(1, min(gaps)) if gaps else 0.0


def people_in(parts: Parts) -> list[set[str]]:
    """By panel, the names of the people whom its text or its list names."""
    return [{one.name for one in panel.people} | set(grammar.people(panel.text)) for panel in parts.panels]


def called_strangers(caption: Caption) -> tuple[int, ...]:
    """Panels that the captioner finds not to belong, and whose texts bear it out: nobody in them is seen elsewhere."""
    parts = caption.parts
    if parts is None:
        return ()
    named = range(len(parts.panels)) if parts.unrelated else parts.strangers
    people = people_in(parts)
    return tuple(
        panel
        for panel in named
        if not people[panel] & set().union(*(others for place, others in enumerate(people) if place != panel))
    )
