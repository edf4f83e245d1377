"""Patterns of names in a syntax that people read and write: `{set}_{role}`, `{role}/{set}`, `photo {role} ({set})`.

`{set}` is what a picture is of and `{role}` the panel that it is for; `*` is anything that doesn't count. What stands
in square brackets is missing where a picture has no word for its role: `{set}[_{role}]`. A space, dot, hyphen or
underscore stands for any of them, and case doesn't count. Folders above those that a pattern names may be any.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pipeline.grouping.naming import WIDEST, Name, Slot, Split, key_of, tokenised

HOLE = "\x01"
"""Stands in a name for the role that is being tried."""
PIECE = re.compile(r"\{set\}|\{role\}|\*|[\s_.\-]+|/|[^{}*/\s_.\-]+")
SEPARATORS = " _.-()"
BRACKETS = re.compile(r"[\[\]{}]")
OPTIONAL = re.compile(r"\[([^\[\]]*\{role\}[^\[\]]*)\]")


def splits(name: Name, pattern: str) -> Iterator[Split]:
    """Every way to read a name by a pattern: with each run of words as its role, or without one where it may lack.

    Args:
        pattern: in the syntax above, with one `{role}`.
    """
    filled = OPTIONAL.sub(r"\1", pattern)
    slot = Slot(filled.partition("{role}")[2].count("/"), "pattern", 0)
    if filled != pattern and (key := _match(name, name.parts, OPTIONAL.sub("", pattern))) is not None:
        yield Split(slot, key, "", 0, 0)
    at = len(name.parts) - 1 - slot.depth
    if at < 0:
        return
    part, tokens = name.parts[at], name.tokens[at]
    for first in range(len(tokens)):
        for last in range(first + 1, min(len(tokens), first + WIDEST) + 1):
            tried = f"{part[: tokens[first].start]}{HOLE}{part[tokens[last - 1].end :]}"
            if (key := _match(name, (*name.parts[:at], tried, *name.parts[at + 1 :]), filled)) is not None:
                yield Split(slot, key, "-".join(token.key for token in tokens[first:last]), first, last)


def _match(name: Name, parts: tuple[str, ...], pattern: str) -> str | None:
    """What a name is a picture of, with the folders above the pattern; None if it doesn't match."""
    count = pattern.count("/") + 1
    found = _expression(pattern).fullmatch("/".join(parts[-count:])) if len(parts) >= count else None
    if found is None:
        return None
    above = "/".join(name.parts[: len(parts) - count]).casefold()
    return f"{above}/{'/'.join(key_of(text) for text in found.groups())}"


@lru_cache(maxsize=64)
def _expression(pattern: str) -> re.Pattern[str]:
    known = {"{set}": r"([^/]+)", "{role}": HOLE, "*": r"[^/]*"}
    pieces = PIECE.findall(unicodedata.normalize("NFC", pattern))
    written = (known.get(one) or (r"[\s_.\-]+" if not one.strip(" _.-\t") else re.escape(one)) for one in pieces)
    return re.compile("".join(written), re.IGNORECASE)


# ---- what is told of names


def written(found: Sequence[tuple[Name, Split]], *, optional: bool) -> str:
    """The pattern of some names.

    Args:
        found: one or more names, each with how it was read; their roles stand at the same place.
        optional: whether other pictures lack the role.
    """
    before, after, *below = (_common(texts) for texts in zip(*(_around(*one) for one in found), strict=True))
    role = "{role}"
    if optional and below and not before and not after:
        return f"[{{role}}/]{'/'.join(below)}"
    if optional:
        lead, trail = before[len(before.rstrip(SEPARATORS)) :], after[: len(after) - len(after.lstrip(SEPARATORS))]
        if lead:
            before, role = before[: -len(lead)], f"[{lead}{{role}}]"
        else:
            after, role = after[len(trail) :], f"[{{role}}{trail}]"
    text = "/".join([f"{before}{role}{after}", *below])
    return text if "{set}" in text else f"{{set}}/{text}"


def label(name: Name, split: Split) -> str:
    """What a name is a picture of, for a person."""
    told = [text.strip(f"{SEPARATORS}*") for text in _around(name, split)]
    above = name.parts[: len(name.parts) - 1 - split.slot.depth]
    return " ".join(filter(None, told)) or "/".join(above[-1:])


def rest(name: Name, split: Split) -> str:
    """A name without its role, but for case as it stands."""
    before, after, *below = _around(name, split)
    above = name.parts[: len(name.parts) - 1 - split.slot.depth]
    return "/".join([*above, f"{before}{HOLE}{after}", *below]).casefold()


def _around(name: Name, split: Split) -> list[str]:
    """What stands before and behind a role in its part of the path, and the parts below."""
    at = len(name.parts) - 1 - split.slot.depth
    part, tokens = name.parts[at], name.tokens[at]
    if split.first == split.last:
        return [_starred(part, name), "", *(_starred(one, name) for one in name.parts[at + 1 :])]
    texts = (part[: tokens[split.first].start], part[tokens[split.last - 1].end :], *name.parts[at + 1 :])
    return [_starred(text, name) for text in texts]


def _starred(text: str, name: Name) -> str:
    """The text with a star for what doesn't count in the name."""
    for token in reversed(tokenised(text)):
        if token.kind in name.left_out:
            text = f"{text[: token.start]}*{text[token.end :]}"
    return text


def _common(texts: Sequence[str]) -> str:
    """The text, or `{set}` where texts differ, between the signs that the first has before and behind its words."""
    first = texts[0]
    if len({text.casefold() for text in texts}) == 1 and (len(texts) > 1 or not any(map(str.isalnum, first))):
        return BRACKETS.sub("*", first)
    words = [at for at, one in enumerate(first) if one.isalnum()]
    lead, trail = (first[: words[0]], first[words[-1] + 1 :]) if words else ("", "")
    return BRACKETS.sub("*", lead) + "{set}" + BRACKETS.sub("*", trail)
