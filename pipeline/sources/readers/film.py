"""Films: one record per shot, a JPEG of a good frame of it (`pipeline.films`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from pipeline import files
from pipeline.films import decoding, hygiene, stills
from pipeline.films.choice import Shot
from pipeline.films.decoding import State
from pipeline.films.hygiene import Cleaner, Pick, Unfit
from pipeline.films.lettering import Overlay
from pipeline.films.shots import FilmReader
from pipeline.records import TAKEN_IN, Record, Rejected, content_id
from pipeline.sources.base import Item
from pipeline.sources.formats import UNKNOWN, format_of
from pipeline.task import Task

PRIORITY = 0
PROBED = 1 << 23
"""Bytes from the start of a file of an unknown format that libav is asked about: two raw frames of 1080p."""
QUALITY = 95
"""Of JPEGs."""
SMALL = 384
"""Width in pixels of the pictures of rejected shots, which only the contact sheet shows."""
MOST_TOLD = 5
"""Damaged stretches of a film that a row names; the rest are counted."""


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    found = format_of(head)
    return found.kind == "film" or (found is UNKNOWN and bool(head) and decoding.is_film(_start(item)))


def _start(item: Item) -> bytes:
    found = bytearray()
    for chunk in item.chunks():
        found += chunk
        if len(found) >= PROBED:
            break
    return bytes(found[:PROBED])


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record per shot; its position has the film, number and time of the shot."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", item.stem)[:40].strip("-")
    home = Path("collected") / f"{name}-{content_id('f', item.source)[2:8]}".lstrip("-")
    (folder / home).mkdir(parents=True, exist_ok=True)
    cleaner = Cleaner(task.shots)
    film = FilmReader(folder / item.file(folder), task.shots.detector, cleaner.watch)
    shots: list[_Held | Rejected] = []
    try:
        for shot in film.shots():
            chosen = hygiene.pick(shot, task.shots)
            small = _small(shot) if isinstance(chosen, Unfit) else b""
            note = taken = ""
            if isinstance(chosen, Unfit) and (known := hashlib.sha256(small).hexdigest()) in item.taken:
                note, taken, chosen = f"{TAKEN_IN} though {chosen.reason}", known, hygiene.best(shot)
            if isinstance(chosen, Unfit):
                detail = f"The shot at {shot.start:.2f} s of {_name(item)} {chosen.detail}."
                cleaner.leave_out(shot.number)
                picture = _kept(small, folder, home / f"rejected-{shot.number:04d}.jpg")
                shots.append(item.reject(chosen.reason, detail, f"{item.source} shot {shot.number}", picture))
            else:
                shots.append(_hold(shot, chosen, (note, taken), folder / home / f"shot-{shot.number:04d}.still"))
        for held in shots:
            yield held if isinstance(held, Rejected) else _record(item, held, cleaner, folder)
    finally:
        for held in shots:
            if isinstance(held, _Held):
                held.file.unlink(missing_ok=True)
    yield from _told(item, film, found=any(isinstance(held, _Held) for held in shots))


@dataclass(frozen=True)
class _Held:
    """What was picked of a shot, until the film has ended; its picture lies in a file meanwhile."""

    shot: int
    time: float
    overlays: tuple[Overlay, ...]
    state: State
    note: str
    """Why it is used although it is unfit; empty if it is fit."""
    taken: str
    """As in `Record`."""
    file: Path


def _hold(shot: Shot, chosen: Pick, overruled: tuple[str, str], file: Path) -> _Held:
    """
    Args:
        overruled: `_Held.note` and `_Held.taken`.
    """
    file.write_bytes(stills.packed(chosen.frame.picture()))
    return _Held(shot.number, chosen.frame.time, chosen.overlays, chosen.frame.state, *overruled, file)


def _small(shot: Shot) -> bytes:
    """A small picture of a shot that is not used, as a JPEG; empty if no frame was kept."""
    if not shot.candidates:
        return b""
    return cv2.imencode(".jpg", shot.candidates[len(shot.candidates) // 2].picture(SMALL))[1].tobytes()


def _kept(picture: bytes, folder: Path, path: Path) -> str:
    """Keeps a picture, if there is one, and gives its path in the run's folder."""
    if not picture:
        return ""
    files.anew(folder / path).write_bytes(picture)
    return path.as_posix()


def _record(item: Item, held: _Held, cleaner: Cleaner, folder: Path) -> Record:
    """The record of a shot, whose picture gets its place in the run's folder."""
    whole = stills.unpacked(held.file.read_bytes())
    image, notes = cleaner.finish(held.shot, whole, held.overlays, held.state)
    notes = (held.note, *notes) if held.note else notes
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    file = held.file.with_suffix(".jpg")
    files.anew(file).write_bytes(content)
    position = item.position(
        stem=f"{item.stem} shot {held.shot}", film=_name(item), shot=held.shot, time=round(held.time, 3)
    )
    found = item.record(hashlib.sha256(content).hexdigest(), file.relative_to(folder), position, notes=notes)
    return replace(found, taken=held.taken)


def _told(item: Item, film: FilmReader, *, found: bool) -> Iterator[Rejected]:
    """Rows on what is wrong with the film itself."""
    if film.damage:
        places = [f"from {start:.2f} to {end:.2f} s" for start, end in film.damage[:MOST_TOLD]]
        if len(film.damage) > MOST_TOLD:
            places.append(f"in {len(film.damage) - MOST_TOLD} more places")
        detail = f"{item.source} is damaged {', '.join(places)}; what lies there is used only if a shot has no more."
        yield item.reject("damaged", detail)
    if film.fault:
        yield item.reject("cut off" if found else "unreadable", f"{item.source} is not a complete film: {film.fault}.")


def _name(item: Item) -> str:
    return item.name.rpartition("/")[2]
