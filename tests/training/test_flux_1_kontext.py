"""FLUX.1 Kontext, compared with diffusers' own pipeline; its texts and latents are FLUX.1's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
import pytest
import tiny
import torch
from diffusers import FluxKontextPipeline
from PIL import Image
from pipelines import HEIGHT, TEXTS, WIDTH, Pair, close, picture

from training.backends import flux_1_kontext
from training.backends.base import Backend, pack, unpack
from training.job import Job

IMAGE = picture(1, (64, 80))
CANVAS = {"max_area": HEIGHT * WIDTH, "_auto_resize": False}
"""Keeps the pipeline from drawing and reading everything at a megapixel."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tiny.flux_1_kontext(tmp_path_factory.mktemp("models") / "kontext")
    return pipelines.load(flux_1_kontext.make, FluxKontextPipeline, folder)


@torch.inference_mode()
@pytest.mark.parametrize("images", [[], [IMAGE]], ids=["alone", "reference"])
def test_sampling_ends_at_the_pipelines_latents(pair: Pair, images: list[Image.Image]) -> None:
    ours = pair.draw(2.5, images)
    close(pack(ours), pair.drawn(2.5, pack(pair.noise), image=images[0] if images else None, **CANVAS))
    assert (ours - pair.draw(2.5, [picture(2, IMAGE.size)])).abs().max() > 1e-3


@torch.inference_mode()
def test_images_are_decoded_as_by_the_pipeline(pair: Pair) -> None:
    latents = pair.drawn(2.5, pack(pair.noise), image=IMAGE, **CANVAS)
    drawn = pair.drawn(2.5, pack(pair.noise), image=IMAGE, output_type="pt", **CANVAS)
    close(pair.backend.decode_image(pair.pipeline.vae, unpack(latents, HEIGHT // 8, WIDTH // 8)), drawn)


@torch.inference_mode()
def test_texts_are_encoded_bit_for_bit_as_by_the_pipeline(pair: Pair) -> None:
    long, pooled, _ = pair.pipeline.encode_prompt(TEXTS, None, max_sequence_length=128)
    for number, ours in enumerate(pair.encode(*TEXTS)):
        assert torch.equal(ours["text"], long[number]) and torch.equal(ours["pooled"], pooled[number])


@pytest.mark.parametrize("size", [(640, 360), (300, 301), (100, 900), (1000, 700)])
def test_a_reference_is_encoded_at_the_size_that_the_pipeline_gives_it(
    pair: Pair, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    class Seen(Exception):
        """Ends the pipeline there."""

    def note(_: Any, height: int, width: int) -> None:
        seen.append((width, height))
        raise Seen

    monkeypatch.setattr(pair.pipeline.image_processor, "resize", note)
    with pytest.raises(Seen):
        pair.drawn(2.5, pack(pair.noise), image=picture(0, size))
    assert seen == [pair.backend.reference_size(size)]


def test_a_lora_of_three_steps_on_references_loads_in_the_pipeline(
    pair: Pair, make_job: Callable[..., Job], grids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flux_1_kontext.Kontext, "reference_size", Backend.reference_size)  # not of a megapixel
    settings: dict[str, Any] = {
        "model": pair.backend.model,
        "steps": 3,
        "learning_rate": 0.05,
        "conditions": pipelines.BESIDE,
        "data": grids / "train",
    }
    job = make_job(overrides=['base="flux-1-kontext"'], **settings)
    file = pipelines.check_lora(pair, pipelines.with_references(job, tmp_path, [(512, 512), (640, 512)]))
    pipelines.check_script(pair, file)
