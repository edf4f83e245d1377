"""Roles: which panel of a task a word such as "before", "front" or "2" stands for, and what to ask where none says so.

A word is looked up in the task's own table (`[group.roles]`), among its markers, then in the general `vocabulary.toml`;
numbers and letters are in their own order. Where that leaves the order of the panels open, it is never guessed: a pair
the wrong way round teaches a model the opposite.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.task import Task
from pipeline.wording import command

NOTHING = "-"
"""How a setting writes the role of pictures whose name has no word for it."""
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8}
MOST_NAMED = 8
"""Words that a sentence lists."""
SHORTEST = 4
"""Letters of a word that is a role beside other words; of scripts other than Latin one is enough."""
ACCENTS = frozenset(map(chr, range(0x300, 0x370)))
"""Marks on letters of Latin, Greek and Cyrillic; those of other scripts make other letters of them."""
LONGEST_NUMBER = 18
"""Digits; longer ones are no numbers of panels."""


@dataclass(frozen=True)
class Ambiguous:
    """Words that don't tell the order of the panels; as text, a sentence with the setting that does."""

    words: tuple[str, ...]
    markers: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(f"'{word}'" if word else f"'{NOTHING}' (no word at all)" for word in self.words[:MOST_NAMED])
        named += f" and {len(self.words) - MOST_NAMED} more" if len(self.words) > MOST_NAMED else ""
        order = ", ".join(self.markers)
        return f"nothing says which of {named} is for which panel; name them in the order {order}: {self.settles}"

    @property
    def settles(self) -> str:
        """The option that would settle it, with the words as they came: the order is for the person to choose."""
        words = [word or NOTHING for word in self.words[: len(self.markers)]]
        value = json.dumps(words, ensure_ascii=False) if any("," in word for word in words) else ",".join(words)
        return command(("--set", f"group.roles={value}"))


Panels = Mapping[str, int] | Ambiguous
"""By word, the panel from 0; or why that can't be told."""


def panels_of(words: Iterable[str], task: Task) -> dict[str, int] | Ambiguous:
    """The panel, from 0, that each word stands for in a task.

    Args:
        words: the different roles that occur in a pool of pictures, as a name or a column has them: a marker, a word,
            a number. An empty one is that of pictures without a word (`1.jpg` beside `1_edit.jpg`).

    Returns:
        The panels; several words may share one (`before`, `vorher`). A word that no panel is for is left out. Where
        there are fewer words than panels, those that are certain. `Ambiguous` if there are enough words for all panels
        and nothing says which is which.
    """
    found = tuple(dict.fromkeys(words))
    table, size = _table(task.markers, task.roles), task.grid_layout.size
    placed = {word: panel for word in found if (panel := table.find(word)) is not None}
    left = [word for word in found if word not in placed and not vocabulary().no_panel & _spelt(word)]
    certain = {word for word in placed if not table.is_position(word)}
    viewed = any(vocabulary().views & _spelt(word) for word in left)  # then "left" may be a view and not a place
    if len(set(placed.values())) == size and not (viewed and certain < set(placed)):
        return placed
    missing = set(range(size)) - {placed[word] for word in certain}
    if len(missing) == 1 and len(left) == 1 and certain == set(placed):
        return placed | {left[0]: missing.pop()}
    ordered = _in_order([word for word in found if word in placed or word in left], size)
    if ordered is not None:
        return ordered
    return Ambiguous(found, task.markers) if len(found) >= size else placed


def is_role(word: str, task: Task) -> bool:
    """Whether the task, its markers or the vocabulary know a word of a name: as it stands, with or without something
    ("no-sand"), or with a word that adds nothing behind it ("front-view")."""
    first, _, more = word.partition("-")
    if more and compact(first) in vocabulary().without and not any(map(str.isdecimal, more)):
        return _table(task.markers, task.roles).find(word) is not None
    if more and compact(more) in vocabulary().noise:
        word = first
    known = compact(word)
    return bool(known) and (known in _table(task.markers, task.roles).panels or known in vocabulary().scaled)


def is_counter(word: str) -> bool:
    """Whether it is a number or a single letter, which may be in an order of its own."""
    return "-" not in word and (_number(word) is not None or _letters([word]) != [None])


def starts_counting(words: Iterable[str]) -> bool:
    """Whether they are all the numbers from 0 or 1 to some other, or all letters from a."""
    found = set(words)
    ranks = sorted(rank for word in found if (rank := _number(word)) is not None) or sorted(map(_letter, found))
    return len(ranks) == len(found) and ranks in ([*range(len(ranks))], [*range(1, len(ranks) + 1)])


def _letter(word: str) -> int:
    return ord(word) - ord("a") if len(word) == 1 else -1


def glued(task: Task) -> frozenset[str]:
    """Known words that may be written in one with what they belong to ("chairbefore")."""
    words = {*_table(task.markers, task.roles).panels, *vocabulary().scaled}
    return frozenset(filter(stands_out, words))


def is_sure(word: str, task: Task) -> bool:
    """Whether it is one word that the task, its markers or the general words of change know, and no short one."""
    return word.isalpha() and stands_out(word) and compact(word) in _table(task.markers, task.roles).panels


def stands_out(word: str) -> bool:
    """Whether a word means something among others; short ones ("in", "to", "b") are often part of a name."""
    return not word.isdecimal() and (len(word) >= SHORTEST or not word.isascii())


# ---- words


