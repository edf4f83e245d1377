"""Holds the ComfyUI workflows of a hand-over against ComfyUI's own code: would it take them, and draws it what we draw?

    python -m bench.comfy --comfyui CHECKOUT

CHECKOUT is a clone of https://github.com/Comfy-Org/ComfyUI whose requirements are installed where this runs, or lie in
the folder that `--packages` names. Nothing of it is needed by the product.

1. Its validation (`execution.validate_prompt`, what POST /prompt calls) takes the workflows of FLUX.1-dev, Z-Image,
   Chroma, Kontext, Fill, FLUX.2 klein, Qwen-Image, its Edit (2509; 2511 needs a later ComfyUI), Krea 2 and Stable
   Diffusion 3.5, for text alone, around given panels and beside a reference image, on a machine that has the files they
   name.
2. Its loader (`comfy.lora`) maps every key of a LoRA on all layers that we train of FLUX.1-dev, Qwen-Image, its Edit
   and Stable Diffusion 3.5 at full size, and its tables of diffusers' names have those of the families whose blocks are
   like FLUX.1's and those of Krea 2.
3. Its noise levels on a storyboard's canvas are those of `iclora generate`; without the node that sets them they are
   not. Those of Qwen-Image, which end stretched, are compared with what other nodes and schedulers give.
4. Its nodes, sampler and LoRA loader draw the workflows with the miniature's weights, from our noise, as `iclora
   generate` does: for text alone, and around a given panel that is noised along and pasted back. Only the loaders of
   base, text encoders and VAE are ours, since ComfyUI can't read the miniature's.

Fails if any of this is not so. Of families that are younger than the checkout it only says so.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import numpy as np
import torch
from PIL import Image

import iclora
from miniature.draw import draw
from miniature.world import draw_scene
from pipeline import task
from training import lora, lora_file, lora_keys
from training.backends.base import Backend
from training.config import MINIATURE, MINIATURE_NAME, Config
from training.handover.comfy import SCHEDULERS, Drawing, shows_references, workflow
from training.job import find_backend
from training.lora_file import Card
from training.random_streams import seed_of

SHIFT_TOLERANCE = 1e-3  # ComfyUI rounds noise levels to a table of ten thousand
PICTURE_TOLERANCE = 4  # of 255, at any pixel, for the same reason
CANVAS = (1024, 1536)
RANK, STRENGTH = 4, 0.1
ALIKE = ("flux-1-kontext", "flux-1-fill", "chroma", "flux-2-klein")
"""Families whose LoRAs ComfyUI maps by the same table as FLUX.1's."""
BASES = ("flux-1", "z-image", *ALIKE, "qwen-image", "krea-2", "sd-3.5")
YOUNGER = {"flux-2-klein": ("EmptyFlux2LatentImage", ""), "krea-2": ("CLIPLoader", "krea2")}
"""Families that an older checkout does not know: a node that their workflows need, and its type of text encoder."""
EDIT_2509 = "Qwen/Qwen-Image-Edit-2509"
PART = "transformer"
QWEN_UNET = {"image_model": "qwen_image", "in_channels": 64, "num_layers": 60}
SD_MEDIUM = "stabilityai/stable-diffusion-3.5-medium"
SD_UNET = {
    "in_channels": 16,
    "patch_size": 2,
    "input_size": None,
    "adm_in_channels": 2048,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536}},
    "num_patches": 192 * 192,
    "pos_embed_max_size": 192,
    "qk_norm": "rms",
    "pos_embed_scaling_factor": None,
}
LOADED = {"UNETLoader", "VAELoader", "CLIPLoader", "DualCLIPLoader", "CLIPTextEncode"}
"""Nodes whose work the miniature does."""
PROMPT = (
    "[MOVIE-SHOTS] a short story about <Ingrid>, a red rabbit with a top hat, [SCENE-1] a medium shot of <Ingrid>, "
    "flying a kite on the beach, [SCENE-2] a close-up of <Ingrid>, reading a book in the forest, [SCENE-3] a medium "
    "shot of <Ingrid>, beating a drum in the city."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="a clone of ComfyUI")
    parser.add_argument("--packages", type=Path, help="a folder with its requirements that are not installed")
    options = parser.parse_args()
    sys.path.insert(0, str(options.comfyui))
    if options.packages:
        sys.path.append(str(options.packages))
    sys.argv = ["main.py", "--cpu"]
    nodes = _comfyui()
    known = [base for base in BASES if _knows(nodes, base)]
    with tempfile.TemporaryDirectory() as home:
        faults = [
            *_validated(nodes, known, Path(home)),
            *_keys(known),
            *_noise_levels(nodes),
            *_stretched(nodes),
            *_drawn(nodes, Path(home)),
        ]
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(faults))


