"""What this machine has: versions, device, disk, and which default weights; and what its files can't be used for."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from iclora import report
from pipeline import weights
from pipeline.cache import shared_folder
from pipeline.plugins import extras

CLIP = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
"""Where open_clip downloads its tag laion2b_s34b_b79k from."""


USES: dict[str, tuple[str, str]] = {
    "sidecar": ("", ""),
    "server": ("server", ""),
    "local": ("local", "captioner"),
    "open_clip": ("open-clip", "scorer"),
    "review --serve": ("page", ""),
    "train": ("train", "base"),
    "generate": ("train", "base"),
}
"""Captioners, the scorer and commands, each with the extra and the kind of default weights that it needs."""


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

    def missing(self) -> dict[str, list[str]]:
        """By use, what it lacks here, with the command that brings it; nothing where the machine is ready for it."""
        found: dict[str, list[str]] = {}
        for use, (extra, kind) in USES.items():
            lacking = [f"pip install 'iclora[{extra}]'"] if extra and extras.missing(extra) else []
            lacking += [f"hf download {one.repo}" for one in self.weights if one.kind == kind and not one.here]
            found[use] = [*lacking, *(["a GPU"] if kind == "base" and self.device == "cpu" else [])]
        return found

    def verdict(self) -> list[str]:
        """What the machine is ready for, and what the rest lacks, in lines."""
        missing = self.missing()
        ready = ", ".join(use for use, lacking in missing.items() if not lacking)
        return [
            f"ready for: {ready}",
            *(f"missing for {use}: {'; '.join(lacking)}" for use, lacking in missing.items() if lacking),
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it, with the verdict as `missing`: by use what it lacks, an empty list where it is ready."""
        return asdict(self) | {"missing": self.missing()}


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

    return weights.device(), torch.get_num_threads()


FULL = {errno.ENOSPC, errno.EDQUOT}
"""Errors of a disk or a quota that is used up."""


def unusable(error: OSError) -> str:
    """A sentence on a file that can't be read or written: which, why, and the way on."""
    name, why = error.filename, error.strerror or str(error)
    if error.errno not in FULL:
        return f"{name} can't be used: {why}." if name else f"a file can't be read or written: {why}."
    folder, free = min((_free(Path(place)) for place in _places(error)), key=lambda found: found[1])
    return (
        f"{name or 'a file'} can't be written: {why} ({free / 2**20:,.0f} MiB free for {folder}); free some space and "
        "type the same again, which resumes, or name a folder on another disk (--out, or ICLORA_CACHE for the cache "
        "that training runs share)."
    )


def _places(error: OSError) -> list[str | Path]:
    """Where the file is; if that is not known, wherever files are written."""
    return [error.filename] if error.filename else [Path.cwd(), tempfile.gettempdir(), shared_folder()]


def _free(place: Path) -> tuple[Path, int]:
    """The nearest folder that exists, and the bytes that are free there."""
    folder = next(each for each in (place.absolute(), *place.absolute().parents) if each.is_dir())
    return folder, shutil.disk_usage(folder).free
