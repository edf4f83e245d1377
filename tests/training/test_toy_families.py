"""A new family is one file: a token of 32 pixels, and reference images, through the product's own code to the end."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.records import Reference
from training import batches, checks, dataset, generate, loop, planning
from training.backends.base import Backend
from training.dataset import Prompt
from training.generator import Adapter, GenerationRequest, Generator, open_generator
from training.job import Job
from training.latents import EncodedDataset
from training.processes import Processes
from training.sampling import SamplingSettings

pytestmark = pytest.mark.usefixtures("toys")

CPU = torch.device("cpu")
SETTINGS = SamplingSettings(steps=2, guidance=2.0)
PROMPT = "[MOVIE-SHOTS] <Mara>, [SCENE-1] runs, [SCENE-2] sits, [SCENE-3] sleeps."
SHOWN = [{"seen": "reference"}]
MIXED = [{"seen": "reference", "share": 0.7}]
Make = Callable[..., Job]
Draw = Callable[..., Image.Image]


def quiet(*_: object) -> None:
    pass


def train(job: Job) -> Path:
    """Trains a LoRA that has learnt something, in a training that left all its files."""
    checks.run(job, CPU)
    outcome = loop.train(job, Processes(), quiet)
    tensors = load_file(outcome.file)
    assert tensors and all(tensor.isfinite().all() for tensor in tensors.values())
    assert all(tensor.any() for tensor in tensors.values())
    with (job.folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        losses = [float(line["loss"]) for line in csv.DictReader(file)]
    assert losses and all(math.isfinite(loss) for loss in losses)
    with Image.open(job.folder / "samples" / "000002-1.png") as sample:
        assert sample.size == job.shown.canvas
    return outcome.file


@pytest.fixture
def make(make_job: Make, tmp_path: Path) -> Make:
    """`make("toy_32")` is a training of two steps on a family."""
    from pipeline import plugins
    from training import backends

    def make(name: str, **more: Any) -> Job:
        module = plugins.load(backends, name)
        model = tmp_path / name
        if not model.exists():
            module.tiny(model)
        settings = {"steps": 2, "samples": 1, "sample_steps": 2, "learning_rate": 0.01, "model": str(model)}
        return make_job(overrides=[f'base="{name.replace("_", "-")}"'], **(settings | more))

    return make


# ---- a token of 32 pixels


@pytest.mark.slow
def test_a_family_of_stride_32_is_planned_and_trained_and_generates_images(make: Make) -> None:
    job = make("toy_32", conditional=0.5, scales=[0.125, 0.25])
    plan = planning.make(job, CPU)
    assert [(layout.canvas, tokens) for layout, tokens in plan.tokens.items()] == [((128, 192), 24), ((256, 384), 96)]
    assert (plan.layers, plan.references) == (8, 0)
    assert plan.parts("training")["activations"] > 0  # both blocks are counted
    file = train(job)
    generator = open_generator([Adapter(file)], job.backend.model, SETTINGS, CPU)
    given = Image.new("RGB", (256, 128), "red")
    grids = generate.draw(generator, [GenerationRequest(PROMPT, 1), GenerationRequest(PROMPT, 1, {0: given})])
    assert {grid.size for grid in grids} == {generator.layout.canvas} == {(256, 384)}
    assert grids[0].tobytes() != grids[1].tobytes()


def test_its_panels_are_whole_tokens(make: Make) -> None:
    """A panel of 1024 x 512 pixels at 3/32 is 96 x 48, which is one and a half tokens high."""
    (layout,) = make("toy_32", scales=[0.09375], smallest_panel=32).layouts.values()
    assert (layout.panel_width, layout.panel_height) == (96, 64)


# ---- reference images


@pytest.fixture
def references(tmp_path: Path, draw: Draw) -> list[Reference]:
    """Images of several shapes, one of them larger than the family encodes."""
    images = []
    for seed, size in enumerate([(512, 256), (384, 512), (1600, 800), (256, 256)]):
        path = tmp_path / f"reference-{seed}.png"
        draw(seed, size).save(path)
        images.append(Reference(hashlib.sha256(path.read_bytes()).hexdigest()[:16], str(path)))
    return images


def with_references(job: Job, choose: Callable[[int], Sequence[Reference]]) -> Job:
    """The training with reference images beside its grids, by the grid's number."""
    sides = (
        tuple(replace(sample, references=tuple(choose(number))) for number, sample in enumerate(side))
        for side in (job.data.train, job.data.held_out)
    )
    return replace(job, data=dataset.Data(*sides))


def encode(job: Job) -> EncodedDataset:
    return loop.encode(job, Processes(), quiet)


@contextmanager
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    with monkeypatch.context() as patch:
        patch.setattr(Backend, "load", fail)
        yield


