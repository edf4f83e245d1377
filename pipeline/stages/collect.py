"""Sources -> Records: finds the items in the given folders and archives, and has each read by the reader for it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import pixels, plugins
from pipeline.duplicates import exact
from pipeline.engines._capacity import capacity
from pipeline.engines.base import Alone, Stage
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.progress import Progress
from pipeline.records import Record, Rejected, content_id
from pipeline.review import taking
from pipeline.sources import fetching, gathering, readers
from pipeline.sources.base import Item, Reader
from pipeline.sources.formats import format_of
from pipeline.sources.names import listed
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.wording import command, counted

BY_COLUMNS = "group.by=columns"
"""The setting that groups by what the source itself names."""
IGNORE_GROUPS = ("folders", "names", "sets", "shots", "similarity")
"""The toolkit's own ways of grouping that don't look at the groups of a source; those of other packages may."""
FILMS = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
    ".vob", ".webm", ".wmv",
)  # fmt: skip
"""Endings by which films are counted ahead, to read several at once; what an item is, its first bytes say."""
FILM_MEMORY = 1 << 30
"""Bytes that a process may need that reads a film; one of 4K took 0.6 GB."""


@dataclass(frozen=True)
class Parameters:
    """What reading depends on besides the items."""

    task: Task
    """Its markers and layout tell joint captions and ready-made grids."""
    folder: Path
    """The run's folder, where pictures are kept that are not files of the user's."""
    taken: tuple[str, ...] = ()
    """As `Item.taken`."""


def find(paths: Sequence[Path], task: Task | None = None) -> gathering.Items:
    """The items in the given folders, archives, tables and files, in order.

    Args:
        paths: may be patterns: `shard-{000..009}.tar`, `data/*.parquet`.
        task: whose settings say how tables are read.

    Raises:
        BadInput: a path does not exist or can't be opened, a listing is broken, or there is nothing in any.
    """
    items = gathering.items_of(paths, task)
    if not any(map(gathering.is_thing, items)):
        raise BadInput(f"there are no films and no pictures in {', '.join(map(str, paths))}.")
    return items


def check(task: Task) -> None:
    """Asks for the packages that reading with these settings needs.

    Raises:
        BadInput: some are missing; the message says how to install them.
    """
    if task.shots.detector != "adaptive":
        extras.require(f"shots.detector={task.shots.detector}", task.shots.detector)
    if task.shots.text != "plain":
        extras.require(f"shots.text={task.shots.text}", task.shots.text)


def stage(
    task: Task,
    items: Sequence[Item],
    folder: Path,
    known: Sequence[Record],
    workers: int = 1,
    taken: tuple[str, ...] = (),
) -> Stage[Item]:
    """The collect stage.

    Args:
        known: records that an earlier run has collected; where a picture of one is gone the stage is run again.
        workers: films that are read at the same time at most, each in a process, as long as memory is there for them.
        taken: as `Item.taken`.
    """
    films = sum(item.name.lower().endswith(FILMS) for item in items)
    return Stage(
        name="collect",
        table="collected",
        run=partial(collect, parameters=Parameters(task, folder, taken)),
        config={
            "readers": [plugin.identity for plugin, _ in plugins.usable(readers)],
            "task": task.name,
            "markers": task.markers,
            "stand_ins": task.stand_ins,
            "layout": task.grid_layout,
            "urls": task.urls.model_dump() if fetching.addresses_of(items) else None,
            "shots": task.shots.model_dump(),
            "pictures": task.pictures.model_dump(),
            "packages": pixels.installed(),
        },
        also={"items": _digest(items), **taking.config(taken)},
        alone=Alone(repr, partial(_holds, folder=folder, taken=taken)),
        batch=1,
        workers=max(1, min(workers, films, capacity(FILM_MEMORY))),
        processes=True,
        prepare=partial(_fetch, parameters=Parameters(task, folder)),
        origin=origin,
        expands=True,
        intact=partial(_intact, items, Parameters(task, folder), known),
        repeated=exact_copies,
        facts=partial(_facts, items, task),
    )


def _digest(items: Sequence[Item]) -> str:
    """The hash of the `repr` of a list of these items, which would be long."""
    state = hashlib.sha256(b"[")
    for number, item in enumerate(items):
        state.update(f"{', ' if number else ''}{item!r}".encode())
    state.update(b"]")
    return state.hexdigest()


def _facts(items: Sequence[Item], task: Task, records: Sequence[Record]) -> dict[str, Any]:
    """What the report says of the sources: how many items each has, and what a person should know of them."""
    said, counts = (items.remarks, items.counts) if isinstance(items, gathering.Items) else ((), {})
    remarks = [*said, *gathering.remarks(items), *_unused(items, task), *ungrouped(records, task), *_lettered(records)]
    return {"sources": dict(counts), "remarks": remarks}


def _lettered(records: Sequence[Record]) -> Iterator[str]:
    """What is said of shots that have no frame without burnt-in text."""
    from pipeline.films import hygiene  # with what reads films, which whoever collects nothing can do without

    marked = [record for record in records if any(hygiene.shows_text(note) for note in record.notes)]
    if marked:
        has = counted(marked, "shot shows", "shots show")
        it = "it" if len(marked) == 1 else "them"
        names = listed([f"{record.position.film} shot {record.position.shot}" for record in marked])
        shown = f"{has} burnt-in text or a logo in the frame that stands for {it}"
        yield f"{shown}: {names}; shots.lettering=crop cuts it away."


def has_unused_groups(records: Sequence[Record], task: Task) -> bool:
    """Whether the source names a group of every picture, and the task's way of grouping does not look at them."""
    single = _named_groups(records)
    return bool(single) and all(single) and max(Counter(single).values()) > 1 and task.group.by in IGNORE_GROUPS


