"""A task: a layout, its markers, how groups form and how they are captioned. One file per task in `tasks/`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from pipeline import families, files, plugins, records
from pipeline.errors import BadInput
from pipeline.plugins import Options, suggest
from pipeline.wording import counted

MOST_FAULTS = 50
"""Faults of a task that one error names; the rest are counted."""
PLUG_INS = {"group.by": plugins.GROUPING, "export.formats": plugins.EXPORTERS}
"""Settings of a task that name plug-ins, which may be paths."""
MOST_BYTES = 1 << 20
"""Size of a task file at most."""
DEEPEST, MOST_DOTS = 16, 1000
"""Levels of tables and lists that a task may have, and dots in one of its lines: Python reads a key of tens of
thousands of parts for minutes."""
WIDEST_PANEL, LARGEST_CANVAS = 4096, 4096 * 4096
"""Pixels of a panel's side and of a whole grid at most: every worker holds a grid in memory."""
LONGEST_LINE, LONGEST_INSTRUCTIONS = 200, 20_000
LONGEST_MARKER = 42
"""Characters at most; `text.markers` takes no more than 40 in brackets for a marker."""
MOST_WORDS = 1000
"""Words that a task may exclude, all traits together."""

Given = Mapping[str, Any] | Iterable[str]
"""Settings as a caller gives them: by key (`{"group.near": 0}`, or nested tables), or as lines (`["group.near=0"]`)."""


def _line(text: str) -> str:
    """The text on one line, since captions are; control characters can't be in one."""
    text = " ".join(text.split())
    if found := re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ValueError(f"must not contain the control character {found[0]!a}")
    return text


def _filled(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_line)]
"""Text that goes into captions."""
Words = Annotated[Line, AfterValidator(_filled)]
Threshold = Annotated[float, Field(ge=-1e6, le=1e6)]


class LayoutSection(Options):
    rows: int = Field(ge=1, le=4)
    """Panels above one another."""
    cols: int = Field(ge=1, le=4)
    """Panels side by side."""
    panel_width: int = Field(ge=64, le=WIDEST_PANEL, multiple_of=16)
    """Pixels."""
    panel_height: int = Field(ge=64, le=WIDEST_PANEL, multiple_of=16)
    """Pixels."""
    fit: Literal["crop", "pad"] = "crop"
    """How an image of another shape fills its panel: cropped on its longer side so that faces stay, else what stands
    out, else evenly; or padded; never squeezed."""
    max_crop: float = Field(0.45, ge=0, lt=1)
    """An image that would lose more than this share of its area is rejected (0.45 lets 4:3 into a 2:1 panel)."""
    max_enlarge: float = Field(4.0, ge=1, le=1000)
    """An image that would be enlarged by more than this factor is rejected as too small."""

    @model_validator(mode="after")
    def _drawable(self) -> LayoutSection:
        width, height = self.cols * self.panel_width, self.rows * self.panel_height
        if width * height > LARGEST_CANVAS:
            raise ValueError(
                f"the canvas of {width} x {height} pixels is larger than {LARGEST_CANVAS:,} pixels (4096 x 4096); "
                "make the panels smaller"
            )
        return self


class PicturesSection(Options):
    animated: Literal["first", "frames"] = "first"
    """What an animation or a document of several pages gives (GIF, WebP, APNG, AVIF, HEIC, TIFF): its first image, or
    every image that differs from the one before it, in order."""


class ShotsSection(Options):
    """How films become pictures, one per shot."""

    detector: Literal["adaptive", "transnetv2"] = "adaptive"
    """How cuts are found: "adaptive" compares neighbouring frames (PySceneDetect), "transnetv2" is a trained network
    that finds dissolves as well and takes longer; it needs the extra `transnetv2`."""
    bars: bool = True
    """Find black bars around a film's picture and cut them away."""
    lettering: Literal["avoid", "crop", "keep"] = "avoid"
    """What is done about burnt-in text (subtitles, channel logos, watermarks): a frame without it is taken where the
    shot has one; else "avoid" marks the picture with a note, and "crop" cuts the text away. With "keep", text makes no
    difference to which frame is taken."""
    text: Literal["plain", "rapidocr"] = "plain"
    """How burnt-in text is found: "plain" by the shape and alignment of letters, "rapidocr" by a trained network, which
    takes longer; it needs the extra `rapidocr`."""


