"""One run: a task, its sources and everything that was made of them, in one folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclora import advancing, earlier, editing, explained, exported, review, settings
from iclora.advancing import StageResult
from iclora.settings import PLUG_INS, Settings
from iclora.stages import STAGES
from pipeline import plugins, wording
from pipeline.captioning import instructions
from pipeline.captioning.protocol import Captioner
from pipeline.consistency import teaching
from pipeline.consistency.scorers.base import Scorer
from pipeline.engines import local
from pipeline.engines.base import Engine
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.progress import LOG, Progress, silent
from pipeline.records import Record, Row
from pipeline.review import coverage, decisions, replacing, reviewers, reviews
from pipeline.review.coverage import Aspect
from pipeline.store import TABLES, Store, usual_folder
from pipeline.task import Task
from pipeline.text import counters
from pipeline.text.counters import TokenCounter

if TYPE_CHECKING:
    import pandas as pd

    from iclora.merging import Merging

SETTINGS, UNMATCHED = "settings", "unmatched"
"""Names of tables that are made when they are asked for: the settings in force, and decisions that fit no grid."""


class Run:
    """A run's folder, with everything that is needed to continue it. Use as a context manager; not in several threads.

    Attributes:
        settings: what the run was asked for.
        folder: where the run is kept.
        set_aside: where `captions.csv` was moved because it held edits that were never applied, when a new one was
            written; None if it was not.
        earlier: where a `run.db` of another version was moved, since it is derived again; None if there was none.
        merging: the runs whose results are taken over, while they are merged.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Opens no file yet; `open_run` is the usual way to a run."""
        self.settings, self.folder = settings, folder
        self.set_aside: Path | None = None
        self.earlier: Path | None = None
        self.merging: Merging | None = None

    @cached_property
    def task(self) -> Task:
        """The task with the settings in force.

        Raises:
            BadInput: the settings are wrong; all wrong ones are named at once.
        """
        return self.settings.load_task()

    @cached_property
    def store(self) -> Store:
        """The run's state; opened, and made if it is new, when first asked for.

        Raises:
            BadInput: it can't be opened.
        """
        self.earlier = earlier.carry_over(self.folder)
        return Store(self.folder)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if "store" in self.__dict__:
            self.store.__exit__()

    @cached_property
    def captioner(self) -> Captioner:
        made: Captioner = plugins.make(PLUG_INS["captioner"], self.settings.captioner, self.task.captioner)
        return made

    @cached_property
    def scorer(self) -> Scorer | None:
        made: Scorer | None = plugins.make(PLUG_INS["scorer"], self.settings.scorer, self.task.scorer)
        return made

    @cached_property
    def engine(self) -> Engine:
        """What runs the batches of the stages.

        Raises:
            BadInput: a package that it needs is not installed.
        """
        if self.merging is not None:  # results are taken over in order, which takes no time
            return local.make({})
        made: Engine = plugins.load(PLUG_INS["engine"], self.settings.engine).make(self.task.engine)
        return made

    @cached_property
    def counter(self) -> TokenCounter:
        """Counts the captions' tokens; looked up on this machine once, and the same everywhere in the run."""
        return counters.find(self.task.base)

    @property
    def exists(self) -> bool:
        """Whether anything has been done in the folder yet."""
        return earlier.settings_of(self.folder) is not None

    @property
    def dataset(self) -> Path:
        """Where the data set goes."""
        return self.folder / "dataset"

    @property
    def lora(self) -> Path:
        """Where the LoRA goes."""
        return self.folder / "training" / f"{self.task.name}.safetensors"

    @property
    def evaluation(self) -> Path:
        """The folder of its last evaluation, whether or not there is one."""
        return self.folder / "evaluation"

    # ---- the stages

    def advance(
        self,
        to: str = "export",
        *,
        start: str = "collect",
        progress: Progress = silent,
        on_result: Callable[[StageResult], None] = lambda _: None,
    ) -> list[StageResult]:
        """Brings every stage up to `to` up to date, and gives their results; what was interrupted resumes.

        Args:
            to: collect, inspect, group, compose, caption, filter or export.
            start: the first stage that is looked at. What a reviewer changes begins at the filter, which needs neither
                the sources nor the captioner.
            progress: called while a stage works.
            on_result: called with every stage's result as soon as it is done.

        Raises:
            ToolkitError: bad input or missing weights, which are checked before any work is done, so that the run and
                what it was asked for stay as they were; or another process is working on the run.
            BadInput: the groups are no more alike than chance.
            EmptyResult: the last stage has kept nothing, or is `caption` and no grid has one; the message counts the
                reasons. An earlier data set of the run has been set aside if that stage is `export`.
        """
        return advancing.advance(self, to, start, progress, on_result)

    # ---- tables

    def rows(self) -> pd.DataFrame:
        """One row per captioned grid, the riskiest first, with the columns of `captions.csv`.

        Returns:
            id, decision (keep, drop or unsure), decided (by a person, not by the toolkit), caption, summary, panel_1,
            panel_2, ..., people, ties, strangers, note, decided by (every reviewer's decision by name), problems, a
            column per score (to 4 digits, NaN where there is none), picture (relative to the run's folder), base (of
            the edit: leave it as it is).
        """
        from iclora import frames

        return frames.rows(self.reviewed(), self.task)

    def scores(self) -> pd.DataFrame:
        """One row per grid and score: grid, name, value and threshold (cosines for CLIP), passed, reason."""
        from iclora import frames

        return frames.scores(self.reviewed())

    def rejected(self) -> pd.DataFrame:
        """One row per rejection: stage, id, what (path, shot or grid), reason (a short class), detail (a sentence)."""
        from iclora import frames

        return frames.rejected([(name, row) for name in STAGES for row in self.store.rejected(name)])

    def unmatched(self) -> pd.DataFrame:
        """Decisions that fit no grid of the run as it is now, or no picture, and why; they are kept, and count again
        when they fit.

        Returns:
            grid, decision, note, caption, panels, crops, corrections, who, reviewer, at, why. Of a picture that is
            taken in, `panels` is the hash of its content.
        """
        from iclora import frames

        return frames.unmatched(self.table(UNMATCHED))

    def table(self, name: str) -> list[dict[str, Any]]:
        """Any table of the run as plain values.

        Beyond the stages' tables there are `decisions` (of people, one per grid) and `events` (all that they have
        changed); `unmatched`, the decisions that fit nothing in the run as it is now; and `settings`, those in force,
        each with where it comes from.

        Raises:
            BadInput: no such table.
        """
        if name == SETTINGS:
            return [{"key": one.key, "value": one.value, "from": one.origin} for one in self.settings_in_force()]
        if name == UNMATCHED:
            return [decisions.row_of(one.line) | {"why": one.why} for one in review.unmatched(self)]
        said = self._said()
        return said[name] if name in said else self.store.table(name, also=(*said, UNMATCHED, SETTINGS))

    def _said(self) -> dict[str, list[dict[str, Any]]]:
        """The tables of what people said."""
        log = decisions.read(self.folder)
        return {"decisions": [decisions.row_of(line) for line in log.latest()], "events": log.events()}

    def counts(self) -> dict[str, int]:
        """How many rows every table of the run has."""
        return self.store.counts() | {name: len(rows) for name, rows in self._said().items()}

    def settings_in_force(self) -> list[settings.Setting]:
        """Every setting that the run works by, and where it comes from."""
        return settings.in_force(self.settings)

    def prompt(self) -> str:
        """What the captioner would be sent about one grid.

        Raises:
            BadInput: the captioner takes texts as they are and is sent nothing.
        """
        if self.captioner.verbatim:
            raise BadInput(f"the captioner '{self.settings.captioner}' takes texts as they are and is sent nothing.")
        return instructions.show(self.task, self.task.captioner.get("images", "panels"))

    def explain(self, picture: str) -> list[str]:
        """What became of a picture, then which groups it could have joined and what stopped it: a sentence each.

        Args:
            picture: its path or file name, or the shot of a film (`a.mp4 shot 3`).

        Raises:
            BadInput: no groups have been formed yet, or the run has no such picture, or several.
        """
        return explained.explain(self, picture)

    # ---- review

    def reviewed(self) -> list[Row]:
        """Every captioned grid with its scores and the decision that counts, in the order of the grids."""
        LOG.info("reading the captions of %s", self.folder)
        return reviews.rows(self.store, self.task, self.counter)

    def coverage(self) -> list[Aspect]:
        """How the kept grids are spread over sources, shot sizes and colours, and what is one-sided or missing."""
        return coverage.measure(self.reviewed(), self.store.items(Record, "records"), self.task)

    def write_review(self) -> None:
        """Writes `captions.csv` and `review.html` from the run's state. Edits that were never applied are set aside.

        Raises:
            BadInput: another process is working on the run.
        """
        with self.store.working():
            self.set_aside = review.write(self) or self.set_aside

    def remarks(self) -> list[str]:
        """What a person should know about their decisions: what was set aside, carried over, or fits no grid."""
        return review.remarks(self)

    def edits(self, table: str | Path | pd.DataFrame, reviewer: str | None = None) -> list[reviews.Change]:
        """What an edited table would change; nothing of the run does.

        Args:
            table: the path of an edited `captions.csv`, or a frame with a column `id` and any columns of `rows()`.
                Grids that the frame lacks stay as they are.
            reviewer: the name of who edited it, if they give one.

        Raises:
            BadInput: the name can't be used, the table can't be read, or rows are in doubt; every doubt is named with
                row and column.
        """
        return editing.find(self, table, reviewers.name_of(reviewer))

    def apply(self, table: str | Path | pd.DataFrame, reviewer: str | None = None) -> list[reviews.Change]:
        """Applies an edited table and gives what changed. If any row is in doubt, nothing is applied.

        The data set has the changes after `advance(start="filter")`. Arguments and errors are those of `edits`.

        Raises:
            BadInput: also if another process is working on the run, or the decisions can't be written.
        """
        return editing.apply(self, table, reviewers.name_of(reviewer))

    def replacements(self, old: str, new: str, *, inside_words: bool = False) -> list[reviews.Change]:
        """What would change if one phrase took the place of another in all captions; nothing of the run does.

        Whole words in exactly these letters are replaced, in summary, panel texts and people's looks. Markers, prefix,
        opening and names stay; a name is changed together with its brackets (`<Mara>` by `<Ines>`).

        Args:
            new: may be empty.
            inside_words: also in parts of longer words.

        Raises:
            BadInput: no caption has the phrase, or some can't be changed like this; all of them are named.
        """
        return editing.find_replacements(self, old, new, inside_words=inside_words)

    def replace(
        self, old: str, new: str, *, inside_words: bool = False, reviewer: str | None = None
    ) -> list[reviews.Change]:
        """Replaces a phrase in all captions, as if a person had edited them one by one, and gives what changed.

        The data set has the changes after `advance(start="filter")`. Other arguments and errors are those of
        `replacements`.

        Args:
            reviewer: the name of who replaces it, if they give one.
        """
        return editing.replace(self, old, new, inside_words=inside_words, name=reviewers.name_of(reviewer))

    def undo_replace(self, reviewer: str | None = None) -> replacing.Undo:
        """Takes back a reviewer's last replacement that was not taken back yet; captions edited since stay.

        Args:
            reviewer: whose; None stands for the reviewer without a name.

        Raises:
            BadInput: there is none.
        """
        return editing.undo_replace(self, reviewers.name_of(reviewer))

    def serve(self, opened: Callable[[str], None], progress: Progress = silent, *, reviewer: str | None = None) -> int:
        """Serves the review page on this machine until Ctrl-C; gives how many changes were made and not undone.

        Args:
            opened: called with the page's address once it is served.
            progress: told of the rows that are read before that.
            reviewer: the name of who reviews, if they give one.

        Raises:
            BadInput: a package that the page needs is not installed, or the name can't be used.
            KeyboardInterrupt: Ctrl-C cut off a question to the captioner or a scoring; no decision is lost.
        """
        extras.require("the review page", "page")
        from iclora.page.server import serve

        return serve(self, opened, progress, reviewers.name_of(reviewer))

    def decided(self) -> dict[str, bool]:
        """Grids that a person has decided on, and whether they are kept."""
        rows = [row for row in self.reviewed() if row.decided and row.decision != "unsure"]
        return {row.id: row.decision == "keep" for row in rows}

    def preview_learning(self) -> teaching.Preview:
        """What would change if the decisions taught the rule of what belongs together; nothing of the run does.

        Raises:
            BadInput: there are too few decisions, or the run has no rule.
            MissingWeights: the scorer's model is not available.
        """
        return review.preview_learning(self)

    def learn(self) -> None:
        """Lets the decisions teach the rule from now on; takes effect with `advance(start="filter")`."""
        self.settings = self.settings.changed(settings={"filter.learn": True})
        self.task = self.settings.load_task()

    # ---- what comes after

    def push(self, repo: str, *, public: bool = False) -> str:
        """Sends the data set to the Hugging Face hub, and gives its address there.

        Args:
            repo: ORG/NAME.
            public: visible to everybody; else private.

        Raises:
            BadInput: HF_TOKEN is not set, there is no data set, it is not that of the run any more, or the hub refuses
                it.
        """
        from pipeline.dataset import hub

        exported.check(self)
        return hub.push(self.dataset, repo, public=public)

    def pack(self, to: str | Path | None = None, service: str | None = None, progress: Progress = silent) -> Path:
        """Packs the data set for another machine: data, configs, TRAINERS.md and a list of checksums in one archive.

        Args:
            to: the archive, in the run's folder and named after the task if not given.
            service: that trains, `civitai` or `fal`: a ZIP file of pictures and captions as it wants them.
            progress: called with "pack" and how many files, or for a service samples, are packed.

        Returns:
            The archive. The same data set gives the same bytes.

        Raises:
            BadInput: there is no data set, or it is not that of the run any more; or nothing is known of the service,
                or it takes fewer reference images.
        """
        return exported.pack(self, Path(to) if to else None, service, progress)

    def command(self, name: str, *more: str) -> str:
        """The command line of one of iclora's commands for this run."""
        words = ["iclora", name, self.settings.task, *more]
        words += ["--out", str(self.folder)] if self.folder != usual_folder(self.settings.task) else []
        return wording.command(words)

    @property
    def command_to_apply(self) -> str:
        """What to type when `captions.csv` has been edited."""
        return self.command("review", "--apply", str(self.folder / "captions.csv"))

    def command_to_show(self, stage: str) -> str:
        """What to type to see a stage's output."""
        return self.command("show", dict(zip(STAGES, TABLES, strict=True))[stage])
