"""Roles: which panel of a task a word such as "before", "front" or "2" stands for, and what to ask where none says so.

A word is looked up in the task's own table (`[group.roles]`), among its markers, then in the general vocabulary below;
numbers and letters are in their own order. Where that leaves the order of the panels open, it is never guessed: a pair
the wrong way round teaches a model the opposite.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.task import Task
from pipeline.wording import command

CHANGE = (
    """before pre original originals orig org unedited untouched unretouched raw source sources src input inputs in
    control controls cond condition conditions conditioning reference references ref from
    vorher davor quelle eingabe unbearbeitet avant antes prima originale original entrada entree
    до исходник исходное 前 之前 修改前 处理前 原图 原圖 原始 ビフォー ビフォア 元画像 전 이전 원본 قبل voor før före
    před przed önce öncesi orjinal πριν पहले ก่อน trước sebelum לפני înainte előtte ennen""",
    """after post edited edit edits retouched retouch processed modified changed enhanced restored colorized colourised
    colorised target targets tgt output outputs out result results final finished gt ground-truth to
    nachher danach ziel ausgabe ergebnis bearbeitet après después depois dopo modifié editado modificato salida sortie
    после результат 后 後 之后 之後 修改后 处理后 效果图 結果 结果 アフター 後画像 후 이후 결과 بعد na etter efter
    po sonra sonrası μετά बाद หลัง sau sesudah setelah אחרי după utána jälkeen""",
)
"""A picture and what became of it: words that tell a pair's order whatever the task, also beside words unknown here."""
SCALES: tuple[tuple[str, ...], ...] = (
    (
        "left l lt lhs links linke gauche izquierda esquerda sinistra lewo слева левый лево 左 左边 왼쪽 يسار solda",
        "center centre middle mid c mitte milieu centro 中 中间 가운데",
        "right r rt rhs rechts rechte droite derecha direita destra prawo справа правый право 右 右边 오른쪽 يمين sağda",
    ),
    (
        "top t upper up above oben haut arriba superior сверху верх 上 위",
        "center centre middle mid mitte milieu centro 中",
        "bottom b lower down below unten bas abajo inferior снизу низ 下 아래",
    ),
    (
        "front f frontal anterior face vorne vorn vorderseite frente devant fronte avanti recto спереди перед 正面 前面 앞",
        "three-quarter three-quarters threequarter 3-4 3q quarter 34",
        "side profile lateral seite seitlich profil lado côté lato сбоку 侧面 側面 横 옆",
        "back rear b posterior hinten rückseite rueckseite espalda dos derrière arrière verso retro dietro сзади зад "
        "背面 后面 後面 뒤",
    ),
    ("front f avant", "back b arrière"),
    (
        "top-left tl upper-left left-top oben-links haut-gauche arriba-izquierda 左上",
        "top-right tr upper-right right-top oben-rechts haut-droite arriba-derecha 右上",
        "bottom-left bl lower-left left-bottom unten-links bas-gauche abajo-izquierda 左下",
        "bottom-right br lower-right right-bottom unten-rechts bas-droite abajo-derecha 右下",
    ),
    ("start begin beginning anfang début inicio inizio начало", "middle mid mitte", "end ende fin final fine конец"),
    ("first 1st", "second 2nd", "third 3rd", "fourth 4th"),
    ("first erste", "last letzte"),
    (
        "one eins un uno один 一",
        "two zwei deux dos due два 二",
        "three drei trois tres tre три 三",
        "four vier quatre 四",
    ),
    ("old alt vieux ancien viejo antiguo vecchio старый 旧 舊", "new neu nouveau nuevo novo nuovo новый 新"),
    ("low lq lr low-res lowres low-quality", "high hq hr high-res highres high-quality"),
    ("past", "present", "future"),
    ("previous prev", "current", "next"),
    ("spring", "summer", "autumn fall", "winter"),
    ("i", "o"),
)
"""Words in an order of their own, several spellings each. Only all the words of a group together tell which is meant."""
NOISE = frozenset(
    """view views image images img imgs picture pictures pic pics photo photos panel panels frame frames shot version
    side file files the of ansicht bild bilder foto fotos vue vista seite scene""".split()
)
"""Words that add nothing to the other words of a role: "front view", "target_images"."""
LEADING = frozenset("before after pre post with without no not non vor nach ohne mit avant après sans avec".split())
"""Of several words the first decides if it is one of these: "before edit"."""
NO_PANEL = frozenset("mask masks alpha matte thumb thumbs thumbnail thumbnails preview previews".split())
"""What belongs to a picture without being a panel."""
POSITIONS = frozenset("left right top bottom".split())
VIEWS = frozenset("front back rear side profile three-quarter threequarter".split())
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8}


