"""Every command in README and docs, also in the middle of a sentence, is one that there is, with options that it has.

Other tests type the commands of whole blocks; here each is only read as the command line would read it.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from iclora.cli import UsageError, app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("iclora", "make", "python", "pip", "accelerate")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
COMMANDS: Any = typer.main.get_command(app)


def commands(page: str) -> list[str]:
    """The lines of its shell blocks, and what stands in backticks and begins with a program."""
    blocks = re.findall(r"^```(?:sh|sbatch)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    typed = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL))
    said = [
        text for text in (*typed, *inline) if text.removeprefix("exec ").startswith(tuple(f"{p} " for p in PROGRAMS))
    ]
    return list(dict.fromkeys(text.removeprefix("exec ") for text in said))


def fault(command: str) -> str:
    """What is wrong with a command; empty if nothing is."""
    program, *words = shlex.split(command.split(" | ", maxsplit=1)[0])
    if program == "accelerate":
        program, *words = shlex.split(command.partition("bin/")[2])
    read = {"iclora": _of_iclora, "make": _of_make, "python": _of_python, "pip": _of_pip}
    return read[program](words)


def _of_iclora(words: list[str]) -> str:
    name, *rest = words
    if name.startswith("-"):
        return "" if name in {option for one in COMMANDS.params for option in one.opts} else f"no option {name}"
    if name not in COMMANDS.commands:
        return f"no command {name}"
    try:
        COMMANDS.commands[name].make_context(name, rest).close()
    except UsageError as error:
        # In a sentence, a command may stand for all of its kind, without its task.
        return "" if type(error).__name__ == "MissingParameter" else error.format_message()
    return ""


def _of_make(words: list[str]) -> str:
    target, *given = words
    if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE):
        return f"no target {target}"
    unknown = [name for name, _, _ in (word.partition("=") for word in given) if f"$({name})" not in MAKEFILE]
    return f"no variable {unknown[0]}" if unknown else ""


def _of_python(words: list[str]) -> str:
    _, module, *rest = words
    found = find_spec(module)
    if found is None or found.origin is None:
        return f"no module {module}"
    source = Path(found.origin).read_text(encoding="utf-8")
    unknown = [word for word in rest if word.startswith("--") and f'"{word}"' not in source]
    return f"no option {unknown[0]}" if unknown else ""


def _of_pip(words: list[str]) -> str:
    asked = {extra for word in words for extra in re.sub(r"^.*\[|\]$", "", word).split(",") if "[" in word}
    return ", ".join(f"no extra {extra}" for extra in sorted(asked - set(EXTRAS)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_can_be_read(page: Path) -> None:
    found = {command: fault(command) for command in commands(page.read_text(encoding="utf-8"))}
    assert {command: why for command, why in found.items() if why} == {}


def test_most_pages_have_commands_and_those_in_sentences_are_among_them() -> None:
    found = {page.stem: commands(page.read_text(encoding="utf-8")) for page in PAGES}
    assert sum(map(len, found.values())) > 150
    assert "iclora review storyboard --learn --dry-run" in found["how-it-works"]
    assert "accelerate launch .venv/bin/iclora train storyboard" in found["training"]


@pytest.mark.parametrize(
    "wrong",
    [
        *("iclora datasets storyboard", "iclora dataset storyboard --sorce films", "iclora --no-such-option"),
        *("accelerate launch .venv/bin/iclora train storyboard --epochs 3", "iclora shard storyboard --shards many"),
        *("make data TASK=storyboard", "make dataset TASKS=storyboard", "pip install 'iclora[tabels]'"),
        *("python -m bench.no_such_figure", "python -m bench.corrupted --turns 2"),
    ],
)
def test_a_command_that_went_stale_is_found(wrong: str) -> None:
    assert fault(wrong)
