"""Source paths -> items: opens containers, sorts what is in them, and attaches the texts and facts that came along."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.files import natural
from pipeline.sources import containers, disk, referring
from pipeline.sources.base import Container, Fault, Item, Remark, is_address
from pipeline.sources.companions import ENCODING, LISTING, SECOND, STRAY, Companions
from pipeline.sources.names import is_hidden, is_passed_over, listed, passed_over
from pipeline.task import Task

BESIDE = {
    ".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".cls", ".md", ".toml", ".yaml", ".yml", ".sh", ".srt",
    ".vtt",
}  # fmt: skip
"""Endings of files that accompany images; they are not listed as unsupported."""
CHECKSUMS = "SHA256SUMS"
"""A file of this name accompanies a data set."""
PARQUET = ".parquet"
PAPERS = ("LICENSE", "NOTICE", CHECKSUMS)
"""Names without an ending of files that are no pictures."""
TABLES = ("parquet/train.parquet", "parquet/validation.parquet")
"""Files of these names accompany a data set with reference images: the same pictures once more."""
TELLING = {
    STRAY: "{count} text file{s} belong{verb} to no picture: {names}",
    SECOND: "{count} text{s} differ{verb} from another text of the same picture: {names}",
    ENCODING: "{count} text{s} can't be read, for an encoding in doubt or lost letters: {names}; the rows say more",
}
"""What is said of rows with these reasons, besides the rows themselves."""
MOST_SHARDS = 100_000
"""Files that one pattern may stand for."""
MASK_FOLDERS = ("mask", "masks", "masks-held-out", "conditioning")
"""A folder of this name holds masks of the pictures of the same names beside it or in a folder beside it."""
MASK_ENDINGS = ("-masklabel", "-condlabel")
"""OneTrainer's: `0001-masklabel.png` belongs to `0001.png`."""


@cache
def ordered(package: ModuleType) -> tuple[Any, ...]:
    """The plug-ins of a package in the order in which they are asked; a broken one of another package is left out."""
    found = plugins.usable(package)
    return tuple(module for _, module in sorted(found, key=lambda one: (one[1].PRIORITY, one[0].name)))


class Items(list[Item]):
    """Items in order, and what is to be said of the sources that they are from."""

    remarks: Sequence[str] = ()
    """What a person should know of the containers, one sentence each."""
    counts: Mapping[str, int] = MappingProxyType({})
    """By source as it was given, how many items it alone or it first has."""


def items_of(paths: Sequence[Path], task: Task | None = None) -> Items:
    """Everything below the given paths that may hold pictures, each thing once by whatever links lead to it.

    Items come in the order of the paths, and within one in natural order (shot 2 before shot 10) or, for a table, in
    the order of its rows. Of a file that both a table and a folder have, the table's item counts, which says more.

    Args:
        paths: may be patterns: `shard-{000..009}.tar`, `data/*.parquet`.
        task: whose settings say how tables are read; None where there are none.

    Raises:
        BadInput: paths do not exist (all of them are named) or one can't be opened, or a listing is broken.
    """
    found: dict[tuple[str, str], Item] = {}
    said: list[str] = []
    counts: dict[str, int] = {}
    for given, path in expanded(paths):
        container: Container | None = next((module for module in ordered(containers) if module.claims(path)), None)
        if container is None:
            raise BadInput(
                f"source {given} is an address that nothing here opens: a data set of the hub is "
                "hf://datasets/OWNER/NAME, and addresses of pictures go into a text file, one per line."
            )
        before = len(found)
        for item in _within(path, container, task, said):
            place = _identity(item)
            if place not in found or _says_more(item, found[place]):
                found[place] = item
        counts[str(given)] = counts.get(str(given), 0) + len(found) - before
    if len(counts) > 1:
        said += (f"{given} adds no film and no picture." for given, count in counts.items() if not count)
    items = Items(_marked(list(found.values())))
    items.remarks, items.counts = [remark.encode(errors="replace").decode() for remark in said], counts
    return items


