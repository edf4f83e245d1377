"""The data set's card, README.md, which a person reads and the model hub too (front matter); and TRAINERS.md."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import families
from pipeline.consistency.thresholds import share
from pipeline.dataset import samples
from pipeline.dataset.samples import Config, Dataset
from pipeline.dataset.split import TRAIN
from pipeline.records import Record

UNKNOWN = "unknown"
LICENCES = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "odc-by", "odbl", "pddl", "gpl-3.0"),
    *(f"cc-by{kind}-{version}" for kind in ("", "-sa", "-nc", "-nd", "-nc-sa", "-nc-nd") for version in ("3.0", "4.0")),
)
"""Licences that the hub has a short name for; it refuses a card with any other word there."""
LISTED = 8
"""Values of a list that the card tells."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def write(data: Dataset, facts: Mapping[str, Any]) -> str:
    """The card.

    Args:
        facts: of the captioner and of the filter, as the report has them.
    """
    parts = (
        _front_matter(data),
        _counts(data),
        _layout(data),
        _sources(data),
        _made_with(facts),
        _limits(data),
    )
    return "\n".join(parts)


# ---- for the hub


def _front_matter(data: Dataset) -> str:
    """YAML whose strings are JSON, which is YAML too."""
    lines = [
        "---",
        f"pretty_name: {json.dumps(data.task.title, ensure_ascii=False)}",
        f"license: {_licence(data)}",
        "task_categories:",
        "- text-to-image",
        "language:",
        "- en",
        "tags:",
        "- in-context-lora",
        "- iclora",
        "size_categories:",
        f"- {_size(len(data.samples))}",
        "configs:",
        "- config_name: default",
        "  drop_labels: true",
        f"  description: {_fingerprint(data)}",
        "  data_files:",
    ]
    for side in data.sides or (TRAIN,):
        lines += [f"  - split: {side}", "    path:", f"    - {side}/*.png", f"    - {side}/metadata.jsonl"]
    return "\n".join([*lines, "---", ""])


def _fingerprint(data: Dataset) -> str:
    """Other for other content and another place.

    `datasets` caches a folder by its name and this part of its card, whatever lies in it: without this another task's
    data set, or the same one before a review, would be loaded without a word.
    """
    parts = [
        (sample.file, sample.text, [record.id for record in sample.row.grid.group.records]) for sample in data.samples
    ]
    place = [data.task.name, str(data.home), data.canvas]
    return "content-" + hashlib.sha256(json.dumps([parts, place]).encode()).hexdigest()[:12]


def _licence(data: Dataset) -> str:
    """The one licence of all sources where the hub knows it, "other" for several, "unknown" where one is unknown."""
    found = {record.licence.strip().lower().replace(" ", "-") for record in _records(data)}
    if not found or "" in found:
        return UNKNOWN
    only = found.pop() if len(found) == 1 else ""
    return only if only in LICENCES else "other"


def _size(count: int) -> str:
    return next((name for limit, name in SIZES if count < limit), "100K<n<1M")


# ---- for a person


def _counts(data: Dataset) -> str:
    task, layout, family = data.task, data.task.grid_layout, families.load(data.task.base)
    width, height = data.canvas
    texts = [len(sample.text.split()) for sample in data.samples]
    words = f"{min(texts)} to {max(texts)} words" if texts else "no captions"
    sides = f"{len(data.train)} grids to train on, {len(data.held_out)} held out"
    given = ", ".join(task.markers[panel - 1] for panel in task.condition)
    lines = [
        f"# {task.title}",
        "",
        f"A data set for an In-Context LoRA (arXiv 2410.23775), task `{task.name}`, made by iclora.",
        "",
        f"- {sides}; {data.split.why}.",
        f"- Every grid is {width} x {height} pixels: {layout.rows} x {layout.cols} panels of "
        f"{layout.panel_width} x {layout.panel_height}, in reading order {' '.join(task.markers)}.",
        f"- One caption a grid, {words}, written for {task.base} (its text encoder {family.encoder} reads "
        f"{family.limit} tokens).",
        f"- Trigger: `{task.prefix}`." if task.prefix else "- No trigger word.",
        f"- Given panels: {given}; the masks are black on them." if given else "- No panel is given: all are learnt.",
    ]
    return "\n".join([*lines, ""])


def _layout(data: Dataset) -> str:
    rows = [
        ("train/*.png", "a grid: RGB PNG, upright, no EXIF"),
        ("train/*.txt", "its caption: one line, without a line end"),
        ("train/metadata.jsonl", "captions, boxes of the panels, texts of the panels, sources and groups"),
    ]
    rows += [("validation/", "the same of the held-out grids")] if data.held_out else []
    rows += [(f"{samples.MASKS[side]}/", f"masks of {side}/") for side in data.sides if data.task.condition]
    return "\n".join(["## Files", "", *_table(("file", "what it is"), rows), ""])


