"""Data sets of the Hugging Face hub, and folders in which the package `datasets` has saved one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files, plugins
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.progress import LOG
from pipeline.sources import hub_rows
from pipeline.sources.base import CHUNK, Content, Fault, Item, Remark
from pipeline.sources.tables.meaning import understand
from pipeline.sources.tables.nearby import Nearby
from pipeline.sources.tables.reading import Reading
from pipeline.task import HubSection, TableSection, Task

if TYPE_CHECKING:
    import datasets

PRIORITY = 0
FORM = "hf://datasets/OWNER/NAME, with @REVISION or :CONFIG/SPLIT behind it where it matters"
ADDRESS = re.compile(
    r"hf:/{1,2}datasets/(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^:\s]+))?"
    r"(?::(?P<config>[^/:\s]*)(?:/(?P<split>[^:\s]+))?)?/?"
)
SAVED, SEVERAL = "state.json", "dataset_dict.json"
"""Files of a folder that `save_to_disk` has written, of one split or of several."""
HUB_SECONDS = 10.0


@dataclass(frozen=True)
class Split:
    """One split of a data set."""

    home: str
    """Address of the data set, of one version if it has several."""
    name: str
    """Of the split, and of its configuration where there may be several; empty where there is only one."""
    state: Mapping[str, object]
    """What tells it from others, and this version of it from others."""
    open: Callable[[], datasets.IterableDataset]
    root: str
    """What its files' addresses begin with."""

    @property
    def address(self) -> str:
        return f"{self.home}/{self.name}".rstrip("/")


class Nowhere(Nearby):
    """A table that comes from elsewhere names no files of this machine."""

    def find(self, path: str) -> list[str]:
        return []

    def named(self, words: Any) -> list[str]:
        return []


def claims(path: Path) -> bool:
    return str(path).startswith("hf:/") or (path / SAVED).is_file() or (path / SEVERAL).is_file()


def items(path: Path, task: Task | None = None) -> Iterator[Item | Remark]:
    """An item per picture in the order of the rows, and a fault for each that can't be had.

    Raises:
        BadInput: the package is missing, the data set is not to be had, or nothing in it can be taken for a picture.
    """
    where = str(path)
    extras.require(f"the data set {where}", "hub")
    rights: dict[str, str] = {}
    if where.startswith("hf:/"):
        parts, rights = _parts(where), {}
        splits = list(_remote(parts, rights))
    else:
        splits = list(_saved(path))
    row = 0
    for split in splits:
        for found in _rows(split, rights, task):
            if isinstance(found, Item):  # rows of all splits are numbered through, since items are ordered by them
                name = f"{split.name}/{found.name}".strip("/")
                yield replace(found, home=split.home, name=name, facts=replace(found.facts, row=row))
                row += 1
            else:
                yield found


def beside(home: str, name: str) -> Content | None:
    return None


