"""What people decided on grids: `decisions.jsonl` in the run's folder, append-only, and found again by content.

    {"at": "2026-11-27T03:10:00+00:00", "who": "page", "reviewer": "Ann", "grid": "g-bcdfghjklm",
     "panels": ["<id of the first record>", ...], "picture": "<hash of the grid's pixels>",
     "decided": {"decision": "drop", "note": "too dark"}, "says": {"decision": "drop", "note": "too dark"},
     "changed": [{"field": "decision", "was": "keep", "becomes": "drop"}]}

Every line (the one above is broken) holds all that is decided on one grid from then on, `null` if everything is taken
back. So the last line on a grid counts, by its place in the file and not by its time, and files of two runs can be
joined. A record's id is the hash of its picture's file, so a decision is found again in whatever run has the same
panels or the same picture; one that fits no grid stays in the file and waits. A line without `decided` only says what
was changed; one with `taken` is on a picture that the stages had rejected (`pipeline.review.taking`).

Beside what counts, each reviewer has a word of their own on a grid: that of their last line with `says`. Lines of
versions that knew no names have no `reviewer`; what they decide is the word of the reviewer without a name.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from pipeline import files
from pipeline.errors import BadInput
from pipeline.records import TAKEN_IN, Grid, Record, Review, Word
from pipeline.review import cropping, reviewers, ties
from pipeline.review.reviewers import Heard
from pipeline.store import locked
from pipeline.task import Task
from pipeline.text import corrections, grammar

FILE = "decisions.jsonl"
TAIL = 4096
"""Bytes before the end of what was read that must stand there still for the rest to count as new lines."""
PATIENCE = 5.0
"""Seconds to wait for another process that is just deciding something."""


@dataclass(frozen=True)
class Change:
    """One field of a grid, as people read it."""

    field: str
    was: str
    becomes: str


@dataclass(frozen=True)
class Taken:
    """Whether a person takes in a picture that was rejected before any grid was made."""

    picture: str
    """SHA-256 of the picture's file, which is its record's id; of a shot, that of the small picture of it."""
    wanted: bool
    """False takes it back: the stages judge the picture by themselves again."""
    stage: str
    """That had rejected it."""
    reason: str
    what: str
    """As in `records.Rejected`."""


@dataclass(frozen=True)
class Line:
    """One line of the file."""

    at: str
    """When, in UTC as ISO 8601; clocks may be wrong, so nothing depends on it."""
    who: str
    """`page`, `python`, or the path of a table."""
    grid: str
    panels: tuple[str, ...] = ()
    """Ids of the records that the grid was composed of; empty if they are unknown."""
    picture: str = ""
    """`Grid.pixels`."""
    review: Review | None = None
    """Everything that is decided; None if all of it was taken back."""
    changed: tuple[Change, ...] = ()
    decides: bool = True
    """Whether `review` counts; a line that doesn't decide only says what was changed."""
    reviewer: str | None = None
    """Name of who decided, empty for the reviewer without one; None in lines of versions that knew no names."""
    says: Word | None = None
    """The reviewer's own word from here on; None if it stays as it was."""
    taken: Taken | None = None
    """What it says of a picture; `grid` is empty then."""

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for lines on the same grid."""
        return self.panels or (self.grid,)

    @property
    def word(self) -> Word | None:
        """As `says`, also of lines that knew no names."""
        if self.reviewer is not None or not self.decides:
            return self.says
        return Word("", self.review.decision, self.review.note) if self.review else Word("")


@dataclass(frozen=True)
class Log:
    """What is in the file."""

    lines: tuple[Line, ...] = ()
    unreadable: tuple[int, ...] = ()
    """Numbers, from 1, of the lines that can't be read; they stay in the file."""

    def latest(self) -> list[Line]:
        """The line that counts of every grid that has a decision, in the order of the file."""
        return [line for line in self._last(lambda line: line.key if line.decides else None) if line.review]

    def taken(self) -> list[Line]:
        """The line that counts of every picture that is taken in, in the order of the file."""
        last = self._last(lambda line: line.taken.picture if line.taken else None)
        return [line for line in last if line.taken and line.taken.wanted]

    def _last(self, key_of: Callable[[Line], object]) -> list[Line]:
        """The last line of every key but None, in the order of the file."""
        last: dict[object, Line] = {}
        for line in self.lines:
            if (key := key_of(line)) is not None:
                last.pop(key, None)
                last[key] = line
        return list(last.values())

    def heard(self) -> dict[tuple[str, ...], Heard]:
        """By key, what each reviewer says."""
        found: dict[tuple[str, ...], Heard] = {}
        for place, line in enumerate(self.lines):
            if word := line.word:
                found[line.key] = reviewers.hear(found.get(line.key, {}), word, place)
        return found

    def events(self) -> list[dict[str, str]]:
        """Every change of a field: at, grid, who, reviewer, field, was, becomes."""
        return [
            {"at": line.at, "grid": line.grid, "who": line.who, "reviewer": line.reviewer or "", **asdict(change)}
            for line in self.lines
            for change in line.changed
        ]


