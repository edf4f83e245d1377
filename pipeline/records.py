"""The travelling types, one per step of the line. Frozen, standard library only, ids are content hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Decision = Literal["keep", "drop", "unsure"]


def spelt_hash(text: str, length: int) -> str:
    """A text's hash in letters out of twenty, at most fourteen.

    No vowels and no digits: nothing a spreadsheet could read as a number or a date and no chance words.
    """
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    alphabet = "bcdfghjklmnpqrstvwxz"
    return "".join(alphabet[digest // 20**place % 20] for place in range(length))


def content_id(letter: str, *parts: object) -> str:
    """A short id from content: the letter, a dash, then ten letters.

    20**10 is about 1e13, so a run of 10,000 rows has a collision with a chance of 5e-6.
    """
    return f"{letter}-{spelt_hash(json.dumps(parts, default=str), 10)}"


@dataclass(frozen=True)
class Position:
    """Where in its source an image stood: what grouping reads before it looks at any pixel."""

    folder: str = ""
    stem: str = ""
    film: str = ""
    shot: int = -1
    """Number of the shot in its film from 0; -1 where there is no film."""
    time: float = 0.0
    """Seconds from the start of the film."""
    set: str = ""
    """Name of a ready-made set that came as one (a grid, panels with one joint caption); empty otherwise."""
    page: int = 0
    """Place within its set or folder, from 0."""
    group: str = ""
    """The group of sources that it belonged to in a data set that it comes from; empty otherwise."""


@dataclass(frozen=True)
class Record:
    """One source image. `inspect` fills everything from width on; sizes are in pixels after orientation."""

    id: str
    path: str
    source: str
    position: Position
    text: str = ""
    """Text that came with the image, a whole joint caption or the panel's own; empty where none did."""
    licence: str = ""
    author: str = ""
    url: str = ""
    width: int = 0
    height: int = 0
    phash: str = ""
    """64-bit perceptual hash in hex: finds copies, tells nothing about relatedness."""
    sharpness: float = 0.0
    """Variance of the Laplacian of the grey image, 512 px on its long side."""
    exposure: float = 0.0
    """Mean grey, 0 (black) to 1 (white)."""
    histogram: str = ""
    """HSV histogram in hex, a byte a bin (8 x 4 x 4 bins): the square root of its frequency, 255 for 1."""

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.id,)


@dataclass(frozen=True)
class Layout:
    """A grid of equal panels; sides in pixels, multiples of the base family's token, so that no token spans a seam."""

    rows: int
    cols: int
    panel_width: int
    panel_height: int

    @property
    def size(self) -> int:
        return self.rows * self.cols

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of the whole grid in pixels."""
        return self.cols * self.panel_width, self.rows * self.panel_height

    @property
    def boxes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Left, top, right, bottom of every panel in reading order."""
        w, h = self.panel_width, self.panel_height
        return tuple(
            (col * w, row * h, (col + 1) * w, (row + 1) * h) for row in range(self.rows) for col in range(self.cols)
        )


@dataclass(frozen=True)
class Group:
    """Images that belong together, in panel order, and why."""

    id: str
    task: str
    records: tuple[Record, ...]
    formed: str
    """How it was formed, in words for a person."""
    cohesion: float
    """Mean pairwise similarity of the records' histograms, 0..1."""

    @property
    def origin(self) -> tuple[str, ...]:
        return tuple(record.id for record in self.records)


@dataclass(frozen=True)
class Grid:
    """A group drawn as one picture; `path` is relative to the run's folder."""

    id: str
    group: Group
    layout: Layout
    path: str

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.group.id,)


@dataclass(frozen=True)
class Person:
    """Somebody who appears in a grid."""

    name: str
    """Without angle brackets."""
    looks: str
    """A noun phrase for how they look in every panel, such as "a tall woman with red hair"; empty where not told."""
    changes: str = ""
    """What of it differs from panel to panel ("her clothes"); empty where nothing does."""


@dataclass(frozen=True)
class Appearance:
    """A person in one panel."""

    name: str
    looks: str = ""
    """How they look in this panel; empty where that is as in all of them."""


@dataclass(frozen=True)
class Shown:
    """What one panel shows."""

    text: str
    """People stand in it as `<Name>`, and how they look is left out."""
    people: tuple[Appearance, ...] = ()


@dataclass(frozen=True)
class Tie:
    """Something that two panels or more have in common."""

    what: str
    panels: tuple[int, ...]
    """Where it is seen, from 0."""


@dataclass(frozen=True)
class Parts:
    """A joint caption as data. Its text is a rendering by a policy: `grammar.tell`."""

    people: tuple[Person, ...]
    """In order of first appearance."""
    panels: tuple[Shown, ...]
    summary: str
    """What all panels share; people stand in it as `<Name>`, and how they look is left out."""
    ties: tuple[Tie, ...] = ()
    strangers: tuple[int, ...] = ()
    """Panels that do not belong with the others, from 0, as the captioner sees it."""
    unrelated: str = ""
    """Why no panels belong together, as the captioner sees it; empty where some do."""


