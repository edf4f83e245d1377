"""What `iclora generate` draws, as a workflow of ComfyUI's stock nodes in the API format, which its page opens too.

Names of nodes and inputs: nodes.py and comfy_extras of https://github.com/Comfy-Org/ComfyUI; files and samplers: its
official templates (comfyui-workflow-templates-json 0.1.123). The noise is ComfyUI's own, so a seed gives another
picture there than here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.families.base import ComfyUI
from pipeline.records import Layout
from training.backends.base import Backend, NoiseShift
from training.sampling import GivenAs

Link = list[Any]
"""An output of a node: the node's id and the output's number."""

SCHEDULERS = {"even": "simple", "beta": "beta", "to the lowest": "normal"}
"""ComfyUI's names for how noise levels are spaced."""
SEEDS = 1 << 64
"""So many seeds ComfyUI's noise has."""
COMPOSITE = 8
"""Pixels per latent by which LatentComposite counts, whatever the VAE."""


@dataclass(frozen=True)
class Drawing:
    """What a workflow draws."""

    name: str
    """Start of the names of saved pictures."""
    prompt: str
    layout: Layout
    steps: int
    guidance: float
    """As the model's own pipeline in diffusers counts it."""
    seed: int = 0
    loras: Mapping[str, float] = field(default_factory=dict)
    """Strengths by the names of their files in models/loras."""
    given: Mapping[int, str] = field(default_factory=dict)
    """Names of pictures in ComfyUI's input folder by panel, from 0. They are noised along."""
    keep_given: bool = False
    """Whether given pictures are pasted back, unchanged to the pixel."""
    references: tuple[str, ...] = ()
    """Names of reference images in ComfyUI's input folder."""


def obstacle(backend: Backend) -> str:
    """Why there can be no workflow for a base, as half a sentence; empty if there can be one."""
    if backend.is_miniature:
        return "ComfyUI can't load the miniature"
    if backend.family.comfyui is None:
        return f"ComfyUI's files for {backend.BASE} are not known here"
    return ""


CLEAN = (
    "ComfyUI's stock nodes show the model given panels with noise at every step, and this LoRA has learnt them clean"
)
"""Why there can be no workflow with given panels for a conditional LoRA."""


def draws_around(backend: Backend, given_as: GivenAs) -> bool:
    """Whether stock nodes show given panels as the model is shown them here."""
    return backend.READS_GIVEN or given_as == "noised"


def shows_references(backend: Backend) -> bool:
    """Whether it is known how stock nodes show reference images to a base."""
    return backend.family.comfyui is not None and bool(backend.family.comfyui.references)


def workflow(backend: Backend, drawing: Drawing) -> dict[str, Any]:
    """The nodes by their ids.

    Args:
        backend: one without an `obstacle`.
    """
    assert backend.family.comfyui is not None, obstacle(backend)
    about = backend.family.comfyui.of(backend.model)
    graph = _Graph()
    base, clip, vae = _loaded(graph, backend, about)
    tokens = backend.tokens(drawing.layout.canvas)
    shift = backend.noise_shift(drawing.steps, tokens)
    model = _model(graph, base, about, drawing, shift)
    positive, negative, cfg = _conditions(graph, backend, about, drawing, (clip, vae))
    pictures = {panel: _given(graph, drawing, panel, name) for panel, name in sorted(drawing.given.items())}
    if backend.READS_GIVEN:
        conditions = (positive, negative)
        positive, negative, latent = _beside(graph, drawing, pictures, vae, conditions)
    else:
        latent = _canvas(graph, backend, about, drawing, pictures, vae)
    seen = {"model": model, "cfg": cfg, "positive": positive, "negative": negative, "latent_image": latent}
    sampled = _sampled(graph, drawing, shift, tokens, seen)
    grid = graph.add("VAEDecode", "the grid", samples=sampled, vae=vae)
    if drawing.keep_given:
        grid = _pasted(graph, drawing.layout, grid, pictures)
    _save(graph, drawing, grid)
    return graph.nodes


class _Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def add(self, kind: str, title: str, **inputs: Any) -> Link:
        """Adds a node; returns its first output."""
        number = str(len(self.nodes) + 1)
        self.nodes[number] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        return [number, 0]


def _loaded(graph: _Graph, backend: Backend, about: ComfyUI) -> tuple[Link, Link, Link]:
    """The base, its text encoders and its VAE."""
    name = backend.folder.name if backend.folder else backend.model.rpartition("/")[2]
    known = (backend.family.model, *about.others)
    file = about.model if backend.model in known else f"{name}.safetensors"
    if not about.encoders:
        number, _ = graph.add("CheckpointLoaderSimple", f"{file} in models/checkpoints", ckpt_name=file)
        return [number, 0], [number, 1], [number, 2]
    vae = graph.add("VAELoader", f"{about.vae} in models/vae", vae_name=about.vae)
    title = f"{file} in models/diffusion_models"
    model = graph.add("UNETLoader", title, unet_name=file, weight_dtype="default")
    where = f"{', '.join(about.encoders)} in models/text_encoders"
    if len(about.encoders) == 1:
        return model, graph.add("CLIPLoader", where, clip_name=about.encoders[0], type=about.encoder_type), vae
    first, second = about.encoders
    clip = graph.add("DualCLIPLoader", where, clip_name1=first, clip_name2=second, type=about.encoder_type)
    return model, clip, vae


