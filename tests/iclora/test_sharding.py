"""Runs over parts of the sources, and one run of them all: what it comes to is what one run over everything does."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import bitmaps
import filmed
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import iclora
from iclora.offline import MINIATURE
from iclora.run import Run
from iclora.settings import Sources
from pipeline.consistency import similarity
from pipeline.errors import BadInput
from pipeline.films.shots import FilmReader
from pipeline.records import Rejected
from pipeline.review import decisions, taking
from pipeline.review.decisions import Taken
from pipeline.sources import gathering, parts
from pipeline.sources.base import Facts, Item
from pipeline.sources.disk import File
from pipeline.stages import compose, inspect
from pipeline.store import Store

CAPTIONER = Path(__file__).parents[1] / "toys" / "captioners" / "by_picture.py"
ASKED: dict[str, Any] = {"settings": bitmaps.SMALL, "captioner": str(CAPTIONER), "scorer": "none"}
SCORED = ASKED | {
    "scorer": "open_clip",
    "settings": bitmaps.SMALL
    | {"scorer.model": f"local-dir:{MINIATURE / 'clip'}", "filter.recurring": False}
    | dict.fromkeys(("filter.floor", "filter.summary", "filter.related"), -1)
    | dict.fromkeys(("filter.copies", "filter.texts"), 1)
    | {"filter.slack": 10},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of pictures, a film, an archive, and what is to be rejected: copies, also across sources, no pictures."""
    home = bitmaps.folders(tmp_path_factory.mktemp("sharding") / "sources", "abcdefg", 4)
    shutil.copy(home / "a" / "1.bmp", home / "a" / "copy.bmp")
    shutil.copy(home / "a" / "1.bmp", home / "f" / "copy.bmp")
    with Image.open(home / "a" / "2.bmp") as picture:
        picture.save(home / "g" / "2 again.png")
    (home / "c" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (home / "e" / "9.png").write_text("no picture", encoding="utf-8")
    black = [np.zeros((108, 192, 3), np.uint8)] * 20
    filmed.write(home / "d film.mp4", [*filmed.shots((1, 2, 3), 0.8), *black, *filmed.shots((4, 5, 6), 0.8)])
    more = bitmaps.folders(home.parent / "archive", "hi")
    shutil.copy(home / "b" / "1.bmp", more / "h" / "copy.bmp")
    archive = Path(shutil.make_archive(str(home.parent / "archive"), "zip", more))
    return [home, archive]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of pictures alone, one of them in two folders."""
    home = bitmaps.folders(tmp_path_factory.mktemp("plain") / "sources", "abcd")
    shutil.copy(home / "a" / "1.bmp", home / "d" / "copy.bmp")
    return home


@pytest.fixture(scope="module")
def two(plain: Path) -> Path:
    """Two parts of them that have come to their captions."""
    return advanced(plain, 2, plain.parent / "parts", to="caption", **ASKED)


@pytest.fixture
def parts_of(two: Path, tmp_path: Path) -> list[Path]:
    """A copy of the two parts, for a test of its own."""
    return copied(two, tmp_path)


def advanced(sources: Sources, shards: int, home: Path, to: str, **asked: Any) -> Path:
    for one in iclora.shard("storyboard", sources, shards, folder=home, **asked):
        with iclora.open_run("storyboard", folder=one.folder) as run:
            run.advance(to)
    return home


def copied(parts: Path, to: Path) -> list[Path]:
    shutil.copytree(parts, to / "parts")
    return sorted((to / "parts").iterdir())


def tables(run: Run) -> dict[str, list[dict[str, Any]]]:
    """All rows of a run, but for times and what was in the cache."""
    found = {name: run.table(name) for name in run.store.counts()}
    for row in found["stages"]:
        row.update(seconds=0, facts="", fingerprint=row["name"] != "export" and row["fingerprint"])  # of its own path
    return found


def pictures(folder: Path) -> dict[str, bytes]:
    paths = [path for name in ("collected", "grids", "dataset") for path in (folder / name).rglob("*.*")]
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in paths if path.suffix in (".png", ".jpg", ".txt")
    }


# ---- merged


def test_merged_parts_are_row_for_row_what_one_run_over_everything_is(plain: Path, two: Path, tmp_path: Path) -> None:
    with (
        iclora.merge("storyboard", two.iterdir(), folder=tmp_path / "all") as run,
        iclora.open_run("storyboard", plain, folder=tmp_path / "once", **ASKED) as once,
    ):
        once.advance("caption")
        assert tables(run) == tables(once) and run.settings == once.settings
        (copy,) = run.store.rejected("collect")
        assert copy.detail.endswith(f"d/copy.bmp has the same bytes as {plain}/a/1.bmp.")
        mark = run.store.mark("caption")
        assert mark and (mark.facts["asked"], mark.facts["answers from the cache"]) == (0, 4)
        run.advance()
        assert run.dataset.is_dir()


@pytest.mark.slow
def test_merged_parts_have_decoded_measured_drawn_and_asked_nothing_again(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with iclora.open_run("storyboard", sources, folder=tmp_path / "once", **SCORED) as once:
        once.advance()
    done = advanced(sources, 4, tmp_path / "parts", to="export", **SCORED)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a part has done this")

    monkeypatch.setattr(FilmReader, "shots", never)
    monkeypatch.setattr(inspect, "measure", never)
    drawn: list[str] = []
    write = compose.write
    monkeypatch.setattr(compose, "write", lambda grid, *more: drawn.append(grid.id) or write(grid, *more))
    run = iclora.merge("storyboard", done.iterdir(), folder=tmp_path / "all")
    with run, iclora.open_run("storyboard", folder=tmp_path / "once") as once:
        assert tables(run) == tables(once)
        assert pictures(run.folder) == pictures(once.folder)
        rejected = {(row.what.rpartition("/")[2], row.reason) for row in run.store.rejected("collect")}
        assert {("copy.bmp", "exact copy"), ("9.png", "unsupported"), ("d film.mp4 shot 3", "blank")} <= rejected
        assert ("broken.jpg", "unreadable") in {(row.what[-10:], row.reason) for row in run.store.rejected("inspect")}
        assert "same pixels in another file" in " ".join(row.detail for row in run.store.rejected("group"))
        before = {grid for part in done.iterdir() for grid in grids(part)}
        assert set(drawn) == {row["id"] for row in run.table("grids")} - before
        mark = run.store.mark("caption")
        assert mark and mark.facts["asked"] == len(drawn)
        known = {path.name for part in done.iterdir() for path in (part / "cache" / "vectors").rglob("*.f32")}
        new = {path.name for path in (run.folder / "cache" / "vectors").rglob("*.f32")} - known
        assert len(new) <= similarity.COPIES + 7 * len(drawn)  # a new grid has three panels, their texts and a summary

        monkeypatch.undo()
        frames = sorted((run.folder / "collected").glob("d-film-*/*.jpg"))
        assert {frame.stat().st_nlink for frame in frames} == {2}  # links take no space
    (part,) = {frame.parents[2] for frame in done.glob("*/collected/d-film-*/*.jpg")}
    with iclora.open_run("storyboard", folder=part, settings={"pictures.animated": "frames"}) as again:
        again.advance("collect")
    assert {frame.stat().st_nlink for frame in frames} == {1}  # and what is collected anew leaves the old files alone


def grids(folder: Path) -> list[str]:
    with iclora.open_run("storyboard", folder=folder) as run:
        return [row["id"] for row in run.table("grids")]


def test_what_people_decided_in_the_parts_counts_in_the_merged_run_and_what_they_decide_there_counts_after_it(
    parts_of: list[Path], tmp_path: Path
) -> None:
    for number, part in enumerate(parts_of):
        with iclora.open_run("storyboard", folder=part) as run:
            run.apply(run.rows()[:1][["id"]].assign(decision="drop", note=f"of part {number + 1}"))
    with iclora.merge("storyboard", parts_of, folder=tmp_path / "all") as run:
        notes = {row.id: row.review.note for row in run.reviewed() if row.review and row.decision == "drop"}
        assert sorted(notes.values()) == ["of part 1", "of part 2"]
        run.apply(run.rows()[:1][["id"]].assign(decision="keep", note="after all"))
    with iclora.merge("storyboard", parts_of, folder=tmp_path / "all") as run:
        notes = {row.id: (row.decision, row.review.note) for row in run.reviewed() if row.review}
        assert sorted(notes.values()) == [("drop", "of part 2"), ("keep", "after all")]
        assert len(decisions.read(run.folder).lines) == 3


def test_a_picture_that_is_taken_in_after_a_merge_is_in_the_run_when_the_parts_are_merged_again(tmp_path: Path) -> None:
    home = bitmaps.folders(tmp_path / "sources", "abcd")
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)).save(home / "b" / "4.png")
    advanced(home, 2, tmp_path / "parts", to="inspect", **ASKED)

    def rejected() -> list[Rejected]:
        with iclora.merge("storyboard", (tmp_path / "parts").iterdir(), folder=tmp_path / "all") as run:
            return run.store.rejected("inspect")

    (row,) = rejected()
    taking.say(tmp_path / "all", Taken(row.id, True, "inspect", row.reason, row.what), "page")
    assert rejected() == []


def test_a_shot_that_is_taken_in_after_a_merge_is_in_the_run_when_the_parts_are_merged_again(tmp_path: Path) -> None:
    home = bitmaps.folders(tmp_path / "sources", "a")
    dark = [np.zeros((108, 192, 3), np.uint8)] * 20
    filmed.write(home / "b.mp4", [*filmed.shots((1,), 0.8), *dark])
    advanced(home, 2, tmp_path / "parts", to="inspect", **ASKED)

    def rejected() -> list[Rejected]:
        with iclora.merge("storyboard", (tmp_path / "parts").iterdir(), folder=tmp_path / "all") as run:
            return run.store.rejected("collect")

    (row,) = rejected()
    picture = taking.picture_of(row, tmp_path / "all")
    taking.say(tmp_path / "all", Taken(picture, True, "collect", row.reason, row.what), "page")
    assert rejected() == []


def test_a_merge_that_was_cut_off_resumes(parts_of: list[Path], tmp_path: Path) -> None:
    def cut_off(stage: str, done: int, total: int, /) -> None:
        if (stage, done) == ("inspect", 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        iclora.merge("storyboard", parts_of, folder=tmp_path / "all", progress=cut_off)
    with iclora.merge("storyboard", parts_of, folder=tmp_path / "all") as run:
        assert run.counts()["captions"] == 4


def test_the_parts_may_go_after_the_merge_and_a_merged_run_is_an_ordinary_one(
    parts_of: list[Path], plain: Path, tmp_path: Path
) -> None:
    with iclora.merge("storyboard", parts_of, folder=tmp_path / "all"):
        pass
    shutil.rmtree(tmp_path / "parts")
    with iclora.open_run("storyboard", folder=tmp_path / "all") as run:
        results = run.advance("caption")
        assert not any(result.worked for result in results)
        assert run.settings.sources == (str(plain),)


# ---- refused


def test_parts_that_are_not_all_of_one_cut_or_not_done_are_refused_with_the_way_on(
    parts_of: list[Path], plain: Path, tmp_path: Path
) -> None:
    def refusal(folders: list[Path], folder: str = "all") -> str:
        with pytest.raises(BadInput) as refused:
            iclora.merge("storyboard", folders, folder=tmp_path / folder)
        assert not (tmp_path / "all").exists()
        return str(refused.value)

    one, two = parts_of
    assert refusal([]).startswith("merge takes the folders of all parts")
    assert refusal([one]) == "part 2 of 2 is missing; name the folders of all parts."
    others = [each.folder for each in iclora.shard("storyboard", plain, 3, folder=tmp_path / "three", **ASKED)]
    with iclora.open_run("storyboard", folder=others[0]) as run:
        run.advance("collect")
    assert "cut together" in refusal([one, two, others[0]])
    assert f"run in {others[1]} has not been started; 'iclora dataset storyboard --out " in refusal(others)
    for other in others[1:]:
        with iclora.open_run("storyboard", folder=other) as run:
            assert run.counts()["collected"] == 0
    assert f"run in {others[1]} (and 1 more) is not done with collect; 'iclora dataset" in refusal(others)
    assert "there is no run in" in refusal([one, tmp_path / "nowhere"])
    with iclora.open_run("storyboard", plain, folder=tmp_path / "single", captioner="sidecar", scorer="none") as run:
        run.advance("collect")
    assert "single is not one of several parts" in refusal([one, two, tmp_path / "single"])
    assert "single was asked for something else; name another folder" in refusal([one, two], "single")


def test_a_part_that_somebody_works_on_or_that_was_asked_for_something_else_is_refused(
    parts_of: list[Path], tmp_path: Path
) -> None:
    with Store(parts_of[1]) as store, store.working(), pytest.raises(BadInput, match="another process is at work"):
        iclora.merge("storyboard", parts_of, folder=tmp_path / "all")
    with iclora.open_run("storyboard", folder=parts_of[1], settings={"group.near": 1}) as run:
        run.advance("inspect")
    with pytest.raises(BadInput, match=r"were asked for different things \(group.near\); ask them for the same"):
        iclora.merge("storyboard", parts_of, folder=tmp_path / "all")


def test_a_part_whose_files_have_changed_is_refused_until_it_is_up_to_date(tmp_path: Path) -> None:
    home = bitmaps.folders(tmp_path / "sources", "ab")
    parts = sorted(advanced(home, 2, tmp_path / "parts", to="inspect", **ASKED).iterdir())
    bitmaps.write(home / "b" / "2.bmp", 7)
    with pytest.raises(BadInput) as refused:
        iclora.merge("storyboard", parts, folder=tmp_path / "all")
    assert f"the run in {parts[1]} is not up to date" in str(refused.value)
    assert str(refused.value).endswith(f"'iclora inspect storyboard --out {parts[1]}' brings it up to date.")
    with iclora.open_run("storyboard", folder=parts[1]) as run:
        run.advance("inspect")
    with iclora.merge("storyboard", parts, folder=tmp_path / "all") as merged:
        assert merged.counts()["records"] == 6


def test_sources_that_lack_the_border_of_a_part_are_refused(tmp_path: Path) -> None:
    home = bitmaps.folders(tmp_path / "sources", "ab")
    one, two = iclora.shard("storyboard", home, 2, folder=tmp_path / "parts", **ASKED)
    assert two.part.first == f"{home}/b/1.bmp" == one.part.until
    (home / "b" / "1.bmp").unlink()
    with (
        iclora.open_run("storyboard", folder=one.folder) as run,
        pytest.raises(BadInput, match=r"b/1.bmp, where a part of the sources begins, is .* any more; cut them again"),
    ):
        run.advance("collect")


def test_shards_are_set_up_once_and_never_over_other_runs(plain: Path, tmp_path: Path) -> None:
    asked = ASKED | {"folder": tmp_path / "parts"}
    assert iclora.shard("storyboard", plain, 2, **asked) == iclora.shard("storyboard", plain, 2, **asked)
    with pytest.raises(BadInput, match=r"there is another run in .*/1; name another folder"):
        iclora.shard("storyboard", plain, 3, **asked)
    with pytest.raises(
        BadInput, match=r"13 films and pictures can't be cut into 14 parts; give --shards from 1 to 13\."
    ):
        iclora.shard("storyboard", plain, 14, **asked)
    with pytest.raises(BadInput, match="nothing to cut into parts"):
        iclora.shard("storyboard", [], 2, **asked)


# ---- where the cuts are


def item(name: str, size: int | None = None, group: str = "") -> Item:
    content = None if size is None else File(Path("/home") / name, 0, size)
    return Item("/home", name, content, facts=Facts(group=group))


def test_parts_begin_between_films_and_folders_and_have_about_as_many_bytes() -> None:
    films = [item(f"{letter}.mp4", 100) for letter in "abcdef"]
    assert parts.cut(films, 3) == [0, 2, 4]
    folders = [item(f"{letter}/{number}.png", 10) for letter in "abcd" for number in range(10)]
    assert parts.cut(folders, 2) == [0, 20] and parts.cut(folders, 3) == [0, 10, 20]
    assert parts.cut([item("long.mp4", 1_000), *films], 2) == [0, 1]


def test_a_folder_that_is_larger_than_a_part_is_cut_and_groups_of_a_table_are_not() -> None:
    assert parts.cut([item(f"a/{number}.png", 10) for number in range(100)], 4) == [0, 25, 50, 75]
    rows = [item(f"{number}.png", None, group=f"g{number // 7}") for number in range(70)]
    assert all(start % 7 == 0 for start in parts.cut(rows, 4))


@given(
    sizes=st.lists(st.none() | st.integers(0, 1_000), min_size=1, max_size=40),
    count=st.integers(1, 40),
    depth=st.integers(1, 9),
)
def test_no_part_is_empty_whatever_the_sizes(sizes: list[int | None], count: int, depth: int) -> None:
    items = [item(f"{number // depth}/{number}.png", size) for number, size in enumerate(sizes)]
    if count > len(items):
        with pytest.raises(BadInput):
            parts.cut(items, count)
        return
    starts = parts.cut(items, count)
    assert starts[0] == 0 and len(starts) == count
    assert all(one < other for one, other in itertools.pairwise([*starts, len(items)]))


def test_a_part_has_the_items_from_its_first_to_that_of_the_next() -> None:
    items = gathering.Items([item("a.mp4", 1), item("b.mp4", 1), item("c\udcff.mp4", 1)])
    items.remarks = ["one."]
    first, second, third = map(parts.address, items)
    assert parts.between(items, first, second) == items[:1]
    assert parts.between(items, second, "") == items[1:] and parts.between(items, third, "").remarks == ["one."]
