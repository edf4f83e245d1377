"""Items, the containers that give them, and the readers that make records of them.

    source path -> Container -> Item -> Reader -> Record or Rejected
       ./films       folder     a.mp4     film     one per shot

A new container is one module in `containers/`, a new reader one module in `readers/`. Neither knows of any other: the
toolkit itself takes care of sidecar texts, listings, masks, hidden files, order and exact copies, so a container need
only give names and bytes to have all of them. A plug-in imports this module, those beside it and those at the top of
`pipeline`, never another plug-in.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline import files
from pipeline.errors import BadInput
from pipeline.records import Position, Record, Rejected, content_id
from pipeline.task import Task

HEAD = 512
"""Bytes from the start of an item that readers are shown; enough for three packets of an MPEG transport stream."""
CHUNK = 1 << 20
"""Bytes; a sensible size for the pieces in which a container gives content."""
EXTRACTED = Path("collected") / "extracted"
"""Where the run's folder keeps items that are not files of the user's, named by the hash of their content."""


ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How the address of a source begins that is no path, `hf://datasets/OWNER/NAME`; a path keeps one of its slashes."""


def is_address(source: str | Path) -> bool:
    """Whether a source is an address and not a path; a file of that name comes first."""
    return bool(ADDRESS.match(str(source))) and not os.path.lexists(source)


class Content(Protocol):
    """The bytes of one item: a frozen dataclass of plain values, since items are sent to other processes.

    Its `repr` must change when the bytes do, for `collect` to be run again: let it hold a checksum, or the size and the
    time of the last change.
    """

    @property
    def path(self) -> Path | None:
        """The user's own file with exactly these bytes; None where there is none and they must be extracted."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes in order, in pieces of any size; about `CHUNK` is best.

        Raises:
            BadInput: they can't be read; the message is a whole sentence. An OSError is turned into one.
        """


