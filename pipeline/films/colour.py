"""Frames of any pixel format as pictures in sRGB: HDR and wide gamuts are brought down, alpha is laid on white."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipeline.pixels import profiles
from pipeline.pixels.light import HLG, PQ, WHITE, curve, from_pq, of_screen, to_pq

Picture = NDArray[np.uint8]
"""Height x width x 3, BGR."""
Floats = NDArray[np.float32]

MOST_STRETCH = 4
"""Pixels that are said to be wider or narrower than this are taken for square ones."""
HD = (1280, 576)
"""From this width, or above this height, a film that doesn't say its matrix has that of BT.709, as players assume."""
ROWS = 256
"""Rows that are converted at once: as floats, a whole frame of 8K would take a gigabyte."""
PEAK_WIDTH = 512
"""Pixels; at this width the brightest spot of a frame is looked for, so that single pixels don't count."""

# Code points of ITU-T H.273, which all containers and codecs use.
UNSPECIFIED, LINEAR = 2, 8
CONVERTED = (9, 11, 12)
"""The gamuts that are converted: BT.2020, DCI-P3, Display P3. Those of BT.601 hardly differ from sRGB's, and are left
alone, as players do."""


class Tags(NamedTuple):
    """What a film says of its colours, as code points."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    @property
    def differ(self) -> bool:
        """Whether they are not those of sRGB."""
        return self.is_hdr or self.transfer == LINEAR or self.primaries in CONVERTED


class Orientation(NamedTuple):
    """How a frame lies: telephones film lying on their side, and some mirrored."""

    mirrored: bool = False
    """Whether left and right are to be exchanged, before it is turned."""
    turns: int = 0
    """Quarter turns to the right that make it upright."""

    def apply(self, image: Picture) -> Picture:
        """The picture upright."""
        image = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(np.rot90(image, -self.turns))


def orientation(frame: av.VideoFrame) -> Orientation:
    """What a frame's display matrix says."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # data of a kind that PyAV doesn't know are among them
        return Orientation(turns=round(-frame.rotation / 90) % 4)
    if data is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(cast(Any, data)), np.int32)[:5].astype(float)  # x' = ax + cy, y' = bx + dy
    if mirrored := a * d < b * c:
        a, b = -a, -b
    return Orientation(mirrored, round(np.degrees(np.arctan2(b, a)) / 90) % 4)


class Scaler:
    """Changes size and pixel format of frames; fastest for frames that are all alike."""

    def __init__(self, interpolation: Interpolation = Interpolation.AREA) -> None:
        self._interpolation, self._reformatter = interpolation, VideoReformatter()

    def scale(self, frame: av.VideoFrame, width: int, height: int, name: str) -> av.VideoFrame:
        untold = frame.colorspace == UNSPECIFIED and not frame.format.is_rgb
        large = frame.width >= HD[0] or frame.height > HD[1]
        matrix = Colorspace.ITU709 if untold and large else None
        return self._reformatter.reformat(
            frame, width, height, name, src_colorspace=matrix, interpolation=self._interpolation, threads=1
        )  # in this thread: the decoder's have all cores, and handing over takes longer than is won


def picture(frame: av.VideoFrame, tags: Tags, size: tuple[int, int], scaler: Scaler | None = None) -> Picture:
    """A frame as a BGR picture in sRGB, of this width and height; as it lies."""
    (width, height), scaler = size, scaler or Scaler()
    if not tags.differ:
        name = "bgra" if has_alpha(frame.format.name) else "bgr24"
        shown = np.asarray(scaler.scale(frame, width, height, name).to_ndarray(), np.uint8)
        return _on_white(shown) if name == "bgra" else shown
    name = "rgba64le" if has_alpha(frame.format.name) else "rgb48le"
    codes = np.asarray(scaler.scale(frame, width, height, name).to_ndarray(), np.uint16)
    peak = _peak(frame, tags, name) if tags.is_hdr else 1.0
    made = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS):
        rows = codes[top : top + ROWS]
        shades = _shades(_within(_linear(rows[..., :3], tags), peak))
        if rows.shape[2] > 3:  # noqa: PLR2004
            alpha = rows[..., 3:].astype(np.float32) / 65535
            shades = np.rint(shades * alpha + 255 * (1 - alpha)).astype(np.uint8)
        made[top : top + ROWS] = shades[..., ::-1]
    return made


def stretched(size: tuple[int, int], stretch: float) -> tuple[int, int]:
    """Width and height of a frame with square pixels.

    Args:
        stretch: width of a pixel for a height of 1.
    """
    sound = 1 / MOST_STRETCH <= stretch <= MOST_STRETCH
    return (max(1, round(size[0] * stretch)), size[1]) if sound else size


