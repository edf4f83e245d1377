"""What a captioner is asked, what it may answer, and how an answer becomes a caption."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field, ValidationError

from pipeline import grammar
from pipeline.discover import faults_of
from pipeline.errors import BadReply
from pipeline.records import Caption
from pipeline.task import Task

if TYPE_CHECKING:
    from PIL import Image


TRIES = 50
"""Places of an answer at which the JSON object is looked for."""


LONGEST = 100_000
"""Letters that an answer may have: a caption has some thousand, a model that thinks aloud first some ten thousand."""


class PanelReply(BaseModel):
    """One panel's part of an answer."""

    image: int = Field(default=0, description="number of the image, from 1")
    text: str = Field(description="what this image shows, in one clause that is true of this image read alone")
    names: list[str] = Field(default=[], description="people of `names` who are in this image")


class JointReply(BaseModel):
    """The structured answer; its JSON schema is what a server is asked for. What a summary rests on comes before it."""

    panels: list[PanelReply] = Field(description="one entry per image, in order")
    names: list[str] = Field(default=[], description="people in order of first appearance")
    summary: str = Field(description="what the images have in common, in one clause")


@dataclass(frozen=True)
class Turn:
    """An earlier answer and what was wrong with it."""

    answer: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """What is asked about one grid."""

    panels: tuple[Image.Image, ...]
    texts: tuple[str, ...]
    """Texts that came with the panels; empty strings where none did."""
    markers: tuple[str, ...]
    instruction: str
    earlier: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int = 0
    """Tokens that the model wrote."""
    finished: bool = True
    """False where the answer was cut off by the token limit."""


class Captioner(Protocol):
    """A captioner module has `make(options) -> Captioner`."""

    batch: int
    """Questions that it likes to get at once."""
    verbatim: bool
    """Its texts were written by people: they are neither re-worded nor asked for again."""

    def identity(self) -> dict[str, Any]:
        """Everything that its answers depend on besides the question: model, revision, parameters.

        Raises:
            MissingWeights: the model can't be had on this machine. Cheap: loads nothing.
        """

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order. The same questions give the same answers."""


def instruction(task: Task) -> str:
    """The whole instruction of a task: what to look at, then the form of the answer."""
    count = len(task.markers)
    lines = [
        f"You see {count} images, marked {', '.join(task.markers)}: the panels of one picture.",
        grammar.fold(task.caption.instructions),
        "Answer with one JSON object and nothing else: "
        '{"panels": [{"image": 1, "text": "...", "names": [...]}, ...], "names": [...], "summary": "..."}.',
        f'"panels" has exactly {count} entries, one per image in order. Each "text" is one clause of 10 to 50 words, '
        "in English, on one line, without square brackets; it tells only what is to be seen in that image and is true "
        "when read alone, so no 'as before', 'another angle' or 'the same'. No two texts say the same.",
        '"summary" is one clause of 8 to 30 words on what all images share'
        + (f"; it goes on after the words '{task.opening}'." if task.opening else "."),
    ]
    if task.caption.people:
        lines.append(
            "Call people and characters <P1>, <P2> and so on in order of first appearance, the same one by the same "
            'name in every image, and say in each text how they look; "names" lists P1, P2, ... without brackets.'
        )
    else:
        lines.append('Name nobody; leave every "names" empty.')
    return "\n".join(lines)


def instruction_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(answer: str, task: Task) -> Caption:
    """The caption in an answer: structured or free text.

    Raises:
        BadReply: neither; the message is fit to be sent back to the model.
    """
    if len(answer) > LONGEST:
        raise BadReply(f"the answer has {len(answer):,} letters, more than {LONGEST:,}")
    found = _json_in(answer)
    if found is None:
        if grammar.is_joint(answer, task):
            return grammar.parse(answer, task)
        raise BadReply("the answer is neither the whole JSON object that was asked for nor a text with all markers")
    try:
        reply = JointReply.model_validate(found)
    except ValidationError as error:
        raise BadReply(f"the JSON object has faults: {faults_of(error)}") from error
    panels = _in_order(reply.panels)
    names = dict.fromkeys([*reply.names, *(name for panel in panels for name in panel.names)])
    text = grammar.render(reply.summary, [panel.text for panel in panels], [n.strip("<> ") for n in names], task)
    return grammar.parse(text.encode(errors="replace").decode(), task)  # JSON can spell half a character


def _in_order(panels: list[PanelReply]) -> list[PanelReply]:
    """The panels by their numbers where they have any, else as they stand."""
    numbers = [panel.image for panel in panels]
    if not any(numbers):
        return panels
    if sorted(numbers) != list(range(1, len(panels) + 1)):
        raise BadReply(f'the "image" numbers of {len(panels)} panels are not 1 to {len(panels)}, each once')
    return sorted(panels, key=lambda panel: panel.image)


def _json_in(answer: str) -> dict[str, Any] | None:
    """The first JSON object in an answer that means to be the reply, whatever stands around it.

    Chatter, code fences and objects of another kind are passed over, among them the inner ones of a reply that was cut
    off. Only so many places are tried: each may cost a walk through the whole answer.
    """
    decoder = json.JSONDecoder()
    reached = 0
    for start in itertools.islice(re.finditer(r'\{\s*"', answer), TRIES):
        if start.start() < reached:
            continue
        try:
            found, reached = decoder.raw_decode(answer, start.start())
        except (ValueError, RecursionError):  # no JSON, or a number or a nesting beyond what Python reads
            continue
        if not found.keys().isdisjoint(("summary", "panels")):
            return dict(found)
    return None
