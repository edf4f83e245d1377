"""Image sets from a LoRA: texts and given pictures are encoded, encoders freed, then grids are drawn and decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipeline import families
from pipeline.errors import BadInput
from pipeline.records import Layout
from training import dataset, flow, latents, lora, machine, random_streams, sampling
from training.backends.base import Backend, Encoded, numbers
from training.config import MINIATURE, MINIATURE_NAME, Config, scaled
from training.job import find_backend
from training.lora import Card
from training.sampling import SamplingSettings

TOGETHER = 768
"""Tokens that are drawn at once at least; canvases of more go one by one."""
CROPPED = 0.1
"""Share of a given picture's area that may be cut off without a word."""


@dataclass(frozen=True)
class GenerationRequest:
    """One grid to draw."""

    prompt: str
    seed: int = 0
    given: Mapping[int, Image.Image] = field(default_factory=dict)
    """Pictures of panels (from 0) that are there already; cut evenly to their panel's shape."""


@dataclass(frozen=True)
class Generator:
    """What grids are drawn with."""

    backend: Backend
    lora: Path | None
    """A LoRA file with diffusers' keys; None draws with the base alone."""
    layout: Layout
    """The canvas at the size that is drawn."""
    settings: SamplingSettings
    device: torch.device
    kept: sampling.Kept = "clean"
    card: Card | None = None
    """What the LoRA file tells of itself."""


def open_generator(file: Path, model: str | None, settings: SamplingSettings, device: torch.device) -> Generator:
    """All that a LoRA file of ours says of how to draw with it: base, canvas, and how given panels are kept.

    The base is of the commit that the LoRA was trained on, where that is a name on the hub.

    Args:
        model: another base model than the file names, or where its folder lies.

    Raises:
        BadInput: the file is none of ours or damaged, doesn't fit the base, or names a folder that must be told.
        MissingWeights: the base is not there.
    """
    card = lora.read_card(file)
    name = model or (str(MINIATURE) if card.base == MINIATURE_NAME else card.base)
    commit, on_hub, _ = card.weights.partition("/")
    backend = find_backend(card.family, name, commit if on_hub and name == card.base else None)
    backend.named_by = "--model "
    if "/" not in name and backend.folder is None:
        raise BadInput(f"{file} was trained on the base in a folder '{name}'; say where it lies with --model FOLDER.")
    backend.check()
    lora.check_fit(file, lora.read_weights(file), backend.blank("transformer"))
    token = families.load(card.family).token
    layout = scaled(card.layout, max(card.scales), token, token)
    return Generator(backend, file, layout, settings, device, "clean" if card.recipe["conditional"] else "noised", card)


def remarks(generator: Generator, request: GenerationRequest) -> list[str]:
    """In which ways a request is none of what the LoRA has learnt, one sentence each; it can be drawn all the same."""
    card, told = generator.card, []
    if card is None:
        return []
    if (weights := generator.backend.identity("transformer")) != card.weights:
        told.append(
            f"{generator.backend.model} has other weights ({weights}) than the base that the LoRA was trained on "
            f"({card.base}, {card.weights}), so it may draw less of what it learnt."
        )
    tags = [tag for tag in (card.prefix, *card.markers) if tag]
    lacking, places = [tag for tag in tags if tag not in request.prompt], [request.prompt.find(tag) for tag in tags]
    if lacking or places != sorted(places):
        fault = f"lacks {', '.join(lacking)}" if lacking else "has its markers in another order"
        told.append(f"the prompt {fault}; every caption that the LoRA has read goes {' ... '.join(tags)} ...")
    told += _remarks_on_given(generator.layout, card, request.given)
    return told


def _remarks_on_given(layout: Layout, card: Card, given: Mapping[int, Image.Image]) -> Iterator[str]:
    share, panels = card.recipe["conditional"], sorted(panel + 1 for panel in given)
    learnt = f"panel {', '.join(map(str, card.condition))}" if card.condition else "some panels"
    if (share == 1 and not given) or (share and given and card.condition and panels != sorted(card.condition)):
        here = f"panel {', '.join(map(str, panels))}" if panels else "none"
        yield f"the LoRA has learnt to draw with {learnt} given, and here {here} is; say --given PANEL=FILE."
    for panel, image in given.items():
        stretch = image.width / image.height * layout.panel_height / layout.panel_width
        if (lost := 1 - min(stretch, 1 / stretch)) > CROPPED:
            yield (
                f"the picture for panel {panel + 1} loses {lost:.0%} of its area, since it has {image.width} x "
                f"{image.height} pixels and the panel {layout.panel_width} x {layout.panel_height}; cut it to that "
                "shape yourself to choose what stays."
            )


