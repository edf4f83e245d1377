"""The two small models, loaded like any real model, on films of the drawn world that were never trained on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from miniature.making import measure
from miniature.making.frames import ATTRIBUTES, alter, labels_of, render_pool, value_of
from miniature.making.measure import Clip, Panel, Vlm
from miniature.making.reply import NAMES, build_tokenizer, reply
from miniature.world import Scene, describe, draw_character, draw_scene
from pipeline import task
from pipeline.captioning import instructions

FILMS = 4  # of 24 shots: 96 panels, 32 grids of three
SLOW_FILM = 4
"""Frames per second: of each shot one is looked at, and drawing them takes most of the time."""


@pytest.fixture(scope="module")
def panels() -> list[Panel]:
    # not the films that the model card is measured on
    return measure.film_panels(FILMS, seed=measure.HELD_OUT_SEED + 500, fps=SLOW_FILM)


@pytest.fixture(scope="module")
def vlm() -> Vlm:
    return Vlm()


def pictures(grids: list[list[Panel]]) -> list[list[Image.Image]]:
    return [[panel.image for panel in grid] for grid in grids]


def named_in(answer: dict[str, Any]) -> list[str]:
    """The people of a whole reply or of one of its panels."""
    return [person["name"] for person in answer["people"]]


def random_grid(rng: random.Random) -> list[Scene]:
    cast = [draw_character(rng) for _ in range(rng.randint(1, 3))]
    return [draw_scene(rng, rng.choice(cast)) for _ in range(rng.randint(1, 4))]


def test_the_weights_of_both_models_take_at_most_15_megabytes() -> None:
    files = [path for folder in (measure.CLIP, measure.VLM) for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) <= 15_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja"}


@pytest.mark.slow
def test_clip_separates_right_pairs_from_shuffled_ones(panels: list[Panel]) -> None:
    figures = measure.measure_clip(panels, wording=0)
    assert figures["area under curve, shuffled over all films"] >= 0.95
    assert figures["area under curve, swapped within a grid"] >= 0.95
    for attribute in ("kind", "colour", "place", "action"):
        assert figures[f"{attribute} wrong, scored lower"] >= 0.9, attribute


def test_clip_reads_an_unseen_name_like_any_other(panels: list[Panel]) -> None:
    scene = panels[0].scene
    usual, strange = Clip().texts([describe(scene, "Mara"), describe(scene, "Yusra-Belle Tsz")])
    assert usual @ strange > 0.98


def test_the_vlm_describes_what_every_panel_shows(panels: list[Panel]) -> None:
    figures = measure.measure_vlm(measure.grids_of(panels))
    assert figures["grids"] >= 30
    assert figures["valid JSON"] == 1
    for attribute in ("kind", "colour", "place", "action"):
        assert figures[attribute] >= 0.9, attribute


@pytest.mark.slow
def test_the_vlm_describes_what_every_panel_of_a_hundred_grids_shows() -> None:
    figures = measure.measure_vlm(measure.grids_of(measure.film_panels(13, fps=SLOW_FILM)))
    assert figures["grids"] >= 100
    for attribute in ("kind", "colour", "place", "action"):
        assert figures[attribute] >= 0.9, attribute


def test_the_vlm_gives_the_same_reply_when_asked_again_and_alone_or_in_a_batch(panels: list[Panel], vlm: Vlm) -> None:
    grids = pictures(measure.grids_of(panels)[:3])
    together = vlm.ask(grids)
    assert vlm.ask(grids) == together
    assert [vlm.ask([grid])[0] for grid in grids] == together


def test_the_vlm_names_people_only_when_an_instruction_of_the_toolkit_asks_for_names(
    panels: list[Panel], vlm: Vlm
) -> None:
    grids = measure.grids_of(panels)[:4]
    bare, long = (vlm.ask(pictures(grids), words) for words in ("Go.", instructions.write(task.load("font-design"))))
    named = vlm.ask(pictures(grids), instructions.write(task.load("storyboard")))
    assert all(named_in(json.loads(answer)) == [] for answer in bare + long)
    assert all("P1" in named_in(json.loads(answer)) for answer in named)
    for grid, *replies in zip(grids, bare, long, named, strict=True):
        for answer in replies:
            said = [panel["text"] for panel in json.loads(answer)["panels"]]
            assert len(said) == len(grid)
            places = [measure.phrase(panel.scene, "place") in text for panel, text in zip(grid, said, strict=True)]
            assert all(places), answer


def test_the_vlm_answers_for_one_to_four_images(panels: list[Panel], vlm: Vlm) -> None:
    for count in (1, 2, 4):
        answer = vlm.ask(pictures([panels[:count]]))[0]
        assert len(json.loads(answer)["panels"]) == count


def test_the_vlm_answers_again_after_its_faults_are_named(panels: list[Panel], vlm: Vlm) -> None:
    images = [panel.image for panel in panels[:3]]
    first = vlm.ask([images])[0]
    text = {"type": "text", "text": "panel 2: too thin; panel 3: says 'as before'. Answer again with the whole JSON."}
    chat = measure.conversation(images, measure.INSTRUCTION)
    chat += [{"role": "assistant", "content": [{"type": "text", "text": first}]}, {"role": "user", "content": [text]}]
    again = json.loads(vlm.reply_to([chat])[0])
    assert len(again["panels"]) == 3
    assert named_in(again) == named_in(json.loads(first))


def test_the_tokenizer_spells_every_reply_exactly() -> None:
    tokenizer, rng = build_tokenizer(), random.Random(1)
    for _ in range(200):
        text = reply(random_grid(rng), named=rng.random() < 0.5)
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_an_unknown_text_of_any_length_is_one_token() -> None:
    assert build_tokenizer()("Quite another matter, over and over!\n" * 50).input_ids == [0]


def test_a_reply_gives_each_character_one_name_in_order_of_appearance() -> None:
    rng = random.Random(2)
    first, second = draw_scene(rng), draw_scene(rng)
    parsed = json.loads(reply([first, second, first], named=True))
    assert named_in(parsed) == list(NAMES[:2])
    assert [named_in(panel) for panel in parsed["panels"]] == [["P1"], ["P2"], ["P1"]]
    assert named_in(json.loads(reply([first], named=False))) == []


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_altering_a_scene_changes_one_attribute_only(attribute: str) -> None:
    rng = random.Random(3)
    scene = draw_scene(rng)
    altered = alter(scene, attribute, rng)
    assert [name for name in ATTRIBUTES if value_of(scene, name) != value_of(altered, name)] == [attribute]


@pytest.mark.slow
def test_a_pool_is_the_same_with_any_number_of_processes() -> None:
    one, two = (render_pool(300, (48, 24), 5, shape=(640, 320), workers=workers) for workers in (1, 2))
    assert one.scenes == two.scenes
    assert (one.frames == two.frames).all()
    assert len(labels_of(one.scenes[0])) == len(ATTRIBUTES)


def test_the_card_gets_its_figures_between_its_markers(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"before\n{measure.MARKS[0]}\nold\n{measure.MARKS[1]}\nafter\n", encoding="utf-8")
    measure.put_figures(card, measure.table("Some", {"grids": 3, "kind": 0.5}))
    assert card.read_text(encoding="utf-8") == (
        f"before\n{measure.MARKS[0]}\n"
        "| Some | |\n|---|---|\n| grids | 3 |\n| kind | 50.0% |\n"
        f"{measure.MARKS[1]}\nafter\n"
    )
