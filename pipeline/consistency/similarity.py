"""How well the pictures and texts of grids agree: their vectors, computed once, and the measures derived from them.

CLIP reads 77 tokens, less than a joint caption has (it would never see the third scene), so each panel's picture is
compared with its own segment, which fits. Vectors are unit vectors, so their dot products are cosine similarities.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import pixels
from pipeline.cache import Cache, alike, key_of
from pipeline.consistency import repetition
from pipeline.consistency.scorers.base import Scorer, check_width
from pipeline.errors import BadInput
from pipeline.progress import told
from pipeline.records import Caption, Grid, Record
from pipeline.rows import OnDisk, Rows
from pipeline.task import LayoutSection
from pipeline.text import grammar

AT_ONCE = 96
"""Panels that are held in memory and scored at once: 150 MB for a storyboard."""
LOOKED_AT = 512
"""Pixels on the long side; more than the input of any scorer."""
COPIES = 64
"""Panels of a run that are copied to measure how copies score: enough for a median and its spread."""
TRIMMED = 0.04
"""Share of width and height that is trimmed from each side of a copy."""

Measures = dict[str, np.ndarray]
"""Values by measure, NaN if they can't be measured; `text` is grids x panels, all others have one value per grid.

text         cosine similarity of each panel's picture and its own segment
order        gain of the best assignment of segments to panels over the given one, mean per panel (Hungarian method)
summary      cosine similarity of the panels' pictures, pooled, and the summary
least alike  cosine similarity of the two least similar panels
most alike   cosine similarity of the two most similar panels
texts alike  cosine similarity of the two most similar segments
earlier grid overlap with the most similar earlier grid (`repetition`)
"""


@dataclass(frozen=True)
class Vectors:
    """Unit vectors of grids; NaN if there is no text."""

    panels: np.ndarray
    """Grids x panels x dimensions."""
    segments: np.ndarray
    """Grids x panels x dimensions."""
    summaries: np.ndarray
    """Grids x dimensions."""


@dataclass(frozen=True)
class Part:
    """What can be computed apart from the rest of a run; each vector is then the same to the last bit."""

    grids: tuple[Grid, ...] = ()
    """Whose panels' vectors are computed."""
    texts: tuple[str, ...] = ()


