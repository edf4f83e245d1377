"""Published models that no weights of were ever loaded here, at full size on the meta device."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from torch import nn

from training import planning
from training.backends import chroma, flux, flux_1_fill, flux_1_kontext, flux_2_klein
from training.backends.base import Backend
from training.job import Job

KLEIN_4B, KLEIN_9B = (f"black-forest-labs/FLUX.2-klein-base-{size}" for size in ("4B", "9B"))
KONTEXT, FILL = (f"black-forest-labs/FLUX.1-{name}-dev" for name in ("Kontext", "Fill"))
CHROMA = "lodestones/Chroma1-HD"
BACKENDS: dict[str, Callable[[str], Backend]] = {
    KLEIN_4B: flux_2_klein.make,
    KLEIN_9B: flux_2_klein.make,
    KONTEXT: flux_1_kontext.make,
    FILL: flux_1_fill.make,
    CHROMA: chroma.make,
}
Layers = dict[str, tuple[int, int]]
"""Inputs and outputs of linear layers by their names."""
RANK = 16


def named(kind: str, count: int, layers: Layers) -> Layers:
    return {f"{kind}.{index}.{name}": sizes for index in range(count) for name, sizes in layers.items()}


def klein_layers(double: int, single: int, d: int) -> Layers:
    """Blocks of two streams, image and text, then of one, which has attention and a gated layer in one product."""
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    layers: Layers = {f"attn.{name}": (d, d) for name in attention}
    for stream in ("ff", "ff_context"):
        layers |= {f"{stream}.linear_in": (d, 6 * d), f"{stream}.linear_out": (3 * d, d)}
    one: Layers = {"attn.to_qkv_mlp_proj": (d, 9 * d), "attn.to_out": (4 * d, d)}
    return named("transformer_blocks", double, layers) | named("single_transformer_blocks", single, one)


def targets(backend: Backend) -> Layers:
    layers = backend.blank("transformer").named_modules()
    return {
        name: (layer.in_features, layer.out_features)
        for name, layer in layers
        if isinstance(layer, nn.Linear) and re.fullmatch(backend.targets, name)
    }


def lora_on(backend: Backend) -> dict[str, tuple[int, ...]]:
    """Sizes of the LoRA's weights by name."""
    transformer = inject_adapter_in_model(
        LoraConfig(r=RANK, target_modules=backend.targets), backend.blank("transformer")
    )
    return {name: tuple(weight.shape) for name, weight in get_peft_model_state_dict(transformer).items()}


@pytest.mark.parametrize(
    ("model", "part", "billions"),
    [
        (KLEIN_4B, "transformer", 3.876),
        (KLEIN_4B, "text_encoder", 4.022),
        (KLEIN_9B, "transformer", 9.079),
        (KLEIN_9B, "text_encoder", 7.568),
        (KLEIN_4B, "vae", 0.08405),
        (FILL, "transformer", 11.902),
        (CHROMA, "transformer", 8.900),
    ],
)
def test_a_part_without_weights_has_the_published_size(model: str, part: str, billions: float) -> None:
    weights = list(BACKENDS[model](model).blank(part).parameters())
    assert sum(weight.numel() for weight in weights) / 1e9 == pytest.approx(billions, rel=5e-4)
    assert {weight.device.type for weight in weights} == {"meta"}


@pytest.mark.parametrize(
    ("model", "layers"), [(KLEIN_4B, klein_layers(5, 20, 24 * 128)), (KLEIN_9B, klein_layers(8, 24, 32 * 128))]
)
def test_at_full_size_the_lora_of_klein_is_on_the_layers_of_the_blocks_and_nowhere_else(
    model: str, layers: Layers
) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in layers.items():
        expected |= {f"{name}.lora_A.weight": (RANK, inputs), f"{name}.lora_B.weight": (outputs, RANK)}
    assert lora_on(flux_2_klein.make(model)) == expected


def test_the_other_families_have_the_same_layers_as_flux_1() -> None:
    """So that a LoRA of FLUX.1-dev fits them, and can be trained on from there."""
    expected = targets(flux.make("black-forest-labs/FLUX.1-dev"))
    for model in (KONTEXT, FILL, CHROMA):
        assert targets(BACKENDS[model](model)) == expected, model
    assert len(expected) == 19 * 12 + 38 * 5


@pytest.mark.parametrize("model", BACKENDS)
def test_known_configs_have_no_keys_that_a_part_ignores(model: str) -> None:
    """diffusers silently drops an unknown key, and transformers keeps it without using it."""
    backend = BACKENDS[model](model)
    assert backend.known
    for part, config in backend.known.parts.items():
        if part == "scheduler":
            continue
        kind = backend.part_class(part)
        read = kind.config_class() if hasattr(kind, "config_class") else None
        names = vars(read).keys() if read else inspect.signature(kind.__init__).parameters.keys()
        assert set(config) <= set(names), (model, part)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "base", "shift"),
    [
        (KLEIN_4B, 7.22, 3.16),
        (KLEIN_9B, 16.91, 3.16),
        (KONTEXT, 22.17, 3.16),
        (FILL, 22.17, 3.16),
        (CHROMA, 16.58, 1.0),
    ],
)
def test_a_published_model_is_planned_by_its_name_alone(
    model: str, base: float, shift: float, make_job: Callable[..., Job]
) -> None:
    """On a machine with none of its files and no network; the base in GiB."""
    family = BACKENDS[model](model).BASE
    settings: dict[str, Any] = {"model": model, "scales": [1.0], "smallest_panel": 256, "base_weights": "bf16"}
    sides = [f"layout.panel_{side}={json.dumps(pixels)}" for side, pixels in (("width", 1024), ("height", 512))]
    job = make_job(overrides=[f'base="{family}"', *sides], **settings)
    plan = planning.make(job, torch.device("cpu"))
    lines = list(planning.lines(job, plan))
    assert any(line.startswith(f"base {model}: ") for line in lines) and not plan.counted
    assert list(plan.tokens.values()) == [6144]
    assert plan.parts("training")["base"] / 2**30 == pytest.approx(base, abs=0.01)
    assert job.backend.shift(6144) == pytest.approx(shift, abs=0.005)
    assert job.config.guidance == job.backend.family.recipe.get("guidance", 3.5)