def draw(generator: Generator, requests: Sequence[GenerationRequest]) -> list[Image.Image]:
    """The grids wished for, in their order.

    Raises:
        BadInput: a prompt is longer than the text encoder reads, a panel given is none of the layout's, or there is no
            such way of drawing.
    """
    _check(generator, requests)
    backend, device, dtype = generator.backend, generator.device, machine.encoder_dtype(generator.device)
    prompts = ["", *dict.fromkeys(request.prompt for request in requests)]
    with backend.loaded(backend.ENCODERS, dtype, device) as encoders:
        texts = {prompt: backend.encode_text(encoders, [prompt])[0] for prompt in prompts}
    given: list[tuple[Tensor, Tensor] | None] = [None] * len(requests)
    if any(request.given for request in requests):
        with backend.loaded(["vae"], dtype, device) as parts:
            given = [_given(generator, parts["vae"], request) if request.given else None for request in requests]
    drawn = _draw(generator, requests, texts, given)
    if not drawn.isfinite().all():
        raise BadInput(
            f"what {backend.model} draws at --guidance {generator.settings.guidance:g} is no number and no picture; "
            "give a lower one, or a base and a LoRA that are whole."
        )
    with backend.loaded(["vae"], dtype, device) as parts:
        return sampling.to_images(backend, parts["vae"], drawn)


def _check(generator: Generator, requests: Sequence[GenerationRequest]) -> None:
    steps, guidance = generator.settings.steps, generator.settings.guidance
    if steps < 1:
        raise BadInput(f"a grid is drawn in 1 step or more, got --steps {steps}.")
    if not 0 <= guidance < math.inf:
        raise BadInput(f"guidance is a number from 0 on such as 3.5, got --guidance {guidance}.")
    limit, panels = generator.backend.text_limit, generator.layout.size
    counts = generator.backend.count_tokens([request.prompt for request in requests])
    for request, count in zip(requests, counts, strict=True):
        if count > limit:
            raise BadInput(f"the prompt '{request.prompt[:60]}...' has {count} tokens, {limit} are read; shorten it.")
        if foreign := sorted(panel + 1 for panel in request.given if not 0 <= panel < panels):
            raise BadInput(f"panel {foreign[0]} is given, and the LoRA's grids have panels 1 to {panels}.")
        if len(request.given) == panels:
            raise BadInput(f"all {panels} panels are given, so there is nothing to draw; leave one out.")


def _given(generator: Generator, vae: Any, request: GenerationRequest) -> tuple[Tensor, Tensor]:
    """Latents of the given panels in their places (C x H x W), and a mask of them (H x W)."""
    layout, boxes = generator.layout, flow.latent_boxes(generator.layout.boxes)
    size = (layout.panel_width, layout.panel_height)
    panels = torch.zeros(layout.size, 3, size[1], size[0])
    for panel, image in request.given.items():
        panels[panel] = dataset.pixels(ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS))
    encoded = latents.place(generator.backend.encode_image(vae, panels)[0], boxes)
    return encoded, flow.panel_mask(boxes, list(request.given), *encoded.shape[-2:])


def _draw(
    generator: Generator,
    requests: Sequence[GenerationRequest],
    texts: Mapping[str, Encoded],
    given: Sequence[tuple[Tensor, Tensor] | None],
) -> Tensor:
    """Latents of every request, several small canvases at once."""
    backend, device = generator.backend, generator.device
    transformer: Any = backend.load("transformer", machine.base_dtype(Config(), device), device)
    if generator.lora:
        transformer.load_lora_adapter(lora.read_weights(generator.lora), prefix=None)
    width, height = generator.layout.canvas
    shape = (int(backend.config("vae")["latent_channels"]), height // flow.STRIDE, width // flow.STRIDE)
    together = max(1, TOGETHER // flow.tokens(generator.layout))
    drawn = []
    for start in range(0, len(requests), together):
        some, parts = requests[start : start + together], given[start : start + together]
        noise = torch.stack(
            [torch.randn(shape, generator=random_streams.generator(request.seed, "generate")) for request in some]
        )
        panels = torch.stack([part[0] if part else torch.zeros(shape) for part in parts])
        masks = torch.stack([part[1] if part else torch.zeros(shape[1:]) for part in parts])[:, None]
        known = sampling.Given(panels.to(device), masks.to(device), generator.kept) if masks.any() else None
        told = sampling.Prompts([texts[request.prompt] for request in some], texts[""])
        with machine.autocast(device, numbers(transformer)):
            drawn.append(sampling.draw(backend, transformer, told, noise.to(device), generator.settings, known))
    return torch.cat(drawn)
