"""The whole line for one run: which stage comes after which, with which plug-ins, and the report on it."""

from __future__ import annotations

import itertools
import json
import os
import platform
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline import plugins, task
from pipeline.cache import key_of
from pipeline.captioning.protocol import Captioner
from pipeline.consistency import teaching, verdict
from pipeline.consistency.scorers.base import Scorer
from pipeline.consistency.similarity import Encoder
from pipeline.engines import local
from pipeline.errors import BadInput
from pipeline.records import Caption, Grid, Group, Record
from pipeline.review import contact_sheet, csv_table, reviews
from pipeline.stages import caption, collect, compose, export, filter, group, inspect
from pipeline.store import TABLES, Mark, Store, usual_folder
from pipeline.task import Task

STAGES = ("collect", "inspect", "group", "compose", "caption", "filter", "export")
PACKAGES = ("torch", "transformers", "open_clip_torch", "pillow", "av", "scenedetect-headless", "datasets")
MINIATURE = Path(__file__).parent.parent / "miniature"
WIDE = 1.5  # width to height from which a panel takes a film's frame without losing much
FILMS, SHOTS, SETS = 30, 10, 24
"""What the miniature draws where no source is given: enough for 20 grids after the filter, and many short films rather
than a few long ones, since it takes many characters to learn to keep any (LOG.md)."""