def _model(graph: _Graph, model: Link, about: ComfyUI, drawing: Drawing, shift: NoiseShift) -> Link:
    """The base with the LoRAs and the noise levels of the canvas. Left to itself, ComfyUI takes those of a square of a
    million pixels for every canvas of FLUX.1."""
    for lora, strength in drawing.loras.items():
        model = graph.add(
            "LoraLoaderModelOnly", f"{lora} in models/loras", model=model, lora_name=lora, strength_model=strength
        )
    if about.rescaled:
        model = graph.add(about.rescaled, "guidance, rescaled", model=model, strength=1.0)
    if shift.terminal is not None:  # the levels come from a node of their own
        return model
    if shift.ends:
        width, height = drawing.layout.canvas
        return graph.add(
            "ModelSamplingFlux",
            "noise levels of the canvas",
            model=model,
            base_shift=shift.ends[0],
            max_shift=shift.ends[1],
            width=width,
            height=height,
        )
    return graph.add(about.noise_levels, "noise levels", model=model, shift=shift.factor)


def _sampled(graph: _Graph, drawing: Drawing, shift: NoiseShift, tokens: int, seen: Mapping[str, Any]) -> Link:
    """The latents of the grid.

    Args:
        tokens: of the canvas.
        seen: inputs that both samplers have.
    """
    title, seed = "draw the grid", drawing.seed % SEEDS
    if shift.terminal is None:
        levels = {"steps": drawing.steps, "scheduler": SCHEDULERS[shift.spacing]}
        strength = {"denoise": 1.0}  # less leaves panels blank: ali-vilab/In-Context-LoRA#8
        return graph.add("KSampler", title, seed=seed, sampler_name="euler", **levels, **strength, **seen)
    # The one node that stretches levels. With equal ends it shifts by the same factor whatever it takes for the canvas.
    mu = shift.log_factor(tokens)
    sigmas = graph.add(
        "LTXVScheduler",
        "noise levels of the canvas, stretched",
        steps=drawing.steps,
        max_shift=mu,
        base_shift=mu,
        stretch=True,
        terminal=shift.terminal,
    )
    sampler = graph.add("KSamplerSelect", "Euler's method", sampler_name="euler")
    return graph.add("SamplerCustom", title, add_noise=True, noise_seed=seed, sampler=sampler, sigmas=sigmas, **seen)


def _conditions(
    graph: _Graph, backend: Backend, about: ComfyUI, drawing: Drawing, parts: tuple[Link, Link]
) -> tuple[Link, Link, float]:
    """What the prompt and its opposite give, both beside the reference images, and the strength of classifier-free
    guidance; 1 is none.

    Args:
        parts: text encoders and VAE.
    """
    clip, vae = parts
    images = [_reference(graph, about, number, name) for number, name in enumerate(drawing.references, 1)]
    if about.references in ("", "ReferenceLatent"):
        read = _one_by_one(graph, clip, vae, images)
    else:
        read = _with_all(graph, about, clip, vae, images)
    text = read("the joint caption", drawing.prompt)
    if backend.guidance == "classifier-free":
        return text, read("the empty caption", ""), drawing.guidance - backend.NEUTRAL + 1
    unused = graph.add("ConditioningZeroOut", "not used at cfg 1", conditioning=text)
    if backend.guidance == "embedded":
        text = graph.add("FluxGuidance", "guidance", conditioning=text, guidance=drawing.guidance)
    return text, unused, 1.0


def _reference(graph: _Graph, about: ComfyUI, number: int, name: str) -> Link:
    """A reference image as the model is shown it."""
    image = graph.add("LoadImage", f"reference image {number}", image=name)
    if about.reference_scale:
        image = graph.add(about.reference_scale, f"reference image {number}, scaled", image=image)
    return image


def _one_by_one(graph: _Graph, clip: Link, vae: Link, images: Sequence[Link]) -> Callable[[str, str], Link]:
    """Reads a caption, beside which reference images are put."""
    latents = [
        graph.add("VAEEncode", f"reference image {number}, encoded", pixels=image, vae=vae)
        for number, image in enumerate(images, 1)
    ]

    def read(title: str, text: str) -> Link:
        condition = graph.add("CLIPTextEncode", title, text=text, clip=clip)
        for number, latent in enumerate(latents, 1):
            beside = f"{title}, beside reference image {number}"
            condition = graph.add("ReferenceLatent", beside, conditioning=condition, latent=latent)
        return condition

    return read