class GroupSection(Options):
    by: str
    """The grouping strategy, a name or the path of a file: "shots" takes shots that are near one another in a film (and
    numbered stills of one in a folder), "folders" the images of a folder, "names" images whose names are the same but
    for a word or number that says the panel (`7_before`, `7_after`; `before/7`, `after/7`), "columns" images to which a
    table or a listing gives the same group, "similarity" images that are alike wherever they are, "sets" nothing but
    ready-made sets, which every strategy takes first."""
    pattern: str = Field("", max_length=LONGEST_LINE)
    """For "names": how names are built, if it isn't found out from all of them. `{role}` is the word for the panel,
    `{set}` what the picture is of, `*` anything that doesn't count; square brackets enclose what is missing where there
    is no word: `{set}_{role}`, `{role}/{set}`, `photo {role} ({set})`, `{set}[_{role}]`."""
    roles: dict[str, tuple[Words, ...]] = Field(default_factory=dict)
    """Words in names of files and folders, or in a table, that say for which panel a picture is: a table with a list of
    words for each marker (`"[TOP]" = ["normal", "clean"]`), or one word for each panel, in the panels' order
    (`--set group.roles=normal,sand`). Markers, numbers and words such as before and after are understood anyway."""
    ties: tuple[Literal["people", "subject", "place", "style", "change"], ...] = Field(
        ("subject",), min_length=1, max_length=5
    )
    """What the panels of a group have in common: the same people, the same subject, the same place, the same style, or
    one picture before and after a change. Decides which measures detect strangers."""
    prove: bool = True
    """Form groups only of what is more alike than chance: a larger folder, whose images have to show that they belong
    together, and the run as a whole, which stops if its groups are no more alike than shuffled ones. With `false` a
    folder is one set."""
    window: int = Field(6, ge=2, le=10_000)
    """Size of the window of neighbouring images, the first included, that the panels of one group are taken from."""
    span: float = Field(60.0, gt=0, le=1e6)
    """Longest stretch of film, in seconds, that one group may cover; likewise of time between photographs, if
    `within = "span"`."""
    within: Literal["source", "folder", "span"] = "source"
    """How near one another the images of a group have to be for the strategy "similarity": anywhere in the source, in
    one folder or film, or no further apart than `span` by film or by the dates of photographs."""
    floor: float | None = Field(None, ge=0, le=1)
    """Two panels whose colours are less alike than this (histogram similarity, 0..1) veto the group. If not set, it is
    estimated from the run's own groups, or is 0.2 if there are too few of them."""
    related: Threshold | None = None
    """An image that is less alike than this to all others of its group (by the scorer's vectors, without a scorer by
    colours) vetoes it. If not set, it is found from shots far apart, or from random pairs ("similarity")."""
    near: int = Field(6, ge=0, le=64)
    """Bits of 64 in which the hashes of near-copies differ at most; see `ceiling`."""
    ceiling: float = Field(0.95, ge=0, le=1)
    """Two images whose hashes differ in at most `near` of 64 bits, also after one is mirrored or turned, and whose
    histograms are at least this alike are near-copies, of which only the larger is used. Pairs are exempt: an edit may
    change little."""
    copies: Threshold | None = None
    """Two images whose histograms are so alike and whose vectors by the scorer are at least this alike are near-copies
    too. If not set, 0.97."""
    per_source: int | None = Field(None, ge=1, le=1_000_000)
    """Groups that one film or folder may give at most. If not set, half of the grids that the task takes, but no fewer
    than it needs, and any number if there is only one source."""

    @field_validator("roles", mode="before")
    @classmethod
    def _in_panel_order(cls, given: Any) -> Any:
        """Words in the order of the panels are a table by the panels' numbers."""
        words = given.split(",") if isinstance(given, str) else given
        if isinstance(words, list | tuple):
            words = {str(panel): word for panel, word in enumerate(words, 1)}
        if not isinstance(words, dict):
            raise ValueError("must be a table with a list of words for each marker, or one word for each panel")
        return {panel: (own,) if isinstance(own, str) else own for panel, own in words.items()}

    @field_validator("pattern")
    @classmethod
    def _readable(cls, pattern: str) -> str:
        whole = r"(?:[^{}\[\]]|\{set\}|\{role\})*"
        if pattern and (pattern.count("{role}") != 1 or not re.fullmatch(rf"{whole}(?:\[{whole}\])?{whole}", pattern)):
            raise ValueError(
                "must have {role} once, may have {set} and *, and square brackets only around {role} and what is "
                "missing with it, as in {set}_{role}, {role}/{set} or {set}[_{role}]"
            )
        return pattern

    @field_validator("by")
    @classmethod
    def _exists(cls, by: str) -> str:
        if by == "pairs":
            raise ValueError(
                "the strategy 'pairs' has become 'names', which also reads folders and more than two views"
            )
        if by == "neighbours":
            raise ValueError("'neighbours' is now two strategies: 'shots' for films, 'folders' for folders of images")
        try:
            plugins.find(plugins.GROUPING, by)
        except BadInput as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return by


