"""What the columns of a table mean: by the task's settings, by what is in them, or by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.sources.tables import fields
from pipeline.sources.tables.base import Table
from pipeline.sources.tables.nearby import is_picture
from pipeline.sources.tables.text import FILE
from pipeline.task import TableSection

SAMPLE = 200
"""Rows by which columns are told."""
BETWEEN = "|;,"
"""What may part the names of several pictures in one cell."""


@dataclass(frozen=True)
class Picture:
    """A picture that a cell names or holds."""

    file: str
    """As the cell has it; the name alone of one that the table holds itself, which may be empty."""
    panel: str = ""
    text: str = ""


@dataclass(frozen=True)
class Meaning:
    """The columns by what they mean; empty where there is none."""

    image: tuple[str, ...]
    """In panel order if there are several; empty if pictures are found by group and panel in their names."""
    text: tuple[str, ...]
    """One for a row's picture or pictures, or one for each column of pictures."""
    group: str
    panel: str
    order: str
    rights: Mapping[str, str]
    """Columns for "licence", "author", "url" and "date"."""
    several: bool
    """Whether a row is a set of its own, with several pictures."""
    target: str = ""
    """The column of pictures that are drawn from those in the others, their reference images: the text is theirs."""

    @property
    def columns(self) -> list[str]:
        """All columns that mean something, each once."""
        of_one = (*self.image, *self.text, self.group, self.panel, self.order, *self.rights.values())
        return list(dict.fromkeys(filter(None, of_one)))


def pictures_of(cell: Any) -> list[Picture]:
    """The pictures that a cell names: a name, several with a delimiter, a list of names or of objects."""
    if isinstance(cell, list | tuple):
        return [picture for each in cell for picture in pictures_of(each)]
    if isinstance(cell, dict):
        entry = fields.by_name(cell)
        told = (fields.line(fields.value(field, entry)) for field in ("image", "panel", "text"))
        file, panel, text = told
        return [Picture(file or fields.line(entry.get("url")), panel, text)]
    text = "" if cell is None else str(cell).strip()
    for delimiter in BETWEEN:
        parts = [part.strip() for part in text.split(delimiter)]
        if len(parts) > 1 and all(FILE.search(part) for part in parts):
            return [Picture(part) for part in parts]
    return [Picture(text)] if text else []


def understand(table: Table, section: TableSection, where: str, there: Callable[[str], bool]) -> Meaning:
    """
    Args:
        where: the table's name, for messages.
        there: whether a name in the table is that of a file.

    Raises:
        BadInput: the settings name a column that is not there, or as many columns of texts as make no sense.
    """
    sample = [row.values for row in islice(table.rows(table.columns), SAMPLE) if not row.broken]
    _check(table, section, where)
    image = section.image or _images(table, sample, there)
    names = [name for name in table.columns if name not in image]
    single = (field for field in fields.FIELDS if field not in ("image", "text"))
    found = {field: str(getattr(section, field)) or fields.column(field, names) for field in single}
    several = len(image) > 1 or any(len(cell) > 1 for column in image for cell in _cells(table, sample, column))
    target = "" if section.image else _target(image)
    if target:
        image = (*(column for column in image if column != target), target)
    text = section.text or _texts(image, names)
    if len(text) not in (0, 1, len(image)):
        raise BadInput(f"{where}: table.text names {len(text)} columns; give one, or one for each of table.image.")
    if not found["group"] and not section.group:
        found["group"] = _identifier(names, sample, several=several)
    if several and not section.panel:
        found["panel"] = ""
    rights = {field: found[field] for field in fields.RIGHTS if found[field]}
    return Meaning(image, text, found["group"], found["panel"], found["order"], rights, several, target)


def _check(table: Table, section: TableSection, where: str) -> None:
    for field, value in section:
        for column in value if isinstance(value, tuple) else filter(None, [value]):
            if column not in table.columns:
                known = ", ".join(table.columns) or "none"
                lacks = f"{where} has no column '{column}', which table.{field} names"
                raise BadInput(f"{lacks}{plugins.suggest(column, table.columns)} (columns: {known}).")


def _cells(table: Table, sample: Sequence[Mapping[str, Any]], column: str) -> Iterator[list[Picture]]:
    """The pictures of a column's cells; a column of pictures has one entry for each, named or not."""
    for values in sample:
        cell = values.get(column)
        if column in table.pictures:
            yield [Picture(str(name)) for name in cell or []]
        else:
            yield pictures_of(cell)


def _images(table: Table, sample: Sequence[Mapping[str, Any]], there: Callable[[str], bool]) -> tuple[str, ...]:
    """The columns of pictures: those that hold them; else those that name files; else the one with a usual name."""
    if table.pictures:
        return tuple(table.pictures)
    naming, found = [], []
    for column in table.columns:
        cells = [picture.file for cell in _cells(table, sample, column) for picture in cell]
        if cells and 2 * sum(map(is_picture, cells)) >= len(cells):
            naming.append(column)
            if 2 * sum(map(there, cells)) >= len(cells):
                found.append(column)
    usual = fields.column("image", table.columns)
    if found or usual in naming:
        return tuple(found) or (usual,)
    filled = usual and any(cell for cell in _cells(table, sample, usual))
    return tuple(naming) or ((usual,) if filled else ())


def _target(image: Sequence[str]) -> str:
    """The only column of pictures that is none of reference images, where there are some; empty where there are not."""
    others = [column for column in image if not fields.CONTROL.fullmatch(fields.plain(column))]
    return others[0] if len(others) == 1 < len(image) else ""


def _texts(image: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """A column of texts for each column of pictures (`front_text` for `front`), else one for the row."""
    if len(image) > 1:
        plain = {fields.plain(name): name for name in names}
        own = [
            next((plain[spelt] for word in fields.NAMES["text"] for spelt in (f"{one}{word}", f"{word}{one}")
                  if spelt in plain), "")
            for one in map(fields.plain, image)
        ]  # fmt: skip
        if all(own):
            return tuple(own)
    found = fields.column("text", names)
    return (found,) if found else ()


def _identifier(names: Sequence[str], sample: Sequence[Mapping[str, Any]], *, several: bool) -> str:
    """A column `id` where it can be that of a group: rows are sets, or several of them have the same."""
    column = next((name for name in names if fields.plain(name) in ("id", "key")), "")
    values = [fields.line(values.get(column)) for values in sample] if column else []
    return column if values and (several or len(set(values)) < len(values)) else ""