@dataclass(frozen=True)
class Ambiguous:
    """Words that don't tell the order of the panels; as text, a sentence with the setting that does."""

    words: tuple[str, ...]
    markers: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(f"'{word}'" if word else "'-' (no word at all)" for word in self.words)
        order = ", ".join(self.markers)
        return f"nothing says which of {named} is for which panel; name them in the order {order}: {self.settles}"

    @property
    def settles(self) -> str:
        """The option that would settle it, with the words as they came: the order is for the person to choose."""
        words = [word or "-" for word in self.words[: len(self.markers)]]
        value = json.dumps(words, ensure_ascii=False) if any("," in word for word in words) else ",".join(words)
        return command(("--set", f"group.roles={value}"))


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
    placed = {word: panel for word in found if (panel := _look_up(word, table)) is not None}
    left = [word for word in found if word not in placed and compact(word) not in NO_PANEL]
    certain = {word for word in placed if not _only_a_position(word, table)}
    if len(set(placed.values())) == size and not (left and certain < set(placed) and _views(found)):
        return placed
    missing = set(range(size)) - {placed[word] for word in certain}
    if len(missing) == 1 and len(left) == 1 and certain == set(placed):
        return placed | {left[0]: missing.pop()}
    ordered = _in_order([word for word in found if compact(word) not in NO_PANEL], size)
    if ordered is not None:
        return ordered
    return Ambiguous(found, task.markers) if len(found) >= size else placed


@lru_cache(maxsize=4096)
def compact(word: str) -> str:
    """A word without case, accents and separators, as it is compared: "Après-Midi" is "apresmidi"."""
    plain = unicodedata.normalize("NFKD", word).casefold()
    return "".join(letter for letter in plain if letter.isalnum() or unicodedata.category(letter) == "Mc")


def split_words(text: str) -> list[str]:
    """The words and numbers of a name: parted at separators, before capitals, and between letters and digits."""
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r"(?<=[a-zß-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])", " ", text)  # noqa: RUF001
    return re.findall(r"\d+|(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0dff])+", text)


@dataclass(frozen=True)
class _Table:
    """What single words say in a task, compacted."""

    panels: Mapping[str, int]
    positions: frozenset[str]
    """Those that are known from a marker that only says where its panel is."""


@lru_cache(maxsize=64)
def _table(markers: tuple[str, ...], roles: tuple[tuple[str, ...], ...]) -> _Table:
    panels: dict[str, int] = {}
    if len(markers) == len(CHANGE):
        panels = {compact(word): side for side, words in enumerate(CHANGE) for word in words.split()}
    positions: set[str] = set()
    for panel, marker in enumerate(markers):
        names = {compact(marker), compact("".join(_significant(marker)))}
        spelt = {word for word in _spellings(names) if word not in panels} | names
        panels |= dict.fromkeys(spelt, panel)
        if not names.isdisjoint(POSITIONS):
            positions |= spelt
    for panel, words in enumerate(roles):
        own = {compact(word) for word in words}
        panels |= dict.fromkeys(own, panel)
        positions -= own
    return _Table(panels, frozenset(positions))


def _spellings(names: set[str]) -> set[str]:
    """Everything that the vocabulary takes for the same as one of the names."""
    same = [{compact(word) for word in step.split()} for scale in (CHANGE, *SCALES) for step in scale]
    return set().union(*(words for words in same if not names.isdisjoint(words)))


def _significant(word: str) -> list[str]:
    parts = split_words(word)
    return [part for part in parts if compact(part) not in NOISE] or parts


def _look_up(word: str, table: _Table) -> int | None:
    for spelling in (word, "".join(_significant(word))):
        if (panel := table.panels.get(compact(spelling))) is not None:
            return panel
    parts = [compact(part) for part in split_words(word)]
    if len(parts) > 1 and parts[0] in LEADING:
        leading = "without" if parts[0] in ("no", "not", "non") else parts[0]
        return table.panels.get(leading)
    panels = {table.panels[part] for part in parts if part in table.panels}
    return panels.pop() if len(panels) == 1 else None


def _only_a_position(word: str, table: _Table) -> bool:
    return not {compact(word), compact("".join(_significant(word)))}.isdisjoint(table.positions)


def _views(words: Sequence[str]) -> bool:
    """Whether "left" and "right" are views of a thing: others of its views are named too."""
    return any(compact("".join(_significant(word))) in VIEWS for word in words)


def _in_order(words: Sequence[str], size: int) -> dict[str, int] | None:
    """The words in the order that numbers, letters or a scale of the vocabulary give them; None if there is none."""
    ranks: list[list[int | None]] = [[_number(word) for word in words], _letters(words)]
    for scale in SCALES:
        steps = [{compact(spelling) for spelling in step.split()} for step in scale]
        ranks.append([_step(word, steps) for word in words])
    for found in ranks:
        known = [rank for rank in found if rank is not None]
        if len(known) == len(words) and len(set(known)) == size:
            order = sorted(set(known))
            return {word: order.index(rank) for word, rank in zip(words, known, strict=True)}
    return None


def _step(word: str, steps: Sequence[set[str]]) -> int | None:
    spelt = {compact(word), compact("".join(_significant(word)))}
    return next((rank for rank, step in enumerate(steps) if not spelt.isdisjoint(step)), None)


def _number(word: str) -> int | None:
    parts = _significant(unicodedata.normalize("NFKC", word))
    return int(parts[-1]) if len(parts) == 1 and parts[-1].isdecimal() else None


def _letters(words: Sequence[str]) -> list[int | None]:
    """Ranks of Roman numerals, or of letters that follow one another in the alphabet; else nothing."""
    spelt = [compact("".join(_significant(word))) for word in words]
    if all(word in ROMAN for word in spelt):
        return [ROMAN[word] for word in spelt]
    ranks = [ord(word) if len(word) == 1 and word.isalpha() else None for word in spelt]
    known = sorted({rank for rank in ranks if rank is not None})
    run = None not in ranks and bool(known) and known[-1] - known[0] == len(known) - 1
    return [*ranks] if run else [None] * len(words)
