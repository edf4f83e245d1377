"""FLUX.2 [klein], compared with diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
import pytest
import tiny
import torch
from diffusers import Flux2KleinPipeline
from pipelines import HEIGHT, TEXTS, WIDTH, Pair, close, picture
from safetensors.torch import save_file
from torch.nn.functional import pixel_shuffle

from pipeline.errors import BadInput
from training import lora
from training.backends import flux_2_klein
from training.job import Job

IMAGES = [picture(1, (96, 64)), picture(2, (64, 80))]
BASE_4B, BASE_9B = (f"black-forest-labs/FLUX.2-klein-base-{size}" for size in ("4B", "9B"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tiny.flux_2_klein(tmp_path_factory.mktemp("models") / "klein")
    return pipelines.load(flux_2_klein.make, Flux2KleinPipeline, folder)


def as_drawn(pair: Pair, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the pipeline returns them: of the VAE, without its statistics."""
    bn = pair.pipeline.vae.bn
    scale = (bn.running_var + pair.pipeline.vae.config.batch_norm_eps).sqrt()
    return pixel_shuffle(latents * scale[:, None, None] + bn.running_mean[:, None, None], 2)


@torch.inference_mode()
def test_texts_are_encoded_bit_for_bit_as_by_the_pipeline(pair: Pair) -> None:
    texts = [*TEXTS, "", "x" * 200]  # the last is cut by both
    expected, positions = pair.pipeline.encode_prompt(texts, max_sequence_length=128)
    assert all(torch.equal(ours["text"], theirs) for ours, theirs in zip(pair.encode(*texts), expected, strict=True))
    assert torch.equal(flux_2_klein.text_places(128), positions[0])
    assert pair.backend.count_tokens(["a cat"]) == [len("#user\na cat#\n#assistant\n<think>\n\n</think>\n\n")]


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [0.5, 4.0])
def test_sampling_ends_at_the_pipelines_latents(pair: Pair, guidance: float) -> None:
    """Guidance of at most 1 is none, as in the pipeline."""
    close(as_drawn(pair, pair.draw(guidance)), pair.drawn(guidance, pair.noise))


@torch.inference_mode()
def test_sampling_with_references_ends_at_the_pipelines_latents_and_image(pair: Pair) -> None:
    ours = pair.draw(4.0, IMAGES)
    assert (ours - pair.draw(4.0, IMAGES[::-1])).abs().max() > 1e-4  # ten times what is tolerated below
    close(as_drawn(pair, ours), pair.drawn(4.0, pair.noise, image=IMAGES))
    drawn = pair.drawn(4.0, pair.noise, image=IMAGES, output_type="pt")
    close(pair.backend.decode_image(pair.pipeline.vae, ours), drawn)
    assert drawn.std() > 0.01


def test_latents_are_normalised_by_the_vaes_own_statistics(pair: Pair) -> None:
    vae, pixels = pair.pipeline.vae, torch.rand(2, 3, HEIGHT, WIDTH) * 2 - 1
    mean, std = pair.backend.encode_image(vae, pixels)
    with torch.inference_mode():
        close(mean, pair.pipeline._encode_vae_image(pixels, None))
        posterior = vae.encode(pixels).latent_dist
        far = posterior.mean + posterior.std  # a sample is a mean and so many deviations
    ours = as_drawn(pair, mean + std)
    close(ours, far)
    assert mean.shape == (2, 128, HEIGHT // 16, WIDTH // 16)


@pytest.mark.parametrize("size", [(640, 360), (2000, 1500), (1024, 1024), (333, 1777)])
def test_references_are_encoded_at_the_size_that_the_pipeline_gives_them(pair: Pair, size: tuple[int, int]) -> None:
    shown = pair.pipeline.image_processor._resize_if_exceeds_area(picture(0, size))
    assert pair.backend.reference_size(size) == tuple(side // 16 * 16 for side in shown.size)


def test_grids_with_references_of_other_sizes_share_a_batch(pair: Pair) -> None:
    transformer, texts, sigma = pair.pipeline.transformer, pair.encode(*TEXTS), torch.tensor([0.3, 0.8])
    mixed = [[pair.latents_of(IMAGES[0])], [pair.latents_of(image) for image in IMAGES]]
    with torch.inference_mode():
        both = pair.backend.predict(transformer, pair.noise, sigma, texts, references=mixed)
        for place in range(2):
            one = slice(place, place + 1)
            alone = pair.backend.predict(transformer, pair.noise[one], sigma[one], texts[one], references=mixed[one])
            close(both[one], alone)


def test_a_distilled_model_is_not_guided(tmp_path: Path) -> None:
    assert flux_2_klein.make(str(tiny.flux_2_klein(tmp_path, distilled=True))).guidance == "none"
    said = {model: flux_2_klein.make(model).guidance for model in flux_2_klein.Klein.KNOWN}
    assert said == {model: "classifier-free" if "base" in model else "none" for model in flux_2_klein.Klein.KNOWN}


def test_a_lora_of_three_steps_on_references_loads_in_the_pipeline(
    pair: Pair, make_job: Callable[..., Job], grids: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "model": pair.backend.model,
        "steps": 3,
        "learning_rate": 0.05,
        "conditions": pipelines.BESIDE,
        "data": grids / "train",
    }
    job = make_job(overrides=['base="flux-2-klein"'], **settings)
    pipelines.check_lora(pair, pipelines.with_references(job, tmp_path, [(512, 512), (640, 512)]))


def test_a_lora_of_4b_does_not_fit_9b_and_the_error_says_so(tmp_path: Path) -> None:
    key = "transformer.single_transformer_blocks.0.attn.to_out"
    weights = {f"{key}.lora_A.weight": torch.ones(1, 4 * 3072), f"{key}.lora_B.weight": torch.ones(3072, 1)}
    save_file(weights, tmp_path / "4b.safetensors")
    small, large = flux_2_klein.make(BASE_4B), flux_2_klein.make(BASE_9B)
    assert len(lora.read(tmp_path / "4b.safetensors", small.blank("transformer"), small)) == 2
    with pytest.raises(
        BadInput, match=r"layers that have another size in Flux2Transformer2DModel: .* of the same base"
    ):
        lora.read(tmp_path / "4b.safetensors", large.blank("transformer"), large)
