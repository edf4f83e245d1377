"""A data set without its run: what it keeps of its task, and its grids read back from the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files, pixels
from pipeline.dataset import split, uses
from pipeline.dataset.samples import Dataset, Sample
from pipeline.dataset.split import HELD_OUT, TRAIN, Split
from pipeline.dataset.uses import Target
from pipeline.errors import BadInput
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.task import Task
from pipeline.text.grammar import fold

FILE = "iclora.toml"
"""Not task.toml: `datasets` takes a file of that name for a test split."""
UNUSED = {"group", "filter", "captioner", "scorer", "engine"}
"""Sections of a task that only the making of a data set needs."""
MOST_TEXT = 1 << 20
"""Bytes of a caption's file."""
NAMED = 5
"""Faults that an error lists one by one."""


# ---- the task


def content(task: Task) -> dict[str, Any]:
    """What a data set keeps of its task, as the content of a task file: all that configs and training depend on.

    It makes sense on every machine: settings that are paths of this one are left out, and so is how the groups were
    formed. As a source, the data set consists of ready-made sets.
    """
    kept = uses.as_trained(task).model_dump(mode="json", exclude=UNUSED, exclude_none=True)
    kept["group"] = {"by": "sets"}
    kept["train"] = {key: value for key, value in task.train.items() if value is not None and not _is_local(value)}
    if task.export.formats is not None:
        kept["export"]["formats"] = [name for name in task.export.formats if not _is_local(name)]
    return kept


def shown(value: object) -> object:
    """A setting's value in a file that leaves this machine: a path of this machine is reduced to its name."""
    return Path(value).name if isinstance(value, str) and _is_local(value) else value


def _is_local(value: object) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


# ---- the grids


def read(folder: Path, task: Task) -> Dataset:
    """The data set in a folder, as the export wrote it or somebody has edited it since.

    Args:
        task: the one that the folder keeps.

    Raises:
        BadInput: there is no data set, it has nothing to train on, its sides overlap, or a file is missing or
            contradicts the others; the first of these are listed.
    """
    entries = split.entries(folder)
    try:
        samples = tuple(_sample(file, entry, task) for file, entry in entries.items())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"the metadata of the data set {folder} is not as iclora writes it ({error!r}); copy or export it again."
        ) from error
    faults = [fault for sample in samples if (fault := _fault(sample, folder, task))]
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise BadInput(
            f"the data set {folder} is damaged: {'; '.join(faults[:NAMED])}{more}; copy it again, or mend these files."
        )
    if not any(sample.side == TRAIN for sample in samples):
        raise BadInput(f"the data set {folder} has no grid to train on; copy or export it again.")
    split.check(folder)
    groups = {sample.row.id: sample.group for sample in samples}
    held_out = frozenset(sample.row.id for sample in samples if sample.side == HELD_OUT)
    return Dataset(task, folder, folder.resolve(), samples, Split(groups, held_out, "as it was exported"))


def _sample(file: str, entry: Mapping[str, Any], task: Task) -> Sample:
    side, _, name = file.partition("/")
    group, text = str(entry.get("group", "")), str(entry.get("text", ""))
    panel = int(entry["panel"]) - 1 if "panel" in entry else None
    target = Target(fold(text), panel, tuple(int(number) - 1 for number in entry.get("reference_panels", [])))
    records = [
        Record(str(source.get("sha256", "")), "", str(source.get("name", "")), Position(group=group))
        for source in entry.get("sources", [])
    ]
    if panel is not None:  # its own source comes first, then those of its references
        by_panel = dict(zip((panel, *target.references), records, strict=False))
        records = [by_panel.get(place, Record("", "", "", Position(group=group))) for place in range(max(by_panel) + 1)]
    grid_id = str(entry.get("id", file))
    grid = Grid(grid_id, Group("", task.name, tuple(records), "", 0.0), task.grid_layout, file)
    caption = Caption(text, "", "", tuple(entry.get("panels", [])), grid_id)
    return Sample(Row(grid, caption, decision="keep"), Path(name).stem, side, group, target)


def _fault(sample: Sample, folder: Path, task: Task) -> str:
    """What is wrong with a sample's files; empty if nothing is. Trainers read either the .txt file or the listing."""
    try:
        size = pixels.upright_size(folder / sample.file)
        text = files.read((folder / sample.file).with_suffix(".txt"), MOST_TEXT).decode("utf-8-sig")
    except (BadInput, OSError, UnicodeDecodeError):
        return f"{sample.file} or its .txt file is missing or can't be read"
    if size != task.grid_layout.canvas:
        width, height = task.grid_layout.canvas
        return f"{sample.file} has {size[0]} x {size[1]} pixels instead of {width} x {height}"
    if not sample.text or fold(text) != sample.text:
        return f"{sample.file} has no caption, or another one in its .txt file than in metadata.jsonl"
    beside = [*([sample.mask] if task.condition else []), *sample.references]
    if missing := [file for file in beside if not (folder / file).is_file()]:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if uses.has_references(task) and not sample.references:
        return f"{sample.file} has no reference image in metadata.jsonl"
    return ""
