"""The objective, by identities: what a perfect model would sample, and the values of shifts and losses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Layout
from training import config, objective
from training.backends import flux, z_image
from training.backends.base import Backend, shift_factor
from training.backends.flux import Flux

DEV = Flux.KNOWN["black-forest-labs/FLUX.1-dev"].parts["scheduler"]
SCHNELL = Flux.KNOWN["black-forest-labs/FLUX.1-schnell"].parts["scheduler"]
TASKS = {name: task.load(name) for name in task.names()}
BOXES = flux.make(None).latent_boxes(Layout(3, 1, 64, 32).boxes)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- the path


def test_a_perfect_velocity_leads_from_noise_to_the_image_in_any_number_of_steps() -> None:
    image, noise = randn(2, 16, 12, 8), randn(2, 16, 12, 8, seed=1)
    for levels in ([1.0, 0.0], [1.0, 0.9, 0.35, 0.0]):
        x = noise
        for level, following in itertools.pairwise(levels):
            x = x + (following - level) * objective.velocity(image, noise)
            torch.testing.assert_close(x, objective.add_noise(image, noise, torch.full((2,), following)))
        torch.testing.assert_close(x, image)


def test_every_sample_of_a_batch_has_its_own_noise_level() -> None:
    image, noise = randn(3, 16, 4, 4), randn(3, 16, 4, 4, seed=1)
    noisy = objective.add_noise(image, noise, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(noisy[0], image[0]) and torch.equal(noisy[2], noise[2])
    torch.testing.assert_close(noisy[1], 0.75 * image[1] + 0.25 * noise[1])


# ---- noise levels


@pytest.mark.parametrize(
    ("pixels", "factor"),
    [((512, 512), 1.88), ((768, 768), 2.33), ((1024, 1024), 3.16), ((1024, 1536), 3.16), ((1536, 1536), 3.16)],
)
def test_the_shift_follows_the_resolution_as_at_inference_and_is_capped(pixels: tuple[int, int], factor: float) -> None:
    """Without the cap, diffusers' line reaches 4.47 at 1024 x 1536 and 7.5 at 1536 x 1536."""
    assert shift_factor(DEV, pixels[0] * pixels[1] // 256) == pytest.approx(factor, abs=0.006)


def test_shifts_are_those_of_the_models_own_scheduler() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = FlowMatchEulerDiscreteScheduler(**DEV)
    levels = torch.linspace(0.05, 0.95, 19)
    for tokens in (96, 256, 1024, 4096):
        theirs = scheduler.time_shift(calculate_shift(tokens), 1.0, levels)
        torch.testing.assert_close(objective.shifted(levels, shift_factor(DEV, tokens)), theirs)


def test_a_model_whose_shift_does_not_follow_the_resolution_has_one_for_all_sizes() -> None:
    assert {shift_factor(SCHNELL, tokens) for tokens in (96, 4096)} == {1.0}
    assert shift_factor({"use_dynamic_shifting": False, "shift": 3.0}, 96) == 3.0


def test_uniform_noise_levels_are_never_0_and_weights_of_the_middle_are_1_in_the_mean() -> None:
    from scipy.stats import kstest

    chance = torch.Generator().manual_seed(0)
    sigma = torch.stack([objective.draw_sigma(1.0, chance, uniform=True) for _ in range(4_000)])
    assert sigma.min() > 0 and sigma.max() < 1
    assert kstest(sigma.numpy(), "uniform").pvalue > 0.05
    levels = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    weights = objective.bell(levels)
    assert weights[[0, -1]].tolist() == pytest.approx([0, 0], abs=1e-9)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-4)
    # ai-toolkit's table: exp(-2 (x / n - 1/2)^2) over x = 0 ... 999, less its minimum, divided by the mean.
    theirs = torch.exp(-2 * (torch.arange(1000, dtype=torch.float64) / 1000 - 0.5).square())
    theirs = (theirs - theirs.min()) / (theirs - theirs.min()).mean()
    assert torch.allclose(objective.bell(torch.arange(1000, dtype=torch.float64) / 1000), theirs, atol=3e-3)


@pytest.mark.parametrize("factor", [1.0, 3.16])
def test_noise_levels_are_logit_normal_and_then_shifted(factor: float) -> None:
    """Shifting adds log(factor) to the logit, so logits are normal around it; uniform levels would fail by far."""
    from scipy.stats import kstest

    chance = torch.Generator().manual_seed(0)
    sigma = torch.stack([objective.draw_sigma(factor, chance) for _ in range(4_000)]).double()
    assert sigma.min() > 0 and sigma.max() < 1
    assert kstest((torch.logit(sigma) - math.log(factor)).numpy(), "norm").pvalue > 0.05
    for share in (0.1, 0.5, 0.9):
        expected = objective.shifted(torch.sigmoid(torch.special.ndtri(torch.tensor(share))), factor)
        assert float(sigma.quantile(share)) == pytest.approx(float(expected), abs=0.02)


