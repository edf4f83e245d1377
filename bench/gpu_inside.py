"""The processes that `bench.gpu` starts: one prepares a base model and the data, one trains or draws on the clock.

    python -m bench.gpu_inside ORDER.json

An order names what to do, with which settings, and the file that takes the result. That file is written anew whenever
something is known, so that a process that is killed leaves what it has found.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bench import gpu_models, gpu_theirs
from bench.gpu import VARIANTS, Order

PACKAGES = ("torch", "transformers", "diffusers", "peft", "accelerate", "bitsandbytes")
GRIDS = 2
WARM = 2
"""Steps after the first that do not count."""
TRAINED = 1 + WARM + 5
"""Steps of a training."""
DRAWN = 6
"""Steps from noise to an image."""
USUAL = 20
"""Steps of an image that is counted per minute, as `iclora generate` takes by default."""
GUIDANCE = 3.5
SETTINGS: dict[str, Any] = {
    "steps": TRAINED,
    "batch": 1,
    "micro_batch": 1,
    "base_weights": "bf16",
    "checkpointing": True,
    "caption_dropout": 0.0,
    "samples": 0,
    **dict.fromkeys(("validate_every", "sample_every", "save_every"), 1_000),
}
"""Of every training, unless its variant says otherwise; the rest are the toolkit's defaults."""
SMALL = {"scales": [0.125], "smallest_panel": 48, "truncate": True}
LINES = 12
"""Of a traceback that a failed measurement keeps."""


