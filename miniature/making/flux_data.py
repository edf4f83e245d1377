"""The training data of the mini FLUX: drawn panels, pages of unrelated panels, and their captions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import torch
from torch import Tensor

from miniature.draw import draw
from miniature.making.frames import Frames, Pool
from miniature.world import COLOURS, KINDS, WORN, Character, Scene, bare, describe, draw_scene, summarise
from pipeline.text.names import POOL

SEED = 7_000_000_000  # above every other seed of the miniature
PANEL = (128, 64)
"""Width and height of a panel in pixels: a storyboard's 1024 x 512 at an eighth."""
PANELS = 3
WIDE = 0.1
"""Share of wide shots: grids contain some, so they must not be unknown, but heads of 15 pixels are too small to learn
from. The reader recognises 92 of 100 kinds in filmed ones, and 75 after they went through the VAE."""
NAMED, UNDESCRIBED, SUMMED = 0.5, 0.3, 0.5
"""Shares: of the characters with a name, of the named ones (and of the stories) that are not described, of the pages
with a summary."""
CHUNK = 250


def is_held_out(character: Character) -> bool:
    """48 of the 192 characters, with every kind and colour, are held out from the mini FLUX: for LoRAs to learn."""
    index = KINDS.index(character.kind) + COLOURS.index(character.colour) + list(WORN).index(character.worn)
    return index % 4 == 0


def render(count: int, seed: int, workers: int = 2, *, filmed: bool = False) -> Pool:
    """`count` random scenes as panels; reproducible by seed.

    Args:
        filmed: cut out of a film's 16:9 frames, as by the pipeline, instead of drawn in the panel's own shape.
    """
    seeds = [seed + start for start in range(0, count, CHUNK)]
    # Spawned, not forked: after OpenCV's or torch's threads have run in a process, its fork hangs in the child.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        chunks = list(processes.map(_chunk, seeds, [filmed] * len(seeds)))
    frames = np.concatenate([frames for frames, _ in chunks])[:count]
    return Pool(frames, [scene for _, scenes in chunks for scene in scenes][:count])


def _chunk(seed: int, filmed: bool) -> tuple[Frames, list[Scene]]:
    cv2.setNumThreads(1)
    rng = random.Random(seed)
    scenes = [draw_large(rng, WIDE) for _ in range(CHUNK)]
    return np.stack([draw_panel(scene, rng.uniform(0, 4), filmed=filmed) for scene in scenes]), scenes


def draw_panel(scene: Scene, time: float = 0.0, *, filmed: bool) -> Frames:
    """A scene as one panel, `time` seconds into its shot."""
    twice = (2 * PANEL[0], 2 * PANEL[1])
    frame = draw(scene, time=time)[20:340] if filmed else draw(scene, time=time, size=twice)
    return np.asarray(cv2.resize(frame, PANEL, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def draw_large(rng: random.Random, wide: float = 0.0) -> Scene:
    """A scene whose character fills much of the panel, except for a share of wide shots."""
    while True:
        scene = draw_scene(rng)
        if scene.shot != "wide" or rng.random() < 2 * wide:
            return scene


def draw_known(rng: random.Random, count: int) -> list[Scene]:
    """Scenes, none of them wide, whose characters are not held out."""
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = draw_large(rng)
        if not is_held_out(scene.character):
            scenes.append(scene)
    return scenes


def pixels(pool: Pool, some: list[int]) -> Tensor:
    """Panels of a pool: B x 3 x H x W, 0..1."""
    return torch.from_numpy(pool.frames[some]).permute(0, 3, 1, 2).float() / 255


def stacked(panels: Tensor, high: int) -> Tensor:
    """Stacks panels (N x C x H x W) into pages of `high` panels, one above the other: N/high x C x high*H x W."""
    n, c, h, w = panels.shape
    return panels.view(n // high, high, c, h, w).transpose(1, 2).reshape(n // high, c, high * h, w)


def unstacked(pages: Tensor, high: int) -> Tensor:
    """The inverse of `stacked`."""
    n, c, h, w = pages.shape
    return pages.reshape(n, c, high, h // high, w).transpose(1, 2).reshape(n * high, c, h // high, w)


def caption(scenes: list[Scene], rng: random.Random) -> str:
    """The caption of one panel or of a page of unrelated ones.

    Every panel's own text either describes its character or gives only a name; a summary, where there is one, describes
    only characters that the panels describe too. So nothing suggests that a name in a panel refers to the summary.
    """
    texts, described, names = [], [], []
    for scene in scenes:
        name = rng.choice(POOL) if rng.random() < NAMED else None
        if name and rng.random() < UNDESCRIBED:
            texts.append(bare(scene, name))
        else:
            texts.append(describe(scene, name, rng.randrange(6)))
            described.append(scene)
            names.append(name)
    if len(scenes) == 1:
        return texts[0]
    summary = f" {summarise(described, names)}," if described and rng.random() < SUMMED else ""
    parts = ", ".join(f"[SCENE-{number}] {text}" for number, text in enumerate(texts, start=1))
    return f"[MOVIE-SHOTS]{summary} {parts}."


def story(scenes: list[Scene], rng: random.Random) -> str:
    """The caption of a page as a story of its first scene's character, who is described in the summary or nowhere."""
    looks = None if rng.random() < UNDESCRIBED else scenes[0].character.words
    return tell_story(scenes, rng.choice(POOL), looks)


def tell_story(scenes: Sequence[Scene], name: str, looks: str | None) -> str:
    """The caption of a page whose panels give only a name; only the summary may say what the character looks like."""
    who = f"<{name}>, {looks}," if looks else f"<{name}>,"
    parts = ", ".join(f"[SCENE-{number}] {bare(scene, name)}" for number, scene in enumerate(scenes, start=1))
    return f"[MOVIE-SHOTS] a short story about {who} {parts}."
