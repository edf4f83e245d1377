"""The data set's card (README.md with front matter for the hub) and TRAINERS.md."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import families
from pipeline.consistency.thresholds import share
from pipeline.dataset import parquet, samples, uses
from pipeline.dataset.samples import Config, Dataset
from pipeline.records import Record
from pipeline.wording import counted

UNKNOWN = "unknown"
LICENCES = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "odc-by", "odbl", "pddl", "gpl-3.0"),
    *(f"cc-by{kind}-{version}" for kind in ("", "-sa", "-nc", "-nd", "-nc-sa", "-nc-nd") for version in ("3.0", "4.0")),
)
"""Licences for which the hub has an identifier; it refuses a card with any other value."""
LISTED = 8
"""Longest list that the card shows."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def write(data: Dataset, facts: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        facts: facts of the captioner and the filter, as in the report.
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
    """YAML; strings are written as JSON, which is valid YAML."""
    lines = [
        "---",
        f"pretty_name: {json.dumps(data.task.title, ensure_ascii=False)}",
        f"license: {_licence(data)}",
        "task_categories:",
        "- image-to-image" if uses.has_references(data.task) else "- text-to-image",
        "language:",
        "- en",
        "tags:",
        "- in-context-lora",
        "- iclora",
        "size_categories:",
        f"- {_size(len(data.samples))}",
        "configs:",
        "- config_name: default",
        *([] if parquet.files(data) else ["  drop_labels: true"]),
        f"  description: {_fingerprint(data)}",
        "  data_files:",
    ]
    for side in data.sides:
        tables = [file for file in parquet.files(data) if side in file]
        paths = tables or [f"{side}/*.png", f"{side}/metadata.jsonl"]
        lines += [f"  - split: {side}", "    path:", *(f"    - {path}" for path in paths)]
    return "\n".join([*lines, "---", ""])


def _fingerprint(data: Dataset) -> str:
    """A hash of the content and the location.

    `datasets` caches a folder by its name and this part of its card, whatever the folder contains. Without the hash it
    could silently load the data set of another task, or the same one as it was before a review.
    """
    parts = [
        (sample.file, sample.text, [sample.row.grid.group.records[panel].id for panel in sample.panels])
        for sample in data.samples
    ]
    place = [data.task.name, str(data.home), data.canvas]
    return "content-" + hashlib.sha256(json.dumps([parts, place]).encode()).hexdigest()[:12]


def _licence(data: Dataset) -> str:
    """The licence of all sources if the hub knows it; "other" for several, "unknown" if any is unknown."""
    found = {record.licence.strip().lower().replace(" ", "-") for _, record in data.records}
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
    words = f"{min(texts)} to {max(texts)} words"
    sides = f"{counted(data.train, f'training {data.noun}')}, {len(data.held_out)} held out"
    panels = f"{layout.rows} x {layout.cols} panels of {layout.panel_width} x {layout.panel_height}"
    in_order = f": {panels}, in reading order {' '.join(task.markers)}" if task.markers else ""
    lines = [
        f"# {task.title}",
        "",
        f"A data set for training an In-Context LoRA (arXiv 2410.23775), task `{task.name}`, made with iclora.",
        "",
        f"- {sides}; {data.split.why}.",
        f"- Every {data.noun} is {width} x {height} pixels{in_order}.",
        f"- One caption per {data.noun}, {words}, written for {task.base} (its text encoder {family.encoder} reads "
        f"{family.limit} tokens).",
        f"- Trigger: `{task.prefix}`." if task.prefix else "- No trigger word.",
        *(_referring(data) if uses.has_references(task) else [_giving(data)]),
    ]
    return "\n".join([*lines, ""])


def _giving(data: Dataset) -> str:
    given = ", ".join(data.task.markers[panel - 1] for panel in data.task.condition)
    return (
        f"- Given panels: {given}; the masks are black there." if given else "- No panel is given; all are trained on."
    )


def _referring(data: Dataset) -> list[str]:
    """Lines on the use of the data set, and on its reference images."""
    what = "one panel from its own text" if data.noun == "panel" else "the whole grid from its joint caption"
    numbers = sorted({len(sample.references) for sample in data.samples})
    images = "1 reference image" if numbers == [1] else f"{' or '.join(map(str, numbers))} reference images"
    return [
        f"- Use: {data.task.export.use}: given {images}, draw {what}, which leaves out what the reference shows.",
        f"- {data.how}",
    ]


def _layout(data: Dataset) -> str:
    rows = [
        ("train/*.png", f"a {data.noun}: RGB PNG, upright, no EXIF"),
        ("train/*.txt", "its caption: one line without a newline"),
        ("train/metadata.jsonl", "captions, boxes and texts of the panels, sources and groups"),
    ]
    rows += [("validation/", f"the same for the held-out {data.noun}s")] if data.held_out else []
    rows += [(f"{samples.MASKS[side]}/", f"masks of {side}/") for side in data.sides if data.task.condition]
    folders = {Path(file).parent.name: sample.side for sample in data.samples for file in sample.references}
    rows += [(f"{folder}/", f"reference images of the same names as in {side}/") for folder, side in folders.items()]
    rows += [(file, "pictures, reference images and captions, for `datasets`") for file in parquet.files(data)]
    return "\n".join(["## Files", "", *_table(("file", "content"), rows), ""])