@pytest.mark.slow
def test_a_family_with_references_is_planned_and_trained_and_generates_images(
    make: Make, references: list[Reference], draw: Draw
) -> None:
    """Grids with one or two reference images, or none, in one batch."""
    job = with_references(
        make("toy_reference", micro_batch=4, conditions=MIXED), lambda number: references[: number % 3]
    )
    plan = planning.make(job, CPU)
    assert plan.references == 8 + 12  # 64 x 32 and 48 x 64 pixels in tokens of 16, an eighth of their size
    assert "reference images: up to 20 more tokens per grid" in list(planning.lines(job, plan))
    bare = planning.make(make("toy_reference", micro_batch=4), CPU)
    assert plan.parts("training")["activations"] > bare.parts("training")["activations"]
    file = train(job)
    generator = open_generator([Adapter(file)], job.backend.model, SETTINGS, CPU)
    one, two = draw(8, (100, 50)), draw(9, (64, 64))
    requests = [GenerationRequest(PROMPT, 1, references=of) for of in ((), (one,), (one, two), (two, one))]
    grids = generate.draw(generator, requests)
    assert len({grid.tobytes() for grid in grids}) == 4
    assert generate.draw(generator, requests[2:3])[0].tobytes() == grids[2].tobytes()


def test_a_view_passes_its_references_on_to_the_batch(make: Make, references: list[Reference]) -> None:
    job = with_references(make("toy_reference", conditions=SHOWN), lambda number: references[number % 2 :][:2])
    encoded = encode(job)
    assert set(encoded.references) == set(references[:3])
    shapes = {one.path[-5]: tuple(encoded.references[one].shape) for one in references[:3]}
    assert shapes == {"0": (4, 4, 8), "1": (4, 8, 6), "2": (4, 4, 10)}  # 1600 x 800 at 724 x 362, times 0.125
    examples = [batches.example_at(job, encoded, 0, position) for position in range(4)]
    batch = batches.gather(job, encoded, examples, CPU)
    for example, latents, text in zip(examples, batch.references, batch.texts, strict=True):
        shown = dataset.references_of(example.view, example.given)
        assert shown == example.view.sample.references
        assert all(torch.equal(latent, encoded.references[one]) for latent, one in zip(latents, shown, strict=True))
        assert text is encoded.texts[Prompt(example.prompt.text, shown)]


def test_texts_are_cached_with_the_references_that_the_encoder_saw(
    make: Make, references: list[Reference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same caption with other images is another text, the empty caption too; a new order is another as well."""
    cache = Cache(tmp_path / "cache")
    first = with_references(make("toy_reference", cache=cache, conditions=SHOWN), lambda _: references[:2])
    second = with_references(make("toy_reference", cache=cache, conditions=SHOWN), lambda _: references[1::-1])
    one, two = encode(first), encode(second)
    for text in ("", first.data.train[0].text):
        read, other = one.texts[Prompt(text, tuple(references[:2]))], two.texts[Prompt(text, tuple(references[1::-1]))]
        assert read["text"].shape == other["text"].shape and not torch.equal(read["text"], other["text"])
    with nothing_loads(monkeypatch):
        again = encode(with_references(make("toy_reference", cache=cache, conditions=SHOWN), lambda _: references[:2]))
    assert all(torch.equal(again.texts[prompt]["text"], read["text"]) for prompt, read in one.texts.items())
    assert all(torch.equal(again.references[each], latents) for each, latents in one.references.items())


def test_other_references_are_another_training(make: Make, references: list[Reference]) -> None:
    loop.train(with_references(make("toy_reference", conditions=SHOWN), lambda _: references[:1]), Processes(), quiet)
    for side in ("data set", "held-out set"):
        assert side in with_references(make("toy_reference", conditions=SHOWN), lambda _: references[:1]).recipe
    with pytest.raises(BadInput, match=r"holds another training \(data set .* held-out set "):
        loop.train(
            with_references(make("toy_reference", conditions=SHOWN), lambda _: references[1:2]), Processes(), quiet
        )


@pytest.mark.parametrize(
    ("name", "most"), [("toy_reference", "takes at most 2 reference images"), ("toy_32", "takes no reference images")]
)
def test_more_references_than_a_family_takes_are_refused(
    name: str, most: str, make: Make, references: list[Reference]
) -> None:
    job = with_references(make(name), lambda number: references[:3] if number == 1 else ())
    with pytest.raises(BadInput, match=rf"^base=toy.* {most}, and train/\d+\.png, .* have more"):
        checks.run(job, CPU)
    generator = Generator(job.backend, (), job.shown, SETTINGS, CPU)
    pictures = tuple(Image.new("RGB", (32, 32)) for _ in range(3))
    with pytest.raises(BadInput, match=r"3 reference images are given, and .* takes (none|at most 2); leave some out"):
        generate.draw(generator, [GenerationRequest(PROMPT, references=pictures)])
