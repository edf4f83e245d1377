"""Seconds per step, images per minute and peak memory of every family at full size on one GPU, beside what was planned.

    python -m bench.gpu [--out runs/gpu] [--work /dev/shm/iclora-gpu] [--only "flux-1 nf4"] [--budget-seconds 560]
                        [--diffusers CHECKOUT]

Not yet run on a GPU (2026-11-27). The families are those that have a backend, each with the model it is trained on.

The base models have random weights, on which neither time nor memory depends, and no network is needed. They are
trained and drawn with by the toolkit's own code, as `iclora train` and `iclora generate` run it, on the canvases of
two tasks (1344 x 1728 and 960 x 1088 pixels). The variants, most important first:

- bf16: a bfloat16 base, blocks recomputed in the backward pass (gradient checkpointing), AdamW with 32-bit state
- draw: one grid, with the LoRA that bf16 left
- nf4, int8, fp8: the base stored in these numbers, everything else as in bf16
- diffusers: the example script of diffusers that the family names, on the same data, with the settings of bf16; for
  families that name one, where --diffusers says where a checkout lies
- offload: a bf16 base in main memory
- no-checkpointing, compile, adamw8bit: one setting changed from bf16

A step is one grid (train.batch=1). Measured are the median step after the first three; the seconds from the start of
the process to the end of the first step (imports, encoding, loading, compiling); images per minute at 20 steps; and
torch's peaks of allocated and reserved memory, beside what `iclora train --plan` announces and its error: by how much
the plan exceeds what was reserved and what the process holds besides. The VAE has its full size. The text encoders are
narrow stand-ins with the right output, since they are freed before the first step.

Every measurement is a process of its own with a time limit; one that fails or runs out of memory becomes a row with
its error. `results.json` and `table.md` in --out are rewritten after each one, and another call with the same folder
measures what is still missing (remove results.json to start over). When --budget-seconds are over, the measurement in
progress is stopped and no other is started; the default suits a machine that is lent for ten minutes at a time.

Without a GPU, or with --small, the same code checks itself in less than two minutes with tiny models on tiny
canvases; the figures then mean nothing.

For a machine without a network that has Python 3.12, torch 2.11 (CUDA 13) and transformers 5.17, make a folder of
wheels where there is a network:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
      --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 --platform manylinux_2_17_x86_64 \\
      --platform manylinux2014_x86_64 -d build/wheels \\
      diffusers==0.42.1 peft==0.21.2 accelerate==1.15.0 bitsandbytes==0.50.2 pydantic==2.14.4 pydantic-core==2.50.5 \\
      annotated-types==0.8.0 typing-inspection==0.4.5 typing-extensions==4.16.0 platformdirs==4.14.8
    zip -qd build/wheels/bitsandbytes-*.whl '*_cuda11*' '*_cuda12*' '*_cuda132*' '*_rocm*' '*_xpu*'

That is 14 MB (53 MB without the last command, which leaves out the libraries for other GPUs and other versions of
CUDA). These are imported too; a machine that lacks them needs their wheels as well, 58 MB in all:

    pillow==13.0.0 psutil==7.2.2 requests==2.34.2 urllib3==2.8.0 certifi==2026.10.19.post1 charset-normalizer==3.5.3
    idna==3.20 pandas==3.1.1 python-dateutil==4.0.0 matplotlib==3.11.2 contourpy==1.4.0 cycler==0.12.1
    fonttools==4.68.0 kiwisolver==1.5.1 pyparsing==3.3.3 tensorboard==2.21.0 absl-py==2.5.1 protobuf==7.36.2

Then, on that machine, in the checkout, which need not be installed:

    python3 -m pip install --no-index --no-deps --no-compile --target /tmp/site build/wheels/*.whl
    PYTHONPATH=/tmp/site python3 -m bench.gpu

A base model takes two bytes per parameter in --work (24 GB for FLUX.1), where it is made once and kept. /dev/shm, a
disk in memory, is the fastest place on a machine with 64 GB of memory or more to spare.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("portrait-photography", "sparklers")
"""Those with the largest and the smallest canvas of the ten."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "bf16": {},
    "draw": {},
    "diffusers": {},
    "nf4": {"base_weights": "nf4"},
    "int8": {"base_weights": "int8"},
    "fp8": {"base_weights": "fp8"},
    "offload": {"offload": True},
    "no-checkpointing": {"checkpointing": False},
    "compile": {"compile": True},
    "adamw8bit": {"optimizer": "adamw8bit"},
}
"""Settings of the training that a variant changes, most important variant first."""
MISSING = (
    "drawing with torch.compile",
    "fp8 products (train.base_weights=fp8 stores 8 bits and computes in bf16)",
    "a plan of the memory that drawing takes",
)
"""What a GPU could be measured with and the toolkit cannot do yet."""
SLOW_OR_REFUSED = {"int8", "compile", "adamw8bit", "offload", "diffusers"}
"""Variants that a machine without a GPU does not try in small."""
GIB = 2**30
EXAMPLES = Path("examples") / "dreambooth"
"""Where a checkout of diffusers has its scripts."""
WORTH_STARTING = 20.0
"""Seconds of the budget below which no measurement is started."""
SHOWN = 240
"""Letters of an error in the table."""


