"""The split: which grids a LoRA is trained on, and which are held out to measure it.

Grids that share a source (a film, a folder, a set, a single picture) stay on one side: panels of one story on both
sides would make memorisation look like skill. A group's side depends on a hash of its name, so that adding a film moves
few others.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files, pixels
from pipeline.errors import BadInput
from pipeline.records import Position, Row
from pipeline.task import Task

TRAIN, HELD_OUT = "train", "validation"
"""Folders of the two sides, with the names that `datasets` knows."""
MOST_BYTES = 1 << 28
"""Of a metadata.jsonl."""
MOST = 1 / 3
"""If even the smallest group is a larger share of the grids than this, none is held out."""


@dataclass(frozen=True)
class Split:
    """Which groups of grids are held out."""

    groups: Mapping[str, str]
    """Name of each grid's group, by the grid's id."""
    held_out: frozenset[str]
    """Ids of the grids that are held out."""
    why: str
    """How the split was made, in words for a person."""

    def side(self, grid: str) -> str:
        return HELD_OUT if grid in self.held_out else TRAIN


def divide(rows: Sequence[Row], task: Task) -> Split:
    """Holds out groups, in the order of their names' hashes, as long as they fit into the share.

    If none fits, the smallest is held out, unless it is more than MOST of all grids or the only group.
    """
    share = task.export.held_out
    groups = group(rows, task)
    sizes = Counter(groups.values())
    if share == 0:
        return Split(groups, frozenset(), "nothing is held out, since export.held_out is 0")
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{task.seed} {name}".encode()).digest())
    held, grids = set[str](), 0
    for name in order[:-1]:
        if grids + sizes[name] <= share * len(rows):
            held.add(name)
            grids += sizes[name]
    if not held and len(order) > 1:
        smallest = min(order, key=lambda name: sizes[name])
        held = {smallest} if sizes[smallest] <= MOST * len(rows) else set()
    if not held:
        why = f"nothing is held out: there are too few groups of sources ({len(order)}) to spare one"
        return Split(groups, frozenset(), why)
    out = frozenset(grid for grid, name in groups.items() if name in held)
    verb = "is" if len(held) == 1 else "are"
    why = f"{len(held)} of {len(order)} groups of sources {verb} held out (share {share:g}, seed {task.seed})"
    return Split(groups, out, why)


# ---- what belongs together


def group(rows: Sequence[Row], task: Task) -> dict[str, str]:
    """The name of each grid's group, by id: grids that share a source, directly or through other grids."""
    by_name = task.group.by == "names"
    paired = by_name and len({_home(row) for row in rows}) < 2  # noqa: PLR2004
    parent: dict[str, str] = {}

    def top(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    named: dict[str, list[str]] = {}
    for row in rows:
        first = row.grid.group.records[0].position
        pair = f"{Path(first.folder).name}/{first.stem}" if paired else ""
        home = _home(row) if by_name else ""
        sources = sorted({_source(at, pair or Path(home or at.folder).name) for at in _positions(row)})
        named[row.id] = sources
        for key in (*sources, *(record.id for record in row.grid.group.records)):
            parent[top(key)] = top(sources[0])
    members: dict[str, set[str]] = defaultdict(set)
    for sources in named.values():
        members[top(sources[0])].update(sources)
    return {grid: " + ".join(sorted(members[top(sources[0])])) for grid, sources in named.items()}


def _positions(row: Row) -> Iterator[Position]:
    return (record.position for record in row.grid.group.records)


def _home(row: Row) -> str:
    """The folder that holds all panels of a row, its own or one above: those of a pair may be `before` and `after`."""
    folders = {at.folder for at in _positions(row)}
    try:
        return os.path.commonpath(folders)
    except ValueError:  # some are relative
        return ""


def _source(at: Position, otherwise: str) -> str:
    """The source's name without its location on this machine, which is private and may change.

    Args:
        otherwise: its name if it is neither a film nor a set: that of its pair, or of a folder.
    """
    film = f"{Path(at.folder).name}/{at.film}" if at.film else ""
    return at.group or film or at.set or otherwise


# ---- a finished data set


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The `metadata.jsonl` entries of both sides, by the picture's path in the data set.

    Raises:
        BadInput: there is no data set, or its metadata can't be read.
    """
    found: dict[str, dict[str, Any]] = {}
    for side in (TRAIN, HELD_OUT):
        listing = folder / side / "metadata.jsonl"
        if side == HELD_OUT and not listing.exists():
            continue
        try:
            lines = files.read(listing, MOST_BYTES).decode().splitlines()
            found |= {f"{side}/{entry['file_name']}": entry for entry in map(json.loads, lines)}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput(
                f"{listing} is not a data set's metadata ({error}); run 'iclora export' to write it again."
            ) from error
    return found


def check(folder: Path) -> None:
    """Checks that the two sides of a finished data set share nothing.

    Raises:
        BadInput: a group of sources, a source picture or a grid is on both sides.
    """
    seen: dict[tuple[str, str], str] = {}
    faults = []
    for file, entry in entries(folder).items():
        for key in _marks(folder / file, entry):
            first = seen.setdefault(key, file)
            if first.split("/")[0] != file.split("/")[0]:
                faults.append(f"{first} and {file} share {key[0]} {key[1]}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""  # noqa: PLR2004
        raise BadInput(
            f"the two sides of the data set in {folder} overlap: {'; '.join(faults[:3])}{more}; "
            "run 'iclora export' to split it again."
        )


def _marks(picture: Path, entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What must not be on both sides, as pairs of a kind and a name."""
    try:
        yield "the grid", hashlib.sha256(files.read(picture, pixels.MOST_BYTES)).hexdigest()[:12]
    except OSError as error:
        raise BadInput(
            f"{picture} is in the metadata but can't be read: {error.strerror}; run 'iclora export'."
        ) from error
    if name := entry.get("group"):
        yield "the group", str(name)
    for source in entry.get("sources", []):
        yield "the source picture", str(source["sha256"])[:12]
