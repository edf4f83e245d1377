"""Decodes a film's main video stream once, in order and by its time stamps; what is damaged is passed over and told."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from io import BufferedReader
from typing import Any, BinaryIO

import av
import av.filter
from av.codec.context import Flags
from av.stream import Disposition

from pipeline.films.colour import Tags

SLACK = 1.0
"""Seconds by which a film may end before the length that its header tells."""
MOST_PIXELS = 1 << 26
"""Of a frame: 8192 x 8192. A decoder may hold 16 of them, whatever is done with them."""
HELD_BYTES = 1 << 25
"""A decoder has a thread for each frame only below this size: every such thread holds one more of them."""
MOST_THREADS = 6
"""Of a decoder. More would decode faster than frames are looked at, and each holds a frame."""
MOST_BETWEEN = 1 << 30
"""Bytes that are read without a picture being found. Empty files of terabytes take no place on a disk."""
MOST_FAULTS = 64
"""Times that a file may fail to be read before anything else is found in it."""
MOST_RATE = 1000.0
"""Frames per second; files that claim more count clock ticks."""
USUAL_RATE = 25.0
"""Frames per second where a file has no time stamps and no rate."""
HEALING = 10.0
"""Seconds after which a picture is taken to have healed from damage before it. Until the next key frame, pictures are
built on broken ones; x264 and x265 set one every 250 frames, but there are encoders that never do."""
SETTLING = 25
"""Pictures from which on corrupt ones are only doubtful: decoders of HEVC mark all up to the next key frame as corrupt,
though most of what was wrong is painted over after a second, and all of it in a new shot."""
GAP = 0.1
"""Seconds without a picture where the file has some: these are lost, even if the decoder doesn't complain."""
TELLING = 0.001
"""Seconds of damage that are told; less is no picture."""
NO_FILM = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
"""Streams of pictures that are not the film: covers, stills, previews for the seek bar."""
NO_FILMS = ("gif", "apng", "ico", "image2", "tty", "webp_anim")
"""Formats of libav that are pictures or text; those for single pictures end with `_pipe` besides."""


class State(IntEnum):
    """How far a decoded picture can be trusted; higher is better."""

    BROKEN = 0
    """The decoder says that parts of it are missing or made up."""
    DOUBTFUL = 1
    """It may be built on pictures that are broken or lost."""
    GOOD = 2


@dataclass(frozen=True)
class Picture:
    """A decoded picture, deinterlaced where the film says that it is interlaced."""

    frame: av.VideoFrame
    time: float
    """Seconds from the film's start."""
    duration: float
    """Seconds that it is shown for; 0 where the film doesn't say."""
    state: State
    lost: bool
    """Whether pictures are lost between it and the one before."""
    tags: Tags
    """What the film says of its colours."""
    stretch: float
    """Width of a pixel for a height of 1."""

    @property
    def key(self) -> bool:
        """Whether it is built on no other picture."""
        return bool(self.frame.key_frame)


class Film:
    """A film that is being decoded. `fault` and `damage` are complete once `pictures` has ended.

    Raises:
        av.error.FFmpegError, ValueError: it can't be opened, it has no video stream, or its frames are too large.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._fed = _Fed(file)
        self._container = _open(self._fed)
        stream = main_stream(self._container)
        if stream is None:
            raise ValueError("it holds no pictures")
        self._stream = stream
        _prepare(stream)
        self._reading = ""
        self._clock = _Clock(stream)
        self._stretch = _Stretch(stream)
        self._damage = _Damage()
        self.fault = ""
        """Why it is not complete; empty if it is."""

    @property
    def end(self) -> float:
        """Seconds at which the last picture by now ends."""
        return self._clock.end

    @property
    def damage(self) -> list[tuple[float, float]]:
        """Stretches, as start and end in seconds, in which pictures are broken, doubtful or lost."""
        return self._damage.stretches

    def pictures(self) -> Iterator[Picture]:
        """All pictures in order. A fault of the file ends them early, and is found in `fault`."""
        with self._container:
            for frame, state, lost in _deinterlaced(self._judged()):
                time, duration = self._clock.read(frame)
                self._damage.meet(time, state, lost, self._clock.before)
                context = self._stream.codec_context
                tags = Tags(int(context.color_primaries), int(context.color_trc))
                yield Picture(frame, time, duration, state, lost, tags, self._stretch.now())
            self.fault = self._fed.fault or self._reading
            end, length = self._clock.end, self._length()
            if not self.fault and end + SLACK < length:
                self.fault = f"its pictures end at {end:.1f} s of {length:.1f} s"
            self._damage.finish(end, end if self.fault else max(end, length))

    def _length(self) -> float:
        """Seconds that the film should last; 0 if it doesn't say."""
        if self._stream.duration:
            return float(self._stream.duration * (self._stream.time_base or 0))
        alone = len(self._container.streams) == 1  # else the container's length may be that of its sound
        return (self._container.duration or 0) / av.time_base if alone else 0.0

    def _judged(self) -> Iterator[tuple[av.VideoFrame, State, bool]]:
        """Decoded frames, how far each can be trusted, and whether some are lost before it."""
        expected: deque[int] = deque()
        before: av.VideoFrame | None = None
        for packet in self._packets():
            if packet.pts is not None and packet.size:
                expected.append(packet.pts)
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self._damage.pending = True
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                self._fed.since = 0
                if _are_missing(expected, before, frame):
                    self._damage.pending = True
                before = frame
                yield (frame, *self._damage.judge(frame))

    def _packets(self) -> Iterator[Any]:
        """The stream's packets, and at last one that makes the decoder give what it holds."""
        faults = 0
        while faults < MOST_FAULTS:
            try:
                for packet in self._container.demux(self._stream):
                    faults = 0
                    yield packet
                return
            except (av.error.FFmpegError, OSError) as error:
                faults += 1
                self._damage.pending = True
                self._reading = error.strerror or type(error).__name__
        end = av.Packet()
        end.stream = self._stream
        yield end


