"""What to generate: one prompt, or a table of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput, BadReply
from pipeline.text import grammar
from pipeline.wording import counted

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.task import Task

PANEL = re.compile(r"panel[ _-]?(\d+)")
GIVEN = re.compile(r"given[ _-]?(\d+)")
REFERENCE = re.compile(r"reference[ _-]?(\d+)")
COLUMNS = "prompt, or summary and panel 1, panel 2, ...; seed; given 1, given 2, ...; reference 1, reference 2, ..."
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Prompt:
    """An image set to generate, once for each seed."""

    text: str = ""
    """The joint caption. If it is empty, it is made of the next two."""
    summary: str = ""
    """What the panels share."""
    panels: Mapping[int, str] = field(default_factory=dict)
    """What each panel shows, by panel from 1."""
    given: Mapping[int, str | Path | Image.Image] = field(default_factory=dict)
    """Pictures of panels that exist already, by panel from 1."""
    references: tuple[str | Path | Image.Image, ...] = ()
    """Pictures that the model is shown beside the grid, for bases that take any."""
    seeds: tuple[int, ...] = ()
    """Of the noise; if there is none, those of the whole generation."""

    @property
    def pictures(self) -> dict[int, Image.Image]:
        """The given pictures, by panel from 0.

        Raises:
            BadInput: one can't be read.
        """
        return open_given(self.given)

    @property
    def shown(self) -> tuple[Image.Image, ...]:
        """The reference images.

        Raises:
            BadInput: one can't be read.
        """
        return open_references(self.references)

    def caption(self, task: Task | None) -> str:
        """The joint caption.

        Raises:
            BadInput: it has neither a text nor a text for each panel, or both; or the task that joins them is unknown.
        """
        if self.text and (self.summary or self.panels):
            raise BadInput(f"the prompt '{self.text[:60]}' is joint already; leave out summary and texts of panels.")
        if self.text:
            return self.text
        if not self.panels:
            raise BadInput("there is no prompt; give a joint caption, or a text for each panel (--panel 1=TEXT).")
        if task is None:
            raise BadInput("texts of panels are joined as a task says, and this LoRA's is unknown here; use --task.")
        wanted = range(1, len(task.markers) + 1)
        if odd := sorted(set(wanted) ^ set(self.panels)):
            fault = f"panel {odd[0]} has no text" if odd[0] in wanted else f"there is a text for panel {odd[0]}"
            raise BadInput(
                f"{task.name} has {counted(len(task.markers), 'panel')}, and {fault}; give each of them one."
            )
        try:
            return grammar.render(self.summary, [self.panels[panel] for panel in wanted], (), task)
        except BadReply as error:  # as of a captioner's answer
            raise BadInput(str(error)) from error


def open_given(given: Mapping[int, str | Path | Image.Image]) -> dict[int, Image.Image]:
    """Given pictures, by panel from 0.

    Args:
        given: by panel from 1.

    Raises:
        BadInput: one can't be read.
    """
    from pipeline import pixels

    return {
        panel - 1: pixels.open_image(Path(image)) if isinstance(image, str | Path) else image
        for panel, image in given.items()
    }


def open_references(references: Iterable[str | Path | Image.Image]) -> tuple[Image.Image, ...]:
    """
    Raises:
        BadInput: one can't be read.
    """
    return tuple(open_given(dict(enumerate(references, 1))).values())


def read(path: Path) -> list[Prompt]:
    """The prompts of a table: CSV with a header, or JSON Lines (`.jsonl`), in UTF-8.

    A row has a `prompt`, or a `summary` and `panel 1`, `panel 2`, ...; if wanted `seed` (one, or several with ; between
    them), `given 1`, ... and `reference 1`, ... (files, looked for beside the table).

    Raises:
        BadInput: it can't be read, is empty, or has an unknown column or a seed that is no whole number.
    """
    rows = _rows(path)
    known = {"prompt", "summary", "seed"}
    columns = {str(column) for row in rows for column in row}
    numbered = (PANEL, GIVEN, REFERENCE)
    if foreign := sorted(c for c in columns if c not in known and not any(one.fullmatch(c) for one in numbered)):
        raise BadInput(f"{path} has the column {foreign[0]!r}; the columns of a table of prompts are: {COLUMNS}.")
    if not rows:
        raise BadInput(f"{path} has no rows; give one for each image set ({COLUMNS}).")
    return [_prompt(row, path, number) for number, row in enumerate(rows, 1)]


def _rows(path: Path) -> list[dict[str, Any]]:
    import pandas as pd

    from pipeline import files

    try:
        with files.open_regular(path, MOST_BYTES) as file:
            if path.suffix.lower() == ".jsonl":
                table = pd.read_json(file, lines=True, dtype=False, encoding="utf-8")
            else:
                table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors, and so is other text than UTF-8
        raise BadInput(f"{path} can't be read as a table of prompts ({error}); use CSV or .jsonl in UTF-8.") from error
    return [{str(key): value for key, value in row.items() if _is_there(value)} for row in table.to_dict("records")]


def _is_there(value: Any) -> bool:
    return value is not None and value == value and str(value).strip() != ""  # noqa: PLR0124  (NaN differs from itself)


def _prompt(row: Mapping[str, Any], path: Path, number: int) -> Prompt:
    return Prompt(
        text=str(row.get("prompt", "")),
        summary=str(row.get("summary", "")),
        panels={panel: str(value) for panel, value in _numbered(row, PANEL)},
        given={panel: path.parent / str(value) for panel, value in _numbered(row, GIVEN)},
        references=tuple(path.parent / str(value) for _, value in sorted(_numbered(row, REFERENCE))),
        seeds=_seeds(row.get("seed", ""), f"row {number} of {path}"),
    )


def _numbered(row: Mapping[str, Any], pattern: re.Pattern[str]) -> Iterator[tuple[int, Any]]:
    for column, value in row.items():
        if match := pattern.fullmatch(column):
            yield int(match[1]), value


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    if isinstance(value, float) and value.is_integer():  # a column of numbers with gaps
        value = int(value)
    several = value if isinstance(value, list) else str(value).split(";")
    try:
        return tuple(int(seed) for seed in several if str(seed).strip())
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where} has the seed {value!r}; give whole numbers with ; between them.") from error