@lru_cache(maxsize=1 << 14)
def compact(word: str) -> str:
    """A word without case, accents and separators, as words are compared: "Après-ski" is "apresski"."""
    plain = unicodedata.normalize("NFKD", word).casefold()
    kept = (one for one in plain if one.isalnum() or (unicodedata.category(one)[0] == "M" and one not in ACCENTS))
    return unicodedata.normalize("NFC", "".join(kept))


def split_words(text: str) -> list[str]:
    """The words and numbers of a name: parted at separators, before capitals, and between letters and digits."""
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return re.findall(r"\d+|(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0dff\u0e00-\u0e7f])+", text)


def _significant(word: str) -> list[str]:
    """The words of a role without those that add nothing."""
    parts = split_words(word)
    return [part for part in parts if compact(part) not in vocabulary().noise] or parts


@lru_cache(maxsize=1 << 14)
def _spelt(word: str) -> frozenset[str]:
    """The word as it is compared, with and without what adds nothing to it."""
    return frozenset((compact(word), compact("".join(_significant(word)))))


# ---- what is known of them


@dataclass(frozen=True)
class Vocabulary:
    """Words that say which panel a picture is for, whatever the task, as `compact` spells them."""

    change: tuple[frozenset[str], ...]
    """What a picture was, and what became of it."""
    scales: tuple[tuple[frozenset[str], ...], ...]
    scaled: frozenset[str]
    """All words of scales and of changes that are more than a letter."""
    noise: frozenset[str]
    leading: frozenset[str]
    without: frozenset[str]
    no_panel: frozenset[str]
    positions: frozenset[str]
    views: frozenset[str]

    def same_as(self, names: Iterable[str]) -> set[str]:
        """Everything that means the same as one of the names."""
        steps = [*self.change, *(step for scale in self.scales for step in scale)]
        return set().union(*(step for step in steps if not step.isdisjoint(names)))


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The words of `vocabulary.toml`."""
    read = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8"))

    def words(text: str) -> frozenset[str]:
        return frozenset(map(compact, text.split()))

    change = tuple(map(words, read["change"]))
    scales = tuple(tuple(map(words, scale)) for scale in read["scales"])
    every = frozenset[str]().union(*change, *(step for scale in scales for step in scale))
    lists = {name: words(read[name]) for name in ("noise", "leading", "without", "no_panel", "positions", "views")}
    return Vocabulary(change, scales, frozenset(word for word in every if len(word) > 1 or not word.isascii()), **lists)


@dataclass(frozen=True)
class _Table:
    """What single words say in a task."""

    panels: Mapping[str, int]
    places: frozenset[str]
    """Those that are known from a marker that only says where in the grid its panel is."""

    def find(self, word: str) -> int | None:
        """The panel that a role is for, from 0, by all of its words or by those that agree."""
        if not word:
            return self.panels.get("")
        for spelling in (compact(word), compact("".join(_significant(word)))):
            if spelling in self.panels:
                return self.panels[spelling]
        parts = [compact(part) for part in split_words(word)]
        if len(parts) > 1 and parts[0] in vocabulary().leading:
            return self.panels.get("without" if parts[0] in {"no", "not", "non"} else parts[0])
        panels = {self.panels[part] for part in parts if part in self.panels and stands_out(part)}
        return panels.pop() if len(panels) == 1 else None

    def is_position(self, word: str) -> bool:
        return bool(self.places & _spelt(word))


@lru_cache(maxsize=64)
def _table(markers: tuple[str, ...], roles: tuple[tuple[str, ...], ...]) -> _Table:
    known, panels, places = vocabulary(), dict[str, int](), set[str]()
    if len(markers) == len(known.change):
        panels = {word: side for side, words in enumerate(known.change) for word in words}
    for panel, marker in enumerate(markers):
        names = _spelt(marker)
        spelt = names | {word for word in known.same_as(names) if word not in panels}
        panels |= dict.fromkeys(spelt, panel)
        if names & known.positions:
            places |= spelt
    for panel, words in enumerate(roles):
        own = {compact(word) for word in words}  # NOTHING has no letters, and is that of an empty role
        panels |= dict.fromkeys(own, panel)
        places -= own
    return _Table(panels, frozenset(places))


# ---- order


def _in_order(words: Sequence[str], size: int) -> dict[str, int] | None:
    """The words in the order that numbers, letters or a scale of the vocabulary give them; None if there is none."""
    scales = ([_step(word, scale) for word in words] for scale in vocabulary().scales)
    for ranks in ([_number(word) for word in words], *scales, _letters(words)):
        known = [rank for rank in ranks if rank is not None]
        if len(known) == len(words) and len(set(known)) == size:
            order = sorted(set(known))
            return {word: order.index(rank) for word, rank in zip(words, known, strict=True)}
    return None


def _step(word: str, scale: Sequence[frozenset[str]]) -> int | None:
    return next((rank for rank, step in enumerate(scale) if step & _spelt(word)), None)


def _number(word: str) -> int | None:
    parts = _significant(unicodedata.normalize("NFKC", word))
    fits = len(parts) == 1 and parts[0].isdecimal() and len(parts[0]) <= LONGEST_NUMBER
    return int(parts[0]) if fits else None


def _letters(words: Sequence[str]) -> list[int | None]:
    """Ranks of Roman numerals, or of letters that follow one another in the alphabet; else nothing."""
    spelt = [compact("".join(_significant(word))) for word in words]
    if all(word in ROMAN for word in spelt):
        return [ROMAN[word] for word in spelt]
    ranks = [ord(word) if len(word) == 1 and word.isalpha() else None for word in spelt]
    known = sorted({rank for rank in ranks if rank is not None})
    run = None not in ranks and bool(known) and known[-1] - known[0] == len(known) - 1
    return ranks if run else [None] * len(words)
