"""The backends of newer families at full size, without weights: configs, layers, shifts, and what needs no model."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions
from torch import nn

from pipeline import families, plugins, task
from training import backends, planning
from training.backends.base import Backend
from training.handover import comfy
from training.handover.comfy import Drawing
from training.handover.script import obstacle, script
from training.job import Job, find_backend

QWEN, EDIT = "Qwen/Qwen-Image-2512", "Qwen/Qwen-Image-Edit-2511"
QWEN_2 = "Qwen/Qwen-Image-2.1"
RAW, TURBO = "krea/Krea-2-Raw", "krea/Krea-2-Turbo"
LARGE, MEDIUM = "stabilityai/stable-diffusion-3.5-large", "stabilityai/stable-diffusion-3.5-medium"
NAMES = ("qwen_image", "qwen_image_2_1", "qwen_image_edit", "krea_2", "sd_3_5")
RANK = 16
BOTH = {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"}
"""Attention of two streams."""


def published(model: str) -> Backend:
    made = (plugins.load(backends, name).make(model) for name in NAMES)
    found: Backend = next(one for one in made if model in one.KNOWN)
    return found


def qwen_layers() -> set[str]:
    """60 blocks of two streams; in the last one, nothing reads what becomes of the text."""
    block = {f"attn.{name}" for name in BOTH} | {
        f"{stream}_mlp.net.{name}" for stream in ("img", "txt") for name in ("0.proj", "2")
    }
    unread = {"attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2"}
    return {f"transformer_blocks.{at}.{name}" for at in range(60) for name in (block - unread if at == 59 else block)}


def qwen_2_layers() -> set[str]:
    """32 blocks of one stream, whose modulation stands outside of them."""
    names = (*("to_q", "to_k", "to_v", "to_out.0"), "proj", "gate_layer", "out")
    parts = ["attn"] * 4 + ["img_mlp"] * 3
    return {
        f"transformer_blocks.{at}.{part}.{name}" for at in range(32) for part, name in zip(parts, names, strict=True)
    }


def krea_layers() -> set[str]:
    """28 blocks of one stream, and none of the four that fuse the text, whose layers have the same names."""
    names = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_gate", "attn.to_out.0", "ff.up", "ff.down")
    return {f"transformer_blocks.{at}.{name}" for at in range(28) for name in names}


def sd_layers(blocks: int, dual: int) -> set[str]:
    """Blocks of two streams, some with a second attention; the last one has no text behind its attention."""
    block = {f"attn.{name}" for name in BOTH} | {
        f"{stream}.net.{name}" for stream in ("ff", "ff_context") for name in ("0.proj", "2")
    }
    second = {f"attn2.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}
    unread = {"attn.add_q_proj", "attn.to_add_out", "ff_context.net.0.proj", "ff_context.net.2"}
    return {
        f"transformer_blocks.{at}.{name}"
        for at in range(blocks)
        for name in (block | second if at < dual else block - unread if at == blocks - 1 else block)
    }


@pytest.mark.parametrize(
    ("model", "part", "billions"),
    [
        (QWEN, "transformer", 20.4304),
        (EDIT, "text_encoder", 8.2922),
        (QWEN, "vae", 0.1269),
        (QWEN_2, "transformer", 7.1151),
        (QWEN_2, "text_encoder", 8.1448),
        (QWEN_2, "vae", 0.3377),
        (RAW, "transformer", 12.8201),
        (RAW, "text_encoder", 4.4378),
        (LARGE, "transformer", 8.0566),
        (MEDIUM, "transformer", 2.2432),
        (LARGE, "text_encoder_2", 0.6947),
        (LARGE, "text_encoder_3", 4.7622),
    ],
)
def test_a_part_without_weights_has_the_published_size(model: str, part: str, billions: float) -> None:
    weights = list(published(model).blank(part).parameters())
    assert sum(weight.numel() for weight in weights) / 1e9 == pytest.approx(billions, rel=5e-4)
    assert {weight.device.type for weight in weights} == {"meta"}


@pytest.mark.parametrize(
    ("model", "layers", "sides"),
    [
        # Inputs and outputs together: per stream, eight widths of attention and ten of the feed-forward layers.
        (QWEN, qwen_layers(), 3_072 * (60 * 36 - 14)),
        (EDIT, qwen_layers(), 3_072 * (60 * 36 - 14)),
        (QWEN_2, qwen_2_layers(), 32 * 20 * 4_096),
        (RAW, krea_layers(), 28 * (10 * 6_144 + 2 * 1_536 + 2 * 16_384)),
        (LARGE, sd_layers(38, 0), 2_432 * (38 * 36 - 14)),
        (MEDIUM, sd_layers(24, 13), 1_536 * (24 * 36 - 14 + 13 * 8)),
    ],
    ids=["qwen-image", "qwen-image-edit", "qwen-image-2.1", "krea-2", "large", "medium"],
)
def test_at_full_size_the_lora_is_on_the_layers_of_the_blocks_that_read_tokens(
    model: str, layers: set[str], sides: int
) -> None:
    """By names as in peft, and by the number of weights at rank 16."""
    backend = published(model)
    named = {name: one for name, one in backend.blank("transformer").named_modules() if isinstance(one, nn.Linear)}
    found = {name for name in named if re.fullmatch(backend.targets, name)}
    assert found == layers
    trainable = sum(RANK * (named[name].in_features + named[name].out_features) for name in found)
    assert trainable == RANK * sides


@pytest.mark.parametrize("name", NAMES)
def test_known_configs_have_no_keys_that_a_part_ignores(name: str) -> None:
    """diffusers silently drops an unknown key, and transformers keeps it without using it."""
    backend = plugins.load(backends, name).make(None)
    for model, known in backend.KNOWN.items():
        for part, config in known.parts.items():
            if part == "scheduler":
                continue
            kind = backend.part_class(part)
            if not hasattr(kind, "config_class"):
                assert set(config) <= set(inspect.signature(kind.__init__).parameters), (model, part)
                continue
            read = kind.config_class()
            for key, value in config.items():
                assert hasattr(read, key), (model, part, key)
                inner = getattr(read, key)
                if isinstance(value, dict) and hasattr(inner, "to_dict"):
                    assert set(value) <= set(inner.to_dict()) | {one.name for one in fields(inner)}, (model, part, key)


def test_licence_and_limit_of_known_models_need_no_file() -> None:
    known = {
        model: (published(model).licence, published(model).text_limit)
        for model in (QWEN, QWEN_2, EDIT, RAW, TURBO, MEDIUM)
    }
    assert known == {
        QWEN: ("apache-2.0", 512),
        QWEN_2: ("qwen-research", 8192),
        EDIT: ("apache-2.0", 1024),
        RAW: ("krea-2-community-license", 512),
        TURBO: ("krea-2-community-license", 512),
        MEDIUM: ("stabilityai-ai-community", 256),
    }
    for name in NAMES:
        backend = plugins.load(backends, name).make(None)
        family = families.load(backend.BASE)
        assert backend.model == family.model in backend.KNOWN and backend.licence == family.licence
        assert find_backend(backend.BASE, None, None).model == family.model
        assert task.load("storyboard", [f"base={backend.BASE}"]).base == backend.BASE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "base", "decoded"),
    [(QWEN, 38.05, 10.14), (QWEN_2, 13.25, 17.99), (EDIT, 38.05, 10.14), (RAW, 23.88, 10.14), (LARGE, 15.01, 4.5)],
)
def test_a_published_model_is_planned_by_its_name_alone(
    model: str, base: float, decoded: float, make_job: Callable[..., Job]
) -> None:
    """On a machine with none of its files and no network; the base and, at 32 bits, what decoding takes in GiB."""
    settings = {"model": model, "scales": [1.0], "smallest_panel": 256, "base_weights": "bf16", "samples": 1}
    sides = ["layout.panel_width=1024", "layout.panel_height=512"]
    job = make_job(overrides=[f'base="{published(model).BASE}"', *sides], **settings)
    plan = planning.make(job, torch.device("cpu"))
    assert list(plan.tokens.values()) == [6144] and not plan.counted
    assert plan.parts("training")["base"] / 2**30 == pytest.approx(base, abs=0.01)
    assert plan.parts("drawing samples")["one grid"] / 2**30 == pytest.approx(decoded, abs=0.05)
    assert job.config.guidance == job.backend.family.recipe.get("guidance", 3.5)


# ---- noise levels


@pytest.mark.parametrize(
    ("model", "factors"),
    [
        # e^mu at 512, 1024 and 1536 pixels square; mu = 0.5 + 0.4 * (tokens - 256) / 7936 up to 0.9
        (QWEN, (1.714, 2.001, 2.459)),
        (QWEN_2, (1.714, 2.001, 2.459)),
        # mu = 0.5 + 0.65 * (tokens - 256) / 6144 up to 1.15
        (RAW, (1.788, 2.475, 3.158)),
        (TURBO, (3.158, 3.158, 3.158)),
        (LARGE, (3.0, 3.0, 3.0)),
    ],
)
def test_noise_levels_are_shifted_as_at_inference(model: str, factors: tuple[float, ...]) -> None:
    assert [published(model).shift(tokens) for tokens in (1024, 4096, 9216)] == pytest.approx(factors, abs=2e-3)


def test_the_last_noise_level_is_the_models_own() -> None:
    """Qwen-Image stretches its levels to end at 0.02; Stable Diffusion's scheduler spaces its own."""
    assert published(QWEN).noise_levels(20, 4096)[-2] == pytest.approx(0.02, abs=1e-4)
    assert published(RAW).noise_levels(20, 4096)[-2] == pytest.approx(2.475 / (2.475 + 19), abs=1e-3)
    ends = published(LARGE).noise_levels(20, 4096)
    assert (float(ends[0]), len(ends)) == (1.0, 21) and 0 < ends[-2] < 0.02