def _named_groups(records: Sequence[Record]) -> list[str]:
    return [record.position.group for record in records if not record.position.set]


def ungrouped(records: Sequence[Record], task: Task) -> Iterator[str]:
    """What is said where the source has groups that the task's way of grouping does not look at."""
    if has_unused_groups(records, task):
        single = _named_groups(records)
        yield (
            f"all {len(single)} images have a group from their source ({counted(set(single), 'group')}), which "
            f"group.by={task.group.by} does not look at; group by it with {command(['--set', BY_COLUMNS])}."
        )


def _unused(items: Sequence[Item], task: Task) -> Iterator[str]:
    """What is said of texts that only a whole set could have, and that describe none."""
    own = {item.text for item in items}
    unused = {of_set: None for item in items for text, of_set in item.shared if text not in own}
    joint = {of_set for item in items for text, of_set in item.shared if grammar.is_joint(text, task)}
    if names := [of_set for of_set in unused if of_set not in joint]:
        markers = " ".join(task.markers)
        yield f"the texts of {listed(names)} are not used: not all of {markers} are in them, in this order."


def origin(record: Record) -> tuple[str, ...]:
    """The id of the item that a record comes from: `collect` gives every record its item's address as its source."""
    return (content_id("s", record.source),)


def collect(batch: Sequence[Item], *, parameters: Parameters) -> Iterator[Record | Rejected]:
    """The records of the items, in order; exact copies are still among them."""
    for given in batch:
        item = replace(fetching.settled(given, parameters.folder, parameters.task.urls), taken=parameters.taken)
        shown = item.source.encode(errors="replace").decode()
        if shown != item.source:
            detail = f"{shown} has a name that is not UTF-8, which no table can hold; rename it."
            yield Rejected(item.id, shown, "name", detail)
        elif item.fault:
            yield item.reject(item.fault.reason, item.fault.detail)
        else:
            yield from _stamped(item, parameters)


