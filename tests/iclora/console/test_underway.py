"""What is said while a command works: what is under way, for how long, and how much longer."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from iclora import console
from iclora.console import output, underway
from pipeline.progress import LOG, Download

EVIL = "\x1b[2J\x07\u202e"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (underway, output):
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


def test_before_data_what_is_waited_for_goes_to_standard_error(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.volume("verbose"), console.progress(before_data=True):
        LOG.info("reading the captions")
    printed = capsys.readouterr()
    assert printed.out == "" and without_times(printed.err) == "reading the captions\n"


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
    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=100, markup=False, highlight=False)
    monkeypatch.setattr(output, "console", terminal)
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


def test_a_download_is_told_in_files_bytes_pace_and_time_left(clock: Clock) -> None:
    lines = underway.Lines(console.line)
    lines.wait("downloading the captioner NAME")
    lines.download(Download("the captioner NAME", 1, 3, 0, 3_400_000_000))
    assert lines.state() == "downloading the captioner NAME: file 1 of 3, 0.0 of 3.4 GB"
    clock.now += 100
    lines.download(Download("the captioner NAME", 2, 3, 1_200_000_000, 3_400_000_000))
    assert lines.state() == ("downloading the captioner NAME: file 2 of 3, 1.2 of 3.4 GB, 12.0 MB/s, about 3 min left")
    lines.wait("loading the captioner NAME")
    assert lines.state() == "loading the captioner NAME: 0 s"


def test_a_download_has_a_bar_that_is_whole_at_80_columns_and_none_with_quiet(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def download() -> str:
        drawn = io.StringIO()
        terminal = Console(file=drawn, force_terminal=True, color_system=None, width=80, markup=False, highlight=False)
        monkeypatch.setattr(output, "console", terminal)
        with console.logged(tmp_path / "log.jsonl", lambda _: 1), console.progress() as progress:
            progress("caption", 0, 20)
            LOG.info("downloading the captioner Qwen/Qwen3-VL-4B-Instruct")
            for file, done in ((1, 0), (2, 1_200_000_000)):
                now = Download("the captioner Qwen/Qwen3-VL-4B-Instruct", file, 5, done, 8_300_000_000)
                LOG.debug("downloading: %s", now, extra={"download": now})
                clock.now += 100
        return drawn.getvalue().rpartition("caption ")[2]

    last = " ".join(download().split())
    assert "…" not in last and "file 2 of 5, 1.2 of 8.3 GB" in last and "12.0 MB/s" in last
    assert "downloading the captioner Qwen/Qwen3-VL-4B-Instruct" in last
    with console.volume("quiet"):
        assert download() == ""
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"stage": "download", "done": 0, "of": 8_300_000_000}.items() <= logged[3].items()


def test_a_pace_is_told_per_second_or_in_seconds_each() -> None:
    assert [underway.pace(*of) for of in ((0, 9.0), (3, 0.0), (1, 6.0), (17, 10.0), (5_000, 2.0))] == [
        *("", "", "6.0 s each", "1.7/s", "2,500/s"),
    ]
