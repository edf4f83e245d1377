"""What a run is asked for: its task, sources and plug-ins, and settings that replace those of the task file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from iclora import offline
from pipeline import exporters, families, plugins, task
from pipeline.errors import BadInput
from pipeline.sources.base import is_address
from pipeline.task import ExportSection, Given, Task
from training import config, presets

PLUG_INS = {"captioner": plugins.CAPTIONERS, "scorer": plugins.SCORERS, "engine": plugins.ENGINES}
"""The kinds of plug-ins that a run names."""
CHOICES = {"source": "sources", "against": "against"} | {kind: kind for kind in PLUG_INS}
"""Keys beside those of a task, and the fields of `Settings` that hold them."""
UNSEEN = {"name"}
"""Fields of a task that nobody sets."""

Origin = Literal["run", "task file", "preset", "miniature", "family", "default"]
"""Where a setting comes from: this run was asked for it, the task's file says so, the training's preset does, the
miniature stands in because there is no source, it is a default of the base's family, or of the toolkit or a plug-in."""
Sources = str | Path | Iterable[str | Path]


class ExportOptions(ExportSection):
    """The section [export], with formats that exist."""

    @field_validator("formats")
    @classmethod
    def _exist(cls, formats: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in formats or ():
            try:
                plugins.find(exporters, name)
            except BadInput as error:
                raise ValueError(str(error).removesuffix(".")) from error
        return formats


class Part(BaseModel):
    """Which part of the sources a run has; `pipeline.sources.parts`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    """From 1."""
    of: int
    first: str
    """Address of its first item."""
    until: str = ""
    """Address of the next part's first item; empty for the last part."""

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"


class Settings(BaseModel):
    """What a run was asked for, as given; kept in the run so that later commands need not repeat it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    """A task's name, or the path of its file."""
    sources: tuple[str, ...] = ()
    """Absolute paths, and addresses (`hf://datasets/OWNER/NAME`)."""
    against: tuple[str, ...] = ()
    """Folders of earlier runs, absolute, whose pictures are not used again."""
    captioner: str = "local"
    scorer: str = "open_clip"
    engine: str = "local"
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Values that replace those of the task file, by full key (`group.near`)."""
    part: Part | None = None
    """If the run has only a part of the sources."""

    @field_validator("overrides", mode="before")
    @classmethod
    def _by_key(cls, given: Given) -> dict[str, Any]:
        return task.with_absolute_paths(task.parse_settings(given), Path())

    @property
    def drawn(self) -> bool:
        """Whether the miniature draws the source, and its models serve, since no source was given."""
        return not self.sources

    def changed(  # noqa: PLR0913  (one argument per option)
        self,
        *,
        sources: Sources | None = None,
        against: Sources | None = None,
        captioner: str | None = None,
        scorer: str | None = None,
        engine: str | None = None,
        settings: Given = (),
        unset: Iterable[str] = (),
    ) -> Settings:
        """The settings after a further request: what it doesn't mention stays, and its settings merge in by key.

        New sources replace the earlier ones, and so do other runs that it is made against. With another captioner,
        scorer or engine, settings of the earlier one no longer apply (`captioner.model` is not the same for `local` and
        `server`), so they go.

        Args:
            unset: keys that are taken back, so that the task file or a default counts again; also `source`, `against`,
                `captioner`, `scorer` and `engine`.

        Raises:
            BadInput: a setting can't be read, or a key to unset was never set.
        """
        asked = {name: getattr(self, name) for name in self.model_fields_set}
        overrides = dict(self.overrides)
        for key in unset:
            self._unset(key.strip(), asked, overrides)
        for key, given in (("sources", sources), ("against", against)):
            if given is not None:
                asked[key] = tuple(map(_absolute, _several(given)))
        named = {"captioner": captioner, "scorer": scorer, "engine": engine}
        asked |= {kind: plugins.absolute(PLUG_INS[kind], word) for kind, word in named.items() if word is not None}
        for kind in PLUG_INS:
            if asked.get(kind, Settings.model_fields[kind].default) != getattr(self, kind):
                overrides = {key: value for key, value in overrides.items() if not key.startswith(f"{kind}.")}
        return Settings.model_validate(asked | {"overrides": overrides | task.parse_settings(settings)})

    def _unset(self, key: str, asked: dict[str, Any], overrides: dict[str, Any]) -> None:
        if key in overrides:
            del overrides[key]
        elif asked.pop(CHOICES.get(key, ""), None) is None:
            known = [*overrides, *(name for name, field in CHOICES.items() if field in asked)]
            told = f"only {', '.join(known)} {'is' if len(known) == 1 else 'are'} set" if known else "nothing is"
            near = plugins.suggest(key, known).replace(", ", "; ", 1)
            raise BadInput(plugins.sentence(f"{key} is not set in this run; {told}{near}"))

    def load_task(self) -> Task:
        """The task with these settings.

        Raises:
            BadInput: no such task or plug-in, or a setting is wrong; all wrong settings are named at once.
        """
        return task.load(self.task, self._models | self.overrides, _sections(self.captioner, self.scorer, self.engine))

    @property
    def _models(self) -> dict[str, Any]:
        return offline.model_settings(self.captioner, self.scorer) if self.drawn else {}


@dataclass(frozen=True)
class Setting:
    """One setting in force."""

    key: str
    value: Any
    """A plain value, or a list or table of plain values."""
    origin: Origin


def in_force(settings: Settings) -> list[Setting]:
    """Every setting that a run works by, in the order of a task file, and where it comes from.

    Raises:
        BadInput: the settings are wrong.
    """
    loaded = settings.load_task()
    models = settings._models
    of_family, in_training = families.load(loaded.base).recipe, config.usual(loaded, miniature=settings.drawn)
    asked = config.settings(loaded, miniature=settings.drawn)
    training = plugins.parse_options(config.Config, "the training", asked, "train.")
    sections = {
        **{kind: _options(kind, getattr(settings, kind), getattr(loaded, kind)) for kind in PLUG_INS},
        "train": training.model_dump(mode="json"),
    }
    from_miniature = models.keys() | {f"train.{key}" for key in in_training}
    of_file, of_preset = task.read_keys(settings.task), presets.settings_of(training.preset)

    def origin(key: str) -> Origin:
        if any(each == key or each.startswith(f"{key}.") for each in settings.overrides):
            return "run"
        if key in of_file - models.keys() or any(each.startswith(f"{key}.") for each in of_file):
            return "task file"
        if key.removeprefix("train.") in of_preset and key.startswith("train."):
            return "preset"
        if key in from_miniature:
            return "miniature"
        return "family" if key.removeprefix("train.") in of_family and key.startswith("train.") else "default"

    found = [
        Setting("source", list(settings.sources), "run" if settings.sources else "miniature"),
        *([Setting("part", str(settings.part), "run")] if settings.part else []),
        Setting("against", list(settings.against), "run" if settings.against else "default"),
        *(
            Setting(kind, getattr(settings, kind), "run" if kind in settings.model_fields_set else "default")
            for kind in PLUG_INS
        ),
    ]
    for name, value in (loaded.model_dump(mode="json", exclude=UNSEEN) | sections).items():
        is_section = name in sections or isinstance(getattr(loaded, name), BaseModel)
        entries = {f"{name}.{key}": each for key, each in value.items()} if is_section else {name: value}
        found += [Setting(key, each, origin(key)) for key, each in entries.items()]
    return found


def load_task(name: str | Path, settings: Given = (), *, captioner: str = "local", scorer: str = "open_clip") -> Task:
    """A task by name or path, with settings that replace those of its file; every section is checked.

    Args:
        settings: `{"group.near": 0}`, nested tables, or lines such as `["group.near=0"]`.
        captioner: whose options the section [captioner] has; likewise `scorer`.

    Raises:
        BadInput: no such task or plug-in, or a setting is wrong; all wrong settings are named at once.
    """
    return task.load(str(name), settings, _sections(captioner, scorer))


def list_tasks() -> list[Task]:
    """The toolkit's own tasks and those of installed packages, by name; a broken one of a package is a warning."""
    found = []
    for name in task.names():
        try:
            found.append(task.load(name))
        except BadInput as error:
            plugins.leave_out(plugins.TASKS, name, error)
    return found


def list_plug_ins(kind: str) -> list[str]:
    """Names of the plug-ins that were found, without importing any.

    Args:
        kind: "captioner", "scorer", "image encoder", "detector", or another word of `pipeline.plugins.KINDS`.
    """
    return plugins.names(next(one for one in plugins.KINDS if one.word == kind))


def _sections(captioner: str, scorer: str, engine: str = "local") -> Mapping[str, type[BaseModel]]:
    """What the open sections of a task must hold where these plug-ins are used."""
    return {
        "captioner": _model("captioner", captioner),
        "scorer": _model("scorer", scorer),
        "engine": _model("engine", engine),
        "train": config.Config,
        "export": ExportOptions,
    }


def _model(kind: str, name: str) -> type[BaseModel]:
    """The options of a plug-in, which its module has under the name `Options`."""
    model: type[BaseModel] = plugins.load(PLUG_INS[kind], name).Options
    return model


def _options(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return _model(kind, name).model_validate(given).model_dump(mode="json", by_alias=True)


def _absolute(source: str | Path) -> str:
    return str(source if is_address(source) else Path(source).resolve())


def _several(sources: Sources) -> Sequence[str | Path]:
    return [sources] if isinstance(sources, str | Path) else list(sources)
