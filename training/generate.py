"""Draws grids: encodes prompts and pictures, frees the encoders, then samples and decodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.pixels import subject
from pipeline.progress import LOG, Progress, silent, told
from pipeline.wording import counted
from training import dataset, latents, lora, machine, memory, objective, random_streams, sampling
from training.backends.base import Backend, Encoded, Prompts, dtype_of
from training.config import Config
from training.generator import GenerationRequest, Generator

TOGETHER = 768
"""Tokens up to which several canvases are sampled at once; larger ones go one by one."""


@dataclass(frozen=True)
class Inputs:
    """What a request comes to for the model."""

    text: Encoded
    empty: Encoded
    """The empty prompt with the request's reference images."""
    references: tuple[Tensor, ...] = ()
    given: tuple[Tensor, Tensor] | None = None
    """Latents of the given panels in their places (C x H x W), and a mask of them (H x W)."""


def draw(generator: Generator, requests: Sequence[GenerationRequest]) -> list[Image.Image]:
    """The grids of the requests, in their order. Raises as `encode` and `sample` do."""
    return sample(generator, requests, encode(generator, requests))


def encode(generator: Generator, requests: Sequence[GenerationRequest]) -> list[Inputs]:
    """What the base's encoders make of the requests: the same for every LoRA of a base and a canvas.

    Raises:
        BadInput: a prompt is too long for the text encoder, a panel or a reference image is given that the model can't
            take, or the settings are out of range.
    """
    check(generator, requests)
    backend, device, dtype = generator.backend, generator.device, machine.encoder_dtype(generator.device)
    with backend.loaded(backend.ENCODERS, dtype, _text_device(generator, requests)) as encoders:
        inputs = _read(backend, encoders, requests)
    if any(request.given or request.references for request in requests):
        with backend.loaded(["vae"], dtype, device) as parts:
            inputs = [
                replace(
                    one,
                    references=tuple(_reference(generator, parts["vae"], image) for image in request.references),
                    given=_given(generator, parts["vae"], request) if request.given else None,
                )
                for one, request in zip(inputs, requests, strict=True)
            ]
    return inputs


def sample(
    generator: Generator,
    requests: Sequence[GenerationRequest],
    inputs: Sequence[Inputs],
    progress: Progress = silent,
    what: str = "drawing",
) -> list[Image.Image]:
    """The grids of the requests, in their order.

    Args:
        inputs: of the requests, as `encode` returns them.
        progress, what: called after every step of every canvas, or of several that are sampled at once, as
            `progress(what, 12, 56)`.

    Raises:
        BadInput: the GPU's memory is too small, or the model produces numbers that are none.
    """
    backend, device, dtype = generator.backend, generator.device, machine.encoder_dtype(generator.device)
    try:
        drawn = _draw(generator, requests, inputs, progress, what)
    except torch.OutOfMemoryError as error:
        raise BadInput(
            f"the GPU's memory is too small for {backend.model} with weights as {generator.weights} and a canvas of "
            f"{' x '.join(map(str, generator.layout.canvas))}; use --offload, --weights int8 or nf4, or close other "
            "programs."
        ) from error
    if not drawn.isfinite().all():
        raise BadInput(
            f"{backend.model} produces NaN or infinity at --guidance {generator.settings.guidance:g}; lower it, or use "
            "an undamaged base and LoRA."
        )
    with backend.loaded(["vae"], dtype, device) as parts:
        places = told(range(len(drawn)), len(drawn), "decoding grids")
        return [sampling.to_images(backend, parts["vae"], drawn[at : at + 1])[0] for at in places]


def _text_device(generator: Generator, requests: Sequence[GenerationRequest]) -> torch.device:
    """Where the requests' texts are read: on the CPU if the GPU is too small for the text encoders."""
    backend, device = generator.backend, generator.device
    longest = max(backend.count_tokens([request.prompt for request in requests]))
    pictures = max(sum(backend.picture_tokens(image.size) for image in request.references) for request in requests)
    reading = memory.reads(backend, backend.text_tokens(longest) + pictures, device)
    return memory.text_device(reading, device, machine.gpu_memory(device))