class CaptionSection(Options):
    instructions: str = Field("", max_length=LONGEST_INSTRUCTIONS)
    """What the captioner should look for in this task's images; the form of the answer is added. If empty, general
    instructions that suit any images take its place."""
    people: bool = True
    """Whether people are given names in angle brackets, the same name in every panel."""
    looks: Literal["once", "each", "never"] = "once"
    """Where the caption describes what people look like: at their first mention, so that the picture has to carry it
    from panel to panel; in every panel; or nowhere."""
    exclude: dict[Words, Annotated[tuple[Words, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """What no caption may tell, because the prefix or a name shall stand for it: a table of traits, each with the words
    that would give it away (`hair = ["hair", "blonde"]`), or a plain list of words. The captioner is told; captions are
    searched for whole words, whatever their case, outside of names and quotations."""
    attempts: int = Field(3, ge=1, le=10)
    """How often the captioner is asked at most for one caption, the faults of its last answer named."""
    min_panel_words: int = Field(3, ge=1, le=100)
    """Words that a panel's text has at least."""
    max_words: int = Field(320, ge=20, le=2000)
    """Words that a caption has at most."""

    @field_validator("exclude", mode="before")
    @classmethod
    def _by_trait(cls, given: Any) -> Any:
        """A plain list is a table in which each word is a trait of its own."""
        if isinstance(given, list | tuple) and all(isinstance(word, str) for word in given):
            return {word: (word,) for word in given}
        if not isinstance(given, dict):
            raise ValueError("must be a list of words, or a table with a list of words for each trait")
        return given

    @field_validator("exclude")
    @classmethod
    def _countable(cls, exclude: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if (count := sum(map(len, exclude.values()))) > MOST_WORDS:
            raise ValueError(f"has {count} words, more than {MOST_WORDS}")
        return exclude


class FilterSection(Options):
    """Thresholds set by hand; those without a value are calibrated on the run's own scores."""

    fixed: bool = False
    """Use the fixed defaults for the kind of scorer instead of calibrating."""
    floor: Threshold | None = None
    """Lowest allowed score of a panel against its own text."""
    summary: Threshold | None = None
    """Lowest allowed score of the panels against the summary."""
    slack: float | None = Field(None, ge=0, le=1e6)
    """How much better another order of the panel texts may score (mean per panel) before the grid is rejected."""
    related: Threshold | None = None
    """Lowest allowed similarity of two panels' images; below it they are strangers, whatever else they share."""
    recurring: bool = True
    """For tasks whose panels are tied by people: reject a grid if nobody in one of its panels appears in another."""
    learn: bool = False
    """Train the run's rule of what belongs together on a reviewer's decisions, if there are at least 20."""
    copies: Threshold | None = None
    """Highest allowed similarity of two panels, or of nearly all panels with those of an earlier grid."""
    texts: Threshold | None = None
    """Highest allowed similarity of the texts of two panels."""


class UrlsSection(Options):
    """How files on the web are fetched where a source lists their addresses."""

    at_once: int = Field(16, ge=1, le=256)
    """Files that are fetched at once."""
    per_host: int = Field(2, ge=1, le=64)
    """Files that are fetched at once from one host."""
    pause: float = Field(0.1, ge=0, le=3600)
    """Seconds from the beginning of one request to a host to that of the next."""
    largest: int = Field(500, ge=1, le=1_000_000)
    """Megabytes that a file may have."""
    seconds: float = Field(120.0, gt=0, le=86_400)
    """Seconds that the download of a file may take."""
    attempts: int = Field(3, ge=1, le=10)
    """How often a file is asked for where repetition may help: no connection, a cut connection, a busy server."""
    allow_private: bool = False
    """Whether files are fetched from private addresses too, such as those of this machine and its own network."""


class HubSection(Options):
    """How data sets are read that the package `datasets` reads."""

    rows: int = Field(10_000, ge=1, le=1_000_000)
    """Rows of each split that are read, from its start; they are kept in this machine's cache."""


class TableSection(Options):
    """Columns of a table that is a source (CSV, JSON Lines, Parquet, a workbook), where their names don't say it."""

    image: tuple[Words, ...] = Field((), max_length=16)
    """The column of pictures, as paths or as bytes, or several in the order of the panels (`["front", "back"]`)."""
    text: tuple[Words, ...] = Field((), max_length=16)
    """The column of texts, or one for each column of pictures."""
    group: Line = ""
    """The column whose values are the same for pictures that belong together, such as `sku`."""
    panel: Line = ""
    """The column that says for which panel a picture is, such as `view`: a marker, a number, or a role."""
    order: Line = ""
    """The column that numbers the pictures of a group."""
    licence: Line = ""
    """The column with the licence of a picture."""
    author: Line = ""
    """The column with its author."""
    url: Line = ""
    """The column with its address."""
    date: Line = ""
    """The column with its date."""

    @field_validator("image", "text", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given


class ExportSection(Options):
    held_out: float = Field(0.1, ge=0, le=0.5)
    """Share of the grids held out from training, whole groups of sources at a time."""
    formats: tuple[str, ...] | None = None
    """Exporters whose configs are written beside the data; all of them if not set."""
    use: Literal["grids", "panels", "sheets"] = "grids"
    """What a model learns from the data set: "grids" to draw a grid from its joint caption; "panels" to draw one panel
    from its own text, given other panels of its group as reference images; "sheets" to draw a grid from its joint
    caption, given one of its panels as a reference image."""
    references: int = Field(1, ge=1, le=3)
    """Reference images that a sample has at most, for "panels" and "sheets"."""


class Task(Options):
    """A validated task. `name` is the file's name without its suffix; files and folders are named after it."""

    name: str = Field(max_length=100)
    title: Line
    """What the task is called in lists and on pages."""
    prefix: Line = ""
    """Trigger that every caption begins with; may be empty."""
    opening: Line = ""
    """Words that the summary begins with."""
    markers: tuple[Line, ...] = Field(max_length=16)
    """Words that begin the panels' texts, one for each panel, in order: top to bottom, and in a row left to right."""
    stand_ins: dict[str, Words] = Field(default_factory=dict)
    """Words that count as a marker if a text lacks it (published prompts leave out [RIGHT])."""
    base: str = "flux-1"
    """Model family that is trained on the data set; decides how long a caption may be."""
    condition: tuple[int, ...] = Field((), max_length=16)
    """Panels that are given, from 1: training learns only the others. If empty, all panels are learnt."""
    grids: tuple[Annotated[int, Field(ge=0, le=1_000_000)], Annotated[int, Field(ge=1, le=1_000_000)]] = (20, 100)
    """Smallest and largest number of grids in a data set."""
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """Of everything that is drawn at random in making the data set."""
    layout: LayoutSection
    shots: ShotsSection = ShotsSection()
    pictures: PicturesSection = PicturesSection()
    group: GroupSection
    caption: CaptionSection = CaptionSection()
    filter: FilterSection = FilterSection()
    export: ExportSection = ExportSection()
    hub: HubSection = HubSection()
    urls: UrlsSection = UrlsSection()
    table: TableSection = TableSection()
    captioner: dict[str, Any] = Field(default_factory=dict)
    """Options of the captioner in use."""
    scorer: dict[str, Any] = Field(default_factory=dict)
    """Options of the scorer in use."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Training settings."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Options of the engine in use."""

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str) -> str:
        if (
            not name.isprintable()
            or re.search(r'[/\\<>:"|?*]', name)
            or name != name.strip(" .").lstrip("-")
            or not name
        ):
            raise ValueError(
                "a task's name must be one that a file can have, without path separators, dots at either end, and "
                '< > : " | ? *'
            )
        return name

    @field_validator("markers")
    @classmethod
    def _bracketed(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        for marker in markers:
            if not re.fullmatch(r"\[[^\[\]]+\]", marker):
                raise ValueError(f"a marker must be enclosed in square brackets, got '{marker}'")
            if len(marker) > LONGEST_MARKER:
                raise ValueError(f"a marker may have {LONGEST_MARKER} characters, got '{marker}'")
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
        alone = self.export.use == "panels" and self.grid_layout.size == 1  # as the data set itself keeps its task
        if len(self.markers) != self.grid_layout.size and not (alone and not self.markers):
            raise ValueError(
                f"{counted(self.grid_layout.size, 'panel needs', 'panels need')} "
                f"{counted(self.grid_layout.size, 'marker')}, got {' '.join(self.markers)}"
            )
        for tag in self.markers:
            if tag in self.prefix or tag in self.opening:
                raise ValueError(f"the marker {tag} can't also be in the prefix or the opening")
        if foreign := set(self.stand_ins) - set(self.markers):
            raise ValueError(f"stand_ins name {', '.join(sorted(foreign))}, which is not a marker")
        numbers = [str(panel) for panel in range(1, self.grid_layout.size + 1)]
        if foreign := set(self.group.roles) - {*self.markers, *numbers}:
            raise ValueError(
                f"group.roles names {', '.join(sorted(foreign))}; it takes the markers {' '.join(self.markers)}, or "
                f"{counted(self.grid_layout.size, 'word')}, one for each panel"
            )
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
    def roles(self) -> tuple[tuple[str, ...], ...]:
        """The words of `group.roles` for each panel, in the order of the panels."""
        own = self.group.roles
        return tuple((*own.get(mark, ()), *own.get(str(panel), ())) for panel, mark in enumerate(self.markers, 1))

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
    _check_depth(content, path)
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
        content = _parse_toml(files.read(path, MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise BadInput(f"task file {path} can't be read: {error.strerror}; give a path to a .toml file.") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or more digits or levels than Python reads
        raise BadInput(f"task file {path} is not valid TOML: {error}.") from error
    _check_depth(content, path)
    for key, kind in PLUG_INS.items():
        section, _, name = key.partition(".")
        part = content.get(section)
        if isinstance(part, dict) and name in part:
            part[name] = _absolute(kind, part[name], path.parent)
    return path, content


def _parse_toml(text: str) -> dict[str, Any]:
    """
    Raises:
        ValueError, RecursionError: it is not TOML, or has more digits, levels or dots than can be read.
    """
    if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {MOST_DOTS} dots")
    return tomllib.loads(text)


def _check_depth(content: dict[str, Any], path: Path) -> None:
    """
    Raises:
        BadInput: tables or lists are nested deeper than any setting is; what reads them calls itself for each level.
    """
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise BadInput(f"task {path.stem}: settings are nested more than {DEEPEST} levels deep.")


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
            found[_plain("key", key.strip())] = _plain(key, value)
    return found


def _parse_line(line: str) -> tuple[str, Any]:
    key, equals, value = line.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes key=value such as group.ceiling=0.97, got '{line}'.")
    try:
        read = _parse_toml(f"value = {value}")
    except ValueError:
        return key.strip(), value  # a bare word or a path is a string
    except RecursionError as error:
        raise BadInput(f"the value of {key.strip()} is nested too deep; give a plain value or a list.") from error
    return key.strip(), read["value"] if len(read) == 1 else value  # a second line is no setting of its own


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(key, each) for each in value]
    if isinstance(value, Mapping):
        return {_plain(key, str(name)): _plain(key, each) for name, each in value.items()}
    if isinstance(value, Path | date | datetime | time):
        value = str(value)
    if isinstance(value, str) and (half := re.search("[\ud800-\udfff]", value)):
        raise BadInput(f"the setting {key!a} has {half[0]!a}, which is no character of UTF-8; type it anew.")
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
