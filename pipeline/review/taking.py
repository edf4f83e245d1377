"""Pictures that the stages rejected and a person takes in all the same.

The word is a line in the file of decisions, on the content of a picture: the SHA-256 of its file, which is its record's
id, or of the small picture that is kept of a rejected shot. The stages heed it when they run again: `collect` for
shots, `inspect` and `group` for pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path

from pipeline import files
from pipeline.records import TAKEN_IN, Record, Rejected
from pipeline.review import decisions
from pipeline.review.decisions import Change, Journal, Line, Taken, Unmatched
from pipeline.store import Store

REASONS: Mapping[str, Set[str]] = {
    "collect": {"blank", "text card"},
    "inspect": {"too small", "shape", "blank"},
    "group": {"near copy", "used before"},
}
"""By stage, the reasons for rejecting a picture that a person may overrule. The others can't be overruled: there is
nothing to see in a file that can't be read, and a picture that joined no group needs companions, not permission."""
NOT_THERE = "no picture of this run has this content"
CONFIG = "taken"
"""Under which name a stage's config has what is taken in."""


def can_be_taken(stage: str, row: Rejected) -> bool:
    """Whether a person may take in what a stage rejected."""
    return row.reason in REASONS.get(stage, ()) and (stage != "collect" or bool(row.picture))


def picture_of(row: Rejected, folder: Path) -> str:
    """The hash by which a rejected picture is found again; empty if the small picture of a shot is gone.

    Args:
        folder: the run's.
    """
    if not row.picture:
        return row.id
    try:
        return files.digest(folder / row.picture)
    except OSError:
        return ""


# ---- what people said


def say(folder: Path, taken: Taken, who: str, reviewer: str = "") -> None:
    """Writes down that a picture is taken in, or is not any more.

    Args:
        folder: the run's.
        who, reviewer: as in `decisions.Line`.

    Raises:
        BadInput: it can't be written.
    """
    rejected, wanted = f"rejected: {taken.reason}", f"{TAKEN_IN}: {taken.what}"
    change = Change("picture", rejected, wanted) if taken.wanted else Change("picture", wanted, rejected)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    line = Line(at, who, "", changed=(change,), decides=False, reviewer=reviewer, taken=taken)
    with decisions.deciding(folder):
        decisions.append(folder, [line])


class Words:
    """What people have said of pictures, kept up to date at the cost of what is new in the file."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder)
        self._last: dict[str, Taken] = {}

    def now(self) -> Mapping[str, Taken]:
        """By picture, those that are taken in.

        Raises:
            BadInput: the file can't be read.
        """
        anew, lines = self._journal.read_on()
        if anew:
            self._last.clear()
        for line in lines:
            if line.taken:
                self._last.pop(line.taken.picture, None)
                self._last[line.taken.picture] = line.taken
        return {picture: taken for picture, taken in self._last.items() if taken.wanted}


def paths(store: Store, taken: Collection[Taken]) -> dict[str, str]:
    """By `Taken.picture`, where the pictures are that the run has, a rejected shot only once it was taken in."""
    wanted = {one.picture for one in taken}
    found = {record.id: record.path for record in store.items(Record, "collected", wanted=wanted)}
    if any(one.stage == "collect" for one in taken):  # else there is no need to look at every record
        found |= {record.taken: record.path for record in store.items(Record, "collected") if record.taken in wanted}
    return found


def unmatched(store: Store) -> list[Unmatched]:
    """Decisions to take in pictures that the run doesn't have as it is now."""
    said = {line.taken: line for line in decisions.read(store.folder).taken() if line.taken}
    if not said:
        return []
    there = {*paths(store, said), *(picture_of(row, store.folder) for row in store.rejected("collect") if row.picture)}
    return [Unmatched(line, NOT_THERE) for taken, line in said.items() if taken.picture not in there]


# ---- for the stages


def among(records: Sequence[Record], folder: Path) -> frozenset[str]:
    """Ids of the records that are taken in.

    Args:
        folder: the run's.
    """
    taken = Words(folder).now()
    return frozenset(record.id for record in records if record.id in taken) if taken else frozenset()


def shots(folder: Path) -> tuple[str, ...]:
    """Hashes of the small pictures of shots that are taken in, sorted."""
    return tuple(sorted(picture for picture, taken in Words(folder).now().items() if taken.stage == "collect"))


def config(taken: Collection[str]) -> dict[str, list[str]]:
    """What a stage's config has of it; nothing where nothing is taken in, so that most runs are as they were."""
    return {CONFIG: sorted(taken)} if taken else {}


def is_taken(record: Record, taken: Set[str]) -> bool:
    """Whether a record is taken in: its file, or the shot that it was made of."""
    return record.id in taken or bool(record.taken)
