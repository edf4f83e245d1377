"""The training itself: it learns, can be interrupted anywhere and distributed, and says when it can't continue."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import tiny
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from pipeline.cache import Cache
from pipeline.errors import BadInput, Diverged
from pipeline.store import working
from training import checkpoint, checks, dataset, loop, lora_file, machine, objective, results, sampling
from training.backends.base import Prompts, unpack
from training.backends.flux import Flux
from training.checkpoint import State
from training.dataset import Prompt
from training.job import Job, find_backend
from training.latents import EncodedDataset, Encoder, Posterior
from training.loop import Outcome
from training.monitoring import heldout, preview
from training.monitoring.losses import Losses, mean
from training.processes import Processes

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
Make = Callable[..., Job]


class Stopped(Exception):
    """Stands in for a kill at a chosen moment."""


def run(job: Job, *, stop_before_saving: int | None = None) -> Outcome:
    def report(what: str, done: int, of: int) -> None:
        if what == "training" and done == stop_before_saving:
            raise Stopped

    return loop.train(job, Processes(), report)


def begun(job: Job) -> tuple[EncodedDataset, Any, State]:
    """A training before its first step: the encoded data, the transformer with its LoRA, and the state."""
    encoded = loop.encode(job, Processes(), lambda *_: None)
    transformer = machine.load_transformer(job.backend, job.config, CPU)
    return encoded, transformer, loop._begin(job, transformer, None, CPU)


def called_again(job: Job) -> Job:
    """The job as the next call of the command creates it, with no memory of what files contained."""
    return replace(job, backend=find_backend(job.task.base, job.config.model, None))


def gradients(
    job: Job, change: Callable[[EncodedDataset], EncodedDataset] = lambda encoded: encoded
) -> dict[str, Tensor]:
    """The gradients of the first step."""
    encoded, transformer, state = begun(job)
    for weight in state.weights.values():  # so that A has a gradient too
        weight.data = 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    loop.gradients(job, change(encoded), transformer, state, Processes())
    return {name: weight.grad.clone() for name, weight in state.weights.items() if weight.grad is not None}


def log(job: Job) -> list[dict[str, str]]:
    with (job.folder / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def header(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


def result(job: Job) -> dict[str, Any]:
    """Everything that a training leaves and that must not depend on how often it was interrupted."""
    lines = [{name: value for name, value in line.items() if name not in ("seconds", "memory")} for line in log(job)]
    files = sorted(job.folder.rglob("*.safetensors"))
    return {
        "checkpoint": torch.load(job.folder / checkpoint.FILE, weights_only=True),
        "log": lines,
        "validation": (job.folder / "validation.csv").read_text(encoding="utf-8"),
        "files": {str(file.relative_to(job.folder)): file.read_bytes() for file in files},
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Bit for bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for place, (part, twin) in enumerate(zip(one, other, strict=True)):
            assert_same(part, twin, f"{where}/{place}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


@pytest.fixture
def changed_base(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], None]:
    """`changed_base(change)` changes every transformer after it is loaded."""

    def patch(change: Callable[[Any], None]) -> None:
        load = machine.load_transformer

        def loaded(*arguments: Any) -> Any:
            transformer = load(*arguments)
            with torch.no_grad():
                change(transformer)
            return transformer

        monkeypatch.setattr(machine, "load_transformer", loaded)

    return patch


# ---- it learns, and only the LoRA does


def awake(transformer: Any) -> None:
    """Turns a base with seeded weights into one that learns in few steps: orthogonal ends and open gates.

    Untouched, it hardly passes on what it sees, and the best that a LoRA can learn is to predict nothing.
    """
    chance = torch.Generator().manual_seed(0)
    for layer, gain in ((transformer.x_embedder, 1), (transformer.proj_out, 2)):
        torch.nn.init.orthogonal_(layer.weight, gain=gain, generator=chance)
    width = transformer.inner_dim
    for name, bias in transformer.named_parameters():
        if name.endswith("norm.linear.bias"):  # shift, scale, gate
            bias[2 * width :] += 1
        if name.endswith("norm1.linear.bias"):  # the same twice
            bias[2 * width : 3 * width] += 1
            bias[5 * width :] += 1


def pattern(transformer: Any, seed: int) -> Tensor:
    """Latents of 24 x 16 with the same token everywhere, which the transformer can produce."""
    token = transformer.proj_out.weight @ torch.randn(tiny.WIDTH, generator=torch.Generator().manual_seed(seed))
    return unpack((token / token.std()).repeat(1, 96, 1), 24, 16)[0]


def test_it_overfits_one_grid_and_leaves_the_base_unchanged(
    make_job: Make,
    grids: Path,
    tmp_path: Path,
    changed_base: Callable[[Callable[[Any], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pattern stands in for the VAE's latents: with seeded weights, those are nothing that so small a
    base could learn. Only what was learnt is sampled, and only with the LoRA."""
    for suffix in (".png", ".txt"):
        (tmp_path / "one").mkdir(exist_ok=True)
        shutil.copy(grids / "train" / f"0001{suffix}", tmp_path / "one")
    kept: list[Any] = []
    changed_base(awake)
    changed_base(kept.append)
    job = make_job(data=tmp_path / "one", steps=40, batch=2, rank=16, alpha=16, learning_rate=0.02)
    base = job.backend.load("transformer", torch.float32, "cpu")
    with torch.no_grad():
        awake(base)
    learnt, other = (pattern(base, seed) for seed in (1, 2))
    encoded = loop.encode(job, Processes(), lambda *_: None)
    (view,) = encoded.grids
    same = Posterior(learnt, torch.zeros_like(learnt), learnt)
    monkeypatch.setattr(loop, "encode", lambda *_: replace(encoded, grids={view: same}))
    assert run(job).took == 40

    def likeness(transformer: Any, image: Tensor) -> float:
        noise = torch.randn(1, *image.shape, generator=torch.Generator().manual_seed(0))
        prompts = Prompts([encoded.texts[Prompt(view.sample.text)]], [encoded.texts[Prompt("")]])
        drawn = sampling.draw(job.backend, transformer, prompts, noise, sampling.SamplingSettings(10, 1.0))
        return float(torch.corrcoef(torch.stack([drawn.flatten(), image.flatten()]))[0, 1])

    assert likeness(kept[0], learnt) > 0.5
    assert abs(likeness(kept[0], other)) < 0.2 and abs(likeness(base, learnt)) < 0.2
    trained = {name.replace(".base_layer.", "."): value for name, value in kept[0].state_dict().items()}
    assert_same(dict(base.state_dict()), {name: trained[name] for name in base.state_dict()})
    assert trained.keys() - base.state_dict().keys() == {name for name in trained if ".lora_" in name}


