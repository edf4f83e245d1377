"""A survey: what is in some sources, and how many groups each task would form of it, before any run is made.

Every file is counted; at most `MOST_PICTURES` pictures are measured and `MOST_FILMS` films cut into shots. They are
spread evenly over a larger source, and what was left out is said. Groups are formed by the tasks' own strategies on
these measurements, without captioner or scorer.
Nothing is written but the page that is asked for.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from iclora import sampling
from iclora.settings import Sources, list_tasks
from pipeline import files, plugins
from pipeline.cache import Cache
from pipeline.consistency import verdict
from pipeline.duplicates import finding
from pipeline.engines.base import Facts
from pipeline.errors import BadInput, EmptyResult
from pipeline.grouping import pictures, roles, structure
from pipeline.progress import Progress, silent
from pipeline.records import Group, Record, Rejected
from pipeline.review import thumbnails
from pipeline.sources import gathering
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.stages import collect, group, inspect
from pipeline.task import GroupSection, LayoutSection, Task
from pipeline.text import grammar
from pipeline.wording import command, counted

OTHER = "other file"
MOST_PICTURES, MOST_FILMS = 2000, 4
"""Pictures that are measured and films that are cut into shots at most, so that a survey takes minutes."""
ANY_SHAPE = LayoutSection(rows=1, cols=1, panel_width=64, panel_height=64, fit="pad", max_enlarge=1000)
"""A layout that every picture fits into: a task's own decides later."""
NO_LIMIT = 1_000_000
MOST_REMARKS = 3
"""Notes on containers that are printed; a data set may have a thousand tables, all read alike."""
FEW = 10
"""One picture of so many must be in a group for a task to fit whose words nobody used: with fewer, names agree by
accident."""
SIDE = 160
"""Pixels of a thumbnail's long side."""


@dataclass(frozen=True)
class Fit:
    """What a task would make of the sources."""

    task: str
    title: str
    groups: tuple[Group, ...]
    usual: int
    """The smallest number of grids that the task asks for."""
    unfit: int
    """Pictures that are too small for a panel, or of another shape."""
    own: int
    """Groups in which the task's own words or markers say which picture is for which panel, or that came as sets."""
    loose: bool
    """Whether there are pictures that nothing ties together."""
    asked: bool
    """Whether a person has to say which word of the names is for which panel; the notes name the option."""
    notes: tuple[str, ...]
    """What a person should know: how names were read, what has to be settled, whether groups are more than chance."""
    doubt: bool
    """Whether the groups are no more alike than chance, most pictures don't fit, or hardly any is in a group."""
    settings: tuple[str, ...] = ()
    """Settings that the groups need, as `--set` takes them: `group.by=columns` where the source names its groups."""

    @property
    def options(self) -> tuple[str, ...]:
        """The words by which a command gets the settings."""
        return tuple(word for setting in self.settings for word in ("--set", setting))

    @property
    def found(self) -> str:
        """How many groups there are, and by which settings, in words."""
        return f"{counted(self.groups, 'group')}{f' with {command(self.options)}' if self.options else ''}"

    @property
    def rank(self) -> tuple[bool, bool, int, int, int]:
        """By which tasks are compared; the highest fits best."""
        return (
            bool(self.groups) and not self.doubt,
            len(self.groups) >= self.usual,
            self.own,
            len(self.groups),
            -self.unfit,
        )


