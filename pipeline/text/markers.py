"""Where the markers, names and quotations of a text are; shared by grammar, which reads and writes them, and lint."""

from __future__ import annotations

import re
from functools import lru_cache

from pipeline.task import Task

NAME = re.compile(r"<(?!\s)([^<>\[\]\n]{1,40})(?<!\s)>")
BRACKETS = re.compile(r"\[[^\[\]\n]{1,40}\]")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that no caption may have; white space is folded before."""
LOST = "\ufffd"
"""Stands for letters that were lost."""
ODD = re.compile("[\u202a-\u202e\u2066-\u2069\ufff9-\uffff]")
"""Characters that no caption has unless something went wrong: LOST and its like, and what changes the direction of the
text behind it."""
MARKDOWN = re.compile(r"\*\*|```")
"""What a model writes for a page rather than for a caption."""
EDGES = " \t\r\n,;:.–—"  # noqa: RUF001  (dashes join parts too)
# Lettering in the picture, or a line that someone says; an apostrophe inside a word does not end a quotation.
QUOTED = re.compile(
    r"""(?<!\w)["“„'‘‚](?:[^"“„”'‘’]|(?<=\w)['’](?=\w)){1,200}["“”'‘’](?!\w)"""  # noqa: RUF001
    r"""|«[^«»]{1,200}»|「[^「」]{1,200}」|『[^『』]{1,200}』"""
)

Span = tuple[int, int]


def readable(text: str) -> str:
    """The text without half characters, which no file holds, and control characters, on which a terminal acts; JSON can
    spell both. In place of the latter stands LOST, which the linter finds."""
    writable = text.encode(errors="replace").decode()
    return CONTROL.sub(lambda found: found[0] if found[0].isspace() else LOST, writable)


@lru_cache(maxsize=1024)
def whole(*phrases: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Matches the phrases as whole words; of phrases with the same beginning, the longest."""
    either = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)", flags)


def spans(text: str, task: Task) -> list[Span]:
    """Start and end of every marker in the text; (-1, -1) if it is missing or out of order."""
    found: list[Span] = []
    reached = 0
    for marker in task.markers:
        start, length = text.find(marker, reached), len(marker)
        if start < 0 and marker in task.stand_ins:
            words = whole(task.stand_ins[marker], flags=re.IGNORECASE).search(text, reached)
            start, length = words.start() if words else -1, 0  # the words remain part of the panel's text
        found.append((start, start + length) if start >= 0 else (-1, -1))
        reached = max(reached, start + length)
    return found


def inside(found: list[Span], panel: int, length: int) -> Span:
    """Start and end of a panel's own text, without its marker; (0, 0) if the marker is missing.

    Args:
        found: the markers' spans.
        length: characters in the whole text.
    """
    if found[panel][0] < 0:
        return 0, 0
    following = (start for start, _ in found[panel + 1 :] if start >= 0)
    return found[panel][1], next(following, length)
