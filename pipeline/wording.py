"""Words that many messages share: counts, commands to type, and characters that nobody sees."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence, Sized

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters; ESC and 0x9b begin the commands of a terminal
    "\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8
)
"""Characters that a terminal acts on or doesn't show: it could be told to overwrite what stands there, or to show one
text and copy another. Joiners (U+200C, U+200D) are part of words and emoji, and stay."""


def escaped(text: str) -> str:
    r"""The text with hidden characters as Python writes them: `\x1b`, `\n`, `\u202e`."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def counted(items: Sized | int, noun: str, plural: str = "") -> str:
    """`1 row`, `2 rows`; with a verb both forms are given: `counted(2, "row has", "rows have")`."""
    count = items if isinstance(items, int) else len(items)
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def numbered(places: Sequence[int]) -> str:
    """Places, from 0, as people number them: `1, 3 and 4`."""
    numbers = [str(place + 1) for place in places]
    return " and ".join([", ".join(numbers[:-1]), *numbers[-1:]] if len(numbers) > 1 else numbers)


def command(words: Iterable[str]) -> str:
    """A command as it must be typed in a shell, on one line."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    r"""A word that a shell reads as it is; with hidden characters as `$'a\x1b'`, which bash, zsh and ksh read."""
    if not HIDDEN.search(word):
        return shlex.quote(word)
    plain = word.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{HIDDEN.sub(lambda found: _bytes(found[0]), plain)}'"


def _bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
