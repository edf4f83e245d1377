"""Image sets from a LoRA: encodes prompts and pictures, frees the encoders, then samples and decodes grids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.errors import BadInput
from pipeline.progress import LOG
from pipeline.records import Layout
from pipeline.wording import counted
from training import dataset, latents, lora, lora_file, machine, objective, random_streams, sampling
from training.backends.base import Backend, Encoded, Prompts, dtype_of
from training.config import MINIATURE, MINIATURE_NAME, Config, scaled
from training.job import find_backend
from training.lora_file import Card
from training.sampling import SamplingSettings

TOGETHER = 768
"""Tokens up to which several canvases are sampled at once; larger ones go one by one."""
CROPPED = 0.1
"""Share of a given picture's area that may be cropped without a remark."""


@dataclass(frozen=True)
class GenerationRequest:
    """One grid to generate."""

    prompt: str
    seed: int = 0
    given: Mapping[int, Image.Image] = field(default_factory=dict)
    """Pictures of panels (from 0) that are there already; cropped evenly to their panel's shape."""
    references: tuple[Image.Image, ...] = ()
    """Pictures that the model is shown beside the grid, for families that take any."""


@dataclass(frozen=True)
class Generator:
    """What grids are generated with."""

    backend: Backend
    lora: Path | None
    """A LoRA file with diffusers' keys; None for the base alone."""
    layout: Layout
    """The canvas at the size that is sampled."""
    settings: SamplingSettings
    device: torch.device
    given_as: sampling.GivenAs = "clean"
    card: Card | None = None
    """What the LoRA file says about itself."""


def open_generator(file: Path, model: str | None, settings: SamplingSettings, device: torch.device) -> Generator:
    """A generator as a LoRA file written by iclora describes it: base, canvas, and how given panels are shown.

    A base on the hub is taken at the commit that the LoRA was trained on.

    Args:
        model: another base model than the one in the file, or where its folder is.

    Raises:
        BadInput: the file is not iclora's or is damaged, doesn't fit the base, or was trained on a folder whose place
            must be given.
        MissingWeights: the base is not there.
    """
    card = lora_file.read_card(file)
    name = model or (str(MINIATURE) if card.base == MINIATURE_NAME else card.base)
    commit, on_hub, _ = card.weights.partition("/")
    backend = find_backend(card.family, name, commit if on_hub and name == card.base else None)
    backend.named_by = "--model "
    if "/" not in name and backend.folder is None:
        raise BadInput(f"{file} was trained on the base in a folder '{name}'; say where it is with --model FOLDER.")
    backend.check()
    lora.check_fit(file, lora_file.read_weights(file), backend.blank("transformer"))
    layout = scaled(card.layout, max(card.scales), backend.token, backend.token)
    given_as: sampling.GivenAs = "clean" if card.recipe["conditional"] else "noised"
    return Generator(backend, file, layout, settings, device, given_as, card)


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
    return found


def _remarks_on_given(layout: Layout, card: Card, given: Mapping[int, Image.Image]) -> Iterator[str]:
    share, panels = card.recipe["conditional"], sorted(panel + 1 for panel in given)
    learnt = f"panel {', '.join(map(str, card.condition))}" if card.condition else "some panels"
    if (share == 1 and not given) or (share and given and card.condition and panels != sorted(card.condition)):
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


@dataclass(frozen=True)
class _Inputs:
    """What a request comes to for the model."""

    text: Encoded
    empty: Encoded
    """The empty prompt with the request's reference images."""
    references: tuple[Tensor, ...] = ()
    given: tuple[Tensor, Tensor] | None = None
    """Latents of the given panels in their places (C x H x W), and a mask of them (H x W)."""


def draw(generator: Generator, requests: Sequence[GenerationRequest]) -> list[Image.Image]:
    """The grids of the requests, in their order.

    Raises:
        BadInput: a prompt is too long for the text encoder, a panel or a reference image is given that the model can't
            take, or the settings are out of range.
    """
    _check(generator, requests)
    backend, device, dtype = generator.backend, generator.device, machine.encoder_dtype(generator.device)
    with backend.loaded(backend.ENCODERS, dtype, device) as encoders:
        inputs = _read(backend, encoders, requests)
    if any(request.given or request.references for request in requests):
        with backend.loaded(["vae"], dtype, device) as parts:
            inputs = [
                replace(
                    one,
                    references=tuple(_reference(backend, parts["vae"], image) for image in request.references),
                    given=_given(generator, parts["vae"], request) if request.given else None,
                )
                for one, request in zip(inputs, requests, strict=True)
            ]
    drawn = _draw(generator, requests, inputs)
    if not drawn.isfinite().all():
        raise BadInput(
            f"{backend.model} produces NaN or infinity at --guidance {generator.settings.guidance:g}; lower it, or use "
            "an undamaged base and LoRA."
        )
    with backend.loaded(["vae"], dtype, device) as parts:
        return sampling.to_images(backend, parts["vae"], drawn)


