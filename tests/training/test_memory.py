"""The memory that a training is planned to take, against what is counted and known. No GPU has measured it yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import task
from training import config as settings
from training import fused, lora, memory, presets
from training.allocation import Peak
from training.backends.base import Backend, Encoded
from training.config import Config
from training.job import find_backend
from training.memory import GIB, Lora, Sight

pytestmark = pytest.mark.slow

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TEXT, CANVAS = 128, (256, 512)
MEDIUM: dict[str, dict[str, Any]] = {
    "flux-1": {
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 4,
        "joint_attention_dim": 64,
        "pooled_projection_dim": 32,
        "axes_dims_rope": [8, 12, 12],
    },
    "z-image": {
        "dim": 128,
        "n_layers": 4,
        "n_refiner_layers": 1,
        "n_heads": 4,
        "n_kv_heads": 4,
        "cap_feat_dim": 64,
        "axes_dims": [8, 12, 12],
    },
}
"""Wide enough for activations to outweigh what is constant."""


def lora_of(backend: Backend, rank: int) -> Lora:
    layers = [
        (name, layer)
        for name, layer in backend.blank("transformer").named_modules()
        if re.fullmatch(backend.targets, name)
    ]
    size = sum(rank * (layer.in_features + layer.out_features) for _, layer in layers)
    return Lora(frozenset(name for name, _ in layers), rank, size)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("family", MEDIUM)
def test_activations_are_planned_at_most_a_quarter_above_what_is_counted(family: str, again: bool) -> None:
    """On the CPU, in 16 bits; under CUDA's autocast norms work in 32, which nothing here could count."""
    backend = find_backend(family, None, None)
    shape = {**backend.config("transformer"), **MEDIUM[family]}
    backend._configs["transformer"] = shape
    config = Config(rank=4, alpha=4, base_weights="bf16", checkpointing=again)
    transformer = backend.part_class("transformer").from_config(shape)
    for weight in transformer.parameters():
        weight.data = torch.zeros_like(weight, dtype=torch.bfloat16)
    transformer.requires_grad_(False)
    if again:
        transformer.enable_gradient_checkpointing()
    weights = lora.attach(transformer, backend, config)
    fused.fuse(transformer)
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)
    texts: list[Encoded] = [{"text": torch.zeros(TEXT, 64), "pooled": torch.zeros(32)}]
    noise: Tensor = torch.zeros(1, *backend.latent_shape(CANVAS))
    with Peak() as counted:
        backend.predict(transformer, noise, torch.tensor([0.5]), texts).sum().backward()  # type: ignore[no-untyped-call]
    sight = Sight(backend.tokens(CANVAS), TEXT, 1, CANVAS)
    planned = memory.activations(backend, config, lora_of(backend, 4), sight, CPU)
    assert counted.most <= planned <= 1.25 * counted.most


def test_a_base_in_fewer_bits_has_the_size_that_its_storage_has() -> None:
    """FLUX.1-dev in fp8: what has "norm" in its name stays in 16 bits, modulation and its 3.2 billion weights."""
    backend = find_backend("flux-1", None, None)
    found = {kind: memory.weight_sizes(backend, kind) for kind in ("bf16", "fp8", "int8", "nf4")}
    sizes = {kind: (sum(one.blocks) + one.rest) / GIB for kind, one in found.items()}
    assert sizes == pytest.approx({"bf16": 22.17, "fp8": 14.11, "int8": 11.10, "nf4": 6.24}, abs=0.01)
    linear = 11.9e9
    assert sizes["nf4"] * GIB == pytest.approx(linear / 2 + linear / 64 * 4, rel=0.01)


def test_what_decoding_takes_is_counted_on_the_vae_itself() -> None:
    """FLUX.1's, at full size: three maps of 256 channels (what a block reads, its norm and its activation)."""
    backend = find_backend("flux-1", None, None)
    width, height = 1024, 1536
    encode, decode = memory.vae_peaks(backend, (width, height), torch.bfloat16)
    assert decode / (2 * width * height) == pytest.approx(3 * 256, rel=0.01)
    assert encode < decode
    assert memory.vae_peaks(backend, (width, height), torch.float32)[1] == pytest.approx(2 * decode, rel=0.01)


