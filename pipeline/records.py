"""The types that travel down the line, one per step: frozen, standard library only, with content hashes as ids.

A run holds one record per picture: with slots it takes a third of the memory.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Decision = Literal["keep", "drop", "unsure"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of a picture's width and height, 0 to 1."""
TAKEN_IN = "taken in"
"""How the note on a picture begins that a person takes in although a stage would reject it."""


def spelt_hash(text: str, length: int) -> str:
    """A text's hash, spelled with twenty letters; at most fourteen of them.

    No vowels and no digits: nothing that a spreadsheet could read as a number or a date, and no accidental words.
    """
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    alphabet = "bcdfghjklmnpqrstvwxz"
    return "".join(alphabet[digest // 20**place % 20] for place in range(length))


def content_id(letter: str, *parts: object) -> str:
    """A short id made from content: the letter, a dash, then ten letters.

    20**10 is about 1e13, so the chance of a collision in a run of 10,000 rows is 5e-6.
    """
    return f"{letter}-{spelt_hash(json.dumps(parts, default=str), 10)}"


@dataclass(frozen=True, slots=True)
class Position:
    """Where in its source an image was: what grouping reads before it looks at any pixel."""

    folder: str = ""
    stem: str = ""
    film: str = ""
    shot: int = -1
    """Number of the shot in its film, from 0; -1 if there is no film."""
    time: float = 0.0
    """Seconds from the start of the film."""
    set: str = ""
    """Name of the ready-made set that it came in (a grid, panels with one joint caption); empty otherwise."""
    page: int = 0
    """Place within its set or folder, from 0."""
    group: str = ""
    """The group of sources that it belonged to in the data set it comes from; empty otherwise."""
    panel: str = ""
    """The panel that its source says it is for: a marker, a role such as "before", or a number from 1; else empty."""
    order: float | None = None
    """Its place among the images of its group, where its source numbers them."""
    row: int = -1
    """Row of the table that it comes from, from 0; -1 if there is none."""


@dataclass(frozen=True, slots=True)
class Record:
    """One source image. `inspect` fills everything from width on; sizes are in pixels after orientation."""

    id: str
    path: str
    source: str
    position: Position
    text: str = ""
    """Text that came with the image, a whole joint caption or the panel's own; empty if none did."""
    licence: str = ""
    author: str = ""
    url: str = ""
    date: str = ""
    """When it was taken or published, as its source says; empty if it doesn't."""
    notes: tuple[str, ...] = ()
    """What a person should know of the picture, a phrase each, such as "burnt-in text at the bottom"."""
    taken: str = ""
    """SHA-256 of the small picture by which a person has taken it in, of a shot that was rejected; else empty."""
    width: int = 0
    height: int = 0
    phash: str = ""
    """64-bit perceptual hash in hex: finds copies, but says nothing about relatedness."""
    turned: str = ""
    """The hashes that it has when it is mirrored or turned, one after the other (`duplicates.perceptual.TURNS`)."""
    pixels: str = ""
    """Hash of its size and of its pixels as they are measured: the same for the same pixels in files of other bytes."""
    sharpness: float = 0.0
    """Variance of the Laplacian of the grey image, 512 px on its long side."""
    exposure: float = 0.0
    """Mean grey, 0 (black) to 1 (white)."""
    focus: float = 0.5
    """Where along its cropped side the panel is taken from it, as `pixels.fitted` has it: 0 the start, 1 the end."""
    histogram: str = ""
    """HSV histogram in hex, one byte per bin (8 x 4 x 4 bins): the square root of its frequency, 255 for 1."""

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.id,)


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Grid:
    """A group drawn as one picture; `path` is relative to the run's folder."""

    id: str
    group: Group
    layout: Layout
    path: str
    pixels: str = ""
    """SHA-256 of the picture's pixels as `compose` drew it: the same for the same picture in files of other bytes."""
    crops: tuple[Box | None, ...] = ()
    """Which part of its picture each panel shows, where a person has said so; empty if nobody has."""

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.group.id,)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who appears in a grid."""

    name: str
    """Without angle brackets."""
    looks: str
    """A noun phrase for how they look in every panel, such as "a tall woman with red hair"; empty if unknown."""
    changes: str = ""
    """What about it differs from panel to panel ("her clothes"); empty if nothing does."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """A person in one panel."""

    name: str
    looks: str = ""
    """What they look like in this panel; empty if they look as in all of them."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one panel shows."""

    text: str
    """Names people as `<Name>` and leaves out what they look like."""
    people: tuple[Appearance, ...] = ()