def _read(backend: Backend, encoders: Mapping[str, nn.Module], requests: Sequence[GenerationRequest]) -> list[_Inputs]:
    """Every request's prompt and empty prompt; equal ones are encoded once."""
    known: dict[tuple[str, tuple[int, ...]], Encoded] = {}

    def read(text: str, request: GenerationRequest) -> Encoded:
        pictures = request.references if backend.ENCODER_SEES_REFERENCES else ()
        key = (text, tuple(map(id, pictures)))
        if key not in known:
            (known[key],) = backend.encode_text(encoders, [text], [pictures] if pictures else ())
        return known[key]

    return [_Inputs(read(request.prompt, request), read("", request)) for request in requests]


def _check(generator: Generator, requests: Sequence[GenerationRequest]) -> None:
    steps, guidance = generator.settings.steps, generator.settings.guidance
    if steps < 1:
        raise BadInput(f"sampling takes at least 1 step, got --steps {steps}.")
    if not 0 <= guidance < math.inf:
        raise BadInput(f"guidance is a number of at least 0 such as 3.5, got --guidance {guidance}.")
    limit, panels = generator.backend.text_limit, generator.layout.size
    counts = generator.backend.count_tokens([request.prompt for request in requests])
    for request, count in zip(requests, counts, strict=True):
        if count > limit:
            raise BadInput(
                f"the prompt '{request.prompt[:60]}...' has {count:,} tokens, and only {limit} are read; shorten it."
            )
        if foreign := sorted(panel + 1 for panel in request.given if not 0 <= panel < panels):
            raise BadInput(f"panel {foreign[0]} is given, and the LoRA's grids have panels 1 to {panels}.")
        if len(request.given) == panels:
            raise BadInput(
                f"all {counted(panels, 'panel is', 'panels are')} given, so nothing is left to generate; leave one out."
            )
        if len(request.references) > (most := generator.backend.REFERENCES):
            images = counted(request.references, "reference image is", "reference images are")
            raise BadInput(
                f"{images} given, and {generator.backend.model} takes {f'at most {most}' if most else 'none'}; leave "
                "some out."
            )


def _given(generator: Generator, vae: Any, request: GenerationRequest) -> tuple[Tensor, Tensor]:
    layout, boxes = generator.layout, generator.backend.latent_boxes(generator.layout.boxes)
    size = (layout.panel_width, layout.panel_height)
    panels = torch.zeros(layout.size, 3, size[1], size[0])
    for panel, image in request.given.items():
        panels[panel] = dataset.pixels(dataset.fitted(image, size))
    encoded = latents.place(generator.backend.encode_image(vae, panels)[0], boxes)
    return encoded, objective.panel_mask(boxes, list(request.given), *encoded.shape[-2:])


def _reference(backend: Backend, vae: Any, image: Image.Image) -> Tensor:
    pixels = dataset.pixels(dataset.fitted(image, backend.reference_size(image.size)))
    return backend.encode_image(vae, pixels[None])[0][0]


def _draw(generator: Generator, requests: Sequence[GenerationRequest], inputs: Sequence[_Inputs]) -> Tensor:
    """Latents of every request; several small canvases are sampled at once."""
    backend, device = generator.backend, generator.device
    transformer: Any = backend.load("transformer", machine.base_dtype(Config(), device), device)
    if generator.lora:
        transformer.load_lora_adapter(lora_file.read_weights(generator.lora), prefix=None)
    canvas = generator.layout.canvas
    shape = backend.latent_shape(canvas)
    together = max(1, TOGETHER // backend.tokens(canvas))
    LOG.info("drawing %s in %s", counted(requests, "grid"), counted(generator.settings.steps, "step"))
    drawn = []
    for start in range(0, len(requests), together):
        some, of = requests[start : start + together], inputs[start : start + together]
        noise = torch.stack(
            [torch.randn(shape, generator=random_streams.generator(request.seed, "generate")) for request in some]
        )
        panels = torch.stack([one.given[0] if one.given else torch.zeros(shape) for one in of])
        masks = torch.stack([one.given[1] if one.given else torch.zeros(shape[1:]) for one in of])[:, None]
        given = sampling.GivenPanels(panels.to(device), masks.to(device), generator.given_as) if masks.any() else None
        references = [[latent.to(device) for latent in one.references] for one in of]
        prompts = Prompts([one.text for one in of], [one.empty for one in of], references)
        with machine.autocast(device, dtype_of(transformer)):
            drawn.append(sampling.draw(backend, transformer, prompts, noise.to(device), generator.settings, given))
    return torch.cat(drawn)
