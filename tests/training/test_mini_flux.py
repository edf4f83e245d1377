"""The mini FLUX: the real geometry at small size, the words of its world, and images that a classifier recognises."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miniature.making import deck, descent, flux_data, resumable, train_t5
from miniature.making.flux_data import PANELS
from miniature.making.flux_parts import T5_WIDTH, tokens_of
from miniature.making.frames import ATTRIBUTES, labels_of, value_of
from miniature.making.reader import Reader
from miniature.making.spelling import T5_LENGTH, build_clip_tokenizer, build_t5_tokenizer
from miniature.world import Scene, describe, draw_character, draw_scene
from pipeline.records import Layout
from pipeline.text.names import POOL
from training import config, generate
from training.backends import flux
from training.generator import GenerationRequest, Generator
from training.sampling import SamplingSettings

CPU = torch.device("cpu")
SHOWN, SHOWN_SLOWLY = (
    64,
    192,
)  # images that are generated: half a minute, and enough to know the share to within 4 points
RIGHT = 0.9
UNSEEN = flux_data.SEED + 9_000_000
"""Above the seeds of all frames that anything was trained on."""


@pytest.mark.parametrize("build", [build_clip_tokenizer, build_t5_tokenizer])
def test_its_tokenizers_know_every_word_of_its_captions(build: Callable[[], Any]) -> None:
    tokenizer, rng = build(), random.Random(0)
    for _ in range(200):
        text = flux_data.caption([draw_scene(rng) for _ in range(rng.choice((1, 3)))], rng)
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids, text
        assert len(ids) <= T5_LENGTH


def test_a_name_with_a_comma_and_a_word_inside_another_word_are_tokenized_correctly() -> None:
    tokenizer = build_t5_tokenizer()
    assert tokenizer.tokenize("<Ingrid>, a red cat") == ["<Ingrid>", ",", "a", "red", "cat"]
    assert tokenizer.tokenize("catches") == [tokenizer.unk_token]


def test_the_characters_held_out_of_training_have_every_kind_and_colour() -> None:
    rng = random.Random(0)
    unseen = {who for who in (draw_character(rng) for _ in range(5_000)) if flux_data.is_held_out(who)}
    assert len(unseen) == 48
    assert len({who.kind for who in unseen}) == 8
    assert len({who.colour for who in unseen}) == 6


def test_a_bare_name_in_a_panel_is_never_described_in_the_summary() -> None:
    """Except in a story's first panel, nothing in the training data suggests that a name refers to the summary."""
    rng, bare = random.Random(1), 0
    for _ in range(300):
        text = flux_data.caption([draw_scene(rng) for _ in range(3)], rng)
        summary, *panels = text.split("[SCENE-")
        for panel in panels:
            for name in re.findall(r"(<\w+>),(?! a \w+ \w+ with )", panel):
                bare += 1
                assert name not in summary
    assert bare > 50


@pytest.mark.slow
def test_a_story_describes_its_first_character_and_the_other_panels_show_any_character(tmp_path: Path) -> None:
    """The description is in the summary, if anywhere; all panels have the name, and no held-out character appears."""
    vae = flux.make(str(config.MINIATURE)).load("vae", CPU, torch.float32)
    pool = flux_data.render(500, UNSEEN, workers=1)
    made = deck.Deck("drawn", pool, vae, Reader.load(), resumable.Place(tmp_path), stories=4)
    again = deck.Deck("drawn", pool, vae, Reader.load(), resumable.Place(tmp_path), stories=4)
    assert torch.equal(made.pages, again.pages)
    assert not any(flux_data.is_held_out(scene.character) for scene in made.scenes)
    pages = [[made.scenes[index] for index in made.shown(page)] for page in range(len(made.pages))]
    assert max(len({scene.character for scene in page}) for page in pages) == PANELS
    assert min(len({scene.character for scene in page}) for page in pages) > 1
    in_summary = 0
    for step in range(40):
        latents, meanings, captions = made.draw(step)
        assert len(latents) == len(captions)
        if len(captions) == deck.SINGLES:
            continue
        assert meanings.shape[-2:] == (PANELS * 4, 8)
        for text, page in zip(captions[: made.stories], (pages[row] for row in rows_of(latents, made)), strict=False):
            summary, *panels = re.split(r"\[SCENE-\d\]", text)
            name = re.search(r"a short story about (<\w+>),", summary)
            assert name
            in_summary += page[0].character.words in summary
            assert all(f"{name[1]}," in panel and " with a " not in panel for panel in panels)
    assert in_summary > 30


