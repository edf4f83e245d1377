"""The split: groups of sources stay whole, few move if a film is added, and overlap is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import task
from pipeline.dataset import split
from pipeline.errors import BadInput
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.task import Task

Make = Callable[..., Row]
TASK = task.load("storyboard")


def row(name: str, *positions: Position, pictures: tuple[str, ...] = ()) -> Row:
    """A row whose panels have these positions; its pictures have their own ids unless given."""
    ids = pictures or tuple(f"{name}-{panel}" for panel in range(len(positions)))
    records = tuple(Record(id_, f"/x/{id_}", f"/x/{id_}", at) for id_, at in zip(ids, positions, strict=True))
    grid = Grid(name, Group(f"s-{name}", "storyboard", records, "", 1.0), TASK.grid_layout, f"grids/{name}.png")
    return Row(grid, Caption("text", "", "", (), name))


def film(name: str, shot: int = 0) -> Position:
    return Position(folder="/home/me/films", film=f"{name}.mp4", shot=shot, stem=f"{name} shot {shot}")


def films(names: list[str], grids: int) -> list[Row]:
    return [row(f"{name}{grid}", film(name), film(name), film(name)) for name in names for grid in range(grids)]


def with_share(share: float, seed: int = 0) -> Task:
    return task.load("storyboard", [f"export.held_out={share}", f"seed={seed}"])


def test_whole_films_are_held_out_close_to_the_share() -> None:
    rows = films([f"film{n}" for n in range(20)], grids=3)
    found = split.divide(rows, with_share(0.1))
    assert len(found.held_out) == 6
    for name in set(found.groups.values()):
        sides = {found.side(grid) for grid, other in found.groups.items() if other == name}
        assert len(sides) == 1
    assert found.why == "2 of 20 groups of sources are held out (share 0.1, seed 0)"


def test_the_split_depends_on_rows_and_seed_but_not_on_their_order() -> None:
    rows = films([f"film{n}" for n in range(30)], grids=2)
    first = split.divide(rows, with_share(0.2))
    assert split.divide(rows[::-1], with_share(0.2)).held_out == first.held_out
    assert split.divide(rows, with_share(0.2, seed=1)).held_out != first.held_out


def test_adding_a_film_moves_few_others() -> None:
    names = [f"film{n}" for n in range(40)]
    before = split.divide(films(names, grids=2), with_share(0.1)).held_out
    moved = [len(before ^ split.divide(films([*names, f"new{n}"], 2), with_share(0.1)).held_out) for n in range(20)]
    assert max(moved) <= 4  # one film out and the new one in, two grids each
    assert sum(moved) / 20 < 1


@pytest.mark.parametrize(
    ("sizes", "held_out"),
    [((1,), 0), ((10, 10), 0), ((18, 2), 2), ((1, 1, 1), 1), ((5, 4, 3), 3), ((), 0)],
)
def test_with_few_groups_the_smallest_is_held_out_unless_it_is_too_large(sizes: tuple[int, ...], held_out: int) -> None:
    rows = [grid for number, size in enumerate(sizes) for grid in films([f"film{number}"], size)]
    found = split.divide(rows, with_share(0.1))
    assert len(found.held_out) == held_out
    assert found.why.startswith("1 of" if held_out else "nothing is held out: there are too few groups")


def test_a_share_of_zero_holds_nothing_out() -> None:
    assert split.divide(films(["a", "b", "c"], 5), with_share(0)).held_out == frozenset()


def test_grids_that_share_a_source_or_a_picture_even_indirectly_are_one_group() -> None:
    rows = [
        row("one", film("a"), film("a"), film("a")),
        row("two", film("a", 5), film("b"), film("b")),
        row("three", film("b", 9), film("b"), film("b")),
        row("four", film("c"), film("c"), film("c"), pictures=("three-0", "x", "y")),
        row("five", film("d"), film("d"), film("d")),
    ]
    groups = split.group(rows, TASK)
    assert groups["one"] == "films/a.mp4 + films/b.mp4 + films/c.mp4"
    assert {groups[name] for name in ("one", "two", "three", "four")} == {groups["one"]}
    assert groups["five"] == "films/d.mp4"


@pytest.mark.parametrize(
    ("position", "name"),
    [
        (Position(folder="/home/me/anna", stem="3"), "anna"),
        (Position(folder="/home/me/sets", stem="1", set="sets/0001.png"), "sets/0001.png"),
        (Position(folder="/home/me/sets", set="sets/0001.png", group="films/a.mp4"), "films/a.mp4"),
    ],
)
def test_a_source_is_a_film_a_set_or_a_folder_and_its_name_reveals_no_local_path(position, name) -> None:
    assert split.group([row("one", position, position, position)], TASK) == {"one": name}


def test_pairs_are_separate_groups_in_one_folder_but_grouped_by_several_folders() -> None:
    pairs = task.load("sandstorm")

    def pair(folder: str, number: int) -> Row:
        return row(f"{folder}{number}", *(Position(f"/x/{folder}", f"{number}_{end}") for end in ("before", "after")))

    assert split.group([pair("a", 1), pair("a", 2)], pairs) == {"a1": "a/1_before", "a2": "a/2_before"}
    assert split.group([pair("a", 1), pair("b", 2)], pairs) == {"a1": "a", "b2": "b"}


# ---- finished data sets


def finished(home: Path, *entries: tuple[str, str, str, bytes]) -> Path:
    """A data set of (side, group, source hash, picture) entries."""
    for number, (side, group, source, picture) in enumerate(entries):
        (home / side).mkdir(exist_ok=True)
        (home / side / f"{number}.png").write_bytes(picture)
        entry = {"file_name": f"{number}.png", "group": group, "sources": [{"sha256": source}]}
        with (home / side / "metadata.jsonl").open("a", encoding="utf-8") as listing:
            listing.write(json.dumps(entry) + "\n")
    return home


def test_a_data_set_without_overlap_passes(tmp_path: Path) -> None:
    entries = ("train", "a", "1", b"x"), ("train", "a", "1", b"x"), ("validation", "b", "2", b"y")
    split.check(finished(tmp_path, *entries))
    assert list(split.entries(tmp_path)) == ["train/0.png", "train/1.png", "validation/2.png"]


@pytest.mark.parametrize(
    ("entry", "shared"),
    [
        (("validation", "a", "2", b"y"), "the group a"),
        (("validation", "b", "1", b"y"), "the source picture 1"),
        (("validation", "b", "2", b"x"), "the grid 2d711642b726"),
    ],
)
def test_overlap_of_groups_sources_or_grids_is_refused(entry, shared: str, tmp_path: Path) -> None:
    finished(tmp_path, ("train", "a", "1", b"x"), entry)
    with pytest.raises(BadInput, match=f"overlap: train/0.png and validation/1.png share {shared};"):
        split.check(tmp_path)


def test_a_missing_broken_or_incomplete_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"metadata.jsonl is not a data set's metadata"):
        split.check(tmp_path)
    finished(tmp_path, ("train", "a", "1", b"x"))
    (tmp_path / "train" / "0.png").unlink()
    with pytest.raises(BadInput, match=r"0.png is in the metadata but can't be read"):
        split.check(tmp_path)
    (tmp_path / "train" / "metadata.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=r"is not a data set's metadata"):
        split.check(tmp_path)
