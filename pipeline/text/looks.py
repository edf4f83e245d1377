"""What people look like, inserted into texts that call them by name, and taken out again.

Looks follow a name as an apposition: `<Mara>, a red rabbit with a top hat, flying a kite`. A comma closes it, so
`<Mara> flying a kite` comes back as `<Mara>, flying a kite`; inserting looks a second time gives the same text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pipeline.records import Caption, Parts

NAMED = re.compile(r"<([^<>]*)>")
COMMA, WORD = re.compile(r",\s*"), re.compile(r"\w")
BEING = " being "
SAID = re.compile(rf"<([^<>]*)>(?:,{BEING}|{BEING}|,\s*)([^,;:.<>\[\]]+)")
"""A name, and what follows it as its looks would."""
CLAUSES = re.compile(r"[,;:.]\s")

POSSESSIVE = r"(?!['’](?:s\b|\s|$))"  # noqa: RUF001  (both apostrophes)
ENDS = ",;:.!?)–—"  # noqa: RUF001  (dashes close it too)
"""Punctuation that closes an apposition by itself."""
EMPTY = frozenset(("a", "an", "the", "and", "with", "in", "of", "on"))
"""Words that say nothing about anybody's looks."""
FEWEST = 2
"""The fewest words a description must have to be recognised in a text: "a man" says too little."""
MOST = 0.7
"""A text with more than this share of a description's words is taken to contain the description."""


def put(text: str, name: str, looks: str) -> str:
    """The text with the looks after the first mention of the name, or at its end if every mention is a possessive.

    A text without the name is returned as it is.
    """
    if f"<{name}>" not in text:
        return text
    found = re.search(re.escape(f"<{name}>") + POSSESSIVE, text)
    if found is None:
        return f"{text}, <{name}>{BEING}{looks}"
    before, after = text[: found.end()], text[found.end() :]
    close = "" if not after.strip() or after.lstrip()[0] in ENDS else ","
    return f"{before}, {looks}{close}{after}"


def take_out(text: str, told: Mapping[str, Sequence[str]]) -> str:
    """The text without these looks after people's names, wherever they are; the inverse of `put` except for a comma.

    Args:
        told: by name, looks that may be there, the longest first. The time it takes does not depend on their number.
    """
    parts, done = [], 0
    for found in NAMED.finditer(text):
        said = told.get(found[1], ())
        if not said or found.start() < done:
            continue
        kept = end = found.end()
        if (comma := COMMA.match(text, end)) and (after := _end(text, comma.end(), said)):
            end = after
        head = text[done : found.start()].rstrip()
        if head.endswith(",") and text.startswith(BEING, kept) and (after := _end(text, kept + len(BEING), said)):
            kept, end = done + len(head) - 1, after
        parts.append(text[done:kept])
        done = end
    return "".join([*parts, text[done:]])


def _end(text: str, start: int, said: Iterable[str]) -> int:
    """Where the looks end that stand at a place of the text; 0 if there are none."""
    ends = (start + len(looks) for looks in said if text.startswith(looks, start))
    return next((end for end in ends if not WORD.match(text, end)), 0)


def told(parts: Parts) -> dict[str, list[str]]:
    """By name, everything that is said of a person's looks, the longest first: in all panels, and in single ones."""
    seen: dict[str, set[str]] = defaultdict(set)
    for one in (one for panel in parts.panels for one in panel.people):
        seen[one.name].add(one.looks)
    return {
        person.name: sorted({person.looks, *seen[person.name]} - {""}, key=len, reverse=True) for person in parts.people
    }


def instead(text: str, name: str, looks: str) -> str:
    """The text with the looks in place of the first mention of the name, for a reader who knows nobody by name.

    Later mentions keep the name.
    """
    return text.replace(f"<{name}>", looks, 1)


def rewritten(text: str, name: str, looks: str) -> str:
    """The looks that a text has after the name in place of these; empty if it has these still, or nothing similar."""
    if not looks or f"<{name}>, {looks}" in text:
        return ""
    known = words(looks)
    found = re.findall(rf"{re.escape(f'<{name}>')},\s*([^,;:.<>\[\]]+)", text)
    alike = (said.strip() for said in found if 2 * len(known & words(said)) >= len(known))
    return next(alike, "")


def words(text: str) -> set[str]:
    """The words of a description that carry meaning."""
    return set(re.findall(r"\w+", text.casefold())) - EMPTY


def tells(text: str, looks: str) -> bool:
    """Whether a text contains most of a description, in whatever order."""
    wanted = words(looks)
    return len(wanted) >= FEWEST and len(wanted & words(text)) > MOST * len(wanted)


def in_every_panel(caption: Caption) -> bool:
    """Whether the panels' own texts tell again and again what a person looks like, so that no panel has to carry it on.

    That is so for somebody in several panels whose looks all of these tell, and where nobody is named, for anything
    that all panels tell.
    """
    for name in caption.names:
        there = [text for text in caption.panels if f"<{name}>" in text]
        said = [looks for text in (caption.summary, *there) for who, looks in SAID.findall(text) if who == name]
        if len(there) > 1 and any(all(tells(text, looks) for text in there) for looks in said):
            return True
    said = [] if caption.names else CLAUSES.split(", ".join((caption.summary, *caption.panels[:1])))
    return len(caption.panels) > 1 and any(all(tells(text, one) for text in caption.panels) for one in said)
