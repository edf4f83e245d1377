"""The GPU benchmark: scaled down, it runs as it would on a GPU, in processes of its own, and keeps its results."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import gpu, gpu_models
from training.job import find_backend

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
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
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
    assert measurement["plan"]["base"] > 0


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
    assert page.startswith("# FLUX.1 and Z-Image, small size, on ")
    assert "| flux-1 draw | 128 x 128 |" in page
    assert not [*folders[1].glob("processes/*/run")]


@pytest.mark.slow
def test_the_self_check_measures_both_families(folders: tuple[Path, Path]) -> None:
    rows = call(folders, ["-m", "bench.gpu"])
    failed = {name for name, result in rows.items() if result["outcome"] != "measured"}
    assert failed <= {"flux-1 nf4 sparklers"}
    assert {result["family"] for result in rows.values()} == set(gpu.FAMILIES)


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
    every = gpu.choose([], small=False, gpu=True)
    assert len(every) == len(set(every)) == len(gpu.VARIANTS) * 4
    assert {each.variant for each in every[:4]} == {"bf16"}  # what generation needs comes before it
    assert gpu.choose(["nf4 z-image"], small=False, gpu=True) == [
        gpu.Measurement("z-image", "nf4", task) for task in gpu.TASKS
    ]


def test_the_table_shows_peaks_beside_the_plan_and_what_went_wrong() -> None:
    memory = {
        "encoding": {"allocated": 1 * GIB, "reserved": 2 * GIB},
        "loading and first step": {"allocated": 30 * GIB, "reserved": 31 * GIB},
        "steps": {"allocated": 28 * GIB, "reserved": 33 * GIB},
    }
    plan = {"text encoders": 9 * GIB, "VAE": 3 * GIB, "base": 22 * GIB, "activations": 4 * GIB}
    whole = row(
        canvas=[960, 1088], seconds_per_step=1.25, seconds_to_first_step=40.0, memory=memory, plan=plan, host_peak=GIB
    )
    page = "\n".join(gpu.table(results(one=whole, two=row(outcome="failed", error="BadInput: too large"))))
    assert "on Card 9" in page
    assert "| flux-1 bf16 | 960 x 1088 | 1.250 | 40.0 | 30.0 / 33.0 / 26.0 | 1.0 / 2.0 / 3.0 | 1.0 |" in page
    assert "| flux-1 bf16 (failed) | - | - | - | - / - / - |" in page
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


def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_models, "SPARE", 2**60)
    with pytest.raises(OSError, match="are needed; name another folder with --work"):
        gpu_models.make("flux-1", tmp_path / "model", small=True)
    assert not (tmp_path / "model").exists()
