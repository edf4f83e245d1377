"""Training frames: random scenes, drawn and degraded to what a model gets of a panel, in one block of memory."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import cv2
import numpy as np
import numpy.typing as npt

from miniature.draw import draw
from miniature.world import ACTIONS, COLOURS, KINDS, PLACES, SHOTS, WORN, Scene, draw_scene

Frames = npt.NDArray[np.uint8]

# What can be recognised in a frame, and the values of each attribute.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "colour": COLOURS,
    "worn": tuple(WORN),
    "place": tuple(PLACES),
    "action": tuple(ACTIONS),
    "shot": tuple(SHOTS),
}
FILMED = 0.8  # share of the 2:1 frames that are cut from a film's 16:9
BLURRED, PACKED = 0.5, 0.5  # shares of the frames
CHUNK = 250  # frames per task: each has its own seed, so that the number of processes changes nothing


@dataclass(frozen=True)
class Pool:
    """N frames of one size, (N, height, width, 3), and the scene of each."""

    frames: Frames
    scenes: list[Scene]


def value_of(scene: Scene, attribute: str) -> str:
    owner = scene.character if attribute in ("kind", "colour", "worn") else scene
    value: str = getattr(owner, attribute)
    return value


def labels_of(scene: Scene) -> list[int]:
    """The index of each attribute's value, in the order of ATTRIBUTES."""
    return [values.index(value_of(scene, attribute)) for attribute, values in ATTRIBUTES.items()]


def set_value(scene: Scene, attribute: str, value: str) -> Scene:
    if attribute in ("kind", "colour", "worn"):
        return replace(scene, character=replace(scene.character, **{attribute: value}))
    return replace(scene, **{attribute: value})  # type: ignore[arg-type]  # mypy can't see which field it is


def alter(scene: Scene, attribute: str, rng: random.Random) -> Scene:
    """The same scene with one attribute changed to another value."""
    return set_value(
        scene, attribute, rng.choice([v for v in ATTRIBUTES[attribute] if v != value_of(scene, attribute)])
    )


def render_pool(count: int, size: tuple[int, int], seed: int, *, shape: tuple[int, int], workers: int = 2) -> Pool:
    """`count` random scenes as panels of `shape` (width, height in pixels), scaled to `size`; reproducible by seed."""
    seeds = [hash((seed, shape, start)) % 2**32 for start in range(0, count, CHUNK)]
    # Spawned, not forked: after OpenCV's or torch's threads have run in a process, its fork hangs in the child.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        chunks = list(processes.map(_render_chunk, seeds, [size] * len(seeds), [shape] * len(seeds)))
    frames = np.concatenate([frames for frames, _ in chunks])[:count]
    return Pool(frames, [scene for _, scenes in chunks for scene in scenes][:count])


def _render_chunk(seed: int, size: tuple[int, int], shape: tuple[int, int]) -> tuple[Frames, list[Scene]]:
    cv2.setNumThreads(1)
    rng = random.Random(seed)
    scenes = [draw_scene(rng) for _ in range(CHUNK)]
    frames = [cv2.resize(_panel(scene, shape, rng), size, interpolation=cv2.INTER_AREA) for scene in scenes]
    return np.stack(frames), scenes


def _panel(scene: Scene, shape: tuple[int, int], rng: random.Random) -> Frames:
    """A frame as the pipeline delivers it: from a film (cropped to 2:1) or a picture, with compression artefacts."""
    time = rng.uniform(0.0, 4.0)
    if shape == (640, 320) and rng.random() < FILMED:
        frame = draw(scene, time=time)[20:340]
    else:
        frame = draw(scene, time=time, size=shape)
    if rng.random() < BLURRED:
        frame = _bytes(cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.4, 1.2)))
    if rng.random() < PACKED:
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, rng.randint(60, 95)])
        frame = _bytes(cv2.imdecode(data, cv2.IMREAD_COLOR))  # RGB in, RGB out: both functions assume BGR
    return frame


def _bytes(image: cv2.typing.MatLike | None) -> Frames:
    return np.asarray(image, dtype=np.uint8)