def main_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream that is the film: libav's choice, else the largest, never a cover; None if there is none."""
    films = [one for one in container.streams.video if _is_film(one)]
    best = container.streams.best("video")
    chosen = [one for one in films if best is not None and one.index == best.index]
    return max(chosen or films, key=lambda one: one.width * one.height, default=None)


def is_film(head: bytes) -> bool:
    """Whether libav finds a film in these first bytes of a file, some megabytes or all: two pictures can be decoded.

    To libav a JPEG with a broken mark is a motion JPEG of one picture, or of two sizes with its thumbnail.
    """
    with suppress(Exception):  # libav, asked about a file of any kind
        return _has_pictures(_open(io.BytesIO(head)))
    return False


def _has_pictures(opened: av.container.InputContainer) -> bool:
    with opened as container:
        if container.format.name.endswith("_pipe") or container.format.name in NO_FILMS:
            return False
        stream = main_stream(container)
        if stream is None or stream.width * stream.height > MOST_PIXELS:
            return False
        whole = ((frame.width, frame.height) for frame in container.decode(stream) if not frame.is_corrupt)
        first = next(whole, None)
        return first is not None and next(whole, None) == first


def _is_film(stream: av.VideoStream) -> bool:
    return stream.codec_context is not None and not stream.disposition & NO_FILM


def _open(file: _Fed | BinaryIO) -> av.container.InputContainer:
    """The film in a file. Playlists and the like, which name other files and addresses, are not followed."""
    # As `options`, which go to every stream too, PyAV before 17.1 crashes on files whose streams show up late (.vob).
    only = {"protocol_whitelist": "none"}
    return av.open(file, "r", container_options=only, metadata_errors="replace", buffer_size=1 << 18)


def _prepare(stream: av.VideoStream) -> None:
    """
    Raises:
        ValueError: its frames are too large.
    """
    width, height = stream.width, stream.height
    if width * height > MOST_PIXELS:
        raise ValueError(f"its frames have {width} x {height} pixels, more than {MOST_PIXELS:,}")
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # for those whose size grows on the way
    stream.codec_context.flags |= Flags.output_corrupt  # else HEVC gives nothing up to the next key frame
    stream.codec_context.thread_count = min((os.cpu_count() or 1) + 1, MOST_THREADS)
    stream.thread_type = "SLICE" if width * height * 3 > HELD_BYTES else "AUTO"


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


# ---- time


class _Clock:
    """Times of pictures from their stamps: they begin at 0 and never go back, whatever the stamps do."""

    def __init__(self, stream: av.VideoStream) -> None:
        rate = float(stream.average_rate or 0)
        if not 0 < rate <= MOST_RATE:
            rate = float(stream.guessed_rate or 0)
        self.step = 1 / rate if 0 < rate <= MOST_RATE else 1 / USUAL_RATE
        self.start = None if stream.start_time is None else float(stream.start_time * (stream.time_base or 0))
        self.zero: float | None = None
        self.time = -1.0
        self.end = self.before = 0.0
        """Where the last picture ends, and where the one before it did."""

    def read(self, frame: av.VideoFrame) -> tuple[float, float]:
        """The next picture's time and duration in seconds."""
        stamp, time = frame.time, self.end
        if stamp is not None:
            if self.zero is None:
                late = self.start is not None and self.start + SLACK < stamp  # the first pictures are lost
                self.zero = self.start if late else stamp
            assert self.zero is not None
            time = stamp - self.zero
            if time < self.time - SLACK:  # stamps begin anew, as where recordings are joined
                self.zero, time = stamp - self.end, self.end
            elif time <= self.time:
                time = self.time + self.step / 100
        duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
        if self.time >= 0:
            self.step = time - self.time
        self.time, self.before, self.end = time, self.end, time + (duration or self.step)
        return time, duration


