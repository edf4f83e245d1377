"""What an exporter is, the recipe that all configs share, and how a config is written down."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline.dataset.samples import Config, Dataset
from pipeline.families import BASES

RANK, LEARNING_RATE, BATCH, STEPS, SAVE_EVERY = 16, 1e-4, 4, 5000, 250
"""What the ten published LoRAs were trained with (movie-shots.yml of In-Context-LoRA); alpha is the rank."""
CAPTION_DROPOUT = 0.05
"""Of whole captions, from the same recipe."""
PROMPTS = 4
"""Captions that a trainer is given to draw samples from while it trains."""


class Exporter(Protocol):
    """An exporter module: the form of one trainer."""

    def write(self, data: Dataset, folder: Path) -> Config:
        """Writes the trainer's files beside the data.

        Args:
            folder: where the data set lies now; configs name `data.home`, where it will lie.
        """


def hub_model(data: Dataset) -> str:
    """The task's base on the model hub, in the form of diffusers."""
    # The distilled Turbo lends its tokenizer, what is trained is the model that it was distilled from.
    turbo = {"z-image": "Tongyi-MAI/Z-Image"}
    return turbo.get(data.task.base) or "/".join(BASES[data.task.base].tokenizer.split("/")[:2])


def unknown_base(trainer: str, data: Dataset, known: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence where the trainer does not train the task's base; none where it does."""
    if data.task.base in known:
        return ()
    return (f"iclora knows no way to train {data.task.base} with {trainer} (it knows {', '.join(known)}).",)


def off_step(data: Dataset, step: int) -> tuple[str, ...]:
    """A sentence where the trainer's sizes are multiples that the canvas is not; none where they fit."""
    width, height = data.canvas
    if width % step == 0 and height % step == 0:
        return ()
    return (
        f"Sizes go in steps of {step} pixels here: the {width} x {height} grids are scaled and cut a little, unless "
        f"the task's panels are given sides that add up to multiples of {step}.",
    )


def unmasked(data: Dataset) -> tuple[str, ...]:
    """A sentence for a trainer that reads no masks, where the task has given panels."""
    if not data.task.condition:
        return ()
    return ("No loss masks are read here: the given panels are learnt like the others.",)


def prompts(data: Dataset) -> list[str]:
    """Captions to draw samples from: held-out ones, since what was learnt by heart shows nothing."""
    return [sample.text for sample in (data.held_out or data.train)[:PROMPTS]]


# ---- writing


def comment(notes: Sequence[str], command: str = "") -> str:
    """Notes and the command as lines of a comment, for YAML, TOML and shell."""
    lines = [*notes, *(["Train with:", f"  {command}"] if command else [])]
    return "".join(f"# {line}\n" for line in lines)


def as_shell(notes: Sequence[str], script: str, pairs: Mapping[str, str], flags: Sequence[str]) -> str:
    """A shell script that starts a trainer's script by accelerate, an argument a line."""
    arguments = [f"--{name} {shlex.quote(value)}" for name, value in pairs.items()]
    line = " \\\n  ".join([f"accelerate launch {script}", *arguments, *flags])
    return f"#!/bin/sh\n{comment(notes)}{line}\n"


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def as_toml(table: Mapping[str, Any]) -> str:
    """TOML of plain values, lists, tables and lists of tables.

    A JSON string is a TOML string but for the delete character, which no caption or path holds.
    """
    return "\n".join(_toml_lines(table, ()))


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _is_table(value):
            yield f"{key} = {_toml_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from ("", f"[{'.'.join((*path, key))}]")
            yield from _toml_lines(value, (*path, key))
        elif _is_table(value):
            for item in value:
                yield from ("", f"[[{'.'.join((*path, key))}]]")
                yield from _toml_lines(item, (*path, key))
    if not path:
        yield ""


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