@dataclass(frozen=True)
class Fault:
    """Why an item can't be used."""

    reason: str
    """A short class such as "unreadable", counted in the report."""
    detail: str
    """One sentence with the values and, where there is one, the remedy."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a data set's listing says of a picture besides its text."""

    boxes: tuple[tuple[int, int, int, int], ...] = ()
    """Left, top, right, bottom of its panels in pixels, where it is a ready-made grid."""
    group: str = ""
    """The group of sources that it belongs to."""
    panel: str = ""
    order: float | None = None
    row: int = -1
    """As in `records.Position`."""
    set: str = ""
    """Name of the set that it and its references are part of, where the listing tells it."""
    references: tuple[str, ...] = ()
    """Its reference images, as the listing names them."""
    places: tuple[int, ...] = ()
    """Places in the set, from 0, of its references and then its own, where the listing tells them."""
    sources: tuple[Mapping[str, str], ...] = field(default=(), hash=False)
    """Licence, author, address and date of each panel, or of the picture."""

    def of(self, name: str, page: int = 0) -> str:
        """A panel's "licence", "author", "url" or "date"; empty where the listing has none."""
        return str(self.sources[page].get(name) or "") if page < len(self.sources) else ""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a container that may hold pictures.

    A container sets `home`, `name` and `content`; `text` and `facts` too where it knows them itself (a column of a
    table); or `fault` in place of `content`. The toolkit sets the rest.
    """

    home: str
    """Address of the container: the absolute path of a folder or an archive."""
    name: str
    """Path within the container, with `/`; empty for a container that can't be read at all."""
    content: Content | None = None
    text: str = ""
    """The item's own text on one line: `a.txt` for `a.png`, or its entry in a listing."""
    listed: bool = False
    """Whether a listing names it, or the container itself is one: then it is wanted, whatever its name is."""
    facts: Facts = Facts()
    fault: Fault | None = None
    """Set where the item is known to be unusable; it becomes a rejected row."""
    shared: tuple[tuple[str, str], ...] = ()
    """Texts that may describe a set which it is part of, each with the set's name, nearest first."""
    twin: bool = False
    """Whether another item of its folder has the same text of its own."""
    mask: bool = False
    """Whether its name says that it is the mask of another item."""
    references: tuple[Item, ...] = ()
    """Its reference images, in the order in which a model is shown them: it is read together with them."""
    taken: tuple[str, ...] = field(default=(), repr=False)
    """Hashes (SHA-256) of small pictures of rejected parts, such as shots, that a person takes in: a reader that would
    reject a part with one of these pictures makes a record of it, with that hash as `taken` and a note that begins with
    `records.TAKEN_IN`."""

    @property
    def source(self) -> str:
        """Its address, which no other item has: what people read, and what records are traced back to."""
        return f"{self.home.rstrip('/')}/{self.name}" if self.name else self.home

    @property
    def id(self) -> str:
        return content_id("s", self.source)

    @property
    def folder(self) -> str:
        """Address of the folder that it lies in."""
        return self.source.rpartition("/")[0] or "/"

    @property
    def stem(self) -> str:
        """Its name without folder and ending."""
        return posixpath.splitext(posixpath.basename(self.name))[0]

    def position(self, **more: Any) -> Position:
        """Where it stands, for grouping; a reader adds what it alone knows (a shot, a page)."""
        facts = self.facts
        known = {"group": facts.group, "panel": facts.panel, "order": facts.order, "row": facts.row}
        return Position(**{"folder": self.folder, "stem": self.stem, **known, **more})

    def record(
        self, digest: str, path: Path, position: Position, *, text: str = "", page: int = 0, notes: tuple[str, ...] = ()
    ) -> Record:
        """A record of this item, or of a part of it, with what a listing says of its rights.

        Args:
            digest: SHA-256 of the picture's file.
            path: of that file, relative to the run's folder or absolute.
            page: the part that the listing's rights are read for, from 0.
        """
        licence, author, url, date = (self.facts.of(name, page) for name in ("licence", "author", "url", "date"))
        return Record(
            id=digest,
            path=str(path),
            source=self.source,
            position=position,
            text=text,
            licence=licence,
            author=author,
            url=url,
            date=date,
            notes=notes,
        )

    def reject(self, reason: str, detail: str, what: str = "", picture: str = "") -> Rejected:
        """A rejected row for this item, or for the part of it that `what` names.

        Args:
            picture: path of a small picture of it, relative to the run's folder, for the contact sheet.
        """
        return Rejected(self.id, what or self.source, reason, detail, picture)

    def head(self) -> bytes:
        """Its first `HEAD` bytes, fewer where it is shorter.

        Raises:
            BadInput: it can't be read.
        """
        found = b""
        for chunk in self.chunks():
            found += chunk[:HEAD]
            if len(found) >= HEAD:
                break
        return found[:HEAD]

    def chunks(self) -> Iterator[bytes]:
        """Its bytes in order.

        Raises:
            BadInput: they can't be read.
        """
        if self.content is None:
            raise BadInput(f"{self.source} has no content.")
        try:
            yield from self.content.chunks()
        except OSError as error:  # no permission, a link to nowhere, a disk's fault
            raise BadInput(f"{self.source} can't be read: {error.strerror or error}.") from error

    def file(self, folder: Path, most: int | None = None) -> Path:
        """The item as a file.

        The absolute path of the user's own, else the path of an extracted copy, relative to the run's folder. Either
        way `folder / item.file(folder)` can be opened, and the path may be a record's `path`.

        Args:
            folder: the run's folder.
            most: bytes that may be extracted; any number if None.

        Raises:
            BadInput: it can't be read, or is larger.
        """
        if self.content is not None and self.content.path is not None:
            return self.content.path
        home = folder / EXTRACTED
        home.mkdir(parents=True, exist_ok=True)
        digest, part = hashlib.sha256(), home / f"{self.id}-{os.getpid()}.part"
        try:
            with part.open("wb") as out:
                for chunk in self.chunks():
                    if most is not None and out.tell() + len(chunk) > most:
                        raise BadInput(f"{self.source} has more than {most:,} bytes, too many for what it is.")
                    digest.update(chunk)
                    out.write(chunk)
            # Nothing of the name is kept but its ending, for people and for libraries that look at it.
            ending = re.sub(r"[^a-z0-9]", "", posixpath.splitext(self.name)[1].lower())[:8]
            kept = EXTRACTED / f"{digest.hexdigest()}{'.' if ending else ''}{ending}"
            files.settle(part, folder / kept)
        finally:
            part.unlink(missing_ok=True)
        return kept


