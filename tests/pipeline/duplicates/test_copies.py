"""Pictures that show the same thing are copies, whatever was done to them; others are none, however alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import record
from PIL import Image, ImageEnhance

from pipeline import task
from pipeline.consistency import evidence
from pipeline.duplicates import cells, finding, perceptual
from pipeline.duplicates import vectors as by_vector
from pipeline.duplicates.base import Copy, Limits, Looks
from pipeline.duplicates.vectors import nearest
from pipeline.records import Record
from pipeline.stages import inspect

LIMITS = Limits(6, 0.95, 0.97)
Draw = Callable[..., Image.Image]
FLIP, TURN = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose


def looks(records: Sequence[Record], vectors: Sequence[Sequence[float]] | None = None) -> Looks:
    histograms = evidence.histograms(records)
    units = None if vectors is None else np.array(vectors, np.float32)
    return Looks(
        records,
        histograms / np.linalg.norm(histograms, axis=1, keepdims=True),
        None if units is None else units / np.linalg.norm(units, axis=1, keepdims=True),
    )


def named(records: Sequence[Record], found: Sequence[Copy]) -> dict[str, tuple[str, str]]:
    return {records[one.copy].id: (records[one.of].id, one.how) for one in found}


ANY_SHAPE = task.load("storyboard", ["layout.max_crop=0.99", "layout.max_enlarge=100"]).layout


def measuring(folder: Path) -> Callable[..., Record]:
    """`measured("a.png", picture)` is the record of a picture that is written into the folder."""

    def measured(name: str, picture: Image.Image, **options: object) -> Record:
        picture.save(folder / name, **options)
        found = inspect.measure(replace(record(name), path=str(folder / name)), folder, ANY_SHAPE)
        assert isinstance(found, Record)
        return found

    return measured


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., Record]:
    return measuring(tmp_path)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> tuple[Record, Record]:
    """A large picture, and one of something else."""
    measured = measuring(tmp_path_factory.mktemp("copies"))
    return measured("a.png", draw(1, (1280, 720))), measured("c.png", draw(2))


def test_the_hash_of_a_picture_as_it_is_is_that_of_imagehash(draw: Draw) -> None:
    picture = draw(3)
    first, *others = perceptual.hashes(picture)
    assert first == str(imagehash.phash(picture))
    assert others[2] == str(imagehash.phash(picture.transpose(TURN.ROTATE_180)))


WAYS: dict[str, tuple[Callable[[Image.Image], Image.Image], str]] = {
    "smaller": (lambda one: one.resize((320, 180)), "hash within 6 bits"),
    "darker": (lambda one: ImageEnhance.Brightness(one).enhance(0.97), "hash within 6 bits"),
    "trimmed": (lambda one: one.crop((4, 2, 636, 358)), "hash within 6 bits"),
    "mirrored": (lambda one: one.transpose(FLIP), "mirrored"),
    "mirrored and smaller": (lambda one: one.transpose(FLIP).resize((512, 288)), "mirrored"),
    "turned by 90": (lambda one: one.transpose(TURN.ROTATE_90), "turned by 90°"),
    "turned by 180": (lambda one: one.transpose(TURN.ROTATE_180), "turned by 180°"),
    "turned by 270": (lambda one: one.transpose(TURN.ROTATE_270), "turned by 90°"),
    "upside down": (lambda one: one.transpose(TURN.FLIP_TOP_BOTTOM), "mirrored upside down"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_is_found_again_whatever_was_done_to_it(
    measured: Callable[..., Record], draw: Draw, two: tuple[Record, Record], way: str, ending: str
) -> None:
    change, how = WAYS[way]
    original, other = two
    copy = measured(f"b.{ending}", change(draw(1, (640, 360))))
    found = finding.copies(looks([copy, other, original]), LIMITS)
    assert named([copy, other, original], found) == {copy.id: (original.id, how)}


def test_the_same_pixels_in_another_file_are_a_copy_at_any_limit(measured: Callable[..., Record], draw: Draw) -> None:
    picture = draw(1, (640, 640))
    same = [measured("a.png", picture), measured("b.bmp", picture), measured("c.png", picture, compress_level=0)]
    near = measured("d.png", picture.resize((480, 480)))
    found = named([*same, near], finding.copies(looks([*same, near]), Limits(0, 1.1, None)))
    assert found == dict.fromkeys(("b.bmp", "c.png"), ("a.png", "same pixels in another file"))


def test_the_largest_then_the_sharpest_then_the_first_by_source_stays() -> None:
    same = [record(name, phash="0" * 16) for name in ("x/10", "x/9", "x/2", "x/3")]
    same[2] = replace(same[2], sharpness=5.0)
    large = record("x/99", phash="0" * 16, size=(800, 600))
    assert {one for one, _ in named([*same, large], finding.copies(looks([*same, large]), LIMITS)).values()} == {"x/99"}
    assert {one for one, _ in named(same, finding.copies(looks(same), LIMITS)).values()} == {"x/2"}
    alike = [same[0], same[1], same[3]]
    assert {one for one, _ in named(alike, finding.copies(looks(alike), LIMITS)).values()} == {"x/3"}


@settings(deadline=None, max_examples=25)
@given(
    drawn=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["red", "blue"])), min_size=1, max_size=14
    ),
    order=st.randoms(use_true_random=False),
)
def test_which_copies_are_found_does_not_depend_on_the_order(drawn: list[tuple[int, int, str]], order) -> None:
    records = [
        record(f"x/{number}", phash=f"{(kind * 0x0123456789ABCDEF ^ bits) % 2**64:016x}", **{colour: 1})
        for number, (kind, bits, colour) in enumerate(drawn)
    ]
    shuffled = list(records)
    order.shuffle(shuffled)
    one, other = (named(some, finding.copies(looks(some), LIMITS)) for some in (records, shuffled))
    assert one == other
    staying = [each for each in records if each.id not in one]
    assert not finding.copies(looks(staying), LIMITS)  # nothing is left to find
    assert {of for of, _ in one.values()} <= {each.id for each in staying}


def test_pictures_of_one_hash_and_many_colours_take_linear_memory() -> None:
    records = [record(f"x/{number}", phash="0" * 16) for number in range(3000)]
    assert len(finding.copies(looks(records), LIMITS)) == 2999


def test_a_symmetric_picture_is_no_mirrored_copy_of_one_that_has_other_colours() -> None:
    one = record("x/1", phash="0" * 16, red=1)
    other = replace(record("x/2", phash="f" * 16, blue=1), turned="0" * 64)
    assert not finding.copies(looks([one, other]), LIMITS)
    assert finding.copies(looks([one, replace(other, histogram=one.histogram)]), LIMITS)


# ---- by vector


def test_a_series_of_alike_vectors_leaves_one_picture() -> None:
    records = [record(f"x/{number:02d}") for number in range(60)]
    vectors = [[1.0, 0.001 * number, 0] for number in range(40)] + [[0, 1.0, number] for number in range(20)]
    found = finding.copies(looks(records, vectors), LIMITS)
    assert {records[one.of].id for one in found if one.copy < 40} == {"x/00"}
    assert len([one for one in found if one.copy < 40]) == 39
    assert found[0].how.startswith("vectors alike by ") and found[0].how.endswith(", ceiling 0.97")
    assert not finding.copies(looks(records, vectors), Limits(6, 0.95, None))


def test_alike_vectors_with_other_colours_are_no_copies_nor_is_a_picture_that_can_not_be_read() -> None:
    records = [record("x/1", red=1), record("x/2", blue=1), record("x/3", red=1)]
    assert not finding.copies(looks(records, [[1, 0], [1, 0], [np.nan, np.nan]]), LIMITS)


def test_cells_find_the_copies_among_many_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.duplicates.cells.FLAT", 100)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 32))
    vectors[300:] = vectors[:300] + 0.02 * rng.normal(size=(300, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, place = nearest(vectors, np.arange(600), np.arange(600), 2)
    partners = (np.arange(600) + 300) % 600
    assert (place == partners[:, None]).any(axis=1).mean() > 0.99


def one_by_one(units: np.ndarray, colours: np.ndarray, order: Sequence[int], fixed: int) -> dict[int, int]:
    """Copies as the docstring says it: each is a copy of the first that stays and is alike, or stays."""
    found, staying = {}, [row for row in order if row < fixed]
    for row in order:
        alike = (one for one in staying if units[row] @ units[one] >= 0.97 and colours[row] @ colours[one] >= 0.95)
        if row >= fixed and (of := next(alike, None)) is not None:
            found[row] = of
        elif not fixed:
            staying.append(row)
    return found


@pytest.mark.parametrize("first", [1, 8])
@given(seed=st.integers(0, 10_000), fixed=st.sampled_from([0, 40]))
def test_each_picture_is_a_copy_of_the_first_that_stays_and_is_alike(
    monkeypatch: pytest.MonkeyPatch, first: int, seed: int, fixed: int
) -> None:
    monkeypatch.setattr(by_vector, "FIRST", first)
    monkeypatch.setattr(by_vector, "PAIRS", 50)
    monkeypatch.setattr(by_vector, "HELD", 200)
    rng = np.random.default_rng(seed)
    turn = np.cumsum(rng.random(120) * 0.2)  # a chain: each is alike to its neighbours, not to those further on
    drawn = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    drawn[rng.random(120) < 0.1] = np.nan
    records = [record(f"x/{number}", red=float(rng.random() < 0.8), blue=1) for number in range(120)]
    some, order = looks(records, drawn), rng.permutation(120)
    if fixed:
        order = np.concatenate([order[order < fixed], order[order >= fixed]])
    expected = one_by_one(np.asarray(some.vectors[:]), some.colours[:], order.tolist(), fixed)
    found = by_vector.copies(some, order, LIMITS, fixed)
    assert {one.copy: one.of for one in found} == expected
    assert expected


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_the_nearest_vectors_are_those_that_sorting_all_finds(
    monkeypatch: pytest.MonkeyPatch, seed: int, count: int
) -> None:
    monkeypatch.setattr(cells, "QUERIES", 7)
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (25, 3)).astype(np.float32)  # many are equally near
    cosines = vectors @ vectors.T
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    near, place = nearest(vectors, np.arange(25), np.arange(25), count)
    np.testing.assert_array_equal(near, np.take_along_axis(cosines, expected, axis=1))
    if count >= 25:
        np.testing.assert_array_equal(place, expected)


def test_cells_compare_each_pair_at_most_once_and_no_vector_twice_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "FLAT", 50)
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", 5)
    vectors = np.random.default_rng(3).normal(size=(400, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = np.zeros((400, 400), int)
    rows = np.random.default_rng(4).permutation(400)
    for asking, members, cosines in cells.Cells(vectors, rows).compared(rows):
        seen[np.ix_(asking, members)] += 1
        np.testing.assert_allclose(cosines, vectors[rows[asking]] @ vectors[rows[members]].T, atol=1e-6)
    assert seen.max() == 1
    assert (np.diagonal(seen) == 1).all()


# ---- of earlier runs


def test_what_an_earlier_run_uses_is_found_even_where_a_larger_picture_of_the_pool_shows_the_same() -> None:
    earlier = [record("old/1", phash="0" * 16, size=(100, 100)), record("old/2")]
    own = [record("x/1", phash="0" * 16), record("x/2", phash="0" * 15 + "1"), record("x/3"), record("x/4"),
           replace(record("x/5"), id="old/2")]  # fmt: skip
    own[3] = replace(own[2], id="x/4")  # copies of each other, but of nothing that is used
    found = finding.used(looks(own), looks(earlier), LIMITS)
    assert {own[one.copy].id: earlier[one.of].id for one in found} == {"x/1": "old/1", "x/2": "old/1", "old/2": "old/2"}
    assert {one.how for one in found} == {"hash within 6 bits", "same bytes"}


def test_vectors_find_what_an_earlier_run_uses() -> None:
    earlier, own = looks([record("old/1")], [[1, 0.0]]), looks([record("x/1"), record("x/2")], [[1, 0.1], [0, 1]])
    assert [(one.copy, one.of) for one in finding.used(own, earlier, LIMITS)] == [(0, 0)]
