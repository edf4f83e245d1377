"""Films: PySceneDetect finds the cuts, and the sharpest frame of each shot is kept, all in one decoding pass."""

from __future__ import annotations

import hashlib
import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from scenedetect import AdaptiveDetector, FrameTimecode

from pipeline import files
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected, content_id
from pipeline.sources.base import Item
from pipeline.sources.formats import format_of
from pipeline.task import Task

PRIORITY = 0

# Best mean F1 over three data sets in PySceneDetect's own sweep (benchmark/SWEEP_REPORT.md): 3.5, 0.6 s, window 3.
THRESHOLD, SHORTEST_SHOT, WINDOW = 3.5, 0.6, 3
DETECT_WIDTH = 256  # px; what PySceneDetect scales to by default
MEASURE_WIDTH = 512  # px; a frame that is out of focus by a few pixels looks sharp when it is smaller
EDGE = 0.25
"""Seconds at either end of a shot from which no frame is taken: dissolves and compression make them poor."""
SLACK = 1.0
"""Seconds by which a film may end before the length that its header tells."""
MOST_RATE = 120.0
"""Frames per second; files that claim more (some count clock ticks) would have too many frames held."""
MOST_PIXELS = 1 << 26
"""Of a frame: 8192 x 8192. A decoder may hold 16 of them, whatever is done with them."""
HELD_BYTES = 1 << 25
"""Larger frames are held smaller, as up to 34 are; a frame of 4K at ten bits has 27 MB."""
MOST_STRETCH = 4
"""Pixels that are said to be wider or narrower than this are taken for square ones."""
MOST_BETWEEN = 1 << 30
"""Bytes that are read without a picture being found. Empty files of terabytes take no place on a disk."""


@dataclass(frozen=True)
class _Frame:
    number: int
    time: float
    sharpness: float
    turn: float
    """Degrees by which it has to be turned to the left."""
    picture: av.VideoFrame


@dataclass(frozen=True)
class Shot:
    number: int
    start: float
    time: float = 0.0
    picture: np.ndarray | None = None
    """The sharpest frame, BGR; None where the shot is all edge."""


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    return format_of(head).kind == "film"


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record per shot, a JPEG of its sharpest frame; its position has the film, number and time of the shot."""
    name, film = re.sub(r"[^A-Za-z0-9]+", "-", item.stem)[:40].strip("-"), item.name.rpartition("/")[2]
    home = Path("collected") / f"{name}-{content_id('f', item.source)[2:8]}".lstrip("-")
    (folder / home).mkdir(parents=True, exist_ok=True)
    found = 0
    path = folder / item.file(folder)
    try:
        for shot in shots(path, item.source):
            if shot.picture is None:
                detail = f"The shot at {shot.start:.2f} s of {film} is shorter than {2 * EDGE} s."
                yield item.reject("short shot", detail, f"{item.source} shot {shot.number}")
                continue
            found += 1
            picture = cv2.imencode(".jpg", shot.picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            file = home / f"shot-{shot.number:04d}.jpg"
            (folder / file).write_bytes(picture)
            yield Record(
                id=hashlib.sha256(picture).hexdigest(),
                path=str(file),
                source=item.source,
                position=item.position(
                    stem=f"{item.stem} shot {shot.number}", film=film, shot=shot.number, time=round(shot.time, 3)
                ),
                licence=item.facts.of("licence"),
                author=item.facts.of("author"),
                url=item.facts.of("url"),
                date=item.facts.of("date"),
            )
    except BadInput as error:
        yield item.reject("cut off" if found else "unreadable", str(error))


def shots(path: Path, source: str) -> Iterator[Shot]:
    """Shots in order, each with its sharpest frame; what came before a fault of the file is given first.

    Args:
        source: what a message calls the film.

    Raises:
        BadInput: the file can't be decoded to its end, or there is no picture in it.
    """
    cutter: _Cutter | None = None
    fault, length = "", 0.0
    try:
        with files.open_regular(path) as file, _open(fed := _Fed(file)) as container:
            for stream in container.streams.video[:1]:
                _prepare(stream)
                length = float((stream.duration or 0) * (stream.time_base or 0))
                stretch = float(stream.sample_aspect_ratio or 1)
                rate = min(float(stream.average_rate or stream.guessed_rate or 25), MOST_RATE)
                for frame in container.decode(stream):
                    fed.since = 0
                    cutter = cutter or _Cutter(rate, stretch, frame)
                    yield from cutter.take(frame)
            fault = fed.fault
    except (av.error.FFmpegError, OSError) as error:
        fault = error.strerror or type(error).__name__
    except Exception as error:  # as for pictures: whatever a decoder raises costs only this film
        fault = str(error) or type(error).__name__
    if cutter:
        yield cutter.last()
        if cutter.time + SLACK < length:
            fault = fault or f"its pictures end at {cutter.time:.1f} s of {length:.1f} s"
    elif not fault:
        fault = "it holds no pictures"
    if fault:
        raise BadInput(f"{source} is not a complete film: {fault}.")


class _Fed:
    """A film's file as libav reads it, which ends where nothing but emptiness follows."""

    def __init__(self, file: BufferedReader) -> None:
        self.file, self.since, self.fault = file, 0, ""
        """`since`: bytes read since the last picture."""

    def read(self, size: int) -> bytes:
        self.since += size
        if self.since > MOST_BETWEEN:
            self.fault = f"no picture is found in {MOST_BETWEEN:,} bytes"
            return b""
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _open(file: _Fed) -> av.container.InputContainer:
    """The film in a file. Playlists and the like, which name other files and addresses, are not followed."""
    return av.open(file, "r", options={"protocol_whitelist": "none"}, metadata_errors="replace", buffer_size=1 << 18)


