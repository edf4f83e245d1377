"""What the commands print, in real processes: paths and commands as they are, and nothing that a terminal acts on."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from iclora import console
from miniature import film
from miniature.world import draw_scene

ROOT = Path(__file__).parents[3]
BARE = ("--captioner", "sidecar", "--scorer", "none", "--set", "group.floor=0.0")
NAMES = ('it\'s a "run" #1 & co: 100% [x] $HOME', "28 [yts.mx]", "a[/b]")
EVIL = "\x1b[2J\x07\u202e"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two sequences of three images with texts."""
    rng = random.Random(3)
    for folder in ("day", "night"):
        for number in range(1, 4):
            path = film.picture(draw_scene(rng), tmp_path / "films" / folder / f"{number}.png", (320, 160))
            path.with_suffix(".txt").write_text(f"part {number} of the {folder} is told here", encoding="utf-8")
    return tmp_path / "films"


TYPED = "import sys; from iclora import cli; sys.argv[0] = 'iclora'; cli.main()"
IN_TURN = """
import json, sys
from iclora import cli
for words in json.loads(sys.argv[1]):
    sys.argv = ["iclora", *words]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
    print(end="\\0", flush=True)
"""
"""Several commands, and a null character after what each has printed."""


def typed(*words: str, folder: Path, code: str = TYPED, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as it runs in a shell: a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def typed_in_turn(*commands: Sequence[str], folder: Path, **environment: str) -> list[str]:
    """What commands print that end well and have no complaints, all in one process of their own."""
    ran = typed(json.dumps(commands), folder=folder, code=IN_TURN, **environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.split("\0")[:-1]


def test_printed_paths_and_commands_are_the_true_ones_however_narrow_the_terminal(films: Path, tmp_path: Path) -> None:
    made = [("dataset", "storyboard", "--source", "films", "--out", name, *BARE) for name in NAMES]
    reviews = []
    for name, printed in zip(NAMES, typed_in_turn(*made, folder=tmp_path, COLUMNS="30"), strict=True):
        assert f"The data set is in {name}/dataset; look at {name}/review.html.\n" in printed
        table = f"{name}/captions.csv"
        assert f"next: edit {table}, then type\n" in printed
        commands = [shlex.split(line) for line in re.findall(r"^(?:  |.*: )(iclora .*)$", printed, re.M)]
        assert commands == [
            ["iclora", "review", "storyboard", "--apply", table, "--out", name],
            ["iclora", "review", "storyboard", "--serve", "--out", name],
            ["iclora", "train", "storyboard", "--out", name],
        ]
        reviews.append(commands[0][1:])
    again = typed_in_turn(*reviews, folder=tmp_path)
    assert again == [f"0 rows changed; 2 grids in {name}/dataset\n" for name in NAMES]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_narrow_terminal_a_command_is_one_line_and_no_name_is_cut(films: Path, tmp_path: Path) -> None:
    import pty

    def seen(*words: str) -> str:
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); from iclora import cli; sys.argv[0] = 'iclora'; cli.main()"
        )
        end, terminal = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "40", "TERM": "xterm", "HF_HUB_OFFLINE": "1"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        ):
            os.close(terminal)
            return b"".join(_until_closed(end)).decode().replace("\r\n", "\n")

    shown = seen("dataset", "storyboard", "--source", "films", "--out", "a[/b]", *BARE)
    assert "  iclora review storyboard --apply 'a[/b]/captions.csv' --out 'a[/b]'\n" in shown
    listed = seen("tasks")
    assert "portrait-illustration" in listed and "home-decoration" in listed and "…" not in listed
    rejected = " ".join(seen("show", "storyboard", "settings", "--out", "a[/b]").split())
    assert "caption.instructions" in rejected and "..." not in rejected


def _until_closed(end: int) -> Iterator[bytes]:
    """What a terminal shows, until its last program has ended."""
    while True:
        try:
            piece = os.read(end, 65_536)
        except OSError:  # Linux's word for that
            break
        if not piece:
            break
        yield piece
    os.close(end)


def test_a_terminal_that_lacks_a_letter_shows_its_number(films: Path, tmp_path: Path) -> None:
    ran = typed(
        *("dataset", "storyboard", "--source", "films", "--out", "日記", *BARE),
        folder=tmp_path,
        PYTHONIOENCODING="ascii",
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert r"The data set is in \u65e5\u8a18/dataset" in ran.stdout


# ---- what comes from outside


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_file_names_and_captions_reach_no_terminal_as_commands(iclora: Run, films: Path, form: str) -> None:
    (films / f"{EVIL}[red]broken.png").write_bytes(b"no picture")
    (films / "day" / "1.txt").write_text(f"{EVIL}a thing is told", encoding="utf-8")
    code, output, errors = iclora("dataset", "storyboard", "--source", str(films), *BARE)
    assert code == 0
    for table in ("rejected", "collected", "captions", "settings"):
        options = [] if form == "text" else [f"--{form}"]
        code, shown, _ = iclora("show", "storyboard", table, *options)
        assert code == 0
        output += shown
    assert not {"\x1b", "\x07", "\u202e", "\x00"} & set(output + errors)
    assert "[red]broken.png" in output


def test_errors_and_refused_command_lines_are_escaped_and_whole(iclora: Run) -> None:
    code, _, errors = iclora("dataset", "storyboard", "--source", f"a{EVIL}\nb")
    assert code == 2 and errors.startswith("error: ") and r"/a\x1b[2J\x07\u202e\nb does not exist" in errors
    code, _, errors = iclora("dataset", "storyboard", f"{EVIL}[/b]", "--source", "x")
    assert code == 2 and r"\x1b[2J\x07\u202e[/b]" in errors and "\x1b" not in errors
    code, _, errors = iclora("dataset", "storyboard", "--sourse", "x")
    assert code == 2 and "No such option: --sourse" in errors and "Usage: iclora dataset" in errors
    assert iclora("show")[0] == 2


def test_help_is_text_whatever_the_width(iclora: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")
    code, output, _ = iclora("train", "--help")
    assert code == 0
    assert "--settings" not in output and {"--set", "--plan", "--data", "--into"} <= set(output.split())
    assert "…" not in output


def test_a_list_in_an_error_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("in doubt are:\n  row 2\x1b\n  row 3\nno row")
    assert capsys.readouterr().err == "error: in doubt are:\n  row 2\\x1b\n  row 3\\nno row\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_output_is_closed_works_all_the_same(closed: str, tmp_path: Path) -> None:
    words = shlex.join([sys.executable, "-m", "iclora", "pack", "storyboard"])
    done = subprocess.run(f"{words} {closed}", shell=True, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
