"""Seconds a step, seconds to the first step and peak memory: `iclora train` beside diffusers' FLUX DreamBooth script.

    python -m bench.trainers --diffusers .../examples/dreambooth/train_dreambooth_lora_flux.py [--steps 60] [--batch 2]

Both sides train a LoRA of the same layers and rank on the same FLUX in small (7.7 million parameters, random weights)
with the same twelve drawn grids of 192 x 192 pixels, the same length of text, the same optimizer, in fp32, each in a
process of its own, on the same clock: an optimizer's every step is noted by torch's own hook. The sides take turns;
a round's step is its median step, and the fastest round counts: what else the machine does only ever adds to a time.
It adds less to the seconds of a processor, which are told too. Caches are empty at every start; memory is that of the
whole tree of processes from its start to its end.

The script runs as it is but for two things: the miniature's tokenizers are of no class that it knows, so it is given
what AutoTokenizer finds, and it starts by plain `python`, which spares it the memory of `accelerate launch`. It is
timed with and without --cache_latents, though it then trains on pictures with other pictures' captions; the better of
the two counts, number by number. Its text encoders run at every step, and those of the miniature are far smaller
beside the transformer than FLUX.1's own: what they cost here is the least that they cost.

The floor is forward and backward of the same transformer with the same LoRA (peft's) and nothing else.

Also checked: at a step of the script its own latents, noise and noise levels give, through our maths, the loss and
the gradients that it had; and every side's model reads as many tokens, and trains as many numbers, as the others'.
Fails where that is not so, or where ours takes longer a step. Without --diffusers ours and the floor are timed alone.
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
WARM = 5  # steps that count for no median
ROUNDS = 3
SAME = 1e-4  # of a gradient's norm: how far apart two sums of the same numbers may come
CHECKED = 4  # the step of the script whose loss is computed again: by then the LoRA is no longer nothing
POLL = 0.02  # seconds
GOALS = {"seconds a step": 0.75, "seconds to the first step": 0.5, "peak memory, MB": 0.8}
THEIRS = ("diffusers", "latents cached")
COLUMNS = (*THEIRS, "ours", "floor")
PARTS = {
    "text encoders": ("transformers.T5EncoderModel.forward", "transformers.CLIPTextModel.forward"),
    "VAE": ("diffusers.AutoencoderKL.encode",),
    "transformer, forward": ("diffusers.FluxTransformer2DModel.forward",),
    "transformer, backward": ("torch.Tensor.backward",),
}
"""What takes a step's time, by the functions that it goes into; the optimizer is timed by its hooks."""
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
by = "neighbours"
"""
"""A square page: the script cuts a square out of everything."""


@dataclass(frozen=True)
class Run:
    """One process on the clock."""

    first: float
    """Seconds from the start to the end of the first step."""
    first_work: float
    """Processor seconds until then."""
    steps: tuple[float, ...]
    """Seconds of every step after the first."""
    peak: float
    """MB of memory: most that the process had, and most that its children had of their own.

    What a child shares with its parent counts once: a fork would seem to double it.
    """
    busy: tuple[float, ...]
    """Processor seconds of every step after the first, all threads together."""
    parts: dict[str, float]
    """Processor seconds of a step by part, medians."""
    seen: dict[str, Any]
    """Shapes that the transformer reads, and how many numbers are trained."""

    @property
    def step(self) -> float:
        return statistics.median(self.steps[WARM:])

    @property
    def work(self) -> float:
        return statistics.median(self.busy[WARM:])


MEASURES: dict[str, tuple[Callable[[Run], float], int]] = {
    "seconds a step": (lambda run: run.step, 3),
    "seconds a step, of a processor": (lambda run: run.work, 3),
    "seconds to the first step": (lambda run: run.first, 1),
    "seconds to the first, of a processor": (lambda run: run.first_work, 1),
    "peak memory, MB": (lambda run: run.peak, 0),
}
"""What is measured of a run, and to how many digits."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diffusers", type=Path, metavar="SCRIPT", help="train_dreambooth_lora_flux.py")
    parser.add_argument("--steps", type=int, default=60, help="of every run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="grids a step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of every side (default: %(default)s)")
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
            print("without --diffusers: ours alone, and the floor")
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side, words in sides.items():
                out = home / f"{side}-{number}"
                runs[side].append(run(words(out), out))
    sys.exit(report(runs))


# ---- what both sides get


def prepare(home: Path) -> None:
    """A model, a task file, and one data set in the layout that our exporter writes and `datasets` reads."""
    import torch

    from miniature.flux_parts import build_pipeline

    torch.manual_seed(SEED)
    pipeline = build_pipeline()
    pipeline.vae.register_to_config(shift_factor=0.1159, scaling_factor=0.3611)  # FLUX.1's: the loss depends on them
    with quiet():
        pipeline.save_pretrained(home / "model")
    (home / "four.toml").write_text(TASK, encoding="utf-8")
    draw_grids(home)


def draw_grids(home: Path) -> None:
    """Pages of one character in four scenes, with their captions."""
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
    """The script's options that ask for what ours does, but for the folder of its output."""
    from training.backends import flux

    backend = flux.make(str(home / "model"))
    layers = [name for name, _ in backend.blank("transformer").named_modules() if re.fullmatch(backend.TARGETS, name)]
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


# ---- a process on the clock, seen from outside


def run(words: Sequence[str], out: Path) -> Run:
    """Runs a side to its end.

    Args:
        words: what `inside` is told after the clock's file.
        out: a folder that is not there yet; caches lie beside it.
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
        sys.exit(f"{' '.join(words[:2])} ended with {process.returncode}:\n{said.read_text()[-3000:]}")
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


# ---- and from inside


def inside(log: str, side: str, *words: str) -> None:
    """The process that is timed; its first word says what runs in it."""
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
    """Notes when every step ends and where its time went, a line each. From the second step on parts are timed."""

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
        if self.steps == 1:  # what a side works with is loaded by now, and nothing had to be loaded for the clock
            self.watch()

    def watch(self) -> None:
        """Puts a timer round the functions of PARTS."""
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
    """Forward and backward on one batch, again and again."""
    import torch
    from peft import LoraConfig

    from training.backends import flux
    from training.backends.base import pack

    backend = flux.make(model)
    transformer: Any = backend.load("transformer", torch.float32, "cpu")
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=backend.TARGETS))
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


# ---- the same loss


def keep_step(file: Path) -> None:
    """Writes down what the script's `main` holds just before its optimizer's CHECKED step."""
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
                sys.exit("this version of the script names what a step works with in another way")
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
    """One step of the script, computed again by our maths: loss and gradients must be its own."""
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
        sys.exit(f"diffusers' script ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    kept = torch.load(file)
    backend = flux.make(str(home / "model"))
    transformer: Any = backend.load("transformer", torch.float32, "cpu")
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=backend.TARGETS))
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
    print(
        f"loss of one step  {kept['loss']:.7f} theirs, {loss:.7f} ours; gradients of a matrix {apart:.0e} apart at most"
    )
    torch.testing.assert_close(loss.detach(), kept["loss"], rtol=1e-6, atol=1e-6)
    if not apart < SAME:
        sys.exit("the same step has other gradients")


# ---- what came out


def report(runs: dict[str, list[Run]]) -> str | int:
    """Prints the tables; the fault, or 0."""
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
    print("where a step goes, processor milliseconds")
    for part in (*PARTS, "optimizer", REST):
        print(f"  {part:<36}" + "".join(f"{1000 * spent(fastest(runs[side]), part):>16.1f}" for side in shown))
    seen = {side: each[0].seen for side, each in runs.items()}
    print(f"every side's model reads and trains: {seen['ours']}")
    if any(other != seen["ours"] for other in seen.values()):
        return f"the sides don't do the same: {seen}"
    return "ours takes longer a step" if ratios.get("seconds a step", 0) > 1 else 0


def fastest(runs: Sequence[Run]) -> Run:
    return min(runs, key=lambda each: each.work)


def spent(of: Run, part: str) -> float:
    return of.work - sum(of.parts.values()) if part == REST else of.parts[part]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars that transformers draws when it saves a model."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield


if __name__ == "__main__":
    main()