def expanded(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """The paths, each with the one that was given: patterns stand for what they match, in natural order, and a folder
    that has nothing to read but Parquet tables, as data sets of the hub do, for these.

    Raises:
        BadInput: some match nothing; all of them are named.
    """
    found = [(given, path) for given in paths for path in _matching(given)]
    missing = [str(given) for given in paths if not any(each is given for each, _ in found)]
    missing += [
        str(path) for given, path in found if not (path.exists() or is_address(path)) and str(given) not in missing
    ]
    if missing:
        verb = "does" if len(missing) == 1 else "do"
        what = f"source{'s' * (len(missing) > 1)} {', '.join(missing)} {verb} not exist"
        raise BadInput(f"{what}; give a film, a picture, a table, or a folder or archive of them.")
    return found


def _matching(given: Path) -> Iterator[Path]:
    """What a path stands for: itself where it exists, else what its braces and wildcards match."""
    if given.exists() or is_address(given) or not re.search(r"[*?\[{]", str(given)):
        yield from _shards_in(given) or [given]
        return
    for spelt in _unbraced(str(given)):
        if re.search(r"[*?\[]", spelt):
            yield from map(Path, sorted(glob.glob(spelt, recursive=True), key=natural))
        else:
            yield Path(spelt)


def _shards_in(folder: Path) -> list[Path]:
    """The Parquet tables in a folder, in natural order; none where it has other things that may be read."""
    found: list[str] = []
    for here, folders, names in disk.walk(str(folder)):
        folders[:] = [name for name in folders if not is_hidden(name)]
        shown = [name for name in names if not (is_hidden(name) or name in PAPERS)]
        tables = [name for name in shown if name.endswith(PARQUET)]
        others = any(os.path.splitext(name)[1].lower() not in BESIDE for name in set(shown) - set(tables))
        if others or any(os.path.islink(os.path.join(here, name)) for name in folders):  # where sources follow them
            return []
        found += [os.path.join(here, name) for name in tables]
    return [*map(Path, sorted(found, key=natural))]


def _unbraced(pattern: str) -> Iterator[str]:
    """The names that braces stand for, as in a shell and in WebDataset: `{000..009}`, `{a,b}`."""
    braces = re.search(r"\{(?:(\d{1,9})\.\.(\d{1,9})|([^{}]*,[^{}]*))\}", pattern)
    if not braces:
        yield pattern
        return
    first, last, words = braces.groups()
    if words is None and abs(int(last) - int(first)) >= MOST_SHARDS:
        raise BadInput(f"source {pattern} stands for more than {MOST_SHARDS:,} files; give fewer.")
    numbers = range(int(first), int(last) + 1) if words is None else ()
    for part in words.split(",") if words is not None else (f"{number:0{len(first)}d}" for number in numbers):
        yield from _unbraced(f"{pattern[: braces.start()]}{part}{pattern[braces.end() :]}")


def _within(path: Path, container: Container, task: Task | None, said: list[str]) -> Iterator[Item]:
    """What is in one container, with the texts and facts that came along; then a row for each text that is no use.

    Args:
        said: gets what is to be said of the container as a whole.
    """
    given = list(container.items(path, task))
    said += (one.text for one in given if isinstance(one, Remark))
    listing = [item for item in given if isinstance(item, Item)]
    over = [item.name for item in listing if is_passed_over(item.name) and not _was_named(item, path)]
    said += (f"{path} {remark}" for remark in [passed_over(over)] if remark)
    names = frozenset(over)
    inside = list(_usable(item for item in listing if item.name not in names or _was_named(item, path)))
    beside = [item for item in inside if _is_beside(item)]
    things = [item for item in inside if not _is_beside(item)]
    companions = Companions(container, things, beside)
    complete = [companions.complete(item) for item in sorted(things, key=_order)]
    found, missing = referring.attach(complete, container, companions.text_at)
    yield from found
    said += [*companions.said, *missing]
    yield from companions.rows()


def _was_named(item: Item, path: Path) -> bool:
    """Whether a person has named a file: as the source itself, or in a table that is one."""
    return item.listed or item.source == os.path.abspath(path)


def _order(item: Item) -> tuple[int, list[tuple[int, int | str]], str]:
    return (item.facts.row, [], "") if item.facts.row >= 0 else (-1, natural(item.source), item.source)


def _says_more(item: Item, other: Item) -> bool:
    return item.facts.row >= 0 > other.facts.row and not item.fault


def is_thing(item: Item) -> bool:
    """Whether it is something that may hold pictures, sound or not; else it is a text about which there is a row."""
    return item.fault is None or item.fault.reason not in (*TELLING, LISTING)


def remarks(items: Iterable[Item]) -> list[str]:
    """What a person should know at once of the texts and listings that came along: one sentence each."""
    names: dict[str, list[str]] = {reason: [] for reason in TELLING}
    found = []
    for item in items:
        if item.fault and item.fault.reason == LISTING:
            found.append(item.fault.detail)
        elif item.fault and item.fault.reason in names:
            names[item.fault.reason].append(item.name)
    for reason, of_reason in names.items():
        if count := len(of_reason):
            s, verb = ("", "s") if count == 1 else ("s", "")
            found.append(f"{TELLING[reason].format(count=count, s=s, verb=verb, names=listed(of_reason))}.")
    return [remark.encode(errors="replace").decode() for remark in found]  # names need not be UTF-8


def _identity(item: Item) -> tuple[str, str]:
    """Equal for items that are one file by links. Names within archives are never resolved as if they were paths."""
    path = item.content.path if item.content else None
    return (os.path.realpath(path), "") if path else (os.path.realpath(item.home), item.name)


def _is_beside(item: Item) -> bool:
    """Whether it only accompanies others."""
    if item.fault or item.listed:
        return False
    if f"/{item.name}".endswith(tuple(f"/{table}" for table in TABLES)):
        return True
    return posixpath.splitext(item.name)[1].lower() in BESIDE or posixpath.basename(item.name) == CHECKSUMS


def _usable(items: Iterable[Item]) -> Iterator[Item]:
    """The items; one whose name leads out of the container, or was there before, gets a fault and a name of its own."""
    seen: set[str] = set()
    for item in items:
        name, fault = item.name, item.fault
        parts = name.split("/")
        if name and (not parts[0] or not parts[-1] or not {".", ".."}.isdisjoint(parts) or "\0" in name):
            name = name.replace("\0", "?")
            fault = Fault(
                "name", f"{item.home} has a member named {name!r}, which leads out of it or nowhere; rename it."
            )
        if name in seen:
            fault = Fault("name", f"{item.source} is in {item.home} more than once; only the first is read.")
            name = f"{name} ({len(seen)})"
        seen.add(name)
        yield item if fault is item.fault else replace(item, name=name, content=None, fault=fault)


def _marked(items: Sequence[Item]) -> list[Item]:
    """The items with what takes a view of all of them: which texts say the same, and what is a mask."""
    own: dict[tuple[str, str], set[str]] = defaultdict(set)
    stems: set[tuple[str, str]] = set()
    for item in items:
        own[item.folder, item.text].add(item.stem)
        above, _, folder = item.folder.rpartition("/")
        stems.add((item.folder, item.stem))
        if folder.lower() not in MASK_FOLDERS:
            stems.add((f"{above}/*", item.stem))
    return [
        replace(item, twin=bool(item.text) and len(own[item.folder, item.text]) > 1, mask=_is_mask(item, stems))
        for item in items
    ]


def _is_mask(item: Item, stems: set[tuple[str, str]]) -> bool:
    if item.stem.endswith(MASK_ENDINGS):
        return (item.folder, item.stem.rpartition("-")[0]) in stems
    above, _, folder = item.folder.rpartition("/")
    return folder.lower() in MASK_FOLDERS and not stems.isdisjoint({(above, item.stem), (f"{above}/*", item.stem)})
