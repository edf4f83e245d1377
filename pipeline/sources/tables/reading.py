"""Rows of a table -> items: which pictures are in a row, what it says of them, and what can't be had."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.errors import BadInput
from pipeline.sources import disk, encodings
from pipeline.sources.base import Facts, Fault, Item
from pipeline.sources.fetching import Address, name_of
from pipeline.sources.listings import ABSOLUTE, Entry, Pictures, places
from pipeline.sources.names import listed
from pipeline.sources.tables import fields
from pipeline.sources.tables.base import Row, Table
from pipeline.sources.tables.meaning import Meaning, Picture, pictures_of
from pipeline.sources.tables.nearby import ADDRESS, Nearby, path_of
from pipeline.wording import counted

MOST_VALUES = 6
"""Different panels that are named one by one."""


@dataclass
class _Wanted:
    """A picture of a row, before it is known where its file is."""

    row: Row
    column: str
    """Empty where the file is looked for by group and panel."""
    place: int
    """In its cell, from 0."""
    picture: Picture
    facts: Facts
    text: str
    shared: tuple[tuple[str, str], ...]
    label: str
    """What people find it by: its row, and what tells it from others of the row."""


@dataclass
class Reading:
    """A table as it is read, and what is to be said of it."""

    home: str
    """Its absolute path."""
    table: Table
    meaning: Meaning
    near: Nearby
    rows: int = 0
    panels: Counter[str] = field(default_factory=Counter)
    groups: dict[str, None] = field(default_factory=dict)
    filled: list[str] = field(default_factory=list)
    """Labels of rows that belong to the group of the row above."""
    lost: list[str] = field(default_factory=list)
    """Labels of rows whose texts have lost letters."""
    seen: dict[str, str] = field(default_factory=dict)
    """By file or inner name, the label of the picture that has it."""

    @property
    def name(self) -> str:
        return os.path.basename(self.home)

    def items(self) -> Iterator[Item]:
        """An item for every picture, in the order of the rows and of the columns in a row, or one with a fault."""
        wanted: list[_Wanted | Item] = []
        try:
            for row in self.table.rows(self.meaning.columns):
                self.rows += 1
                wanted += self._row(row)
        except BadInput as error:
            wanted.append(self._fault(self.rows, f"rows from {self.rows + 1}", "unreadable", str(error)))
        moved = self._moved([one for one in wanted if isinstance(one, _Wanted)])
        for one in wanted:
            yield one if isinstance(one, Item) else self._item(one, moved)

    def _fault(self, number: int, label: str, reason: str, detail: str) -> Item:
        return Item(self.home, label, listed=True, facts=Facts(row=number), fault=Fault(reason, detail))

    # ---- rows

    def _row(self, row: Row) -> Iterator[_Wanted | Item]:
        where = f"{row.label} of {self.home}"
        found = [] if row.broken else list(self._pictures(row))
        if row.broken:
            yield self._fault(row.number, row.label, "row", f"{where} {row.broken}.")
        elif not found:
            columns = " or ".join(self.meaning.image)
            yield self._fault(row.number, row.label, "no picture", f"{where} names no picture in {columns}.")
        else:
            group, texts = self._group(row), [self._text(row, column) for column in self.meaning.text]
            for number, (column, place, picture) in enumerate(found):
                facts = self._facts(row, group, number, column, picture)
                self.panels[facts.panel] += 1
                label = f"{row.label} {facts.panel or number + 1}" if len(found) > 1 else row.label
                own, shared = picture.text, tuple[tuple[str, str], ...]()
                if len(texts) > 1:
                    own = own or texts[self.meaning.image.index(column)]
                elif len(found) == 1 or column == self.meaning.target:
                    own = own or "".join(texts)
                elif texts and texts[0] and not self.meaning.target:  # it describes all of them
                    shared = ((texts[0], f"{self.name} {row.label}"),)
                yield _Wanted(row, column, place, picture, facts, own, shared, label)

    def _pictures(self, row: Row) -> Iterator[tuple[str, int, Picture]]:
        """The pictures of a row, each with its column and its place in the cell."""
        if not self.meaning.image:
            words = (self._value(row, column) for column in (self.meaning.group, self.meaning.panel))
            yield "", 0, Picture(" ".join(filter(None, words)))
        for column in self.meaning.image:
            cell, is_inside = row.values.get(column), column in self.table.pictures
            found = [Picture(str(name)) for name in cell or []] if is_inside else pictures_of(cell)
            yield from ((column, place, picture) for place, picture in enumerate(found))

    def _facts(self, row: Row, group: str, number: int, column: str, picture: Picture) -> Facts:
        """
        Args:
            number: of the picture in its row, from 0.
        """
        several = len(self.meaning.image) > 1
        panel = picture.panel or (column if several else self._value(row, self.meaning.panel))
        order = float(number) if self.meaning.several else fields.number(row.values.get(self.meaning.order))
        rights = {name: self._value(row, of) for name, of in self.meaning.rights.items()}
        if ADDRESS.match(picture.file) and not rights.get("url"):
            rights["url"] = picture.file
        return Facts(group=group, panel=panel, order=order, row=row.number, sources=(rights,))

    def _value(self, row: Row, column: str) -> str:
        return fields.line(row.values.get(column)) if column else ""

    def _text(self, row: Row, column: str) -> str:
        value = row.values.get(column)
        text = fields.line(value[0] if isinstance(value, list) and value else value)
        if encodings.flaw(text):
            self.lost.append(row.label)
            return ""
        return text

    def _group(self, row: Row) -> str:
        """The row's group. Below a cell that is not empty an empty one belongs to it: so merged cells are saved."""
        name = self._value(row, self.meaning.group)
        if self.meaning.several:
            name = name if name and name not in self.groups else f"{name or self.name} ({row.label})"
        elif not name and self.groups and self._value(row, self.meaning.panel):
            name = next(reversed(self.groups))
            self.filled.append(row.label)
        if name:
            self.groups.pop(name, None)
            self.groups[name] = None  # the last one is that of the row before
        return name

    # ---- files

    def _is_inside(self, one: _Wanted) -> bool:
        return one.column in self.table.pictures

    def _moved(self, wanted: Sequence[_Wanted]) -> dict[str, str]:
        """By absolute paths of another machine, or from before the folder was moved, the names below the folder."""
        paths = {path_of(one.picture.file) for one in wanted if one.column and not self._is_inside(one)}
        gone = sorted(path for path in paths if ABSOLUTE.match(path) and not os.path.lexists(path))
        if not gone:
            return {}
        pictures = Pictures(self.near.names)
        found = places([Entry(path, "", Facts()) for path in gone], "", self.near.folder, pictures)
        return {path: name for path, name in zip(gone, found, strict=True) if name in pictures.names}

    def _item(self, one: _Wanted, moved: dict[str, str]) -> Item:
        """The item of a picture, or why there is none."""
        number, where, cell = one.row.number, f"{one.label} of {self.home}", one.picture.file
        if self._is_inside(one):
            content = self.table.cell(one.row, one.column, one.place)
            return Item(self.home, self._inner_name(one), content, one.text, True, one.facts, shared=one.shared)
        path = path_of(cell)
        if ADDRESS.match(path):
            return self._on_the_web(one, path, where)
        file = (
            self.near.find(moved.get(path, path)) if one.column else self.near.named([one.facts.group, one.facts.panel])
        )
        if not isinstance(file, str):
            why = f"{len(file)} files may be meant: {listed(file)}" if file else "there is no such file"
            return self._fault(number, one.label, "missing", f"{where} names {cell!r}, and {why}.")
        if file in self.seen:
            detail = f"{where} names {file} as {self.seen[file]} does; the first counts."
            return self._fault(number, one.label, "named twice", detail)
        self.seen[file] = one.label
        folder = self.near.folder
        home = folder if file.startswith(f"{folder.rstrip('/')}/") else os.path.dirname(file)
        name = os.path.relpath(file, home).replace(os.sep, "/")
        return Item(home, name, disk.file_at(file), one.text, True, one.facts, shared=one.shared)

    def _on_the_web(self, one: _Wanted, url: str, where: str) -> Item:
        name = name_of(url) if url.lower().startswith(("http://", "https://")) else ""
        if not name:
            detail = f"{where} names {url!r}, and only http:// and https:// addresses are fetched."
            return self._fault(one.row.number, one.label, "address", detail)
        if name in self.seen:
            detail = f"{where} names {url} as {self.seen[name]} does; the first counts."
            return self._fault(one.row.number, one.label, "named twice", detail)
        self.seen[name] = one.label
        return Item(self.home, name, Address(url), one.text, True, one.facts, shared=one.shared)

    def _inner_name(self, one: _Wanted) -> str:
        """A name for a picture that the table holds: its own if it has one that no other has, else by its row."""
        own = os.path.basename(path_of(one.picture.file))
        kind = f"_{one.column}" if len(self.meaning.image) > 1 else f"_{one.place + 1}" if self.meaning.several else ""
        by_row = f"{one.row.number + 1:06d}{kind}{os.path.splitext(own)[1]}"
        name = own if own and not kind and own not in self.seen else by_row
        self.seen[name] = one.label
        return name

    # ---- what is said

    def remark(self) -> str:
        """How the table was understood, in one sentence."""
        meaning, named_by = self.meaning, [column for column in (self.meaning.group, self.meaning.panel) if column]
        image = " and ".join(meaning.image) or f"files named by {' and '.join(named_by)}"
        columns = {"group": meaning.group, "panel": meaning.panel, "order": meaning.order,
                   "text": " and ".join(meaning.text), **meaning.rights}  # fmt: skip
        if meaning.panel:
            values = ", ".join(self.panels) if len(self.panels) <= MOST_VALUES else counted(self.panels, "value")
            columns["panel"] += f" ({values})"
        if meaning.target:
            image = f"{meaning.target}, their reference images from {' and '.join(meaning.image[:-1])}"
        understood = [f"pictures from {image}", *(f"{name} from {of}" for name, of in columns.items() if of)]
        said = [f"{self.name}: {counted(self.rows, 'row')}", ", ".join(understood)]
        if unused := [column for column in self.table.columns if column not in meaning.columns]:
            said.append(f"not used: {', '.join(unused)}")
        if self.filled:
            said.append(f"{listed(self.filled)} belong{'s' * (len(self.filled) == 1)} to the {meaning.group} above")
        if self.lost:
            said.append(f"the texts of {listed(self.lost)} have lost letters and are not used")
        return "; ".join([*said, *self.table.notes]) + "."
