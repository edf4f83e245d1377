"""Words that messages share: hidden characters, counts, and commands that a shell reads as they were meant."""

import os
import shlex
import shutil
import subprocess

import pytest

from pipeline.wording import command, counted, escaped

HARMLESS = [
    "a",
    "it's",
    'a "run" #1 & co: 100% [x] $HOME',
    "28 [yts.mx]",
    "a[/b]",
    "",
    " spaced ",
    "-x",
    "~",
    "é 日本語 👩‍🚀",
]
HIDDEN = [
    "a\nb",
    "\x1b[31mred",
    "tab\there",
    "it's\x07",
    "back\\slash\x00"[:-1] + "\x9b",
    "over\u202eride",
    "byte\udcff",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("a\x00b\r\nc\td", r"a\x00b\r\nc\td"),
        ("\x9b31m", r"\x9b31m"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("\u2066\u200b\ufeff\u2028", r"\u2066\u200b\ufeff\u2028"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("byte\udcff", r"byte\udcff"),
        ("é 日本語 می‌خواهم 👩‍🚀 [bold]x[/] \\n", "é 日本語 می‌خواهم 👩‍🚀 [bold]x[/] \\n"),
    ],
)
def test_what_a_terminal_acts_on_is_escaped_and_everything_else_stays(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_one_thing_is_no_plural() -> None:
    assert [counted(number, "grid") for number in (0, 1, 2, 1200)] == ["0 grids", "1 grid", "2 grids", "1,200 grids"]
    assert counted(["a"], "row has", "rows have") == "1 row has"
    assert counted([], "row has", "rows have") == "0 rows have"


def test_a_command_is_read_by_a_shell_as_it_was_meant() -> None:
    assert shlex.split(command(["iclora", *HARMLESS])) == ["iclora", *HARMLESS]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize("word", HARMLESS + HIDDEN)
def test_a_command_is_one_line_that_bash_reads_byte_for_byte(word: str) -> None:
    line = command(["printf", "%s", word])
    assert escaped(line) == line
    ran = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert ran.stdout == os.fsencode(word)
