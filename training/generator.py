"""What image sets are generated with: the LoRA's base and canvas, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image

from pipeline.errors import BadInput
from pipeline.families.base import Family, Recipe
from pipeline.records import Layout
from pipeline.task import Task
from training import conditions, lora, lora_file, machine, sampling
from training.backends.base import Backend
from training.config import MINIATURE, MINIATURE_NAME, BaseWeights, Config, scaled
from training.job import family_of, find_backend
from training.lora_file import Card
from training.sampling import SamplingSettings

CROPPED = 0.1
"""Share of a given picture's area that may be cropped without a remark."""


@dataclass(frozen=True)
class GenerationRequest:
    """One grid to generate."""

    prompt: str
    seed: int = 0
    given: Mapping[int, Image.Image] = field(default_factory=dict)
    """Pictures of panels (from 0) that are there already; cropped to their panel's shape around what stands out."""
    references: tuple[Image.Image, ...] = ()
    """Pictures that the model is shown beside the grid, for families that take any."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA that takes part."""

    file: Path
    strength: float = 1.0
    """How much of its change counts: 0 is the base alone, 1 as it was trained."""


@dataclass(frozen=True)
class Generator:
    """What grids are generated with."""

    backend: Backend
    loras: tuple[Adapter, ...]
    """None for the base alone."""
    layout: Layout
    """The canvas at the size that is sampled."""
    settings: SamplingSettings
    device: torch.device
    given_as: sampling.GivenAs = "clean"
    card: Card | None = None
    """What the LoRA says about itself that the layout is from; None for LoRAs of other programs."""
    weights: BaseWeights = "auto"
    """How the base is held in memory."""
    offload: bool = False
    """Whether the base stays in the computer's memory, and each block is sent to the GPU when its turn comes."""


def open_generator(  # noqa: PLR0913  (one argument per choice)
    loras: Sequence[Adapter],
    model: str | None,
    settings: SamplingSettings | None,
    device: torch.device,
    task: Task | None = None,
    weights: BaseWeights = "auto",
    *,
    layout: Layout | None = None,
    offload: bool = False,
) -> Generator:
    """A generator as the first LoRA that iclora wrote describes it: base, canvas, and how given panels are shown.

    A base on the hub is taken at the commit that the LoRA was trained on. LoRAs of other programs say none of this:
    without one of iclora's, the canvas and the base's family are the task's, and given panels are noised along. With a
    layout alone the family is that of the model, or else FLUX.1.

    Args:
        model: another base model than the one in the file, or where its folder is.
        settings: None for those that the base's family is usually drawn with.
        task: for the canvas, in place of the file's.
        layout: the canvas itself, in place of the file's; not with a task.

    Raises:
        BadInput: a file is damaged or doesn't fit the base, no file says which canvas it has learnt and there is
            neither task nor layout, or there are both, it was trained on a folder whose place must be given, or the
            device can't hold such weights.
        MissingWeights: the base is not there.
    """
    if task is not None and layout is not None:
        raise BadInput("--task and --layout both say which canvas is drawn; leave one out.")
    machine.check(Config(base_weights=weights), device)
    if offload:
        machine.check_offload(Config(base_weights=weights), device)
    file, card = next(((one.file, card) for one in loras if (card := lora_file.find_card(one.file))), (None, None))
    if file is not None and card is not None:
        backend, canvas = base_of(file, card, model), card.shown
    elif layout is not None:
        backend, canvas = find_backend(family_of(model), model, None), layout
    elif task is None:
        whose = f"{loras[0].file} was not made by iclora, so it" if loras else "the base alone"
        raise BadInput(
            f"{whose} does not say which canvas it has learnt; name the task with --task, or the canvas with --layout."
        )
    else:
        backend, canvas = find_backend(task.base, model, None), task.grid_layout
    if layout is not None:
        canvas = _fitting(layout, backend.token)
    elif task is not None:
        canvas = scaled(task.grid_layout, 1.0, backend.token, backend.token)
    backend.named_by = "--model "
    backend.check()
    blank = backend.blank("transformer")
    for one in loras:
        lora.read(one.file, blank, backend)
    clean = backend.READS_GIVEN or (card is not None and conditions.share_of(card.conditions, "clean") > 0)
    given_as: sampling.GivenAs = "clean" if clean else "noised"
    sampled = settings or usual_sampling(backend.family)
    return Generator(backend, tuple(loras), canvas, sampled, device, given_as, card, weights, offload)


