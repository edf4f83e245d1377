"""A task: a layout, its markers, how groups form and how they are captioned. One file per task in `tasks/`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from pipeline import families, plugins, records
from pipeline.errors import BadInput
from pipeline.plugins import Options, suggest
from pipeline.wording import counted

MOST_FAULTS = 50
"""Faults of a task that one error names; the rest are counted."""
PLUG_INS = {"group.by": plugins.GROUPING, "export.formats": plugins.EXPORTERS}
"""Settings of a task that name plug-ins, which may be paths."""

Given = Mapping[str, Any] | Iterable[str]
"""Settings as a caller gives them: by key (`{"group.near": 0}`, or nested tables), or as lines (`["group.near=0"]`)."""


class LayoutSection(Options):
    rows: int = Field(ge=1, le=4)
    cols: int = Field(ge=1, le=4)
    panel_width: int = Field(ge=64, multiple_of=16)
    panel_height: int = Field(ge=64, multiple_of=16)
    fit: Literal["crop", "pad"] = "crop"
    """How an image of another shape fills its panel: cropped evenly on its long sides, or padded; never squeezed."""
    max_crop: float = Field(0.45, ge=0, lt=1)
    """An image that would lose more than this share of its area is rejected (0.45 lets 4:3 into a 2:1 panel)."""
    max_enlarge: float = Field(4.0, ge=1)
    """An image that would be enlarged by more than this factor is rejected as too small."""


class GroupSection(Options):
    by: str
    """The grouping strategy, a name or the path of a file: "neighbours" takes neighbouring shots of a film (or images
    of a folder, in the order of their names), "pairs" images whose names differ only in their last word or number
    (`7_before`, `7_after`), "sets" nothing but ready-made sets, which every strategy takes first."""
    ties: tuple[Literal["people", "subject", "place", "style", "change"], ...] = Field(("subject",), min_length=1)
    """What the panels of a group have in common: the same people, the same subject, the same place, the same style, or
    one picture before and after a change. Decides which measures detect strangers."""
    prove: bool = True
    """Stop if the groups are no more alike than shuffled ones: the source has no structure, or is all alike."""
    window: int = Field(6, ge=2)
    """Size of the window of neighbouring images, the first included, that the panels of one group are taken from."""
    span: float = Field(60.0, gt=0)
    """Longest stretch of film, in seconds, that one group may cover."""
    floor: float | None = Field(None, ge=0, le=1)
    """Two panels whose colours are less alike than this (histogram similarity, 0..1) veto the group. If not set, it is
    estimated from the run's own groups, or is 0.2 if there are too few of them."""
    near: int = Field(6, ge=0, le=64)
    ceiling: float = Field(0.95, ge=0, le=1)
    """Two images whose hashes differ in at most `near` of 64 bits and whose histograms are at least this alike are
    near-copies, of which only the larger is used. Pairs are exempt: an edit may change little."""

    @field_validator("by")
    @classmethod
    def _exists(cls, by: str) -> str:
        try:
            plugins.find(plugins.GROUPING, by)
        except BadInput as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return by


class CaptionSection(Options):
    instructions: str = ""
    """What the captioner should look for in this task's images; the form of the answer is added. If empty, general
    instructions that suit any images take its place."""
    people: bool = True
    """Whether people are given names in angle brackets, the same name in every panel."""
    looks: Literal["once", "each", "never"] = "once"
    """Where the caption describes what people look like: at their first mention, so that the picture has to carry it
    from panel to panel; in every panel; or nowhere."""
    exclude: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Words that no caption may contain: what the LoRA should add on its own."""
    attempts: int = Field(3, ge=1, le=10)
    min_panel_words: int = Field(3, ge=1)
    max_words: int = Field(320, ge=20)


class FilterSection(Options):
    """Thresholds set by hand; those without a value are calibrated on the run's own scores."""

    fixed: bool = False
    """Use the fixed defaults for the kind of scorer instead of calibrating."""
    floor: float | None = None
    """Lowest allowed score of a panel against its own text."""
    summary: float | None = None
    """Lowest allowed score of the panels against the summary."""
    slack: float | None = Field(None, ge=0)
    """How much better another order of the panel texts may score (mean per panel) before the grid is rejected."""
    related: float | None = None
    """Lowest allowed similarity of two panels' images; below it they are strangers, whatever else they share."""
    recurring: bool = True
    """For tasks whose panels are tied by people: reject a grid if nobody in one of its panels appears in another."""
    learn: bool = False
    """Train the run's rule of what belongs together on a reviewer's decisions, if there are at least 20."""
    copies: float | None = None
    """Highest allowed similarity of two panels, or of nearly all panels with those of an earlier grid."""
    texts: float | None = None
    """Highest allowed similarity of the texts of two panels."""