def test_z_image_is_trained_by_the_same_loop(make_job: Make, tmp_path: Path) -> None:
    model = tiny.z_image(tmp_path / "model", length=256)
    settings = {"steps": 15, "learning_rate": 0.01, "conditional": 0.5, "samples": 1, "sample_steps": 1}
    job = make_job(model=str(model), overrides=['base="z-image"'], **settings)
    outcome = run(job)
    with (job.folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    first, last = (
        sum(float(line["loss"]) for line in lines if line["step"] == step) / len(lines) for step in ("0", "15")
    )
    assert last < 0.99 * first, (first, last)
    card, tensors = lora_file.find_card(outcome.file), load_file(outcome.file)
    assert (card.family, card.step) == ("z-image", 15)
    layers = {name.removesuffix(".lora_B.weight") for name in tensors if name.endswith(".lora_B.weight")}
    assert all(re.fullmatch(rf"transformer\.{job.backend.targets}", layer) for layer in layers)
    assert tensors.keys() == {f"{layer}.lora_{part}.weight" for layer in layers for part in "AB"}
    assert all(tensors[f"{layer}.lora_B.weight"].any() for layer in layers)


def test_the_files_hold_the_average_and_the_raw_weights_with_their_metadata(make_job: Make) -> None:
    job = make_job(steps=3, rank=4, alpha=8, save_every=2)
    outcome = run(job)
    state = torch.load(job.folder / checkpoint.FILE, weights_only=True)
    raw = outcome.file.with_name("storyboard-raw.safetensors")
    for file, weights, averaged in ((outcome.file, state["average"], True), (raw, state["weights"], False)):
        card, tensors = lora_file.find_card(file), load_file(file)
        assert (card.averaged, card.step, card.grids) == (averaged, 3, 6)
        assert (card.task, card.layout, card.scales) == ("storyboard", job.task.grid_layout, (0.125,))
        assert (card.markers, card.prefix, card.condition) == (job.task.markers, "[MOVIE-SHOTS]", ())
        assert (card.family, card.base, card.licence, card.data) == ("flux-1", "flux", "unknown", job.data.digest)
        assert card.weights == job.backend.identity("transformer")
        assert card.recipe == job.recipe
        for name, weight in weights.items():
            assert torch.equal(tensors[f"transformer.{name}"], weight * (2.0 if "lora_B" in name else 1.0))
    assert any(not torch.equal(state["average"][name], state["weights"][name]) for name in state["weights"])
    assert sorted(path.name for path in (job.folder / "steps").iterdir()) == [
        "storyboard-000002.safetensors",
        "storyboard-000003.safetensors",
    ]
    assert not list(job.folder.rglob("*.part"))


def test_a_finished_training_has_nothing_left_to_do(make_job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(make_job(steps=2))
    monkeypatch.setattr(loop, "encode", None)
    again = run(make_job(steps=2))
    assert (again.file, again.step, again.took, again.held_out) == (first.file, 2, 0, first.held_out)


def test_with_another_tokenizer_texts_are_encoded_again(make_job: Make, tiny_flux: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_flux, tmp_path / "model")
    job = make_job(model=str(model))

    def encoded(cache: Cache) -> dict[str, dict[str, Tensor]]:
        again = called_again(job)
        texts = Encoder(again.backend, cache, torch.float32, CPU, CPU, lambda *_: None).texts([Prompt("a bear")])
        return {prompt.text: read for prompt, read in texts.items()}

    first = encoded(job.cache)
    table = model / "tokenizer_2" / "tokenizer.json"
    content = json.loads(table.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["a"], words["z"] = words["z"], words["a"]
    table.write_text(json.dumps(content), encoding="utf-8")
    second = encoded(job.cache)
    assert_same(second, encoded(Cache(tmp_path / "empty")))
    assert not torch.equal(first["a bear"]["text"], second["a bear"]["text"])


# ---- a step


@pytest.mark.parametrize("condition", [1, 3])
def test_gradients_do_not_depend_on_the_targets_of_given_panels(condition: int, make_job: Make) -> None:
    job = make_job(conditional=1.0, overrides=[f"condition=[{condition}]"])
    boxes = job.backend.latent_boxes(job.shown.boxes)
    mask = objective.panel_mask(boxes, [condition - 1], boxes[-1][3], boxes[-1][2])

    def another_target(encoded: EncodedDataset) -> EncodedDataset:
        return replace(encoded, grids={v: replace(p, mean=p.mean + 9 * mask) for v, p in encoded.grids.items()})

    def another_panel(encoded: EncodedDataset) -> EncodedDataset:
        return replace(encoded, grids={v: replace(p, alone=p.alone + mask) for v, p in encoded.grids.items()})

    first = gradients(job)
    assert_same(first, gradients(job, another_target))
    seen = gradients(job, another_panel)
    assert any(not torch.allclose(first[name], seen[name]) for name in first)  # the model sees the given panels


def test_a_step_is_the_same_whatever_its_micro_batches(make_job: Make) -> None:
    whole, single = gradients(make_job(micro_batch=4)), gradients(make_job(micro_batch=1))
    uneven = gradients(make_job(micro_batch=3))
    for name, gradient in whole.items():
        for other in (single[name], uneven[name]):
            torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)


def test_recomputing_blocks_gives_the_same_gradients(make_job: Make) -> None:
    own, again = (make_job(checkpointing=on) for on in (False, True))
    assert machine.load_transformer(again.backend, again.config, CPU).is_gradient_checkpointing
    assert not machine.load_transformer(own.backend, make_job().config, CPU).is_gradient_checkpointing
    assert_same(gradients(own), gradients(again))


def test_the_learning_rate_warms_up_and_then_stays_constant_or_falls(make_job: Make) -> None:
    level = make_job(steps=10, warmup=4, learning_rate=1e-3).config
    assert [loop.learning_rate(level, step) * 1e3 for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    falling = make_job(steps=10, warmup=4, schedule="cosine", learning_rate=1e-3).config
    rates = [loop.learning_rate(falling, step) * 1e3 for step in range(10)]
    assert rates[3:5] == pytest.approx([1, 1]) and rates[7] == pytest.approx(0.5) and 0 < rates[9] < 0.1
    assert rates[4:] == sorted(rates[4:], reverse=True)


# ---- stopping and resuming


EVERYTHING = {
    "steps": 5,
    "save_every": 1,
    "validate_every": 2,
    "patience": 50,
    "conditional": 0.5,
    "permute": 0.5,
    "caption_dropout": 0.3,
    "scales": [0.125, 0.1875],
    "warmup": 2,
}
"""Everything with randomness or memory. 6 grids at 4 per step end their first epoch within the second step, the second
with the third."""


def test_a_stopped_and_resumed_training_gives_the_same_bits(make_job: Make) -> None:
    """After the first step, in the middle of an epoch, at its end, and before anything was saved."""
    undisturbed = make_job("undisturbed", **EVERYTHING)
    run(undisturbed)
    for steps in (0, 1, 2, 3):
        name = f"stopped after {steps}"
        with pytest.raises(Stopped):
            run(make_job(name, **EVERYTHING), stop_before_saving=steps + 1)
        assert len(log(make_job(name, **EVERYTHING))) == steps + 1  # a repeated step
        (make_job(name).folder / "checkpoint.pt.part").write_bytes(b"half of a checkpoint")
        with (make_job(name).folder / "log.csv").open("a", encoding="utf-8") as file:
            file.write("9,0.")
        again = make_job(name, **EVERYTHING)
        assert run(again).took == 5 - steps
        assert_same(result(again), result(undisturbed))


def test_a_training_can_be_extended_as_if_the_steps_had_been_there_from_the_start(make_job: Make) -> None:
    run(make_job("first", steps=2))
    longer = make_job("first", steps=4)
    assert run(longer).took == 2
    at_once = make_job("second", steps=4)
    run(at_once)
    extended, wanted = result(longer), result(at_once)
    for kept in (extended, wanted):
        kept["files"] = {name: content for name, content in kept["files"].items() if name.startswith("storyboard")}
        kept.pop("validation")  # the shorter one was also measured at its end
    assert_same(extended, wanted)


def test_a_training_killed_after_its_last_step_does_not_mistake_an_earlier_lora_for_its_own(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one has fewer steps, or is from another training in the folder."""

    def killed(job: Job, _: State) -> None:
        raise Stopped

    file = run(make_job(steps=1)).file
    for settings in ({"steps": 2}, {"steps": 2, "seed": 1}):
        if "seed" in settings:
            (file.parent / checkpoint.FILE).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(results, "finish", killed)
            with pytest.raises(Stopped):
                run(make_job(**settings))
        assert file.exists()  # until there is a better one
        job = make_job(**settings)
        assert run(job).took == 0
        assert (lora_file.find_card(file).step, lora_file.find_card(file).recipe) == (2, job.recipe)


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that have imported everything when they start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "test_training",
            "diffusers.models.transformers.transformer_flux",
            "diffusers.models.autoencoders.autoencoder_kl",
            "transformers.models.clip.modeling_clip",
            "transformers.models.t5.modeling_t5",
            "peft",
            "torch.utils.tensorboard",
            "training.monitoring.figures",
            "matplotlib.figure",
        ]
    )
    return context


def train_and_report(job: Job, pipe: Connection) -> None:
    loop.train(job, Processes(), lambda *progress: pipe.send(progress))


def finishes(context: Any, job: Job, most: float = math.inf, wait: float = 0.0) -> bool:
    """Trains in a separate process, which is killed some seconds after it has reported progress so many times."""
    here, there = context.Pipe()
    child = context.Process(target=train_and_report, args=(job, there))
    child.start()
    there.close()
    reports = 0
    with contextlib.suppress(EOFError):  # it ended by itself
        while reports < most:
            here.recv()
            reports += 1
    if reports == most:
        child.join(wait)
        child.kill()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0


@pytest.mark.slow
def test_a_training_killed_at_random_moments_gives_the_same_bits(
    make_job: Make, tmp_path: Path, processes: Any
) -> None:
    """From the first caption to the last file, with an empty cache."""
    settings = EVERYTHING | {"permute": 0.0, "steps": 12}
    undisturbed = make_job("undisturbed", cache=Cache(tmp_path / "a"), **settings)
    assert finishes(processes, undisturbed)
    moments, kills = random.Random(0), 0
    killed = make_job("killed", cache=Cache(tmp_path / "b"), **settings)
    for most in (2, 9, 14, 3, 2):  # there are 7 captions and 14 grids to encode, then come the steps
        kills += not finishes(processes, killed, most, moments.uniform(0, 0.03))
    assert kills >= 4
    assert finishes(processes, killed)
    assert_same(result(killed), result(undisturbed))


# ---- refused


def test_a_folder_with_another_training_is_refused_with_the_differences(
    make_job: Make, grids: Path, tmp_path: Path
) -> None:
    job = make_job(steps=1)
    run(job)
    assert checkpoint.load(make_job(steps=1))
    assert checkpoint.load(make_job(steps=9, validate_every=3, micro_batch=1, checkpointing=True, patience=2))
    for key, value in (("learning_rate", 0.5), ("seed", 1), ("rank", 8), ("batch", 2)):
        with pytest.raises(BadInput, match=rf"holds another training \({key} \S+ -> {value}\); .*--into"):
            checkpoint.load(make_job(steps=1, **{key: value}))
    run(make_job("falling", steps=2, schedule="cosine"))
    with pytest.raises(BadInput, match=r"another training \(steps 2 -> 3\)"):
        run(make_job("falling", steps=3, schedule="cosine"))
    for side, what in (("train", "data set"), ("validation", "held-out set")):
        fewer = shutil.copytree(grids, tmp_path / side)
        table = fewer / side / "metadata.jsonl"
        first, *others = table.read_text(encoding="utf-8").splitlines(keepends=True)
        (fewer / side / json.loads(first)["file_name"]).unlink()
        table.write_text("".join(others), encoding="utf-8")
        with pytest.raises(BadInput, match=rf"another training \({what} {job.recipe[what]} -> [0-9a-f]{{16}}\)"):
            checkpoint.load(make_job(steps=1, data=fewer))


def test_other_given_panels_or_another_canvas_make_another_training(make_job: Make) -> None:
    settings = {"steps": 1, "conditional": 1.0}
    run(make_job(**settings, overrides=["condition=[1]"]))
    with pytest.raises(BadInput, match=r"another training \(condition \[1\] -> \[2\]\)"):
        run(make_job(**settings, overrides=["condition=[2]"]))
    larger = ["condition=[1]", "layout.panel_width=1152", "layout.panel_height=576"]
    with pytest.raises(BadInput, match=r"\(layouts \['3 x 1 panels of 128 x 64'\] -> \['3 x 1 panels of 144 x 64'\]\)"):
        run(make_job(**settings, overrides=larger))


def test_runs_share_what_was_encoded(
    iclora: Callable[..., tuple[int, str, str]], grids: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (f"model={tiny_flux}", "scales=[0.125]", "smallest_panel=48", "steps=1", "samples=0")
    command = ["train", "storyboard", "--data", str(grids), *(f"--set=train.{one}" for one in settings)]
    assert iclora(*command, "--out", "first")[0] == 0
    loaded, load = list[str](), Flux.load
    monkeypatch.setattr(Flux, "load", lambda self, part, *more: (loaded.append(part), load(self, part, *more))[1])
    code, _, err = iclora(*command, "--out", "second")
    assert code == 0, err
    assert loaded == ["transformer"]  # neither text encoders nor VAE


def test_the_same_base_under_another_name_is_the_same_training(make_job: Make, tiny_flux: Path, tmp_path: Path) -> None:
    first = run(make_job("first", steps=1)).file
    job = make_job(model=str(tiny_flux), init=str(first), steps=1)
    run(job)
    renamed = shutil.copyfile(first, tmp_path / "renamed.safetensors")
    by_name = {"model": str(shutil.copytree(tiny_flux, tmp_path / "model")), "init": str(renamed)}
    assert run(make_job(**by_name, smallest_panel=64, truncate=True, steps=1)).took == 0
    run(make_job("second", steps=1, seed=1))
    shutil.copyfile(tmp_path / "second" / "storyboard.safetensors", first)
    with pytest.raises(BadInput, match=r"another training \(init [0-9a-f]{16} -> [0-9a-f]{16}\)"):
        run(called_again(job))
    first.unlink()
    with pytest.raises(BadInput, match=r"\(init [0-9a-f]{16} -> .*storyboard\.safetensors, which can't be read\)"):
        run(called_again(job))


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder_2", "tokenizer_2", "scheduler"])
def test_a_different_part_under_the_same_name_is_another_model(
    part: str, make_job: Make, tiny_flux: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_flux, tmp_path / "model")
    job = make_job(model=str(model), steps=1)
    job.folder.mkdir()
    checkpoint.save(job, begun(job)[2])
    file = next((model / part).glob("*.json"))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(BadInput, match=rf"another training \({part} [0-9a-f]{{16}} -> [0-9a-f]{{16}}\)"):
        run(make_job(model=str(model), steps=1))


def test_a_damaged_checkpoint_is_named_with_a_way_to_proceed(make_job: Make) -> None:
    job = make_job()
    job.folder.mkdir()
    checkpoint.save(job, begun(job)[2])
    file = job.folder / checkpoint.FILE
    whole = file.read_bytes()
    cut = [whole[:length] for length in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    with zipfile.ZipFile(file) as parts:
        amid = max(parts.infolist(), key=lambda part: part.file_size).header_offset + 500  # one bit of a weight
    flipped = whole[:amid] + bytes([whole[amid] ^ 64]) + whole[amid + 1 :]
    for content in (*cut, b"no checkpoint", whole[:300] + bytes(300) + whole[600:], bytes(len(whole)), flipped):
        file.write_bytes(content)
        with pytest.raises(
            BadInput, match=r"checkpoint\.pt is damaged and can't be read; delete it .*--into.*train\.init"
        ):
            checkpoint.load(job)
    file.write_bytes(whole)
    assert checkpoint.load(job)


# ---- failures during training


def test_a_loss_that_is_not_a_number_ends_the_training_with_a_sentence(make_job: Make) -> None:
    job = make_job(learning_rate=1e15, save_every=1)
    with pytest.raises(
        Diverged, match=r"step \d: the loss is \S+ and the gradient's norm \S+, .*train\.learning_rate lower than"
    ):
        run(job)
    assert len(log(job)) < 4


def test_weights_that_are_not_numbers_are_never_written(make_job: Make) -> None:
    """After the last step, whose loss was measured before it: a rate that is infinite in 32 bits, and the largest
    finite one."""
    for rate, what in ((1e39, "norm of the LoRA's weights"), (1e15, "held-out loss")):
        job = make_job(f"{rate}", learning_rate=rate, steps=1)
        with pytest.raises(
            Diverged,
            match=rf"step 1: the {what} is (nan|inf), .*train\.learning_rate lower than {rate:g}".replace("+", r"\+"),
        ):
            run(job)
        assert not list(job.folder.rglob("*.safetensors")) and not (job.folder / checkpoint.FILE).exists()


def test_nan_in_the_base_ends_the_training_before_a_step(
    make_job: Make, changed_base: Callable[[Callable[[Any], None]], None]
) -> None:
    changed_base(lambda transformer: transformer.proj_out.weight[3, 3].fill_(math.nan))
    with pytest.raises(Diverged, match="step 0: the held-out loss is nan"):
        run(make_job())
    assert not (make_job().folder / checkpoint.FILE).exists()


def test_a_zero_gradient_ends_the_training_before_a_step(
    make_job: Make, changed_base: Callable[[Callable[[Any], None]], None]
) -> None:
    changed_base(lambda transformer: transformer.proj_out.weight.zero_())
    with pytest.raises(Diverged, match="step 1: the gradient is zero, so nothing would be learnt"):
        run(make_job())


def test_running_out_of_gpu_memory_suggests_settings_that_take_less(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Flux, "predict", full)
    anew = r"start over with smaller train\.scales or train\.base_weights=nf4\.$"
    with pytest.raises(
        BadInput, match=rf"of 4 grids .*; resume with train\.micro_batch=1 and train\.checkpoi\S+, or {anew}"
    ):
        run(make_job())
    with pytest.raises(BadInput, match=rf"of 1 grid .* with train\.base_weights=auto; {anew}"):
        run(make_job(micro_batch=1, checkpointing=True, compile=True))
    with pytest.raises(BadInput, match=rf"; resume with train\.offload=true, or {anew}"):
        run(make_job(micro_batch=1, checkpointing=True))


def test_running_out_of_gpu_memory_before_the_first_step_blames_no_step(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "grids", Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory.")))
    with pytest.raises(BadInput, match=r"too small to encode the grids; end what else uses it, or .* train\.scales\.$"):
        run(make_job())


@pytest.mark.parametrize(
    ("key", "value", "way_on"),
    [
        ("base_weights", "int8", "or use fp8"),
        ("base_weights", "nf4", "or use fp8"),
        ("optimizer", "adamw8bit", "leave"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_before_anything_loads(
    key: str, value: str, way_on: str, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(**{key: value})
    monkeypatch.setattr(type(job.backend), "load", None)
    with pytest.raises(BadInput, match=rf"train\.{key}={value} needs a CUDA device .* no CUDA device .*{way_on}"):
        checks.run(job, CPU)


# ---- precision of the base


@pytest.mark.parametrize(("kind", "stored"), [("bf16", torch.bfloat16), ("fp8", torch.float8_e4m3fn)])
def test_a_base_in_fewer_bits_is_trained_on_with_a_lora_in_32(
    kind: str, stored: torch.dtype, make_job: Make, changed_base: Callable[[Callable[[Any], None]], None]
) -> None:
    kept: list[Any] = []
    changed_base(kept.append)
    job = make_job(base_weights=kind, steps=2, conditional=0.5, samples=1, sample_steps=1)
    outcome = run(job)
    layer = kept[0].transformer_blocks[0].attn.to_q
    assert layer.base_layer.weight.dtype == stored
    assert {layer.lora_A["default"].weight.dtype, layer.lora_B["default"].weight.dtype} == {torch.float32}
    assert all(math.isfinite(float(line["loss"])) for line in log(job))
    assert {tensor.dtype for tensor in load_file(outcome.file).values()} == {torch.float32}
    assert any(tensor.any() for name, tensor in load_file(outcome.file).items() if "lora_B" in name)


def test_a_lora_starts_with_the_same_weights_on_every_base(make_job: Make) -> None:
    drawn = [begun(make_job(base_weights=kind))[2].weights for kind in ("fp32", "bf16", "fp8")]
    for weights in drawn[1:]:
        assert_same({n: w.data for n, w in drawn[0].items()}, {n: w.data for n, w in weights.items()})


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor"
)  # torch's own warning, which torch itself hides from users
def test_compiled_blocks_learn_the_same(make_job: Make) -> None:
    own, compiled = make_job("own", steps=2), make_job("compiled", steps=2, compile=True)
    run(own)
    run(compiled)
    for line, other in zip(log(own), log(compiled), strict=True):
        assert float(other["loss"]) == pytest.approx(float(line["loss"]), rel=1e-4)


# ---- several processes


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_processes_share_all_of_a_step(count: int) -> None:
    shares = []
    for rank in range(count):
        processes = Processes()
        processes.rank, processes.count = rank, count
        shares.append(processes.own(range(8, 12)))
    assert sorted(position for share in shares for position in share) == [8, 9, 10, 11]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
def test_two_processes_give_the_same_weights_as_one(
    make_job: Make, grids: Path, tiny_flux: Path, tmp_path: Path
) -> None:
    """Under `accelerate launch` as a user types it. Three grids per step: one process has two, the other has one."""
    settings = {"steps": 3, "batch": 3, "micro_batch": 1, "conditional": 0.5, "validate_every": 2}
    alone = make_job("alone", **settings)
    run(alone)
    script = tmp_path / "command.py"
    script.write_text("from iclora.cli import main\nmain()\n", encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = "-m accelerate.commands.launch --cpu --num_processes 2 --num_machines 1 --mixed_precision no"
    train = ["train", "storyboard", "--data", str(grids), "--out", str(tmp_path), "--into", str(tmp_path / "two")]
    usual = {"model": tiny_flux, "scales": [0.125], "smallest_panel": 48, "rank": 4, "alpha": 4, "learning_rate": 1e-3}
    for key, value in (usual | {"samples": 1, "sample_steps": 1} | settings).items():
        train += ["--set", f"train.{key}={value}"]
    done = subprocess.run(
        [sys.executable, *launch.split(), "--dynamo_backend", "no", "--main_process_port", str(port), script, *train],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1_800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained: 3 steps") == 1  # only one process prints
    shared = replace(alone, folder=tmp_path / "two")
    for line, other in zip(log(alone), log(shared), strict=True):
        for name in ("loss", "loss_1", "loss_2", "loss_3", "gradient_norm", "learning_rate"):
            assert (line[name] == "") == (other[name] == "")  # the same panels were given
            if line[name]:
                assert float(other[name]) == pytest.approx(float(line[name]), rel=1e-4)
    one, two = (torch.load(job.folder / checkpoint.FILE, weights_only=True) for job in (alone, shared))
    assert two["held_out"] == pytest.approx(one["held_out"], rel=1e-5)
    for part in ("weights", "average"):
        for name, weight in one[part].items():
            torch.testing.assert_close(two[part][name], weight, rtol=1e-4, atol=1e-6)


# ---- monitoring


def test_held_out_losses_are_the_same_every_time_and_start_at_those_of_the_base(make_job: Make) -> None:
    job = make_job(steps=2, conditional=0.5)
    run(job)
    encoded = loop.encode(job, Processes(), lambda *_: None)
    base = job.backend.load("transformer", torch.float32, "cpu")
    first, second = (heldout.measure(job, encoded, base, Processes()) for _ in range(2))
    assert first == second
    with (job.folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    losses = {
        (line["given"], float(line["sigma"]), int(line["panel"])): float(line["loss"])
        for line in lines
        if line["step"] == "0"
    }
    assert losses == pytest.approx(first, rel=1e-6)
    assert {(kind, sigma) for kind, sigma, _ in losses} == {*itertools.product(("joint", "clean any"), heldout.SIGMAS)}
    assert {line["step"] for line in lines} == {"0", "2"}


def test_held_out_losses_do_not_depend_on_the_seed_of_a_training(make_job: Make) -> None:
    jobs = [make_job(seed=seed, conditional=0.5) for seed in (0, 1)]
    encoded = loop.encode(jobs[0], Processes(), lambda *_: None)
    base = jobs[0].backend.load("transformer", torch.float32, "cpu")
    first, second = (heldout.measure(job, encoded, base, Processes()) for job in jobs)
    assert first == second
    assert len(set(first.values())) == len(first)  # every level and panel is measured with its own noise


def test_given_panels_have_no_held_out_loss(make_job: Make) -> None:
    job = make_job(conditional=1.0, overrides=["condition=[2]"])
    encoded, transformer, _ = begun(job)
    losses = heldout.measure(job, encoded, transformer, Processes())
    assert {panel for _, _, panel in losses} == {1, 3}
    assert mean(losses) == pytest.approx(sum(losses.values()) / 10)


def test_a_training_whose_held_out_loss_stops_improving_ends_and_keeps_the_best(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up held-out losses: best after two steps, no better at four and six."""
    settings = {"validate_every": 2, "save_every": 2}
    losses: Iterator[float] = iter([1.0, 0.5, 0.7, 0.6])
    monkeypatch.setattr(loop, "mean", lambda _: next(losses))
    outcome = run(make_job(steps=20, patience=2, **settings))
    assert (outcome.step, outcome.held_out) == (6, 0.6)
    assert lora_file.find_card(outcome.file).step == 2
    steps = {path.name: load_file(path) for path in (outcome.file.parent / "steps").iterdir()}
    assert_same(load_file(outcome.file), steps["storyboard-000002.safetensors"])
    assert run(make_job(steps=20, patience=2, **settings)).took == 0
    assert (
        lora_file.find_card(run(make_job(steps=6, **settings)).file).step == 6
    )  # without patience the last step counts
    monkeypatch.setattr(loop, "mean", lambda _: 0.9)
    longer = run(make_job(steps=8, **settings))
    assert (longer.took, lora_file.find_card(longer.file).step) == (2, 8)


def test_the_file_says_which_step_it_is_and_why_and_the_outcome_names_a_better_one(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up held-out losses, lowest after two steps of six."""
    losses: Iterator[float] = iter([1.0, 0.5, 0.7, 0.6])

    def measured(*_: object) -> Losses:
        return {("joint", 0.5, 1): next(losses)}

    monkeypatch.setattr(heldout, "measure", measured)
    job = make_job(steps=6, validate_every=2, save_every=2)
    outcome = run(job)
    card = lora_file.find_card(outcome.file)
    assert (card.step, card.why, outcome.of_step) == (6, "the last step", 6)
    better = job.folder / "steps" / "storyboard-000002.safetensors"
    assert outcome.lowest == results.Lowest(2, 0.5, better)
    assert lora_file.find_card(better).why == "saved on the way"
    assert run(make_job(steps=6, validate_every=2, save_every=2)).lowest == outcome.lowest
    losses = iter([1.0, 0.5, 0.7, 0.6])
    stopped = run(make_job("other", steps=6, validate_every=2, save_every=6, patience=2))
    assert (lora_file.find_card(stopped.file).step, lora_file.find_card(stopped.file).why) == (2, results.BEST)
    assert stopped.lowest == results.Lowest(2, 0.5, None)


def test_only_the_newest_steps_stay_and_that_of_the_lowest_held_out_loss(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 0.9, 0.5, 0.6, 0.7, 0.8, 0.9])
    monkeypatch.setattr(heldout, "measure", lambda *_: {("joint", 0.5, 1): next(losses)})
    job = make_job(steps=6, validate_every=1, save_every=1, keep=2)
    outcome = run(job)
    kept = sorted(file.name for file in (job.folder / "steps").iterdir())
    assert kept == [f"storyboard-{step:06d}.safetensors" for step in (2, 5, 6)]
    assert outcome.lowest == results.Lowest(2, 0.5, job.folder / "steps" / kept[0])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_error_of_the_disk_that_names_the_checkpoint(make_job: Make) -> None:
    job = make_job(steps=2, save_every=1)
    run(job)
    kept = (job.folder / checkpoint.FILE).read_bytes()
    state = begun(job)[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r": open("/dev/full", mode))  # noqa: SIM115
        with pytest.raises(OSError, match="No space left on device") as full:
            checkpoint.save(job, state)
    assert full.value.filename == str(job.folder / checkpoint.FILE)
    assert (job.folder / checkpoint.FILE).read_bytes() == kept


def test_how_a_training_stands_is_logged_at_every_step(make_job: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "iclora"):
        run(make_job(steps=3, validate_every=2))
    said = [record.getMessage() for record in caplog.records]
    assert sum(bool(re.fullmatch(r"loss \d\.\d{4}, held-out loss \d\.\d{4}", line)) for line in said) == 3
    assert any(re.fullmatch(r"loading transformer of .*flux", line) for line in said)


@pytest.mark.slow
def test_if_patience_ends_a_training_between_two_saves_everything_is_written_as_at_the_last_step(
    make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base alone has the lowest held-out loss of all, and is not the result."""
    settings = {"validate_every": 1, "save_every": 5, "patience": 2, "samples": 1, "sample_steps": 1}
    losses: Iterator[float] = iter([0.1, 0.5, 0.7, 0.6])
    monkeypatch.setattr(loop, "mean", lambda _: next(losses))
    outcome = run(make_job(**settings, steps=20))
    assert (outcome.step, outcome.of_step, lora_file.find_card(outcome.file).step) == (3, 1, 1)
    assert any(tensor.any() for name, tensor in load_file(outcome.file).items() if "lora_B" in name)
    assert torch.load(outcome.file.parent / checkpoint.FILE, weights_only=True)["step"] == 3
    assert [path.name for path in (outcome.file.parent / "steps").iterdir()] == ["storyboard-000003.safetensors"]
    assert (outcome.file.parent / "samples" / "000003-1.png").exists()
    again = run(make_job(**settings, steps=20))
    assert (again.took, again.of_step) == (0, 1)


def test_samples_are_drawn_on_the_canvas_from_the_same_noise(make_job: Make) -> None:
    job = make_job(steps=2, sample_every=1, samples=2, sample_steps=2, learning_rate=0.05)
    run(job)
    names = [f"{step:06d}-{number}.png" for step in range(3) for number in (1, 2)]
    assert sorted(path.name for path in (job.folder / "samples").iterdir()) == names
    drawn = [Image.open(job.folder / "samples" / name).convert("RGB") for name in names]
    assert {picture.size for picture in drawn} == {job.shown.canvas} == {(128, 192)}
    encoded, transformer, _ = begun(job)
    for picture, again in zip(drawn, preview.draw(job, encoded, transformer, CPU, job.prompted), strict=False):
        assert picture.tobytes() == again.tobytes()
    assert drawn[0].tobytes() != drawn[4].tobytes()
    with Image.open(job.folder / "samples.png") as strip:
        assert strip.height > 2 * 128


@pytest.mark.usefixtures("drawn_plots")
def test_the_plots_exist_at_the_end(make_job: Make) -> None:
    job = make_job(steps=1)
    run(job)
    with Image.open(job.folder / "loss.png") as figure:
        assert figure.width > 500


@pytest.mark.parametrize("kept", ["clean", "noised"])
def test_given_panels_come_back_unchanged(kept: Any, make_job: Make) -> None:
    job = make_job(conditional=1.0, overrides=["condition=[1]"])
    encoded, transformer, _ = begun(job)
    sample = job.data.held_out[0]
    alone = encoded.grids[dataset.plain(sample, job.shown)].alone[None]
    mask = objective.panel_mask(job.backend.latent_boxes(job.shown.boxes), [0], *alone.shape[-2:])
    noise = torch.randn(alone.shape, generator=torch.Generator().manual_seed(0))
    given = sampling.GivenPanels(alone, mask, kept)
    prompts = Prompts([encoded.texts[Prompt(sample.text)]], [encoded.texts[Prompt("")]])
    settings = sampling.SamplingSettings(3, 3.5)
    drawn = sampling.draw(job.backend, transformer, prompts, noise, settings, given)
    assert torch.equal(drawn * mask, alone * mask)
    free = sampling.draw(job.backend, transformer, prompts, noise, settings)
    assert not torch.allclose(drawn * (1 - mask), free * (1 - mask))


# ---- the command


def test_the_command_trains_and_resumes_and_reports_errors(
    iclora: Callable[..., tuple[int, str, str]], grids: Path, tiny_flux: Path, tmp_path: Path
) -> None:
    options = f"--out {tmp_path / 'run'} --data {grids} --set train.model={tiny_flux} --set train.scales=[0.125]"
    options += " --set train.smallest_panel=48 --set train.samples=0 --set train.steps="

    def train(rest: str) -> tuple[int, str, str]:
        return iclora("train", "storyboard", *f"{options}{rest}".split())

    code, out, _ = train("1")
    assert code == 0
    assert re.search(r"trained: 1 step, \d+\.\d\d s per step, held-out loss \d\.\d{4}", out)
    assert (tmp_path / "run" / "training" / "storyboard.safetensors").exists()
    assert "trained: 1 step, nothing to do" in train("1")[1]
    for wrong, sentence in (
        ("1 --set train.learning_rat=1", "did you mean 'learning_rate'?"),
        ("1 --set train.rank=8", "another training (rank 16 -> 8)"),
        ("1 --set train.base_weights=nf4", "train.base_weights=nf4 needs a CUDA device"),
    ):
        code, _, err = train(wrong)
        assert code == 2
        assert err.startswith("error: ") and sentence in err and err.count("\n") == 1, textwrap.shorten(err, 300)
    written = {file: file.read_bytes() for file in (tmp_path / "run" / "training").glob("*.[sjpl]*")}
    with working(tmp_path / "run" / "training"):
        code, _, err = train("2")
    assert code == 2 and re.search(
        r"another process is at work in \S+/training: '.*', process \d+ on \S+, since 20", err
    )
    assert err.endswith("; wait for it, or name another folder with --into.\n")
    assert {file for file, content in written.items() if file.read_bytes() != content} == {
        tmp_path / "run" / "training" / "log.jsonl"
    }
    assert train("2")[0] == 0
