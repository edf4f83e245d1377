"""What an exporter is, what all of them read of the family and the recipe, and how a config is written down.

Every command is typed in the data set's folder, with TRAINER set to the trainer's own folder. No config has an absolute
path, so that the data set can be moved, or copied to another machine, as it is:

- Trainers that can be started anywhere are started in the data set's folder, and paths are relative to it.
- Trainers that read files of their own by relative paths have to be started in their own folder. A shell script finds
  the data set by its own place; where a config names it, a link in the trainer's folder leads to it.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline import families, plugins
from pipeline.dataset import portable
from pipeline.dataset.samples import Config, Dataset, Sample
from pipeline.dataset.uses import has_references
from pipeline.families.base import Family, Recipe, fill
from pipeline.wording import counted

OFTEN = 300
"""Times that a grid may be seen before a sentence says so. The published LoRAs saw theirs 200 to 1,000 times (5,000
steps of 4, 20 to 100 grids); the fewer the grids, the sooner they are learnt by heart."""
BESIDE = ".."
"""Where trainers that are started in the data set's folder keep their own files: a new export replaces the folder."""


class Exporter(Protocol):
    """An exporter module: the format of one trainer."""

    def write(self, data: Dataset, folder: Path) -> Config:
        """Writes the trainer's files beside the data.

        Args:
            folder: where the data set lies now; `data.home` is where it will lie.
        """


# ---- the family


def family(data: Dataset) -> Family:
    return families.load(data.task.base)


def model(exporter: str, data: Dataset) -> str:
    """The model that a config is for, by its name on the hub: the one that the task chooses, where the trainer is known
    to train it; else the family's own, and `left_out` says so."""
    chosen = str(data.task.train.get("model", ""))
    return chosen if _stem(exporter) in family(data).others.get(chosen, {}) else family(data).model


def terms(exporter: str, data: Dataset, models: str = "models") -> Mapping[str, Any] | None:
    """What the trainer needs to be told to train the task's base, in its own terms; None where it can't train it, or
    not with reference images and the data set has some.

    Args:
        exporter: its module's name, of which the last part counts.
        models: folder of the model's files, as seen from where the trainer is started.
    """
    stem = _stem(exporter)
    found = _terms(stem, family(data), with_references=has_references(data.task))
    if found is None:
        return None
    differing = family(data).others.get(model(exporter, data), {}).get(stem, {})
    filled: Mapping[str, Any] = _filled({**found, **differing}, models)
    return filled


def _terms(stem: str, family: Family, *, with_references: bool) -> Mapping[str, Any] | None:
    plain = family.trainers.get(stem)
    if not with_references:
        return plain
    more = family.references.trainers.get(stem) if family.references else None
    return None if more is None else {**(plain or {}), **more}


def _stem(module: str) -> str:
    return module.rpartition(".")[2]


def _filled(value: Any, models: str) -> Any:
    """The terms with the folder of the model's files put in."""
    if isinstance(value, str):
        return value.replace("{models}", models)
    if isinstance(value, Mapping):
        return {key: _filled(inner, models) for key, inner in value.items()}
    return [_filled(inner, models) for inner in value] if isinstance(value, list) else value


def _too_many(data: Dataset) -> tuple[str, ...]:
    """A sentence where samples have more reference images than the base takes."""
    references = family(data).references
    if references is None or data.most_references <= references.most:
        return ()
    return (
        f"{data.task.base} takes {counted(references.most, 'reference image')} at most, and some samples have "
        f"{data.most_references}: export again with --set export.references={references.most}.",
    )


def unknown_base(exporter: str, trainer: str, data: Dataset) -> tuple[str, ...]:
    """A sentence where the trainer can't train the task's base; none where it can."""
    stem, with_references = _stem(exporter), has_references(data.task)
    if _terms(stem, family(data), with_references=with_references) is not None:
        return _too_many(data)
    usable = families.usable()
    known = [name for name, one in usable if _terms(stem, one, with_references=with_references) is not None]
    beside = " on reference images" if with_references else ""
    return (f"iclora knows no way to train {data.task.base}{beside} with {trainer} (it knows {', '.join(known)}).",)