def _prepare(stream: av.VideoStream) -> None:
    """
    Raises:
        ValueError: its frames are too large.
    """
    width, height = stream.width, stream.height
    if width * height > MOST_PIXELS:
        raise ValueError(f"its frames have {width} x {height} pixels, more than {MOST_PIXELS:,}")
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # for those whose size grows on the way
    # Every thread for a frame of its own holds one more of them.
    stream.thread_type = "SLICE" if width * height * 3 > HELD_BYTES else "AUTO"


class _Cutter:
    """Takes the frames of a film in order and gives its shots. Holds the last frames and the best so far, no more.

    The detector reports a cut exactly `WINDOW` frames late. So a frame takes part once it lies `EDGE` and `WINDOW`
    before the frame being read: no cut can come in between any more. It also lies `EDGE` behind its shot's start.
    """

    def __init__(self, rate: float, stretch: float, first: av.VideoFrame) -> None:
        self.rate = rate
        self.stretch = stretch if 1 / MOST_STRETCH <= stretch <= MOST_STRETCH else 1.0
        self.measuring, self.holding = VideoReformatter(), VideoReformatter()
        self.edge = max(1, round(EDGE * rate))
        self.detector = AdaptiveDetector(THRESHOLD, FrameTimecode(SHORTEST_SHOT, rate).frame_num, WINDOW)
        # Fixed by the first frame: the detector compares frames, and streams may change their size on the way.
        self.sizes = [_shrunk(first.width, first.height, width) for width in (MEASURE_WIDTH, DETECT_WIDTH)]
        self.waiting: deque[_Frame] = deque()
        self.number, self.time, self.zero = 0, 0.0, first.time or 0.0
        self.shot, self.first, self.start = 0, 0, 0.0
        self.best: _Frame | None = None

    def take(self, frame: av.VideoFrame) -> Iterator[Shot]:
        """The shot that this frame shows to be at its end, if it does."""
        (width, height), detect = self.sizes
        image = self.measuring.reformat(frame, width, height, "bgr24", interpolation="AREA").to_ndarray()
        small = cv2.resize(image, detect, interpolation=cv2.INTER_AREA)
        self.time = self.number / self.rate if frame.time is None else frame.time - self.zero
        sharpness = -1.0 if frame.is_corrupt else _sharpness(image)
        self.waiting.append(_Frame(self.number, self.time, sharpness, frame.rotation, self._held(frame)))
        for cut in self.detector.process_frame(FrameTimecode(self.number, self.rate), small):
            yield self._ended()
            self.shot, self.first, self.best = self.shot + 1, cut.frame_num, None
            self.start = next(held.time for held in self.waiting if held.number >= self.first)
        self._settle(self.number - WINDOW - self.edge)
        self.number += 1

    def _held(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame, smaller if it has more than HELD_BYTES."""
        if sum(plane.buffer_size for plane in frame.planes) <= HELD_BYTES:
            return frame
        scale = math.sqrt(HELD_BYTES / (3 * frame.width * frame.height))
        width, height = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
        return self.holding.reformat(frame, width, height, "bgr24", interpolation="AREA")

    def last(self) -> Shot:
        """The shot that the film ends with."""
        self._settle(self.number - 1 - self.edge)
        return self._ended()

    def _settle(self, until: int) -> None:
        """Frames up to that number will not be cut off any more: they take part, and only the best is held on."""
        while self.waiting and self.waiting[0].number <= until:
            frame = self.waiting.popleft()
            if frame.number >= self.first + self.edge and (not self.best or frame.sharpness > self.best.sharpness):
                self.best = frame

    def _ended(self) -> Shot:
        if self.best is None:
            return Shot(self.shot, self.start)
        return Shot(self.shot, self.start, self.best.time, _upright(self.best, self.stretch))


def _upright(frame: _Frame, stretch: float) -> np.ndarray:
    """The frame as BGR with square pixels, turned as its display matrix says (telephones film lying on their side)."""
    width, height = max(1, round(frame.picture.width * stretch)), frame.picture.height
    image: np.ndarray = frame.picture.reformat(width, height, "bgr24", interpolation="BICUBIC").to_ndarray()
    return np.ascontiguousarray(np.rot90(image, round(frame.turn / 90) % 4)) if frame.turn else image


def _shrunk(width: int, height: int, most: int) -> tuple[int, int]:
    """The size at most so wide; a smaller one stays."""
    return (width, height) if width <= most else (most, max(1, round(height * most / width)))


def _sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of the grey image; higher is sharper, comparable within one film only."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())
