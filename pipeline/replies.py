"""A captioner's answer: the form that it is asked for, and how whatever came becomes a caption."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from pipeline import grammar, lint
from pipeline.discover import faults_of
from pipeline.errors import Abstained, BadReply
from pipeline.records import Caption
from pipeline.task import Task

TRIES = 50
"""Places of an answer at which the JSON object is looked for."""
LONGEST = 100_000
"""Letters that an answer may have: a caption has some thousand, a model that thinks aloud first some ten thousand."""
NO_REASON = ("", "no", "none", "null", "n/a", "false")
"""What models write where they have no reason to abstain."""
MOST_REASON = 200
"""Letters that are kept of one."""


def _writable(text: str) -> str:
    """JSON can spell half a character, which no file can hold."""
    return text.encode(errors="replace").decode()


Text = Annotated[str, AfterValidator(_writable)]


class PanelReply(BaseModel):
    """One panel's part of an answer."""

    image: int = Field(default=0, description="number of the image, from 1")
    text: Text = Field(description="what this image shows, in one clause that is true of this image read alone")
    names: list[Text] = Field(default=[], description="people of `names` who are in this image")


class JointReply(BaseModel):
    """The structured answer; its JSON schema is what a server is asked for. What a summary rests on comes before it."""

    panels: list[PanelReply] = Field(description="one entry per image, in order")
    names: list[Text] = Field(default=[], description="people in order of first appearance")
    summary: Text = Field(description="what the images have in common, in one clause")
    unrelated: Text = Field(default="", description="why the images do not belong together; empty where they do")


def read(answer: str, task: Task) -> Caption:
    """The caption in an answer: structured or free text.

    Its problems are those of the text, line breaks of a free one, and people of whom a structured one says that they
    are in an image while the text or the list of names leaves them out.

    Raises:
        Abstained: the model finds that the images don't belong together; the message is its reason.
        BadReply: neither form; the message is fit to be sent back to the model.
    """
    if len(answer) > LONGEST:
        raise BadReply(f"the answer has {len(answer):,} letters, more than {LONGEST:,}")
    found = _json_in(answer)
    if found is None:
        if grammar.is_joint(answer, task):
            caption = grammar.parse(answer, task)
            return replace(caption, problems=(*lint.breaks(answer), *caption.problems))
        raise BadReply("the answer is neither the whole JSON object that was asked for nor a text with all markers")
    reason = found.get("unrelated")
    if isinstance(reason, str) and reason.strip(" .").casefold() not in NO_REASON:
        raise Abstained(grammar.fold(_writable(reason))[:MOST_REASON])
    try:
        reply = JointReply.model_validate(found)
    except ValidationError as error:
        raise BadReply(f"the JSON object has faults: {faults_of(error)}") from error
    panels = _in_order(reply.panels)
    known, *listed = (_bare(names) for names in (reply.names, *(panel.names for panel in panels)))
    everyone = dict.fromkeys([*known, *itertools.chain(*listed)])
    caption = grammar.parse(grammar.render(reply.summary, [panel.text for panel in panels], everyone, task), task)
    return replace(caption, problems=(*_name_faults(known, listed, caption, task), *caption.problems))


def _in_order(panels: list[PanelReply]) -> list[PanelReply]:
    """The panels by their numbers where they have any, else as they stand."""
    numbers = [panel.image for panel in panels]
    if not any(numbers):
        return panels
    if sorted(numbers) != list(range(1, len(panels) + 1)):
        raise BadReply(f'the "image" numbers of {len(panels)} panels are not 1 to {len(panels)}, each once')
    return sorted(panels, key=lambda panel: panel.image)


def _bare(names: list[str]) -> list[str]:
    """Names without brackets, each once."""
    return [name for name in dict.fromkeys(name.strip("<> ") for name in names) if name]


def _name_faults(known: list[str], listed: list[list[str]], caption: Caption, task: Task) -> Iterator[str]:
    """Where the names of the panels contradict the list of all names, which may be left out, or the texts."""
    for marker, names, text in zip(task.markers, listed, caption.panels, strict=True):
        for name in names:
            if known and name not in known:
                yield f'"names" of {marker} has <{name}>, whom the first "names" lacks'
            if name not in grammar.people(text):
                yield f'the text of {marker} leaves out <{name}>, who is in its "names"'


def _json_in(answer: str) -> dict[str, Any] | None:
    """The first JSON object in an answer that means to be the reply, whatever stands around it.

    Chatter, code fences and objects of another kind are passed over, among them the inner ones of a reply that was cut
    off. An abstention alone counts where no reply follows: it may be a thought. Only so many places are tried: each may
    cost a walk through the whole answer.
    """
    decoder = json.JSONDecoder()
    reached, abstention = 0, None
    for start in itertools.islice(re.finditer(r'\{\s*"', answer), TRIES):
        if start.start() < reached:
            continue
        try:
            found, reached = decoder.raw_decode(answer, start.start())
        except (ValueError, RecursionError):  # no JSON, or a number or a nesting beyond what Python reads
            continue
        if not found.keys().isdisjoint(("summary", "panels")):
            return dict(found)
        if "unrelated" in found:
            abstention = dict(found)
    return abstention
