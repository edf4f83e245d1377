"""What a captioner is, what it is asked and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from pydantic import BaseModel

    from pipeline.captioning.jpegs import Jpegs

Images = Literal["panels", "grid", "both"]
"""What a model is shown: each panel as an image of its own, the whole grid as one, or the grid and then its panels."""

GIVEN_UP, THINKING, CUT_OFF = "given up", "thinking", "cut off"
FINAL = (GIVEN_UP, THINKING, CUT_OFF)
"""Kinds of failure that no run asks about again: several runs got no answer; the answer spent its tokens on thinking,
or was cut off, though the limit had been doubled once."""


@dataclass(frozen=True)
class Turn:
    """An earlier answer and what was wrong with it."""

    answer: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about one grid."""

    panels: Sequence[Image.Image]
    """In reading order; empty, like `grid`, for a verbatim captioner, which needs no look at the picture."""
    texts: tuple[str, ...]
    """Texts that came with the panels; an empty string for a panel without one."""
    markers: tuple[str, ...]
    instruction: str
    """What to describe, and the form of the answer in JSON."""
    earlier: tuple[Turn, ...] = ()
    """Answers to this question that had faults, oldest first."""
    grid: Image.Image | None = None
    """The panels as one image, for models that take a single one."""
    form: type[BaseModel] | None = None
    """The form of the answer, whose JSON schema a server may enforce; None for that of a joint caption."""
    jpegs: Jpegs | None = None
    """The panels as the captioner `sends` them, if `compose` has made them; then there is no `grid`, and `panels` are
    opened only if somebody looks at them."""


@dataclass(frozen=True)
class Answer:
    """What came back for one question: a text, or the reason why there is none."""

    text: str = ""
    """JSON in the form that the instruction asks for, or a finished caption: plain text with the task's prefix and
    all its markers in order."""
    tokens: int = 0
    """Tokens that the model wrote."""
    read: int = 0
    """Tokens that it read, images included; 0 if not known."""
    finished: bool = True
    """False if the token limit cut the answer off, or left nothing of it but thoughts. A captioner doubles the limit
    once before it says so; what then can't be read is not asked for again."""
    seconds: float = field(default=0.0, compare=False, repr=False)
    """How long it took; each answer of a batch has its share."""
    failure: str = ""
    """Kind and detail if there is no text ("timeout: no answer within 120 s"); the next run asks again."""
    cost: float = 0.0
    """What it cost, in the currency of the prices that the captioner was given; 0 if it was given none."""


class Captioner(Protocol):
    """A captioner module has `make(options) -> Captioner`.

    It can be pickled at any time and is light then: another process gets its options and loads weights of its own. No
    key or password is in what is pickled.

    One with `streams = True` is given an iterator in place of a sequence, and takes the next question when it can begin
    with it; so no question waits for the slowest of a batch.
    """

    batch: int
    """How many questions it likes to get at once."""
    verbatim: bool
    """Whether its texts were written by people; such texts are neither reworded nor asked for again. The questions of a
    verbatim captioner have no `panels` and no `grid`."""

    # One that only ever sends panels on as JPEGs may say in `sends` in which form (`jpegs.Form`): then they are made
    # when the grid is drawn, and are in the questions.
    # It may say what a worker with it `needs` of a cluster, as `Stage.needs` has it: "server" if it doesn't.

    def identity(self) -> dict[str, Any]:
        """Everything that its answers depend on besides the question: model, revision, parameters.

        Raises:
            MissingWeights: the model can't be had on this machine. Cheap: loads nothing.
            BadInput: the server does not say which model it has.
        """

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Answers as they come, each with its question's place; every question gets one. Same questions, same answers.

        What befalls one question (a refusal, a timeout, half an answer) is an `Answer` with a `failure`; what stops all
        of them (no server, no model) is raised.
        """


def conversation(
    question: Question, images: Images = "panels", panels: Sequence[object] | None = None
) -> list[dict[str, Any]]:
    """The images with their markers, then the instruction; then each earlier answer and what was wrong with it.

    Messages in the form of transformers' chat templates: parts of type "text" or "image", in reading order.

    Args:
        panels: what stands for each panel; the question's pictures if None.
    """
    content: list[dict[str, Any]] = []
    if images != "panels":
        if question.grid is None:
            raise ValueError(f"images={images!r} shows the grid, but the question has none")
        whole = f"One picture; its panels, row by row from the left, are {', '.join(question.markers)}:"
        content += [{"type": "text", "text": whole}, {"type": "image", "image": question.grid}]
    if images != "grid":
        for marker, panel in zip(question.markers, question.panels if panels is None else panels, strict=True):
            content += [{"type": "text", "text": marker}, {"type": "image", "image": panel}]
    turns = [{"role": "user", "content": [*content, {"type": "text", "text": question.instruction}]}]
    for turn in question.earlier:
        again = f"That answer has faults: {'; '.join(turn.faults)}. Answer again, whole, in the form asked for."
        turns.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        turns.append({"role": "user", "content": [{"type": "text", "text": again}]})
    return turns