def _read(backend: Backend, encoders: Mapping[str, nn.Module], requests: Sequence[GenerationRequest]) -> list[Inputs]:
    """Every request's prompt and empty prompt; equal ones are encoded once."""
    known: dict[tuple[str, tuple[int, ...]], Encoded] = {}

    def read(text: str, request: GenerationRequest) -> Encoded:
        pictures = request.references if backend.ENCODER_SEES_REFERENCES else ()
        key = (text, tuple(map(id, pictures)))
        if key not in known:
            (known[key],) = backend.encode_text(encoders, [text], [pictures] if pictures else ())
        return known[key]

    one_by_one = told(requests, len(requests), "encoding prompts")
    return [Inputs(read(request.prompt, request), read("", request)) for request in one_by_one]


def check(generator: Generator, requests: Sequence[GenerationRequest]) -> None:
    """Whether the requests can be drawn, as far as that is known without weights.

    Raises:
        BadInput: as `encode` does.
    """
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
        panels[panel] = dataset.pixels(_in_panel(image, size))
    encoded = latents.place(generator.backend.encode_image(vae, panels)[0], boxes)
    return encoded, objective.panel_mask(boxes, list(request.given), *encoded.shape[-2:])


def _in_panel(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A given picture in its panel's size, cropped around what stands out in it, as grids are composed."""
    image = image.convert("RGB")
    focus, _ = subject.focus_of(image, image.size, size)
    return pixels.fitted(image, size, "crop", focus)


def with_given(generator: Generator, grid: Image.Image, request: GenerationRequest) -> Image.Image:
    """A drawn grid with its given panels as they were given, pixel by pixel: the decoder changes them a little."""
    layout, grid = generator.layout, grid.copy()
    for panel, image in request.given.items():
        grid.paste(_in_panel(image, (layout.panel_width, layout.panel_height)), layout.boxes[panel][:2])
    return grid


def _reference(generator: Generator, vae: Any, image: Image.Image) -> Tensor:
    """Latents at the size that training shows it at."""
    backend = generator.backend
    size = backend.reference_size(image.size, max(generator.card.scales) if generator.card else 1.0)
    return backend.encode_image(vae, dataset.pixels(dataset.fitted(image, size))[None])[0][0]


def _draw(
    generator: Generator,
    requests: Sequence[GenerationRequest],
    inputs: Sequence[Inputs],
    progress: Progress,
    what: str,
) -> Tensor:
    """Latents of every request; several small canvases are sampled at once."""
    backend, device = generator.backend, generator.device
    config = Config(base_weights=generator.weights, checkpointing=False)
    transformer: Any = machine.load_transformer(backend, config, machine.CPU if generator.offload else device)
    if generator.loras:
        read = [(lora.read(one.file, transformer, backend), one.strength) for one in generator.loras]
        transformer.load_lora_adapter(lora.added_up(read), prefix=None)
    if generator.offload:
        machine.offload(transformer, device)
    canvas = generator.layout.canvas
    shape = backend.latent_shape(canvas)
    together = max(1, TOGETHER // backend.tokens(canvas))
    LOG.info("drawing %s in %s", counted(requests, "grid"), counted(generator.settings.steps, "step"))
    starts = range(0, len(requests), together)
    steps, drawn = itertools.count(1), list[Tensor]()

    def stepped() -> None:
        progress(what, next(steps), len(starts) * generator.settings.steps)

    for start in starts:
        some, of = requests[start : start + together], inputs[start : start + together]
        noise = torch.stack(
            [torch.randn(shape, generator=random_streams.generator(request.seed, "generate")) for request in some]
        )
        panels = torch.stack([one.given[0] if one.given else torch.zeros(shape) for one in of])
        masks = torch.stack([one.given[1] if one.given else torch.zeros(shape[1:]) for one in of])[:, None]
        given = sampling.GivenPanels(panels.to(device), masks.to(device), generator.given_as) if masks.any() else None
        references = [[latent.to(device) for latent in one.references] for one in of]
        references = references if any(references) else []
        prompts = Prompts([one.text for one in of], [one.empty for one in of], references)
        with machine.autocast(device, dtype_of(transformer)):
            settings = generator.settings
            drawn.append(
                sampling.draw(backend, transformer, prompts, noise.to(device), settings, given, stepped=stepped)
            )
    return torch.cat(drawn)