@dataclass(frozen=True)
class Measurement:
    family: str
    variant: str
    task: str

    @property
    def name(self) -> str:
        return f"{self.family} {self.variant} {self.task}"


@dataclass(frozen=True)
class Order:
    """What one process is to do."""

    action: str
    """`about`, `prepare`, `train`, `draw` or `diffusers`."""
    work: str
    """Folder with models, data and LoRA files."""
    small: bool = True
    family: str = ""
    variant: str = ""
    task: str = ""
    script: str = ""
    """File of diffusers' own script."""
    started: float = 0.0
    """When the process was started, by the machine's monotonic clock."""

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.action, self.family, self.variant, self.task)))

    @property
    def home(self) -> Path:
        """The process's own folder: what it found, what it printed, and `run`, which is removed after it."""
        return Path(self.work) / "processes" / self.name

    @property
    def found(self) -> Path:
        return self.home / "found.json"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def model(self) -> Path:
        return Path(self.work) / f"{self._size}-{self.family}"

    @property
    def data(self) -> Path:
        return Path(self.work) / f"data-{self.task}"

    @property
    def lora(self) -> Path:
        """Where the bf16 training leaves its LoRA to draw with."""
        return Path(self.work) / f"{self._size}-{self.family}-{self.task}.safetensors"

    @property
    def _size(self) -> str:
        return "small" if self.small else "full"


def main() -> None:
    options = _options()
    out, work, deadline = options.out.resolve(), options.work.resolve(), time.monotonic() + options.budget_seconds
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    machine = run(Order("about", str(work)), options.limit_seconds)
    if "error" in machine:
        sys.exit(f"torch can't be used here: {machine['error']}")
    small = options.small or not machine["gpu"]
    scripts = machine["scripts"] if options.diffusers else {}
    chosen = choose(options.only or [], machine["families"], scripts, small=small, gpu=machine["gpu"])
    if not chosen:
        example = f"{machine['families'][0]} bf16 {TASKS[0]}"
        sys.exit(f"no measurement's name has all the words of --only {options.only}; one is '{example}'.")
    results = open_results(out / "results.json", machine, small=small)
    left = [each for each in chosen if results["rows"].get(each.name, {}).get("outcome") not in {"measured", "failed"}]
    print(f"{machine['card']}: {len(left)} of {len(chosen)} measurements to do", flush=True)
    for each in left:
        if deadline - time.monotonic() < WORTH_STARTING:
            print("the budget is used up; call again for the rest", flush=True)
            break
        script = str(options.diffusers.resolve() / EXAMPLES / scripts[each.family]) if each.family in scripts else ""
        row = measure(each, work, script, small=small, limit=options.limit_seconds, deadline=deadline)
        results["rows"][each.name] = row
        results["not measured"] = [one.name for one in chosen if one.name not in results["rows"]]
        write(out, results)
        print(f"{each.name}: {summary(row)}", flush=True)
    print(out / "table.md")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="for the results (default: %(default)s)")
    work = Path(tempfile.gettempdir()) / "iclora-gpu"
    parser.add_argument("--work", type=Path, default=work, help="for models and data, kept (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny models, also where there is a GPU")
    parser.add_argument(
        "--only",
        action="append",
        metavar="WORDS",
        help="measurements whose 'FAMILY VARIANT TASK' has all these words; may be repeated",
    )
    parser.add_argument(
        "--diffusers", type=Path, metavar="CHECKOUT", help="of diffusers, whose own scripts are timed too"
    )
    parser.add_argument("--budget-seconds", type=float, default=560, help="for this call (default: %(default)s)")
    parser.add_argument("--limit-seconds", type=float, default=240, help="per measurement (default: %(default)s)")
    return parser.parse_args()


