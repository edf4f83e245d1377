"""Grid + Task + Captioner -> Caption: ask, read, check, ask again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline import families, pixels
from pipeline.cache import Cache
from pipeline.captioning import contract, instructions, replies, thoughts
from pipeline.captioning.ahead import ahead
from pipeline.captioning.answers import KEPT, Answers, sent_back
from pipeline.captioning.jpegs import Ready, Unopened
from pipeline.captioning.protocol import CUT_OFF, FINAL, GIVEN_UP, THINKING, Answer, Captioner, Question
from pipeline.captioning.streak import Streak
from pipeline.engines.base import Facts, Stage
from pipeline.errors import Abstained, BadInput, BadReply, Stopped
from pipeline.records import Caption, Grid, Rejected
from pipeline.task import Task
from pipeline.text import budget, grammar, lint, names
from pipeline.text.counters import TokenCounter
from pipeline.wording import counted

if TYPE_CHECKING:
    from PIL import Image

UNTOLD = "no text"
"""Why a grid has no caption where texts that came along are taken, and it has none."""


@dataclass(frozen=True)
class Parameters:
    """What the captions of a task depend on besides the grids."""

    task: Task
    captioner: Captioner
    """Pickled without its weights, which every process loads at its first question."""
    folder: Path
    """The run's folder, which has the grids' pictures."""
    cache: Cache
    counter: TokenCounter
    places: Mapping[str, int]
    """By grid id, its place in the run, which decides what its people are called."""
    streak: Streak = field(default_factory=Streak, compare=False)
    """Says when to stop asking; no caption depends on it."""


def places(grids: Sequence[Grid]) -> dict[str, int]:
    """Each grid's place in the run, by its id."""
    return {grid.id: place for place, grid in enumerate(grids)}


def stage(parameters: Parameters, earlier: Sequence[Caption] = ()) -> Stage[Grid]:
    """The caption stage. It is not done while a question is unanswered that has not been given up.

    Args:
        earlier: captions that an earlier run made.
    """
    unanswered = any(caption.failure not in ("", *FINAL) for caption in earlier)
    asking, task = Asking(parameters), parameters.task
    config = {
        "task": task.name,
        "prefix": task.prefix,
        "opening": task.opening,
        "markers": task.markers,
        "stand_ins": task.stand_ins,
        "base": families.identity(task.base),
        "caption": task.caption.model_dump(),
        "seed": task.seed,
        "captioner": asking.answers.identity,
        "instruction": asking.instruction,
        "counter": parameters.counter.identity,
    }
    return Stage(
        "caption",
        "captions",
        partial(caption, parameters=parameters),
        config,
        batch=parameters.captioner.batch,
        streams=not parameters.captioner.verbatim,
        needs=getattr(parameters.captioner, "needs", "server"),
        intact=lambda: not unanswered,
        facts=asking.facts,
    )


def caption(grids: Sequence[Grid], *, parameters: Parameters) -> Iterator[Caption | Rejected | Facts]:
    """One caption per grid, in their order; grids that the captioner finds unrelated are rejected.

    Raises:
        Stopped: the captioner can't be asked, or fails in the same way again and again.
    """
    asking = Asking(parameters)
    yield from asking.caption(grids)
    yield Facts({"asked": asking.answers.asked, "answers from the cache": asking.answers.known})


@dataclass
class _Open:
    """A grid that has no good caption yet."""

    place: int
    """Among the grids of the stage."""
    grid: Grid
    question: Question
    key: str
    """Of the question, by which its answer is kept."""
    best: Caption | None = None
    attempts: int = 0
    failure: str = ""
    """Why there is no answer to the last question."""
    unrelated: str = ""
    """Why the captioner finds that the panels don't belong together."""

    @property
    def good(self) -> bool:
        """Whether it is settled for good: described without a problem, or found unrelated."""
        return bool(self.unrelated) or (self.best is not None and not self.best.problems)

    @property
    def waits(self) -> bool:
        """Whether there is a question to ask; one that got no answer is left to another run."""
        return not self.failure and not self.good

    def take(self, answer: Answer, caption: Caption) -> None:
        """Keeps the caption if it is the best so far, and adds the answer's faults to the question."""
        if self.best is None or _faults(caption) < _faults(self.best):
            self.best = caption
        self.question = sent_back(self.question, answer, caption.problems)