@dataclass(frozen=True, slots=True)
class Tie:
    """Something that two or more panels have in common."""

    what: str
    panels: tuple[int, ...]
    """Where it is seen, from 0."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a person says of a caption's parts, besides its text and what its people look like in all panels.

    Panels are counted from 0, in the order that the person wants them in.
    """

    ties: tuple[Tie, ...] | None = None
    """All that ties the panels; None if they leave that to the captioner."""
    strangers: tuple[int, ...] | None = None
    """The panels that do not belong with the others, all if nothing ties them; None if that is left to the toolkit."""
    shown: tuple[tuple[Appearance, ...] | None, ...] = ()
    """By panel, who is in it, whatever its text says; None for a panel that is left as it is, empty if all are."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A joint caption as data. Its text is a rendering by a policy: `grammar.text_of`."""

    people: tuple[Person, ...]
    """In order of first appearance."""
    panels: tuple[Shown, ...]
    summary: str
    """What all panels share; names people as `<Name>` and leaves out what they look like."""
    ties: tuple[Tie, ...] = ()
    strangers: tuple[int, ...] = ()
    """Panels, from 0, that do not belong with the others, according to the captioner."""
    unrelated: str = ""
    """Why no panels belong together, according to the captioner; empty if some do."""
    corrections: Corrections | None = None
    """What of this is a person's word, not the captioner's."""


@dataclass(frozen=True, slots=True)
class Caption:
    """One joint caption. `text` is what training sees; prefix, summary, panels and names are read from it."""

    text: str
    prefix: str
    summary: str
    panels: tuple[str, ...]
    """One text per panel, in panel order; empty if the caption has none for it."""
    grid: str = ""
    """Id of the grid that it describes."""
    names: tuple[str, ...] = ()
    """People in order of first appearance, without the angle brackets."""
    captioner: str = ""
    prompt: str = ""
    """Id of the instruction that was sent."""
    attempts: int = 0
    problems: tuple[str, ...] = ()
    """Its faults as text, one sentence each; its length is among them only where a token counter was at hand."""
    failure: str = ""
    """Class of the failure if the captioner left its last question unanswered ("timeout"); empty if it answered."""
    parts: Parts | None = None
    """What the text was rendered from; None for plain text (a person's, a sidecar's, a free answer)."""

    @property
    def id(self) -> str:
        return self.grid

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.grid,)


@dataclass(frozen=True, slots=True)
class Score:
    """One measured value against its threshold (in the scorer's own unit, cosine for CLIP)."""

    name: str
    value: float
    threshold: float
    passed: bool
    reason: str
    usual: float | None = None
    """The median of the run's scores of this name; its distance from the threshold makes margins comparable."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Everything that was measured on one grid and its caption."""

    grid: str
    scores: tuple[Score, ...]
    text: str = ""
    """The caption that was scored."""
    picture: str = ""
    """Path of the grid that was scored, relative to the run's folder."""
    corrections: Corrections | None = None
    """What a person had said of the caption's parts."""

    @property
    def id(self) -> str:
        return self.grid

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.grid,)


def lies_inside(box: Box) -> bool:
    """Whether a box is a part of its picture."""
    left, top, right, bottom = box
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1


@dataclass(frozen=True, slots=True)
class Crop:
    """Which part of a picture its panel shows, by a person's decision."""

    record: str
    """Id of the picture's record."""
    box: Box

    def __post_init__(self) -> None:
        if not lies_inside(self.box):
            raise ValueError(f"a crop lies inside its picture, got {self.box}")