@dataclass(frozen=True)
class Caption:
    """One joint caption. `text` is what is trained on; prefix, summary, panels and names are read from it."""

    text: str
    prefix: str
    summary: str
    panels: tuple[str, ...]
    """One text per panel in panel order; empty where the text has none for it."""
    grid: str = ""
    """Id of the grid that it describes."""
    names: tuple[str, ...] = ()
    """People in order of first appearance, without the angle brackets."""
    captioner: str = ""
    prompt: str = ""
    """Id of the instruction that was sent."""
    attempts: int = 0
    problems: tuple[str, ...] = ()
    """Faults that the linter finds, one sentence each."""
    failure: str = ""
    """Class of why the captioner left its last question without an answer ("timeout"); empty where it answered."""
    parts: Parts | None = None
    """What the text was rendered from; None for a text that came as one (a person's, a sidecar's, a free answer)."""

    @property
    def id(self) -> str:
        return self.grid

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.grid,)


@dataclass(frozen=True)
class Score:
    """One measured value against its threshold (in the scorer's own unit, cosine for CLIP)."""

    name: str
    value: float
    threshold: float
    passed: bool
    reason: str
    usual: float | None = None
    """The median of the run's scores of this name: how far it lies off the threshold makes margins comparable."""


@dataclass(frozen=True)
class Scores:
    """Everything that was measured on one grid and its caption."""

    grid: str
    scores: tuple[Score, ...]
    text: str = ""
    """The caption that was scored."""
    picture: str = ""
    """Path of the grid that was scored, relative to the run's folder."""

    @property
    def id(self) -> str:
        return self.grid

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.grid,)


@dataclass(frozen=True)
class Review:
    """What a person decided on one grid. Never overwritten by a stage."""

    grid: str
    decision: Decision | None
    """None where they edited the text or wrote a note and left the decision to the toolkit."""
    note: str = ""
    text: str = ""
    """The caption as the person edited it; empty where it was left alone."""
    panels: tuple[str, ...] = ()
    """Ids of the records in the order that the person wants them; empty where the panels stand as grouped."""
    people: tuple[Person, ...] = ()
    """People whose looks the person has put into other words; empty where they left them alone."""

    @property
    def id(self) -> str:
        return self.grid


@dataclass(frozen=True)
class Row:
    """A grid with all that is known of it; what review shows and export writes.

    The grid is the person's where one has exchanged panels: the same id, other records, another picture.

    `decision` is the person's where there is one, else the toolkit's: drop what the filter rejected, unsure where the
    caption has problems, keep the rest.
    """

    grid: Grid
    caption: Caption
    scores: tuple[Score, ...] = ()
    decision: Decision = "unsure"
    reasons: tuple[str, ...] = ()
    """Why the filter rejected it; empty where it passed."""
    review: Review | None = None

    @property
    def id(self) -> str:
        return self.grid.id

    @property
    def decided(self) -> bool:
        """Whether a person decided, not the toolkit."""
        return self.review is not None and self.review.decision is not None


@dataclass(frozen=True)
class Exported:
    """A grid's place in the data set folder."""

    grid: str
    file: str
    """The picture's path in it; its folder is the side of the split."""

    @property
    def id(self) -> str:
        return self.grid

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.grid,)


@dataclass(frozen=True)
class Reference:
    """An image that a model is shown beside the noisy grid."""

    id: str
    """Hash of its file."""
    path: str


@dataclass(frozen=True)
class TrainingSample:
    """One grid of a data set folder with its caption, as training reads it."""

    id: str
    """Hash of picture and caption."""
    path: str
    """The picture's path."""
    text: str
    layout: Layout
    """As the picture stands in the folder; training may see it at other sizes."""
    task: str
    condition: tuple[int, ...]
    """Panels that the task gives, from 0; empty where none or any may be."""
    side: str
    """The side of the split that it is on: `train` or `validation`."""
    references: tuple[Reference, ...] = ()
    """In the order in which the model gets them; empty for a family that takes none."""


@dataclass(frozen=True)
class Rejected:
    """Something that a stage did not pass on. Kept for good: every drop has a reason."""

    id: str
    """Id of the stage's input; for a part of it (a shot of a film) that id, `#` and the part."""
    what: str
    """The thing in words for a person: a path, a shot of a film, the id of a grid."""
    reason: str
    """A short class such as "unreadable", counted in the report."""
    detail: str
    """One sentence with the values."""

    @property
    def origin(self) -> str:
        return self.id.partition("#")[0]
