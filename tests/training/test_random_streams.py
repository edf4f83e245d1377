"""Random streams: nothing is left out, and nothing depends on how the work is divided."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from training import conditions, config, random_streams
from training.conditions import JOINT, Condition
from training.config import Config

STORYBOARD = task.load("storyboard")


def config_of(conditional: float = 0.0, *, named: bool = False, **given: object) -> Config:
    return Config.model_validate({"conditions": conditions.of_share(conditional, named=named)} | given)


@given(seed=st.integers(0, 2**31), count=st.integers(1, 40), epoch=st.integers(0, 200))
def test_every_sample_comes_once_per_epoch(seed: int, count: int, epoch: int) -> None:
    row = [random_streams.sample_at(seed, epoch * count + place, count) for place in range(count)]
    assert sorted(row) == list(range(count))


def test_no_last_batch_is_dropped_if_the_data_is_not_a_multiple_of_its_size() -> None:
    """10 grids at 4 per step: trainers that drop the last batch would leave out two, a fifth of a small data set."""
    seen = Counter(random_streams.sample_at(0, position, 10) for position in range(5 * 4))
    assert seen == dict.fromkeys(range(10), 2)


def test_epochs_and_seeds_have_their_own_orders() -> None:
    orders = {
        tuple(random_streams.sample_at(seed, epoch * 12 + place, 12) for place in range(12))
        for seed in range(3)
        for epoch in range(10)
    }
    assert len(orders) == 30


@given(position=st.integers(0, 10**6), drawn_before=st.integers(0, 20))
def test_a_random_value_depends_only_on_seed_and_position(position: int, drawn_before: int) -> None:
    """Whatever a process has drawn before, with our generators or torch's own, since it may have started anywhere."""
    options = config_of(conditional=0.5, permute=0.5, caption_dropout=0.5)
    fresh = random_streams.draw(options, position, 20, 3, (), 0)
    noise = torch.randn(3, generator=random_streams.generator(0, "noise", position))
    for other in range(drawn_before):
        random_streams.draw(options, other, 20, 3, (), 0)
        torch.rand(1)
    assert random_streams.draw(options, position, 20, 3, (), 0) == fresh
    assert torch.equal(torch.randn(3, generator=random_streams.generator(0, "noise", position)), noise)


def test_positions_and_seeds_have_their_own_noise() -> None:
    starts = {
        float(torch.randn(1, generator=random_streams.generator(seed, kind, position)))
        for seed in range(2)
        for kind in ("noise", "sample")
        for position in range(50)
    }
    assert len(starts) == 200


# ---- orders of panels


def test_all_23_other_orders_of_four_panels_occur_and_the_original_never_does() -> None:
    options = config_of(permute=1.0)
    seen = Counter(random_streams.draw(options, position, 20, 4, (), 0).order for position in range(2_400))
    assert seen.keys() == set(itertools.permutations(range(4))) - {(0, 1, 2, 3)}
    assert min(seen.values()) > 60  # 100 each on average


def test_with_more_than_four_panels_every_other_rotation_occurs() -> None:
    options = config_of(permute=1.0)
    seen = {random_streams.draw(options, position, 20, 6, (), 0).order for position in range(200)}
    assert seen == {tuple((start + place) % 6 for place in range(6)) for start in range(1, 6)}


def test_one_panel_has_no_other_order() -> None:
    assert random_streams.draw(config_of(permute=1.0), 0, 20, 1, (), 0).order == (0,)


def test_without_permutation_panels_stay_where_they_are() -> None:
    assert {random_streams.draw(config_of(), position, 20, 3, (), 0).order for position in range(200)} == {(0, 1, 2)}


# ---- given panels


@pytest.mark.parametrize("panels", [2, 3, 4])
def test_in_conditional_mode_some_panels_are_given_but_never_all(panels: int) -> None:
    options = config_of(conditional=1.0)
    seen = Counter(random_streams.draw(options, position, 20, panels, (), 0).given.panels for position in range(2_000))
    some = [subset for size in range(1, panels) for subset in itertools.combinations(range(panels), size)]
    assert seen.keys() == set(some)
    sizes = Counter(len(subset) for subset in seen.elements())
    assert min(sizes.values()) > 2_000 / (panels - 1) * 0.8  # one as often as all but one


def test_panels_that_the_task_gives_are_given_every_time() -> None:
    options = config_of(conditional=1.0, named=True)
    assert {random_streams.draw(options, position, 20, 4, (0, 2), 0).given.panels for position in range(200)} == {
        (0, 2)
    }


def test_in_joint_mode_no_panel_is_given_even_if_the_task_names_some() -> None:
    assert {random_streams.draw(config_of(), position, 20, 2, (0,), 0).given for position in range(200)} == {JOINT}


def test_modes_are_mixed_in_their_proportions() -> None:
    options = config_of(conditional=0.3)
    given = sum(random_streams.draw(options, position, 20, 3, (), 0).given != JOINT for position in range(2_000))
    assert given / 2_000 == pytest.approx(0.3, abs=0.03)


def test_a_task_that_names_given_panels_is_conditional_and_others_are_joint() -> None:
    pairs = task.load("sparklers", ["condition=[1]"])
    assert config.load(pairs).conditions == (Condition(seen="clean", panels="task", share=1.0),)
    assert config.load(STORYBOARD).conditions == ()
    half = config.load(task.load("storyboard", ["train.conditional=0.5"]))
    assert half.conditions == (Condition(seen="clean", panels="any", share=0.5),)


# ---- dropped captions, scales


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_captions_are_dropped_at_the_configured_rate(share: float) -> None:
    options = config_of(caption_dropout=share)
    dropped = sum(random_streams.draw(options, position, 20, 3, (), 0).dropped for position in range(2_000))
    assert dropped / 2_000 == pytest.approx(share, abs=0.015)


def test_one_probability_does_not_affect_what_another_decides() -> None:
    """Order, given panels and dropout are independent: among permuted samples as many captions are dropped."""
    options = config_of(caption_dropout=0.3, permute=0.5, conditional=0.5)
    drawn = [random_streams.draw(options, position, 20, 3, (), 0) for position in range(3_000)]
    for part in ([one for one in drawn if one.order != (0, 1, 2)], [one for one in drawn if one.given]):
        assert sum(one.dropped for one in part) / len(part) == pytest.approx(0.3, abs=0.04)


def test_every_scale_occurs_and_a_step_has_one() -> None:
    options = config_of(scales=(0.5, 0.75, 1.0))
    seen = Counter(random_streams.scale_at(options, step) for step in range(600))
    assert seen.keys() == {0.5, 0.75, 1.0} and min(seen.values()) > 150
    assert random_streams.scale_at(options, 7) == random_streams.scale_at(options, 7)
