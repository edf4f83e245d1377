"""FLUX.1 Fill, compared with diffusers' own pipeline; its texts and latents are FLUX.1's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
import pytest
import tiny
import torch
from diffusers import FluxFillPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from pipelines import HEIGHT, TEXTS, WIDTH, Pair, close, picture
from torch import Tensor

from pipeline.errors import BadInput
from training import batches, checks, dataset, loop, objective
from training.backends import flux_1_fill
from training.backends.base import pack
from training.job import Job
from training.processes import Processes
from training.sampling import GivenPanels

IMAGE = picture(1, (WIDTH, HEIGHT))
ROWS, COLUMNS = HEIGHT // 8, WIDTH // 8


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tiny.flux_1_fill(tmp_path_factory.mktemp("models") / "fill")
    return pipelines.load(flux_1_fill.make, FluxFillPipeline, folder)


@pytest.fixture(autouse=True)
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline samples the latents of what is given anew each time; here it takes their mean, as we do."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


def inputs(pair: Pair, call: Callable[[], object]) -> Tensor:
    """The image tokens of the first step: B x N x K."""
    seen: list[Tensor] = []
    hook = pair.pipeline.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["hidden_states"]), with_kwargs=True
    )
    try:
        call()
    finally:
        hook.remove()
    return seen[0]


def theirs(pair: Pair, drawn: Tensor) -> Tensor:
    """What the pipeline draws.

    Args:
        drawn: 1 where there is something to draw: height x width in pixels.
    """
    pixels = dataset.pixels(IMAGE)[None] / 2 + 0.5
    return pair.drawn(30.0, pack(pair.noise), image=pixels, mask_image=drawn[None, None])


@torch.inference_mode()
def test_with_nothing_given_sampling_ends_at_the_pipelines_latents(pair: Pair) -> None:
    """Its mask covers everything then, and what it shows of the picture is grey."""
    close(pack(pair.draw(30.0)), theirs(pair, torch.ones(HEIGHT, WIDTH)))


@torch.inference_mode()
@pytest.mark.parametrize("box", [(0, 0, COLUMNS, ROWS), (0, 0, 4, ROWS), (0, 4, COLUMNS, ROWS)])
def test_the_transformer_gets_the_inputs_that_the_pipeline_gives_it(pair: Pair, box: objective.Box) -> None:
    """Except that latents of a part are its own, while the pipeline encodes it amid grey."""
    left, top, right, bottom = (8 * side for side in box)
    drawn = torch.ones(HEIGHT, WIDTH)
    drawn[top:bottom, left:right] = 0
    given = torch.zeros(1, 16, ROWS, COLUMNS)
    given[..., box[1] : box[3], box[0] : box[2]] = pair.latents_of(IMAGE.crop((left, top, right, bottom)))
    mask = objective.panel_mask([box], [0], ROWS, COLUMNS)
    panels = GivenPanels(given, mask)
    ours, expected = (
        inputs(pair, call) for call in (lambda: pair.draw(30.0, given=panels), lambda: theirs(pair, drawn))
    )
    assert ours.shape == expected.shape == (2, ROWS * COLUMNS // 4, 384)
    assert torch.equal(ours[..., :64], expected[..., :64])  # noise
    assert torch.equal(ours[..., 128:], expected[..., 128:])  # the mask
    if not mask.all():
        grey, _ = pair.backend.encode_image(pair.pipeline.vae, torch.zeros(1, 3, HEIGHT, WIDTH))
        expected = pack(torch.lerp(grey, given, mask)).expand(2, -1, -1)
    close(ours[..., 64:128], expected[..., 64:128] if mask.all() else expected)


@torch.inference_mode()
def test_texts_are_encoded_bit_for_bit_as_by_the_pipeline(pair: Pair) -> None:
    long, pooled, _ = pair.pipeline.encode_prompt(TEXTS, None, max_sequence_length=128)
    for number, ours in enumerate(pair.encode(*TEXTS)):
        assert torch.equal(ours["text"], long[number]) and torch.equal(ours["pooled"], pooled[number])


def test_given_panels_are_beside_a_canvas_that_is_noised_everywhere(pair: Pair, make_job: Callable[..., Job]) -> None:
    job = make_job(overrides=['base="flux-1-fill"'], model=pair.backend.model, conditional=1.0)
    encoded = loop.encode(job, Processes(), lambda *_: None)
    example = batches.example_at(job, encoded, 0, 0)
    batch = batches.gather(job, encoded, [example], torch.device("cpu"))
    posterior = encoded.grids[example.view]
    mask = objective.panel_mask(batch.boxes, example.given.panels, *posterior.mean.shape[-2:])
    noised = objective.add_noise(example.latents_CHW[None], example.noise_CHW[None], example.sigma[None])
    canvas, seen, drawn = batch.noisy_BCHW.split([16, 16, 64], dim=1)
    assert torch.equal(canvas, noised) and torch.equal(drawn, (1 - mask).expand_as(drawn))
    assert torch.equal(seen * mask, posterior.alone[None] * mask) and mask.any() and not mask.all()
    assert [weight == 0 for weight in batch.weights_BP[0]] == [panel in example.given.panels for panel in range(3)]


def test_given_panels_with_noise_are_refused(pair: Pair, make_job: Callable[..., Job]) -> None:
    condition = {"seen": "noised", "panels": "any"}
    job = make_job(overrides=['base="flux-1-fill"'], model=pair.backend.model, conditions=[condition])
    with pytest.raises(
        BadInput, match=r"^train\.conditions: base=flux-1-fill reads given panels without noise, so 'noi"
    ):
        checks.run(job, torch.device("cpu"))


def test_a_lora_of_three_steps_around_given_panels_loads_in_the_pipeline(
    pair: Pair, make_job: Callable[..., Job], grids: Path
) -> None:
    settings: dict[str, Any] = {
        "model": pair.backend.model,
        "steps": 3,
        "learning_rate": 0.05,
        "conditional": 0.5,
        "data": grids / "train",
    }
    file = pipelines.check_lora(pair, make_job(overrides=['base="flux-1-fill"'], **settings))
    pipelines.check_script(pair, file, same_noise=False)
