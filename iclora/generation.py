"""From a LoRA to image sets."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclora.prompts import Prompt, open_given, open_references
from pipeline import files, pixels
from pipeline import task as tasks
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent
from pipeline.records import Layout
from pipeline.wording import counted
from training import generate as drawing
from training import generator as setup
from training.evaluation import seams
from training.generator import Adapter, GenerationRequest, Generator
from training.handover import comfy
from training.processes import Processes

if TYPE_CHECKING:
    from PIL import Image

    from training.config import BaseWeights

GRID = Path("generated.png")
"""Where a grid goes unless another file is named."""
KEY = "iclora"
"""Of the recipe in a PNG."""
COMFYUI = "prompt"
"""Of a workflow in a PNG, where ComfyUI's page looks for it."""

LAYOUT = re.compile(r"(\d{1,2})x(\d{1,2}):(\d{1,5})x(\d{1,5})")
APART = 1_000_003
"""Between the seeds with which a malformed grid is drawn again: far from what users count up from theirs."""

Loras = str | Path | Iterable[str | Path | tuple[str | Path, float]] | Mapping[str | Path, float]
Prompts = str | Prompt | Iterable[str | Prompt]


@dataclass(frozen=True)
class ImageSet:
    """One generated grid."""

    grid: Image.Image
    """RGB, of the canvas that the LoRA was trained on."""
    panels: tuple[Image.Image, ...]
    """The grid cut into its panels, row by row."""
    recipe: Mapping[str, Any]
    """What it was generated from, as plain values: prompt, seed, LoRAs, base, ..."""
    workflow: Mapping[str, Any] | None = None
    """The same drawing in ComfyUI, in its API format; None where its stock nodes can't do it."""
    faults: tuple[str, ...] = ()
    """What is wrong with its panels, such as "panel 2 is blank"; none if they are where the layout says."""
    tries: int = 1
    """With how many seeds it was drawn until it was whole, or as good as it gets."""

    @property
    def remark(self) -> str:
        """What is to be said of the grid's panels, to follow its name; empty if they are whole at the first try."""
        if self.faults:
            tried = f" (the best of {self.tries} seeds)" if self.tries > 1 else ""
            return f"is malformed: {'; '.join(self.faults)}{tried}"
        again = counted(self.tries - 1, "malformed one", "malformed ones")
        return f"is drawn with seed {self.recipe['seed']} after {again}" if self.tries > 1 else ""

    def save(self, grid: Path, panels: Sequence[Path], recipe: Path) -> None:
        """Writes the files; `Generation.free_files` names such as are free. If the grid's is a PNG, it holds the
        recipe as well, and the workflow, so that it opens in ComfyUI."""
        from PIL.PngImagePlugin import PngInfo

        told = json.dumps(self.recipe, ensure_ascii=False, indent=1)
        if grid.suffix.lower() == ".png":
            header = PngInfo()
            header.add_itxt(KEY, told)
            if self.workflow is not None:
                header.add_text(COMFYUI, json.dumps(self.workflow))
            self.grid.save(grid, pnginfo=header)
        else:
            self.grid.save(grid)
        for file, image in zip(panels, self.panels, strict=True):
            image.save(file)
        files.write(recipe, told)


