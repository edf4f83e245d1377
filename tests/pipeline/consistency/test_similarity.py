"""Vectors of a run, computed once and in batches, and the measures derived from them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from miniature.draw import draw
from miniature.world import describe, draw_scene
from pipeline import pixels
from pipeline.cache import Cache
from pipeline.consistency import similarity
from pipeline.consistency.scorers import open_clip
from pipeline.consistency.scorers.open_clip import OpenClip
from pipeline.consistency.similarity import ACROSS, WITHIN, Encoder, Vectors
from pipeline.records import Caption, Grid, Group, Layout, Position, Record
from pipeline.task import LayoutSection

LAYOUT = Layout(rows=3, cols=1, panel_width=128, panel_height=64)
CLIP = Path(__file__).parents[3] / "miniature" / "clip"


def unit(*rows: Sequence[float]) -> np.ndarray:
    vectors = np.array(rows, float)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


AXES = np.eye(3)


def run_of(*grids: tuple[np.ndarray, np.ndarray]) -> Vectors:
    """Grids of panels and segments; the summary is the first segment."""
    panels, segments = (np.stack([grid[side] for grid in grids]) for side in (0, 1))
    return Vectors(panels, segments, segments[:, 0].copy())


# ---- measures


def test_each_panel_is_compared_with_its_own_segment() -> None:
    half = unit([1, 1, 0], [0, 1, 0], [0, 0, 1])
    found = similarity.measure(run_of((AXES, half)))
    np.testing.assert_allclose(found["text"], [[np.sqrt(0.5), 1, 1]])
    assert found["order"].tolist() == [0.0]


def test_swapped_segments_gain_from_a_better_order() -> None:
    gained, order = similarity.best_order(AXES[:, [1, 0, 2]])
    assert gained == pytest.approx(2 / 3)
    assert order == [1, 0, 2]


def test_the_summary_is_compared_with_the_pooled_panels() -> None:
    vectors = replace(run_of((AXES, AXES)), summaries=unit([1, 1, 1]))
    assert similarity.measure(vectors)["summary"] == pytest.approx([1.0])


def test_the_least_and_most_similar_panels_and_the_most_similar_texts_are_measured() -> None:
    panels = unit([1, 0, 0], [1, 1, 0], [0, 1, 0])
    found = similarity.measure(run_of((panels, unit([1, 0, 0], [1, 0, 0], [0, 1, 0]))))
    assert found["least alike"] == pytest.approx([0])
    assert found["most alike"] == pytest.approx([np.sqrt(0.5)])
    assert found["texts alike"] == pytest.approx([1])


def test_measures_of_a_missing_text_are_nan() -> None:
    segments = AXES.copy()
    segments[1] = np.nan
    found = similarity.measure(run_of((AXES, segments)))
    assert np.isnan(found["text"][0]).tolist() == [False, True, False]
    assert np.isnan(found["order"][0])
    assert found["texts alike"].tolist() == [0.0]


def test_a_grid_of_one_panel_has_no_pairs() -> None:
    found = similarity.measure(Vectors(AXES[:2, None], AXES[:2, None], AXES[:2]))
    assert np.isnan(found["least alike"]).all() and np.isnan(found["most alike"]).all()


def test_only_grids_before_it_count_as_earlier() -> None:
    found = similarity.measure(run_of((AXES, AXES), (AXES, AXES)))["earlier grid"]
    assert np.isnan(found[0]) and found[1] == pytest.approx(1.0)


# ---- shuffled controls


@pytest.mark.parametrize(("grids", "size"), [(8, 1), (8, 3), (8, 16), (9, 4), (83, 3)])
def test_every_control_uses_each_vector_once_and_in_another_place(grids: int, size: int) -> None:
    numbered = np.arange(1.0, grids * size + 1).reshape(grids, size, 1)
    vectors = Vectors(numbered, numbered.copy(), numbered[:, 0])
    shuffled = similarity.controls(vectors)
    for name, there in ((name, shuffled[name].segments) for name in (WITHIN, ACROSS)):
        if name == WITHIN and size == 1:
            assert np.isnan(there).all()
            continue
        assert sorted(there.ravel()) == sorted(numbered.ravel())
        assert (there != numbered).all()
    assert (np.sort(shuffled[WITHIN].segments, axis=1) == numbered).all() or size == 1


def test_no_control_separates_panels_since_a_caption_of_strangers_may_be_true() -> None:
    numbered = np.arange(1.0, 28).reshape(9, 3, 1)
    shuffled = similarity.controls(Vectors(numbered, numbered.copy(), numbered[:, 0]))
    assert set(shuffled) == {WITHIN, ACROSS}
    for vectors in shuffled.values():
        np.testing.assert_array_equal(vectors.panels, numbered)


def test_an_identical_segment_is_not_a_wrong_one() -> None:
    segments = np.stack([unit([1, 0, 0], [1, 0, 0], [0, 0, 1])] * 8)
    within = similarity.controls(Vectors(segments, segments.copy(), segments[:, 0]))[WITHIN].segments
    assert np.isnan(within[:, :, 0]).tolist() == [[False, True, False]] * 8


# ---- vectors


class Counting:
    """The miniature CLIP, recording the size of every batch."""

    def __init__(self) -> None:
        self.clip: OpenClip = open_clip.make({"model": f"local-dir:{CLIP}"})
        self.pictures: list[int] = []
        self.texts: list[int] = []

    def identity(self) -> dict[str, object]:
        return self.clip.identity()

    def image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.pictures.append(len(images))
        return self.clip.image_vectors(images)

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        self.texts.append(len(texts))
        return self.clip.text_vectors(texts)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Grid], list[Caption]]:
    """Forty small grids of three scenes with captions, whose summaries are all the same."""
    folder, rng = tmp_path_factory.mktemp("drawn"), Random(5)
    grids, captions = [], []
    for number in range(40):
        scenes = [draw_scene(rng) for _ in range(3)]
        picture = Image.new("RGB", LAYOUT.canvas)
        for scene, box in zip(scenes, LAYOUT.boxes, strict=True):
            picture.paste(Image.fromarray(draw(scene, size=(128, 64))), box[:2])
        picture.save(folder / f"{number}.png")
        group = Group(f"r-{number}", "storyboard", (), "drawn", 1.0)
        grids.append(Grid(f"g-{number}", group, LAYOUT, f"{number}.png"))
        texts = tuple(describe(scene, "Mara") for scene in scenes)
        captions.append(Caption("", "", "a short story about <Mara>", texts, grid=f"g-{number}"))
    return folder, grids, captions


def test_missing_vectors_are_computed_once_and_in_batches_across_grids(
    drawn: tuple[Path, list[Grid], list[Caption]], tmp_path: Path
) -> None:
    folder, grids, captions = drawn
    scorer = Counting()
    encoder = Encoder(scorer, Cache(tmp_path), folder)
    first = encoder.vectors(grids[:5], captions[:5])
    assert (scorer.pictures, scorer.texts) == ([15], [16])  # the summary of all is one text
    every = encoder.vectors(grids, captions)
    assert scorer.pictures == [15, similarity.AT_ONCE, 105 - similarity.AT_ONCE]
    texts = len({text for caption in captions[5:] for text in caption.panels})
    assert scorer.texts[1:] == [similarity.AT_ONCE, texts - similarity.AT_ONCE]
    np.testing.assert_array_equal(every.panels[:5], first.panels)
    again = Encoder(scorer, Cache(tmp_path), folder).vectors(grids, captions)
    assert (len(scorer.pictures), len(scorer.texts)) == (3, 3)
    np.testing.assert_array_equal(again.segments, every.segments)


@pytest.mark.parametrize("width", [1, 3])
def test_a_vector_of_another_width_is_computed_again(
    width: int, drawn: tuple[Path, list[Grid], list[Caption]], tmp_path: Path
) -> None:
    folder, grids, captions = drawn
    cache, scorer = Cache(tmp_path), Counting()
    first = Encoder(scorer, cache, folder).vectors(grids[:3], captions[:3])
    for file in sorted((tmp_path / "vectors").rglob("*.f32"))[:2]:
        cache.put_vector(file.stem, np.ones(width))
    again = Encoder(scorer, cache, folder).vectors(grids[:3], captions[:3])
    np.testing.assert_allclose(again.panels, first.panels, atol=1e-5)
    np.testing.assert_allclose(again.segments, first.segments, atol=1e-5)
    np.testing.assert_allclose(again.summaries, first.summaries, atol=1e-5)


def test_vectors_are_the_scorers_in_the_right_places(
    drawn: tuple[Path, list[Grid], list[Caption]], tmp_path: Path
) -> None:
    folder, grids, captions = drawn
    scorer = Counting()
    found = Encoder(scorer, Cache(tmp_path), folder).vectors(grids[:3], captions[:3])
    text = scorer.clip.text_vectors([similarity.plain(captions[2].panels[1])])[0]
    np.testing.assert_allclose(found.segments[2, 1], text, atol=1e-5)
    picture = Image.open(folder / grids[1].path).convert("RGB").crop(LAYOUT.boxes[2])
    np.testing.assert_allclose(found.panels[1, 2], scorer.clip.image_vectors([picture])[0], atol=1e-5)


def test_a_changed_picture_at_the_same_path_is_computed_again(
    drawn: tuple[Path, list[Grid], list[Caption]], tmp_path: Path
) -> None:
    folder, grids, captions = drawn
    grid = replace(grids[0], path="changed.png")
    scorer = Counting()
    encoder = Encoder(scorer, Cache(tmp_path), folder)
    for other in (0, 1):
        (folder / "changed.png").write_bytes((folder / grids[other].path).read_bytes())
        found = encoder.vectors([grid], captions[:1])
    assert scorer.pictures == [3, 3]
    np.testing.assert_allclose(found.panels, encoder.vectors([grids[1]], captions[:1]).panels)


def test_a_run_without_any_text_has_no_text_vectors(
    drawn: tuple[Path, list[Grid], list[Caption]], tmp_path: Path
) -> None:
    folder, grids, _ = drawn
    found = Encoder(Counting(), Cache(tmp_path), folder).vectors(grids[:2], [Caption("", "", "", ("", "", ""))] * 2)
    assert np.isnan(found.segments).all() and np.isnan(found.summaries).all()
    assert found.segments.shape == found.panels.shape


def test_copies_score_near_one_and_only_a_sample_is_copied(
    drawn: tuple[Path, list[Grid], list[Caption]], tmp_path: Path
) -> None:
    folder, grids, captions = drawn
    scorer = Counting()
    encoder = Encoder(scorer, Cache(tmp_path), folder)
    panels = encoder.vectors(grids, captions).panels
    found = encoder.copies(grids, panels)
    assert len(found) == similarity.COPIES == scorer.pictures[-1]
    assert np.median(found) > 0.95
    assert np.median(similarity.measure(encoder.vectors(grids, captions))["most alike"]) < 0.8


# ---- source pictures

WIDE = LayoutSection(rows=3, cols=1, panel_width=128, panel_height=64)


@pytest.fixture
def sources(tmp_path: Path) -> list[Record]:
    """A hundred drawn pictures that differ in shape from a panel; the last file is not a picture."""
    rng, records = Random(6), []
    for number in range(99):
        Image.fromarray(draw(draw_scene(rng), size=(96, 72))).save(tmp_path / f"{number}.png")
        records.append(Record(f"r{number}", f"{number}.png", "", Position()))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return [*records, Record("broken", "broken.png", "", Position())]


def test_source_pictures_are_computed_once_and_in_batches(sources: list[Record], tmp_path: Path) -> None:
    scorer = Counting()
    first = Encoder(scorer, Cache(tmp_path / "cache"), tmp_path).sources(sources[:2], WIDE)
    assert scorer.pictures == [2]
    every = Encoder(scorer, Cache(tmp_path / "cache"), tmp_path).sources(sources, WIDE)
    assert scorer.pictures == [2, similarity.AT_ONCE, 97 - similarity.AT_ONCE]
    np.testing.assert_array_equal(every[:2], first[:])
    again = Encoder(scorer, Cache(tmp_path / "cache"), tmp_path).sources(sources[:99], WIDE)
    assert len(scorer.pictures) == 3
    np.testing.assert_array_equal(again[:], every[:99])


def test_how_far_looking_at_many_pictures_has_come_is_told(
    sources: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(similarity, "AT_ONCE", 4)
    encoder = Encoder(Counting(), Cache(tmp_path / "cache"), tmp_path)
    with caplog.at_level("INFO", logger="iclora"):
        encoder.sources(sources[:4], WIDE)
        assert not any("looking" in message for message in caplog.messages)  # one batch
        caplog.clear()
        encoder.sources(sources[:16], WIDE)
    assert caplog.messages == [
        "looking at pictures",
        "looking at pictures, 33 % done",
        "looking at pictures, 66 % done",
    ]


def test_source_pictures_are_fitted_to_their_panels(sources: list[Record], tmp_path: Path) -> None:
    scorer = Counting()
    found = Encoder(scorer, Cache(tmp_path / "cache"), tmp_path).sources(sources[:1], WIDE)
    panel = pixels.fitted(pixels.open_image(tmp_path / "0.png"), (128, 64), "crop")
    np.testing.assert_allclose(found[0], scorer.clip.image_vectors([panel])[0], atol=1e-5)
    padded = Encoder(scorer, Cache(tmp_path / "cache"), tmp_path).sources(
        sources[:1], WIDE.model_copy(update={"fit": "pad"})
    )
    assert not np.allclose(found[:], padded[:], atol=1e-3)


def test_an_unreadable_picture_has_no_vector_and_stops_nothing(sources: list[Record], tmp_path: Path) -> None:
    encoder = Encoder(Counting(), Cache(tmp_path / "cache"), tmp_path)
    found = encoder.sources(sources[-2:], WIDE)
    assert np.isnan(found[:]).all(axis=1).tolist() == [False, True]
    assert np.isnan(encoder.sources(sources[-1:], WIDE)[:]).all()