@dataclass(frozen=True)
class Remark:
    """What a person should know of a container as a whole: how it was understood, what of it was not used."""

    text: str
    """One sentence."""


class Container(Protocol):
    """A module of `containers/`: which paths it opens, and what is in them.

    A complete one, for JSON files that hold pictures and texts in base64 (`{"a.png": "iVBORw0..."}`):

        import base64, json, os
        from dataclasses import dataclass
        from pathlib import Path
        from pipeline.sources.base import Item

        PRIORITY = 0

        @dataclass(frozen=True)
        class Value:
            file: str
            key: str
            changed: int
            path: Path | None = None

            def chunks(self):
                yield base64.b64decode(json.loads(Path(self.file).read_bytes())[self.key])

        def claims(path):
            return path.is_file() and path.read_bytes()[:2] == b'{"'

        def items(path, task=None):
            home = os.path.abspath(path)
            for key in json.loads(path.read_bytes()):
                yield Item(home, key, Value(home, key, path.stat().st_mtime_ns))

        def beside(home, name):
            return next((item.content for item in items(Path(home)) if item.name == name), None)
    """

    PRIORITY: int
    """Containers are asked in this order, lowest first; the first that claims a path opens it. `folder` is last."""

    def claims(self, path: Path) -> bool:
        """Whether the path is a container of this kind; by its content where that is possible.

        Args:
            path: it exists, or is an address (`is_address`).
        """

    def items(self, path: Path, task: Task | None = None) -> Iterator[Item | Remark]:
        """Everything in it. Texts that accompany other items may be among them or not.

        Items come in any order, except rows of a table (`facts.row`), which keep theirs. A folder that a program has
        made for itself (`names.is_passed_over`) may be one item whose name ends with "/", or all that is in it.

        Args:
            task: whose settings say how it is read; None where there are none, as for the folder of a training.

        Raises:
            BadInput: nothing can be done with it and the command must end. A damaged container should rather give one
                item without a name and with a `fault`, so that other sources are still read.
        """

    def beside(self, home: str, name: str) -> Content | None:
        """A file by its name within `home`; None where there is none. So the toolkit looks for sidecars, listings, and
        pictures that a listing names.

        Args:
            name: may begin with `../`, since the text of a folder may lie beside the folder.
        """


class Reader(Protocol):
    """A module of `readers/`: which items it reads, and how one becomes records."""

    PRIORITY: int
    """Readers are asked in this order, lowest first; the first that claims an item reads it."""

    def claims(self, item: Item, head: bytes, task: Task, folder: Path) -> bool:
        """Whether the item is of this kind, by its content and what came along with it. Decodes no pixels.

        Args:
            head: the first `HEAD` bytes; `formats.format_of` knows the usual formats.
            folder: the run's folder, for `item.file`.

        Raises:
            BadInput: as in `read`.
        """

    def read(self, item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
        """The item's pictures, each a record or a rejection (`item.reject`), in their order.

        A record needs `id` (SHA-256 of the picture's file), `path`, `source=item.source` and `position`. Whether a
        picture can be decoded is found out by `inspect`. The ids of rejections and the source of records are set by
        `collect`, whatever a reader fills in.

        Args:
            folder: the run's folder. Pictures that the reader makes go below its `collected/`, and their records'
                paths are relative to it.

        Raises:
            BadInput: the item can't be read; it becomes a row "unreadable" with the message.
        """
