"""The pictures that a run's stages rejected before any grid was made, some at a time, and taking one in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iclora.page.errors import Unknown
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.records import TAKEN_IN, Record, Rejected
from pipeline.review import taking
from pipeline.review.decisions import Taken

STAGES = ("collect", "inspect", "group")
"""Those that reject pictures; the later ones reject grids."""
ROWS = 60
"""Rows that are sent at once."""


@dataclass(frozen=True)
class _Row:
    """A rejected row, or a picture that was taken in and is not rejected any more."""

    stage: str
    of: Rejected
    path: str
    """Of its picture, absolute or relative to the run's folder; empty if it has none."""
    can_be_taken: bool


class RejectedPictures:
    """As they are now. To be used in the thread that opened the run."""

    def __init__(self, run: Run) -> None:
        self._run, self._words = run, taking.Words(run.folder)
        self._version: tuple[int, int] | None = None
        self._rows: dict[tuple[str, str], _Row] = {}
        self._hashes: dict[str, str] = {}
        """Of small pictures of shots, by path."""
        self._paths: tuple[object, object, Mapping[str, str]] = (None, None, {})
        """Of the pictures that are taken in, with the version of the run and the words that they were looked up for."""

    def page(self, reason: str, start: int) -> dict[str, Any]:
        """Some rows, and what else the view shows.

        Args:
            reason: only rows with this one; `taken in` for those that a person has taken in; empty for all.
            start: the first row's place among these, from 0.
        """
        rows, words = self._read(), self._words.now()
        taken = self._taken(words) if words else []
        found = taken if reason == TAKEN_IN else [row for row in rows.values() if reason in ("", row.of.reason)]
        return {
            "reasons": Counter(row.of.reason for row in rows.values()).most_common(),
            "all": len(rows),
            "taken": len(taken),
            "total": len(found),
            "start": start,
            "each": ROWS,
            "rows": [self._entry(row, words) for row in found[start : start + ROWS]],
            "command": self._run.command("dataset"),
        }

    def picture(self, stage: str, name: str) -> Path:
        """Where the picture of a row is.

        Raises:
            Unknown: there is no such row, or it has none.
        """
        row = self._row(stage, name)
        if not row.path:
            raise Unknown(f"there is no picture of {row.of.what}.")
        return self._run.folder / row.path

    def take(self, stage: str, name: str, who: str, reviewer: str = "", *, wanted: bool) -> dict[str, Any]:
        """Takes a picture in, or takes that back; gives its row as it is then.

        Raises:
            Unknown: there is no such row.
            BadInput: nobody can overrule this rejection, or the decision can't be written.
        """
        row = self._row(stage, name)
        picture = self._hash(row) if row.can_be_taken else ""
        if not picture:
            raise BadInput(f"{row.of.what} can't be taken in: {row.of.detail}")
        taken = Taken(picture, wanted, stage, row.of.reason, row.of.what)
        if wanted != (picture in self._words.now()):
            taking.say(self._run.folder, taken, who, reviewer)
        return self._entry(row, self._words.now())

    def _row(self, stage: str, name: str) -> _Row:
        row = self._read().get((stage, name))
        if row is None:
            row = next((one for one in self._taken(self._words.now()) if (one.stage, one.of.id) == (stage, name)), None)
        if row is None:
            raise Unknown(f"this run has rejected no picture '{name}'.")
        return row

    def _read(self) -> Mapping[tuple[str, str], _Row]:
        """All rejected rows by stage and id, read again when something in the run has changed."""
        store = self._run.store
        if (version := store.version()) != self._version:
            found = [(stage, row) for stage in STAGES for row in store.rejected(stage)]
            shown = {row.id for _, row in found if row.reason != "unreadable"}
            paths = {one.id: one.path for one in store.items(Record, "collected", wanted=shown)}

            def row_of(stage: str, row: Rejected) -> _Row:
                path = row.picture or paths.get(row.id, "")
                return _Row(stage, row, path, taking.can_be_taken(stage, row))

            self._rows = {(stage, row.id): row_of(stage, row) for stage, row in found}
            self._hashes.clear()
            self._version = version
        return self._rows

    def _taken(self, words: Mapping[str, Taken]) -> list[_Row]:
        """A row for each picture of the run that is taken in: the rejected one as long as there is one."""
        rejected = {self._hash(row): row for row in self._read().values() if row.can_be_taken}
        if self._paths[:2] != (self._version, words):
            self._paths = self._version, words, taking.paths(self._run.store, words.values())
        paths = self._paths[2]

        def row_of(taken: Taken) -> _Row:
            detail = f"{taken.what} was rejected as {taken.reason}."
            row = Rejected(taken.picture, taken.what, taken.reason, detail)
            return _Row(taken.stage, row, paths.get(taken.picture, ""), can_be_taken=True)

        return [
            rejected.get(picture) or row_of(taken)
            for picture, taken in words.items()
            if picture in rejected or picture in paths
        ]

    def _hash(self, row: _Row) -> str:
        """The hash of a picture that can be taken in; that of a shot is read from its small picture, and empty if this
        is gone."""
        if not row.of.picture:
            return row.of.id
        if row.path not in self._hashes:
            self._hashes[row.path] = taking.picture_of(row.of, self._run.folder)
        return self._hashes[row.path]

    def _entry(self, row: _Row, words: Mapping[str, Taken]) -> dict[str, Any]:
        return {
            "stage": row.stage,
            "id": row.of.id,
            "name": row.of.what.rpartition("/")[2],
            "reason": row.of.reason,
            "detail": row.of.detail.replace(row.of.what, row.of.what.rpartition("/")[2]),
            "picture": bool(row.path),
            "can": row.can_be_taken,
            "taken": row.can_be_taken and self._hash(row) in words,
            "waits": (row.stage, row.of.id) in self._rows,
        }