# ---- the file


def now() -> str:
    """The time as lines have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def line_on(  # noqa: PLR0913, PLR0917  (one argument per field)
    grid: Grid,
    review: Review,
    fields: Sequence[tuple[str, str, str]],
    who: str,
    reviewer: str | None = None,
    says: Word | None = None,
    at: str | None = None,
) -> Line:
    """A line of now.

    Args:
        grid: as it was composed.
        fields: name, old and new value of every field that changes.
        reviewer, says: as in `Line`.
        at: one time for all lines of an act, by which undo knows them.
    """
    return Line(
        at=at or now(),
        who=who,
        grid=grid.id,
        panels=grid.group.origin,
        picture=grid.pixels,
        review=None if review == Review(grid.id, None) else replace(review, grid=grid.id),
        changed=tuple(Change(*field) for field in fields),
        reviewer=reviewer,
        says=says,
    )


@contextmanager
def deciding(folder: Path) -> Iterator[None]:
    """Nobody else decides anything between what is read and what is written in it.

    Raises:
        BadInput: another process has been deciding for a long time.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / "deciding.lock", PATIENCE))
        except sqlite3.Error as error:
            raise BadInput(
                f"another process is writing decisions in {folder} ({error}), so yours was not written; try again."
            ) from error
        yield


def append(folder: Path, lines: Sequence[Line]) -> None:
    """Adds lines to the file; when this returns they are on the disk. To be called within `deciding`.

    Raises:
        BadInput: they can't be written, and none of them is.
    """
    append_written(folder, b"".join(map(written, lines)))


def append_written(folder: Path, content: bytes) -> None:
    """As `append`, of lines as they are `written`, one after the other."""
    if not content:
        return
    file = folder / FILE
    try:
        with file.open("a+b", buffering=0) as opened:
            size = opened.seek(0, os.SEEK_END)
            if size and not _ends_a_line(opened):  # cut off; its rest must not take our line along
                content = b"\n" + content
            try:
                while content:
                    content = content[opened.write(content) :]
                os.fsync(opened.fileno())
            except OSError:
                opened.truncate(size)
                raise
        if not size:
            files.sync_names(folder)
    except OSError as error:
        raise BadInput(
            f"{file} can't be written ({error.strerror or error}), so nothing was decided; make room and decide again."
        ) from error


def _ends_a_line(opened: io.FileIO) -> bool:
    opened.seek(-1, os.SEEK_END)
    return opened.read(1) == b"\n"


def read(folder: Path) -> Log:
    """All lines of the file, none if there is no file.

    Raises:
        BadInput: the file can't be opened.
    """
    return parse(_content(folder / FILE, 0))


def _content(file: Path, start: int) -> bytes:
    try:
        with files.open_regular(file) as opened:
            opened.seek(start)
            return opened.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BadInput(f"{file} can't be read: {error.strerror or error}; it holds what you decided.") from error


