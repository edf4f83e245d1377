"""A captioner's answer: the form that it is asked for, and how whatever came becomes a caption."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from pipeline import grammar
from pipeline.discover import faults_of
from pipeline.errors import BadReply
from pipeline.records import Caption
from pipeline.task import Task

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
