"""What the commands print, in real processes: paths and commands as they are, and nothing that a terminal acts on."""

from __future__ import annotations

import logging
import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iclora import console, underway
from miniature import film
from miniature.world import draw_scene
from pipeline.progress import LOG

ROOT = Path(__file__).parents[2]
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


def typed(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as it runs in a shell: a process of its own."""
    code = "import sys; from iclora import cli; sys.argv[0] = 'iclora'; cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_printed_paths_and_commands_are_the_true_ones_however_narrow_the_terminal(
    name: str, films: Path, tmp_path: Path
) -> None:
    ran = typed("dataset", "storyboard", "--source", "films", "--out", name, *BARE, folder=tmp_path, COLUMNS="30")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"The data set is in {name}/dataset; look at {name}/review.html.\n" in ran.stdout
    table = f"{name}/captions.csv"
    assert f"next: edit {table}, then type\n" in ran.stdout
    commands = [shlex.split(line) for line in re.findall(r"^(?:  |.*: )(iclora .*)$", ran.stdout, re.M)]
    assert commands == [
        ["iclora", "review", "storyboard", "--apply", table, "--out", name],
        ["iclora", "review", "storyboard", "--serve", "--out", name],
        ["iclora", "train", "storyboard", "--out", name],
    ]
    again = typed(*commands[0][1:], folder=tmp_path)
    assert (again.returncode, again.stderr, again.stdout) == (0, "", f"0 rows changed; 2 grids in {name}/dataset\n")


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


# ---- what is waited for


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (underway, console):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


def without_times(printed: str) -> str:
    """What was printed, where every line begins with a time of day."""
    found = re.findall(r"^\d\d:\d\d:\d\d (.*\n)", printed, re.M)
    assert len(found) == printed.count("\n")
    return "".join(found)


def test_without_a_terminal_it_is_said_what_is_under_way_and_for_how_long(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = underway.Lines(console.line)
    clock.now += 30
    assert lines.state() == "starting: 30 s"
    lines.report("caption", 0, 55)
    clock.now += 20
    assert lines.state() == "caption: 0 of 55, 20 s so far"
    lines.speak()
    assert without_times(capsys.readouterr().out) == "caption: 0 of 55, 20 s so far\n"
    lines.wait("loading the captioner NAME")
    clock.now += 1
    lines.speak()
    clock.now += 2
    lines.speak()
    lines.speak()
    assert without_times(capsys.readouterr().out) == "loading the captioner NAME\n"
    clock.now += 127
    lines.speak()
    assert without_times(capsys.readouterr().out) == "loading the captioner NAME: 2 min\n"
    lines.report("caption", 5, 55)
    clock.now += 60
    lines.report("caption", 15, 55)
    assert lines.state() == "caption: 15 of 55, 6.0 s each, about 4 min left"


def test_a_training_tells_its_loss_and_the_time_left(clock: Clock) -> None:
    lines = underway.Lines(console.line)
    lines.report("training", 100, 5_000)
    clock.now += 60
    lines.note = "loss 0.1234"
    lines.report("training", 200, 5_000)
    assert lines.state() == "training: 200 of 5000, loss 0.1234, 1.7/s, about 48 min left"
    lines.report("grids", 1, 2)
    assert "loss" not in lines.state()
    assert [underway.duration(seconds) for seconds in (5.4, 119, 121, 7_260)] == ["5 s", "119 s", "2 min", "2 h 1 min"]


def test_there_is_a_line_as_soon_as_nothing_has_been_said_for_too_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(underway, "SILENCE", 0.03)
    monkeypatch.setattr(underway, "SOON", 0.01)
    with console.progress() as progress:
        progress("group", 3, 9)
        while "group: 3 of 9" not in (said := capsys.readouterr().out):
            time.sleep(0.01)
    assert without_times(said).startswith("group: 3 of 9, ")


def test_the_log_is_listened_to_only_while_a_command_works_and_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(LOG.handlers), LOG.level, LOG.propagate
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stdout)])
    monkeypatch.setattr(underway, "SOON", 0.01)
    told = ""
    with console.progress():
        LOG.info("loading the captioner %s", f"NAME{EVIL}")
        LOG.debug("loss 0.5")
        while not told:
            time.sleep(0.01)
            told = capsys.readouterr().out
    assert (list(LOG.handlers), LOG.level, LOG.propagate) == before
    LOG.info("nobody listens")
    assert without_times(told + capsys.readouterr().out) == "loading the captioner NAME\\x1b[2J\\x07\\u202e\n"
    assert logging.getLogger("iclora") is LOG


def test_bars_show_descriptions_and_notes_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=100, markup=False, highlight=False)
    monkeypatch.setattr(console, "console", terminal)
    with console.progress() as progress:
        progress(f"stage [bold]{EVIL}", 1, 2)
        LOG.debug("%s", f"[/x] loss{EVIL}")
        LOG.info("loading [/y]")
        while "loading [/y]" not in drawn.getvalue():  # bars are drawn ten times a second
            time.sleep(0.01)
        progress(f"stage [bold]{EVIL}", 2, 2)
    last = drawn.getvalue().rpartition("stage [bold]")[2]
    assert r"\x1b[2J" in last and "[/x] loss" in last and not any(word in last for word in ("starting", "loading"))


def test_bars_of_a_training_are_whole_at_80_columns_with_pace_time_left_and_loss(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from rich.console import Console

    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, color_system=None, width=80, markup=False, highlight=False)
    bars = underway.Bars(terminal)
    with bars.drawn():
        bars.report("references", 1, 20)
        bars.report("training", 0, 20_000)
        clock.now += 60
        bars.note = "loss 0.1234, held-out loss 0.2345"
        bars.report("training", 300, 20_000)
    last = drawn.getvalue().rpartition("references")[2]
    assert "…" not in last and "..." not in last
    assert {"training", "300/20000", "5.0/s"} <= set(last.split())
    assert "held-out" in last and "0.2345" in last


def test_a_pace_is_told_per_second_or_in_seconds_each() -> None:
    assert [underway.pace(*of) for of in ((0, 9.0), (3, 0.0), (1, 6.0), (17, 10.0), (5_000, 2.0))] == [
        *("", "", "6.0 s each", "1.7/s", "2,500/s"),
    ]


# ---- the LoRA that counts


@pytest.mark.parametrize(
    ("chosen", "told"), [("storyboard", "next, hand the LoRA over: iclora handover runs/x.safetensors\n"), (None, "")]
)
def test_only_a_lora_that_is_better_than_its_base_is_to_be_handed_over(
    chosen: str | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any = SimpleNamespace(task=SimpleNamespace(name="storyboard"), lora=Path("runs/x.safetensors"))
    evaluation: Any = SimpleNamespace(chosen=chosen, file=None, folder=Path("runs"), lines=lambda: ["figures"])
    console.evaluated(run, evaluation)
    assert capsys.readouterr().out.partition("evaluation.html\n")[2] == told


def outcome(**facts: Any) -> Any:
    usual: dict[str, Any] = {"step": 400, "of_step": 400, "lowest": None, "own": None}
    return SimpleNamespace(**usual | facts)


def lowest(step: int, file: Path | None = None) -> Any:
    return SimpleNamespace(step=step, held_out=0.12345, file=file)


@pytest.mark.parametrize(
    ("found", "sentences"),
    [
        (outcome(), ["step 400, the last."]),
        (outcome(lowest=lowest(400)), ["step 400, the last."]),
        (
            outcome(lowest=lowest(250, Path("steps/x-000250.safetensors"))),
            [
                "step 400, the last.",
                "lowest at step 250, 0.1235: steps/x-000250.safetensors has the weights of that step",
            ],
        ),
        (
            outcome(lowest=lowest(250)),
            ["step 400, the last.", "step 250, 0.1235, and that step was not saved; train.pat"],
        ),
        (outcome(lowest=lowest(0)), ["step 400, the last.", "lowest at step 0, 0.1235, which is the base alone"]),
        (outcome(of_step=250, lowest=lowest(250)), ["step 250, whose held-out loss was the lowest (train.patience)."]),
        (
            outcome(of_step=200, own=Path("x-last.safetensors")),
            ["step 200, as iclora evaluate chose; the training ended with x-last.safetensors."],
        ),
    ],
)
def test_the_last_lines_of_a_training_say_which_step_counts_and_why(found: Any, sentences: list[str]) -> None:
    told = list(console._which_step(found, "loss"))
    assert len(told) == len(sentences)
    assert all(sentence in line for line, sentence in zip(told, sentences, strict=True))


def test_with_evaluations_patience_hands_over_the_step_of_the_best_score() -> None:
    (told,) = console._which_step(outcome(of_step=250, lowest=lowest(300)), "score")
    assert told == "The LoRA has the averaged weights of step 250, whose score was the best (train.patience)."


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_output_is_closed_works_all_the_same(closed: str, tmp_path: Path) -> None:
    words = shlex.join([sys.executable, "-m", "iclora", "pack", "storyboard"])
    done = subprocess.run(f"{words} {closed}", shell=True, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
