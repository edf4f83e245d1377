"""A vision-language model as the judge of grids: do panels show what their texts tell, and the same people and things?

The two are asked apart, so that neither answer colours the other; both from 0 to 10, as OmniContext does (Wu et al.,
"OmniGen2", arXiv 2506.18871), with the right to abstain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import pixels, plugins
from pipeline.cache import Cache, shared_folder
from pipeline.captioning import objects, thoughts
from pipeline.captioning.answers import Answers, sent_back
from pipeline.captioning.protocol import Answer, Captioner, Question
from pipeline.captioning.replies import LONGEST
from pipeline.captioning.streak import Streak
from pipeline.errors import BadInput, BadReply
from pipeline.records import Layout
from pipeline.task import Task
from pipeline.text import grammar

Points = Annotated[int, Field(ge=0, le=10)] | None
ATTEMPTS = 2
"""A reply with faults goes back once."""
PROMPT = "judge 1"
"""Id of the questions, kept with the answers."""


class Verdict(BaseModel):
    """On one panel. The reason comes first: the points follow from it."""

    image: int = Field(description="number of the image, from 1")
    why: str = Field(description="what of it the image shows and what it lacks, in a few words")
    score: Points = Field(description="0 to 10; null if it can't be told")


class Following(BaseModel):
    """How well panels show what their texts tell."""

    model_config = ConfigDict(title="prompt_following")

    panels: list[Verdict] = Field(description="one entry per image, in order")


class Consistency(BaseModel):
    """Whether the panels show the same people and things."""

    model_config = ConfigDict(title="consistency")

    why: str = Field(description="what recurs, and what of it differs from image to image, in a few words")
    score: Points = Field(description="0 to 10; null if it can't be told")


Form = TypeVar("Form", Following, Consistency)


@dataclass
class _Case:
    """A question among those asked together."""

    place: int
    question: Question
    key: str


FOLLOWING = """\
You judge pictures that were made from text. For each image, answer its question with a whole number from 0 (nothing of
it) to 10 (all of it, and nothing that contradicts it), or with null if it can't be told. Judge only what the question
asks; neither beauty nor likeness between images counts.
{questions}
Names in angle brackets are people; you can't know whether somebody is that person, so judge what they look like and do.
Answer with JSON only: {{"panels": [{{"image": 1, "why": "...", "score": 7}}, ...]}}"""
GIVEN = "{which} given, and the others were made to go with {it}: judge only those, by {it}."
CONSISTENCY = """\
You judge pictures that were made together as one set: {summary}.
Is it the same person or thing in all images in which they recur: face, hair, clothes, colours, shape, style? Answer
with a whole number from 0 (others every time) to 10 (the same in every detail), or with null if nothing recurs or it
can't be told. Pose, place, action and camera may differ and don't count, nor does what the images were meant to show.
{given}\
Answer with JSON only: {{"why": "...", "score": 7}}"""


@dataclass(frozen=True)
class Judgement:
    """On one grid; 0..1, None where the judge abstained or gave no usable reply."""

    follows: float | None
    """Mean over the panels that were drawn."""
    consistent: float | None


class Judge:
    """A captioner that is asked to judge."""

    def __init__(self, captioner: Captioner, task: Task, cache: Cache) -> None:
        self._captioner, self._task = captioner, task
        self._answers = Answers(captioner, cache, PROMPT)

    @property
    def identity(self) -> dict[str, Any]:
        """Who judges."""
        return self._answers.identity

    def check(self, grid: Path, caption: str, layout: Layout) -> None:
        """Has a grid judged to see whether the model can, before anything is drawn.

        Raises:
            BadInput: it gives no usable reply, or does not answer.
        """
        following, consistency = self._questions(grid, caption, layout, ())
        ((_, fault),) = self._ask([following], Following)
        ((_, other),) = self._ask([consistency], Consistency)
        if fault and other:
            raise BadInput(
                f"this captioner can't judge: asked about a grid of the data set, it gave no usable reply "
                f"({fault[:200]}); use a larger model for --judge, or leave it out."
            )

    def judge(
        self, grids: Sequence[tuple[Path, str]], layout: Layout, given: Collection[int] = ()
    ) -> Iterator[Judgement]:
        """
        Args:
            grids: pictures and their captions.
            given: panels, from 0, that were not drawn but given.

        Raises:
            BadInput: the captioner fails again and again.
        """
        streak, size = Streak(), max(1, self._captioner.batch // 2)
        for start in range(0, len(grids), size):
            pairs = [self._questions(*grid, layout, given) for grid in grids[start : start + size]]
            following = self._ask([one for one, _ in pairs], Following, streak)
            consistency = self._ask([other for _, other in pairs], Consistency, streak)
            for (panels, _), (whole, _) in zip(following, consistency, strict=True):
                verdicts = [one for one in panels.panels if one.image - 1 not in given] if panels else []
                points = [one.score for one in verdicts if one.score is not None]
                yield Judgement(
                    follows=sum(points) / len(points) / 10 if points else None,
                    consistent=whole.score / 10 if whole and whole.score is not None else None,
                )

    def _questions(self, file: Path, caption: str, layout: Layout, given: Collection[int]) -> tuple[Question, Question]:
        grid, told = pixels.open_image(file), grammar.parse(caption, self._task)
        lines = [f'{number}. Does image {number} show: "{text}"?' for number, text in enumerate(told.panels, 1)]
        base = Question(
            panels=tuple(pixels.cut(grid, layout)),
            texts=("",) * layout.size,
            markers=tuple(f"Image {number}" for number in range(1, layout.size + 1)),
            instruction=FOLLOWING.format(questions="\n".join(lines)),
            grid=grid,
            form=Following,
        )
        summary = told.summary or "a set of images that belong together"
        consistency = CONSISTENCY.format(summary=summary, given=_told(given))
        return base, replace(base, instruction=consistency, form=Consistency)

    def _ask(
        self, questions: Sequence[Question], form: type[Form], streak: Streak | None = None
    ) -> list[tuple[Form | None, str]]:
        """For every question the reply, or None and what was wrong."""

        def take(case: _Case, answer: Answer, asked: bool) -> tuple[int, Form | None, str] | None:
            if streak and asked:
                streak.add(answer.failure)
            if answer.failure:
                return case.place, None, answer.failure
            try:
                return case.place, read(answer.text, form, len(case.question.panels)), ""
            except BadReply as error:
                if len(case.question.earlier) + 1 == ATTEMPTS:
                    return case.place, None, str(error)
                case.question = sent_back(case.question, answer, [str(error)])
            case.key = self._answers.key(case.question)
            return None

        cases = (_Case(place, question, self._answers.key(question)) for place, question in enumerate(questions))
        found = sorted(self._answers.settle(cases, take), key=lambda one: one[0])
        return [(reply, fault) for _, reply, fault in found]


def _told(given: Collection[int]) -> str:
    """Which images were given, as a line; empty if none was."""
    if not given:
        return ""
    numbers = ", ".join(str(panel + 1) for panel in sorted(given))
    which, it = (f"Image {numbers} was", "it") if len(given) == 1 else (f"Images {numbers} were", "them")
    return f"{GIVEN.format(which=which, it=it)}\n"


def read(answer: str, form: type[Form], panels: int) -> Form:
    """The reply in an answer.

    Raises:
        BadReply: there is none, or several, or it has faults; the message can be sent back to the model.
    """
    if len(answer) > LONGEST:
        raise BadReply(f"the answer has {len(answer):,} characters, more than {LONGEST:,}")
    key = "panels" if form is Following else "score"
    found = [one for one in objects.find(thoughts.cut(answer), [key]) if key in one]
    if not found or any(one != found[0] for one in found):
        raise BadReply(f'the answer has {"several different JSON objects" if found else "no JSON object"} with "{key}"')
    try:
        reply = form.model_validate(found[0])
    except ValidationError as error:
        raise BadReply(f"the JSON object has faults: {plugins.faults_of(error)}") from error
    if isinstance(reply, Following):
        numbers = sorted(one.image for one in reply.panels)
        if numbers != list(range(1, panels + 1)):
            raise BadReply(f'the "image" numbers are not 1 to {panels}, each once')
    return reply


def open_judge(name: str, options: dict[str, Any], task: Task) -> Judge:
    """
    Args:
        name: of a captioner, or a path.
        options: the captioner's.

    Raises:
        BadInput: there is no such captioner, an option is wrong, or it has texts by people and can't be asked.
        MissingWeights: its model is not on this machine.
    """
    captioner: Captioner = plugins.make(plugins.CAPTIONERS, name, options)
    if captioner.verbatim:
        raise BadInput(f"the captioner '{name}' hands on texts that people wrote and can't judge; use server or local.")
    return Judge(captioner, task, Cache(shared_folder()))
