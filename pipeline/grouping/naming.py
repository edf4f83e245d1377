"""Names as words: what a path's parts are made of, and every way to tell a role in it from what it is a picture of."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple

DEEPEST = 3
"""Folders above a file that may say its role: `chair/before/raw/01.jpg`."""
WIDEST = 3
"""Words of a role at most: "three quarter left"."""
REACH = 3
"""Words that may stand before or behind a role within its part of the path, counted from the end that holds still."""

DATE = r"""
    (?:19|20)\d\d(?P<dash>[-_. ]?)(?:0[1-9]|1[0-2])(?P=dash)(?:0[1-9]|[12]\d|3[01])(?!\d)
    (?:[-_ T]*(?:[01]\d|2[0-3])[-_.:h]?[0-5]\d(?:[-_.:m]?[0-5]\d)?(?!\d))?
    | (?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.(?:19|20)\d\d(?!\d)
"""
SIZE = r"\d{2,5}[ ]?[x×][ ]?\d{2,5}(?:px)?(?![^\W_]) | @\dx | (?:480|720|1080|1440|2160)p(?![^\W_]) | [248]k(?![^\W_])"  # noqa: RUF001
TOKEN = re.compile(
    rf"(?<!\d)(?P<date>{DATE}) | (?<![^\W_])(?P<size>{SIZE}) | (?P<number>\d+)"
    r"| (?P<word>(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0dff\u0e00-\u0e7f])+)",
    re.VERBOSE | re.IGNORECASE,
)
CAPITAL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Token(NamedTuple):
    """A word of a name, a number, a date, or a picture's size."""

    kind: Literal["word", "number", "date", "size"]
    key: str
    """As it is compared: without case, a number without leading zeros."""
    start: int
    end: int
    """Where it stands in its part of the path."""


@dataclass(frozen=True)
class Name:
    """A picture's path as its folders and its own name without an ending, each in words."""

    parts: tuple[str, ...]
    tokens: tuple[tuple[Token, ...], ...]
    left_out: tuple[str, ...] = ()
    """Kinds of tokens that don't count."""


class Slot(NamedTuple):
    """Where in names a role stands."""

    depth: int
    """0 in the file's own name, 1 in that of its folder, and so on."""
    side: Literal["start", "end", "folder", "pattern"]
    """The side of the part that words are counted from; "folder" if the whole folder is the role, and may be absent;
    "pattern" if a pattern says where it is."""
    words: int
    """How many words stand between that side and the role."""


class Split(NamedTuple):
    """A name told apart: what it is a picture of, and in which role."""

    slot: Slot
    key: str
    role: str
    first: int
    last: int
    """The tokens of the role within its part: from `first` to before `last`."""


def read(folder: str, stem: str, *, leave_out: Sequence[str] = (), glued: frozenset[str] = frozenset()) -> Name:
    """A name in words.

    Args:
        leave_out: kinds of tokens that don't count, where they differ within a pair: "size", "date".
        glued: words that are parted from the letters before or behind them ("chairbefore").
    """
    parts = [*[part for part in unicodedata.normalize("NFC", folder).split("/") if part], ""]
    parts[-1] = unicodedata.normalize("NFC", stem)
    tokens = tuple(tuple(token for token in tokenised(part, glued) if token.kind not in leave_out) for part in parts)
    return Name(tuple(parts), tokens, tuple(leave_out))


@lru_cache(maxsize=1 << 14)
def tokenised(part: str, glued: frozenset[str] = frozenset()) -> tuple[Token, ...]:
    found: list[Token] = []
    for match in TOKEN.finditer(part):
        kind, start, text = match.lastgroup, match.start(), match[0]
        kind = "date" if kind == "dash" else kind  # the date's own separator is a group too
        if kind == "word":
            for piece in CAPITAL.split(text):
                for word in _unglued(piece, glued):
                    found.append(Token("word", word.casefold(), start, start + len(word)))
                    start += len(word)
        elif kind == "number":
            digits = "".join(str(unicodedata.decimal(digit)) for digit in text)
            found.append(Token("number", digits.lstrip("0") or "0", start, match.end()))
        else:
            found.append(Token("date" if kind == "date" else "size", text.casefold(), start, match.end()))
    return tuple(found)


def _unglued(word: str, glued: frozenset[str]) -> list[str]:
    plain = word.casefold()
    for at in range(1, len(word) if glued and len(plain) == len(word) else 0):
        if plain[at:] in glued:
            return [word[:at], word[at:]]
        if plain[:-at] in glued:
            return [word[:-at], word[-at:]]
    return [word]


def splits(name: Name, is_role: Callable[[str], bool], deepest: int = DEEPEST) -> Iterator[Split]:
    """Every way to read a role in a name, the empty role included.

    Args:
        is_role: whether a word is known as one: such a word may stand in the name more than once
            (`before/7_before.png`) without being part of what the picture is of.
        deepest: folders above the file that may say the role.
    """
    marks = [[_mark(token) for token in part] for part in name.tokens]
    keys = ["".join(part) for part in marks]
    bare, repeated = "/".join(keys), {mark for mark, count in Counter(chain(*marks)).items() if count > 1}
    for depth in range(min(deepest + 1, len(marks))):
        at = len(marks) - 1 - depth
        above, below, tokens = keys[:at], keys[at + 1 :], name.tokens[at]
        if depth:
            slot = Slot(depth, "folder", 0)
            yield Split(slot, bare, "", 0, 0)
            if tokens:
                yield Split(slot, "/".join([*above, *below]), _role(tokens), 0, len(tokens))
        for words in range(min(REACH, len(tokens)) + 1):
            for slot in (Slot(depth, "start", words), Slot(depth, "end", words)):
                yield Split(slot, bare, "", 0, 0)
                for width in range(1, min(WIDEST, len(tokens) - words) + 1):
                    first = words if slot.side == "start" else len(tokens) - words - width
                    inside, role = tokens[first : first + width], _role(tokens[first : first + width])
                    if any(token.kind in ("date", "size") for token in inside):
                        continue
                    rest = "".join(marks[at][:first] + marks[at][first + width :])
                    yield Split(slot, "/".join([*above, rest, *below]), role, first, first + width)
                    if width == 1 and marks[at][first] in repeated and is_role(role):
                        once = ("".join(one for one in part if one != role) for part in marks)
                        yield Split(slot, "/".join(once), role, first, first + width)


def _role(tokens: Sequence[Token]) -> str:
    return "-".join(token.key for token in tokens)


def key_of(text: str) -> str:
    """A text as names are compared: the same words, however they are parted; numbers stay apart from each other."""
    return "".join(map(_mark, tokenised(text)))


def _mark(token: Token) -> str:
    return f"#{token.key}#" if token.kind == "number" else token.key
