"""Texts and grids as the transformer reads them: encoded once, kept on disk by content, the encoders freed after.

Shapes: C latent channels, H and W rows and columns of latents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.cache import Cache, key_of
from pipeline.progress import Progress
from training import dataset, flow
from training.backends.base import Backend, Device, Encoded
from training.dataset import View


@dataclass(frozen=True)
class Posterior:
    """What the VAE makes of a grid: where a sample of its latents is drawn from, all C x H x W."""

    mean: Tensor
    std: Tensor
    alone: Tensor
    """Means of the panels encoded each alone, in their places: what a given panel is at inference, when its neighbours
    do not exist yet. Encoded with them it would hold a rim of theirs."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """Latents of the grid, other ones at every step (as FLUX.1's own training does, not the mean each time)."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator)


def encode_texts(
    backend: Backend, texts: Iterable[str], cache: Cache, dtype: torch.dtype, device: Device, progress: Progress
) -> dict[str, Encoded]:
    """All texts, each once. The encoders are loaded only where one is not in the cache."""
    readers = [backend.identity(part) for part in backend.text_parts]
    keys = {text: key_of(readers=readers, limit=backend.text_limit, dtype=str(dtype), text=text) for text in texts}
    known = {text: cache.get_tensors("texts", key) for text, key in keys.items()}
    found = {text: encoded for text, encoded in known.items() if encoded is not None}
    missing = [text for text in keys if text not in found]
    if missing:
        with backend.loaded(backend.ENCODERS, dtype, device) as encoders:
            # One by one: in company a text comes out a little other, and after a kill the company would be another.
            for text in missing:
                (encoded,) = backend.encode_text(encoders, [text])
                found[text] = {name: tensor.contiguous() for name, tensor in encoded.items()}
                cache.put_tensors("texts", keys[text], found[text])
                progress("texts", len(found), len(keys))
    return found


def encode_grids(
    backend: Backend, views: Iterable[View], cache: Cache, dtype: torch.dtype, device: Device, progress: Progress
) -> dict[View, Posterior]:
    """All views, each once. The VAE is loaded only where one is not in the cache."""
    encoder = backend.identity("vae")
    keys = {view: _key(encoder, view, dtype) for view in views}
    known = {view: cache.get_tensors("latents", key) for view, key in keys.items()}
    found = {view: Posterior(**tensors) for view, tensors in known.items() if tensors is not None}
    missing = [view for view in keys if view not in found]
    if missing:
        with backend.loaded(["vae"], dtype, device) as parts:
            for view in missing:
                found[view] = _encode(backend, parts["vae"], view)
                cache.put_tensors("latents", keys[view], vars(found[view]))
                progress("grids", len(found), len(keys))
    return found


def _key(encoder: str, view: View, dtype: torch.dtype) -> str:
    layout = [view.layout.rows, view.layout.cols, view.layout.panel_width, view.layout.panel_height]
    return key_of(encoder=encoder, dtype=str(dtype), sample=view.sample.id, layout=layout, order=view.order)


def _encode(backend: Backend, vae: object, view: View) -> Posterior:
    canvas = dataset.pixels(dataset.picture(view))
    mean, std = (part[0] for part in backend.encode_image(vae, canvas[None]))
    boxes = view.layout.boxes
    panels = torch.stack([canvas[:, top:bottom, left:right] for left, top, right, bottom in boxes])
    return Posterior(mean, std, place(backend.encode_image(vae, panels)[0], flow.latent_boxes(boxes)))


def place(panels_PCHW: Tensor, boxes: tuple[flow.Box, ...]) -> Tensor:
    """Panels' latents in their places on the canvas: C x H x W."""
    canvas = torch.zeros(panels_PCHW.shape[1], max(box[3] for box in boxes), max(box[2] for box in boxes))
    for panel, (left, top, right, bottom) in zip(panels_PCHW, boxes, strict=True):
        canvas[:, top:bottom, left:right] = panel
    return canvas
