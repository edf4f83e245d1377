"""Joint captions as text: render, parse, lint. The only place that knows markers.

    PREFIX summary, MARKER-1 text, MARKER-2 text, ..., MARKER-n text.

One line, every marker once and in order, people as `<Name>`. Published captions put `,` `;` `:` or nothing before a
marker, and one published prompt leaves its second marker out; `parse` reads all of them and never fails, `lint` says
what is wrong.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipeline.errors import BadReply
from pipeline.records import Caption
from pipeline.task import Task

NAME = re.compile(r"<(?!\s)([^<>\[\]\n]{1,40})(?<!\s)>")
BRACKETS = re.compile(r"\[[^\[\]\n]{1,40}\]")
EDGES = " \t\r\n,;:.–—"  # noqa: RUF001  (dashes join parts too)
# Lettering in the picture, a line that someone says; an apostrophe within a word ends no quotation.
QUOTED = re.compile(r"""(?<!\w)["“'‘](?:[^"“”'‘’]|(?<=\w)['’](?=\w)){1,200}["”'’](?!\w)""")  # noqa: RUF001

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
    if task.prefix and _whole(task.prefix).search(part):
        raise BadReply(f"a text may not hold the prefix {task.prefix}, got '{part[:80]}'.")
    return part


def _whole(*phrases: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Finds the phrases where they are no part of a longer word; of those that begin alike the longest."""
    either = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)", flags)


def bracket_names(text: str, names: Iterable[str]) -> str:
    """Puts every bare mention of a name in angle brackets; what stands in brackets already stays.

    Of names that hold one another (`Sora`, `Sora-Li`) the longest counts. What can't stand in brackets is no name.
    """
    known = [name for name in names if NAME.fullmatch(f"<{name}>")]
    if not known:
        return text
    either = rf"{NAME.pattern}|{BRACKETS.pattern}|{_whole(*known).pattern}"
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

    Words that stood in for the marker go with the old part, so the marker itself takes their place.

    Raises:
        BadReply: the panel's marker is not in the text, so there is no place for the new part, or the part holds one.
    """
    spans, marker = _spans(caption.text, task), task.markers[panel]
    if spans[panel][0] < 0:
        raise BadReply(f"the caption has no {marker}, so its panel can't be changed alone.")
    start, end = _inside(spans, panel, len(caption.text))
    old = caption.text[start:end]
    tail = old[len(old.rstrip(EDGES)) :]
    return fold(f"{caption.text[: spans[panel][0]]}{marker} {_part(text, task)}{tail}{caption.text[end:]}")


def _spans(text: str, task: Task) -> list[tuple[int, int]]:
    """Start and end of every marker in the text, (-1, -1) where it is missing."""
    spans: list[tuple[int, int]] = []
    reached = 0
    for marker in task.markers:
        start, length = text.find(marker, reached), len(marker)
        if start < 0 and marker in task.stand_ins:
            found = _whole(task.stand_ins[marker], flags=re.IGNORECASE).search(text, reached)
            start, length = found.start() if found else -1, 0  # the words stay part of the panel's text
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
    elif task.prefix and _whole(task.prefix).search(text, len(task.prefix)):
        yield f"the prefix {task.prefix} stands more than once"
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
    without = BRACKETS.sub("", text)
    if "[" in without or "]" in without:
        yield "a square bracket is open or empty"


def _panel_faults(caption: Caption, task: Task) -> Iterable[str]:
    for marker, text, (start, _) in zip(task.markers, caption.panels, _spans(caption.text, task), strict=True):
        if start >= 0 and len(text.split()) < task.caption.min_panel_words:
            yield f"the text of {marker} has fewer than {task.caption.min_panel_words} words"
    # Comparing takes len(a) * len(b): no more words than a caption may have, a longer one has its own fault.
    words = [text.split()[: task.caption.max_words] for text in caption.panels]
    for (marker, a), (other, b) in itertools.combinations(zip(task.markers, words, strict=True), 2):
        if a and difflib.SequenceMatcher(a=a, b=b, autojunk=False).ratio() > NEAR_IDENTICAL:
            yield f"the texts of {marker} and {other} say nearly the same"


def _name_faults(caption: Caption, task: Task) -> Iterable[str]:
    without = BRACKETS.sub(" ", NAME.sub(" ", caption.text))
    if "<" in without or ">" in without:
        yield "an angle bracket is open or empty, or holds no name"
    spelt: dict[str, str] = {}
    for name in caption.names:
        first = spelt.setdefault(name.casefold(), name)
        if first != name:
            yield f"one person is spelt <{first}> and <{name}>"
        if _whole(name).search(without):
            yield f"the name {name} also stands without angle brackets"


def _wording_faults(caption: Caption, task: Task) -> Iterable[str]:
    if found := BOILERPLATE.search(QUOTED.sub('""', caption.text)):
        yield f"'{found[0]}' speaks of the picture instead of what is in it"
    for marker, text in zip(task.markers, caption.panels, strict=True):
        if found := RELATIVE.search(text):
            yield f"'{found[0]}' in {marker} leans on another panel"
    words = len(caption.text.split())
    if words > task.caption.max_words:
        yield f"the caption has {words} words, more than {task.caption.max_words}"