class Encoder:
    """Computes each vector once: the cache is keyed by content and model, so later runs reuse it."""

    def __init__(self, scorer: Scorer, cache: Cache, folder: Path) -> None:
        self.scorer, self.cache, self.folder = scorer, cache, folder
        self.model = key_of(**scorer.identity())

    def vectors(self, grids: Sequence[Grid], captions: Sequence[Caption]) -> Vectors:
        """The vectors of one or more grids and their captions."""
        panels = self._panels(grids)
        texts = self._texts(_texts_of(captions), panels.shape[-1])
        shaped = texts.reshape(len(grids), -1, texts.shape[-1])
        return Vectors(panels.reshape(len(grids), -1, panels.shape[-1]), shaped[:, :-1], shaped[:, -1])

    def compute(self, part: Part) -> None:
        """Puts the vectors of a part into the cache, where `vectors` finds them."""
        if part.grids:
            self._panels(part.grids)
        self._texts(part.texts, 0)

    def sources(self, records: Sequence[Record], layout: LayoutSection) -> Rows:
        """Vectors of source pictures, fitted to a panel; one row per record, NaN for a picture that can't be read.

        They stay on the disk, since there may be a million.
        """
        shape = (layout.panel_width, layout.panel_height, layout.fit)
        rows, missing = OnDisk(self.cache.folder, len(records)), dict[str, tuple[int, Record]]()
        for batch in _batched(enumerate(records), AT_ONCE):
            keys = [key_of(model=self.model, record=one.id, shape=shape, focus=one.focus) for _, one in batch]
            known = self._found(keys)
            for key, (row, record) in zip(keys, batch, strict=True):
                if key in known and rows.fits(known[key]):
                    rows.put(row, known[key])
                else:
                    missing[key] = row, record
        for found in _told(self._fitted(missing, layout), len(missing), "looking at pictures"):
            made = self._kept([key for key, _ in found], self.scorer.image_vectors([picture for _, picture in found]))
            for key, vector in made.items():
                rows.put(missing[key][0], vector)
        return rows

    def _fitted(
        self, missing: Mapping[str, tuple[int, Record]], layout: LayoutSection
    ) -> Iterator[tuple[str, Image.Image]]:
        """The pictures fitted to the shape of a panel, at most LOOKED_AT pixels on the long side.

        These are other pixels than those of a panel, which is drawn of the whole picture and as large as the task wants
        it, perhaps with a reviewer's crop; so panels have vectors of their own.
        """
        width, height = layout.panel_width, layout.panel_height
        scale = min(1.0, LOOKED_AT / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        for key, (_, record) in missing.items():
            with contextlib.suppress(BadInput):  # compose reports the reason if the picture is needed
                image = pixels.open_image(self.folder / record.path, least_side=max(size))
                yield key, pixels.fitted(image, size, layout.fit, record.focus)

    def copies(self, grids: Sequence[Grid], panels: np.ndarray) -> np.ndarray:
        """Cosine similarities of some panels and trimmed copies, like those in other downloads or cuts of a film."""
        size = grids[0].layout.size
        places = np.unique(np.linspace(0, len(grids) * size - 1, COPIES).astype(int))
        wanted = [(grids[place // size], [int(place % size)]) for place in places]
        found = self._pictures(wanted, trimmed=TRIMMED)
        cosines: np.ndarray = (found * panels.reshape(-1, panels.shape[-1])[places]).sum(axis=-1)
        return cosines

    def _panels(self, grids: Sequence[Grid]) -> np.ndarray:
        return self._pictures([(grid, range(grid.layout.size)) for grid in grids])

    def _pictures(self, wanted: Sequence[tuple[Grid, Sequence[int]]], trimmed: float = 0.0) -> np.ndarray:
        """Vectors of panels, grid by grid; every picture is opened at most once."""
        keys: list[str] = []
        known: dict[str, np.ndarray] = {}
        missing: list[tuple[Grid, list[tuple[int, str]]]] = []
        for grid, panels in wanted:
            content = hashlib.sha256((self.folder / grid.path).read_bytes()).hexdigest()
            own = [key_of(model=self.model, picture=content, panel=panel, trimmed=trimmed) for panel in panels]
            known |= self._found(own)
            new = [(panel, key) for panel, key in zip(panels, own, strict=True) if key not in known]
            missing += [(grid, new)] if new else []
            keys += own
        count = sum(len(panels) for _, panels in missing)
        for batch in _told(self._opened(missing, trimmed), count, "looking at panels"):
            vectors = self.scorer.image_vectors([picture for _, picture in batch])
            known |= self._kept([key for key, _ in batch], vectors)
        return np.stack([known[key] for key in keys])

    def _opened(
        self, missing: Sequence[tuple[Grid, list[tuple[int, str]]]], trimmed: float
    ) -> Iterator[tuple[str, Image.Image]]:
        for grid, panels in missing:
            pictures = pixels.cut(pixels.open_image(self.folder / grid.path), grid.layout)
            yield from ((key, trim(pictures[panel], trimmed)) for panel, key in panels)

    def _texts(self, texts: Sequence[str], width: int) -> np.ndarray:
        keys = {text: key_of(model=self.model, text=text) for text in texts if text}
        known = self._found(list(keys.values()))
        missing = [text for text, key in keys.items() if key not in known]
        for batch in _told(missing, len(missing), "reading captions"):
            known |= self._kept([keys[text] for text in batch], self.scorer.text_vectors(batch))
        if width and known:
            check_width(self.scorer, width, len(next(iter(known.values()))))
        none = np.full(width, np.nan, np.float32)
        return np.array([known[keys[text]] if text else none for text in texts])

    def _found(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors that are in the cache."""
        return alike({key: vector for key in keys if (vector := self.cache.get_vector(key)) is not None}, len)

    def _kept(self, keys: Sequence[str], vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Caches new vectors and returns them by key."""
        made = dict(zip(keys, vectors, strict=True))
        for key, vector in made.items():
            self.cache.put_vector(key, vector)
        return made


def _told(items: Iterable[Any], count: int, what: str) -> Iterator[list[Any]]:
    """The items, as many as are scored at once, and how far that has come."""
    return told(_batched(items, AT_ONCE), -(-count // AT_ONCE), what)


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    waiting = iter(items)
    while batch := list(itertools.islice(waiting, size)):
        yield batch


def parts(grids: Sequence[Grid], captions: Sequence[Caption]) -> list[Part]:
    """What `Encoder.vectors` computes of grids and captions, in parts that it would compute at once too: the vectors of
    a model depend on their neighbours in a batch by a last bit."""
    size = grids[0].layout.size if grids else 1
    pictures = [Part(grids=tuple(batch)) for batch in _batched(grids, math.lcm(size, AT_ONCE) // size)]
    texts = dict.fromkeys(text for text in _texts_of(captions) if text)
    return pictures + [Part(texts=tuple(batch)) for batch in _batched(texts, AT_ONCE)]


def _texts_of(captions: Sequence[Caption]) -> list[str]:
    """The texts of captions as they are encoded, an empty one where there is none."""
    return [plain(text) for caption in captions for text in grammar.alone(caption)]


def plain(text: str) -> str:
    """The text as scorers read it best: names without their brackets."""
    return re.sub(r"[<>]", "", text)


def trim(picture: Image.Image, part: float) -> Image.Image:
    """The picture without this share of its width and height on each side."""
    left, top = round(picture.width * part), round(picture.height * part)
    return picture.crop((left, top, picture.width - left, picture.height - top))


def measure(vectors: Vectors, earlier: np.ndarray | None = None) -> Measures:
    """All measures of a run's grids.

    Args:
        earlier: the measure `earlier grid`, if it is known: it looks at panels alone, and takes by far the longest.
    """
    own = vectors.panels @ vectors.segments.transpose(0, 2, 1)
    pictures, texts = _pairs(vectors.panels), _pairs(vectors.segments)
    pooled = vectors.panels.mean(axis=1)
    pooled /= np.linalg.norm(pooled, axis=-1, keepdims=True)
    return {
        "text": np.diagonal(own, axis1=1, axis2=2),
        "order": np.array([np.nan if np.isnan(matrix).any() else best_order(matrix)[0] for matrix in own]),
        "summary": (pooled * vectors.summaries).sum(axis=-1),
        "least alike": np.fmin.reduce(pictures, axis=1, initial=np.nan),
        "most alike": np.fmax.reduce(pictures, axis=1, initial=np.nan),
        "texts alike": np.fmax.reduce(texts, axis=1, initial=np.nan),
        "earlier grid": repetition.earlier(vectors.panels).overlaps if earlier is None else earlier,
    }


def best_order(matrix: np.ndarray) -> tuple[float, list[int]]:
    """How much better the best order of a grid's texts scores than the given one, mean per panel; and that order.

    Args:
        matrix: cosine similarities, panels x segments.
    """
    from scipy.optimize import linear_sum_assignment

    rows, best = linear_sum_assignment(matrix, maximize=True)
    return float(matrix[rows, best].mean() - np.diag(matrix).mean()), best.tolist()


def _pairs(vectors: np.ndarray) -> np.ndarray:
    """Cosine similarities, grids x pairs of panels."""
    pairs = list(itertools.combinations(range(vectors.shape[1]), 2))
    one, other = ([pair[side] for pair in pairs] for side in (0, 1))
    cosines: np.ndarray = (vectors[:, one] * vectors[:, other]).sum(axis=-1)
    return cosines


# ---- shuffled controls: how wrong pairs score

WITHIN, ACROSS = "segments shuffled within the grid", "segments of another grid"


def controls(vectors: Vectors) -> dict[str, Vectors]:
    """The run with its texts shuffled in two ways; each vector is used once in each.

    How grids of strangers with truthful captions would score is another question, which `belonging` answers.
    """
    grids = len(vectors.panels)
    other = np.roll(np.arange(grids), grids // 2)  # far away, since neighbouring grids may come from one film
    within, across = np.roll(vectors.segments, 1, axis=1), vectors.segments[other]
    for shuffled in (within, across):  # an identical text is not a wrong one
        shuffled[(shuffled == vectors.segments).all(axis=-1)] = np.nan
    return {
        WITHIN: Vectors(vectors.panels, within, vectors.summaries),
        ACROSS: Vectors(vectors.panels, across, vectors.summaries[other]),
    }