class Generation:
    """Image sets that are about to be drawn; checked, but nothing is loaded yet."""

    def __init__(
        self, generator: Generator, requests: Sequence[GenerationRequest], *, keep_given: bool = False, retry: int = 0
    ) -> None:
        self.generator, self.requests, self.keep_given, self.retry = generator, requests, keep_given, retry

    @property
    def remarks(self) -> list[str]:
        """How the requests differ from what the LoRA has learnt, one sentence each; they can still be drawn."""
        return list(
            dict.fromkeys(remark for request in self.requests for remark in setup.remarks(self.generator, request))
        )

    def run(self, progress: Progress = silent) -> list[ImageSet]:
        """Draws an image set for every prompt and seed, prompt by prompt. The models are loaded once.

        Args:
            progress: called with "drawing" and how many sampling steps of all are done, then with "try 2", "try 3", ...
                for malformed grids.

        Raises:
            BadInput: a prompt is longer than the text encoder reads, there is no such way of drawing, or the GPU's
                memory is too small.
        """
        inputs = drawing.encode(self.generator, self.requests)
        sets = self._drawn(self.requests, inputs, progress)
        for again in range(1, self.retry + 1):
            malformed = [place for place, one in enumerate(sets) if one.faults]
            if not malformed:
                break
            requests = [
                replace(self.requests[place], seed=self.requests[place].seed + again * APART) for place in malformed
            ]
            drawn = self._drawn(requests, [inputs[place] for place in malformed], progress, f"try {again + 1}")
            for place, one in zip(malformed, drawn, strict=True):
                best = min(sets[place], one, key=lambda one: len(one.faults))
                sets[place] = replace(best, tries=again + 1)
        return sets

    def _drawn(
        self,
        requests: Sequence[GenerationRequest],
        inputs: Sequence[drawing.Inputs],
        progress: Progress,
        what: str = "drawing",
    ) -> list[ImageSet]:
        grids = drawing.sample(self.generator, requests, inputs, progress, what)
        return [self._image_set(grid, request) for grid, request in zip(grids, requests, strict=True)]

    def _image_set(self, grid: Image.Image, request: GenerationRequest) -> ImageSet:
        layout = self.generator.layout
        if self.keep_given:
            grid = drawing.with_given(self.generator, grid, request)
        faults = seams.faults(grid, layout, request.given)
        panels, recipe = tuple(pixels.cut(grid, layout)), self._recipe(request, faults)
        return ImageSet(grid, panels, recipe, self._workflow(request), faults)

    def _recipe(self, request: GenerationRequest, faults: Sequence[str]) -> dict[str, Any]:
        return {
            **self._common,
            "prompt": request.prompt,
            "seed": request.seed,
            "given": sorted(panel + 1 for panel in request.given),
            "references": len(request.references),
            "faults": list(faults),
        }

    def _workflow(self, request: GenerationRequest) -> dict[str, Any] | None:
        made = self.generator
        if (
            comfy.obstacle(made.backend)
            or (request.references and not comfy.shows_references(made.backend))
            or (request.given and not comfy.draws_around(made.backend, made.given_as))
        ):
            return None
        drawing = comfy.Drawing(
            name=KEY,
            prompt=request.prompt,
            layout=made.layout,
            steps=made.settings.steps,
            guidance=made.settings.guidance,
            seed=request.seed,
            loras={one.file.name: one.strength for one in made.loras},
            given={panel: f"panel{panel + 1}.png" for panel in request.given},
            keep_given=self.keep_given,
            references=tuple(f"reference{number}.png" for number in range(1, 1 + len(request.references))),
        )
        return comfy.workflow(made.backend, drawing)

    @cached_property
    def _common(self) -> dict[str, Any]:
        """What all image sets are generated from."""
        made, layout = self.generator, self.generator.layout
        return {
            "iclora": metadata.version("iclora"),
            "base": made.backend.model,
            "weights": made.backend.identity("transformer"),
            "base_weights": made.weights,
            "loras": [
                {"file": one.file.name, "sha256": files.digest(one.file), "strength": one.strength}
                for one in made.loras
            ],
            "canvas": list(layout.canvas),
            "panels": [layout.rows, layout.cols],
            "steps": made.settings.steps,
            "guidance": made.settings.guidance,
            "given_as": made.given_as,
            "kept_given": self.keep_given,
        }

    def check_files(self, to: str | Path) -> None:
        """Whether the image sets can go to files of these names, before any is drawn.

        Args:
            to: as for `free_files`.

        Raises:
            BadInput: the name is not an image's, or one of the files exists.
        """
        from PIL import Image

        first = Path(to)
        if Image.registered_extensions().get(first.suffix.lower()) not in {*pixels.FORMATS} & {*Image.SAVE}:
            raise BadInput(f"--to {to} doesn't end like an image's name; name a file such as grid.png.")
        for wanted in itertools.islice(self._files(first), len(self.requests)):
            if there := next((file for file in wanted if file.exists()), None):
                raise BadInput(f"{there} exists and would be overwritten; name another file with --to.")
        first.parent.mkdir(parents=True, exist_ok=True)

    def free_files(self, to: str | Path | None = None) -> list[list[Path]]:
        """For every image set the files of its grid, its panels and its recipe. Nothing is ever overwritten: it may be
        what was given, or what another process has drawn meanwhile.

        Args:
            to: the first grid's file; the others have 2, 3, ... after the name, panels -1, -2, ...; by default
                `generated.png`, `generated2.png`, ... Names that are taken are left out.
        """
        free = (wanted for wanted in self._files(Path(to or GRID)) if not any(file.exists() for file in wanted))
        return [*itertools.islice(free, len(self.requests))]

    def _files(self, first: Path) -> Iterator[list[Path]]:
        for number in itertools.count(1):
            grid = first if number == 1 else first.with_stem(f"{first.stem}{number}")
            yield _files(grid, self.generator.layout.size)