class Settings(BaseModel):
    """What a run was asked for, as given; kept with the run so that later commands need not say it again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    sources: tuple[str, ...] = ()
    captioner: str = "local"
    scorer: str = "open_clip"
    overrides: tuple[str, ...] = ()
    fixed: bool = False
    """Whether the filter takes its fixed thresholds."""

    @property
    def drawn(self) -> bool:
        """No source given: the miniature draws one and its models serve."""
        return not self.sources


class Run:
    """A run's folder with everything that is needed to go on with it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.task = load_task(settings)
        self.store = Store(folder)
        self.set_aside: Path | None = None
        """Where a table with edits that were never applied was put when a new one was written."""

    @cached_property
    def captioner(self) -> Captioner:
        made: Captioner = plugins.make(plugins.CAPTIONERS, self.settings.captioner, self.task.captioner)
        return made

    @cached_property
    def scorer(self) -> Scorer | None:
        made: Scorer | None = plugins.make(plugins.SCORERS, self.settings.scorer, self.task.scorer)
        return made

    def run(
        self, progress: local.Progress, last: str = "export", first: str = "collect"
    ) -> Iterator[tuple[Mark, bool]]:
        """Brings every stage up to `last` to its end; after each its mark, and whether there was anything to do.

        Args:
            first: the first stage that is looked at; what a review changes begins with the filter, and it needs neither
                the sources nor the captioner to be there.

        Raises:
            ToolkitError: bad input, or missing weights; these are asked for before any work is done.
        """
        wanted = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
        if self.settings.sources and "collect" in wanted:
            collect.find(self._sources)  # before the captioner's weights are asked for, which may take a download
        if "caption" in wanted:
            self.captioner.identity()
        if {"group", "filter"} & set(wanted) and self.scorer:
            self.scorer.identity()
        if "export" in wanted:
            export.chosen(self.task)
        self.store.put_settings(self.settings.model_dump())  # from here on this is what the run is about
        for name in wanted:
            before = self.store.mark(name)
            stage, inputs, upstream = getattr(self, f"_{name}")()
            mark = local.run(stage, inputs, self.store, upstream=upstream, progress=progress)
            self.write_report()
            yield mark, mark != before
            if name == "filter":
                self.write_review()
            if name in ("group", "filter"):
                self._stop_at_chance(mark)

    def _stop_at_chance(self, mark: Mark) -> None:
        """
        Raises:
            BadInput: the groups are no more than chance, and nobody has said that this is no matter. Sets that came as
                such, of which `group` tells nothing, are somebody's word.
        """
        formed = self.store.mark("group")
        if not self.task.group.prove or not (formed and "belonging" in formed.facts):
            return
        if why := verdict.at_chance(mark.facts.get("belonging", {})):
            raise BadInput(
                f"{why}, so nothing was {'captioned' if mark.name == 'group' else 'exported'}: the source has no "
                "structure, or all of it is alike; put what belongs together into a folder, a film or names of its "
                "own, or go on all the same with --set group.prove=false."
            )

    @property
    def _sources(self) -> list[Path]:
        return [Path(source) for source in self.settings.sources]

    # ---- one method a stage: the stage, its inputs, and the hash of what they depend on

    def _collect(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        files = collect.find(self._sources or [draw_source(self.task, self.folder)])
        return collect.stage(self.task, files, self.folder, self.store.items(Record, "collected")), files, ""

    def _inspect(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        records = self.store.items(Record, "collected")
        return inspect.stage(self.task, self.folder, _threads()), records, self.store.digest("collected")

    def _group(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        strategy = plugins.find(plugins.GROUPING, self.task.group.by)
        stage = group.stage(self.task, strategy, self.scorer, self.folder, self.store.cache)
        return stage, self.store.items(Record, "records"), self.store.digest("records")

    def _compose(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        groups = self.store.items(Group, "groups")
        stage = compose.stage(self.task, self.folder, _threads(), self.store.items(Grid, "grids"))
        return stage, groups, self.store.digest("groups")

    def _caption(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        grids = self.store.items(Grid, "grids")
        earlier = self.store.items(Caption, "captions")
        stage = caption.stage(self.task, grids, self.captioner, self.folder, self.store.cache, earlier)
        return stage, grids, self.store.digest("grids")

    def _filter(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        grids, captions = reviews.grids(self.store), reviews.captions(self.store, self.task)
        for grid in grids:
            if not (self.folder / grid.path).is_file():  # one of a person's: `compose` has seen to the others
                compose.write(grid, self.task.layout.fit, self.folder)
        decided = self.decided()
        taught = decided if self.task.filter.learn and not teaching.lacking(decided) else {}
        stage = filter.stage(self.task, grids, self.scorer, self.folder, self.store.cache, taught)
        seen = [(one.grid, one.text, asdict(one.parts) if one.parts else None) for one in captions]
        return stage, captions, key_of(captions=seen, pictures=[grid.path for grid in grids])

    def _export(self) -> tuple[local.Stage[Any], Sequence[Any], str]:
        out = {row.id for row in self.store.rejected("filter")}
        rows = [row for row in reviews.rows(self.store, self.task) if row.id not in out or row.decision == "keep"]
        upstream = "".join(self.store.digest(table) for table in ("captions", "scores", "reviews"))
        return export.stage(self.task, self.folder, self._facts()), rows, upstream

    def _facts(self) -> dict[str, Any]:
        """What the data set's card tells of the models and thresholds."""
        marks = {name: mark.facts for name in ("caption", "filter") if (mark := self.store.mark(name))}
        return {"captioner": marks.get("caption", {}).get("captioner", {}), **marks.get("filter", {})}

    # ---- what a person's decisions teach

    def decided(self) -> dict[str, bool]:
        """The grids on which a person has decided, and whether they are to stay."""
        rows = reviews.rows(self.store, self.task)
        return {row.id: row.decision == "keep" for row in rows if row.decided and row.decision != "unsure"}

    def lesson(self) -> teaching.Lesson:
        """What the decisions would change if they taught the rule of what belongs together; nothing of the run does.

        Raises:
            BadInput: the decisions are too few, or the run has no rule; or the scorer's model can't be had.
        """
        decided = self.decided()
        if lacking := teaching.lacking(decided):
            raise BadInput(f"{lacking}; go on deciding with {self.command('review', '--serve')}.")
        captions = reviews.captions(self.store, self.task)
        by_id = {grid.id: grid for grid in reviews.grids(self.store)}
        grids = [by_id[one.grid] for one in captions]
        encoder = Encoder(self.scorer, self.store.cache, self.folder) if self.scorer else None
        vectors = encoder.vectors(grids, captions) if encoder else None
        before, after = (verdict.verdict(self.task, grids, captions, vectors, known) for known in ({}, decided))
        return teaching.compare(before, after, grids, decided)

    def learn(self) -> None:
        """Has the decisions teach the rule from here on; what else the run was asked for stays."""
        others = (line for line in self.settings.overrides if line.partition("=")[0].strip() != "filter.learn")
        self.settings = self.settings.model_copy(update={"overrides": (*others, "filter.learn=true")})
        self.task = load_task(self.settings)

    # ---- what a person reads

    def command(self, name: str, *more: str) -> str:
        """What to type to have a command work at this run."""
        words = ["iclora", name, self.settings.task, *more]
        words += ["--out", str(self.folder)] if self.folder != usual_folder(self.settings.task) else []
        return shlex.join(words)

    @property
    def command_to_apply(self) -> str:
        """What to type when `captions.csv` has been edited."""
        return self.command("review", "--apply", str(self.folder / "captions.csv"))

    def command_to_show(self, stage: str) -> str:
        """What to type to see what a stage put out."""
        return self.command("show", dict(zip(STAGES, TABLES, strict=True))[stage])

    def write_review(self) -> None:
        """`captions.csv` and `review.html`, anew from the run's state. Edits that were never applied are set aside."""
        rows = reviews.rows(self.store, self.task)
        table = self.folder / "captions.csv"
        if table.exists() and csv_table.has_edits(table, rows, self.task):
            names = (self.folder / f"captions.not-applied-{number}.csv" for number in itertools.count(1))
            self.set_aside = next(name for name in names if not name.exists())
            table.rename(self.set_aside)
        csv_table.write_csv(rows, self.task, table)
        rejected = {name: self.store.rejected(name) for name in STAGES if name not in ("filter", "export")}
        contact_sheet.write(rows, rejected, self.task, self.folder / "review.html", self.command_to_apply)

    def edits(self, table: Path) -> list[reviews.Change]:
        """What an edited table would change.

        Raises:
            BadInput: the table can't be read, or rows are in doubt.
        """
        return csv_table.read_csv(table, reviews.rows(self.store, self.task), self.task)

    def apply(self, table: Path) -> list[reviews.Change]:
        """Takes an edited table over; what was changed. Nothing is where a row is in doubt.

        Raises:
            BadInput: the table can't be read, or rows are in doubt.
        """
        with self.store.deciding():
            changes = self.edits(table)
            self.store.review(
                [change.review for change in changes],
                [(change.review.grid, *field) for change in changes for field in change.fields],
                who=str(table),
            )
        return changes

    def write_report(self) -> None:
        marks = {name: mark for name in STAGES if (mark := self.store.mark(name)) and mark.done}
        stages = {
            name: {
                "in": mark.entered,
                "kept": mark.kept,
                "rejected": dict(Counter(row.reason for row in self.store.rejected(name))),
                "seconds": round(mark.seconds, 2),
                **mark.facts,
            }
            for name, mark in marks.items()
        }
        models = {
            kind: marks[name].facts[kind]
            for name, kind in (("caption", "captioner"), ("filter", "scorer"))
            if name in marks
        }
        report = {
            "task": self.task.name,
            "settings": self.settings.model_dump(),
            "stages": stages,
            "models": models,
            "versions": versions(),
        }
        part = self.folder / "report.json.part"
        part.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(self.folder / "report.json")


def load_task(settings: Settings) -> Task:
    """The task with the run's overrides; where the miniature draws the source, its models are the defaults."""
    models = (f"captioner.model={MINIATURE / 'vlm'}", f"scorer.model=local-dir:{MINIATURE / 'clip'}")
    serves = (settings.captioner == "local", settings.scorer == "open_clip")
    defaults = [line for line, yes in zip(models, serves, strict=True) if yes and settings.drawn]
    defaults += ["filter.fixed=true"] if settings.fixed else []
    return task.load(settings.task, [*defaults, *settings.overrides])


def draw_source(task: Task, folder: Path) -> Path:
    """The miniature's material for a task, drawn where it is not there yet: films, pairs or sets of pictures."""
    from miniature import film

    home, layout = folder / "miniature", task.grid_layout
    size = (layout.panel_width // 32 * 16, layout.panel_height // 32 * 16)
    if task.group.by == "pairs":
        film.write_pairs(home, pairs=SETS, seed=film.OFFLINE_SEED, size=size)
    elif layout.panel_width / layout.panel_height >= WIDE:
        film.write_films(home, films=FILMS, shots=SHOTS, seed=film.OFFLINE_SEED)
    else:
        film.write_sets(home, sets=SETS, pictures=layout.size, seed=film.OFFLINE_SEED, size=size)
    return home


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "iclora": metadata.version("iclora")}
    return found | {name: metadata.version(name) for name in PACKAGES}


def _threads() -> int:
    """Threads for decoding and drawing; Pillow and OpenCV let go of the interpreter's lock."""
    return min(8, os.cpu_count() or 1)