def test_the_ends_of_the_shift_are_at_256_and_4096_tokens_whatever_the_config_counts_to() -> None:
    ends = published(QWEN).noise_shift(20, 4096).ends
    assert ends == pytest.approx((0.5, math.log(2.001)), abs=1e-3)
    assert published(TURBO).noise_shift(8, 4096).ends == pytest.approx((1.15, 1.15))
    assert published(MEDIUM).noise_shift(20, 4096).factor == 3.0


# ---- reference images


@pytest.mark.parametrize("size", [(512, 512), (1024, 768), (300, 900), (4000, 1000), (64, 64)])
def test_reference_images_have_the_size_of_the_pipelines(size: tuple[int, int]) -> None:
    backend = published(EDIT)
    assert backend.reference_size(size) == calculate_dimensions(1024 * 1024, size[0] / size[1])
    assert backend.reference_size(size, 0.5) == calculate_dimensions(512 * 512, size[0] / size[1])


def test_a_reference_image_of_any_shape_keeps_at_least_a_token() -> None:
    assert published(EDIT).reference_size((30_000, 4)) == (88_672, 32)


def test_only_2511_modulates_reference_images_as_clean() -> None:
    assert published(EDIT).config("transformer")["zero_cond_t"] is True
    assert published("Qwen/Qwen-Image-Edit-2509").config("transformer")["zero_cond_t"] is False


