"""How the mini VLM's training batches are made, and a step whose batch is computed in parts."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from itertools import count, islice, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from miniature.making.descent import Descent, ahead
from miniature.making.frames import ATTRIBUTES, Pool
from miniature.making.reply import IMAGE, build_tokenizer, first_panels, reply, seen_phrases
from miniature.making.train_vlm import (
    GRIDS_PER_STEP,
    IGNORED,
    PATCH,
    SHAPES,
    SORTED,
    Album,
    Half,
    Qwen3VLForConditionalGeneration,
    Recurrence,
    TrainingData,
    build_config,
    build_processor,
    draw_frames,
    draw_grids,
    size_of,
)
from miniature.world import Character, draw_scene
from pipeline import task


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Black frames: what they show doesn't matter here."""
    rng = random.Random(1)
    albums = [
        Album(Pool(np.zeros((40, height, width, 3), np.uint8), [draw_scene(rng) for _ in range(40)]))
        for width, height in (size_of(*shape) for shape, _ in SHAPES)
    ]
    return TrainingData(build_processor(build_tokenizer()), albums)


def lengths(half: Half) -> list[int]:
    return [int((row != IGNORED).nonzero().max()) + 1 for row in half.inputs["labels"]]


def layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(4, 3)


@pytest.mark.parametrize("name", task.names())
def test_panels_of_every_task_come_in_a_size_that_the_vlm_is_trained_on(name: str) -> None:
    layout = task.load(name).layout
    assert size_of(layout.panel_width, layout.panel_height) in [size_of(*shape) for shape, _ in SHAPES]


def test_the_processor_scales_images_to_the_sizes_that_are_trained_on(data: TrainingData) -> None:
    for (width, height), _ in SHAPES:
        black = np.zeros((height, width, 3), np.uint8)
        _, rows, columns = data.processor.image_processor(black).image_grid_thw[0]
        assert (columns * PATCH, rows * PATCH) == size_of(width, height)


def test_a_step_in_parts_is_the_step_of_the_whole_batch() -> None:
    batch = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    whole, parted = layer(), layer()

    def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
        return model(rows).square().mean()

    Descent([(whole, 0.1)], 10).step(loss_of(whole, batch))
    loss = Descent([(parted, 0.1)], 10).step_in_parts(lambda rows: loss_of(parted, rows), [batch[::2], batch[1::2]])
    assert loss == pytest.approx(loss_of(layer(), batch).item())
    assert torch.allclose(whole.weight, parted.weight, atol=1e-6)


def test_a_step_in_parts_does_not_depend_on_which_part_is_done_first() -> None:
    weights = []
    for delays in ((0.0, 0.05), (0.05, 0.0)):
        model = layer()

        def loss_of(part: tuple[float, float], model: nn.Linear = model) -> Tensor:
            delay, scale = part
            time.sleep(delay)
            return (model.weight * scale).square().sum()

        Descent([(model, 0.1)], 10).step_in_parts(loss_of, list(zip(delays, (0.3, 0.7), strict=True)))
        weights.append(model.weight.detach())
    assert torch.equal(*weights)


def test_a_step_in_parts_leaves_frozen_and_unused_parameters_alone() -> None:
    model, frozen, unused = layer(), layer().requires_grad_(requires_grad=False), layer()
    before = frozen.weight.clone(), unused.weight.clone()
    descent = Descent([(model, 0.1), (frozen, 0.1), (unused, 0.1)], 10)
    descent.step_in_parts(lambda rows: frozen(model(rows)[:, [0, 1, 2, 0]]).sum(), [torch.ones(1, 4)] * 2)
    assert torch.equal(frozen.weight, before[0])
    assert torch.equal(unused.weight, before[1])
    assert not torch.equal(model.weight, layer().weight)


def test_items_prepared_ahead_come_in_order() -> None:
    assert list(islice(ahead(count()), 5)) == [0, 1, 2, 3, 4]


def test_a_batch_of_frames_has_two_halves_with_the_labels_of_their_frames(data: TrainingData) -> None:
    for half in next(draw_frames(data, random.Random(3))):
        assert half.labels.shape == (16, len(ATTRIBUTES))
        assert len(half.inputs["image_grid_thw"]) == 16