class _Stretch:
    """Shape of a film's pixels, which broadcasts change on the way."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._stream = stream
        self._first: Fraction | None = None

    def now(self) -> float:
        """Width of a pixel for a height of 1: what the container says, unless the pictures change theirs."""
        own = self._stream.codec_context.sample_aspect_ratio
        self._first = self._first or own
        told = self._stream.sample_aspect_ratio if own == self._first else own
        return float(told or 1)


# ---- damage


class _Damage:
    """Where a film is damaged, and how far each picture can be trusted."""

    def __init__(self) -> None:
        self.stretches: list[tuple[float, float]] = []
        self.pending = False
        """Whether something is lost before the next picture."""
        self._broken = False
        self._marked = 0  # pictures in a row that the decoder has marked as corrupt
        self._since: float | None = None

    def judge(self, frame: av.VideoFrame) -> tuple[State, bool]:
        """The state of the next picture to be decoded, and whether others are lost before it."""
        lost, self.pending = self.pending, False
        if lost or not self._broken:
            self._marked = 0
        self._broken = frame.is_corrupt or ((self._broken or lost) and not frame.key_frame)
        self._marked += frame.is_corrupt
        if frame.is_corrupt and self._marked <= SETTLING:
            return State.BROKEN, lost
        return State.DOUBTFUL if self._broken else State.GOOD, lost

    def meet(self, time: float, state: State, lost: bool, before: float) -> None:
        """Takes note of a picture.

        Args:
            before: where the picture before it ended, in seconds.
        """
        if self._since is None and (lost or state < State.GOOD):
            self._since = before
        if self._since is None:
            return
        if state == State.DOUBTFUL and time - self._since > HEALING:
            self._broken = False
        if state == State.GOOD or not self._broken:
            self._end(time)

    def finish(self, end: float, length: float) -> None:
        """Takes note of the film's end: that of its last picture, and where it should be, in seconds."""
        if self._since is None and self.pending:
            self._since = end
        self._end(length if self.pending else end)

    def _end(self, time: float) -> None:
        """Ends the stretch that is open, if any."""
        start, self._since = self._since, None
        if start is None or time - start < TELLING:
            return
        if self.stretches and start - self.stretches[-1][1] < GAP:
            start = self.stretches.pop()[0]
        self.stretches.append((start, time))


def _are_missing(expected: deque[int], before: av.VideoFrame | None, frame: av.VideoFrame) -> bool:
    """Whether the file has pictures between these two that the decoder has not given. Forgets those that are past.

    Args:
        expected: stamps of the pictures that are in the file, in any order.
    """
    stamp = frame.pts
    if stamp is None:
        expected.clear()
        return False
    past = [one for one in expected if one < stamp]
    late = [one for one in expected if one > stamp]
    expected.clear()
    expected.extend(late)
    if before is None or before.pts is None or not frame.time_base:
        return False
    shown = before.pts + before.duration
    return (stamp - shown) * frame.time_base > GAP and any(one >= shown for one in past)


# ---- interlaced films


def _deinterlaced(
    judged: Iterator[tuple[av.VideoFrame, State, bool]],
) -> Iterator[tuple[av.VideoFrame, State, bool]]:
    """The same, with those frames deinterlaced that are marked as interlaced: one per frame, by libav's bwdif."""
    filter_: _Deinterlacer | None = None
    held: deque[tuple[State, bool]] = deque()
    for frame, state, lost in judged:
        if filter_ is not None and not filter_.takes(frame):
            yield from ((done, *held.popleft()) for done in filter_.end())
            filter_ = None
        if filter_ is None and not frame.interlaced_frame:
            yield frame, state, lost
            continue
        filter_ = filter_ or _Deinterlacer(frame)
        held.append((state, lost))
        yield from ((done, *held.popleft()) for done in filter_.add(frame))
    if filter_ is not None:
        yield from ((done, *held.popleft()) for done in filter_.end())


class _Deinterlacer:
    """libav's bwdif for frames of one size and format; it gives each one after it has seen the next."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._kind = _kind(frame)
        self._graph = graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        """Whether a frame is of the same size and format as the first."""
        return self._kind == _kind(frame)

    def add(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        self._graph.vpush(frame)
        yield from self._done()

    def end(self) -> Iterator[av.VideoFrame]:
        """The frames that it still has."""
        self._graph.vpush(None)
        yield from self._done()

    def _done(self) -> Iterator[av.VideoFrame]:
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield self._graph.vpull()


def _kind(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