# ---- hand-over


def drawing(**more: object) -> Drawing:
    own = task.load("storyboard").grid_layout
    return Drawing("a", "a prompt", own, steps=8, guidance=4.0, loras={"a.safetensors": 1.0}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "guided"),
    [
        (QWEN, "true_cfg_scale=4.0,\n    negative_prompt='',"),
        (RAW, "guidance_scale=4.0,"),
        (TURBO, "guidance_scale=0.0,"),
        (LARGE, "guidance_scale=4.0,"),
    ],
)
def test_a_script_guides_the_pipeline_in_its_own_words(model: str, guided: str) -> None:
    backend = published(model)
    written = script(backend, None, drawing(), "generate.py")
    assert guided in written and f"{backend.PIPELINE}.from_pretrained" in written
    compile(written, "generate.py", "exec")


@pytest.mark.parametrize(
    ("model", "node", "files", "cfg"),
    [
        (QWEN, "EmptySD3LatentImage", "qwen_image_2512_fp8_e4m3fn.safetensors", 4.0),
        (RAW, "EmptyLatentImage", "krea2_raw_bf16.safetensors", 5.0),
        (TURBO, "EmptyLatentImage", "krea2_turbo_fp8_scaled.safetensors", 1.0),
    ],
)
def test_a_workflow_loads_the_familys_files(model: str, node: str, files: str, cfg: float) -> None:
    graph = comfy.workflow(published(model), drawing())
    kinds = {one["class_type"]: one["inputs"] for one in graph.values()}
    sampler = kinds["SamplerCustom" if model == QWEN else "KSampler"]
    assert node in kinds and kinds["UNETLoader"]["unet_name"] == files and sampler["cfg"] == cfg
    assert kinds["VAELoader"]["vae_name"] == "qwen_image_vae.safetensors"