def _files(to: Path, panels: int) -> list[Path]:
    cut = [to.with_name(f"{to.stem}-{panel}.png") for panel in range(1, panels + 1)]
    return [to, *cut, to.with_suffix(".json")]


def open_generation(  # noqa: PLR0913  (one argument per option)
    loras: Loras,
    prompts: Prompts,
    *,
    given: Mapping[int, str | Path | Image.Image] | None = None,
    references: Iterable[str | Path | Image.Image] = (),
    keep_given: bool = False,
    task: str | Path | None = None,
    layout: str | None = None,
    model: str | None = None,
    weights: BaseWeights = "auto",
    offload: bool = False,
    seeds: int | Iterable[int] = 0,
    steps: int | None = None,
    guidance: float | None = None,
    retry: int = 0,
) -> Generation:
    """Sets up image sets for a LoRA, or for several together.

    Args:
        loras: a LoRA's file, several, or several with their strengths (`{"a.safetensors": 0.8}`; 1 is as trained).
            Files of other programs are read too; the canvas comes from the first of iclora's, or from `task` or
            `layout`.
        prompts: one or several joint captions with the markers of the LoRA's task, or `Prompt`s.
        given: images of panels that exist already, by panel from 1, for prompts without their own: paths or PIL
            images; cropped to the panel around what stands out in them.
        references: images that the model is shown beside the grid, for prompts without their own; for bases that take
            reference images.
        keep_given: puts the given images back pixel by pixel, since the model's decoder changes them a little.
        task: a task's name or file, whose canvas is drawn in place of the LoRA's own; needed where no LoRA is
            iclora's.
        layout: in place of a task the canvas itself, as rows x columns and a panel's width and height in pixels:
            `3x1:1024x512`. Without a LoRA of iclora's, the base is that of `model`, or else FLUX.1.
        model: another base model (a hub name or a folder) than the one that the LoRA was trained on.
        weights: how the base is held in memory: int8, nf4 and fp8 take less than bf16.
        offload: leaves the base in the computer's memory and sends it to the GPU block by block, which is slower.
        seeds: of the noise; each gives an image set for every prompt that has none of its own.
        steps: from noise to image; at least 1. By default as many as the base's family is usually drawn with.
        guidance: how strongly the prompt pulls; from 0. By default the family's usual one.
        retry: how often a malformed grid is drawn again at most. The k-th time its seed is larger by k times 1,000,003;
            of the grids drawn, the first with the fewest faults is kept.

    Raises:
        BadInput: a file is no LoRA, is given twice or doesn't fit the base, the canvas is unknown, a prompt is
            incomplete, a given image can't be read, or there is no GPU to offload from.
        MissingWeights: the base model is not here.
    """
    if retry < 0:
        raise BadInput(f"a malformed grid is drawn again 0 times or more, got --retry {retry}.")
    adapters = [Adapter(Path(file), strength) for file, strength in strengths_of(loras).items()]
    wanted = tasks.load(str(task)) if task is not None else None
    canvas = _layout(layout) if layout is not None else None
    device = Processes().device
    generator = setup.open_generator(adapters, model, None, device, wanted, weights, layout=canvas, offload=offload)
    generator = setup.sampled_with(generator, steps, guidance)
    common = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    shared = GenerationRequest("", given=open_given(given or {}), references=open_references(references))
    requests = _requests(prompts, common, shared, wanted or _task_of(generator))
    return Generation(generator, requests, keep_given=keep_given, retry=retry)