def _stamped(item: Item, parameters: Parameters) -> Iterator[Record | Rejected]:
    """What a reader makes of an item. Ids of rows and sources of records are set here: no reader can get them wrong."""
    number = -1
    try:
        head = item.head()
        reader = _reader_of(item, head, parameters)
        if reader is None:
            yield _unsupported(item, head)
            return
        for number, found in enumerate(reader.read(item, parameters.task, parameters.folder)):
            if isinstance(found, Rejected):
                yield replace(found, id=f"{item.id}#{number}")
            else:
                yield replace(found, source=item.source)
        if number < 0:
            yield item.reject("empty", f"{item.source} holds no picture.")
    except BadInput as error:
        yield replace(item.reject("unreadable", str(error)), id=f"{item.id}#{number + 1}")


def _reader_of(item: Item, head: bytes, parameters: Parameters) -> Reader | None:
    """The first reader that claims the item."""
    asked: Iterator[Reader] = iter(gathering.ordered(readers))
    return next((reader for reader in asked if reader.claims(item, head, parameters.task, parameters.folder)), None)


def _unsupported(item: Item, head: bytes) -> Rejected:
    if not head:
        return item.reject("unreadable", f"{item.source} is empty.")
    found = format_of(head, item.name)
    why = f"which can't be read; {found.remedy}" if found.remedy else "neither a film nor a picture"
    return item.reject("unsupported", f"{item.source} is {found.name}, {why}.")


def exact_copies(results: Sequence[Record | Rejected], known: Mapping[str, Record]) -> Iterator[Record | Rejected]:
    """The results, with a rejection in place of each record that has the same bytes as an earlier one.

    Args:
        results: everything that was made of some items, in order.
        known: records of the items before them, by id.
    """
    return exact.bytes_once(results, known, _copy, lambda record: origin(record)[0])


def _copy(record: Record, first: Record, part: int) -> Rejected:
    detail = f"{_what(record)} has the same bytes as {_what(first)}."
    return Rejected(f"{origin(record)[0]}#{part}", _what(record), "exact copy", detail)


def _what(record: Record) -> str:
    return f"{record.source} shot {record.position.shot}" if record.position.film else record.source


def _fetch(items: Sequence[Item], progress: Progress, *, parameters: Parameters) -> None:
    fetching.fetch(fetching.addresses_of(items), parameters.folder, parameters.task.urls, progress)


def _holds(item: Item, made: Sequence[Record | Rejected], *, folder: Path, taken: Collection[str]) -> bool:
    """Whether reading an item would come to the same again. What may be read now, or may be no copy of another item's
    any more, is read again."""
    rejected = [one for one in made if isinstance(one, Rejected)]
    if any(row.reason in ("unreadable", "exact copy") for row in rejected):
        return False
    if rejected and fetching.addresses_of([item]):
        return False
    files = [row.picture for row in rejected if row.picture] + [one.path for one in made if isinstance(one, Record)]
    return all((folder / file).is_file() for file in files) and not overruled(made, folder, taken)


def overruled(made: Sequence[Record | Rejected], folder: Path, taken: Collection[str]) -> bool:
    """Whether people have taken in a part of an item that was rejected, or taken it back.

    Args:
        made: of the item.
        folder: the run's.
        taken: as `Item.taken`.
    """
    pictures = {taking.picture_of(one, folder) for one in made if isinstance(one, Rejected) and one.picture}
    used = {one.taken for one in made if isinstance(one, Record) and one.taken}
    return not pictures.isdisjoint(taken) or not used.issubset(taken)


def _intact(items: Sequence[Item], parameters: Parameters, known: Sequence[Record]) -> bool:
    """Whether all pictures are still there, and no address that failed may answer now."""
    folder, limits = parameters.folder, parameters.task.urls
    return all((folder / record.path).is_file() for record in known) and not any(
        fetching.is_to_be_asked_again(address, folder, limits) for address in fetching.addresses_of(items)
    )
