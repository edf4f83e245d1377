"""Films: PySceneDetect finds the cuts, and the sharpest frame of each shot is kept, all in one decoding pass."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode

from pipeline.records import Position, Record, Rejected, content_id
from pipeline.task import Task

PRIORITY = 0
SUFFIXES = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv"}

# Best mean F1 over three data sets in PySceneDetect's own sweep (benchmark/SWEEP_REPORT.md): 3.5, 0.6 s, window 3.
THRESHOLD, SHORTEST_SHOT, WINDOW = 3.5, 0.6, 3
DETECT_WIDTH = 256  # px; what PySceneDetect scales to by default
EDGE = 0.25
"""Seconds at either end of a shot from which no frame is taken: dissolves and compression make them poor."""


@dataclass(frozen=True)
class _Frame:
    number: int
    time: float
    sharpness: float
    pixels: np.ndarray


@dataclass(frozen=True)
class _Shot:
    number: int
    best: _Frame | None
    start: float


def claims(path: Path, task: Task) -> bool:
    return path.suffix.lower() in SUFFIXES


def read(path: Path, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record a shot, a JPEG of its sharpest frame; film, number and time of the shot are kept in its position."""
    home = Path("collected") / f"{path.stem}-{content_id('f', str(path))[2:8]}"
    (folder / home).mkdir(parents=True, exist_ok=True)
    found = 0
    try:
        for shot in _shots(path):
            what = f"{path} shot {shot.number}"
            if shot.best is None:
                detail = f"The shot at {shot.start:.2f} s of {path.name} is shorter than {2 * EDGE} s."
                yield Rejected(f"{path}#{shot.number}", what, "short shot", detail)
                continue
            found += 1
            picture = cv2.imencode(".jpg", shot.best.pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            file = home / f"shot-{shot.number:04d}.jpg"
            (folder / file).write_bytes(picture)
            yield Record(
                id=hashlib.sha256(picture).hexdigest(),
                path=str(file),
                source=str(path),
                position=Position(
                    folder=str(path.parent),
                    stem=f"{path.stem} shot {shot.number}",
                    film=path.name,
                    shot=shot.number,
                    time=round(shot.best.time, 3),
                ),
            )
    except (av.error.FFmpegError, OSError, IndexError) as error:
        reason = "cut off" if found else "unreadable"
        yield Rejected(f"{path}#end" if found else str(path), str(path), reason, f"{path} can't be decoded: {error}.")


def _shots(path: Path) -> Iterator[_Shot]:
    """Shots in order, each with its sharpest frame away from its ends.

    A frame takes part when it lies `EDGE` behind its shot's start and `EDGE` before the frame being read; the detector
    reports a cut at most `WINDOW` frames late, so no frame of the next shot can get in. Few frames are held at a time.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        stretch = float(stream.sample_aspect_ratio or 1)
        edge = max(WINDOW, round(EDGE * rate))
        detector = AdaptiveDetector(THRESHOLD, FrameTimecode(SHORTEST_SHOT, rate).frame_num, WINDOW)
        waiting: deque[_Frame] = deque()
        shot, first, start, best = 0, 0, 0.0, None
        number = -1
        for number, frame in enumerate(container.decode(stream)):
            image = _upright(frame, stretch)
            small = _shrink(image)
            time = float(frame.time if frame.time is not None else number / rate)
            cuts = detector.process_frame(FrameTimecode(number, rate), small)
            waiting.append(_Frame(number, time, _sharpness(small), image))
            for cut in cuts:
                yield _Shot(shot, best, start)
                shot, first, best = shot + 1, cut.frame_num, None
                start = next(held.time for held in waiting if held.number >= first)
            while waiting and waiting[0].number <= number - edge:
                candidate = waiting.popleft()
                if candidate.number >= first + edge and (best is None or candidate.sharpness > best.sharpness):
                    best = candidate
        if number >= 0:
            yield _Shot(shot, best, start)


def _upright(frame: av.VideoFrame, stretch: float) -> np.ndarray:
    """The frame as BGR with square pixels, turned as its display matrix says (telephones film lying on their side)."""
    image: np.ndarray = frame.to_ndarray(format="bgr24")
    if stretch != 1:
        image = cv2.resize(image, None, fx=stretch, fy=1, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4)) if frame.rotation else image


def _shrink(image: np.ndarray) -> np.ndarray:
    scale = DETECT_WIDTH / image.shape[1]
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of the grey image; higher is sharper, comparable within one film only."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())
