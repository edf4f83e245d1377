"""Compares `iclora train` with diffusers' FLUX DreamBooth script: seconds per step and to the first step, peak memory.

    python -m bench.trainers --diffusers .../examples/dreambooth/train_dreambooth_lora_flux.py [--steps 60] [--batch 2]

Both train a LoRA with the same layers and rank on the same small FLUX (7.7 million parameters, random weights), with
the same twelve drawn grids of 192 x 192 pixels, text length and optimizer, in fp32. Each runs in a separate process,
and a torch hook records the time of every optimizer step. The sides alternate; a round's step time is its median, and
the fastest round counts, since other load on the machine can only add time. CPU seconds, which it affects less, are
reported too. Caches are empty at every start; memory is the peak of the whole process tree.

The script runs unchanged with two exceptions: the miniature's tokenizers are of classes that it does not know, so it
gets those that AutoTokenizer finds, and it is started with plain `python`, which saves it the memory of `accelerate
launch`. It is timed with and without --cache_latents, although with it pictures are trained with other pictures'
captions; the better of the two counts, figure by figure. Its text encoders run at every step; the miniature's are much
smaller relative to the transformer than those of FLUX.1, so their cost here is a lower bound.

The floor is only the forward and backward pass of the same transformer with the same LoRA (peft's).

Also checked: for one step of the script, our objective reproduces its loss and gradients from its latents, noise and
noise levels; and on every side the model reads the same number of tokens and has the same number of trained parameters.
Fails if this is not so, or if ours takes longer per step. Without --diffusers only ours and the floor are timed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRIDS = 12
PANEL = 96  # pixels
RANK = 16
RATE = 1e-4
SEED = 0
WARM = 5  # first steps, left out of medians
ROUNDS = 3
SAME = 1e-4  # relative to a gradient's norm: tolerance for another order of summation
CHECKED = 4  # the step of the script whose loss is reproduced: by then the LoRA is no longer zero
POLL = 0.02  # seconds
GOALS = {"seconds per step": 0.75, "seconds to the first step": 0.5, "peak memory, MB": 0.8}
THEIRS = ("diffusers", "latents cached")
COLUMNS = (*THEIRS, "ours", "floor")
PARTS = {
    "text encoders": ("transformers.T5EncoderModel.forward", "transformers.CLIPTextModel.forward"),
    "VAE": ("diffusers.AutoencoderKL.encode",),
    "transformer, forward": ("diffusers.FluxTransformer2DModel.forward",),
    "transformer, backward": ("torch.Tensor.backward",),
}
"""Parts of a step, by the functions that are timed; the optimizer is timed by its hooks."""
REST = "data, noise, clipping, logs"

TASK = f"""
title = "Four of a kind"
markers = ["[TOP-LEFT]", "[TOP-RIGHT]", "[BOTTOM-LEFT]", "[BOTTOM-RIGHT]"]

[layout]
rows = 2
cols = 2
panel_width = {PANEL}
panel_height = {PANEL}

[group]
by = "shots"
"""
"""A square page, since the script crops everything to a square."""


@dataclass(frozen=True)
class Run:
    """The measurements of one process."""

    first: float
    """Seconds from the start to the end of the first step."""
    first_work: float
    """CPU seconds until then."""
    steps: tuple[float, ...]
    """Seconds of every step after the first."""
    peak: float
    """MB of memory: the peak of the process plus the peak of its children's own memory.

    Memory that a child shares with its parent counts once; otherwise a fork would seem to double it.
    """
    busy: tuple[float, ...]
    """CPU seconds of every step after the first, all threads together."""
    parts: dict[str, float]
    """CPU seconds per step by part, medians."""
    seen: dict[str, Any]
    """Shapes of the transformer's inputs, and the number of trained parameters."""

    @property
    def step(self) -> float:
        return statistics.median(self.steps[WARM:])

    @property
    def work(self) -> float:
        return statistics.median(self.busy[WARM:])


