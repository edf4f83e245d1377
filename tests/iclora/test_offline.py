"""The first run of every published task, without sources, network or weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import iclora
from iclora import offline
from miniature import film
from pipeline import task
from pipeline.progress import silent

LEAST = 24
"""Kept grids of a first run; tasks are meant to be trained on 20 or more."""
OTHERS = [name for name in task.names() if name != "storyboard"]
"""The published tasks but for that of README's first run, whose own test asks for as many grids."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """What would be drawn, by the function that draws it."""
    found: dict[str, dict[str, object]] = {}
    for name in ("write_films", "write_pairs", "write_sets"):
        monkeypatch.setattr(film, name, lambda folder, name=name, **given: found.update({name: given}))
    return found


def test_the_films_of_the_documented_first_run_stay_as_they_are(asked: dict[str, object], tmp_path: Path) -> None:
    offline.draw_source(task.load("storyboard"), tmp_path, silent)
    assert asked == {"write_films": {"films": 30, "shots": 10, "seed": 1_000, "progress": silent}}


@pytest.mark.parametrize(
    ("name", "drawn"), [("sandstorm", "write_pairs"), ("couple-profile", "write_pairs"), ("font-design", "write_sets")]
)
def test_a_task_gets_material_that_its_strategy_groups(
    name: str, drawn: str, asked: dict[str, object], tmp_path: Path
) -> None:
    offline.draw_source(task.load(name), tmp_path)
    assert list(asked) == [drawn]


def test_more_pairs_and_sets_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    for name, few, more in (
        ("pairs", film.write_pairs(tmp_path / "a", pairs=2, seed=7, size=(64, 64)), {"pairs": 3}),
        (
            "sets",
            film.write_sets(tmp_path / "b", sets=2, pictures=2, seed=7, size=(64, 64)),
            {"sets": 3, "pictures": 2},
        ),
    ):
        again = getattr(film, f"write_{name}")(tmp_path / f"more {name}", seed=7, size=(64, 64), **more)
        assert [path.read_bytes() for path in few] == [path.read_bytes() for path in again[: len(few)]]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_first_run_of_every_other_task_keeps_enough_grids(name: str, tmp_path: Path) -> None:
    with iclora.open_run(name, folder=tmp_path) as run:
        *_, last = run.advance()
    assert last.kept >= LEAST