def write_trainers(configs: Sequence[Config]) -> str:
    """How to train on it with each trainer."""
    lines = [
        "# Training on this data set",
        "",
        "Each config takes the grid's own canvas as the only size, and none crops, flips or shuffles. Type a command",
        "in this folder, with TRAINER set to the folder of that trainer: `export TRAINER=~/ai-toolkit`. Paths in the",
        "configs are relative to this folder, so it can be moved, or copied to another machine, as it is.",
        "",
    ]
    for config in configs:
        lines += [f"## {config.trainer}", "", ", ".join(f"`{file}`" for file in config.files), ""]
        lines += ["```sh", config.command, "```", ""] if config.command else []
        lines += [*(f"- {note}" for note in config.notes), ""] if config.notes else []
    return "\n".join(lines)


def _sources(data: Dataset) -> str:
    """One line a film, a ready-made grid or a folder of pictures, with its licence, author and address."""
    panels: Counter[tuple[str, ...]] = Counter()
    for sample in data.samples:
        for record in sample.row.grid.group.records:
            name = data.names[record.source]
            single = not record.position.film and not record.position.set
            facts = (value or UNKNOWN for value in (record.licence, record.author, record.url))
            panels[str(Path(name).parent / "*") if single else name, sample.group, *facts] += 1
    unknown = sum(not record.licence for record in _records(data))
    ask = [f"The licence of {unknown} panels of {sum(panels.values())} is unknown: ask before sharing.", ""]
    rows = sorted((*source, str(count)) for source, count in panels.items())
    table = _table(("source", "group", "licence", "author", "url", "panels"), rows)
    return "\n".join(["## Sources", "", *(ask if unknown else []), *table, ""])


def _made_with(facts: Mapping[str, Any]) -> str:
    """Every fact that the run keeps on its models, and its thresholds as a table with the errors that they make."""
    rest = {name: value for name, value in facts.items() if name != "thresholds"}
    lines = [f"- {line}" for line in _flat(rest, "")] or ["- unknown"]
    table = _thresholds(facts.get("thresholds") or {})
    return "\n".join(["## Models and thresholds", "", *lines, "", *([*table, ""] if table else [])])


def _thresholds(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            name,
            str(told.get("is", "")),
            str(told.get("value", "")),
            str(told.get("found by", "")),
            "; ".join(_flat(told.get("false rejects"), "")) or UNKNOWN,
            "; ".join(_flat(told.get("false accepts"), "")) or UNKNOWN,
        )
        for name, told in found.items()
    ]
    return _table(("score", "is", "value", "found by", "false rejects", "false accepts"), rows) if rows else []


def _flat(value: Any, name: str) -> Iterator[str]:
    """Every fact on a line of its own, its name in front; long lists are the report's matter."""
    text = ""
    if isinstance(value, Mapping) and {"count", "of", "low", "high"} <= set(value):
        text = share(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}, {key}" if name else str(key))
    elif isinstance(value, list) and len(value) <= LISTED:
        text = ", ".join(map(str, value))
    elif not isinstance(value, list) and value is not None:
        text = _here(str(value))
    if text:
        yield f"{name}: {text}" if name else text


def _here(text: str) -> str:
    """A model in a folder of this machine by the last two parts of its path."""
    path = text.removeprefix("local-dir:")
    return "/".join(Path(path).parts[-2:]) if Path(path).is_absolute() else text


def _limits(data: Dataset) -> str:
    edited = sum(bool(sample.row.review and sample.row.review.text) for sample in data.samples)
    seen = sum(sample.row.decided for sample in data.samples)
    lines = [
        "## Known limits",
        "",
        f"- {seen} of {len(data.samples)} grids were decided on by a person; the rest passed the checks unseen.",
        f"- {edited} captions are a person's words; the others are a model's, or came with the source.",
        "- Captions are in English. People in them have invented names; no name tells who is shown.",
        "- A score says that a picture and a text are like a matching pair, not that every word is true.",
        "- The split keeps sources apart by file, folder and set: the same person or place in two sources goes unseen.",
    ]
    fewest = data.task.grids[0]
    few = f"- {len(data.samples)} grids are few: the task is meant to be trained on {fewest} or more."
    return "\n".join([*lines, *([few] if len(data.samples) < fewest else []), ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells]


def _records(data: Dataset) -> list[Record]:
    return [record for sample in data.samples for record in sample.row.grid.group.records]