class ExportSection(Options):
    held_out: float = Field(0.1, ge=0, le=0.5)
    """Share of the grids held out from training, whole groups of sources at a time."""
    formats: tuple[str, ...] | None = None
    """Exporters whose configs are written beside the data; all of them if not set."""


class Task(Options):
    """A validated task. `name` is the file's name without its suffix."""

    name: str
    title: str
    prefix: str = ""
    """Trigger that every caption begins with; may be empty."""
    opening: str = ""
    """Words that the summary begins with."""
    markers: tuple[str, ...]
    stand_ins: dict[str, str] = Field(default_factory=dict)
    """Words that count as a marker if a text lacks it (published prompts leave out [RIGHT])."""
    base: str = "flux-1"
    """Model family that is trained on the data set; decides how long a caption may be."""
    condition: tuple[int, ...] = ()
    """Panels that are given, from 1: training learns only the others. If empty, all panels are learnt."""
    grids: Annotated[tuple[int, int], Field(description="smallest and largest number of grids in a data set")] = (
        20,
        100,
    )
    seed: int = 0
    layout: LayoutSection
    group: GroupSection
    caption: CaptionSection = CaptionSection()
    filter: FilterSection = FilterSection()
    export: ExportSection = ExportSection()
    captioner: dict[str, Any] = Field(default_factory=dict)
    """Options of the captioner in use."""
    scorer: dict[str, Any] = Field(default_factory=dict)
    """Options of the scorer in use."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Training settings."""

    @field_validator("markers")
    @classmethod
    def _bracketed(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        for marker in markers:
            if not re.fullmatch(r"\[[^\[\]]+\]", marker):
                raise ValueError(f"a marker must be enclosed in square brackets, got '{marker}'")
        if len(set(markers)) < len(markers):
            raise ValueError(f"markers must differ, got {' '.join(markers)}")
        return markers

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        if base not in families.names():
            known = families.names()
            raise ValueError(f"no base model of that name{suggest(base, known)} (known: {', '.join(known)})")
        return base

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if len(self.markers) != self.grid_layout.size:
            raise ValueError(
                f"{counted(self.grid_layout.size, 'panel needs', 'panels need')} "
                f"{counted(self.grid_layout.size, 'marker')}, got {' '.join(self.markers)}"
            )
        for tag in self.markers:
            if tag == self.prefix or tag in self.opening:
                raise ValueError(f"the marker {tag} can't also be in the prefix or the opening")
        if foreign := set(self.stand_ins) - set(self.markers):
            raise ValueError(f"stand_ins name {', '.join(sorted(foreign))}, which is not a marker")
        given, panels = set(self.condition), set(range(1, self.grid_layout.size + 1))
        if len(given) < len(self.condition) or not given < panels:
            raise ValueError(
                f"condition lists panels from 1 to {len(panels)}, each once and not all of them, "
                f"got {list(self.condition)}"
            )
        if self.grids[0] > self.grids[1]:
            raise ValueError(
                f"the smallest number of grids, {self.grids[0]}, is larger than the largest, {self.grids[1]}"
            )
        return self

    @property
    def grid_layout(self) -> records.Layout:
        part = self.layout
        return records.Layout(part.rows, part.cols, part.panel_width, part.panel_height)


def names() -> list[str]:
    """Names of the tasks: the toolkit's own and those of installed packages."""
    return plugins.names(plugins.TASKS)


def load(name_or_path: str, settings: Given = (), sections: Mapping[str, type[BaseModel]] | None = None) -> Task:
    """A task by its name (hyphens and underscores are the same) or by the path of a task file.

    Args:
        settings: values that replace the file's.
        sections: what a section's content must be, by the section's name: options of plug-ins, which this package
            doesn't know. A section that is not among them is checked only as far as `Task` fixes its form.

    Raises:
        BadInput: no such task, or its file or a setting is wrong; all faults are named at once.
    """
    path, content = _read(name_or_path)
    for key, value in parse_settings(settings).items():
        _put(content, key, value)
    sections = {name: model for name, model in (sections or {}).items() if isinstance(content.get(name, {}), dict)}
    faults = []
    for section, model in sections.items():
        try:
            model.model_validate(content.get(section, {}))
        except ValidationError as error:
            faults += plugins.list_faults(error, model, f"{section}.")
    try:
        loaded = Task.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        faults = plugins.list_faults(error, Task, skip=sections) + faults  # those of `sections` are named already
    if faults:
        raise BadInput(plugins.sentence(f"task {path.stem}: {plugins.joined(faults, MOST_FAULTS)}"))
    return loaded


def read_keys(name_or_path: str) -> set[str]:
    """Keys that a task file sets itself, in full (`group.by`).

    Raises:
        BadInput: no such task, or its file can't be read.
    """
    return set(parse_settings(_read(name_or_path)[1]))


def _read(name_or_path: str) -> tuple[Path, dict[str, Any]]:
    """A task file's path and content, unchecked; paths of plug-ins are relative to the file."""
    path = Path(name_or_path)
    if not plugins.is_path(plugins.TASKS, name_or_path):
        path = Path(plugins.find(plugins.TASKS, name_or_path).target)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"task file {path} can't be read: {error.strerror}; give a path to a .toml file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"task file {path} is not valid TOML: {error}.") from error
    for key, kind in PLUG_INS.items():
        section, _, name = key.partition(".")
        part = content.get(section)
        if isinstance(part, dict) and name in part:
            part[name] = _absolute(kind, part[name], path.parent)
    return path, content


# ---- settings by key


def with_absolute_paths(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings by their full key, with the paths of plug-ins made absolute, so that they hold in other folders too.

    Args:
        folder: what they are relative to.
    """
    return {
        key: _absolute(PLUG_INS[key], value, folder) if key in PLUG_INS else value for key, value in settings.items()
    }


def _absolute(kind: plugins.Kind, value: Any, folder: Path) -> Any:
    """The name or path of a plug-in, or several; anything else is left to the check of the task."""
    if isinstance(value, str):
        return str((folder / value).resolve()) if plugins.is_path(kind, value) else value
    return [_absolute(kind, each, folder) for each in value] if isinstance(value, list) else value


def parse_settings(given: Given) -> dict[str, Any]:
    """Settings by their full key, as plain values of JSON; a table becomes one key per entry.

    Raises:
        BadInput: a line is not `key=value`, or a value is not one that a task file could hold.
    """
    lines = [given] if isinstance(given, str) else given
    pairs = lines.items() if isinstance(lines, Mapping) else map(_parse_line, lines)
    found: dict[str, Any] = {}
    for key, value in pairs:
        if isinstance(value, Mapping) and value:
            found |= {f"{key}.{inner}": each for inner, each in parse_settings(value).items()}
        else:
            found[key.strip()] = _plain(key, value)
    return found


def _parse_line(line: str) -> tuple[str, Any]:
    key, equals, value = line.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes key=value such as group.ceiling=0.97, got '{line}'.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value  # a bare word or a path is a string


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(key, each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(key, each) for name, each in value.items()}
    if isinstance(value, Path | date | datetime | time):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise BadInput(f"the setting {key} is {value!r}; give text, a number, true or false, or a list of these.")


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise BadInput(f"{key} can't be set: '{section}' is a value and has no keys.")
    content[last] = value
