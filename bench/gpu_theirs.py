"""diffusers' own DreamBooth script of a family on the data of a measurement, timed from outside by its progress bar."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

if TYPE_CHECKING:
    from bench.gpu import Order
    from bench.gpu_inside import Result

STEPS = 8
WARM = 3
"""Steps that do not count."""
PAUSE = 0.05
"""Seconds between two looks at the progress bar and at the card's memory."""
BAR = re.compile(rb"Steps:.*?(\d+)/\d+")
LINES = 3


def train(order: Order, result: Result) -> None:
    """A training of a few steps by their script, with the settings of the variant bf16.

    Raises:
        RuntimeError: the script failed.
    """
    data = _data(order)
    command = [sys.executable, order.script, *arguments(order, data), f"--output_dir={order.run / 'theirs'}"]
    log = order.home / "theirs.log"
    before, most, ends = _used(), 0, list[float]()
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=order.run, stdout=file, stderr=file, env=dict(os.environ))
        while process.poll() is None:
            time.sleep(PAUSE)
            most = max(most, _used() - before)
            done = max(map(int, BAR.findall(log.read_bytes())), default=0)
            ends += [time.monotonic()] * (done - len(ends))
    if process.returncode:
        raise RuntimeError(" ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]))
    steps = [after - one for one, after in pairwise(ends)]
    result.add(
        canvas=_canvas(data),
        steps=steps,
        seconds_per_step=statistics.median(steps[WARM:]),
        seconds_to_first_step=ends[0] - order.started,
        memory={"steps": {"allocated": most, "reserved": most}},
        finished=True,
    )


def arguments(order: Order, data: Path) -> list[str]:
    """What the script is asked for. Batches of one grid, at its full size."""
    from pipeline import families

    width, height = _canvas(data)
    family = families.load(order.family)
    pairs: dict[str, Any] = {
        "pretrained_model_name_or_path": order.model,
        "dataset_name": data,
        "caption_column": "text",
        "instance_prompt": "a grid",
        "aspect_ratio_buckets": f"{height},{width}",
        "max_sequence_length": family.limit,
        "rank": 16,
        "lora_alpha": 16,
        "train_batch_size": 1,
        "max_train_steps": STEPS,
        "mixed_precision": "bf16",
        "seed": 0,
    }
    if "guidance_scale" in family.trainers["diffusers"]:
        pairs["guidance_scale"] = family.trainers["diffusers"]["guidance_scale"]
    return [
        *(f"--{key}={value}" for key, value in pairs.items()),
        "--use_aspect_ratio_buckets",
        "--gradient_checkpointing",
    ]


def _data(order: Order) -> Path:
    """The same grids and captions as a folder that `datasets` reads."""
    folder = order.run / "data"
    folder.mkdir()
    lines = []
    for file in sorted((order.data / "train").glob("*.png")):
        os.symlink(file, folder / file.name)
        lines.append(json.dumps({"file_name": file.name, "text": file.with_suffix(".txt").read_text(encoding="utf-8")}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _canvas(data: Path) -> list[int]:
    with Image.open(next(iter(sorted(data.glob("*.png"))))) as picture:
        return [*picture.size]


def _used() -> int:
    """Bytes of the card's memory that are in use, by whatever process."""
    if not torch.cuda.is_available():
        return 0
    free, every = torch.cuda.mem_get_info()
    return every - free
