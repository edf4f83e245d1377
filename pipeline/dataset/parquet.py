"""Samples with reference images as Parquet tables with columns of pictures, one per side.

`datasets` reads several pictures per row from a folder only where all of them lie below its metadata.jsonl, and there
some trainers would take reference images for pictures to learn. The hub shows such a table row by row, and the example
scripts of diffusers read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.dataset.samples import Dataset, Sample
from pipeline.dataset.uses import has_references

EXTRA = "hub"
"""The extra that brings the packages with which tables are written."""
ROWS = 32
"""Rows that are in memory at a time; readers fetch as many at once."""
CONTROL, TARGET, PROMPT = "control_image", "target_image", "prompt"


def files(data: Dataset) -> list[str]:
    """The tables of a data set, relative to its folder; none for one without reference images."""
    return [f"parquet/{side}.parquet" for side in data.sides] if has_references(data.task) else []


def columns(data: Dataset) -> list[str]:
    """The columns of reference images, in the order in which a model is shown them."""
    more = (f"{CONTROL}_{number}" for number in range(2, data.most_references + 1))
    return [CONTROL, *more] if data.most_references else []


def write(data: Dataset, folder: Path) -> None:
    """Writes the tables. Pictures are in them byte for byte; a sample with fewer references has empty cells."""
    for side, file in zip(data.sides, files(data), strict=False):
        import pyarrow
        from datasets import Features, Image, Value
        from pyarrow.parquet import ParquetWriter

        pictures = dict.fromkeys([*columns(data), TARGET], Image())
        kinds = Features({**pictures, PROMPT: Value("string"), "id": Value("string"), "group": Value("string")})
        samples = [sample for sample in data.samples if sample.side == side]
        (folder / file).parent.mkdir(exist_ok=True)
        with ParquetWriter(folder / file, kinds.arrow_schema) as writer:
            for start in range(0, len(samples), ROWS):
                rows = [_row(sample, data, folder) for sample in samples[start : start + ROWS]]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=kinds.arrow_schema))


def _row(sample: Sample, data: Dataset, folder: Path) -> dict[str, Any]:
    def picture(file: str) -> dict[str, Any]:
        return {"bytes": (folder / file).read_bytes(), "path": Path(file).name}

    given = dict(zip(columns(data), map(picture, sample.references), strict=False))
    empty = dict.fromkeys(columns(data))
    texts = {PROMPT: sample.text, "id": sample.row.id, "group": sample.group}
    return {**empty, **given, TARGET: picture(sample.file), **texts}
