"""What this machine has: versions, device, disk, and which default weights."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from iclora import report
from pipeline.plugins import extras

CLIP = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
"""Where open_clip downloads its tag laion2b_s34b_b79k from."""


@dataclass(frozen=True)
class Weights:
    """Default weights of one kind of model."""

    kind: str
    """captioner, scorer or base."""
    repo: str
    """Their name on the Hugging Face hub."""
    here: bool
    """Whether they are in this machine's hub cache."""


@dataclass(frozen=True)
class Machine:
    """What there is to work with."""

    device: str
    """cuda, mps or cpu."""
    threads: int
    disk_free: float
    """GiB free where the current folder is."""
    versions: dict[str, str]
    """By package."""
    weights: tuple[Weights, ...]


def doctor() -> Machine:
    """What this machine has; downloads nothing."""
    from huggingface_hub import try_to_load_from_cache

    from captioners.local import Options as Vlm
    from pipeline import families

    files = (
        ("captioner", Vlm().model, "config.json"),
        ("scorer", CLIP, "open_clip_model.safetensors"),
        ("base", families.load("flux-1").model, "model_index.json"),
    )
    weights = [Weights(kind, repo, isinstance(try_to_load_from_cache(repo, file), str)) for kind, repo, file in files]
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Machine(*_device(), free, report.versions(), tuple(weights))


def _device() -> tuple[str, int]:
    """The device that models run on, and the threads of a CPU."""
    if extras.version("torch") is None:
        return "cpu", os.cpu_count() or 1
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return device, torch.get_num_threads()