@pytest.mark.parametrize("steps", [4, 20, 50])
def test_stretched_noise_levels_are_those_of_the_pipeline_in_a_workflow_too(steps: int) -> None:
    """The node's formula, with its inputs (comfy_extras/nodes_lt.py, LTXVScheduler)."""
    backend = published(QWEN)
    graph = comfy.workflow(backend, replace(drawing(), steps=steps))
    kinds = {one["class_type"]: one["inputs"] for one in graph.values()}
    asked, sampler = kinds["LTXVScheduler"], kinds["SamplerCustom"]
    assert asked["max_shift"] == asked["base_shift"] and asked["stretch"] and asked["terminal"] == 0.02
    assert graph[sampler["sigmas"][0]]["class_type"] == "LTXVScheduler" and "ModelSamplingFlux" not in kinds
    even = torch.linspace(1, 0, asked["steps"] + 1)[:-1]
    shifted = 1 / (1 + (1 / even - 1) * math.exp(-asked["max_shift"]))
    stretched = 1 - (1 - shifted) * (1 - asked["terminal"]) / (1 - shifted[-1])
    ours = backend.noise_levels(steps, backend.tokens(drawing().layout.canvas))
    torch.testing.assert_close(torch.cat([stretched, torch.zeros(1)]), ours, rtol=0, atol=1e-6)


def test_a_pipeline_that_needs_a_reference_image_has_no_script() -> None:
    assert obstacle(published(EDIT)).startswith("QwenImageEditPlusPipeline draws nothing without a reference image")
    assert not obstacle(published(QWEN))


def test_a_model_whose_file_holds_all_parts_is_loaded_by_one_node() -> None:
    graph = comfy.workflow(published(LARGE), drawing())
    kinds = {one["class_type"]: one["inputs"] for one in graph.values()}
    (number,) = (number for number, one in graph.items() if one["class_type"] == "CheckpointLoaderSimple")
    assert graph[number]["inputs"] == {"ckpt_name": "sd3.5_large_fp8_scaled.safetensors"}
    assert kinds["CLIPTextEncode"]["clip"] == [number, 1] and kinds["VAEDecode"]["vae"] == [number, 2]
    assert kinds["LoraLoaderModelOnly"]["model"] == [number, 0]
    assert (kinds["ModelSamplingSD3"]["shift"], kinds["KSampler"]["scheduler"]) == (3.0, "normal")
    assert not kinds.keys() & {"UNETLoader", "CLIPLoader", "VAELoader"}


@pytest.mark.parametrize(("month", "method"), [("2511", ["index_timestep_zero", "index_timestep_zero"]), ("2509", [])])
def test_the_caption_of_an_edit_is_read_together_with_its_reference_images(month: str, method: list[str]) -> None:
    graph = comfy.workflow(published(EDIT.replace("2511", month)), replace(drawing(), references=("a.png", "b.png")))
    kinds = [(one["class_type"], one["inputs"]) for one in graph.values()]
    read = [inputs for kind, inputs in kinds if kind == "TextEncodeQwenImageEditPlus"]
    assert [one["prompt"] for one in read] == [drawing().prompt, ""]
    for one in read:
        images = [graph[one[name][0]]["inputs"]["image"] for name in ("image1", "image2")]
        assert images == ["a.png", "b.png"] and graph[one["vae"][0]]["class_type"] == "VAELoader"
    found = [inputs["reference_latents_method"] for kind, inputs in kinds if kind.startswith("FluxKontext")]
    assert found == method
    assert ("CFGNorm" in dict(kinds)) and "ReferenceLatent" not in dict(kinds)
