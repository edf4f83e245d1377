"""What the commands print on a terminal of 80 columns: nothing is wider, and no name is cut.

A sentence is one line, which a terminal wraps by itself, so that a command in it can be copied; tables, help and bars
have to fit.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from iclora import cli, open_run
from iclora.console import output
from miniature import film
from miniature.world import draw_scene
from pipeline.store import TABLES

WIDE = 80
FOLDERS = ("a-day-at-the-sea-with-a-long-name", "a-night-in-the-city-with-a-long-name")
COMMANDS = sorted(str(one.name or (one.callback and one.callback.__name__)) for one in cli.app.registered_commands)


class Terminal(output.Output):
    """A terminal of 80 columns that keeps apart what is printed as one line, however long."""

    def __init__(self) -> None:
        super().__init__(force_terminal=True, width=WIDE, color_system=None, highlight=False, markup=False, emoji=False)
        self.sentences: list[str] = []

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap:
            self.sentences += map(str, objects)
        else:
            super().print(*objects, soft_wrap=soft_wrap, **options)


Typed = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """`typed("tasks")` gives the lines that have to fit, and the sentences."""

    def run(*words: str) -> tuple[list[str], list[str]]:
        terminal = Terminal()
        monkeypatch.setenv("COLUMNS", str(WIDE))
        monkeypatch.setattr(output, "console", terminal)
        monkeypatch.setattr("sys.argv", ["iclora", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out.splitlines(), terminal.sentences

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on two folders of pictures with texts, one picture too many in each, and a broken one."""
    home = tmp_path_factory.mktemp("eighty")
    rng = random.Random(3)
    for folder in FOLDERS:
        for number in range(1, 5):
            path = film.picture(draw_scene(rng), home / "films" / folder / f"picture-{number}.png", (320, 160))
            path.with_suffix(".txt").write_text(f"part {number} of {folder} is told here", encoding="utf-8")
    (home / "films" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    run = open_run(
        "storyboard",
        home / "films",
        captioner="sidecar",
        scorer="none",
        settings={"group.floor": 0},
        folder=home / "run",
    )
    with run:
        run.advance()
    return home


def fits(lines: list[str]) -> None:
    assert lines
    assert [line for line in lines if cell_len(line) > WIDE and len(line.split()) > 1] == []
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits(command: str, typed: Typed) -> None:
    lines, _ = typed(*command.split(), "--help")
    fits(lines)


@pytest.mark.parametrize("table", [*TABLES, "rejected", "settings", "decisions", "unmatched"])
def test_a_table_of_a_run_fits(table: str, typed: Typed, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclora.console.working.Bars", lambda _: None)  # drawn over and over; tested by themselves
    lines, _ = typed("show", "storyboard", table, "--out", str(home / "run"))
    fits(lines)


def test_names_of_grids_and_pictures_and_reasons_are_whole(typed: Typed, home: Path) -> None:
    with open_run("storyboard", folder=home / "run") as run:
        grids = [row["id"] for row in run.table("grids")]
        left = run.table("rejected")
    assert len(grids) == 2 and len(left) == 3
    shown, _ = typed("show", "storyboard", "grids", "--out", str(home / "run"))
    assert all(grid in " ".join(shown) for grid in grids)
    shown, _ = typed("show", "storyboard", "rejected", "--out", str(home / "run"))
    words = " ".join(" ".join(shown).split())
    assert all(row["what"] in words and row["reason"] in words for row in left)


def test_the_summary_of_a_run_fits_and_has_all_reasons(
    typed: Typed, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iclora.console.working.Bars", lambda _: None)
    lines, _ = typed("dataset", "storyboard", "--out", str(home / "run"))
    fits(lines)
    assert "1 unreadable" in " ".join(lines) and "2 no neighbours" in " ".join(lines)


@pytest.mark.parametrize("words", ["tasks", "doctor", "survey films", "show storyboard --out run"])
def test_lists_and_reports_fit(words: str, typed: Typed, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclora.console.working.Bars", lambda _: None)
    monkeypatch.chdir(home)
    lines, sentences = typed(*words.split())
    assert lines or sentences
    assert not any("…" in line for line in [*lines, *sentences])
    assert [line for line in lines if cell_len(line) > WIDE] == []
