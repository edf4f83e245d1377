"""A captioner's answer: the form that is asked for, and how whatever comes back becomes a caption."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from pipeline.captioning import objects, thoughts
from pipeline.errors import Abstained, BadReply
from pipeline.plugins import faults_of
from pipeline.records import Appearance, Caption, Parts, Person, Shown, Tie
from pipeline.task import Task
from pipeline.text import grammar, lint, markers

KEYS = ("panels", "summary", "unrelated")
"""Keys that tell a reply from other objects in an answer."""
LONGEST = 100_000
"""Most characters of an answer: a caption has a few thousand, a model that thinks aloud first tens of thousands."""
NO_REASON = ("", "no", "none", "null", "n/a", "false")
"""What models write when they have no reason to abstain."""
MOST_REASON = 200
"""Characters of a reason that are kept."""


def _named(entry: Any) -> Any:
    """A bare name stands for a person about whom nothing else is said."""
    return {"name": entry} if isinstance(entry, str) else entry


def _numeral(given: Any) -> Any:
    """The number in a text that has only one ("Image 1")."""
    if not isinstance(given, str) or re.fullmatch(r"\s*[+-]?\d+\s*", given):
        return given
    found = re.findall(r"(?<![\d.])\d{1,4}(?!\d|\.\d)", given)
    return int(found[0]) if len(found) == 1 else given


def _present(given: Any) -> Any:
    """Without what is null, in objects and lists."""
    if isinstance(given, dict):
        return {key: _present(value) if isinstance(value, list) else value for key, value in given.items()
                if value is not None}  # fmt: skip
    return [value for value in given if value is not None] if isinstance(given, list) else given


Text = Annotated[str, AfterValidator(markers.readable)]
Number = Annotated[int, BeforeValidator(_numeral)]


class _Part(BaseModel):
    """A part of an answer; null counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _there(cls, given: Any) -> Any:
        return _present(given)


class SeenReply(_Part):
    """A person in one image. The looks come first: who it is follows from them."""

    looks: Text = Field(default="", description="how the person looks in this image, a noun phrase")
    name: Text = Field(description="P1, P2, ...; the same person has the same name in every image")


class PanelReply(_Part):
    """One panel's part of an answer."""

    image: Number = Field(default=0, description="number of the image, from 1")
    people: list[Annotated[SeenReply, BeforeValidator(_named)]] = Field(default=[], description="who is in this image")
    text: Text = Field(
        description="what this image shows, in one clause that is true of this image read alone; of people it gives "
        "the name, and how they look is left out"
    )


class PersonReply(_Part):
    """A person in all images."""

    name: Text
    looks: Text = Field(default="", description="how the person looks in all images, a noun phrase")
    changes: Text = Field(default="", description="what of it differs from image to image; empty where nothing does")


class TieReply(_Part):
    """Something that images have in common."""

    what: Text = Field(description="a person, a thing or a place that is seen in two images or more")
    panels: list[Number] = Field(description="numbers of the images in which it is seen")


class JointReply(_Part):
    """The structured answer; its JSON schema is what a server is asked for. What a summary rests on comes before it."""

    panels: list[PanelReply] = Field(description="one entry per image, in order")
    people: list[Annotated[PersonReply, BeforeValidator(_named)]] = Field(
        default=[], description="people in order of first appearance"
    )
    summary: Text = Field(description="what the images have in common, in one clause")
    ties: list[TieReply] = Field(default=[], description="what ties the images together")
    strangers: list[Number] = Field(default=[], description="numbers of images that do not belong with the others")
    unrelated: Text = Field(default="", description="why no images belong together; empty where some do")


def read(answer: str, task: Task) -> Caption:
    """The caption in an answer: structured or free text, behind whatever the model thought aloud.

    Its problems are those of the text, the line breaks of a free one, and people who according to a structured one are
    in an image but whom the text or the list of people leaves out.

    Raises:
        Abstained: the model finds that the images don't belong together, and describes none; the message is its reason.
        BadReply: the answer has neither form; the message can be sent back to the model.
    """
    if len(answer) > LONGEST:
        raise BadReply(f"the answer has {len(answer):,} characters, more than {LONGEST:,}")
    said = thoughts.cut(answer)
    if answer.strip() and not said.strip():
        raise BadReply("the answer has only thoughts, and nothing stands behind them")
    try:
        return _read(said, task)
    except RecursionError:
        raise BadReply("the answer is nested too deeply") from None


def _read(answer: str, task: Task) -> Caption:
    found = find_object(answer)
    if found is None:
        if grammar.is_joint(answer, task):
            caption = grammar.parse(answer, task)
            return replace(caption, problems=(*lint.breaks(answer), *caption.problems))
        raise BadReply("the answer is neither the complete JSON object asked for nor a text with all markers")
    reason = _reason(found.get("unrelated"))
    if reason and not found.get("panels"):
        raise Abstained(reason)
    try:
        reply = JointReply.model_validate(found)
    except ValidationError as error:
        if reason:
            raise Abstained(reason) from error
        raise BadReply(f"the JSON object has faults: {faults_of(error)}") from error
    parts = _parts(reply, reason)
    caption = grammar.caption_of(parts, task)
    return replace(caption, problems=(*_name_faults(reply, parts, task), *caption.problems))