def _comfyui() -> dict[str, Any]:
    """ComfyUI's nodes by name, its own extra nodes included."""
    importlib.import_module("comfy.options").enable_args_parsing()
    home = importlib.import_module("utils.install_util")  # before another package's `utils` takes the name
    nodes = importlib.import_module("nodes")
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    found: dict[str, Any] = nodes.NODE_CLASS_MAPPINGS
    print(f"{len(found)} nodes of ComfyUI, {home.__file__}")
    return found


# ---- 1: validation


def _knows(nodes: dict[str, Any], base: str) -> bool:
    """Whether this checkout is young enough for a family."""
    name, kind = YOUNGER.get(base, ("", ""))
    known = not name or (name in nodes and (not kind or kind in nodes[name].INPUT_TYPES()["required"]["type"][0]))
    if not known:
        print(f"this ComfyUI doesn't know {base}")
    return known


def _validated(nodes: dict[str, Any], known: list[str], home: Path) -> list[str]:
    import execution
    import folder_paths

    faults = []
    for folder in ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras"):
        (home / folder).mkdir()
        folder_paths.add_model_folder_path(folder, str(home / folder), is_default=True)
    folder_paths.set_input_directory(str(home))
    (home / "loras" / "storyboard.safetensors").touch()
    for panel in range(3):
        _photo((1024, 512)).save(home / f"panel{panel + 1}.png")
    for base, model in (*((base, None) for base in known), ("qwen-image-edit", EDIT_2509)):
        backend = find_backend(base, model, None)
        _touch(home, backend)
        for changes in _drawings(backend):
            drawing = _drawing(**changes)
            prompt = workflow(backend, drawing)
            taken, error, outputs, node_errors = asyncio.run(execution.validate_prompt("bench", prompt, None))
            print(
                f"validation, {base}, {changes or 'text alone'}: {'taken' if taken else 'refused'}, "
                f"{len(outputs)} pictures saved"
            )
            if not taken or len(outputs) != 1 + drawing.layout.size:
                faults.append(f"{base}, {changes}: {error} {json.dumps(node_errors)[:500]}")
    return faults


def _touch(home: Path, backend: Backend) -> None:
    """Files of the names that a base's workflow looks for."""
    assert backend.family.comfyui
    files = backend.family.comfyui.of(backend.model)
    model = "diffusion_models" if files.encoders else "checkpoints"
    for folder, names in ((model, [files.model]), ("text_encoders", files.encoders), ("vae", [files.vae])):
        for name in filter(None, names):
            (home / folder / name).touch()


def _drawings(backend: Backend) -> Iterator[dict[str, Any]]:
    for given in ((), (0,), (0, 2)):
        yield {"given": given} if given else {}
    if shows_references(backend):
        yield {"references": ("panel1.png",)}


def _drawing(given: tuple[int, ...] = (), **changes: Any) -> Any:
    drawing = Drawing(
        name="storyboard",
        prompt=PROMPT,
        layout=task.load("storyboard").grid_layout,
        steps=20,
        guidance=3.5,
        loras={"storyboard.safetensors": 1.0},
        given={panel: f"panel{panel + 1}.png" for panel in given},
        keep_given=bool(given),
    )
    return replace(drawing, **changes)


def _photo(size: tuple[int, int]) -> Any:
    return Image.fromarray(draw(draw_scene(random.Random(3)), size=size))


# ---- 2: keys


def _keys(known: list[str]) -> list[str]:
    from comfy import supported_models

    sd_large, sd_medium = ({"depth": 38}, {"depth": 24, "x_block_self_attn_layers": list(range(13))})
    models = (
        ("flux-1", None, supported_models.Flux, _unet_config(dict(find_backend("flux-1", None, None).config(PART)))),
        ("qwen-image", None, supported_models.QwenImage, QWEN_UNET),
        ("qwen-image-edit", None, supported_models.QwenImage, QWEN_UNET),
        ("sd-3.5", None, supported_models.SD3, SD_UNET | sd_large),
        ("sd-3.5", SD_MEDIUM, supported_models.SD3, SD_UNET | sd_medium),
    )
    return [
        *(fault for one in models for fault in _mapped(*one)),
        *(fault for base in ALIKE if base in known for fault in _names(base)),
        *(_krea_names() if "krea-2" in known else []),
    ]