def write_trainers(configs: Sequence[Config]) -> str:
    """TRAINERS.md: how to train on the data set with each trainer."""
    lines = [
        "# Training on this data set",
        "",
        "Every config trains at the pictures' own size only, without crops, flips or caption shuffling. Run the",
        "commands in this folder, with TRAINER set to the trainer's: `export TRAINER=~/ai-toolkit`. Paths in configs",
        "are relative to this folder, so you can move it or copy it elsewhere; `sha256sum -c SHA256SUMS` checks",
        "a copy. With iclora installed there, the folder is all that it takes to write the configs anew, or to train:",
        "",
        "```sh",
        "iclora export --dataset . --set train.steps=2000",
        "iclora train iclora.toml --data . --into ../training",
        "```",
        "",
    ]
    for config in configs:
        lines += [f"## {config.trainer}", ""]
        lines += [", ".join(f"`{file}`" for file in config.files), ""] if config.files else []
        lines += ["```sh", config.command, "```", ""] if config.command else []
        lines += [*(f"- {note}" for note in config.notes), ""] if config.notes else []
    return "\n".join(lines)


def _sources(data: Dataset) -> str:
    """One line per film, ready-made grid or folder of pictures, with where in it the panels are and what it says of
    them."""
    panels: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for sample, record in data.records:
        name = data.names[record.source]
        single = not record.position.film and not record.position.set
        facts = (value or UNKNOWN for value in (record.licence, record.author, record.url, record.date))
        panels[str(Path(name).parent / "*") if single else name, sample.group, *facts].append(record)
    unknown = sum(not record.licence for _, record in data.records)
    ask = [f"The licence of {unknown} of {len(data.records)} panels is unknown: ask before you share them.", ""]
    rows = sorted((*source, _places(records), str(len(records))) for source, records in panels.items())
    table = _table(("source", "group", "licence", "author", "url", "date", "where", "panels"), rows)
    return "\n".join(["## Sources", "", *(ask if unknown else []), *table, ""])


def _places(records: Sequence[Record]) -> str:
    """Where in a film or a table panels are: the stretch of the film, or the rows, the first of which is 1."""
    times = [record.position.time for record in records if record.position.film]
    rows = sorted({record.position.row + 1 for record in records if record.position.row >= 0})
    if times:
        return f"{min(times):.1f} to {max(times):.1f} s"
    shown = ", ".join(map(str, rows)) if len(rows) <= LISTED else f"{rows[0]} to {rows[-1]}"
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}" if rows else ""


def _made_with(facts: Mapping[str, Any]) -> str:
    """All facts about the run's models, and a table of its thresholds with their error rates."""
    rest = {name: value for name, value in facts.items() if name != "thresholds"}
    lines = [f"- {line}" for line in _flat(rest, "")] or ["- unknown"]
    table = _thresholds(facts.get("thresholds") or {})
    return "\n".join(["## Models and thresholds", "", *lines, "", *([*table, ""] if table else [])])


def _thresholds(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            name,
            str(threshold.get("is", "")),
            str(threshold.get("value", "")),
            str(threshold.get("found by", "")),
            "; ".join(_flat(threshold.get("false rejects"), "")) or UNKNOWN,
            "; ".join(_flat(threshold.get("false accepts"), "")) or UNKNOWN,
        )
        for name, threshold in found.items()
    ]
    return (
        _table(("score", "kind", "value", "how it was found", "false rejects", "false accepts"), rows) if rows else []
    )


def _flat(value: Any, name: str) -> Iterator[str]:
    """One line per fact, with its name in front; lists longer than LISTED are left to the report."""
    text = ""
    if isinstance(value, Mapping) and {"count", "of", "low", "high"} <= set(value):
        text = share(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}, {key}" if name else str(key))
    elif isinstance(value, list) and len(value) <= LISTED:
        text = ", ".join(map(str, value))
    elif not isinstance(value, list) and value is not None:
        text = _short_path(str(value))
    if text:
        yield f"{name}: {text}" if name else text


def _short_path(text: str) -> str:
    """A model's local folder, shortened to the last two parts of its path."""
    path = text.removeprefix("local-dir:")
    return "/".join(Path(path).parts[-2:]) if Path(path).is_absolute() else text


def _limits(data: Dataset) -> str:
    rows = {sample.row.id: sample.row for sample in data.samples}.values()
    edited = sum(bool(row.review and row.review.text) for row in rows)
    seen = sum(row.decided for row in rows)
    lines = [
        "## Known limits",
        "",
        f"- A person decided on {seen} of {len(rows)} grids; the rest passed the automatic checks only.",
        f"- A person edited {counted(edited, 'caption')}; the others are a model's, or came with the source.",
        "- Captions are in English. Names of people are invented and do not identify anyone.",
        "- A high score means that a picture and a text look like a matching pair, not that every word is true.",
        "- The split separates files, folders and sets; it does not notice the same person or place in two of them.",
    ]
    fewest = data.task.grids[0]
    few = f"- {counted(len(rows), 'grid is', 'grids are')} few: the task is meant for {fewest} or more."
    return "\n".join([*lines, *([few] if len(rows) < fewest else []), ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells]