def smaller(frame: av.VideoFrame, most: int) -> av.VideoFrame:
    """The frame with at most so many bytes, in its own pixel format."""
    taken = sum(plane.buffer_size for plane in frame.planes)
    if taken <= most:
        return frame
    scale = (most / taken) ** 0.5
    width, height = max(2, int(frame.width * scale) // 2 * 2), max(2, int(frame.height * scale) // 2 * 2)
    try:
        return Scaler().scale(frame, width, height, frame.format.name)
    except (av.error.FFmpegError, ValueError):  # libav can't write every format that it reads
        return Scaler().scale(frame, width, height, "bgra" if has_alpha(frame.format.name) else "bgr24")


@cache
def has_alpha(name: str) -> bool:
    """Whether a pixel format, by its name, has an alpha channel or a palette that may have one."""
    found = av.VideoFormat(name)
    return found.has_palette or any(part.is_alpha for part in found.components)


def _on_white(image: NDArray[np.uint8]) -> Picture:
    alpha = image[..., 3:].astype(np.uint16)
    laid = (image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.ascontiguousarray(laid.astype(np.uint8))


# ---- light


def _peak(frame: av.VideoFrame, tags: Tags, name: str) -> float:
    """Light of the frame's brightest spot, at least 1."""
    few = min(1.0, PEAK_WIDTH / frame.width)
    width, height = max(1, round(frame.width * few)), max(1, round(frame.height * few))
    codes = np.asarray(Scaler().scale(frame, width, height, name).to_ndarray(), np.uint16)
    return max(1.0, float(_linear(codes[..., :3], tags).max()))


def _linear(codes: NDArray[np.uint16], tags: Tags) -> Floats:
    """Light in sRGB's primaries, of which 1 is diffuse white.

    Args:
        codes: height x width x 3, RGB, full range, in the frame's own curve and primaries.
    """
    light = _curve(tags.transfer)[codes]
    if tags.transfer == HLG:
        light = of_screen(light)
    if tags.primaries in CONVERTED:
        light = light @ _to_srgb(tags.primaries).T
    return np.asarray(light, np.float32)


@cache
def _curve(transfer: int) -> Floats:
    """For each code of 16 bits the light that it stands for (ITU-R BT.2100; IEC 61966-2-1)."""
    if transfer in (PQ, HLG):
        return curve(transfer, 1 << 16)
    code = np.linspace(0, 1, 1 << 16)
    srgb = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
    return (code if transfer == LINEAR else srgb).astype(np.float32)


def _within(light: Floats, peak: float) -> Floats:
    """Light within 0..1: highlights are rolled off (BT.2390's curve, hue kept), colours outside sRGB made paler."""
    if peak > 1:
        most = light.max(axis=2)
        steps, mapped = _roll_off(round(float(np.log2(peak)), 2))
        light = light * (np.interp(most, steps, mapped) / np.maximum(most, 1e-6))[..., None].astype(np.float32)
    least = light.min(axis=2, keepdims=True)
    if least.min() < 0:
        luminance = np.maximum(light @ np.array([[0.2126], [0.7152], [0.0722]], np.float32), 0)
        share = np.where(least < 0, luminance / np.maximum(luminance - least, 1e-6), 1)
        light = luminance + share * (light - luminance)
    return np.asarray(light, np.float32)


@cache
def _roll_off(stops: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Light as it is and as it is shown, of a film that is 2**stops as bright as white (BT.2390-8, 5.4.1).

    The knee begins where half of the display's range is left for what is brighter than it can show.
    """
    peak = 2.0**stops
    top = float(to_pq(np.array(peak * WHITE)))
    steps = np.linspace(0, 1, 512)
    white = float(to_pq(np.array(WHITE))) / top
    knee = max(0.0, 1.5 * white - 0.5)
    along = np.clip((steps - knee) / max(1 - knee, 1e-9), 0, 1)
    spline = (
        (2 * along**3 - 3 * along**2 + 1) * knee
        + (along**3 - 2 * along**2 + along) * (1 - knee)
        + (-2 * along**3 + 3 * along**2) * white
    )
    shown = np.where(steps < knee, steps, spline)
    return from_pq(steps * top) / WHITE, from_pq(shown * top) / WHITE


def _shades(light: Floats) -> NDArray[np.uint8]:
    """sRGB's codes of light within 0..1; more is white."""
    return np.asarray(_codes()[np.rint(np.clip(light, 0, 1) * 65535).astype(np.uint16)])


@cache
def _codes() -> NDArray[np.uint8]:
    light = np.linspace(0, 1, 1 << 16)
    code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)  # noqa: PLR2004
    return np.asarray(np.rint(code * 255), np.uint8)


@cache
def _to_srgb(primaries: int) -> Floats:
    """Matrix from light in these primaries to light in sRGB's."""
    return np.asarray(profiles.to_srgb(profiles.BY_NUMBER[primaries]), np.float32)
