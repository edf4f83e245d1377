"""Joint captions as text: render, parse, lint. The only place that knows markers.

    PREFIX summary, MARKER-1 text, MARKER-2 text, ..., MARKER-n text.

One line, every marker once and in order, people as `<Name>`. Published captions put `,` `;` `:` or nothing before a
marker, and one published prompt leaves its second marker out; `parse` reads all of them and never fails, `lint` says
what is wrong.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipeline.errors import BadReply
from pipeline.records import Caption
from pipeline.task import Task

NAME = re.compile(r"<([^<>\[\]\n]{1,40})>")
BRACKETS = re.compile(r"\[[^\[\]\n]{1,40}\]")
EDGES = " \t\r\n,;:."

# Openings of answers that talk to the user or about the picture instead of describing what is in it.
BOILERPLATE = re.compile(
    r"\b(i['\u2019]?m sorry|i am sorry|i (?:can(?:no|['\u2019])t|am unable)|as an ai"
    r"|here(?:'s| is) (?:the|a|your)\b.{0,30}\bcaption|the image shows|this image shows|in this image, i)\b",
    re.IGNORECASE,
)
# Phrases that lean on another panel: the text of a panel must be true of that panel read alone.
RELATIVE = re.compile(
    r"\b(as before|same as (?:above|before)|another (?:side|angle|view) of|previous (?:panel|image|scene))\b", re.I
)
NEAR_IDENTICAL = 0.95  # ratio of difflib over words: texts that differ in one word of twenty or less


def fold(text: str) -> str:
    """One line: every run of white space becomes one space."""
    return " ".join(text.split())


def clean(text: str) -> str:
    """A part as it stands between markers: one line, without the punctuation that joins the parts."""
    return fold(text).strip(EDGES)


def render(summary: str, panels: Iterable[str], names: Iterable[str], task: Task) -> str:
    """The joint caption of a task, on one line.

    Args:
        summary: what the images share; the task's opening is put before it where it lacks it.
        panels: one text per panel, in panel order.
        names: people that the texts name; each stands there as `<Name>`, bare mentions get their brackets.

    Raises:
        BadReply: the number of texts is not that of the panels, or a text holds a marker or the prefix.
    """
    texts = [clean(text) for text in panels]
    if len(texts) != len(task.markers):
        raise BadReply(f"{task.name} has {len(task.markers)} panels, got {len(texts)} texts.")
    summary = clean(summary)
    if task.opening and not summary.lower().startswith(task.opening.lower()):
        summary = clean(f"{task.opening} {summary}")
    for part in (summary, *texts):
        for tag in (task.prefix, *task.markers):
            if tag and tag in part.removeprefix(task.opening):
                raise BadReply(f"a text may not hold the marker {tag}, got '{part[:80]}'.")
    parts = [f"{marker} {text}".rstrip() for marker, text in zip(task.markers, texts, strict=True)]
    head = " ".join(part for part in (task.prefix, summary) if part)
    return bracket_names(", ".join(part for part in (head, *parts) if part) + ".", names)


def bracket_names(text: str, names: Iterable[str]) -> str:
    """Puts every bare mention of a name in angle brackets."""
    for name in names:
        text = re.sub(rf"(?<![<\w]){re.escape(name)}(?![\w>])", f"<{name}>", text)
    return text


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
    spans = _spans(text, task)
    first = next((start for start, _ in spans if start >= 0), len(text))
    head = text[:first]
    prefix = task.prefix if task.prefix and head.startswith(task.prefix) else ""
    caption = Caption(
        text=text,
        prefix=prefix,
        summary=clean(head.removeprefix(prefix)),
        panels=tuple(clean(text[slice(*_inside(spans, panel, len(text)))]) for panel in range(len(spans))),
        names=people(text),
    )
    return replace(caption, problems=lint(caption, task))


def is_joint(text: str, task: Task) -> bool:
    """Whether a text has every marker of the task (or its stand-in) in order."""
    return all(start >= 0 for start, _ in _spans(text, task))


def replace_panel(caption: Caption, panel: int, text: str, task: Task) -> str:
    """The caption's text with one panel's part exchanged and every other letter as it was.

    Raises:
        BadReply: the panel's marker is not in the text, so there is no place for the new part.
    """
    spans = _spans(caption.text, task)
    if spans[panel][0] < 0:
        raise BadReply(f"the caption has no {task.markers[panel]}, so its panel can't be changed alone.")
    start, end = _inside(spans, panel, len(caption.text))
    old = caption.text[start:end]
    tail = old[len(old.rstrip(EDGES)) :]
    return fold(f"{caption.text[:start]} {clean(text)}{tail}{caption.text[end:]}")


def _spans(text: str, task: Task) -> list[tuple[int, int]]:
    """Start and end of every marker in the text, (-1, -1) where it is missing."""
    spans: list[tuple[int, int]] = []
    reached = 0
    for marker in task.markers:
        start, length = text.find(marker, reached), len(marker)
        if start < 0 and marker in task.stand_ins:
            start, length = text.find(task.stand_ins[marker], reached), 0  # the words stay part of the panel's text
        spans.append((start, start + length) if start >= 0 else (-1, -1))
        reached = max(reached, start + length)
    return spans


def _inside(spans: list[tuple[int, int]], panel: int, length: int) -> tuple[int, int]:
    """Start and end of a panel's own text."""
    if spans[panel][0] < 0:
        return 0, 0
    following = (start for start, _ in spans[panel + 1 :] if start >= 0)
    return spans[panel][1], next(following, length)