# ---- the recipe


def recipe(data: Dataset) -> Recipe:
    """The recipe of the task: its own `[train]` settings, then the family's, then the defaults.

    Raises:
        BadInput: a setting has a wrong value; all of them at once.
    """
    settings = fill(family(data).recipe, data.task.train)
    shared = {key: value for key, value in settings.items() if key in Recipe.model_fields}
    return plugins.parse_options(Recipe, "the training", shared, "train.")


def left_out(exporter: str, data: Dataset, *lacking: str) -> tuple[str, ...]:
    """A sentence that names the settings of the training which have no place in a config; none where all have one.

    Named are the settings of the recipe that the trainer lacks, where they ask for something or the task sets them, and
    everything that the task sets and only iclora's own training knows; not its model, where the config is for that one.

    Args:
        exporter: its module's name, of which the last part counts.
        lacking: settings of the recipe that the trainer lacks.
    """
    shared, own = recipe(data), data.task.train
    off = {"alpha": shared.rank, "schedule": "constant", "warmup": 0, "clip": None, "ema": 0, "caption_dropout": 0}
    values = {
        key: value for key, value in shared if key in lacking and (off[key] != value if key in off else key in own)
    }
    placed = {"model": model(exporter, data)}
    values |= {key: value for key, value in own.items() if key not in Recipe.model_fields and placed.get(key) != value}
    named = ", ".join(f"train.{key}={json.dumps(portable.shown(value))}" for key, value in values.items())
    return (f"These settings of the training have no place in this config: {named}.",) if named else ()


def number(value: float) -> float:
    """A whole number without its decimal point, as most trainers' own configs have it."""
    return int(value) if value == int(value) else value


def schedule(shared: Recipe) -> str:
    """The learning rate's schedule by the name that diffusers, and trainers built on it, use."""
    return "constant_with_warmup" if shared.schedule == "constant" and shared.warmup else shared.schedule


# ---- the recipe and the number of grids


def repeats(data: Dataset) -> int:
    """How often an epoch has to show every training grid so that no batch is incomplete: trainers drop such a batch,
    or give its grids more weight."""
    batch = recipe(data).batch
    return batch // math.gcd(batch, len(data.train))


def epochs(data: Dataset) -> int:
    """Epochs of so many repeats that take at least the recipe's steps."""
    shared = recipe(data)
    return math.ceil(shared.steps * shared.batch / (len(data.train) * repeats(data)))


def times_seen(data: Dataset) -> float:
    """How often the recipe's steps show every training grid."""
    shared = recipe(data)
    return shared.steps * shared.batch / len(data.train)


def seen_often(data: Dataset) -> tuple[str, ...]:
    """A sentence where every grid would be seen more than OFTEN times; none for fewer."""
    times, shared, count = times_seen(data), recipe(data), len(data.train)
    if times <= OFTEN:
        return ()
    grids = f"Each of the {count} training {data.noun}s" if count > 1 else f"The only training {data.noun}"
    return (
        f"{grids} is seen {round(times):,} times in {shared.steps:,} steps of {shared.batch}, more than {OFTEN}: keep "
        f"the step at which samples look best, or set train.steps to {max(1, OFTEN * count // shared.batch)}.",
    )


# ---- the data


def off_step(data: Dataset, step: int) -> tuple[str, ...]:
    """A sentence where the trainer's sizes are multiples that the canvas is not; none where they fit."""
    width, height = data.canvas
    if width % step == 0 and height % step == 0:
        return ()
    return (
        f"Sizes go in steps of {step} pixels here: the {width} x {height} {data.noun}s are scaled and cropped a "
        f"little, unless the task's panels are given sides that add up to multiples of {step}.",
    )


def unmasked(data: Dataset) -> tuple[str, ...]:
    """A sentence for a trainer that reads no masks, where the task has given panels."""
    if not data.task.condition:
        return ()
    return ("No loss masks are read here: the given panels are learnt like the others.",)


