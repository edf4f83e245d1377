"""From a data set to a LoRA, and from a LoRA to image sets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from iclora import exported
from iclora.run import Run
from iclora.settings import Settings
from pipeline import pixels
from pipeline.cache import Cache, shared_folder
from pipeline.errors import BadInput, MissingWeights
from pipeline.progress import Progress, silent
from pipeline.task import Given
from training import checks, config, dataset, loop, planning
from training import generate as drawing
from training.job import Job, find_backend
from training.loop import Outcome
from training.monitoring import plan_sheet
from training.processes import Processes
from training.sampling import SamplingSettings

if TYPE_CHECKING:
    from PIL import Image

GRID = Path("generated.png")
"""Where a grid goes unless another file is named."""


# ---- training


class Training:
    """A training that is set up but not started. Under `accelerate launch` every process has its own."""

    def __init__(self, job: Job) -> None:
        self.job, self.processes = job, Processes()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.processes.is_main

    def lines(self) -> list[str]:
        """What the training will see and need: canvas, tokens, memory, time. Loads no weights."""
        plan = planning.make(self.job, self.processes.device, self.processes.count)
        return list(planning.lines(self.job, plan))

    def check(self) -> None:
        """
        Raises:
            BadInput: the training would be refused, with a sentence for every reason.
            MissingWeights: the base model is not here.
        """
        checks.run(self.job, self.processes.device)

    def missing(self) -> str:
        """Weights that this machine lacks, which are not a fault of the training's settings; empty if it lacks none.

        Raises:
            BadInput: the training would be refused.
        """
        try:
            self.check()
        except MissingWeights as lacking:
            return str(lacking)
        return ""

    def sheet(self) -> Path:
        """Writes a picture of the first grids as the model will see them."""
        return plan_sheet.write(self.job)

    def run(self, progress: Progress = silent) -> Outcome:
        """Trains to the end; a training that was interrupted resumes, to the same weights bit for bit.

        Call `check` first: it finds what can be known to go wrong before any work is done.

        Raises:
            BadInput: the GPU's memory is too small.
            Diverged: loss, gradient or weights are not finite.
        """
        return loop.train(self.job, self.processes, progress if self.is_main else silent)


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
        asked, folder, home = data.settings.changed(settings=settings), data.dataset, data.folder / "training"
        drawn = asked.drawn and data.exists
    elif task is None or into is None:
        raise BadInput(f"a training on {data} needs to know its task and where the LoRA goes; give task and into.")
    else:
        asked = Settings(task=str(task), sources=(str(data),)).changed(settings=settings)
        folder, home, drawn = Path(data), Path(into), False
    loaded = asked.load_task()
    wanted = config.load(loaded, miniature=drawn)
    job = Job(
        task=loaded,
        config=wanted,
        data=dataset.read(folder, loaded),
        backend=find_backend(loaded.base, wanted.model, wanted.revision),
        folder=home if into is None else Path(into),
        cache=Cache(shared_folder()),  # the same grids are trained on by many runs
    )
    return Training(job)


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


# ---- generation


@dataclass(frozen=True)
class ImageSet:
    """One generated grid."""

    grid: Image.Image
    """RGB, of the canvas that the LoRA was trained on."""
    panels: tuple[Image.Image, ...]
    """The grid cut into its panels, row by row."""

    def save(self, files: Sequence[Path]) -> None:
        """Writes the grid to the first file and the panels to the others; `Generation.free_files` names such files."""
        for file, image in zip(files, (self.grid, *self.panels), strict=True):
            image.save(file)


class Generation:
    """Image sets that are about to be drawn; checked, but nothing is loaded yet."""

    def __init__(self, generator: drawing.Generator, requests: Sequence[drawing.GenerationRequest]) -> None:
        self.generator, self.requests = generator, requests

    @property
    def remarks(self) -> list[str]:
        """How the requests differ from what the LoRA has learnt, one sentence each; they can still be drawn."""
        return list(
            dict.fromkeys(remark for request in self.requests for remark in drawing.remarks(self.generator, request))
        )

    def run(self) -> list[ImageSet]:
        """Draws one image set per prompt.

        Raises:
            BadInput: a prompt is longer than the text encoder reads, or there is no such way of drawing.
        """
        grids = drawing.draw(self.generator, self.requests)
        return [ImageSet(grid, tuple(pixels.cut(grid, self.generator.layout))) for grid in grids]

    def free_files(self, to: str | Path | None = None) -> list[Path]:
        """Files for a grid and its panels. Nothing is ever overwritten: it may be what was given.

        Args:
            to: the grid's file; its panels have -1, -2, ... after the name. If not given, the first free of
                `generated.png`, `generated2.png`, ...

        Raises:
            BadInput: the name is not an image's, or one of the files exists.
        """
        from PIL import Image

        panels, numbers = self.generator.layout.size, itertools.count(2)
        files = _files(Path(to or GRID), panels)
        while to is None and any(file.exists() for file in files):
            files = _files(GRID.with_stem(f"{GRID.stem}{next(numbers)}"), panels)
        if Image.registered_extensions().get(files[0].suffix.lower()) not in {*pixels.FORMATS} & {*Image.SAVE}:
            raise BadInput(f"--to {to} doesn't end like an image's name; name a file such as grid.png.")
        if there := [file for file in files if file.exists()]:
            raise BadInput(f"{there[0]} exists and would be overwritten; name another file with --to.")
        files[0].parent.mkdir(parents=True, exist_ok=True)
        return files


def _files(to: Path, panels: int) -> list[Path]:
    return [to, *(to.with_name(f"{to.stem}-{panel}.png") for panel in range(1, panels + 1))]


def open_generation(  # noqa: PLR0913  (one argument per option)
    lora: str | Path,
    prompts: str | Iterable[str],
    *,
    given: Mapping[int, str | Path | Image.Image] | None = None,
    model: str | None = None,
    seed: int = 0,
    steps: int = 20,
    guidance: float = 3.5,
) -> Generation:
    """Sets up image sets for a LoRA that iclora has trained.

    Args:
        lora: its file.
        prompts: one or several joint captions, with the markers of the LoRA's task.
        given: images of panels that exist already, by panel from 1: paths or PIL images; cropped evenly to the panel.
        model: another base model (a hub name or a folder) than the one that the LoRA was trained on.
        seed: of the noise, the same for every prompt.
        steps: from noise to image; at least 1.
        guidance: how strongly the prompt pulls; from 0.

    Raises:
        BadInput: the file is not a LoRA of iclora's or doesn't fit the base, or a given image can't be read.
        MissingWeights: the base model is not here.
    """
    images = {
        panel - 1: pixels.open_image(Path(image)) if isinstance(image, str | Path) else image
        for panel, image in (given or {}).items()
    }
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    sampling = SamplingSettings(steps, guidance)
    generator = drawing.open_generator(Path(lora), model, sampling, Processes().device)
    return Generation(generator, [drawing.GenerationRequest(text, seed, images) for text in texts])


def generate(  # noqa: PLR0913  (one argument per option)
    lora: str | Path,
    prompts: str | Iterable[str],
    *,
    given: Mapping[int, str | Path | Image.Image] | None = None,
    model: str | None = None,
    seed: int = 0,
    steps: int = 20,
    guidance: float = 3.5,
) -> list[ImageSet]:
    """Draws one image set per prompt, with the model loaded once. Arguments and errors as for `open_generation`.

    Returns:
        For every prompt its grid and its panels, as PIL images in RGB.

    Raises:
        BadInput: also, a prompt is longer than the text encoder reads, or all panels are given.
    """
    return open_generation(lora, prompts, given=given, model=model, seed=seed, steps=steps, guidance=guidance).run()