def find_object(answer: str) -> dict[str, Any] | None:
    """The reply among the JSON objects of an answer; None if there is none.

    One with panels and a summary counts before others, and a bare abstention only if nothing else is there: it may be a
    passing thought.

    Raises:
        BadReply: there are several different replies, so none can be told from a draft.
    """
    found = list(objects.find(answer, KEYS))
    whole = [one for one in found if isinstance(one.get("panels"), list) and "summary" in one]
    if any(one != whole[0] for one in whole[1:]):
        raise BadReply("the answer has several different JSON objects instead of one")
    described = [one for one in found if "panels" in one or "summary" in one]
    return next(iter([*whole, *described, *reversed(found)]), None)


def _reason(given: Any) -> str:
    """A model's reason to abstain, on one line; empty if it has none."""
    if not isinstance(given, str) or given.strip(" .").casefold() in NO_REASON:
        return ""
    return grammar.fold(markers.readable(given))[:MOST_REASON]


def _parts(reply: JointReply, unrelated: str) -> Parts:
    """The answer as data: names without brackets, texts without looks."""
    panels, first_number = _in_order(reply.panels)
    given = {_bare(person.name): person for person in reply.people}
    seen = [{_bare(one.name): _noun(one.looks) for one in panel.people} for panel in panels]
    texts = [grammar.clean(text) for text in (*(panel.text for panel in panels), reply.summary)]
    named = [
        name for name in dict.fromkeys([*given, *itertools.chain(*seen), *grammar.people(" ".join(texts))]) if name
    ]
    *shown, summary = (grammar.bracket_names(text, named) for text in texts)
    first = grammar.people(" ".join([summary, *shown]))
    order = [*first, *(name for name in dict.fromkeys(itertools.chain(*seen)) if name and name not in first)]
    raw = Parts(
        people=tuple(_person(name, given.get(name), seen) for name in order),
        panels=tuple(
            Shown(text, tuple(Appearance(name, looks) for name, looks in one.items() if name))
            for text, one in zip(shown, seen, strict=True)
        ),
        summary=summary,
        ties=tuple(_ties(reply.ties, len(panels), first_number)),
        strangers=_places(reply.strangers, len(panels), first_number),
        unrelated=unrelated,
    )
    return grammar.bared(grammar.renamed(raw, {}))  # with brackets around people whom looks and ties mention


def _person(name: str, given: PersonReply | None, seen: Sequence[dict[str, str]]) -> Person:
    """A person; if the list of all people says nothing about their looks, they look as in the first image with them."""
    looks = _noun(given.looks) if given else ""
    first = next((one[name] for one in seen if one.get(name)), "")
    return Person(name, looks or first, grammar.clean(given.changes) if given else "")


def _ties(given: Iterable[TieReply], count: int, first: int) -> Iterator[Tie]:
    for tie in given:
        panels = _places(tie.panels, count, first)
        if len(panels) > 1 and (what := grammar.clean(tie.what)):
            yield Tie(what, panels)


def _places(numbers: Iterable[int], count: int, first: int) -> tuple[int, ...]:
    """Places, from 0, of the images that exist.

    Args:
        first: number of the first image.
    """
    return tuple(sorted({number - first for number in numbers if 0 <= number - first < count}))


def _in_order(panels: list[PanelReply]) -> tuple[list[PanelReply], int]:
    """The panels in the order of their numbers, or as they are if they have none; and the first number, 1 or 0."""
    numbers = [panel.image for panel in panels]
    if not any(numbers):
        return panels, 1
    given = [panel.image for panel in panels if "image" in panel.model_fields_set]
    for first in (1, 0):
        if sorted(given) == list(range(first, first + len(panels))):
            return sorted(panels, key=lambda panel: panel.image), first
    raise BadReply(f'the "image" numbers of the {len(panels)} panels are not 1 to {len(panels)}, each once')


def _bare(name: str) -> str:
    return name.strip("<> ")


def _noun(looks: str) -> str:
    """Looks as they follow a name: on one line, without brackets."""
    return grammar.clean(re.sub(r"[<>\[\]]", "", looks))


def _name_faults(reply: JointReply, parts: Parts, task: Task) -> Iterator[str]:
    """Where the people of the panels contradict the texts, or the list of all people, which may be left out."""
    known = [_bare(person.name) for person in reply.people]
    for marker, panel in zip(task.markers, parts.panels, strict=True):
        for one in panel.people:
            if known and one.name not in known:
                yield f'"people" of {marker} has <{one.name}>, who is missing from the list of all "people"'
            if one.name not in grammar.people(panel.text):
                yield f'the text of {marker} does not mention <{one.name}>, who is in its "people"'