def usual_sampling(family: Family) -> SamplingSettings:
    """Steps and guidance with which a family's samples are drawn."""
    recipe = Recipe.model_validate(dict(family.recipe))
    return SamplingSettings(recipe.sample_steps, recipe.guidance)


def sampled_with(generator: Generator, steps: int | None, guidance: float | None) -> Generator:
    """The generator with other steps or another guidance, where they are given."""
    usual = generator.settings
    sampled = SamplingSettings(
        usual.steps if steps is None else steps, usual.guidance if guidance is None else guidance
    )
    return replace(generator, settings=sampled)


def _fitting(layout: Layout, token: int) -> Layout:
    """
    Raises:
        BadInput: a token of the base would span a seam.
    """
    width, height = layout.panel_width, layout.panel_height
    if width % token or height % token:
        near = scaled(layout, 1.0, token, token)
        raise BadInput(
            f"the sides of a panel are multiples of the base's tokens, {token} pixels, got --layout with {width} x "
            f"{height}; {near.panel_width} x {near.panel_height} is the nearest."
        )
    return layout


def base_of(file: Path, card: Card, model: str | None) -> Backend:
    """The base that a LoRA was trained on, at the same commit, or another model of its family.

    Raises:
        BadInput: it was trained on a folder whose place must be given.
    """
    name = model or (str(MINIATURE) if card.base == MINIATURE_NAME else card.base)
    backend = find_backend(card.family, name, card.commit if name == card.base else None)
    if "/" not in name and backend.folder is None:
        raise BadInput(f"{file} was trained on the base in a folder '{name}'; say where it is with --model FOLDER.")
    return backend


def remarks(generator: Generator, request: GenerationRequest) -> list[str]:
    """How a request differs from what the LoRA has learnt, one sentence each; it can be generated all the same."""
    card, found = generator.card, []
    if card is None:
        return []
    if (weights := generator.backend.identity("transformer")) != card.weights:
        found.append(
            f"{generator.backend.model} has other weights ({weights}) than the base that the LoRA was trained on "
            f"({card.base}, {card.weights}), so the LoRA may have less effect."
        )
    tags = [tag for tag in (card.prefix, *card.markers) if tag]
    missing, places = [tag for tag in tags if tag not in request.prompt], [request.prompt.find(tag) for tag in tags]
    if missing or places != sorted(places):
        fault = f"lacks {', '.join(missing)}" if missing else "has its markers in another order"
        found.append(f"the prompt {fault}; every caption in the LoRA's training reads {' ... '.join(tags)} ...")
    found += _remarks_on_given(generator.layout, card, request.given)
    learnt = conditions.share_of(card.conditions, "reference")
    if learnt == 1 and not request.references:
        found.append("the LoRA has learnt to draw with reference images, and here is none; use --reference FILE.")
    if request.references and not learnt:
        found.append("the LoRA was trained without reference images, so what they show may not be kept.")
    return found


def _remarks_on_given(layout: Layout, card: Card, given: Mapping[int, Image.Image]) -> Iterator[str]:
    in_canvas = [one for one in card.conditions if one.seen != "reference"]
    panels = sorted(panel + 1 for panel in given)
    always = sum(one.share for one in in_canvas) == 1
    fixed = in_canvas[0] if len(in_canvas) == 1 and in_canvas[0].panels != "any" else None
    if (always and not given) or (fixed and given and panels != sorted(conditions.numbers_of(fixed, card.condition))):
        learnt = conditions.which(fixed, card.condition) if fixed else "some panels"
        here = f"panel {', '.join(map(str, panels))} is" if panels else "none is"
        yield f"the LoRA has learnt to generate with {learnt} given, and here {here}; use --given PANEL=FILE."
    for panel, image in given.items():
        stretch = image.width / image.height * layout.panel_height / layout.panel_width
        if (lost := 1 - min(stretch, 1 / stretch)) > CROPPED:
            yield (
                f"the picture for panel {panel + 1} loses {lost:.0%} of its area, since it has {image.width} x "
                f"{image.height} pixels and the panel {layout.panel_width} x {layout.panel_height}; crop it to that "
                "shape yourself to choose what stays."
            )