def _mapped(base: str, model: str | None, kind: Any, unet: dict[str, Any]) -> list[str]:
    """Keys of a LoRA that its loader doesn't map onto its own model.

    Args:
        kind: ComfyUI's class of the model.
        unet: its config in ComfyUI's words.
    """
    from comfy import lora as comfy_lora

    backend = find_backend(base, model, None)
    keys = [f"transformer.{layer}{suffix}" for layer in _layers(backend) for suffix in lora_keys.SUFFIXES]
    with torch.device("meta"):
        known = comfy_lora.model_lora_keys_unet(kind(unet).get_model({}, "", device="meta"), {})
    read = comfy_lora.load_lora({key: torch.zeros(1, 1) for key in keys}, known, log_missing=True)
    print(f"keys: {len(keys)} of a LoRA for {backend.model}, {2 * len(read)} mapped")
    return [] if 2 * len(read) == len(keys) else [f"{base}: {len(keys) - 2 * len(read)} keys are not mapped"]


def _layers(backend: Any) -> list[str]:
    """Of a LoRA, as diffusers names them."""
    parts = backend.blank(PART).named_modules()
    return [name for name, part in parts if isinstance(part, torch.nn.Linear) and re.fullmatch(backend.targets, name)]


def _names(base: str) -> list[str]:
    """Layers of a LoRA that ComfyUI's table for FLUX.1 and its relatives lacks."""
    from comfy import utils

    backend = find_backend(base, None, None)
    config = backend.config(PART)
    sizes = {"depth": config["num_layers"], "depth_single_blocks": config["num_single_layers"]}
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return _missing(backend, utils.flux_to_diffusers(sizes | {"hidden_size": width}))


def _krea_names() -> list[str]:
    """Layers of a LoRA that its table for Krea 2 lacks."""
    from comfy import utils

    backend = find_backend("krea-2", None, None)
    return _missing(backend, utils.krea2_to_diffusers({"layers": backend.config(PART)["num_layers"]}))


def _missing(backend: Any, known: Collection[str]) -> list[str]:
    """A fault if layers are not among the weights that a table of ComfyUI names."""
    layers = _layers(backend)
    missing = [layer for layer in layers if f"{layer}.weight" not in known]
    print(f"keys: {len(layers)} layers of a LoRA for {backend.BASE}, {len(layers) - len(missing)} mapped")
    return [f"{backend.BASE}: {len(missing)} layers are not mapped, such as {missing[0]}"] if missing else []


def _unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """ComfyUI's words for diffusers' config of a FLUX.1 transformer."""
    heads = config["num_attention_heads"]
    return {
        "image_model": "flux",
        "in_channels": config["in_channels"] // 4,
        "out_channels": config["in_channels"] // 4,
        "vec_in_dim": config["pooled_projection_dim"],
        "context_in_dim": config["joint_attention_dim"],
        "hidden_size": heads * config["attention_head_dim"],
        "mlp_ratio": 4.0,
        "num_heads": heads,
        "depth": config["num_layers"],
        "depth_single_blocks": config["num_single_layers"],
        "axes_dim": list(config["axes_dims_rope"]),
        "theta": 10_000,
        "patch_size": 2,
        "qkv_bias": True,
        "guidance_embed": config["guidance_embeds"],
    }


# ---- 3: noise levels


