"""The GPU benchmark: scaled down, it runs as it would on a GPU, in processes of its own, and keeps its results."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from bench import gpu, gpu_models
from training.backends.base import Backend
from training.job import backends_of, find_backend
from training.model_files import parameter_count

HOME = Path(__file__).parents[2]
GIB = 2**30


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For results and for models: a second call finds what the first left."""
    home = tmp_path_factory.mktemp("gpu")
    return home / "out", home / "work"


def call(folders: tuple[Path, Path], start: list[str], *words: str) -> dict[str, Any]:
    """Runs the benchmark at small scale and returns the rows of its JSON."""
    out, work = folders
    command = [sys.executable, *start, "--small", f"--out={out}", f"--work={work}", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # one that has imported torch is forked
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows: dict[str, Any] = json.loads((out / "results.json").read_text())["rows"]
    return rows


def row(**facts: Any) -> dict[str, Any]:
    return {"family": "flux-1", "variant": "bf16", "task": "sparklers", "outcome": "measured", "took": 1.0} | facts


def results(**rows: dict[str, Any]) -> dict[str, Any]:
    machine = dict.fromkeys(("torch", "diffusers", "peft", "bitsandbytes", "cuda"), "1.0")
    return {"card": "Card 9", "size": "full", "machine": machine, "rows": rows, "not in the toolkit": gpu.MISSING}


@pytest.mark.slow
def test_a_training_is_measured_from_the_start_of_its_process(folders: tuple[Path, Path]) -> None:
    rows = call(folders, ["bench/gpu.py"], "--only=flux-1 bf16 sparklers")
    (measurement,) = rows.values()
    assert measurement["outcome"] == "measured", measurement.get("error")
    assert measurement["canvas"] == [128, 128]
    assert measurement["seconds_to_first_step"] > measurement["seconds_encoded"] > 0
    assert len(measurement["steps"]) == 7
    assert min(measurement["steps"]) <= measurement["seconds_per_step"] <= max(measurement["steps"])
    assert measurement["plan"].keys() == {"reading texts", "encoding pictures", "training"}


@pytest.mark.slow
def test_a_second_call_measures_what_is_missing_and_a_refusal_becomes_a_row(folders: tuple[Path, Path]) -> None:
    before = json.loads((folders[0] / "results.json").read_text())["rows"]
    wanted = ("--only=flux-1 bf16 sparklers", "--only=flux-1 draw sparklers", "--only=flux-1 nf4 sparklers")
    rows = call(folders, ["-m", "bench.gpu"], *wanted)
    assert list(rows) == ["flux-1 bf16 sparklers", "flux-1 draw sparklers", "flux-1 nf4 sparklers"]
    assert rows["flux-1 bf16 sparklers"] == before["flux-1 bf16 sparklers"]
    drawn = rows["flux-1 draw sparklers"]
    assert drawn["outcome"] == "measured", drawn.get("error")
    assert drawn["image"] == drawn["canvas"] == [128, 128]
    assert len(drawn["steps"]) == 5
    refused = rows["flux-1 nf4 sparklers"]
    if refused["outcome"] == "failed":  # without a GPU
        assert "needs a CUDA device" in refused["error"]
    page = (folders[0] / "table.md").read_text()
    assert page.startswith("# Training and drawing at small size on ")
    assert drawn["images_per_minute"] > 0
    assert "| flux-1 draw | 128 x 128 |" in page
    assert not [*folders[1].glob("processes/*/run")]


FORKING = """
import multiprocessing, os, subprocess, sys
from types import SimpleNamespace
import matplotlib.figure, peft, torch.utils.tensorboard
from diffusers import FluxPipeline
from transformers import CLIPTextModel, T5EncoderModel
from bench import gpu, gpu_inside

def work(order, environment, log):
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(environment)
    sys.argv = ["gpu_inside", order]
    gpu_inside.main()

class Forked:
    def __init__(self, command, *, env, stdout, **_):
        forked = multiprocessing.get_context("fork")
        self._process = forked.Process(target=work, args=(command[-1], env, stdout.fileno()))
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, seconds=None):
        self._process.join(seconds)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("a measurement", seconds)
        return self.poll()

gpu.subprocess = SimpleNamespace(Popen=Forked, TimeoutExpired=subprocess.TimeoutExpired)
gpu.main()
"""
"""The benchmark, whose processes are forked from one that has imported what all of them import: importing takes longer
than what they measure."""


@pytest.mark.slow
def test_the_self_check_measures_every_family_that_has_a_backend(folders: tuple[Path, Path]) -> None:
    rows = call(folders, ["-c", FORKING])
    failed = {name for name, result in rows.items() if result["outcome"] != "measured"}
    assert failed <= {"flux-1 nf4 sparklers"}
    assert {result["family"] for result in rows.values()} == {one.BASE for one in backends_of(None)}


@pytest.mark.slow
def test_diffusers_own_script_is_timed_by_its_progress_bar(tmp_path: Path) -> None:
    """By a script that only shows one: the real one needs weights at full size, and a GPU."""
    examples = tmp_path / gpu.EXAMPLES
    examples.mkdir(parents=True)
    shown = "sys.stderr.write(f'\\rSteps: {n * 100 // 8}%|## | {n}/8 [00:01<00:02, 1.0s/it, loss=0.5]')"
    script = f"import sys, time\nprint(sys.argv)\nfor n in range(9): {shown}; sys.stderr.flush(); time.sleep(0.3)\n"
    (examples / "train_dreambooth_lora_z_image.py").write_text(script, encoding="utf-8")
    folders = tmp_path / "out", tmp_path / "work"
    rows = call(folders, ["-m", "bench.gpu"], "--only=z-image diffusers sparklers", f"--diffusers={tmp_path}")
    (measurement,) = rows.values()
    assert measurement["outcome"] == "measured", measurement.get("error")
    assert len(measurement["steps"]) == 7 and measurement["seconds_per_step"] > 0
    log = next(folders[1].glob("processes/*/theirs.log")).read_text()
    assert "--aspect_ratio_buckets=1088,960" in log and "--max_train_steps=8" in log


def test_a_process_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    assert gpu.run(gpu.Order("about", str(tmp_path)), limit=0.0) == {"error": "stopped after 0 s"}


def test_a_measurement_cut_off_by_the_budget_is_repeated_later(tmp_path: Path) -> None:
    each = gpu.Measurement("flux-1", "bf16", "sparklers")
    result = gpu.measure(each, tmp_path, small=True, limit=60.0, deadline=time.monotonic())
    assert result["outcome"] == "cut"


def test_results_from_different_cards_are_not_mixed(tmp_path: Path) -> None:
    gpu.write(tmp_path, results(one=row()))
    with pytest.raises(SystemExit, match="has results of Card 9 at full size, and this is Card 8"):
        gpu.open_results(tmp_path / "results.json", {"card": "Card 8"}, small=False)


def test_every_variant_has_a_row_per_family_and_canvas_and_the_plain_ones_come_first() -> None:
    families = ("flux-1", "z-image")
    every = gpu.choose([], families, {"z-image": "a.py"}, small=False, gpu=True)
    assert len(every) == len(set(every)) == len(gpu.VARIANTS) * 4 - 2  # one family has no script in diffusers
    assert {each.variant for each in every[:4]} == {"bf16"}  # what generation needs comes before it
    assert gpu.choose(["nf4 z-image"], families, {}, small=False, gpu=True) == [
        gpu.Measurement("z-image", "nf4", task) for task in gpu.TASKS
    ]


def test_the_table_shows_peaks_beside_the_plan_and_what_went_wrong() -> None:
    memory = {
        "encoding": {"allocated": 1 * GIB, "reserved": 2 * GIB},
        "loading and first step": {"allocated": 30 * GIB, "reserved": 31 * GIB},
        "steps": {"allocated": 28 * GIB, "reserved": 33 * GIB},
    }
    plan = {"encoding pictures": 3 * GIB, "training": 36 * GIB}
    times = {"seconds_per_step": 1.25, "seconds_to_first_step": 40.0, "images_per_minute": 3.0}
    whole = row(canvas=[960, 1088], memory=memory, plan=plan, host_peak=GIB, besides=GIB / 2, **times)
    page = "\n".join(gpu.table(results(one=whole, two=row(outcome="failed", error="BadInput: too large"))))
    assert "on Card 9" in page
    assert "| 960 x 1088 | 1.250 | 40.0 | 3.00 | 30.0 / 33.0 / 36.0 | +7% | 1.0 / 2.0 / 3.0 | 1.0 |" in page
    assert gpu.error(whole, gpu.STEPS, "training") == pytest.approx(36 / 33.5 - 1)
    assert "| flux-1 bf16 (failed) | - | - | - | - | - / - / - | - |" in page
    assert "- two: BadInput: too large" in page


@pytest.mark.parametrize(("family", "billions"), [("flux-1", 11.9), ("z-image", 6.15)])
def test_full_size_is_the_published_size_and_no_file_grows_beyond_a_shard(family: str, billions: float) -> None:
    transformer = find_backend(family, None, None).blank("transformer")
    shards = list(gpu_models.shards(transformer, gpu_models.SHARD))
    names = [name for shapes in shards for name in shapes]
    sizes = [2 * sum(math.prod(shape) for shape in shapes.values()) for shapes in shards]
    assert names == list(transformer.state_dict())
    assert sum(sizes) / 2e9 == pytest.approx(billions, abs=0.05)
    assert max(sizes) < 1.1 * gpu_models.SHARD


@pytest.mark.parametrize("backend", list(backends_of(None)), ids=lambda one: one.BASE)
def test_stand_ins_for_text_encoders_are_narrow_and_as_deep_and_wide_as_the_published_ones(backend: Backend) -> None:
    words = gpu_models._letters(backend.family.limit)
    for part in backend.ENCODERS:
        published, kind = backend.blank(part), backend.part_class(part)
        with torch.device("meta"):
            made = kind(kind.config_class.from_dict(gpu_models.narrowed(backend.config(part), words)))
        assert parameter_count(made) < 0.5 * parameter_count(published)
        sizes = [getattr(one.config, "text_config", one.config) for one in (made, published)]
        for name in ("hidden_size", "num_hidden_layers"):
            assert getattr(sizes[0], name) == getattr(sizes[1], name)


@pytest.mark.parametrize("family", ["qwen-image-edit", "qwen-image-2.1"])
def test_a_stand_in_that_sees_pictures_knows_their_marks_and_patches(family: str, tmp_path: Path) -> None:
    backend = find_backend(family, None, None)
    words = gpu_models._letters(backend.family.limit)
    kind = backend.part_class("text_encoder").config_class
    config = kind.from_dict(gpu_models.narrowed(backend.config("text_encoder"), words))
    gpu_models._processor(config, words).save_pretrained(tmp_path)
    processor: Any = AutoProcessor.from_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    picture, text = Image.new("RGB", (384, 384)), "".join(gpu_models.SIGHT.values())
    read = processor(text=[f"a fox {text}"], images=[picture], return_tensors="pt")
    rows, columns = read["image_grid_thw"][0, 1:].tolist()
    assert rows == columns == pytest.approx(384 / config.vision_config.patch_size, abs=1)
    places = int((read["input_ids"] == config.image_token_id).sum())
    assert places == rows * columns // config.vision_config.spatial_merge_size**2
    assert max(read["input_ids"][0].tolist()) < len(words)


def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_models, "SPARE", 2**60)
    with pytest.raises(OSError, match="are needed; name another folder with --work"):
        gpu_models.make("flux-1", tmp_path / "model", small=True)
    assert not (tmp_path / "model").exists()
