"""Words and phrases in texts of any language: found as whole words, and replaced."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from pipeline.text.markers import NAME

UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of scripts that put no space between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan), or join
particles to them (Korean): any place in them may be the edge of a word."""
DANGLING = re.compile(r"(?<=[,;:])(?:\s*[,;:])+|\s+(?=[,;:.])")
"""What a deleted phrase leaves behind: a space before punctuation, and punctuation after punctuation."""


def folded(text: str) -> str:
    """The text as phrases are looked for in it: without case, forms of one letter, and invisible characters."""
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")


def contains(text: str, phrase: str) -> bool:
    """Whether a text has a phrase as whole words. Both are `folded`."""
    return next(places(text, phrase), -1) >= 0


def places(text: str, phrase: str, *, inside_words: bool = False) -> Iterator[int]:
    """Where a phrase starts in a text, without overlaps.

    Args:
        inside_words: also where it is only a part of a longer word.
    """
    start = text.find(phrase) if phrase else -1
    while start >= 0:
        end = start + len(phrase)
        fits = inside_words or not (_within_word(text, start) or _within_word(text, end))
        if fits:
            yield start
        start = text.find(phrase, end if fits else start + 1)


def _within_word(text: str, place: int) -> bool:
    """Whether the characters on both sides of a place belong to one word."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    if unicodedata.category(after).startswith("M"):  # a vowel sign or an accent of the letter before it
        return _is_letter(before)
    return _is_letter(before) and _is_letter(after) and not (UNSPACED.match(before) or UNSPACED.match(after))


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")


def swap(text: str, old: str, new: str, *, inside_words: bool = False) -> str:
    """The text with one phrase in place of another, letter for letter.

    Names in angle brackets are left alone, unless the old phrase has brackets of its own. If the new one is empty, the
    space or the comma that would dangle goes too.
    """
    kept = [] if "<" in old else [found.span() for found in NAME.finditer(text)]
    kept.reverse()
    parts, done = [], 0
    for start in places(text, old, inside_words=inside_words):
        while kept and kept[-1][1] <= start:
            kept.pop()
        if kept and kept[-1][0] < start + len(old):
            continue
        parts += [text[done:start], new]
        done = start + len(old)
    if not parts:
        return text
    swapped = "".join([*parts, text[done:]])
    return swapped if new else DANGLING.sub("", swapped).strip()
