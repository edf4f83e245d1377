"""Texts, grids and reference images as the transformer reads them: encoded once and cached on disk by content.

Shapes: C latent channels, H and W rows and columns of latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pipeline.cache import Cache, alike, key_of
from pipeline.progress import Progress
from pipeline.records import Reference
from training import dataset, objective
from training.backends.base import Backend, Encoded, References
from training.dataset import Prompt, View
from training.model_files import Device


@dataclass(frozen=True)
class Posterior:
    """What the VAE makes of a grid: the distribution that its latents are sampled from, all C x H x W."""

    mean: Tensor
    std: Tensor
    alone: Tensor
    """Means of the panels, each encoded on its own, in their places: what a given panel is at inference, when its
    neighbours do not exist yet. Encoded as part of the grid, its rim would hold something of theirs."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """Latents of the grid, different at every step (as in FLUX.1's own training, instead of always the mean)."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator)


PARTS = tuple(field.name for field in fields(Posterior))


@dataclass(frozen=True)
class EncodedDataset:
    """Everything that the transformer reads, encoded."""

    texts: Mapping[Prompt, Encoded]
    grids: Mapping[View, Posterior]
    references: Mapping[Reference, Tensor]
    """C x H x W, each at its own size."""

    def latents_of(self, references: Sequence[Sequence[Reference]], device: Device) -> References:
        """The latents of each grid's reference images, on the device; empty where no grid has any."""
        return [[self.references[one].to(device) for one in of] for of in references] if any(references) else ()


@dataclass(frozen=True)
class Encoder:
    """Encodes what is not in the cache. The parts of the model are loaded only for that, and freed afterwards."""

    backend: Backend
    cache: Cache
    dtype: torch.dtype
    device: Device
    text_device: Device
    """Where the text encoders are."""
    progress: Progress

    def texts(self, prompts: Iterable[Prompt]) -> dict[Prompt, Encoded]:
        """All prompts, each once."""
        readers = [self.backend.identity(part) for part in self.backend.text_parts]
        keys = {prompt: self._text_key(readers, prompt) for prompt in prompts}
        known = {prompt: self.cache.get_tensors("texts", key) for prompt, key in keys.items()}
        found = alike({prompt: encoded for prompt, encoded in known.items() if encoded}, _form)
        missing = [prompt for prompt in keys if prompt not in found]
        if missing:
            with self.backend.loaded(self.backend.ENCODERS, self.dtype, self.text_device) as encoders:
                # One by one: in a batch the last bits depend on the other texts, and after a kill those would differ.
                for prompt in missing:
                    pictures = [dataset.open_reference(reference) for reference in prompt.references]
                    (encoded,) = self.backend.encode_text(encoders, [prompt.text], [pictures] if pictures else ())
                    found[prompt] = {name: tensor.contiguous() for name, tensor in encoded.items()}
                    self.cache.put_tensors("texts", keys[prompt], found[prompt])
                    self.progress("texts", len(found), len(keys))
        return found

    def grids(self, views: Iterable[View]) -> dict[View, Posterior]:
        """All views, each once."""
        vae = self.backend.identity("vae")
        keys = {view: _grid_key(vae, view, self.dtype) for view in views}
        known = {view: self.cache.get_tensors("latents", key) for view, key in keys.items()}
        found = {
            view: Posterior(**tensors)
            for view, tensors in known.items()
            if tensors and _fit(tensors, PARTS, self.backend.latent_shape(view.layout.canvas))
        }
        missing = [view for view in keys if view not in found]
        if missing:
            with self.backend.loaded(["vae"], self.dtype, self.device) as parts:
                for view in missing:
                    found[view] = _encode_grid(self.backend, parts["vae"], view)
                    self.cache.put_tensors("latents", keys[view], vars(found[view]))
                    self.progress("grids", len(found), len(keys))
        return found

    def references(self, sizes: Mapping[Reference, tuple[int, int]]) -> dict[Reference, Tensor]:
        """All reference images, each at its width and height."""
        vae = self.backend.identity("vae")
        keys = {one: key_of(encoder=vae, dtype=str(self.dtype), reference=one.id, size=sizes[one]) for one in sizes}
        known = {one: self.cache.get_tensors("references", key) for one, key in keys.items()}
        found = {
            one: tensors["mean"]
            for one, tensors in known.items()
            if tensors and _fit(tensors, ("mean",), self.backend.latent_shape(sizes[one]))
        }
        missing = [one for one in keys if one not in found]
        if missing:
            with self.backend.loaded(["vae"], self.dtype, self.device) as parts:
                for one in missing:
                    pixels = dataset.pixels(dataset.fitted(dataset.open_reference(one), sizes[one]))
                    found[one] = self.backend.encode_image(parts["vae"], pixels[None])[0][0].contiguous()
                    self.cache.put_tensors("references", keys[one], {"mean": found[one]})
                    self.progress("references", len(found), len(keys))
        return found

    def _text_key(self, readers: list[str], prompt: Prompt) -> str:
        seen = {"references": [one.id for one in prompt.references]} if prompt.references else {}
        limit = self.backend.text_limit
        return key_of(readers=readers, limit=limit, dtype=str(self.dtype), text=prompt.text, **seen)


def _form(encoded: Encoded) -> tuple[tuple[object, ...], ...]:
    """What all texts of a model have in common."""
    return tuple((name, tensor.ndim, tensor.shape[-1:], tensor.dtype) for name, tensor in sorted(encoded.items()))


def _fit(tensors: Mapping[str, Tensor], names: Iterable[str], shape: tuple[int, ...]) -> bool:
    """Whether a cached entry is what was written."""
    return tensors.keys() == {*names} and all(tensor.shape == shape for tensor in tensors.values())


def _grid_key(vae: str, view: View, dtype: torch.dtype) -> str:
    layout = [view.layout.rows, view.layout.cols, view.layout.panel_width, view.layout.panel_height]
    return key_of(encoder=vae, dtype=str(dtype), sample=view.sample.id, layout=layout, order=view.order)


def _encode_grid(backend: Backend, vae: Any, view: View) -> Posterior:
    canvas = dataset.pixels(dataset.picture(view))
    mean, std = (part[0] for part in backend.encode_image(vae, canvas[None]))
    boxes = view.layout.boxes
    panels = torch.stack([canvas[:, top:bottom, left:right] for left, top, right, bottom in boxes])
    return Posterior(mean, std, place(backend.encode_image(vae, panels)[0], backend.latent_boxes(boxes)))


def place(panels_PCHW: Tensor, boxes: tuple[objective.Box, ...]) -> Tensor:
    """Panels' latents in their places on the canvas: C x H x W."""
    canvas = torch.zeros(panels_PCHW.shape[1], max(box[3] for box in boxes), max(box[2] for box in boxes))
    for panel, (left, top, right, bottom) in zip(panels_PCHW, boxes, strict=True):
        canvas[:, top:bottom, left:right] = panel
    return canvas