class Result:
    """What a process finds, in a file that is always whole."""

    def __init__(self, file: Path) -> None:
        self.file, self.found = file, dict[str, Any]()

    def add(self, **facts: Any) -> None:
        self.found |= facts
        self.found["host_peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.found), encoding="utf-8")
        part.replace(self.file)

    def add_memory(self, phase: str) -> None:
        """Counts the GPU's peaks since the last call as those of a phase, and starts counting anew."""
        if not torch.cuda.is_available():
            return
        peaks = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        torch.cuda.reset_peak_memory_stats()
        memory = self.found.setdefault("memory", {})
        before = memory.get(phase, {})
        memory[phase] = {kind: max(peak, before.get(kind, 0)) for kind, peak in peaks.items()}


def main() -> None:
    order = Order(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    result = Result(order.found)
    actions: dict[str, Callable[[Order, Result], None]] = {
        "about": about,
        "prepare": prepare,
        "train": train,
        "draw": draw,
        "diffusers": gpu_theirs.train,
    }
    try:
        if order.small and order.family:
            prepare(order, result)
        actions[order.action](order, result)
    except Exception as error:  # whatever it is, it is what this measurement has come to
        traceback.print_exc()
        result.add_memory("failure")
        lines = traceback.format_exc().splitlines()[-LINES:]
        result.add(error=f"{type(error).__name__}: {error}".partition("\n")[0], traceback=lines)
        sys.exit(1)


def about(_: Order, result: Result) -> None:
    """The machine, its GPU first, and the families that can be trained on it, the default first."""
    from pipeline import families
    from training.job import USUAL as DEFAULT
    from training.job import backends_of

    every = sorted((one.BASE for one in backends_of(None)), key=lambda name: (name != DEFAULT, name))
    theirs = {name: families.load(name).trainers.get("diffusers", {}).get("script") for name in every}
    gpu = torch.cuda.is_available()
    facts: dict[str, Any] = {
        "gpu": gpu,
        "card": torch.cuda.get_device_name() if gpu else f"no GPU, {os.cpu_count()} {platform.machine()} cores",
        "card_memory": torch.cuda.get_device_properties(0).total_memory if gpu else 0,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "families": every,
        "scripts": {name: script for name, script in theirs.items() if script},
    }
    result.add(**facts, **{package: _version(package) for package in PACKAGES})


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# ---- what is measured with


def prepare(order: Order, result: Result) -> None:
    """Writes the base model of a family and the data of a task, where they are not there yet."""
    gpu_models.make(order.family, order.model, small=order.small)
    draw_grids(order.data, order.task)
    result.add(prepared=True)


def draw_grids(folder: Path, task_name: str) -> None:
    """A data set of smooth random images at the task's full size, with joint captions that have its markers."""
    import numpy as np
    from PIL import Image

    from pipeline import task

    if folder.exists():
        return
    of, part = task.load(task_name), folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "train").mkdir(parents=True)
    for number in range(GRIDS):
        coarse = np.random.default_rng(number).integers(0, 256, (18, 24, 3), np.uint8)
        image = Image.fromarray(coarse).resize(of.grid_layout.canvas, Image.Resampling.BICUBIC)
        image.save(part / "train" / f"{number}.png", compress_level=1)
        (part / "train" / f"{number}.txt").write_text(caption(of, number), encoding="utf-8")
    part.rename(folder)


def caption(task: Any, number: int) -> str:
    """A joint caption of some 400 letters, each of which is a token."""
    from pipeline.text import grammar

    rng = random.Random(number)
    words = ("river", "window", "lantern", "orchard", "market", "station", "ladder", "garden", "harbour", "violin")
    texts = [f"a view of the {' and the '.join(rng.sample(words, 2))}" for _ in task.markers]
    return grammar.render("the same place seen again", texts, [], task)


# ---- on the clock


def train(order: Order, result: Result) -> None:
    """A training of a few steps, as `iclora train` runs it: plan, checks, encoding, steps, the LoRA's files."""
    from training import checks, loop, planning
    from training.processes import Processes

    job, processes = make_job(order), Processes()
    plan = planning.make(job, processes.device)
    width, height = job.shown.canvas
    result.add(
        canvas=[width, height],
        tokens=plan.tokens[job.shown],
        text=plan.text,
        plan={phase.name: phase.total for phase in plan.phases},
    )
    checks.run(job, processes.device)
    ends: list[float] = []

    def progress(phase: str, *_: int) -> None:
        now = time.monotonic()
        if phase != "training":
            result.add_memory("encoding")
            result.add(seconds_encoded=now - order.started)
            return
        ends.append(now)
        result.add_memory("steps" if ends[1:] else "loading and first step")
        result.add(**step_times(order, ends))

    outcome = loop.train(job, processes, progress)
    if processes.device.type == "cuda":
        free, every = torch.cuda.mem_get_info()
        result.add(besides=every - free - torch.cuda.memory_reserved())  # with other processes, if there are any
    if order.variant == "bf16":
        shutil.copy(outcome.file, order.lora)
    result.add(finished=True)


def make_job(order: Order) -> Any:
    """The training that an order describes, on one task's data with one family's model."""
    from pipeline import task
    from pipeline.cache import Cache
    from training import config, dataset
    from training.job import Job, find_backend

    settings = SETTINGS | (SMALL if order.small else {}) | {"model": str(order.model)} | dict(VARIANTS[order.variant])
    lines = [f"train.{key}={json.dumps(value)}" for key, value in settings.items()]
    of = task.load(order.task, [f"base={order.family}", *lines])
    wanted = config.load(of)
    return Job(
        task=of,
        config=wanted,
        data=dataset.read(order.data, of),
        backend=find_backend(of.base, wanted.model, wanted.revision),
        folder=order.run / "training",
        cache=Cache(order.run / "cache"),
    )


def step_times(order: Order, ends: Sequence[float]) -> dict[str, Any]:
    """Of the steps that ended at these times."""
    steps = [after - before for before, after in pairwise(ends)]
    median = statistics.median(steps[WARM:]) if steps[WARM:] else None
    return {"seconds_to_first_step": ends[0] - order.started, "steps": steps, "seconds_per_step": median}


def draw(order: Order, result: Result) -> None:
    """One grid, as `iclora generate` draws it with the LoRA that the plain training left."""
    from torch.nn.modules.module import register_module_forward_hook

    from pipeline import task
    from pipeline.errors import BadInput
    from training import generate
    from training.generator import Adapter, GenerationRequest, open_generator
    from training.processes import Processes
    from training.sampling import SamplingSettings

    if not order.lora.exists():
        raise BadInput(f"there is no LoRA to draw with; measure '{order.family} bf16 {order.task}' first.")
    device = Processes().device
    generator = open_generator([Adapter(order.lora)], str(order.model), SamplingSettings(DRAWN, GUIDANCE), device)
    result.add(canvas=list(generator.layout.canvas))
    ends: list[float] = []

    def note(module: torch.nn.Module, *_: object) -> None:
        if type(module).__name__.endswith("Transformer2DModel"):
            if device.type == "cuda":
                torch.cuda.synchronize()
            ends.append(time.monotonic())
            result.add_memory("steps")

    hook = register_module_forward_hook(note)
    (grid,) = generate.draw(generator, [GenerationRequest(caption(task.load(order.task), 0))])
    hook.remove()
    decoding = time.monotonic() - ends[-1]
    result.add_memory("decoding")
    passes = len(ends) // DRAWN  # with guidance some families take two a step
    steps = [after - before for before, after in pairwise(ends[passes - 1 :: passes])]
    result.add(
        seconds_to_first_step=ends[passes - 1] - order.started,
        steps=steps,
        seconds_per_step=statistics.median(steps),
        images_per_minute=60 / (USUAL * statistics.median(steps) + decoding),
        image=list(grid.size),
        finished=True,
    )


if __name__ == "__main__":
    main()
