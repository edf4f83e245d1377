"""JSON objects in a model's answer: found whatever surrounds them, and read if they are unambiguous but not strict."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

TRIES = 50
"""In how many places of an answer an object is looked for, since each may cost a pass over the whole answer."""
EASED = 5
"""How many objects that are not strict JSON are read token by token."""
DEPTH = 4
"""How many keys, lists and strings deep an object may be wrapped."""
START = re.compile(r"""\{\s*["']|"\s*\{(?:\s|\\[nrt])*\\\"""")
"""Where an object begins, or a string that contains one."""
TOKEN = re.compile(
    r""""(?:[^"\\]|\\.)*+\\?(?:"|\Z)|'(?:[^'\\]|\\.)*+\\?(?:'|\Z)|,(?=\s*[}\]])|[{}\[\]]|\b(?:None|True|False)\b""",
    re.DOTALL,
)
"""What may differ from strict JSON: strings, a comma before a bracket, Python's constants; and brackets."""
ESCAPE = re.compile(r"""\\(x[0-9a-fA-F]{2}|.)|\"""", re.DOTALL)
CONSTANTS = {"None": "null", "True": "true", "False": "false"}
LEVELS = {"{": 1, "[": 1, "}": -1, "]": -1}
DECODER = json.JSONDecoder(strict=False)
"""Takes line breaks and tabs within strings."""


def find(text: str, keys: Collection[str], depth: int = DEPTH) -> Iterator[dict[str, Any]]:
    """The objects in a text that have one of these keys, in order.

    Chatter, code fences and other objects are skipped, among them the inner ones of an object that was cut off. Also
    read are Python's literals, commas before a closing bracket, needless backslashes, and an object that is wrapped as
    the only value of another one, of a list or of a string. What could be read in two ways is not read.
    """
    at, eased = 0, 0
    for _ in range(TRIES):
        start = START.search(text, at)
        if not start:
            return
        at = start.start() + 1
        try:
            found, at = DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):  # not JSON, or numbers or nesting beyond what Python reads
            if text[start.start()] != "{" or eased == EASED:
                continue
            eased += 1
            read = _ease(text, start.start())
            if read is None:
                continue
            found, at = read
        if (one := _unwrap(found, keys, depth)) is not None:
            yield one


def _unwrap(found: Any, keys: Collection[str], depth: int) -> dict[str, Any] | None:
    """An object with one of the keys, perhaps wrapped in others that hold nothing else like it."""
    if isinstance(found, dict) and not found.keys().isdisjoint(keys):
        return found
    if depth == 0:
        return None
    if isinstance(found, str):
        inside = list(find(found, keys, depth - 1))
        return inside[0] if len(inside) == 1 else None
    values = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
    inner = [one for one in values if isinstance(one, dict | list) or (isinstance(one, str) and START.search(one))]
    return _unwrap(inner[0], keys, depth - 1) if len(inner) == 1 else None


def _ease(text: str, start: int) -> tuple[Any, int] | None:
    """The object that begins here, read with JSON's rules relaxed, and where it ends."""
    pieces: list[str] = []
    level, at = 0, start
    for token in TOKEN.finditer(text, start):
        word = token[0]
        pieces += [text[at : token.start()], _strict(word)]
        at = token.end()
        level += LEVELS.get(word, 0)
        if level == 0:
            break
    else:
        return None
    try:
        return json.loads("".join(pieces), strict=False), at
    except (ValueError, RecursionError):
        return None


def _strict(token: str) -> str:
    """A token as JSON writes it; a comma before a closing bracket is left out."""
    if token[0] in "\"'":
        return f'"{ESCAPE.sub(_escaped, token[1:-1])}"'
    return "" if token == "," else CONSTANTS.get(token, token)


def _escaped(found: re.Match[str]) -> str:
    r"""A quotation mark within apostrophes, and escapes that JSON lacks: `\x41`, and a backslash before punctuation."""
    letter = found[1]
    if letter is None:
        return '\\"'
    if len(letter) > 1:
        return f"\\u00{letter[1:]}"
    return found[0] if letter in '"\\/' or letter.isalnum() else letter