class Journal:
    """The file as it grows: what has been read before is not read again."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._state = (0, 0, 0)
        """Of the file when it was last read: inode, size, time of the last change."""
        self._end, self._tail = 0, b""
        """Where the last whole line that was read ends, and what stands before that."""

    def read_on(self) -> tuple[bool, Sequence[Line]]:
        """Whether anything but new lines at the end has changed, and the new lines: all there are, if so.

        Raises:
            BadInput: the file can't be opened.
        """
        state = self._now()
        if state == self._state:
            return False, ()
        start = self._end - len(self._tail) if state[0] == self._state[0] and state[1] > self._end else 0
        content = _content(self._file, start)
        known = len(self._tail) if self._tail and content.startswith(self._tail) else 0
        if start and not known:
            content, start = _content(self._file, 0), 0
        whole = content.rfind(b"\n") + 1
        self._state = state
        self._end, self._tail = start + whole, content[max(0, whole - TAIL) : whole]
        if content[whole:].strip():  # a line without its end, of which more may come: next time all is read
            self._tail = b""
        return not known, parse(content[known:]).lines

    def skip(self, content: bytes) -> bool:
        """Takes what has just been appended as read, if all that stands before it has been read; gives whether it has.

        Args:
            content: whole lines.
        """
        now = self._now()
        if now[0] != self._state[0] or now[1] != self._end + len(content):
            return False
        self._state = now
        self._end, self._tail = now[1], (self._tail + content)[-TAIL:]
        return True

    def _now(self) -> tuple[int, int, int]:
        try:
            found = self._file.stat()
        except OSError:  # said when it is opened
            return (0, 0, 0)
        return found.st_ino, found.st_size, found.st_mtime_ns


def parse(content: bytes) -> Log:
    """The lines of a file's content, or of its end from the start of a line on."""
    lines, unreadable = [], []
    for number, written in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not written.strip():
            continue
        try:
            lines.append(_line(json.loads(written)))
        except (ValueError, TypeError, RecursionError):
            unreadable.append(number)
    return Log(tuple(lines), tuple(unreadable))


_LINE = TypeAdapter(Line)


def written(line: Line) -> bytes:
    """A line as it stands in the file, with its end."""
    review = asdict(line.review) if line.review else {}
    said: dict[str, Any] = {name: value for name, value in review.items() if value and name != "grid"}
    if "corrections" in said:  # that there are no ties or no strangers is said, too
        said["corrections"] = {
            name: value
            for name, value in said["corrections"].items()
            if value or (value is not None and name != "shown")
        }
    content: dict[str, Any] = {"at": line.at, "who": line.who}
    content |= {"reviewer": line.reviewer} if line.reviewer is not None else {}
    content |= {"grid": line.grid, "panels": line.panels, "picture": line.picture}
    content |= {"decided": said if line.review else None} if line.decides else {}
    content |= {"taken": asdict(line.taken)} if line.taken else {}
    content |= {"says": _shortened(line.says)} if line.says else {}
    content |= {"changed": [asdict(change) for change in line.changed]} if line.changed else {}
    # Half a character that a browser sent is written as an escape, which JSON reads back as it was.
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _shortened(word: Word) -> dict[str, str]:
    """A word without what it leaves open, and without the reviewer, whom the line names."""
    return {name: value for name, value in asdict(word).items() if value and name != "reviewer"}


def _line(content: Any) -> Line:
    """
    Raises:
        ValueError: it is not one of our lines.
    """
    if not isinstance(content, dict):
        raise ValueError("no object")
    if (says := content.get("says")) is not None:
        content["says"] = {**says, "reviewer": content.get("reviewer") or ""}
    said = content.pop("decided", ...)
    if said is not None and said is not ... and not isinstance(said, dict):
        raise ValueError("no decision")
    review = {"decision": None, **said, "grid": content.get("grid")} if said and said is not ... else None
    line: Line = _LINE.validate_python({**content, "review": review, "decides": said is not ...})
    return line


# ---- finding decisions again


@dataclass(frozen=True)
class Unmatched:
    """A decision that fits no grid of the run as it is now, or no picture."""

    line: Line
    why: str


@dataclass(frozen=True)
class Matched:
    """What people decided, as far as it fits a run."""

    reviews: Mapping[str, Review]
    """By grid."""
    records: Mapping[str, Record]
    """By id, the pictures that a person may have chosen; empty if nobody has chosen any."""
    unmatched: tuple[Unmatched, ...] = ()
    words: Mapping[str, tuple[Word, ...]] = field(default_factory=dict)
    """By grid, what each reviewer says, the latest last."""