def phases(**how: Any) -> dict[str, dict[str, float]]:
    backend = find_backend("flux-1", None, None)
    sight = Sight(backend.tokens((1024, 1536)), 512, 1, (1024, 1536))
    found = memory.phases(backend, Config(checkpointing=True, **how), lora_of(backend, 16), sight, GPU)
    return {phase.name: dict(phase.parts) for phase in found}


def test_every_phase_holds_what_is_there_at_once() -> None:
    found = phases(base_weights="bf16")
    for parts in found.values():
        assert parts["context"] == GIB / 2
    assert "base" not in found["reading texts"] and found["reading texts"]["text encoders"] > 8 * GIB
    assert found["drawing samples"].keys() >= {"base", "VAE", "one grid"}
    assert "gradient" not in found["drawing samples"]


def test_an_offloaded_base_takes_two_blocks_and_what_is_outside_of_blocks() -> None:
    whole, away = (phases(base_weights="bf16", offload=one)["training"] for one in (False, True))
    sizes = memory.weight_sizes(find_backend("flux-1", None, None), "bf16")
    assert away["base"] == sizes.rest + 2 * max(sizes.blocks) < whole["base"] / 10
    assert away["activations"] == whole["activations"]


def test_fp8_saves_nothing_without_recomputation() -> None:
    """Autograd then keeps all weights as they computed."""
    backend = find_backend("flux-1", None, None)
    sight = Sight(backend.tokens((512, 512)), 512, 1, (512, 512))
    held = Config(base_weights="fp8", checkpointing=False), Config(base_weights="bf16", checkpointing=False)
    fp8, bf16 = (memory.phases(backend, one, lora_of(backend, 16), sight, GPU)[2].total for one in held)
    assert fp8 > bf16


# ---- presets


def training_of(*lines: str) -> Config:
    return settings.load(task.load("storyboard", lines))


def test_a_preset_gives_defaults_and_what_is_set_by_hand_goes_before_it() -> None:
    for name, row in presets.TABLE.items():
        found = training_of(f"train.preset={name}")
        assert {key: getattr(found, key) for key in row} == dict(row)
    own = training_of("train.preset=12gb", "train.base_weights=fp8", "train.steps=100")
    assert (own.base_weights, own.optimizer, own.steps) == ("fp8", "adamw8bit", 100)
    small = settings.load(task.load("storyboard", ["train.preset=12gb"]), miniature=True)
    assert small.micro_batch == 1 and small.steps == settings.FOR_MINIATURE["steps"]


def test_no_more_grids_go_together_than_a_step_has_with_a_preset_too() -> None:
    assert training_of("train.preset=80gb", "train.batch=2").micro_batch == 2


@pytest.mark.parametrize(("name", "gib"), [("12gb", 12), ("16gb", 16), ("24gb", 24), ("48gb", 44), ("80gb", 79)])
def test_a_preset_fits_flux_1_dev_on_the_canvas_that_it_was_made_for(name: str, gib: int) -> None:
    """What cards sold as 48 and 80 GB have is less: 44 GiB with error correction, 79 GiB."""
    backend = find_backend("flux-1", None, None)
    config = training_of(f"train.preset={name}")
    sight = Sight(backend.tokens((1024, 1536)), 512, config.micro_batch, (1024, 1536))
    found: Callable[..., Any] = memory.phases
    assert max(one.total for one in found(backend, config, lora_of(backend, 16), sight, GPU)) < gib * GIB


def test_where_a_setting_comes_from_a_preset_is_told(tmp_path: Path) -> None:
    from iclora.settings import Settings, in_force

    asked = Settings(task="storyboard", sources=(str(tmp_path),)).changed(
        settings=["train.preset=24gb", "train.micro_batch=2"]
    )
    origins = {one.key: (one.value, one.origin) for one in in_force(asked)}
    assert origins["train.base_weights"] == ("fp8", "preset")
    assert origins["train.micro_batch"] == (2, "run")