class _Settled(NamedTuple):
    """What became of a grid."""

    place: int
    """Among the grids of the stage."""
    result: Caption | Rejected
    good: bool


class Asking:
    """Asks one captioner for the captions of one task."""

    def __init__(self, parameters: Parameters) -> None:
        """
        Raises:
            MissingWeights: the captioner's model can't be had on this machine.
        """
        self.task, self.captioner, self.counter = parameters.task, parameters.captioner, parameters.counter
        self.folder, self.places, self.streak = parameters.folder, parameters.places, parameters.streak
        form = contract.form_of(self.captioner)
        self.ready = Ready(parameters.cache, form) if form else None
        self.instruction = instructions.write(self.task)
        self.answers = Answers(self.captioner, parameters.cache, instructions.id_of(self.instruction))

    def facts(self, captions: Sequence[Caption]) -> dict[str, Any]:
        """What the report says about the captions and what they cost."""
        return {
            "captioner": self.answers.identity,
            "instruction": instructions.id_of(self.instruction),
            "asked": 0,  # unless a batch says otherwise
            "answers from the cache": 0,
            "spent": self.answers.spent(),
            "attempts": dict(sorted(Counter(str(caption.attempts) for caption in captions).items())),
            "failures": dict(Counter(caption.failure for caption in captions if caption.failure)),
            "remarks": list(self._remarks(captions)),
            "without a caption": dict(
                Counter(self._lacking(caption) for caption in captions if not _described(caption))
            ),
            "length": budget.facts(captions, self.task, self.counter),
        }

    def _remarks(self, captions: Sequence[Caption]) -> Iterator[str]:
        """What a person should know at once of captions that were taken from texts, since nobody is asked for them."""
        if not self.captioner.verbatim:
            return
        bare = [sum(not text for text in caption.panels) for caption in captions if not all(caption.panels)]
        if bare:
            yield (
                f"{counted(sum(bare), 'panel')} in {len(bare)} of {counted(captions, 'grid')} came without a text; "
                "write their captions in captions.csv or on the review page, or put texts beside the pictures."
            )
        if lacking := sum(lint.no_summary(self.task) in caption.problems for caption in captions):
            yield f"{lacking} of {len(captions)} captions have no summary; write one in the table's column 'summary'."

    def caption(self, grids: Sequence[Grid]) -> Iterator[Caption | Rejected]:
        """One caption per grid, in their order. A grid whose last answer still has faults keeps its best one, with its
        problems."""
        if self.captioner.verbatim:
            questions = [self._question(grid) for grid in grids]
            for place, answer in contract.ask(self.captioner, questions):
                said = self._unanswered(answer.failure) if answer.failure else self._verbatim(answer, grids[place])
                yield self._signed(said, grids[place], attempts=0 if answer.failure else 1)
            return
        waiting: dict[int, _Settled] = {}
        unreadable: list[BadInput] = []
        following = 0
        with closing(ahead(self._opened, enumerate(grids))) as opened:

            def cases() -> Iterator[_Open]:
                try:
                    yield from opened
                except BadInput as error:  # raised once the answers that are under way have come
                    unreadable.append(error)

            try:
                for settled in self.answers.settle(cases(), self._settle):
                    waiting[settled.place] = settled
                    # While one question after the other fails, nobody knows whether that is the grids' fault.
                    while following in waiting and not self.streak.length:
                        yield waiting.pop(following).result
                        following += 1
                if unreadable:
                    raise unreadable[0]
            except BadInput as error:
                yield from (waiting[place].result for place in sorted(waiting) if waiting[place].good)
                raise Stopped(str(error)) from error
        yield from (waiting[place].result for place in sorted(waiting))

    def _opened(self, numbered: tuple[int, Grid]) -> _Open:
        place, grid = numbered
        question = self._question(grid)
        return _Open(place, grid, question, self.answers.key(question))

    def _settle(self, case: _Open, answer: Answer, asked: bool) -> _Settled | None:
        """Takes an answer; None if there is another question to ask.

        Raises:
            BadInput: no other question would get an answer either.
        """
        self._take(case, answer)
        if asked:
            self.streak.add(case.failure)
        if case.waits and case.attempts < self.task.caption.attempts:
            case.key = self.answers.key(case.question)
            return None
        if self.ready and not case.failure:
            self.ready.drop(case.grid)  # who asks about it later opens its picture
        return _Settled(case.place, self._result(case), case.good)

    def again(self, grid: Grid, shown: Sequence[str], faults: Sequence[str]) -> Caption:
        """A caption of a grid other than those that a person has seen, which go back one by one with their faults.

        Args:
            shown: texts of the captions that the person has seen.
            faults: what is wrong with them beyond what the linter finds.

        Raises:
            BadReply: the captioner writes no other; the message says why.
        """
        most = len(shown) + self.task.caption.attempts

        def take(case: _Open, answer: Answer, _: bool) -> Caption | None:
            if answer.failure:
                raise BadReply(f"the captioner gave no answer ({answer.failure}).")
            earlier = case.question.earlier
            caption = self._signed(self._named(self._read(answer), grid), grid, len(earlier) + 1)
            if all(caption.panels) and caption.text not in shown:
                return caption
            if len(earlier) + 1 == most:
                raise BadReply(f"the captioner wrote nothing new that can be read in {most} answers.")
            wrong = tuple(dict.fromkeys((*caption.problems, *faults))) or ("a different wording is wanted",)
            case.question = sent_back(case.question, answer, wrong)
            case.key = self.answers.key(case.question)
            return None

        (caption,) = self.answers.settle([self._opened((0, grid))], take)
        return caption

    def _take(self, case: _Open, answer: Answer) -> None:
        """Takes the answer to the case's question, or notes that there is none."""
        case.failure = answer.failure
        if answer.failure:
            return
        case.attempts += 1
        try:
            case.take(answer, self._read(answer))
        except Abstained as abstained:
            case.unrelated = str(abstained)
        except BadReply as error:
            case.failure = str(error)

    def _result(self, case: _Open) -> Caption | Rejected:
        """What becomes of a grid after its last question; one without any answer still gets its row."""
        if case.unrelated:
            return Rejected(case.grid.id, case.grid.path, "abstained", case.unrelated)
        best = self._named(case.best, case.grid) if case.best else None
        caption = self._unanswered(case.failure, best) if case.failure or best is None else best
        return self._signed(caption, case.grid, case.attempts)

    def _unanswered(self, failure: str, best: Caption | None = None) -> Caption:
        """The best caption so far, or an empty one, with the reason why the last question has no answer."""
        caption = best or Caption("", "", "", ("",) * len(self.task.markers))
        kind, _, why = failure.partition(": ")
        reason = f"no answer yet ({failure}); the next run asks again"
        if kind in FINAL:
            reason = why if kind == GIVEN_UP else f"no answer ({failure})"
        return replace(caption, failure=kind, problems=(reason, *caption.problems))

    def _question(self, grid: Grid) -> Question:
        """The question about a grid. Texts that are adopted word for word need no look at the picture."""
        jpegs = self.ready.find(grid) if self.ready else None
        picture = None if jpegs or self.captioner.verbatim else self._picture(grid)
        panels: Sequence[Image.Image] = pixels.cut(picture, grid.layout) if picture else ()
        return Question(
            panels=Unopened(partial(self._panels, grid), grid.layout.size) if jpegs else tuple(panels),
            texts=tuple(record.text for record in grid.group.records),
            markers=self.task.markers,
            instruction=self.instruction,
            grid=picture,
            jpegs=jpegs,
        )

    def _picture(self, grid: Grid) -> Image.Image:
        return pixels.open_image(self.folder / grid.path)

    def _panels(self, grid: Grid) -> Sequence[Image.Image]:
        return pixels.cut(self._picture(grid), grid.layout)

    def _read(self, answer: Answer) -> Caption:
        """The caption in a model's answer; its problems are worded for the model and for a person.

        Raises:
            Abstained: the model finds that the panels don't belong together.
            BadReply: there is nothing in it that could be read, because its tokens were spent; the message has the form
                of a failure.
        """
        faults: list[str] = []
        if not answer.finished:
            faults.append("the answer is longer than captioner.max_new_tokens allows and was cut off")
        try:
            said = replies.read(answer.text, self.task)
            caption = self._spelt(said)
            faults += [fault for fault in said.problems if fault not in lint.faults(said, self.task)]
        except Abstained:
            raise
        except BadReply as error:
            text = thoughts.cut(answer.text)
            if not answer.finished:
                raise BadReply(_spent(text)) from error
            caption = grammar.parse(text[:KEPT], self.task)
            faults.append(str(error))
        return self._checked(replace(caption, problems=(*faults, *caption.problems)))

    def _spelt(self, caption: Caption) -> Caption:
        """Every person under one spelling, in brackets everywhere: not worth asking again."""
        spelt: dict[str, str] = {}
        return self._with_names(caption, {name: spelt.setdefault(name.casefold(), name) for name in caption.names})

    def _with_names(self, caption: Caption, names: Mapping[str, str]) -> Caption:
        """The caption with other names for its people, in brackets everywhere."""
        if caption.parts:
            return grammar.caption_of(grammar.renamed(caption.parts, names), self.task)
        return grammar.parse(grammar.rename(grammar.bracket_names(caption.text, caption.names), names), self.task)

    def _verbatim(self, answer: Answer, grid: Grid) -> Caption:
        """The caption in texts that people wrote, word for word: its faults are for a person to mend."""
        texts = [record.text for record in grid.group.records]
        try:
            said = replies.read(answer.text, self.task)
            caption = grammar.parse(said.text, self.task) if said.parts else said  # with looks as they wrote them
        except BadReply:
            caption = grammar.parse(" ".join(dict.fromkeys(texts)), self.task)
        bare = [marker for marker, text in zip(self.task.markers, texts, strict=True) if not text]
        none = [f"no text came with {', '.join(bare)}"] if bare else []
        return self._checked(replace(caption, problems=(*none, *caption.problems)))

    def _checked(self, caption: Caption) -> Caption:
        return budget.checked(caption, self.task, self.counter)

    def _named(self, caption: Caption, grid: Grid) -> Caption:
        """Whatever a model calls people, they get names of ours, or one culture's favourites would be everywhere."""
        drawn = names.draw(len(caption.names), self.places[grid.id], self.task.seed)
        given = dict(zip(caption.names, drawn, strict=True))
        problems = tuple(grammar.rename(problem, given) for problem in caption.problems)
        return replace(self._with_names(caption, given), problems=problems)

    def _signed(self, caption: Caption, grid: Grid, attempts: int) -> Caption:
        prompt = "" if self.captioner.verbatim else instructions.id_of(self.instruction)
        kind = str(self.answers.identity["captioner"])
        return replace(caption, grid=grid.id, captioner=kind, prompt=prompt, attempts=attempts)

    def _lacking(self, caption: Caption) -> str:
        """Why a caption is none, in a word or two."""
        return caption.failure or (UNTOLD if self.captioner.verbatim else "unreadable")