def choose(
    only: Sequence[str], families: Sequence[str], scripts: Mapping[str, str], *, small: bool, gpu: bool
) -> list[Measurement]:
    """The measurements in their order. Unless they are named, of the small ones each variant once, and without a GPU
    one alone of those that need it, to see that its refusal becomes a row, and none that compiles for a minute.

    Args:
        families: with a backend, the first of them that of the toolkit's own default.
        scripts: those of diffusers by family; the rest has no row for one.
    """
    every = [
        Measurement(family, variant, task)
        for variant in VARIANTS
        for task in TASKS
        for family in families
        if variant != "diffusers" or family in scripts
    ]
    if only:
        return [each for each in every if any(set(words.split()) <= set(each.name.split()) for words in only)]
    if not small:
        return every
    every = [each for each in every if each.task == TASKS[-1] and (gpu or each.variant not in SLOW_OR_REFUSED)]
    return [each for each in every if each.family == families[0] or each.variant == "bf16"]


# ---- processes


def measure(
    each: Measurement, work: Path, script: str = "", *, small: bool, limit: float, deadline: float
) -> dict[str, Any]:
    """One row: what was found, and `outcome`: measured, failed, or cut where the budget ended it."""
    began = time.monotonic()
    action = each.variant if each.variant in {"draw", "diffusers"} else "train"
    order = Order(action, str(work), small, **vars(each), script=script)
    row: dict[str, Any] = {}
    if not (small or (order.model.exists() and order.data.exists())):  # small ones are made at the start of the process
        row = run(replace(order, action="prepare", variant=""), deadline - began)
    if "error" not in row:
        row = run(order, min(limit, deadline - time.monotonic()))
    outcome = "measured" if "error" not in row else "cut" if time.monotonic() >= deadline else "failed"
    return vars(each) | row | {"outcome": outcome, "took": time.monotonic() - began}


def run(order: Order, limit: float) -> dict[str, Any]:
    """Runs one order to its end or its time limit; what it found, with `error` where it did not finish."""
    home = order.home
    shutil.rmtree(home, ignore_errors=True)  # a training that was stopped would be resumed
    order.run.mkdir(parents=True)
    (home / "order.json").write_text(json.dumps(vars(order) | {"started": time.monotonic()}), encoding="utf-8")
    command = [sys.executable, "-m", "bench.gpu_inside", str(home / "order.json")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(order), stdout=log, stderr=log, start_new_session=True
        )
        error = None
        try:
            if code := process.wait(max(0.0, limit)):
                error = f"ended with {code}; {_last_line(home / 'log')}"
        except subprocess.TimeoutExpired:
            error = f"stopped after {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the workers that a compiler starts
                process.wait()
    shutil.rmtree(order.run)
    row: dict[str, Any] = json.loads(order.found.read_text(encoding="utf-8")) if order.found.exists() else {}
    return row if error is None else {"error": error} | row


def _environment(order: Order) -> dict[str, str]:
    """Without a hub, with compilers' caches of the process's own, and with the toolkit's version."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]), str(_version(Path(order.work)))]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HOME": f"{order.work}/hub",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(order.run / "inductor"),
        "TRITON_CACHE_DIR": str(order.run / "triton"),
    }


def _version(work: Path) -> Path:
    """A folder that tells `importlib.metadata` the toolkit's version where the checkout is not installed."""
    home = work / "version"
    try:
        metadata.version("iclora")
    except metadata.PackageNotFoundError:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        told = home / f"iclora-{version}.dist-info" / "METADATA"
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(f"Metadata-Version: 2.1\nName: iclora\nVersion: {version}\n", encoding="utf-8")
    return home


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


# ---- results


def open_results(file: Path, machine: Mapping[str, Any], *, small: bool) -> dict[str, Any]:
    """What earlier calls have measured on this machine's card, or nothing yet."""
    size = "small" if small else "full"
    if not file.exists():
        return {"card": machine["card"], "size": size, "machine": machine, "rows": {}, "not in the toolkit": MISSING}
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if (results["card"], results["size"]) != (machine["card"], size):
        sys.exit(
            f"{file} has results of {results['card']} at {results['size']} size, and this is {machine['card']} at "
            f"{size} size; name another folder with --out."
        )
    return results


