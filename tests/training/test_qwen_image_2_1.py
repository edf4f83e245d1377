"""Qwen-Image-2.1, compared with diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pipelines
import pytest
import tiny_newer
import torch
from diffusers import QwenImage21Pipeline
from diffusers.pipelines.qwenimage21.pipeline_qwenimage21 import calculate_dimensions
from PIL import Image
from pipelines import HEIGHT, STEPS, TEXTS, WIDTH, Pair, close, picture
from torch import Tensor

from training import dataset, planning, sampling
from training.backends import qwen_image_2_1
from training.backends.base import Prompts
from training.job import Job

SIDE = 64
"""Reference images are encoded at the area of this square, in place of a million pixels."""
IMAGES = [picture(1, (256, 64)), picture(2, (96, 96))]
"""Of shapes in whole tokens; of others, the pipeline stretches what we crop."""
Make = Callable[..., Job]


class Bare(Pair):
    """The pair, of which our side does without the text encoder's head."""

    @property
    def parts(self) -> dict[str, Any]:
        return {**super().parts, "text_encoder": self.pipeline.text_encoder.model}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tiny_newer.qwen_image_2_1(tmp_path_factory.mktemp("models") / "qwen")
    loaded = pipelines.load(qwen_image_2_1.make, QwenImage21Pipeline, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qwen_image_2_1.QwenImage21, "REFERENCE_PIXELS", SIDE * SIDE)
        yield Bare(loaded.backend, loaded.pipeline)


def resized(pair: Pair) -> list[Image.Image]:
    """The reference images as the pipeline resizes them for both of its encoders."""
    sizes = [calculate_dimensions(SIDE * SIDE, one.width / one.height)[:2] for one in IMAGES]
    resize = pair.pipeline.image_processor.resize
    return [
        resize(one.convert("RGBA"), width=width, height=height)
        for one, (width, height) in zip(IMAGES, sizes, strict=True)
    ]


def ours(pair: Pair, guidance: float, images: Sequence[Image.Image] = ()) -> Tensor:
    backend, shown = pair.backend, [list(images)] * len(TEXTS)
    references = [
        [pair.latents_of(dataset.fitted(one, backend.reference_size(one.size))) for one in own] for own in shown
    ]
    texts, empty = (backend.encode_text(pair.parts, some, shown) for some in (TEXTS, [""] * len(TEXTS)))
    settings = sampling.SamplingSettings(STEPS, guidance)
    prompts = Prompts(texts, empty, references)
    return sampling.draw(backend, pair.pipeline.transformer, prompts, pair.noise, settings)


def theirs(pair: Pair, guidance: float, images: Sequence[Image.Image] = (), **more: Any) -> Tensor:
    """Text by text: in a batch, the padding of one moves the picture of the other."""
    asked = {**pair.backend.pipeline_guidance(guidance), "output_type": "latent", **more}
    drawn = [
        pair.pipeline(
            prompt=text,
            image=list(images) or None,
            height=HEIGHT,
            width=WIDTH,
            num_inference_steps=STEPS,
            latents=noise.flatten(1).T[None],
            output_resolution=SIDE,
            **asked,
        ).images
        for text, noise in zip(TEXTS, pair.noise, strict=True)
    ]
    found = torch.cat(drawn)
    return found.mT.reshape(pair.noise.shape) if asked["output_type"] == "latent" else found


@torch.inference_mode()
@pytest.mark.parametrize("beside", [False, True])
def test_texts_are_read_as_by_the_pipeline(pair: Pair, beside: bool) -> None:
    texts = [*TEXTS, "", "x" * 600]
    shown = [IMAGES] * len(texts) if beside else ()
    read = pair.backend.encode_text(pair.parts, texts, shown)
    expected, masks, slots = pair.pipeline.encode_prompt(texts, image=resized(pair) if beside else None)
    for one, states, mask, places in zip(read, expected, masks.bool(), slots, strict=True):
        close(one["text"], states[mask])
        assert torch.equal(one["pictures"], places[mask])
    assert [int(one["pictures"].sum()) for one in read] == [2 * 2 + 4 * 1 if beside else 0] * len(texts)


def test_tokens_are_counted_as_the_transformer_gets_them(pair: Pair) -> None:
    counts = pair.backend.count_tokens(["", *TEXTS])
    assert counts[1:] == [len(one["text"]) for one in pair.encode(*TEXTS)]
    assert counts[1] - counts[0] == len(TEXTS[0]) - 1  # an empty text is a blank
    assert pair.backend._dropped == pair.pipeline._drop_idx  # type: ignore[attr-defined]


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_sampling_ends_at_the_pipelines_latents(pair: Pair, guidance: float) -> None:
    drawn = ours(pair, guidance)
    assert (drawn - pair.noise).abs().mean() > 0.1
    close(drawn, theirs(pair, guidance))


