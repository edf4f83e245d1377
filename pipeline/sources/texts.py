"""The texts that come with images, in files beside them: which names they may have, and what they say."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pipeline.sources.base import Item
from pipeline.task import Task
from pipeline.text import grammar

ENDINGS = (".txt", ".caption")
"""Of texts beside images, in any case; `.caption` is kohya's."""
MOST_BYTES = 100_000
"""Bytes of a file that may be a caption: the longest published one has 3,000 characters."""


@dataclass(frozen=True)
class Text:
    """The text that counts for an image; where it is `joint` it describes a whole set, which `set` names."""

    text: str = ""
    joint: bool = False
    set: str = ""
    page: int = 0


def numbered(stem: str) -> tuple[str, int] | None:
    """`0001-2`, `0001_2`, `0001 (2)` and `0001_panel2` are page 2 of `0001`; None without a separated number."""
    found = re.fullmatch(r"(.+?)[ _.\-]+[A-Za-z]*\(?(\d{1,4})\)?", stem)
    return (found[1], int(found[2])) if found else None


def places(item: Item) -> tuple[str, str, str]:
    """The folder of an item and the one above as they stand before a name in its container, and the folder's own name.

    For `a/b/0001.png` these are "a/b/", "a/" and "b"; above the container's root is "../".
    """
    inner = item.name.rpartition("/")[0]
    outer = inner.rpartition("/")[0]
    above = f"{outer}/" if outer else "" if inner else "../"
    return f"{inner}/" if inner else "", above, item.folder.rpartition("/")[2]


def own_names(item: Item) -> list[str]:
    """Where its own text may be: for `a.png` in `a.txt`, `a.caption`, `a.png.txt` or `a.png.caption`, in this order."""
    here, file = places(item)[0], item.name.rpartition("/")[2]
    return [f"{here}{stem}{ending}" for stem in (item.stem, file) for ending in ENDINGS]


def about_names(item: Item) -> list[str]:
    """Where a JSON file about it may be: for `a.png` in `a.json` or `a.png.json`."""
    here, file = places(item)[0], item.name.rpartition("/")[2]
    return [f"{here}{stem}.json" for stem in (item.stem, file)]


def about_group_names(item: Item) -> list[str]:
    """Where a JSON file about its group may be; nowhere if it has none."""
    return [f"{places(item)[0]}{_own_name(item.facts.group)}.json"] if item.facts.group else []


def _own_name(group: str) -> str:
    """A group's name without that of the archive that it is in."""
    return group.rpartition("/")[2]


def shared_names(item: Item) -> list[tuple[str, str]]:
    """Where the text of its set or folder may be, each with the set's name."""
    here, above, folder = places(item)
    pages = numbered(item.stem)
    of_set = [(here, pages[0])] if pages else []
    of_set += [(here, _own_name(item.facts.group))] if item.facts.group else []
    of_folder = [(here, "caption"), (here, folder), (above, folder)]
    return [
        (f"{place}{stem}{ending}", f"{folder}/{stem}" if (place, stem) in of_set else folder)
        for place, stem in (*of_set, *of_folder)
        for ending in ENDINGS
    ]


def text_of(item: Item, task: Task) -> Text:
    """The joint caption of the set that the item belongs to, else its own text.

    A joint caption may be the item's own text, be `0001.txt` for `0001-1.png` to `0001-3.png`, or be that of a folder
    that is one set: `caption.txt` or the folder's own name in it, or the folder's name beside it.
    """
    pages = numbered(item.stem)
    page = pages[1] if pages else int(item.stem) if item.stem.isdecimal() else 0
    if item.facts.order is not None:
        page = int(item.facts.order)
    if item.text and grammar.is_joint(item.text, task):
        name = f"{pages[0] if pages else 'caption'} {hashlib.sha256(item.text.encode()).hexdigest()[:8]}"
        return Text(item.text, True, f"{item.folder.rpartition('/')[2]}/{name}", page)
    for text, of_set in item.shared:
        if grammar.is_joint(text, task):
            return Text(text, True, of_set, page)
    return Text(item.text, page=page)