def _requests(
    prompts: Prompts, seeds: Sequence[int], shared: GenerationRequest, task: tasks.Task | None
) -> list[GenerationRequest]:
    """Prompt by prompt.

    Args:
        seeds, shared: seeds, given pictures and reference images for prompts without their own.

    Raises:
        BadInput: there are none, a prompt is incomplete, or a given image can't be read.
    """
    several = [prompts] if isinstance(prompts, str | Prompt) else list(prompts)
    asked = [Prompt(one) if isinstance(one, str) else one for one in several]
    if not asked or not seeds:
        raise BadInput("there is nothing to generate; give at least one prompt and one seed.")
    requests = list[GenerationRequest]()
    for one in asked:
        text, images = one.caption(task), one.pictures if one.given else shared.given
        shown = one.shown if one.references else shared.references
        requests += [GenerationRequest(text, seed, images, shown) for seed in one.seeds or seeds]
    return requests


def strengths_of(loras: Loras) -> Mapping[str | Path, float]:
    """Files by their strengths, 1 where none is given.

    Raises:
        BadInput: a file is given twice.
    """
    several = loras.items() if isinstance(loras, Mapping) else [loras] if isinstance(loras, str | Path) else loras
    found, known = dict[str | Path, float](), set[Path]()
    for one in several:
        file, strength = one if isinstance(one, tuple) else (one, 1.0)
        if (place := Path(file).resolve()) in known:
            raise BadInput(f"{file} is given twice; name each LoRA once, with the strength that it should have in all.")
        known.add(place)
        found[file] = strength
    return found


def _layout(words: str) -> Layout:
    """
    Raises:
        BadInput: it is no layout, or has no panels or pixels.
    """
    found = LAYOUT.fullmatch(words)
    if not found or not all(numbers := [int(number) for number in found.groups()]):
        raise BadInput(f"--layout takes ROWSxCOLS:WIDTHxHEIGHT of a panel such as 3x1:1024x512, got '{words}'.")
    return Layout(*numbers)


def _task_of(generator: Generator) -> tasks.Task | None:
    """The task that a LoRA names, if it is one of ours; a user's own is a file whose place is not known."""
    task = tasks.load(generator.card.task) if generator.card and generator.card.task in tasks.names() else None
    return task if task and task.grid_layout.size == generator.layout.size else None


def generate(  # noqa: PLR0913  (one argument per option)
    loras: Loras,
    prompts: Prompts,
    *,
    given: Mapping[int, str | Path | Image.Image] | None = None,
    references: Iterable[str | Path | Image.Image] = (),
    keep_given: bool = False,
    task: str | Path | None = None,
    layout: str | None = None,
    model: str | None = None,
    weights: BaseWeights = "auto",
    offload: bool = False,
    seeds: int | Iterable[int] = 0,
    steps: int | None = None,
    guidance: float | None = None,
    retry: int = 0,
    progress: Progress = silent,
) -> list[ImageSet]:
    """Draws an image set for every prompt and seed, with the models loaded once. Arguments and errors as for
    `open_generation` and `Generation.run`.

    Returns:
        Prompt by prompt, each with its grid and its panels, as PIL images in RGB.

    Raises:
        BadInput: also, a prompt is longer than the text encoder reads, or all panels are given.
    """
    generation = open_generation(
        loras,
        prompts,
        given=given,
        references=references,
        keep_given=keep_given,
        task=task,
        layout=layout,
        model=model,
        weights=weights,
        offload=offload,
        seeds=seeds,
        steps=steps,
        guidance=guidance,
        retry=retry,
    )
    return generation.run(progress)