@torch.inference_mode()
def test_sampling_with_references_ends_at_the_pipelines_latents_and_image(pair: Pair) -> None:
    drawn = ours(pair, 4.0, IMAGES)
    assert (drawn - ours(pair, 4.0, IMAGES[::-1])).abs().max() > 1e-4  # ten times what is tolerated below
    close(drawn, theirs(pair, 4.0, IMAGES))
    decoded = pair.backend.decode_image(pair.pipeline.vae, drawn)
    close(decoded, theirs(pair, 4.0, IMAGES, output_type="pt")[:, :3])
    assert decoded.std() > 0.01


@torch.inference_mode()
def test_opaque_pictures_are_encoded_as_by_the_pipeline(pair: Pair) -> None:
    vae, pixels = pair.pipeline.vae, torch.rand(2, 3, HEIGHT, WIDTH) * 2 - 1
    mean, std = pair.backend.encode_image(vae, pixels)
    opaque = torch.cat([pixels, torch.ones(2, 1, HEIGHT, WIDTH)], dim=1)[:, :, None]
    close(mean, pair.pipeline._encode_vae_image(opaque, None)[:, :, 0])
    scale = torch.tensor(vae.config.latents_std)[:, None, None]
    close(std, vae.encode(opaque).latent_dist.std[:, :, 0] / scale)


def test_sides_are_multiples_of_32_pixels_and_a_token_covers_16(pair: Pair) -> None:
    backend = pair.backend
    assert (backend.token, backend.STRIDE) == (32, 16)
    assert backend.latent_shape((WIDTH, HEIGHT)) == (64, 4, 6) and backend.tokens((WIDTH, HEIGHT)) == 24
    known = qwen_image_2_1.make(None)
    assert known.tokens((1024, 1536)) == 6_144 and known.shift(6_144) == pytest.approx(2.219, abs=1e-3)


def test_texts_of_other_lengths_and_references_of_other_sizes_share_a_batch(pair: Pair) -> None:
    mixed = [[], IMAGES[:1]]
    texts = pair.backend.encode_text(pair.parts, TEXTS, mixed)
    sizes = [[pair.backend.reference_size(one.size) for one in own] for own in mixed]
    references = [
        [pair.latents_of(one.resize(size)) for one, size in zip(*both, strict=True)]
        for both in zip(mixed, sizes, strict=True)
    ]
    transformer, sigma = pair.pipeline.transformer, torch.tensor([0.3, 0.8])
    with torch.inference_mode():
        both = pair.backend.predict(transformer, pair.noise, sigma, texts, references=references)
        for place in range(2):
            one = slice(place, place + 1)
            own = {"references": references[one]}
            close(both[one], pair.backend.predict(transformer, pair.noise[one], sigma[one], texts[one], **own))


@pytest.mark.parametrize("size", [(512, 512), (1024, 768), (300, 900), (4000, 1000), (64, 64)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_reference_images_have_the_size_of_the_pipelines_on_every_canvas(
    size: tuple[int, int], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = qwen_image_2_1.make(None)
    monkeypatch.setattr(type(backend), "REFERENCE_PIXELS", 1024 * 1024)  # as outside of this module
    assert backend.reference_size(size, scale) == calculate_dimensions(1024 * 1024, size[0] / size[1])[:2]


def test_a_lora_of_three_steps_on_references_loads_in_the_pipeline(
    pair: Pair, make_job: Make, grids: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "model": pair.backend.model,
        "steps": 3,
        "learning_rate": 0.05,
        "conditions": pipelines.BESIDE,
        "data": grids / "train",
    }
    job = make_job(overrides=['base="qwen-image-2.1"'], **settings)
    pipelines.check_lora(pair, pipelines.with_references(job, tmp_path, [(512, 512), (640, 512)]))


@pytest.mark.slow
def test_the_script_draws_what_is_generated_here(pair: Pair, make_job: Make, grids: Path) -> None:
    settings: dict[str, Any] = {"model": pair.backend.model, "steps": 3, "learning_rate": 0.05, "data": grids / "train"}
    pipelines.check_script(pair, pipelines.check_lora(pair, make_job(overrides=['base="qwen-image-2.1"'], **settings)))


def test_a_plan_counts_the_text_as_long_as_the_captions_are(pair: Pair, make_job: Make) -> None:
    """Its limit is 8,192 tokens, and nothing is filled up to it."""
    job = make_job(overrides=['base="qwen-image-2.1"'], model=pair.backend.model)
    plan = planning.make(job, torch.device("cpu"))
    assert job.backend.text_tokens(max(plan.text)) == max(plan.text) < job.backend.text_limit
    assert list(plan.tokens.values()) == [128 * 192 // 256]