@dataclass(frozen=True)
class Survey:
    """What is in some sources, and what each task would make of it."""

    sources: tuple[str, ...]
    useful: tuple[str, ...]
    """Those of them that hold films or pictures."""
    kinds: Mapping[str, int]
    """How many there are of each kind: "film", "picture", "other file"."""
    records: tuple[Record, ...]
    """What was measured."""
    thumbnails: Mapping[str, bytes]
    """By a record's id, a small JPEG of it."""
    rejected: Mapping[str, int]
    """How many can't be used, by reason."""
    examples: Mapping[str, str]
    """By the same reasons, one sentence."""
    texts: int
    """How many of what was measured came with a text."""
    copies: int
    remarks: tuple[str, ...]
    fits: tuple[Fit, ...]
    """The best first."""

    @property
    def best(self) -> Fit | None:
        """The task that fits best; None if none forms a group that is more than chance."""
        return self.fits[0] if self.fits and self.fits[0].rank[0] else None

    @property
    def next(self) -> str:
        """The command that makes a data set with the task that fits best; empty if none fits."""
        if self.best is None:
            return ""
        sources = (word for one in self.useful for word in ("--source", one))
        return command(["iclora", "dataset", self.best.task, *sources, *self.best.options])

    @property
    def ways_on(self) -> str:
        """What can be done about pictures that nothing ties together, in one sentence; empty if there are none."""
        if self.best is None and any(fit.asked for fit in self.fits):
            return "no task knows the order of the panels: choose a task and add the option that its note names."
        if self.best is None:
            return f"no task finds groups here: {structure.WAYS}."
        loose = not self.best.settings and any(fit.loose for fit in self.fits)
        return f"to group more of the pictures, {structure.WAYS}." if loose else ""

    def facts(self) -> Iterator[str]:
        """What is there, in lines."""
        yield f"in {', '.join(self.sources)}: {', '.join(counted(count, kind) for kind, count in self.kinds.items())}"
        yield f"measured: {counted(self.records, 'picture')}, {self.sizes()}; {counted(self.texts, 'text')}"
        if self.copies:
            yield f"near copies: {self.copies:,}"
        for reason, count in self.rejected.items():
            yield f"can't be used: {count:,} {reason}, such as {self.examples[reason]}"
        yield from (f"note: {remark}" for remark in self.remarks)

    def lines(self) -> Iterator[str]:
        """What is there, what each task would make of it, and the next command, in lines."""
        yield from self.facts()
        for fit in self.fits:
            few = f" (the task asks for {fit.usual})" if 0 < len(fit.groups) < fit.usual else ""
            unfit = f"; {counted(fit.unfit, 'picture')} of another size or shape" if fit.unfit else ""
            yield f"{fit.task}: {fit.found}{few}{unfit}"
            yield from (f"  {note}" for note in fit.notes)
        if self.ways_on:
            yield self.ways_on
        if self.next:
            yield f"next: {self.next}"

    def sizes(self) -> str:
        """Shapes and sizes in words."""
        shapes = Counter(map(_shape, self.records))
        told = ", ".join(f"{count:,} {shape}" for shape, count in shapes.most_common())
        sides = sorted(min(record.width, record.height) for record in self.records)
        span = " to ".join(map(str, dict.fromkeys((sides[0], sides[-1])))) if sides else ""
        return f"{told}, shorter side {span} px" if sides else "none"

    def write(self, path: str | Path) -> Path:
        """Writes the survey as one HTML page that needs no other file, and gives its path."""
        from iclora import survey_page

        files.write(Path(path), survey_page.page(self))
        return Path(path)