def test_every_image_of_a_batch_of_grids_has_its_tokens_and_its_labels(data: TrainingData) -> None:
    image = data.processor.tokenizer.convert_tokens_to_ids(IMAGE)
    for halves in islice(draw_grids(data, random.Random(4)), 2 * SORTED):
        assert sum(len(half.inputs["input_ids"]) for half in halves) == GRIDS_PER_STEP
        for half in halves:
            shown = half.inputs["image_grid_thw"]
            assert len(shown) == len(half.labels)
            assert int((half.inputs["input_ids"] == image).sum()) == int(shown.prod(1).sum()) // 4


def test_batches_of_grids_are_sorted_by_length_but_not_drawn_in_its_order(data: TrainingData) -> None:
    batches = list(islice(draw_grids(data, random.Random(5), images=False), SORTED))
    spans = [sorted(length for half in halves for length in lengths(half)) for halves in batches]
    in_order = sorted(spans)
    assert all(short[-1] <= long[0] for short, long in pairwise(in_order))
    assert spans != in_order


def test_without_images_only_what_follows_from_the_panels_is_learned(data: TrainingData) -> None:
    tokenizer = data.processor.tokenizer
    looks = set(tokenizer.convert_tokens_to_ids([words for words in seen_phrases() if " of " in words]))
    half = next(draw_grids(data, random.Random(6), images=False))[0]
    assert "pixel_values" not in half.inputs
    assert looks & set(half.inputs["input_ids"].flatten().tolist())
    assert not looks & set(half.inputs["labels"].flatten().tolist())


def test_no_token_sees_the_padding_after_it(data: TrainingData) -> None:
    tokenizer = data.processor.tokenizer
    model = Qwen3VLForConditionalGeneration(build_config(tokenizer)).eval()
    inputs = next(draw_grids(data, random.Random(7)))[0].inputs
    mask = (inputs["input_ids"] != tokenizer.pad_token_id).long()
    assert 0 in mask
    with torch.inference_mode():
        assert torch.allclose(model(**inputs).loss, model(**inputs, attention_mask=mask).loss, atol=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_every_place_character_and_name_of_a_grid_is_told_the_panel_that_had_it_first(
    data: TrainingData, *, named: bool
) -> None:
    tokenizer = data.processor.tokenizer
    bear, cat = Character("bear", "red", "hat"), Character("cat", "red", "hat")
    cast = (bear, cat, Character("cat", "blue", "hat"), replace(cat, worn="crown"))
    places = ("moon", "beach", "moon", "moon")
    scenes = [
        replace(draw_scene(random.Random(number)), character=character, place=place)
        for number, (character, place) in enumerate(zip(cast, places, strict=True))
    ]
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(reply(scenes, named=named)).input_ids)
    told: dict[str, list[int]] = {piece: [] for piece in pieces}
    for piece, first in zip(pieces, first_panels(pieces), strict=True):
        told[piece] += [] if first is None else [first]
    assert {piece: firsts for piece, firsts in told.items() if firsts} == {
        **({'", "name": "': [0, 0, 0, 2]} if named else {}),
        "a red bear": [0],
        "a red cat": [0, 2],  # the same though it wears something else; not those of the ties, which follow
        "a blue cat": [0],
        " on the moon": [0, 1, 1],
        " on the beach": [0],
    }


def test_the_head_for_what_recurs_reads_the_halves_of_both_threads(data: TrainingData) -> None:
    model = Qwen3VLForConditionalGeneration(build_config(data.processor.tokenizer))
    head = Recurrence(model)
    halves = next(draw_grids(data, random.Random(8), images=False))

    def loss_of(half: Half) -> Tensor:
        model(**half.inputs, use_cache=False)
        return head(half.firsts)

    alone = sum(float(loss_of(half).detach()) for half in halves) / 2
    descent = Descent([(model.model.language_model, 1e-3), (head.map, 1e-3)], 10)
    assert descent.step_in_parts(loss_of, halves) == pytest.approx(alone)
