"""Joint captions as text: render and parse. Only this file, `markers` and `lint` know markers.

    PREFIX summary, MARKER-1 text, MARKER-2 text, ..., MARKER-n text.

One line, every marker once and in order, people as `<Name>`. Published captions put `,` `;` `:` or nothing before a
marker, and one published prompt leaves its second marker out; `parse` reads all of them and never fails, and `lint`
says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipeline import lint
from pipeline.errors import BadReply
from pipeline.markers import BRACKETS, EDGES, NAME, inside, spans, whole
from pipeline.records import Caption
from pipeline.task import Task


def fold(text: str) -> str:
    """One line: every run of white space becomes one space."""
    return " ".join(text.split())


def clean(text: str) -> str:
    """A part as it stands between markers: one line, without the punctuation that joins the parts."""
    return fold(text).strip(EDGES)


def render(summary: str, panels: Iterable[str], names: Iterable[str], task: Task) -> str:
    """The joint caption of a task, on one line.

    Args:
        summary: what the images share; the task's opening is put before it where it lacks it. May be empty, and
            then there is no opening either: it is the beginning of a sentence.
        panels: one text per panel, in panel order.
        names: people that the texts name; each stands there as `<Name>`, bare mentions get their brackets.

    Raises:
        BadReply: the number of texts is not that of the panels, or a text holds a marker or the prefix.
    """
    parts = [_part(text, task) for text in (summary, *panels)]
    if len(parts) != len(task.markers) + 1:
        raise BadReply(f"{task.name} has {len(task.markers)} panels, got {len(parts) - 1} texts.")
    everyone = {*names, *people("\n".join(parts))}
    summary, *texts = (bracket_names(part, everyone) for part in parts)
    if summary and not summary.lower().startswith(task.opening.lower()):
        summary = f"{task.opening} {summary}"
    head = f"{task.prefix} {summary}, " if summary else f"{task.prefix} "
    body = ", ".join(f"{marker} {text}".rstrip() for marker, text in zip(task.markers, texts, strict=True))
    return f"{head}{body}.".lstrip()


def _part(text: str, task: Task) -> str:
    """A text that may stand between markers, cleaned."""
    part = clean(text)
    for marker in task.markers:
        if marker in part:
            raise BadReply(f"a text may not hold the marker {marker}, got '{part[:80]}'.")
    if task.prefix and whole(task.prefix).search(part):
        raise BadReply(f"a text may not hold the prefix {task.prefix}, got '{part[:80]}'.")
    return part


def bracket_names(text: str, names: Iterable[str]) -> str:
    """Puts every bare mention of a name in angle brackets; what stands in brackets already stays.

    Of names that hold one another (`Sora`, `Sora-Li`) the longest counts. What can't stand in brackets is no name.
    """
    known = [name for name in names if NAME.fullmatch(f"<{name}>")]
    if not known:
        return text
    either = rf"{NAME.pattern}|{BRACKETS.pattern}|{whole(*known).pattern}"
    return re.sub(either, lambda found: found[0] if found[0][0] in "<[" else f"<{found[0]}>", text)


def rename(text: str, names: Mapping[str, str]) -> str:
    """Gives the people of a text other names; names that the mapping lacks stay."""
    return NAME.sub(lambda found: f"<{names.get(found[1], found[1])}>", text)


def people(text: str) -> tuple[str, ...]:
    """Names in angle brackets in order of first appearance."""
    return tuple(dict.fromkeys(NAME.findall(text)))


def parse(text: str, task: Task) -> Caption:
    """Reads a joint caption. Never fails: a panel whose marker is missing has an empty text and a problem says so.

    The text stays word for word but for white space, which is folded into single spaces. Where a marker stands twice,
    the first that keeps the order counts.
    """
    text = fold(text)
    found = spans(text, task)
    first = next((start for start, _ in found if start >= 0), len(text))
    head = text[:first]
    prefix = task.prefix if task.prefix and head.startswith(task.prefix) else ""
    caption = Caption(
        text=text,
        prefix=prefix,
        summary=clean(head.removeprefix(prefix)),
        panels=tuple(clean(text[slice(*inside(found, panel, len(text)))]) for panel in range(len(found))),
        names=people(text),
    )
    return replace(caption, problems=lint.faults(caption, task))


def is_joint(text: str, task: Task) -> bool:
    """Whether a text has every marker of the task (or its stand-in) in order."""
    return all(start >= 0 for start, _ in spans(text, task))


def replace_panel(caption: Caption, panel: int, text: str, task: Task) -> str:
    """The caption's text with one panel's part exchanged and every other letter as it was.

    Words that stood in for the marker go with the old part, so the marker itself takes their place.

    Raises:
        BadReply: the panel's marker is not in the text, so there is no place for the new part, or the part holds one.
    """
    found, marker = spans(caption.text, task), task.markers[panel]
    if found[panel][0] < 0:
        raise BadReply(f"the caption has no {marker}, so its panel can't be changed alone.")
    start, end = inside(found, panel, len(caption.text))
    old = caption.text[start:end]
    tail = old[len(old.rstrip(EDGES)) :]
    part = f"{marker} {_part(text, task)}".rstrip()  # no space before the comma of an emptied part
    return fold(f"{caption.text[: found[panel][0]]}{part}{tail}{caption.text[end:]}")