def rows_of(latents: torch.Tensor, made: deck.Deck) -> list[int]:
    """The positions of the pages in the deck."""
    return [int((made.pages.float() - page).abs().amax(dim=(1, 2, 3)).argmin()) for page in latents]


def test_stacking_pages_and_unstacking_panels_are_inverses() -> None:
    panels = torch.arange(6 * 2 * 4 * 5.0).view(6, 2, 4, 5)
    pages = flux_data.stacked(panels, 3)
    assert pages.shape == (2, 2, 12, 5)
    assert torch.equal(pages[1, :, 4:8], panels[4])
    assert torch.equal(flux_data.unstacked(pages, 3), panels)


def test_a_training_that_was_stopped_resumes_as_if_it_had_not_been(tmp_path: Path) -> None:
    def course() -> tuple[resumable.Course, torch.nn.Linear]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 4)
        went = descent.Descent([(layer, 1e-2)], 10, inner=[layer])
        loss = lambda step: layer(torch.randn(3, 4)).square().mean()  # noqa: E731  (what a step does)
        return resumable.Course("it", 5, 10, torch.nn.ModuleDict({"layer": layer}), went, loss), layer

    whole, straight = course()
    whole.run(resumable.Place(tmp_path / "whole"))
    first, _ = course()
    first.steps = 4
    first.run(resumable.Place(tmp_path / "parts"))
    second, resumed = course()
    second.run(resumable.Place(tmp_path / "parts"))
    assert torch.equal(straight.weight, resumed.weight)


@pytest.mark.parametrize("shape", [(3, 20, 20), (3, 20, 90), (3, 90, 20)])
def test_muon_keeps_the_directions_of_a_matrix_and_makes_their_lengths_about_equal(shape: tuple[int, ...]) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    lengths = left.mT @ descent.orthogonal(given) @ right.mT
    along = lengths.diagonal(dim1=1, dim2=2)
    assert (along > 0.6).all() and (along < 1.3).all()
    assert (lengths - torch.diag_embed(along)).abs().max() < 1e-4


def test_the_classifier_recognises_what_unseen_frames_show() -> None:
    pool = flux_data.render(300, UNSEEN, workers=1, filmed=True)
    true = np.array([labels_of(scene) for scene in pool.scenes])
    readings = Reader.load().read(flux_data.pixels(pool, list(range(300))))
    for number, (name, values) in enumerate(ATTRIBUTES.items()):
        right = np.mean([one[name] == values[index] for one, index in zip(readings, true[:, number], strict=True)])
        assert right >= 0.95, name


def test_it_has_the_geometry_of_flux_in_at_most_20_mb() -> None:
    base = flux.make(str(config.MINIATURE))
    base.check()
    transformer, vae = base.config("transformer"), base.config("vae")
    assert (transformer["in_channels"], transformer["guidance_embeds"]) == (64, True)
    assert sum(transformer["axes_dims_rope"]) == transformer["attention_head_dim"]
    assert (vae["latent_channels"], len(vae["block_out_channels"])) == (16, 4)
    assert base.config("scheduler")["use_dynamic_shifting"]
    assert sum(file.stat().st_size for file in config.MINIATURE.rglob("*") if file.is_file()) <= 20e6


