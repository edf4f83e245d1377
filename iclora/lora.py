"""From a data set to a LoRA."""

from __future__ import annotations

from pathlib import Path

from iclora import exported, handover
from iclora.evaluation.during import DataSetScorer
from iclora.run import Run
from iclora.settings import PLUG_INS, Settings
from pipeline import plugins
from pipeline.cache import Cache, shared_folder
from pipeline.consistency.scorers.base import Scorer
from pipeline.dataset import uses
from pipeline.errors import BadInput, MissingWeights
from pipeline.progress import LOG, Progress, silent
from pipeline.store import working
from pipeline.task import Given, Task
from training import checks, conditions, config, dataset, loop, planning
from training.handover.folder import Handover
from training.job import Job, find_backend
from training.loop import Outcome
from training.monitoring import plan_sheet
from training.processes import Processes


class Training:
    """A training that is set up but not started. Under `accelerate launch` every process has its own."""

    def __init__(self, job: Job) -> None:
        self.job, self.processes = job, Processes()
        self.handover: Handover | None = None
        """What the end of the training handed over."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.processes.is_main

    def lines(self, gpu: float | None = None) -> list[str]:
        """What the training will see and need: canvas, tokens, memory, time. Loads no weights.

        Args:
            gpu: GiB of another GPU than the one at hand, to plan for it.
        """
        LOG.info("estimating memory and time")
        plan = planning.make(self.job, self.processes.device, self.processes.count, gpu)
        return list(planning.lines(self.job, plan))

    def check(self) -> None:
        """
        Raises:
            BadInput: the training would be refused, with a sentence for every reason.
            MissingWeights: the base model is not here.
        """
        checks.run(self.job, self.processes.device)

    def missing(self, gpu: float | None = None) -> str:
        """Weights that this machine lacks, which are not a fault of the training's settings; empty if it lacks none.

        Args:
            gpu: as for `lines`; with another GPU, what this machine can't do is no reason to refuse.

        Raises:
            BadInput: the training would be refused.
        """
        try:
            checks.run(self.job, self.processes.device if gpu is None else None)
        except MissingWeights as lacking:
            return str(lacking)
        return ""

    def sheet(self) -> Path:
        """Writes a picture of the first grids as the model will see them."""
        return plan_sheet.write(self.job)

    def run(self, progress: Progress = silent) -> Outcome:
        """Trains to the end, and hands the LoRA over; a training that was interrupted resumes, to the same weights bit
        for bit.

        Call `check` first: it finds what can be known to go wrong before any work is done.

        Raises:
            BadInput: the GPU's memory is too small, or another process trains in this folder.
            Diverged: loss, gradient or weights are not finite.
        """
        if not self.is_main:
            return loop.train(self.job, self.processes, silent)
        self.job.folder.mkdir(parents=True, exist_ok=True)
        with working(self.job.folder, "--into"):
            outcome = loop.train(self.job, self.processes, progress)
            self.handover = handover.after_training(outcome, self.job)
        return outcome


def open_training(
    data: Run | str | Path, *, task: str | Path | None = None, settings: Given = (), into: str | Path | None = None
) -> Training:
    """Sets up a training on the data set of a run, or on another folder.

    Args:
        data: a run, or a folder of grids with captions.
        task: for a folder: the task whose layout its grids have.
        settings: for this training only, beyond those of the run: `{"train.steps": 2000}`. To have them in the
            exported configs too, give them to the run.
        into: where the LoRA goes; for a run, `training` in its folder.

    Raises:
        BadInput: there is no data set, or it is not that of the run any more, or a setting is wrong; or for a folder,
            `task` or `into` is missing.
    """
    if isinstance(data, Run):
        exported.check(data)
        asked, folder, home = data.settings.changed(settings=settings), data.dataset, data.lora.parent
        drawn = asked.drawn and data.exists
    elif task is None or into is None:
        raise BadInput(f"a training on {data} needs to know its task and where the LoRA goes; give task and into.")
    else:
        asked = Settings(task=str(task), sources=(str(data),)).changed(settings=settings)
        folder, home, drawn = Path(data), Path(into), False
    loaded = _as_trained(asked.load_task())
    wanted = config.load(loaded, miniature=drawn)
    read, grid_scorer = dataset.read(folder, loaded), None
    if wanted.evaluate_every is not None:
        scorer: Scorer | None = plugins.make(PLUG_INS["scorer"], asked.scorer, loaded.scorer)
        given = conditions.never_drawn(wanted.conditions or (), loaded.condition)
        grid_scorer = DataSetScorer(scorer, loaded, read, given) if scorer else None
    job = Job(
        task=loaded,
        config=wanted,
        data=read,
        backend=find_backend(loaded.base, wanted.model, wanted.revision),
        folder=home if into is None else Path(into),
        cache=Cache(shared_folder()),  # the same grids are trained on by many runs
        grid_scorer=grid_scorer,
    )
    return Training(job)


def _as_trained(task: Task) -> Task:
    """The task as a training on its data set has it. Reference images are shown in every example unless it says what is
    given.

    Raises:
        BadInput: it gives panels in a canvas beside which references are shown.
    """
    trained = uses.as_trained(task)
    if not uses.has_references(task) or trained.train.get("conditions") is not None:
        return trained
    if trained.train.get("conditional") is not None:
        raise BadInput(
            "train.conditional gives panels in the canvas, and this data set shows reference images beside it "
            f"(export.use={task.export.use}); leave it out, or say what is given with train.conditions."
        )
    return trained.model_copy(update={"train": {**trained.train, "conditions": [{"seen": "reference"}]}})


def train(
    data: Run | str | Path,
    *,
    task: str | Path | None = None,
    settings: Given = (),
    into: str | Path | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Trains a LoRA; one that was interrupted resumes. Arguments and errors as for `open_training`, and:

    Args:
        progress: called with "texts", "grids" and "training" and how much of each is done.

    Returns:
        The LoRA's file, steps, held-out loss and time taken.

    Raises:
        MissingWeights: the base model is not here.
        Diverged: loss, gradient or weights are not finite.
    """
    training = open_training(data, task=task, settings=settings, into=into)
    training.check()
    return training.run(progress)