def _noise_levels(nodes: dict[str, Any]) -> list[str]:
    from comfy import samplers

    faults = []
    width, height = CANVAS
    for base, kind in (
        ("flux-1", "ModelSamplingFlux"),
        ("z-image", "ModelSamplingAuraFlow"),
        ("flux-2-klein", "ModelSamplingAuraFlow"),
        ("sd-3.5", "ModelSamplingSD3"),
    ):
        backend = find_backend(base, None, None)
        ours = backend.noise_levels(20, backend.tokens(CANVAS))
        known = backend.noise_shift(20, backend.tokens(CANVAS))
        base_shift, max_shift = known.ends or (0.0, 0.0)
        shift: dict[str, float] = {"shift": known.factor}
        if known.ends:
            shift = {"base_shift": base_shift, "max_shift": max_shift, "width": width, "height": height}
        model = _model()
        for name, patched in (("with", _call(nodes[kind], model=model, **shift)[0]), ("without", model)):
            sampling = patched.get_model_object("model_sampling")
            theirs = samplers.calculate_sigmas(sampling, SCHEDULERS[known.spacing], 20)
            apart = float((theirs - ours).abs().max())
            print(f"noise levels of {base}, {name} {kind}: at most {apart:.5f} apart from ours")
            if (apart > SHIFT_TOLERANCE) == (name == "with"):
                faults.append(f"noise levels of {base}, {name} {kind}: {apart:.5f} apart")
    return faults


def _stretched(nodes: dict[str, Any]) -> list[str]:
    """The levels of the node that a workflow has for Qwen-Image, and of every other scheduler with its shift alone."""
    from comfy import samplers

    backend = find_backend("qwen-image", None, None)
    ours = backend.noise_levels(20, backend.tokens(CANVAS))
    graph = workflow(backend, _drawing())
    (inputs,) = (node["inputs"] for node in graph.values() if node["class_type"] == "LTXVScheduler")
    apart = float((_call(nodes["LTXVScheduler"], **inputs)[0] - ours).abs().max())
    print(f"noise levels of qwen-image, with LTXVScheduler: at most {apart:.5f} apart from ours")
    low, high = backend.noise_shift(20, backend.tokens(CANVAS)).ends or (0.0, 0.0)
    size = {"width": CANVAS[0], "height": CANVAS[1]}
    patched = _call(nodes["ModelSamplingFlux"], model=_model(), base_shift=low, max_shift=high, **size)[0]
    sampling = patched.get_model_object("model_sampling")
    for name in samplers.SCHEDULER_NAMES:
        theirs = samplers.calculate_sigmas(sampling, name, 20)
        far = f"at most {float((theirs - ours).abs().max()):.5f} apart" if len(theirs) == len(ours) else "other steps"
        print(f"noise levels of qwen-image, with ModelSamplingFlux and {name}: {far}")
    return [] if apart <= SHIFT_TOLERANCE else [f"noise levels of qwen-image: {apart:.5f} apart"]


# ---- 4: pictures


