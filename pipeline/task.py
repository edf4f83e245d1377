"""A task: one layout, its markers, how its groups form and how they are described. One file per task in `tasks/`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline import families, plugins, records
from pipeline.errors import BadInput
from pipeline.plugins import suggest


class _Section(BaseModel):
    """A part of a task file: an unknown key is an error, so that a typing slip is never silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LayoutSection(_Section):
    rows: int = Field(ge=1, le=4)
    cols: int = Field(ge=1, le=4)
    panel_width: int = Field(ge=64, multiple_of=16)
    panel_height: int = Field(ge=64, multiple_of=16)
    fit: Literal["crop", "pad"] = "crop"
    """How an image of another shape fills its panel: cut evenly at the long sides, or with bars; never squeezed."""
    max_crop: float = Field(0.45, ge=0, lt=1)
    """An image that would lose more than this part of its area is rejected (0.45 lets 4:3 into a 2:1 panel)."""
    max_enlarge: float = Field(4.0, ge=1)
    """An image that would be enlarged more than this many times is rejected as too small."""


class GroupSection(_Section):
    by: str
    """The grouping strategy, a name or the path of a file: "neighbours" takes neighbouring shots of a film (or images
    of a folder, in the order of their names), "pairs" images whose names differ only in their last word or number
    (`7_before`, `7_after`), "sets" nothing but ready-made sets, which every strategy takes first."""
    ties: tuple[Literal["people", "subject", "place", "style", "change"], ...] = Field(("subject",), min_length=1)
    """What the panels of a group have in common: the same people, the same subject, the same place, the same style, or
    one picture before and after a change. It decides by which measures strangers are told."""
    prove: bool = True
    """Stop where the groups are no more alike than shuffled ones: the source has no structure, or is all alike."""
    window: int = Field(6, ge=2)
    """How many neighbours, the first included, the panels of one group are taken from."""
    span: float = Field(60.0, gt=0)
    """Seconds of film that one group may reach over at most."""
    floor: float | None = Field(None, ge=0, le=1)
    """Two panels whose colours are less alike than this (histogram similarity, 0..1) veto the group. Without it the
    run's own groups tell what strangers are, and 0.2 serves where they are too few to tell."""
    near: int = Field(6, ge=0, le=64)
    ceiling: float = Field(0.95, ge=0, le=1)
    """Two images whose hashes differ in at most `near` of 64 bits and whose histograms are at least this alike are
    copies of one another; only the larger takes part. Pairs are exempt: an edit may change little."""

    @field_validator("by")
    @classmethod
    def _exists(cls, by: str) -> str:
        try:
            plugins.find(plugins.GROUPING, by)
        except BadInput as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return by


class CaptionSection(_Section):
    instructions: str = ""
    """What to look at in this task's images, told to the captioner; the form of the answer is added to it. Without it
    the captioner is told what is worth saying of any images."""
    people: bool = True
    """Whether people get a name in angle brackets, the same in every panel."""
    looks: Literal["once", "each", "never"] = "once"
    """Where the caption says what people look like: at their first mention, so that the picture has to carry it on from
    panel to panel; in every panel; or nowhere."""
    exclude: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Words that no caption may use: what the LoRA is to add by itself."""
    attempts: int = Field(3, ge=1, le=10)
    min_panel_words: int = Field(3, ge=1)
    max_words: int = Field(320, ge=20)


class FilterSection(_Section):
    """Thresholds by hand; those without a value are found from the run's own scores."""

    fixed: bool = False
    """Take the fixed defaults of the kind of scorer instead of what the run's scores say."""
    floor: float | None = None
    """Lowest score of a panel against its own text."""
    summary: float | None = None
    """Lowest score of the panels against the summary."""
    slack: float | None = Field(None, ge=0)
    """By how much another order of the panel texts may score better (mean per panel) before the grid is rejected."""
    related: float | None = None
    """Lowest likeness of two panels' pictures, below which they are strangers whatever else speaks for them."""
    recurring: bool = True
    """Where a task's panels are tied by people: reject a grid with a panel nobody of which is seen in another one."""
    learn: bool = False
    """Let a person's decisions, 20 of them or more, teach the run's rule of what belongs together."""
    copies: float | None = None
    """Highest likeness of two panels, or of nearly all panels with an earlier grid's: above they are copies."""
    texts: float | None = None
    """Highest likeness of the texts of two panels."""