def _rows(split: Split, rights: Mapping[str, str], task: Task | None) -> Iterator[Item | Remark]:
    """The items of one split, named as in a table of their own, and how it was understood."""
    section, most = (task.table, task.hub.rows) if task else (TableSection(), HubSection().rows)
    try:
        LOG.info("reading %s", split.address)
        table = hub_rows.HubTable(split.address, hub_rows.kept(split.state, most, split.open, split.root), most)
    except (OSError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # every format has errors of its own
        yield Item(split.home, "", fault=Fault("unreadable", f"{split.address} can't be read: {_line(error)}."))
        return
    near = Nowhere(split.address)
    meaning = understand(table, section, split.address, near.has)
    if not meaning.image:
        known = ", ".join(table.columns) or "none"
        raise BadInput(
            f"{split.address} has no column of pictures; name one with --set table.image=COLUMN (columns: {known})."
        )
    reading = Reading(split.address, table, meaning, near)
    found = list(reading.items())
    yield Remark(reading.remark())
    yield from (_with_rights(item, rights) for item in found)


def _with_rights(item: Item, rights: Mapping[str, str]) -> Item:
    """The item; what its row doesn't say of licence, author and address is what the data set says."""
    own = item.facts.sources[0] if item.facts.sources else {}
    told = {**rights, **{name: value for name, value in own.items() if value}}
    return replace(item, facts=replace(item.facts, sources=(told,)))


# ---- on the hub


def _parts(where: str) -> dict[str, str]:
    """
    Raises:
        BadInput: it is not the address of a data set.
    """
    found = ADDRESS.fullmatch(where)
    if not found:
        raise BadInput(f"{where} is not the address of a data set; write {FORM}.")
    return {name: value or "" for name, value in found.groupdict().items()}


def _remote(parts: Mapping[str, str], rights: dict[str, str]) -> Iterator[Split]:
    """The splits of a data set of the hub, pinned to one commit.

    Args:
        rights: gets what the data set says of all its rows.

    Raises:
        BadInput: it is not there, nobody may see it, the hub can't be reached, or it has several configurations.
    """
    repo, config = parts["repo"], parts["config"]
    where = f"hf://datasets/{repo}"
    asked = f"{repo}@{parts['revision']}"
    told = hub_rows.remembered(f"commit {asked}", lambda: _found(where, repo, parts["revision"]))
    commit = told["commit"]
    page = f"https://huggingface.co/datasets/{repo}/tree/{commit}"
    rights |= {"licence": told["licence"], "author": repo.partition("/")[0] if "/" in repo else "", "url": page}
    names = hub_rows.remembered(f"splits {repo} {commit} {config}", lambda: _splits(where, repo, commit, config))
    if parts["split"] and parts["split"] not in names:
        known = ", ".join(names)
        raise BadInput(
            f"{where} has no split '{parts['split']}'{plugins.suggest(parts['split'], [*names])} (splits: {known})."
        )
    for split, of in names.items():
        if parts["split"] in ("", split):
            state = {"repo": repo, "commit": commit, "config": of, "split": split}
            yield Split(
                f"{where}@{commit}",
                f"{of}/{split}",
                state,
                _stream(repo, commit, of, split),
                f"hf://datasets/{repo}@{commit}/",
            )


def _stream(repo: str, commit: str, config: str, split: str) -> Callable[[], datasets.IterableDataset]:
    def open_rows() -> datasets.IterableDataset:
        import datasets

        return datasets.load_dataset(repo, config, split=split, revision=commit, streaming=True)

    return open_rows


def _found(where: str, repo: str, revision: str) -> dict[str, str]:
    """The commit that a revision is now, and the licence that the data set's card tells."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(repo, revision=revision or None, timeout=HUB_SECONDS)
    except Exception as error:
        raise _refusal(where, revision, error) from error
    licence = getattr(info.card_data, "license", None) if info.card_data else None
    told = ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence or "")
    return {"commit": str(info.sha), "licence": told}


def _refusal(where: str, revision: str, error: Exception) -> BadInput:
    """Why a data set can't be had; which errors there are depends on the hub's client and on its HTTP library."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return BadInput(
            f"{where} is only for those who have accepted its terms; do so on its page, then hf auth login."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BadInput(f"{where} has no revision '{revision}'; name a branch, a tag or a commit.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return BadInput(
            f"there is no data set {where}, or it is private: check its name, or log in with hf auth login."
        )
    return BadInput(
        f"the hub can't be asked for {where}: {_line(error)}; connect to the network, or give a folder with its data."
    )


def _splits(where: str, repo: str, commit: str, config: str) -> dict[str, str]:
    """The configuration that each split is of.

    Raises:
        BadInput: there are several configurations, or it can't be read.
    """
    import datasets

    try:
        known = datasets.get_dataset_config_names(repo, revision=commit)
        chosen = config or (known[0] if len(known) == 1 else "default" if "default" in known else "")
        if chosen and chosen in known:
            return dict.fromkeys(datasets.get_dataset_split_names(repo, chosen, revision=commit), chosen)
    except Exception as error:
        raise _refusal(where, commit, error) from error
    if config:
        choice = f"{plugins.suggest(config, known)} (configurations: {', '.join(known)})"
        raise BadInput(f"{where} has no configuration '{config}'{choice}.")
    raise BadInput(f"{where} has several configurations ({', '.join(known)}); name one, as in {where}:{known[0]}.")


# ---- on this machine


def _saved(path: Path) -> Iterator[Split]:
    """The splits in a folder of `save_to_disk`."""
    home = os.path.abspath(path)
    for name in [""] if (path / SAVED).is_file() else _split_names(path):
        folder = Path(home, name)
        kept = sorted(each for each in folder.glob("*") if each.suffix == ".arrow" or each.name == SAVED)
        stamps = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in kept]
        yield Split(home, name, {"folder": str(folder), "files": stamps}, _load(folder), f"{os.path.realpath(home)}/")


def _split_names(path: Path) -> list[str]:
    """
    Raises:
        BadInput: the list of splits can't be read.
    """
    try:
        names = json.loads(files.read(path / SEVERAL, CHUNK))["splits"]
        if all(re.fullmatch(r"\w[\w.-]*", name) for name in names):
            return list(names)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise BadInput(f"{path / SEVERAL} does not list the splits of a data set; save the data set anew.")


def _load(folder: Path) -> Callable[[], datasets.IterableDataset]:
    def open_rows() -> datasets.IterableDataset:
        import datasets

        found = datasets.load_from_disk(str(folder))
        assert isinstance(found, datasets.Dataset)
        return found.to_iterable_dataset()

    return open_rows


def _line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
