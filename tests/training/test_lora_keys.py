"""LoRAs in the styles of other programs say the same as ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

import iclora
from pipeline.errors import BadInput
from training import lora, lora_file, lora_keys
from training.backends import flux, z_image

RANK = 4
LAYERS = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v")
OTHERS = ("transformer_blocks.0.attn.to_out.0", "transformer_blocks.0.ff.net.2")
FUSED = "double_blocks_0_img_attn_qkv"
Style = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@pytest.fixture(scope="module")
def base(tiny_flux: Path) -> flux.Flux:
    return flux.make(str(tiny_flux))


@pytest.fixture(scope="module")
def ours(base: flux.Flux) -> dict[str, Tensor]:
    """A and B of some layers, by the layer's name and the ending."""
    generator, linear = torch.Generator().manual_seed(0), dict(base.blank("transformer").named_modules())
    found = {}
    for layer in LAYERS + OTHERS:
        module = linear[layer]
        assert isinstance(module, torch.nn.Linear)
        found[f"{layer}.lora_A.weight"] = torch.randn(RANK, module.in_features, generator=generator)
        found[f"{layer}.lora_B.weight"] = torch.randn(module.out_features, RANK, generator=generator)
    return found


def prefixed(prefix: str, *ends: str) -> Style:
    """Other words before the layer, and for lora_A and lora_B."""

    def style(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = {}
        for key, weight in weights.items():
            for old, new in zip(lora_keys.SUFFIXES, ends or lora_keys.SUFFIXES, strict=True):
                key = key.replace(old, new)  # noqa: PLW2901
            named[prefix + key] = weight
        return named

    return style


def kohya(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The base's own names with underscores, q, k and v in one layer, and an alpha of twice the rank."""
    a = torch.cat([weights[f"{layer}.lora_A.weight"] for layer in LAYERS])
    b = torch.block_diag(*(weights[f"{layer}.lora_B.weight"] for layer in LAYERS))
    found = {f"lora_unet_{FUSED}.lora_down.weight": a, f"lora_unet_{FUSED}.lora_up.weight": b / 2}
    found[f"lora_unet_{FUSED}.alpha"] = torch.tensor(2.0 * len(a))
    for layer, theirs in zip(OTHERS, ("double_blocks_0_img_attn_proj", "double_blocks_0_img_mlp_2"), strict=True):
        found[f"lora_unet_{theirs}.lora_down.weight"] = weights[f"{layer}.lora_A.weight"]
        found[f"lora_unet_{theirs}.lora_up.weight"] = weights[f"{layer}.lora_B.weight"]
    return found


def authors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As ai-toolkit and the base's authors write it for ComfyUI."""
    b = torch.cat([weights[f"{layer}.lora_B.weight"] for layer in LAYERS])
    found = {"double_blocks.0.img_attn.qkv.lora_A.weight": weights[f"{LAYERS[0]}.lora_A.weight"]}
    found["double_blocks.0.img_attn.qkv.lora_B.weight"] = b
    return prefixed("diffusion_model.")(found)


def changes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a LoRA adds to each layer."""
    layers = lora_file.layers_of(weights)
    return {layer: weights[f"{layer}.lora_B.weight"] @ weights[f"{layer}.lora_A.weight"] for layer in layers}


STYLES: dict[str, Style] = {
    "diffusers": prefixed("transformer."),
    "older diffusers": prefixed("transformer.", ".lora.down.weight", ".lora.up.weight"),
    "peft": prefixed("base_model.model."),
    "peft, a named adapter": prefixed(
        "base_model.model.transformer.", ".lora_A.default.weight", ".lora_B.default.weight"
    ),
    "bare": prefixed(""),
    "ComfyUI": prefixed("diffusion_model."),
    "down and up": prefixed("diffusion_model.", ".lora_down.weight", ".lora_up.weight"),
    "kohya": kohya,
}


@pytest.mark.parametrize("style", STYLES)
def test_a_lora_says_the_same_in_every_style(
    style: str, ours: dict[str, Tensor], base: flux.Flux, tmp_path: Path
) -> None:
    save_file(STYLES[style](ours), tmp_path / "theirs.safetensors")
    read = changes(lora.read(tmp_path / "theirs.safetensors", base.blank("transformer"), base))
    wanted = changes(ours)
    assert read.keys() == wanted.keys()
    for layer, change in wanted.items():
        assert torch.allclose(read[layer], change, rtol=1e-5, atol=1e-5), layer


@pytest.mark.slow
def test_a_lora_draws_the_same_picture_in_every_style(ours: dict[str, Tensor], tiny_flux: Path, tmp_path: Path) -> None:
    weak, grids = {key: 0.3 * weight for key, weight in ours.items()}, {}
    for style, rename in STYLES.items():
        save_file(rename(weak), file := tmp_path / f"{style}.safetensors")
        (drawn,) = iclora.generate(file, "a dog", layout="3x1:64x32", model=str(tiny_flux), steps=2)
        grids[style] = np.asarray(drawn.grid, np.int16)
    (base,) = iclora.generate([(file, 0.0)], "a dog", layout="3x1:64x32", model=str(tiny_flux), steps=2)
    assert np.abs(np.asarray(base.grid, np.int16) - grids["diffusers"]).max() > 8
    for style, grid in grids.items():
        assert np.abs(grid - grids["diffusers"]).max() <= 1, style  # kohya's fused layers are added up in another order


def test_layers_that_the_base_s_authors_fuse_are_split(
    ours: dict[str, Tensor], base: flux.Flux, tmp_path: Path
) -> None:
    save_file(authors(ours), tmp_path / "theirs.safetensors")
    read = changes(lora.read(tmp_path / "theirs.safetensors", base.blank("transformer"), base))
    for layer in LAYERS:
        wanted = ours[f"{layer}.lora_B.weight"] @ ours[f"{LAYERS[0]}.lora_A.weight"]
        assert torch.allclose(read[layer], wanted, rtol=1e-5, atol=1e-5)


def test_z_image_layers_under_kohyas_names_are_read(tmp_path: Path) -> None:
    base = z_image.make(str(tiny.z_image(tmp_path / "base")))
    linear = dict(base.blank("transformer").named_modules())["layers.0.attention.to_q"]
    assert isinstance(linear, torch.nn.Linear)
    a, b = torch.randn(RANK, linear.in_features), torch.randn(linear.out_features, RANK)
    name = "lora_unet_layers_0_attention_to_q"
    save_file(
        {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b, f"{name}.alpha": torch.tensor(RANK / 2)},
        tmp_path / "theirs.safetensors",
    )
    read = changes(lora.read(tmp_path / "theirs.safetensors", base.blank("transformer"), base))
    assert torch.allclose(read["layers.0.attention.to_q"], b @ a / 2, rtol=1e-5, atol=1e-5)


def test_a_part_for_the_text_encoder_is_left_out_and_the_log_says_so(
    ours: dict[str, Tensor], base: flux.Flux, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = {
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(RANK, 8),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(8, RANK),
    }
    save_file(kohya(ours) | encoder, tmp_path / "theirs.safetensors")
    with caplog.at_level(logging.WARNING):
        read = lora.read(tmp_path / "theirs.safetensors", base.blank("transformer"), base)
    assert read.keys() == ours.keys()
    assert "part for the text encoder is left out" in caplog.text


def test_a_layer_in_two_styles_is_refused(ours: dict[str, Tensor], base: flux.Flux, tmp_path: Path) -> None:
    twice = {key: tensor.clone() for key, tensor in (STYLES["bare"](ours) | STYLES["peft"](ours)).items()}
    save_file(twice, tmp_path / "theirs.safetensors")
    with pytest.raises(BadInput, match="names a layer in two styles"):
        lora.read(tmp_path / "theirs.safetensors", base.blank("transformer"), base)


@pytest.mark.parametrize(
    "name", ["lora_unet_double_blocks_7_img_mlp_2", "lora_unet_down_blocks_0_attentions_0_proj_in"]
)
def test_layers_of_another_base_are_named(name: str, base: flux.Flux, tmp_path: Path) -> None:
    weights = {f"{name}.lora_down.weight": torch.ones(RANK, 8), f"{name}.lora_up.weight": torch.ones(8, RANK)}
    save_file(weights, tmp_path / "theirs.safetensors")
    with pytest.raises(BadInput, match=r"(missing from FluxTransformer2DModel|diffusers leaves out).*; "):
        lora.read(tmp_path / "theirs.safetensors", base.blank("transformer"), base)