class ExportSection(_Section):
    held_out: float = Field(0.1, ge=0, le=0.5)
    """Share of the grids that is kept back from training, whole groups of sources at a time."""
    formats: tuple[str, ...] | None = None
    """Exporters whose configs are written beside the data; without it all of them."""


class Task(_Section):
    """A task file, checked. `name` is the file's name."""

    name: str
    title: str
    prefix: str = ""
    """Trigger that every caption begins with; may be empty."""
    opening: str = ""
    """Words that the summary begins with."""
    markers: tuple[str, ...]
    stand_ins: dict[str, str] = {}
    """Words that count as a marker where a text lacks it (published prompts leave out [RIGHT])."""
    base: str = "flux-1"
    """Family of models that is trained on the data set; it decides how long a caption may be."""
    condition: tuple[int, ...] = ()
    """Panels that are given, from 1: training learns the others only. Without it all are learnt."""
    grids: Annotated[tuple[int, int], Field(description="fewest and most grids of a data set")] = (20, 100)
    seed: int = 0
    layout: LayoutSection
    group: GroupSection
    caption: CaptionSection = CaptionSection()
    filter: FilterSection = FilterSection()
    export: ExportSection = ExportSection()
    captioner: dict[str, Any] = {}
    """Options of the captioner plug-in, checked by it."""
    scorer: dict[str, Any] = {}
    """Options of the scorer plug-in, checked by it."""
    train: dict[str, Any] = {}
    """Settings of the training, checked by `training.config`."""

    @field_validator("markers")
    @classmethod
    def _bracketed(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        for marker in markers:
            if not re.fullmatch(r"\[[^\[\]]+\]", marker):
                raise ValueError(f"a marker stands in square brackets, got '{marker}'")
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
            raise ValueError(f"{self.grid_layout.size} panels need as many markers, got {' '.join(self.markers)}")
        for tag in self.markers:
            if tag == self.prefix or tag in self.opening:
                raise ValueError(f"the marker {tag} can't stand in the prefix or the opening too")
        if foreign := set(self.stand_ins) - set(self.markers):
            raise ValueError(f"stand_ins name {', '.join(sorted(foreign))}, which is no marker")
        given, panels = set(self.condition), set(range(1, self.grid_layout.size + 1))
        if len(given) < len(self.condition) or not given < panels:
            raise ValueError(
                f"condition names panels from 1 to {len(panels)}, each once and not all of them, "
                f"got {list(self.condition)}"
            )
        if self.grids[0] > self.grids[1]:
            raise ValueError(f"fewest grids {self.grids[0]} is more than most grids {self.grids[1]}")
        return self

    @property
    def grid_layout(self) -> records.Layout:
        part = self.layout
        return records.Layout(part.rows, part.cols, part.panel_width, part.panel_height)


def names() -> list[str]:
    """Names of the tasks: the toolkit's own and those of installed packages."""
    return plugins.names(plugins.TASKS)


def load(name_or_path: str, overrides: list[str] | None = None) -> Task:
    """A task by its name (hyphen and underscore are the same) or by the path of a task file.

    Args:
        overrides: `key=value` with dots for sections, as in `group.ceiling=0.97`; values are read as TOML.

    Raises:
        BadInput: no such task, or its file or an override is wrong; every fault is named at once.
    """
    path = Path(name_or_path)
    if not plugins.is_path(plugins.TASKS, name_or_path):
        path = Path(plugins.find(plugins.TASKS, name_or_path).target)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"task file {path} can't be read: {error.strerror}; give a path to a .toml file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"task file {path} is not valid TOML: {error}.") from error
    for override in overrides or []:
        _override(content, override)
    try:
        return Task.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        raise BadInput(f"task {path.stem}: {_faults(error)}.") from error


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes key=value such as group.ceiling=0.97, got '{override}'.")
    *sections, last = key.strip().split(".")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word or a path is a string
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise BadInput(f"--set {override}: '{section}' is a value and has no parts.")
    content[last] = parsed


def _faults(error: ValidationError) -> str:
    """All faults of a file in one line, with a suggestion for a misspelt key."""
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown key '{where}'{suggest(str(fault['loc'][-1]), _keys(fault['loc'][:-1]))}")
        else:
            got = "" if fault["type"] == "missing" or isinstance(fault["input"], dict) else f", got {fault['input']!r}"
            lines.append(f"{where or 'file'}: {fault['msg'].removeprefix('Value error, ')}{got}")
    return "; ".join(lines)


def _keys(section: tuple[int | str, ...]) -> list[str]:
    model: Any = Task
    for part in section:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
