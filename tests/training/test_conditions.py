"""Conditions: which panels are given in which share of the examples, and how the model sees them."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.errors import BadInput
from training import batches, conditions, config, dataset, loop, lora_file, objective
from training.conditions import JOINT, Condition, Given
from training.dataset import View
from training.job import Job, find_backend
from training.monitoring import heldout, sample_files
from training.processes import Processes

Make = Callable[..., Job]
CPU = torch.device("cpu")


def load(*settings: str) -> config.Config:
    return config.load(task.load("storyboard", list(settings)))


@given(seed=st.integers(0, 2**31), panels=st.integers(2, 5), most=st.integers(1, 4))
def test_every_set_of_given_panels_that_is_drawn_is_one_that_was_announced(seed: int, panels: int, most: int) -> None:
    """What may be given is encoded beforehand."""
    rng = random.Random(seed)
    for seen, which in itertools.product(("clean", "noised", "reference"), ("any", "first", "task", (2, 1))):
        condition = Condition(seen=seen, panels=which)
        drawn = conditions.pick(condition, rng, panels, (1,), most)
        assert drawn.seen == seen
        assert drawn.panels in conditions.choices(condition, panels, (1,), most)


def test_shares_that_miss_one_by_a_digit_leave_nothing_joint() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return math.nextafter(1, 0)

    several = (*(Condition(seen="clean", panels=(panel,), share=0.1) for panel in (1, 2, 3) for _ in range(3)),)
    several += (Condition(seen="noised", panels="first", share=0.1), Condition(seen="reference", share=0))
    assert sum(one.share for one in several) < 1 and not conditions.joint_share(several)
    assert conditions.draw(several, Highest(), 3, (), 4) == Given((0,), "noised")


def test_each_condition_comes_in_its_share_and_the_rest_is_joint() -> None:
    several = (
        Condition(seen="clean", panels="first", share=0.2),
        Condition(seen="noised", panels=(2,), share=0.3),
        Condition(seen="reference", share=0.1),
    )
    rng = random.Random(0)
    drawn = [conditions.draw(several, rng, 3, (), 4) for _ in range(10_000)]
    shares = {seen: count / 10_000 for seen, count in Counter(one.seen for one in drawn).items()}
    assert shares == pytest.approx({"clean": 0.2, "noised": 0.3, "reference": 0.1, None: 0.4}, abs=0.015)
    assert {one for one in drawn if one.seen in {"clean", "noised", None}} == {
        Given((0,), "clean"),
        Given((1,), "noised"),
        JOINT,
    }
    assert conditions.joint_share(several) == pytest.approx(0.4)
    assert [conditions.name_of(kind) for kind in conditions.kinds(several)] == [
        *("joint", "clean first", "noised 2", "reference any")
    ]


def test_three_thirds_leave_nothing_to_joint_mode() -> None:
    thirds = [Condition(seen="clean", panels=(number,), share=1 / 3) for number in (1, 2, 3)]
    assert None not in conditions.kinds(thirds) and not list(conditions.faults(thirds, 3, ()))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (['train.conditions=[{seen="clean",share=0.7},{seen="noised",share=0.6}]'], "add up to 1.3, more than 1"),
        (['train.conditions=[{seen="clean",panels="task"}]'], "and it names none"),
        (['train.conditions=[{seen="clean",panels=[4]}]'], "names panel 4, and grids have panels 1 to 3"),
        (['train.conditions=[{seen="noised",panels=[1,2,3]}]'], "leaves no panel to learn"),
        (['train.conditions=[{seen="dim"}]'], "'clean', 'noised' or 'reference'"),
        (['train.conditions=[{seen="clean"}]', "train.conditional=0.5"], "is short for a list of conditions"),
        (['train.conditions=[{seen="clean",panels="first"}]', "train.permute=0.5"], "would move the panels"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(settings: list[str], fault: str) -> None:
    with pytest.raises(BadInput, match=fault.replace("(", r"\(")):
        load(*settings)


@pytest.mark.parametrize(
    ("several", "named", "places"),
    [
        ([], [], ()),
        ([Condition(seen="clean", panels="task")], [3, 1], (0, 2)),
        ([Condition(seen="clean", panels="task", share=0.9)], [1], ()),
        (
            [Condition(seen="clean", panels=(2, 3), share=0.5), Condition(seen="noised", panels=(2,), share=0.5)],
            [1],
            (1,),
        ),
        ([Condition(seen="clean", panels="any")], [], ()),
        ([Condition(seen="reference", panels="first")], [], ()),
    ],
)
def test_panels_are_never_drawn_if_all_kinds_of_examples_are_given_them(
    several: list[Condition], named: list[int], places: tuple[int, ...]
) -> None:
    assert conditions.never_drawn(several, named) == places


def test_conditional_is_short_for_one_condition() -> None:
    assert load("train.conditional=0.5").conditions == load('train.conditions=[{seen="clean",share=0.5}]').conditions
    assert load("train.conditions=[]").conditions == load().conditions == ()


def test_a_lora_of_an_earlier_version_says_what_was_given(tmp_path: Path, make_job: Make) -> None:
    """Until version 0.1, a recipe had a share of given panels."""
    file = loop.train(make_job(steps=1), Processes(), lambda *_: None).file
    card = lora_file.find_card(file)
    assert card and card.conditions == ()
    told = json.loads(card.model_dump_json())
    for condition, panels in (([], "any"), ([2], "task")):
        recipe = {key: value for key, value in told["recipe"].items() if key != "conditions"} | {"conditional": 0.5}
        earlier = lora_file.Card.model_validate(told | {"recipe": recipe, "condition": condition})
        assert earlier.conditions == (Condition(seen="clean", panels=panels, share=0.5),)


def test_noised_panels_have_the_noise_of_the_rest_and_no_weight(make_job: Make) -> None:
    job = make_job(conditions=[{"seen": "noised", "panels": [2]}])
    encoded = loop.encode(job, Processes(), lambda *_: None)
    example = batches.example_at(job, encoded, 0, 0)
    batch = batches.gather(job, encoded, [example], CPU)
    noised = objective.add_noise(example.latents_CHW[None], example.noise_CHW[None], example.sigma[None])
    assert torch.equal(batch.noisy_BCHW, noised)
    assert batch.weights_BP.tolist() == [[1.0, 0.0, 1.0]]


def test_reference_panels_are_cut_out_of_their_grid_in_the_order_of_its_view(make_job: Make) -> None:
    sample = make_job().data.train[0]
    boxes = sample.layout.boxes
    view = View(sample, sample.layout, (2, 0, 1))
    one, two = dataset.references_of(view, Given((0, 1), "reference"))
    assert (one.box, two.box) == (boxes[2], boxes[0])
    assert dataset.references_of(view, Given((0,), "clean")) == dataset.references_of(view, JOINT) == ()
    box = boxes[2]
    assert dataset.open_reference(one).size == dataset.reference_size(one) == (box[2] - box[0], box[3] - box[1])
    whole = dataset.picture(dataset.plain(sample, sample.layout))
    assert dataset.open_reference(one).tobytes() == whole.crop(boxes[2]).tobytes()


def test_a_base_without_reference_images_refuses_to_be_shown_any(make_job: Make) -> None:
    with pytest.raises(BadInput, match=r"base=flux-1 takes no reference images, so 'reference any'"):
        make_job(conditions=[{"seen": "reference"}]).check_references()


def test_a_base_that_only_another_trainer_shows_reference_images_names_that_one(make_job: Make) -> None:
    job = replace(make_job(conditions=[{"seen": "reference"}]), backend=find_backend("krea-2", None, None))
    with pytest.raises(
        BadInput, match=r"base=krea-2 takes no reference images here \(ai-toolkit can show it up to 3\)"
    ):
        job.check_references()


def test_held_out_loss_and_samples_are_there_for_every_kind_of_condition(make_job: Make, tiny_flux: Path) -> None:
    several: list[dict[str, Any]] = [
        {"seen": "clean", "panels": "first", "share": 0.5},
        {"seen": "noised", "panels": [3], "share": 0.25},
    ]
    job = make_job(model=str(tiny_flux), conditions=several, steps=1, samples=1, sample_steps=1)
    outcome = loop.train(job, Processes(), lambda *_: None)
    encoded = loop.encode(job, Processes(), lambda *_: None)
    losses = heldout.measure(job, encoded, job.backend.load("transformer", torch.float32, CPU), Processes())
    assert {(kind, panel) for kind, _, panel in losses} == {
        *itertools.product(["joint"], (1, 2, 3)),
        *itertools.product(["clean first"], (2, 3)),
        *itertools.product(["noised 3"], (1, 2)),
    }
    samples = [sample_files.name_of(step, number) for step in (0, 1) for number in (1, 2, 3)]
    assert sorted(path.name for path in (job.folder / "samples").iterdir()) == samples
    assert outcome.held_out is not None