# ---- losses


def test_with_equal_panels_and_weights_of_one_the_loss_is_the_mean_squared_error() -> None:
    predicted, target = randn(2, 16, 12, 8), randn(2, 16, 12, 8, seed=1)
    loss = objective.grid_loss(objective.panel_losses(predicted, target, BOXES), torch.ones(2, 3))
    torch.testing.assert_close(loss, (predicted - target).square().mean(dim=(1, 2, 3)))


def test_every_panel_has_its_own_loss_and_counts_equally_whatever_its_size() -> None:
    boxes = ((0, 0, 8, 2), (0, 2, 8, 12))
    predicted, target = torch.zeros(1, 16, 12, 8), torch.zeros(1, 16, 12, 8)
    predicted[:, :, :2] = 2.0
    losses = objective.panel_losses(predicted, target, boxes)
    assert losses.tolist() == [[4.0, 0.0]]
    assert objective.grid_loss(losses, torch.ones(1, 2)).item() == 2.0  # 0.67 for a mean over pixels


def test_weights_are_each_panels_share_of_the_loss() -> None:
    losses = torch.tensor([[1.0, 2.0, 6.0]])
    assert objective.grid_loss(losses, torch.tensor([[1.0, 1.0, 2.0]])).item() == pytest.approx(15 / 4)
    assert objective.grid_loss(losses, torch.tensor([[3.0, 3.0, 6.0]])).item() == pytest.approx(15 / 4)


def test_a_panel_of_weight_zero_does_not_count_at_all() -> None:
    """Neither in the sum nor in the divisor: a mask that only multiplies would reduce the loss by a third."""
    predicted = randn(1, 16, 12, 8).requires_grad_()
    target, weights = randn(1, 16, 12, 8, seed=1), torch.tensor([[0.0, 1.0, 1.0]])
    loss = objective.grid_loss(objective.panel_losses(predicted, target, BOXES), weights)
    torch.testing.assert_close(loss[0], (predicted - target)[:, :, 4:].square().mean())
    loss.sum().backward()
    assert predicted.grad is not None
    assert not predicted.grad[:, :, :4].any() and predicted.grad[:, :, 4:].all()


def test_the_loss_is_computed_in_float32_whatever_the_dtype_of_the_model() -> None:
    predicted, target = randn(1, 16, 12, 8).bfloat16(), randn(1, 16, 12, 8, seed=1)
    losses = objective.panel_losses(predicted, target, BOXES)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, objective.panel_losses(predicted.float(), target, BOXES))
    in_bfloat16 = (predicted - target.bfloat16()).square()[:, :, :4].mean()
    assert abs(float(in_bfloat16) - float(losses[0, 0])) > 1e-4  # what would be lost


# ---- panels and tokens


def test_a_mask_is_one_on_the_given_panels_and_zero_elsewhere() -> None:
    mask = objective.panel_mask(BOXES, (0, 2), 12, 8)
    assert mask[:4].all() and not mask[4:8].any() and mask[8:].all()


@given(
    name=st.sampled_from(sorted(TASKS)),
    scale=st.sampled_from([0.5, 0.75, 1.0]) | st.floats(0.02, 4),
    backend=st.sampled_from([flux.make(None), z_image.make(None)]),
)
def test_at_every_scale_panels_are_whole_tokens_and_cover_the_canvas(name: str, scale: float, backend: Backend) -> None:
    layout = config.scaled(TASKS[name].grid_layout, scale, 16, backend.token)
    covered = torch.zeros(backend.latent_shape(layout.canvas)[1:])
    for box in layout.boxes:
        assert all(side % backend.token == 0 for side in box)
    boxes = backend.latent_boxes(layout.boxes)
    for panel in range(layout.size):
        covered += objective.panel_mask(boxes, [panel], *covered.shape)
    assert covered.eq(1).all()
    assert backend.tokens(layout.canvas) * 4 == covered.numel()  # two by two latents make a token in both families


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0])
def test_common_scales_barely_distort_panels(name: str, scale: float) -> None:
    own = TASKS[name].grid_layout
    layout = config.scaled(own, scale, 16, 16)
    assert abs(layout.panel_width - own.panel_width * scale) <= 8
    assert abs(layout.panel_height - own.panel_height * scale) <= 8
    squeeze = layout.panel_width / layout.panel_height / (own.panel_width / own.panel_height)
    assert squeeze == pytest.approx(1, abs=0.03)


def test_a_scale_that_makes_panels_too_small_is_refused_with_the_size() -> None:
    with pytest.raises(BadInput, match=r"at 0\.25 the panels are 256 x 128 pixels, and the shortest side may have 256"):
        config.scaled(TASKS["storyboard"].grid_layout, 0.25, 256, 16)