MEASURES: dict[str, tuple[Callable[[Run], float], int]] = {
    "seconds per step": (lambda run: run.step, 3),
    "CPU seconds per step": (lambda run: run.work, 3),
    "seconds to the first step": (lambda run: run.first, 1),
    "CPU seconds to the first step": (lambda run: run.first_work, 1),
    "peak memory, MB": (lambda run: run.peak, 0),
}
"""What is measured of a run, and how many decimals are printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diffusers", type=Path, metavar="SCRIPT", help="train_dreambooth_lora_flux.py")
    parser.add_argument("--steps", type=int, default=60, help="steps per run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="grids per step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs per side (default: %(default)s)")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(*options.inside)
        return
    if options.steps < 2 * WARM:
        parser.error(f"--steps must be {2 * WARM} or more, got {options.steps}")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        prepare(home)
        sides: dict[str, Callable[[Path], list[str]]] = {
            "ours": lambda out: ours(home, out, options.steps, options.batch),
            "floor": lambda out: ["floor", str(home / "model"), str(options.steps), str(options.batch)],
        }
        if options.diffusers:
            check_loss(options.diffusers, home, options.batch)
            script = theirs(options.diffusers, home, options.steps, options.batch)
            sides["diffusers"] = lambda out: [*script, f"--output_dir={out}"]
            sides["latents cached"] = lambda out: [*script, f"--output_dir={out}", "--cache_latents"]
        else:
            print("without --diffusers: only ours and the floor")
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side, words in sides.items():
                out = home / f"{side}-{number}"
                runs[side].append(run(words(out), out))
    sys.exit(report(runs))


# ---- inputs of both sides


def prepare(home: Path) -> None:
    """Writes a model, a task file, and a data set in our export's layout, which `datasets` reads too."""
    import torch

    from miniature.making.flux_parts import build_pipeline

    torch.manual_seed(SEED)
    pipeline = build_pipeline()
    pipeline.vae.register_to_config(shift_factor=0.1159, scaling_factor=0.3611)  # FLUX.1's: the loss depends on them
    with quiet():
        pipeline.save_pretrained(home / "model")
    (home / "four.toml").write_text(TASK, encoding="utf-8")
    draw_grids(home)