def lint(caption: Caption, task: Task) -> tuple[str, ...]:
    """Every fault of a caption, one sentence each; an empty result means that it may be trained on."""
    return (
        *_marker_faults(caption.text, task),
        *_panel_faults(caption, task),
        *_name_faults(caption, task),
        *_wording_faults(caption, task),
    )


def _marker_faults(text: str, task: Task) -> Iterable[str]:
    if not text:
        yield "there is no caption"
        return
    if task.prefix and not text.startswith(task.prefix):
        yield f"the prefix {task.prefix} is not at the start"
    found = _spans(text, task)
    for marker, (start, _) in zip(task.markers, found, strict=True):
        count = text.count(marker)
        if count > 1:
            yield f"the marker {marker} stands {count} times"
        if start < 0:
            yield f"the marker {marker} is {'out of order' if count else 'missing'}"
    known = {task.prefix, *task.markers, *BRACKETS.findall(task.opening)}
    for tag in dict.fromkeys(BRACKETS.findall(text)):
        if tag not in known:
            yield f"{tag} is no marker of this task"


def _panel_faults(caption: Caption, task: Task) -> Iterable[str]:
    for marker, text in zip(task.markers, caption.panels, strict=True):
        if marker in caption.text and len(text.split()) < task.caption.min_panel_words:
            yield f"the text of {marker} has fewer than {task.caption.min_panel_words} words"
    for panel, text in enumerate(caption.panels):
        for other in range(panel):
            words = difflib.SequenceMatcher(a=caption.panels[other].split(), b=text.split())
            if text and words.ratio() > NEAR_IDENTICAL:
                yield f"the texts of {task.markers[other]} and {task.markers[panel]} say nearly the same"


def _name_faults(caption: Caption, task: Task) -> Iterable[str]:
    stripped = NAME.sub("", caption.text)
    if "<" in stripped or ">" in stripped:
        yield "an angle bracket is open or empty"
    spelt: dict[str, str] = {}
    for name in caption.names:
        first = spelt.setdefault(name.casefold(), name)
        if first != name:
            yield f"one person is spelt <{first}> and <{name}>"
        if re.search(rf"(?<![<\w]){re.escape(name)}(?![\w>])", caption.text):
            yield f"the name {name} also stands without angle brackets"


def _wording_faults(caption: Caption, task: Task) -> Iterable[str]:
    if found := BOILERPLATE.search(caption.text):
        yield f"'{found[0]}' speaks of the picture instead of what is in it"
    for marker, text in zip(task.markers, caption.panels, strict=True):
        if found := RELATIVE.search(text):
            yield f"'{found[0]}' in {marker} leans on another panel"
    words = len(caption.text.split())
    if words > task.caption.max_words:
        yield f"the caption has {words} words, more than {task.caption.max_words}"
