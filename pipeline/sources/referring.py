"""Pictures and their reference images: which of a container's pictures are what a model is shown beside another one.

A listing says it (`control_path`, `control_image`, `edit_image`, `kontext_images`, `references`), or folders or the
pictures' own names do, as trainers read them:

    images/0001.png, images/0001.txt        a picture with its caption
    control_1/0001.png, control_2/0001.png  its reference images; the folders lie beside that of the picture or in it
    control/0001_0.png, control/0001_1.png  the same in one folder, or only control/0001.png

    0001_end.png, 0001.txt                  a picture with its caption
    0001_start.png, 0001_start2.png         its reference images

Only a picture with a caption has reference images by folders or names; without one, two folders of the same names, or
the start and the end of a shot, are a pair of which nobody has said which is drawn from which.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipeline.sources.base import Container, Item

FOLDER = re.compile(r"(?:control|reference)(?:s|_images?)?(?:_(\d))?(?:-held-out)?", re.IGNORECASE)
"""Names of folders of reference images, with their number where there are several."""
Address = tuple[str, str]
"""A container's address and a name in it."""
NUMBERED = re.compile(r"(.+)_(\d{1,4})")
"""musubi-tuner's names for several reference images of one picture."""
START, END = re.compile(r"(.+)_start([2-4]?)", re.IGNORECASE), re.compile(r"(.+)_end", re.IGNORECASE)
"""fal's names, without their endings, for reference images and for the picture that is drawn from them."""


def attach(
    items: Sequence[Item], container: Container, text_at: Callable[[str, str], str]
) -> tuple[list[Item], list[str]]:
    """The items, each with its reference images, which are no items of their own any more.

    Args:
        text_at: the text in a container at a name; empty where there is none.

    Returns:
        The items, and a sentence for each picture of which a reference image is missing; it is read without them.
    """
    in_folders, in_pairs = _InFolders(items), _InPairs(items)
    items = [in_pairs.told(item, text_at) for item in items]
    by_name = {(item.home, item.name): item for item in items}
    # A reference image may be the picture of another item of its set.
    texts = {(item.home, item.facts.set, item.facts.places[-1]): item.text for item in items if item.facts.places}
    targets: dict[Address, Item] = {}
    said = []
    for address, item in by_name.items():
        names = [] if item.fault else item.facts.references or in_folders.of(item) or in_pairs.of(item)
        found = [_found(item.home, name, by_name, container) for name in names]
        if missing := [name for name, one in zip(names, found, strict=True) if one is None]:
            said.append(f"{item.source} names {missing[0]} as a reference image, which is missing; it is read without.")
        elif found:
            told = [texts.get((item.home, item.facts.set, place), "") for place in item.facts.places] or [""] * len(
                found
            )
            references = [replace(one, text=text) for one, text in zip(found, told, strict=False) if one]
            targets[address] = replace(item, references=tuple(references))
    used = {(one.home, one.name) for target in targets.values() for one in target.references} - targets.keys()
    return [targets.get(address, item) for address, item in by_name.items() if address not in used], said


def _found(home: str, name: str, by_name: Mapping[Address, Item], container: Container) -> Item | None:
    """The item of a name, which may be a file beside the container."""
    if item := by_name.get((home, name)):
        return None if item.fault else item
    content = container.beside(home, name)
    return Item(home, name, content, listed=True) if content else None


class _InFolders:
    """The pictures in folders of reference images."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.found: dict[Address, dict[str, list[tuple[int, int, str]]]] = defaultdict(lambda: defaultdict(list))
        """By the place of the folders, and by stem, the names with the numbers of folder and picture."""
        for item in items:
            above, folder = posixpath.split(posixpath.dirname(item.name))
            if item.fault or not (match := FOLDER.fullmatch(folder)):
                continue
            by_stem, number = self.found[item.home, above], int(match[1] or 0)
            by_stem[item.stem].append((number, 0, item.name))
            if not number and (numbered := NUMBERED.fullmatch(item.stem)):
                by_stem[numbered[1]].append((number, int(numbered[2]), item.name))

    def of(self, item: Item) -> list[str]:
        """The names of an item's reference images, in their order."""
        folder = posixpath.dirname(item.name)
        if not self.found or not item.text or FOLDER.fullmatch(posixpath.basename(folder)):
            return []
        places = dict.fromkeys([posixpath.dirname(folder), folder] if folder else [""])
        found = [one for place in places for one in self.found.get((item.home, place), {}).get(item.stem, [])]
        return [name for *_, name in sorted(found)]


class _InPairs:
    """The pictures that fal's names pair with each other."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.starts: dict[Address, list[tuple[str, str]]] = defaultdict(list)
        """By what the names of a pair begin with, the numbers and names of its reference images."""
        self.stems: set[Address] = set()
        for item in items:
            stem = posixpath.splitext(item.name)[0]
            self.stems.add((item.home, stem))
            if not item.fault and (match := START.fullmatch(stem)):
                self.starts[item.home, match[1]].append((match[2], item.name))

    def _root(self, item: Item) -> str:
        """What an item's name begins with as those of its reference images do; empty where it has none."""
        match = END.fullmatch(posixpath.splitext(item.name)[0]) if self.starts and not item.fault else None
        return match[1] if match and (item.home, match[1]) in self.starts else ""

    def told(self, item: Item, text_at: Callable[[str, str], str]) -> Item:
        """The item with the caption of its pair, unless it has one of its own or the text is another picture's."""
        root = "" if item.text else self._root(item)
        if not root or (item.home, root) in self.stems:
            return item
        return replace(item, text=text_at(item.home, f"{root}.txt"))

    def of(self, item: Item) -> list[str]:
        """The names of an item's reference images, in their order."""
        return [name for _, name in sorted(self.starts.get((item.home, self._root(item)), []))] if item.text else []
