"""Contracts of what makes a data set: tasks, grouping strategies, model families, exporters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from iclora.testing import material
from pipeline import families, plugins, task
from pipeline.cache import Cache
from pipeline.captioning import instructions
from pipeline.dataset.samples import Config, Dataset
from pipeline.engines.base import Facts
from pipeline.errors import BadInput
from pipeline.exporters import imagefolder
from pipeline.families.base import Family
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies.base import Formed, Strategy
from pipeline.grouping.vetoes import Vetoes
from pipeline.records import Group, Record, Rejected
from pipeline.stages.group import Parameters as GroupParameters
from pipeline.stages.group import stage as group_stage


def check_task(name: str) -> None:
    """A task loads, and its captioner is told what belongs to every marker."""
    loaded = task.load(name)
    assert loaded.title.strip(), f"{name} has no title"
    told = instructions.write(loaded)
    assert all(marker in told for marker in loaded.markers), "the instructions name every marker"
    plugins.find(plugins.GROUPING, loaded.group.by).load()


def check_grouping(name: str, settings: Sequence[str] = (), source: Path | None = None) -> None:
    """Every record is in exactly one group of the right size or rejected, with a reason; the same records give the same
    groups. At least one group is formed, and none without a look at the vetoes.

    Args:
        settings: of the task, as for `--set`.
        source: what the strategy forms groups of, if it forms none of films, of folders of numbered pictures, and of a
            listing of groups.
    """
    plugin = plugins.find(plugins.GROUPING, name)
    target = json.dumps(plugin.target if plugin.given_by_path else plugin.name)
    of = task.load("storyboard", [*material.SMALL, "grids=[1,100]", *settings, f"group.by={target}"])
    stage = group_stage(GroupParameters(of, plugin, None, Path(), Cache(Path())))

    def run(records: Sequence[Record]) -> list[Any]:
        try:
            return list(stage.run(records))
        except BadInput as error:  # a record was lost or used twice, or a group has the wrong form
            raise AssertionError(str(error)) from error

    strategy: Strategy = plugin.load()
    for result in run([]):
        said = result.found if isinstance(result, Facts) else result
        raise AssertionError(f"without records there must be no groups and no remarks, got {said}")
    films, folders = material.films(), material.folder()
    formed = 0
    for records in (films, folders, films + folders, *([material.of_source(source, of)] if source else [])):
        results = run(records)
        assert run(records) == results, "the same records give the same groups"
        for result in results:
            if not isinstance(result, Group | Rejected):
                continue  # facts for the report
            why = result.formed if isinstance(result, Group) else result.detail
            assert why.strip() and "\n" not in why, f"{result.id} must say in one line why, got {why!r}"
        vetoes = _Watched(Vetoes(of, Pictures.of(of, records, None)))
        groups = [one for one in strategy.form(records, of, cast(Vetoes, vetoes)) if isinstance(one, Formed)]
        assert vetoes.asked or not groups, "it must ask vetoes before it forms a group, such as with vetoes.first"
        formed += len(groups)
    assert formed, "it must form at least one group; give check_grouping a source whose pictures it groups"


class _Watched:
    """Vetoes that remember whether somebody has asked them."""

    def __init__(self, vetoes: Vetoes) -> None:
        self.vetoes, self.asked = vetoes, False

    def __getattr__(self, name: str) -> Any:
        self.asked = True
        return getattr(self.vetoes, name)


def check_family(name: str, folder: Path) -> None:
    """Its facts are possible, a task can name it, and every exporter knows how to train it or says that it does not.

    Args:
        folder: an empty folder to work in.
    """
    family = families.load(name)
    assert isinstance(family, Family), f"FAMILY must be a Family, got a {type(family).__name__}"
    room = f"the template must leave room for a caption, got template={family.template} of limit={family.limit}"
    assert 0 <= family.template < family.limit, room
    assert family.token > 0, f"token must be a side in pixels, got {family.token}"
    assert "/" in family.model, f"model must be a repository on the hub (OWNER/NAME), got {family.model!r}"
    tokenizer = f"tokenizer must be a repository on the hub and a folder in it, got {family.tokenizer!r}"
    assert family.tokenizer.count("/") >= 2, tokenizer
    for name_of in ("encoder", "source", "licence"):
        assert getattr(family, name_of).strip(), f"{name_of} must not be empty"
    faults = families.faults(family)
    assert not faults, "; ".join(faults)
    data = material.dataset(folder, [f'base="{name}"'])
    for exporter in plugins.names(plugins.EXPORTERS):
        _check_files(exporter, data, folder / exporter)


def check_exporter(name: str, folder: Path, settings: Sequence[str] = ()) -> None:
    """It writes the files that it lists and no others, leaves the data alone, and writes the same again.

    Args:
        folder: an empty folder to work in.
        settings: of the task, as for `--set`.
    """
    _check_files(name, material.dataset(folder, settings), folder / "exported")


def _check_files(name: str, data: Dataset, folder: Path) -> None:
    module = plugins.load(plugins.EXPORTERS, name)
    written = []
    for home in (folder / "one", folder / "other"):
        home.mkdir(parents=True)
        if module is not imagefolder:
            imagefolder.write(data, home)
        before = _contents(home)
        config = module.write(data, home)
        after = _contents(home)
        assert isinstance(config, Config) and config.trainer.strip(), "it returns a Config that names the trainer"
        assert {file: after.get(file) for file in before} == before, "the data is as it was"
        new = {file: content for file, content in after.items() if file not in before}
        if module is not imagefolder:
            told = f"it must list exactly the files that it wrote, {sorted(new)}, got {sorted(config.files)}"
            assert new.keys() == set(config.files), told
        named = [str(data.home), *config.files]
        assert not config.command or any(one in config.command for one in named), "the command names what it wrote"
        assert all(note.strip() and "\n" not in note for note in config.notes), "a note is one sentence"
        written.append((config, new))
    assert written[0] == written[1], "the same data gives the same files"


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