def survey(sources: Sources, *, progress: Progress = silent) -> Survey:
    """Surveys films, pictures, folders and archives.

    Raises:
        BadInput: a source doesn't exist, can't be opened, or there is nothing in any.
        EmptyResult: nothing in them can be used; the message counts the reasons.
    """
    paths = [Path(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]
    items = collect.find(paths)
    tasks = list_tasks()
    with tempfile.TemporaryDirectory(prefix="iclora-survey-") as home:
        folder = Path(home)
        kinds = {item.source: _kind(item) for item in items if gathering.is_thing(item)}
        films = [item for item in items if kinds.get(item.source) == "film"]
        others = [item for item in items if item.source in kinds and kinds[item.source] != "film"]
        chosen = [*sampling.pictures(others, MOST_PICTURES), *sampling.films(films, MOST_FILMS)]
        found, rejected = _collected(chosen, tasks[0], folder, progress)
        records, unread = _measured(found, folder, progress)
        rejected += unread
        if not records:
            reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(r.reason for r in rejected).items())
            raise EmptyResult(f"nothing in {', '.join(map(str, paths))} can be used: {reasons}; {rejected[0].detail}")
        fits = []
        for number, task in enumerate(tasks):
            progress("group", number, len(tasks))
            joint = [item for item in others if _is_joint(item, task)]
            ways = [_fit(task, records, joint, folder)]
            if collect.has_unused_groups(records, task):
                ways.append(replace(_fit(_by_columns(task), records, joint, folder), settings=(collect.BY_COLUMNS,)))
            # Of ways that find as many groups, the source's own word counts.
            fits.append(max(ways, key=lambda fit: (fit.rank, bool(fit.groups and fit.settings))))
        progress("group", len(tasks), len(tasks))
        single = [one for one in records if not one.position.set]
        copies = finding.copies(pictures.look_at(single, None), pictures.limits(GroupSection(by="folders"), ""))
        fits.sort(key=lambda fit: fit.rank, reverse=True)
        tables = _tables(items.remarks)
        best = next(task for task in tasks if task.name == fits[0].task)
        unused = () if fits[0].settings else collect.ungrouped(records, best)
        remarks = [*tables, *gathering.remarks(items), *_left_out(films, others), *unused]
        shown = {record.id for fit in fits for one in fit.groups[:3] for record in one.records}
        shown |= {record.id for record in records[:: max(1, len(records) // 24)]}
        small = {one.id: thumbnails.encode(folder / one.path, SIDE) for one in records if one.id in shown}
    useful = [*(place for place, kind in kinds.items() if kind != OTHER), *(record.source for record in records)]
    return Survey(
        tuple(map(str, paths)),
        tuple(str(path) for path in paths if _holds(path, useful)),
        dict(Counter(kinds.values()).most_common()),
        tuple(records),
        small,
        dict(Counter(row.reason for row in rejected).most_common()),
        {row.reason: row.detail for row in reversed(rejected)},
        sum(bool(record.text) for record in records),
        len(copies),
        tuple(remarks),
        tuple(fits),
    )


def _kind(item: Item) -> str:
    """Whether an item is a film, a picture or another file, by its first bytes."""
    try:
        kind = "" if item.fault else format_of(item.head()).kind
    except BadInput:
        kind = ""
    return kind or OTHER


def _holds(source: Path, places: Iterable[str]) -> bool:
    """Whether one of the places, which begin with a path, is in a source."""
    return any(Path(place).absolute().is_relative_to(source.absolute()) for place in places)


def _tables(remarks: Sequence[str]) -> Iterator[str]:
    """What is to be said of the containers, above all how tables were understood; many are named by the first ones."""
    yield from remarks[:MOST_REMARKS]
    if len(remarks) > MOST_REMARKS:
        yield f"a run prints {len(remarks) - MOST_REMARKS:,} more notes of this kind."


def _left_out(films: Sequence[Item], others: Sequence[Item]) -> Iterator[str]:
    if len(others) > MOST_PICTURES:
        yield f"{MOST_PICTURES:,} of {len(others):,} pictures were measured, evenly chosen; there may be more groups."
    if len(films) > MOST_FILMS:
        yield f"{MOST_FILMS} of {len(films):,} films were cut into shots, evenly chosen; there may be more groups."


def _collected(
    items: Sequence[Item], task: Task, folder: Path, progress: Progress
) -> tuple[list[Record], list[Rejected]]:
    parameters = collect.Parameters(task, folder)
    results: list[Record | Rejected] = []
    for number, item in enumerate(items):
        progress("collect", number, len(items))
        results += collect.collect([item], parameters=parameters)
    progress("collect", len(items), len(items))
    return _divided(collect.exact_copies(results, {}))


def _measured(records: Sequence[Record], folder: Path, progress: Progress) -> tuple[list[Record], list[Rejected]]:
    results = []
    for number, record in enumerate(records):
        progress("inspect", number, len(records))
        results.append(inspect.measure(record, folder, ANY_SHAPE))
    progress("inspect", len(records), len(records))
    return _divided(results)


def _divided(results: Iterable[Record | Rejected]) -> tuple[list[Record], list[Rejected]]:
    kept, rejected = list[Record](), list[Rejected]()
    for one in results:
        if isinstance(one, Record):
            kept.append(one)
        else:
            rejected.append(one)
    return kept, rejected


def _is_joint(item: Item, task: Task) -> bool:
    """Whether a joint caption of the task came with an item, which makes it a ready-made grid or a panel of one."""
    return any(grammar.is_joint(text, task) for text in (item.text, *(of_set for _, of_set in item.shared)))


def _by_columns(task: Task) -> Task:
    """The task with the groups that the source itself names."""
    return task.model_copy(update={"group": task.group.model_copy(update={"by": "columns"})})


def _fit(task: Task, records: Sequence[Record], joint: Sequence[Item], folder: Path) -> Fit:
    own = task.model_copy(update={"grids": (0, NO_LIMIT)})
    apart = {item.source for item in joint}
    ready = (
        _measured(_collected(sampling.pictures(joint, MOST_PICTURES), task, folder, silent)[0], folder, silent)[0]
        if joint
        else []
    )
    pool = [*ready, *(record for record in records if record.source not in apart)]
    fitting = [record for record in pool if not inspect.unfit(record.width, record.height, task.layout)]
    strategy = plugins.find(plugins.GROUPING, task.group.by)
    stage = group.stage(group.Parameters(own, strategy, None, folder, Cache(folder / "cache")))
    results = list(stage.run(fitting))
    groups = tuple(one for one in results if isinstance(one, Group))
    facts = {key: value for one in results if isinstance(one, Facts) for key, value in one.found.items()}
    chance = verdict.at_chance(facts.get("belonging", {}))
    ways_on = facts.get(group.WAYS_ON)
    said = [*facts.get("remarks", ()), *([ways_on] if ways_on else []), *([f"{chance}."] if chance else [])]
    notes = [note.replace(f": {structure.WAYS}.", ".") for note in said]
    own_groups = sum(_is_own(one, task) for one in groups)
    grouped = sum(len(one.records) for one in groups)
    accidental = not own_groups and len(groups) < task.grids[0] and grouped * FEW < len(fitting)
    return Fit(
        task.name,
        task.title,
        groups,
        task.grids[0],
        len(pool) - len(fitting),
        own_groups,
        notes != said,
        any("--set group.roles=" in note for note in notes),
        tuple(notes),
        bool(chance) or len(fitting) * 2 < len(pool) or accidental,
    )


def _is_own(one: Group, task: Task) -> bool:
    """Whether a group was told to be one for this task: it came as a set, or names have words of the task itself."""
    if one.records[0].position.set:
        return True
    if task.group.by != "names":
        return bool(one.records[0].position.film) and task.name == "storyboard"
    words = {roles.compact(word) for words in task.roles for word in words}
    found = {
        roles.compact(word)
        for record in one.records
        for word in roles.split_words(f"{record.position.folder.rpartition('/')[2]} {record.position.stem}")
    }
    return not words.isdisjoint(found)


def _shape(record: Record) -> str:
    ratio = record.width / record.height
    return "square" if 0.95 < ratio < 1.05 else "landscape" if ratio > 1 else "portrait"  # noqa: PLR2004