def _with_all(
    graph: _Graph, about: ComfyUI, clip: Link, vae: Link, images: Sequence[Link]
) -> Callable[[str, str], Link]:
    """Reads a caption together with all reference images, which the text encoder sees as well."""
    shown = {f"image{number}": image for number, image in enumerate(images, 1)}

    def read(title: str, text: str) -> Link:
        condition = graph.add(about.references, title, prompt=text, clip=clip, vae=vae, **shown)
        if about.reference_method and images:
            condition = graph.add(
                "FluxKontextMultiReferenceLatentMethod",
                f"{title}, beside clean reference images",
                conditioning=condition,
                reference_latents_method=about.reference_method,
            )
        return condition

    return read


def _given(graph: _Graph, drawing: Drawing, panel: int, name: str) -> Link:
    """A given picture in its panel's size."""
    loaded = graph.add("LoadImage", f"what panel {panel + 1} shows", image=name)
    layout = drawing.layout
    return graph.add(
        "ImageScale",
        f"panel {panel + 1}, cropped",
        image=loaded,
        upscale_method="lanczos",
        width=layout.panel_width,
        height=layout.panel_height,
        crop="center",
    )


def _canvas(
    graph: _Graph, backend: Backend, about: ComfyUI, drawing: Drawing, pictures: Mapping[int, Link], vae: Link
) -> Link:
    """The empty canvas, with the given pictures and a mask of what is to be drawn.

    Pictures are encoded one by one: on a canvas, what surrounds them would get into their latents.
    """
    width, height = drawing.layout.canvas
    latents = graph.add(about.latent, "the canvas", width=width, height=height, batch_size=1)
    if not pictures:
        return latents
    for panel, picture in pictures.items():
        encoded = graph.add("VAEEncode", f"panel {panel + 1}", pixels=picture, vae=vae)
        x, y = (pixels // backend.STRIDE * COMPOSITE for pixels in drawing.layout.boxes[panel][:2])
        title = f"with panel {panel + 1}"
        latents = graph.add("LatentComposite", title, samples_to=latents, samples_from=encoded, feather=0, x=x, y=y)
    return graph.add("SetLatentNoiseMask", "what is to be drawn", samples=latents, mask=_mask(graph, drawing))


def _beside(
    graph: _Graph, drawing: Drawing, pictures: Mapping[int, Link], vae: Link, conditions: tuple[Link, Link]
) -> tuple[Link, Link, Link]:
    """The conditions with the given pictures beside them, and the empty canvas."""
    positive, negative = conditions
    width, height = drawing.layout.canvas
    pixels = graph.add("EmptyImage", "the canvas", width=width, height=height, batch_size=1, color=0)
    inputs = {"pixels": _pasted(graph, drawing.layout, pixels, pictures), "mask": _mask(graph, drawing)}
    title = "what is given, and what is to be drawn"
    number, _ = graph.add(
        "InpaintModelConditioning", title, positive=positive, negative=negative, vae=vae, **inputs, noise_mask=False
    )
    return [number, 0], [number, 1], [number, 2]


def _mask(graph: _Graph, drawing: Drawing) -> Link:
    """White where there is something to draw."""
    layout = drawing.layout
    width, height = layout.canvas
    mask = graph.add("SolidMask", "draw everything ...", value=1.0, width=width, height=height)
    side = {"width": layout.panel_width, "height": layout.panel_height}
    for panel in sorted(drawing.given):
        place = dict(zip("xy", layout.boxes[panel][:2], strict=True))
        kept = graph.add("SolidMask", f"panel {panel + 1}", value=1.0, **side)
        title = f"... but panel {panel + 1}"
        mask = graph.add("MaskComposite", title, destination=mask, source=kept, operation="subtract", **place)
    return mask


def _pasted(graph: _Graph, layout: Layout, grid: Link, pictures: Mapping[int, Link]) -> Link:
    for panel, picture in pictures.items():
        x, y = layout.boxes[panel][:2]
        grid = graph.add(
            "ImageCompositeMasked",
            f"with panel {panel + 1} as given",
            destination=grid,
            source=picture,
            x=x,
            y=y,
            resize_source=False,
        )
    return grid


def _save(graph: _Graph, drawing: Drawing, grid: Link) -> None:
    """The grid and its panels. ImageCrop is deprecated, and is the one that older and newer versions both have."""
    graph.add("SaveImage", "save the grid", images=grid, filename_prefix=f"{drawing.name}/grid")
    for panel, (left, top, right, bottom) in enumerate(drawing.layout.boxes, 1):
        box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        cut = graph.add("ImageCrop", f"panel {panel}", image=grid, **box)
        graph.add("SaveImage", f"save panel {panel}", images=cut, filename_prefix=f"{drawing.name}/panel{panel}")