def write(out: Path, results: Mapping[str, Any]) -> None:
    for name, text in (("results.json", json.dumps(results, indent=1)), ("table.md", "\n".join(table(results)))):
        part = out / f"{name}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(out / name)


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """The results as a page of Markdown."""
    machine, columns = results["machine"], tuple(COLUMNS)
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "diffusers", "peft", "bitsandbytes"))
    yield f"# Training and drawing at {results['size']} size on {results['card']}"
    yield ""
    yield (
        f"{versions}, CUDA {machine['cuda']}. Random weights; the text encoders are narrow stand-ins. A step is one "
        "grid. GiB of GPU memory: peak allocated / peak reserved / as planned by `iclora train --plan`; with "
        "diffusers' own script all that the card's memory lost. Error: the plan against what was reserved and what the "
        "process held besides."
    )
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield f"|---|---|{'---:|' * (len(columns) - 2)}"
    for row in results["rows"].values():
        yield f"| {' | '.join(cell(row) for cell in COLUMNS.values())} |"
    failed = [(name, row["error"]) for name, row in results["rows"].items() if "error" in row]
    for title, lines in (
        ("Failed", [f"{name}: {error[:SHOWN]}" for name, error in failed]),
        ("Not measured", results.get("not measured", [])),
        ("Not in the toolkit yet", results["not in the toolkit"]),
    ):
        if lines:
            yield from ("", f"{title}:", "", *(f"- {line}" for line in lines))


def _canvas(row: Mapping[str, Any]) -> str:
    width, height = row.get("canvas", (0, 0))
    return f"{width} x {height}" if width else "-"


def _seconds(row: Mapping[str, Any], key: str, digits: int) -> str:
    return f"{row[key]:.{digits}f}" if row.get(key) is not None else "-"


def _peak(row: Mapping[str, Any], phases: Sequence[str], kind: str) -> float | None:
    """Bytes at most over some phases; None if none was measured.

    Args:
        kind: allocated or reserved.
    """
    peaks = [row["memory"][phase][kind] for phase in phases if phase in row.get("memory", {})]
    return max(peaks) if peaks else None


def _memory(row: Mapping[str, Any], phases: Sequence[str], planned: str) -> str:
    """Peaks over some phases beside what a phase of the plan takes."""
    told = [*(_peak(row, phases, kind) for kind in ("allocated", "reserved")), row.get("plan", {}).get(planned)]
    return " / ".join("-" if size is None else f"{size / GIB:.1f}" for size in told)


def error(row: Mapping[str, Any], phases: Sequence[str], planned: str) -> float | None:
    """By how much a phase of the plan exceeds what was measured, as a share of it; None without a measurement."""
    reserved, plan = _peak(row, phases, "reserved"), row.get("plan", {}).get(planned)
    return None if reserved is None or plan is None else plan / (reserved + row.get("besides", 0)) - 1


def _error(row: Mapping[str, Any], phases: Sequence[str], planned: str) -> str:
    found = error(row, phases, planned)
    return "-" if found is None else f"{found:+.0%}"


def _name(row: Mapping[str, Any]) -> str:
    mark = "" if row["outcome"] == "measured" else f" ({row['outcome']})"
    return f"{row['family']} {row['variant']}{mark}"


STEPS, VAE = ("loading and first step", "steps"), ("encoding", "decoding")
"""What is measured while the transformer and the VAE are in memory."""
COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "measurement": _name,
    "canvas": _canvas,
    "s per step": lambda row: _seconds(row, "seconds_per_step", 3),
    "s to the first step": lambda row: _seconds(row, "seconds_to_first_step", 1),
    "images per minute": lambda row: _seconds(row, "images_per_minute", 2),
    "GiB, training": lambda row: _memory(row, STEPS, "training"),
    "error": lambda row: _error(row, STEPS, "training"),
    "GiB, VAE": lambda row: _memory(row, VAE, "encoding pictures"),
    "GiB of host memory": lambda row: f"{row.get('host_peak', 0) / GIB:.1f}",
}
"""What the table shows of a row."""


def summary(row: Mapping[str, Any]) -> str:
    """A row on one line, for whoever waits."""
    if "error" in row:
        return f"{row['outcome']}, {row['error'][:SHOWN]}"
    step, first = row["seconds_per_step"], row["seconds_to_first_step"]
    return f"{step:.3f} s per step, the first after {first:.1f} s; took {row['took']:.0f} s"


if __name__ == "__main__":
    main()
