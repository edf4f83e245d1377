"""What `iclora generate` draws, as a script of a few lines that needs diffusers and not iclora."""

from __future__ import annotations

import inspect

from training.backends.base import Backend
from training.handover.comfy import Drawing
from training.random_streams import seed_of

TEMPLATE = '''\
"""Draws an image set with {lora} by diffusers; needs torch, diffusers, transformers and peft.

    python {file} ["another joint caption"]
"""

import sys
from pathlib import Path

import torch
from diffusers import {pipeline}
{imports}
HERE = Path(__file__).parent
BASE, REVISION = {base!r}, {revision!r}
PROMPT = {prompt!r}
PANELS = {boxes!r}  # left, top, right, bottom
WIDTH, HEIGHT = {width}, {height}

on_gpu = torch.cuda.is_available()
pipeline = {pipeline}.from_pretrained(
    BASE, revision=REVISION, {dtype}=torch.bfloat16 if on_gpu else torch.float32
)
pipeline.load_lora_weights(HERE, weight_name={lora!r})
if on_gpu:
    pipeline.enable_model_cpu_offload()
grid = pipeline(
    prompt=sys.argv[1] if len(sys.argv) > 1 else PROMPT,
    width=WIDTH,
    height=HEIGHT,
    num_inference_steps={steps},
    {guided},
{more}    generator=torch.Generator().manual_seed({seed}),{noise}
).images[0].convert("RGB")
grid.save(HERE / "generated.png")
for number, box in enumerate(PANELS, 1):
    grid.crop(box).save(HERE / f"generated-{{number}}.png")
'''


def around_given(backend: Backend, *, references: bool) -> str:
    """Why there is no script for a LoRA that draws around given panels only, as half a sentence.

    Args:
        references: whether it only draws beside reference images instead.
    """
    if references:
        return "the LoRA draws beside reference images only; draw with 'iclora generate' and --reference"
    why = " without noise, which no pipeline of diffusers shows to a model"
    if backend.READS_GIVEN:
        why = f", which {backend.PIPELINE} takes as one picture with a mask"
    return f"the LoRA draws around given panels{why}; draw with 'iclora generate' and --given"


def obstacle(backend: Backend) -> str:
    """Why there can be no script for a base, as half a sentence; empty if there can be one."""
    if backend.PIPELINE_NEEDS_REFERENCES:
        return f"{backend.PIPELINE} draws nothing without a reference image; draw with 'iclora generate'"
    return ""


def script(backend: Backend, revision: str | None, drawing: Drawing, file: str) -> str:
    """The script's text.

    Args:
        revision: commit of a base on the hub.
        drawing: with one LoRA, which lies beside the script, and no given pictures.
        file: the script's own name.
    """
    import diffusers

    width, height = drawing.layout.canvas
    guided = backend.pipeline_guidance(drawing.guidance)
    (lora,) = drawing.loras
    pipeline = getattr(diffusers, backend.PIPELINE)
    limited = "max_sequence_length" in inspect.signature(pipeline.__call__).parameters
    more = {**({"max_sequence_length": backend.text_limit} if limited else {}), **backend.CALL}
    documented = diffusers.DiffusionPipeline.from_pretrained.__doc__ or ""
    return TEMPLATE.format(
        lora=lora,
        file=file,
        pipeline=backend.PIPELINE,
        dtype="torch_dtype" if "torch_dtype (" in documented else "dtype",  # renamed by diffusers 0.42
        base=str(backend.folder.resolve()) if backend.folder else backend.model,
        revision=revision,
        prompt=drawing.prompt,
        boxes=list(drawing.layout.boxes),
        width=width,
        height=height,
        steps=drawing.steps,
        guided=",\n    ".join(f"{name}={value!r}" for name, value in guided.items()),
        imports="from PIL import Image\n" if any("Image." in value for value in backend.CALL.values()) else "",
        more="".join(f"    {key}={value},\n" for key, value in more.items()),
        seed=seed_of(drawing.seed, "generate"),
        # A pipeline that encodes a picture first takes other numbers from the generator.
        noise="" if backend.READS_GIVEN else f"  # the noise of `iclora generate --seed {drawing.seed}`",
    )