@dataclass(frozen=True, slots=True)
class Review:
    """What a person decided on one grid. Never overwritten by a stage."""

    grid: str
    decision: Decision | None
    """None if they edited the text or wrote a note and left the decision to the toolkit."""
    note: str = ""
    text: str = ""
    """The caption as the person edited it; empty if they left it alone."""
    panels: tuple[str, ...] = ()
    """Ids of the records in the order that the person wants them; empty if the panels are as grouped."""
    people: tuple[Person, ...] = ()
    """People whose looks the person has reworded."""
    crops: tuple[Crop, ...] = ()
    """Of panels that the person wants to show another part of their pictures."""
    corrections: Corrections | None = None
    """What else the person says of the caption's parts; None if nothing."""

    @property
    def id(self) -> str:
        return self.grid


@dataclass(frozen=True, slots=True)
class Word:
    """What one reviewer says of a grid, whatever counts in the end."""

    reviewer: str
    """Their name; empty if they gave none."""
    decision: Decision | None = None
    note: str = ""

    @property
    def settled(self) -> bool:
        """Whether they have made up their mind; `unsure` puts it off."""
        return self.decision in ("keep", "drop")


@dataclass(frozen=True, slots=True)
class Row:
    """A grid with everything that is known about it; what review shows and export writes.

    If a person has exchanged panels, the grid is theirs: the same id with other records and another picture.

    `decision` is the person's if there is one, else the toolkit's: drop if the filter rejected the grid, unsure if the
    caption has problems beyond a missing summary, keep otherwise.
    """

    grid: Grid
    caption: Caption
    scores: tuple[Score, ...] = ()
    decision: Decision = "unsure"
    reasons: tuple[str, ...] = ()
    """Why the filter rejected it; empty if it passed."""
    review: Review | None = None
    words: tuple[Word, ...] = ()
    """What each reviewer says of it, the latest last."""
    checked: bool = True
    """Whether its caption has been read and checked. If not, a person has edited it, nothing but its text is known, and
    the toolkit is unsure."""

    @property
    def id(self) -> str:
        return self.grid.id

    @property
    def decided(self) -> bool:
        """Whether a person decided, not the toolkit."""
        return self.review is not None and self.review.decision is not None

    def word_of(self, reviewer: str) -> Word:
        """A reviewer's own word; one without a decision if they have said nothing."""
        return next((word for word in self.words if word.reviewer == reviewer), Word(reviewer))


@dataclass(frozen=True, slots=True)
class Exported:
    """The place of a grid, or of one of its panels, in the data set folder."""

    grid: str
    file: str
    """Path of the picture within it; the folder is the side of the split."""
    panel: int = 0
    """Number of the panel, from 1, that the picture shows; 0 if it shows the whole grid."""

    @property
    def id(self) -> str:
        return f"{self.grid}#{self.panel}" if self.panel else self.grid

    @property
    def origin(self) -> tuple[str, ...]:
        return (self.grid,)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image that a model is shown beside the noisy grid."""

    id: str
    """Hash of its file, or of the grid that it is a panel of, with the panel's number."""
    path: str
    box: tuple[int, int, int, int] | None = None
    """Left, top, right, bottom of the panel in its grid; None for a picture of its own."""


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One grid of a data set folder with its caption, as training reads it."""

    id: str
    """Hash of picture and caption."""
    path: str
    """The picture's path."""
    text: str
    layout: Layout
    """As the picture is in the folder; training may see it at other sizes."""
    task: str
    condition: tuple[int, ...]
    """Panels, from 0, that the task gives; empty if none or any may be given."""
    side: str
    """The side of the split that it is on: `train` or `validation`."""
    references: tuple[Reference, ...] = ()
    """In the order in which the model gets them; empty for a family that takes none."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that a stage did not pass on. Kept for good: every drop has a reason."""

    id: str
    """Id of the stage's input; for a part of it (a shot of a film) that id, `#` and the part."""
    what: str
    """The thing, in words for a person: a path, a shot of a film, the id of a grid."""
    reason: str
    """A short class such as "unreadable", counted in the report."""
    detail: str
    """One sentence with the values."""
    picture: str = ""
    """Path of a picture of it, relative to the run's folder, where it is no record's: that of a rejected shot."""

    @property
    def origin(self) -> str:
        return self.id.partition("#")[0]