def no_references(data: Dataset, trainer: str) -> tuple[str, ...]:
    """A sentence for a trainer that knows no reference images, where the data set has some."""
    if not has_references(data.task):
        return ()
    return (
        f"{trainer} knows no way to train with reference images: use one of the trainers that have a command here.",
    )


def only_first(data: Dataset) -> tuple[str, ...]:
    """A sentence for a trainer that takes one reference image, where some samples have more."""
    if data.most_references < 2:  # noqa: PLR2004
        return ()
    return ("Only the first reference image of each sample is used here.",)


def reshaped(data: Dataset) -> tuple[str, ...]:
    """A sentence for a trainer that gives reference images the shape of the picture that is learnt, where theirs is
    another: panels beside a grid of unequal rows and columns."""
    layout = data.task.grid_layout
    if not has_references(data.task) or layout.rows == layout.cols:
        return ()
    shape = f"{data.canvas[0]} x {data.canvas[1]}"
    return (
        f"Reference images are cropped to the shape of the {shape} grids here, so most of them is lost: use another "
        "trainer for this use.",
    )


def prompted(data: Dataset, count: int) -> Sequence[Sample]:
    """What to generate samples from: held-out ones, since what was memorised shows nothing."""
    return (data.held_out or data.train)[:count]


def prompts(data: Dataset, count: int) -> list[str]:
    """Captions to generate samples from."""
    return [sample.text for sample in prompted(data, count)]


# ---- trainers that have to be started in their own folder


def link(data: Dataset) -> str:
    """Name of the link to the data set in the trainer's folder."""
    return f"iclora-{data.task.name}"


def linked(data: Dataset, trainer: str) -> str:
    """A sentence on the link."""
    return (
        f"{trainer} has to be started in its own folder: the command makes a link {link(data)} there, which leads to "
        "this folder. A copy of this folder by that name will do too."
    )


def by_link(data: Dataset, command: str, file: str) -> str:
    """A command that makes the link and starts the trainer in its own folder with a config behind the link."""
    made = f'ln -sfn "$PWD" "$TRAINER"/{shlex.quote(link(data))}'
    return f'({made} && cd "$TRAINER" && {command} {shlex.quote(f"{link(data)}/{file}")})'


# ---- writing


def comment(notes: Sequence[str], command: str = "") -> str:
    """Notes and the command as lines of a comment, for YAML, TOML and shell."""
    lines = [*notes, *(["Train with:", f"  {command}"] if command else [])]
    return "".join(f"# {line}\n" for line in lines)


def as_shell(notes: Sequence[str], script: str, pairs: Mapping[str, str], flags: Sequence[str]) -> str:
    """A shell script that finds the data set by its own place and starts a trainer's script in the trainer's folder,
    an argument per line; `$DATASET` in a value is the data set's folder."""
    arguments = [f"--{name} {_quoted(value)}" for name, value in pairs.items()]
    line = " \\\n  ".join([f"accelerate launch {script}", *arguments, *flags])
    start = 'DATASET=$(cd "$(dirname "$0")" && pwd)\ncd "${TRAINER:?set it to the folder of the trainer}" || exit\n'
    return f"#!/bin/sh\n{comment(notes)}{start}{line}\n"


def _quoted(value: str) -> str:
    return f'"{value}"' if value.startswith("$DATASET") else shlex.quote(value)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def as_toml(table: Mapping[str, Any]) -> str:
    """TOML of plain values, lists, tables and lists of tables.

    A JSON string is a TOML string except for the delete character, which no caption or path contains.
    """
    return "\n".join(_toml_lines(table, ()))


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _is_table(value):
            yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from ("", f"[{'.'.join(map(_toml_key, (*path, key)))}]")
            yield from _toml_lines(value, (*path, key))
        elif _is_table(value):
            for item in value:
                yield from ("", f"[[{'.'.join(map(_toml_key, (*path, key)))}]]")
                yield from _toml_lines(item, (*path, key))
    if not path:
        yield ""


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