def keys_of(grid: Grid) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys of lines that are on a grid, as it was composed."""
    return grid.group.origin, (grid.id,)


def match(
    lines: Sequence[Line],
    grids: Sequence[Grid],
    records: Mapping[str, Record],
    task: Task,
    heard: Mapping[tuple[str, ...], Heard] = MappingProxyType({}),
) -> Matched:
    """Finds the grids that were decided on, by their panels, else by their picture.

    Args:
        lines: `Log.latest`.
        grids: as they were composed.
        records: by id, those of the run; needed only if somebody has exchanged panels.
        heard: `Log.heard`.
    """
    known = {key: grid for grid in grids for key in keys_of(grid)}
    found: dict[str, Review] = {}
    said: dict[str, list[Heard]] = {}
    unmatched: list[Unmatched] = []
    left: list[Line] = []

    def settle(line: Line, grid: Grid) -> None:
        """Gives a grid its decision. Of two the later counts, which comes first."""
        assert line.review is not None
        panels, crops = line.review.panels, line.review.crops
        if grid.pixels and grid.pixels == line.picture:  # the same panels, perhaps from files with other bytes
            now = dict(zip(line.panels, grid.group.origin, strict=False))
            panels = tuple(now.get(panel, panel) for panel in panels)
            crops = tuple(replace(crop, record=now.get(crop.record, crop.record)) for crop in crops)
        panels = () if panels == grid.group.origin else panels
        review = line.review
        if (review.grid, review.panels, review.crops) != (grid.id, panels, crops):
            review = replace(review, grid=grid.id, panels=panels, crops=crops)
        if why := _misfit(review, records, task):
            unmatched.append(Unmatched(line, why))
            return
        said.setdefault(grid.id, []).append(heard.get(line.key, {}))
        found.setdefault(grid.id, review)

    for line in reversed(lines):
        if grid := known.get(line.key):
            settle(line, grid)
        else:
            left.append(line)
    alike: dict[object, Grid] = {grid.pixels: grid for grid in grids if grid.pixels and grid.id not in found}
    alike |= {grid.group.origin: grid for grid in grids if grid.id not in found}
    for line in left:
        # A picture with other bytes; or the panels that a person has put together before, by structure this time.
        if grid := alike.get(line.picture) or alike.get(line.review.panels if line.review else ()):
            settle(line, grid)
        else:
            unmatched.append(Unmatched(line, "no grid of this run has these panels"))
    order = {line.key: place for place, line in enumerate(lines)}
    unmatched.sort(key=lambda one: order[one.line.key])
    spoken = {grid: reviewers.together(some) for grid, some in said.items()}
    return Matched(found, records, tuple(unmatched), {grid: some for grid, some in spoken.items() if some})


def _misfit(review: Review, records: Mapping[str, Record], task: Task) -> str:
    """Why a decision can't be used on a grid that it was made on; empty if it can."""
    if len(review.panels) not in (0, len(task.markers)):
        return f"it has {len(review.panels)} panels, the task {len(task.markers)}"
    if review.corrections and not corrections.fit(review.corrections, len(task.markers)):
        return f"it speaks of panels that the task, which has {len(task.markers)}, lacks"
    if gone := [number for number, panel in enumerate(review.panels, start=1) if panel not in records]:
        return f"the picture that was put into panel {', '.join(map(str, gone))} is not in this run"
    if review.text and review.decision == "keep" and not grammar.is_joint(review.text, task):
        return f"its caption lacks one of {' '.join(task.markers)}"
    return ""


def row_of(line: Line) -> dict[str, Any]:
    """A decision as plain values: grid, decision, note, caption, panels, crops, corrections, who, reviewer, at.

    Of a picture that is taken in, the picture stands for the panels.
    """
    review = line.review or Review(line.grid, None)
    panels = review.panels or line.panels
    return {
        "grid": line.grid,
        "decision": TAKEN_IN if line.taken else review.decision or "",
        "note": review.note,
        "caption": review.text,
        "panels": line.taken.picture if line.taken else " ".join(panels),
        "crops": cropping.told(review.crops, panels),
        "corrections": ties.told(review.corrections),
        "who": line.who,
        "reviewer": line.reviewer or "",
        "at": line.at,
    }