def draw_grids(home: Path) -> None:
    """Draws pages of one character in four scenes, with captions."""
    from PIL import Image

    from miniature.draw import draw
    from miniature.world import ACTIONS, PLACES, SHOTS, draw_character, draw_scene
    from pipeline import task
    from pipeline.text import grammar, names

    four, rng = task.load(str(home / "four.toml")), random.Random(SEED)
    folder = home / "data" / "train"
    folder.mkdir(parents=True)
    lines = []
    for number in range(GRIDS):
        who, (name,) = draw_character(rng), names.draw(1, number, SEED)
        page, texts = Image.new("RGB", four.grid_layout.canvas), []
        for left, top, right, bottom in four.grid_layout.boxes:
            scene = draw_scene(rng, who)
            page.paste(Image.fromarray(draw(scene, size=(right - left, bottom - top))), (left, top))
            texts.append(f"{SHOTS[scene.shot]} of <{name}> {ACTIONS[scene.action]} {PLACES[scene.place]}")
        text = grammar.render(f"a short story about <{name}>, {who.words}", texts, [name], four)
        page.save(folder / f"{number:04d}.png")
        boxes = [list(box) for box in four.grid_layout.boxes]
        entry = {"file_name": f"{number:04d}.png", "text": text, "id": f"{number}", "task": four.name, "boxes": boxes}
        lines.append(json.dumps(entry | {"group": f"{number}", "panels": texts, "sources": []}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def ours(home: Path, out: Path, steps: int, batch: int) -> list[str]:
    settings = {
        "model": home / "model",
        "steps": steps,
        "batch": batch,
        "micro_batch": batch,
        "rank": RANK,
        "alpha": RANK,
        "learning_rate": RATE,
        "caption_dropout": 0,
        "smallest_panel": PANEL,
        "samples": 0,
        "seed": SEED,
        **dict.fromkeys(("validate_every", "sample_every", "save_every"), 10 * steps),
    }
    words = ["ours", "train", str(home / "four.toml"), "--data", str(home / "data"), "--out", str(out)]
    return words + [word for key, value in settings.items() for word in ("--set", f"train.{key}={value}")]


def theirs(script: Path, home: Path, steps: int, batch: int) -> list[str]:
    """The script's arguments for the same training as ours, except its output folder."""
    from training.backends import flux

    backend = flux.make(str(home / "model"))
    layers = [name for name, _ in backend.blank("transformer").named_modules() if re.fullmatch(backend.targets, name)]
    asked = {
        "pretrained_model_name_or_path": home / "model",
        "dataset_name": home / "data",
        "image_column": "image",
        "caption_column": "text",
        "instance_prompt": "four of a kind",
        "resolution": 2 * PANEL,
        "max_sequence_length": backend.text_limit,
        "rank": RANK,
        "lora_alpha": RANK,
        "lora_layers": ",".join(layers),
        "guidance_scale": 1.0,
        "learning_rate": RATE,
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
        "train_batch_size": batch,
        "max_train_steps": steps,
        "checkpointing_steps": 10 * steps,
        "mixed_precision": "no",
        "seed": SEED,
    }
    return ["diffusers", str(script.resolve()), *(f"--{key}={value}" for key, value in asked.items())]


# ---- a timed process, from outside


def run(words: Sequence[str], out: Path) -> Run:
    """Runs a side to its end.

    Args:
        words: arguments of `inside` after the clock's file.
        out: a folder that does not exist yet; caches are put beside it.
    """
    import psutil

    log, said = out.with_suffix(".clock"), out.with_suffix(".log")
    caches = {"HF_HOME": f"{out}-hub", "XDG_CACHE_HOME": f"{out}-cache", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "bench.trainers", "--inside", str(log), *words]
    with said.open("w") as file:
        started = time.monotonic()
        process = subprocess.Popen(command, env=os.environ | caches, stdout=file, stderr=subprocess.STDOUT)
        parent, children = psutil.Process(process.pid), 0
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            with contextlib.suppress(psutil.Error):
                own = [each.memory_full_info().uss for each in parent.children(recursive=True)]
                children = max(children, sum(own))
            time.sleep(POLL)
    if process.returncode:
        sys.exit(f"{' '.join(words[:2])} exited with {process.returncode}:\n{said.read_text()[-3000:]}")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return Run(
        first=lines[0]["end"] - started,
        first_work=lines[0]["busy"],
        steps=between([line["end"] for line in lines]),
        busy=between([line["busy"] for line in lines]),
        peak=(usage.ru_maxrss * 1024 + children) / 1e6,
        parts={
            part: statistics.median(line["parts"].get(part, 0.0) for line in lines[1 + WARM :])
            for part in (*PARTS, "optimizer")
        },
        seen=lines[-1]["seen"],
    )


def between(times: Sequence[float]) -> tuple[float, ...]:
    return tuple(after - before for before, after in itertools.pairwise(times))


# ---- a timed process, from inside


def inside(log: str, side: str, *words: str) -> None:
    """Runs in the timed process; `side` says what is timed."""
    if side == "floor":
        floor(Clock(Path(log)), words[0], steps=int(words[1]), batch=int(words[2]))
    elif side == "ours":
        Clock(Path(log)).start()
        sys.argv = ["iclora", *words]
        from iclora.cli import main as iclora

        iclora()
    else:
        if side == "diffusers":
            Clock(Path(log)).start()
        else:
            keep_step(Path(log))
        run_script(words)


def run_script(words: Sequence[str]) -> None:
    import runpy

    import transformers

    for kind in (transformers.CLIPTokenizer, transformers.T5TokenizerFast):
        kind.from_pretrained = transformers.AutoTokenizer.from_pretrained
    sys.argv = list(words)
    runpy.run_path(words[0], run_name="__main__")


class Clock:
    """Logs the end time of every step and the time per part, one line each. Parts are timed from the second step on."""

    def __init__(self, log: Path) -> None:
        self.file = log.open("w", buffering=1)
        self.parts: dict[str, float] = {}
        self.seen: dict[str, Any] = {}
        self.steps = 0

    def start(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        began = 0.0

        def before(*_: object) -> None:
            nonlocal began
            began = time.process_time()

        def after(optimizer: Any, *_: object) -> None:
            self.parts["optimizer"] = time.process_time() - began
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            self.seen["trained"] = [sum(parameter.numel() for parameter in trained), str(trained[0].dtype)]
            self.step()

        register_optimizer_step_pre_hook(before)
        register_optimizer_step_post_hook(after)

    def step(self) -> None:
        now = {"end": time.monotonic(), "busy": time.process_time()}
        self.file.write(json.dumps(now | {"parts": self.parts, "seen": self.seen}) + "\n")
        self.parts = {}
        self.steps += 1
        if self.steps == 1:  # by now a side has loaded its packages; the clock must not load any
            self.watch()

    def watch(self) -> None:
        """Wraps the functions of PARTS with timers."""
        for part, functions in PARTS.items():
            for function in functions:
                package, kind, name = function.split(".")
                owner = getattr(sys.modules[package], kind) if package in sys.modules else None
                if owner is not None:
                    setattr(owner, name, self.timed(part, getattr(owner, name)))

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def within(*args: Any, **kwargs: Any) -> Any:
            for name in ("hidden_states", "encoder_hidden_states"):
                if name in kwargs:
                    self.seen[name] = list(kwargs[name].shape)
            began = time.process_time()
            result = function(*args, **kwargs)
            self.parts[part] = self.parts.get(part, 0.0) + time.process_time() - began
            return result

        return within


def floor(clock: Clock, model: str, *, steps: int, batch: int) -> None:
    """Repeats forward and backward on one batch."""
    import torch
    from peft import LoraConfig

    from training.backends import flux
    from training.backends.base import pack

    backend = flux.make(model)
    transformer: Any = backend.load("transformer", torch.float32, "cpu")
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=backend.targets))
    trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    channels, height, width = backend.latent_shape((2 * PANEL, 2 * PANEL))
    text, pooled = (transformer.config[key] for key in ("joint_attention_dim", "pooled_projection_dim"))
    inputs = {
        "hidden_states": pack(torch.randn(batch, channels, height, width)),
        "encoder_hidden_states": torch.randn(batch, backend.text_limit, text),
        "pooled_projections": torch.randn(batch, pooled),
        "timestep": torch.rand(batch),
        "guidance": torch.ones(batch),
        "img_ids": flux.token_places(height, width),
        "txt_ids": torch.zeros(backend.text_limit, 3),
    }
    clock.seen["trained"] = [sum(parameter.numel() for parameter in trained), str(trained[0].dtype)]
    for _ in range(steps):
        transformer(**inputs, return_dict=False)[0].square().mean().backward()
        for parameter in trained:
            parameter.grad = None
        clock.step()


# ---- reproducing the loss


def keep_step(file: Path) -> None:
    """Saves the local variables of the script's `main` just before its optimizer's CHECKED step."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    steps = 0

    def before(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps != CHECKED:
            return
        frame = sys._getframe()
        while not {"model_input", "noise", "sigmas", "transformer"} <= frame.f_locals.keys():
            if frame.f_back is None:
                sys.exit("this version of the script uses other variable names")
            frame = frame.f_back
        held = frame.f_locals
        lora = {name: each for name, each in held["transformer"].named_parameters() if each.requires_grad}
        names = ("model_input", "noise", "sigmas", "prompt_embeds", "pooled_prompt_embeds", "loss")
        kept = {name: held[name].detach() for name in names}
        kept["lora"] = {name: each.detach() for name, each in lora.items()}
        kept["gradients"] = {name: each.grad for name, each in lora.items()}
        torch.save(kept, file)

    register_optimizer_step_pre_hook(before)


def check_loss(script: Path, home: Path, batch: int) -> None:
    """Recomputes one step of the script with our objective: loss and gradients must be the same."""
    import torch
    from peft import LoraConfig

    from training import objective
    from training.backends import flux

    file = home / "step.pt"
    _, *words = theirs(script, home, CHECKED, batch)
    words += [f"--output_dir={home / 'step'}", "--max_grad_norm=1e9"]
    command = [sys.executable, "-m", "bench.trainers", "--inside", str(file), "step", *words]
    ran = subprocess.run(
        command, env=os.environ | {"HF_HOME": str(home / "hub")}, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(f"diffusers' script exited with {ran.returncode}:\n{ran.stderr[-3000:]}")
    kept = torch.load(file)
    backend = flux.make(str(home / "model"))
    transformer: Any = backend.load("transformer", torch.float32, "cpu")
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=backend.targets))
    transformer.load_state_dict(kept["lora"], strict=False)
    latents, noise, sigma = kept["model_input"], kept["noise"], kept["sigmas"].flatten()
    texts = [
        {"text": text, "pooled": pooled}
        for text, pooled in zip(kept["prompt_embeds"], kept["pooled_prompt_embeds"], strict=True)
    ]
    predicted = backend.predict(transformer, objective.add_noise(latents, noise, sigma), sigma, texts)
    boxes = backend.latent_boxes([(x, y, x + PANEL, y + PANEL) for y in (0, PANEL) for x in (0, PANEL)])
    losses = objective.panel_losses(predicted, objective.velocity(latents, noise), boxes)
    loss = objective.grid_loss(losses, torch.ones_like(losses)).mean()
    loss.backward()
    apart = max(
        ((each.grad - kept["gradients"][name]).norm() / kept["gradients"][name].norm()).item()
        for name, each in transformer.named_parameters()
        if each.requires_grad
    )
    print(f"loss of one step  {kept['loss']:.7f} theirs, {loss:.7f} ours; gradients differ by at most {apart:.0e}")
    torch.testing.assert_close(loss.detach(), kept["loss"], rtol=1e-6, atol=1e-6)
    if not apart < SAME:
        sys.exit("the recomputed step has different gradients")


# ---- results


def report(runs: dict[str, list[Run]]) -> str | int:
    """Prints the tables; returns the reason for failing, or 0."""
    shown = [side for side in COLUMNS if side in runs]
    compared = all(side in runs for side in THEIRS)
    head = f"{'':<38}" + "".join(f"{side:>16}" for side in shown)
    print(head + (f"{'ours/theirs':>13}{'goal':>7}" if compared else ""))
    ratios = {}
    for what, (of, digits) in MEASURES.items():
        best = {side: min(map(of, runs[side])) for side in shown}
        row = f"{what:<38}" + "".join(f"{best[side]:>16.{digits}f}" for side in shown)
        if compared:
            ratios[what] = best["ours"] / min(best[side] for side in THEIRS)
            row += f"{ratios[what]:>13.2f}{GOALS.get(what, ''):>7}"
        print(row)
    print("CPU milliseconds of a step by part")
    for part in (*PARTS, "optimizer", REST):
        print(f"  {part:<36}" + "".join(f"{1000 * spent(fastest(runs[side]), part):>16.1f}" for side in shown))
    seen = {side: each[0].seen for side, each in runs.items()}
    print(f"inputs and trained parameters of each side: {seen['ours']}")
    if any(other != seen["ours"] for other in seen.values()):
        return f"the sides differ: {seen}"
    return "ours takes longer per step" if ratios.get("seconds per step", 0) > 1 else 0


def fastest(runs: Sequence[Run]) -> Run:
    return min(runs, key=lambda each: each.work)


def spent(of: Run, part: str) -> float:
    return of.work - sum(of.parts.values()) if part == REST else of.parts[part]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides transformers' progress bars."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield


if __name__ == "__main__":
    main()
