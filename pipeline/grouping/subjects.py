"""What the pictures of one folder show, as far as their names say: `chair_front` and `lamp_front` are two things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.files import natural
from pipeline.grouping import roles
from pipeline.grouping.strategies.base import by_key
from pipeline.records import Record
from pipeline.task import Task

COUNTING = frozenset(
    "img mg dsc dscf dscn dscr pxl mvimg gopr dji wp pano vid mov cam screenshot whatsapp signal".split()  # noqa: SIM905
)
"""First words of names that cameras and phones give to all that they take, with a number that counts on and on."""
OF_CAMERAS = COUNTING | frozenset(
    """scan still untitled download page slide snapshot capture export copy kopie hires final edit edited whats app
    image photo screen shot at am pm""".split()  # noqa: SIM905
)
"""Words of the names that cameras and programs give, which say nothing about the picture."""
COUNTER = 6
"""Digits of a camera's number behind a single letter or none (`P1010042`, `20210401_120305`)."""
LONG = 2
"""A word of the vocabulary of roles must have more letters: a shorter one is rather part of a name."""


@dataclass(frozen=True)
class Name:
    """What a file name says."""

    subject: str
    """The thing that it names; empty if it has only a number, a role, or words of a camera."""
    role: str
    """Words and numbers that tell pictures of one thing apart, such as "front" or "2"; empty if there are none."""
    view: bool
    """Whether the role has a word such as "front", not just a number."""


def read(stem: str) -> Name:
    """What a file name says: `chair_front` names a chair, from the front; `IMG_0012` nothing but a number."""
    words = roles.split_words(stem)
    first, last = 0, len(words)
    while last > first and _tells_apart(words[last - 1]):
        last -= 1
    while first < last and _tells_apart(words[first]):
        first += 1
    apart = [word for word in words[:first] + words[last:] if word.isdecimal() or _is_role(word)]
    subject = [word.casefold() for word in words[first:last]]
    if not subject or all(
        word in OF_CAMERAS or word in roles.vocabulary().noise or word.isdecimal() for word in subject
    ):
        subject = []
    return Name(" ".join(subject), "-".join(apart), any(_is_role(word) for word in apart))


def _tells_apart(word: str) -> bool:
    return word.isdecimal() or _is_role(word) or roles.compact(word) in roles.vocabulary().noise


def _is_role(word: str) -> bool:
    """Whether it is a word for a panel that is long enough not to be part of a name."""
    spelt, known = roles.compact(word), roles.vocabulary()
    return len(spelt) > LONG and spelt in known.scaled and spelt not in known.noise - known.views


def parted(records: Sequence[Record], task: Task) -> dict[str, list[Record]]:
    """The pictures of a folder by the thing that they show; under an empty name if names tell no things apart.

    Things are told apart where the names have views (`chair_front`, `lamp_front`) or name some things more than once
    (`anna 1`, `anna 2`, `bob 1`). In a folder of exactly as many pictures as panels, which somebody put together,
    repeated names count only if the task's panels show the same people: `kitchen 1`, `kitchen 2`, `bath`, `hall` are
    one home.
    """
    names = {record.id: read(record.position.stem) for record in records}
    things = by_key(records, lambda record: names[record.id].subject)
    views = any(name.view and name.subject for name in names.values())
    repeated = any(subject and len(those) > 1 for subject, those in things.items())
    one_set = len(records) == task.grid_layout.size and "people" not in task.group.ties
    if len(things) > 1 and (views or (repeated and not one_set)):
        return things
    return {next(iter(things)) if len(things) == 1 else "": list(records)}


def are_numbered(records: Sequence[Record]) -> bool:
    """Whether the names, or the source itself, put the pictures in an order."""
    return all(
        record.position.order is not None or any(word.isdecimal() for word in roles.split_words(record.position.stem))
        for record in records
    )


def are_counted_by_cameras(records: Sequence[Record]) -> bool:
    """Whether all have the names that cameras give, whose numbers say nothing but when a picture was taken."""
    return all(_is_counted_by_a_camera(record.position.stem) for record in records)


def _is_counted_by_a_camera(stem: str) -> bool:
    first, *others = roles.split_words(stem) or [""]
    number = others[0] if len(first) == 1 and others else first
    return first.casefold() in COUNTING or (number.isdecimal() and len(number) >= COUNTER)


def are_views(records: Sequence[Record]) -> bool:
    """Whether each name has a word for a view or a panel, such as "front"."""
    return all(read(record.position.stem).view for record in records)


def in_order(records: Sequence[Record], task: Task) -> list[Record]:
    """Pictures in the order of the panels that the source or their names say, else in the order of their names."""
    by_name = sorted(records, key=lambda record: (natural(record.position.stem), record.position.shot, record.id))
    if all(record.position.order is not None for record in records):
        return sorted(by_name, key=lambda record: record.position.order or 0.0)
    words = [record.position.panel or read(record.position.stem).role for record in by_name]
    if not any(letter.isalpha() for word in words for letter in word):
        return by_name  # numbers alone, or nothing
    panels = roles.panels_of(words, task)
    if isinstance(panels, dict) and len({panels.get(word) for word in words} - {None}) == len(records):
        return [record for _, record in sorted(zip(map(panels.get, words), by_name, strict=True), key=_panel)]
    return by_name


def _panel(pair: tuple[int | None, Record]) -> int:
    return -1 if pair[0] is None else pair[0]