def test_a_word_belongs_to_the_panel_of_the_last_marker_and_to_the_summary_before_any_marker() -> None:
    tokenizer = build_t5_tokenizer()
    text = "[MOVIE-SHOTS] a short story about a red cat, [SCENE-1] a red cat, [SCENE-2] a red cat."
    ids = tokens_of(tokenizer, [text], 40)
    probe = train_t5.PanelProbe(tokenizer)
    right = torch.zeros(1, 40, T5_WIDTH)  # a vector whose entry `panel` is large predicts that panel
    starts = [0, *(int((ids[0] == mark).nonzero()) for mark in probe.marks[:2])]
    for panel, start in enumerate(starts):
        right[0, start:, :PANELS] = 0
        right[0, start:, panel] = 100
    with torch.no_grad():
        probe.layer.weight.copy_(torch.eye(PANELS + 1, T5_WIDTH))
        probe.layer.bias.zero_()
        assert float(probe.loss(right, ids)) < 1e-6
        assert float(probe.loss(right.roll(1, dims=1), ids)) > 1  # one word late: markers count for the panel before
        padded = right.clone()
        padded[ids == tokenizer.pad_token_id] = 0
        assert torch.equal(probe.loss(padded, ids), probe.loss(right, ids))


@pytest.fixture(scope="module")
def drawn() -> Callable[[list[str], Layout], list[dict[str, str]]]:
    """Images of the mini FLUX, generated with the toolkit's defaults, and what the classifier reads in every panel."""
    base, reader = flux.make(str(config.MINIATURE)), Reader.load()

    def draw(captions: list[str], layout: Layout) -> list[dict[str, str]]:
        generator = Generator(base, (), layout, SamplingSettings(20, config.Config().guidance), CPU)
        images = generate.draw(generator, [GenerationRequest(text, number) for number, text in enumerate(captions)])
        pages = torch.stack([torch.from_numpy(np.array(image)) for image in images]).permute(0, 3, 1, 2).float() / 255
        return reader.read(flux_data.unstacked(pages, layout.rows))

    return draw


def right(readings: list[dict[str, str]], scenes: list[Scene], attribute: str) -> float:
    return float(np.mean([a[attribute] == value_of(b, attribute) for a, b in zip(readings, scenes, strict=True)]))


@pytest.mark.slow
def test_it_generates_the_kind_and_colour_in_the_prompt(
    drawn: Callable[[list[str], Layout], list[dict[str, str]]],
) -> None:
    """Single images, read by the classifier: at least nine out of ten correct."""
    scenes = flux_data.draw_known(random.Random(UNSEEN), SHOWN)
    readings = drawn(
        [describe(scene, wording=number) for number, scene in enumerate(scenes)], Layout(1, 1, *flux_data.PANEL)
    )
    for name in ("kind", "colour"):
        assert right(readings, scenes, name) >= RIGHT, name


@pytest.mark.slow
def test_every_panel_of_a_page_shows_what_its_own_text_says(
    drawn: Callable[[list[str], Layout], list[dict[str, str]]],
) -> None:
    """Three unrelated scenes: each in its own place on the page, and with the character of its own text."""
    scenes = flux_data.draw_known(random.Random(UNSEEN + 1), SHOWN_SLOWLY)
    pages = [scenes[start : start + PANELS] for start in range(0, len(scenes), PANELS)]
    texts = [
        "[MOVIE-SHOTS] " + ", ".join(f"[SCENE-{place}] {describe(scene)}" for place, scene in enumerate(page, start=1))
        for page in pages
    ]
    readings = drawn([f"{text}." for text in texts], Layout(PANELS, 1, *flux_data.PANEL))
    for name in ("place", "action", "kind", "colour"):
        assert right(readings, scenes, name) >= RIGHT, name


@pytest.mark.slow
def test_it_does_not_carry_a_character_described_only_in_the_summary_to_the_named_panels(
    drawn: Callable[[list[str], Layout], list[dict[str, str]]],
) -> None:
    """The first panel follows the summary, which a LoRA then carries over to the others."""
    rng = random.Random(UNSEEN + 2)
    pages = [flux_data.draw_known(rng, PANELS) for _ in range(32)]
    texts = [flux_data.tell_story(page, rng.choice(POOL), page[0].character.words) for page in pages]
    readings = drawn(texts, Layout(PANELS, 1, *flux_data.PANEL))
    looks = [(panel["kind"], panel["colour"]) for panel in readings]
    kept = [len(set(looks[start : start + PANELS])) == 1 for start in range(0, len(looks), PANELS)]
    assert np.mean(kept) <= 0.1
    assert right(readings[::PANELS], [page[0] for page in pages], "colour") >= RIGHT