def _model() -> Any:
    """The miniature's transformer in ComfyUI's own model, with its VAE's scale."""
    from comfy import model_detection, model_patcher, supported_models

    backend = find_backend("flux-1", str(MINIATURE), None)
    config = supported_models.Flux(_unet_config(dict(backend.config("transformer"))) | {"dtype": torch.float32})
    model = config.get_model({}, "")
    with backend.loaded(["transformer"], torch.float32, "cpu") as parts:
        weights = model_detection.convert_diffusers_mmdit(parts["transformer"].state_dict(), "")
    missing, unexpected = model.diffusion_model.load_state_dict(weights, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    vae = backend.config("vae")
    model.latent_format.scale_factor, model.latent_format.shift_factor = vae["scaling_factor"], vae["shift_factor"]
    cpu = torch.device("cpu")
    return model_patcher.ModelPatcher(model.eval(), load_device=cpu, offload_device=cpu)


class _Vae:
    """The miniature's VAE as ComfyUI's nodes call one: pixels B x H x W x 3 in 0..1, latents unscaled."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        vae = backend.config("vae")
        self._scale, self._shift = vae["scaling_factor"], vae["shift_factor"]

    def decode(self, latents: Any) -> Any:
        with self._backend.loaded(["vae"], torch.float32, "cpu") as parts:
            scaled = (latents - self._shift) * self._scale
            return self._backend.decode_image(parts["vae"], scaled).permute(0, 2, 3, 1)

    def encode(self, pixels: Any) -> Any:
        with self._backend.loaded(["vae"], torch.float32, "cpu") as parts:
            latents, _ = self._backend.encode_image(parts["vae"], pixels[..., :3].permute(0, 3, 1, 2) * 2 - 1)
        return latents / self._scale + self._shift


def _drawn(nodes: dict[str, Any], home: Path) -> list[str]:
    from training.job import find_backend

    backend, lora = find_backend("flux-1", str(MINIATURE), None), _lora(home)
    faults = []
    photo = _photo((128, 64))
    for given in ((), (1,)):
        photos = {panel + 1: photo for panel in given}
        ours, base = (
            iclora.generate({lora: strength}, PROMPT, given=photos, keep_given=bool(given))[0]
            for strength in (1.0, 0.0)
        )
        for panel in given:
            photo.save(home / f"panel{panel + 1}.png")
        drawing = _drawing(given, layout=_card(backend).shown, seed=seed_of(0, "generate"))
        saved = _run(nodes, workflow(backend, drawing), backend, home)
        apart = np.abs(np.asarray(ours.grid, int) - saved[0])
        effect = np.abs(np.asarray(ours.grid, int) - np.asarray(base.grid, int))
        words = f"around panel {given[0] + 1}" if given else "text alone"
        print(
            f"pictures, {words}: at most {apart.max()} of 255 apart, {apart.mean():.3f} on average; "
            f"the LoRA itself changes {effect.mean():.1f} on average"
        )
        if apart.max() > PICTURE_TOLERANCE:
            faults.append(f"{words}: the pictures are {apart.max()} apart")
        for number, panel in enumerate(ours.panels):
            if np.abs(np.asarray(panel, int) - saved[number + 1]).max() > PICTURE_TOLERANCE:
                faults.append(f"{words}: panel {number + 1} is cut out elsewhere")
        for panel in given:
            if not np.array_equal(np.asarray(photo.convert("RGB"), int), saved[panel + 1]):
                faults.append(f"{words}: the given panel was changed")
    return faults


def _card(backend: Any) -> Any:
    of = task.load("storyboard")
    return Card(
        iclora="0",
        task=of.name,
        layout=of.grid_layout,
        scales=(0.125,),
        prefix=of.prefix,
        markers=of.markers,
        condition=(),
        family=backend.BASE,
        base=MINIATURE_NAME,
        weights=backend.identity("transformer"),
        licence="unknown",
        data="",
        grids=0,
        step=0,
        averaged=True,
        recipe={"conditional": 0.0},
    )


def _lora(home: Path) -> Path:
    """A LoRA of random weights on all layers that we train, strong enough to change the picture."""
    backend = find_backend("flux-1", str(MINIATURE), None)
    rng = torch.Generator().manual_seed(0)
    with backend.loaded(["transformer"], torch.float32, "cpu") as parts:
        weights = lora.attach(parts["transformer"], backend, Config(rank=RANK, alpha=RANK))
        drawn = {name: STRENGTH * torch.randn(weight.shape, generator=rng) for name, weight in weights.items()}
    file = home / "loras" / "storyboard.safetensors"
    lora_file.write(file, drawn, 1.0, _card(backend))
    return file


def _run(nodes: dict[str, Any], graph: dict[str, Any], backend: Any, home: Path) -> list[Any]:
    """Runs a workflow node by node, as ComfyUI does; returns the saved pictures: grid, then panels."""
    import folder_paths

    shutil.rmtree(home / "output", ignore_errors=True)
    folder_paths.set_output_directory(str(home / "output"))
    done: dict[str, Any] = {}
    saved = []
    for number, node in graph.items():
        inputs = {
            key: done[value[0]][value[1]] if isinstance(value, list) else value for key, value in node["inputs"].items()
        }
        kind = node["class_type"]
        if kind == "CLIPTextEncode":
            with backend.loaded(backend.ENCODERS, torch.float32, "cpu") as parts:
                (read,) = backend.encode_text(parts, [inputs["text"]])
            done[number] = ([[read["text"][None], {"pooled_output": read["pooled"][None]}]],)
        elif kind in LOADED:
            done[number] = ({"UNETLoader": _model, "VAELoader": lambda: _Vae(backend)}.get(kind, lambda: None)(),)
        else:
            done[number] = _call(nodes[kind], **inputs)
        if kind == "SaveImage":
            (file,) = (home / "output").rglob(f"{inputs['filename_prefix'].rpartition('/')[2]}_*.png")
            with Image.open(file) as picture:
                saved.append(np.asarray(picture.convert("RGB"), int))
    return saved


def _call(kind: Any, **inputs: Any) -> Any:
    """What a node gives, of either of ComfyUI's kinds of nodes."""
    given = getattr(kind(), kind.FUNCTION)(**inputs)
    return getattr(given, "result", given)


if __name__ == "__main__":
    main()