def _described(caption: Caption) -> bool:
    return any(caption.panels)


def _spent(text: str) -> str:
    """The failure of an answer whose tokens were spent before it could be read.

    Args:
        text: of the answer, without thoughts.
    """
    more = "allow more with --set captioner.max_new_tokens=4096"
    if text.strip():
        return f"{CUT_OFF}: twice the tokens of captioner.max_new_tokens did not suffice for the answer; {more}"
    return (
        f"{THINKING}: twice the tokens of captioner.max_new_tokens went into thinking before any answer was written; "
        f"turn it off with --set captioner.thinking=off, or {more}"
    )


def lacks_all(facts: Mapping[str, Any], captions: int) -> bool:
    """Whether none of so many grids has got a caption from the captioner that was asked; where texts came along, a
    person may be going to write them."""
    lacking = {reason: count for reason, count in (facts.get("without a caption") or {}).items() if reason != UNTOLD}
    return captions > 0 and sum(lacking.values()) == captions


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """What a person is told about a finished stage: how many grids have no caption, and why."""
    lacking = facts.get("without a caption") or {}
    if not lacking:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lacking.items(), key=lambda one: -one[1]))
    again = set(lacking) - {*FINAL, UNTOLD, "unreadable"}
    way = "; the same command asks again" if again else ""
    count = sum(lacking.values())
    yield f"{count} {'grid has' if count == 1 else 'grids have'} no caption ({reasons}){way}."


def _faults(caption: Caption) -> tuple[int, int]:
    """Sort key of captions, best first: a panel without a text weighs more than any other fault."""
    return sum(not text for text in caption.panels), len(caption.problems)
