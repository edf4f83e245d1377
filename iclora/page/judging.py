"""How a text fares before it is saved: checked, scored, and compared with what the captioner answers next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iclora import stages
from iclora.page.looking import Looking
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.records import Caption, Corrections, Person, Row, Score
from pipeline.review import ties
from pipeline.review.people import redescribed
from pipeline.stages.caption import Asking
from pipeline.text import budget, grammar


@dataclass(frozen=True)
class Typed:
    """A caption as a reviewer is editing it."""

    text: str
    looks: Mapping[str, str] = field(default_factory=dict)
    """By name, how people look in all panels, where that was edited."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """By name, what about people changes from panel to panel, where that was edited."""
    said: Corrections | None = None
    """Of ties, strangers and who is in a panel."""


class Judging(Looking):
    """A run whose texts can be judged; nothing in it changes.

    `score` and `ask` take long and read no state: they may run in any thread, but each in only one at a time.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._shown: dict[str, list[str]] = {}
        """Texts that the captioner has written for a grid in this session."""

    def check(self, row: Row, typed: Typed) -> Caption:
        """The caption that a row would have with what is typed, with its problems.

        Its text is rendered anew if it tells other looks then.

        Raises:
            BadInput: it can't be said like this.
        """
        people, said = self._people(row, typed), typed.said and ties.checked(row.caption, typed.said)
        caption = self._edited(row.caption, typed.text)
        if not (people or said):
            return caption
        after = ties.described(caption, people, said)
        text = ties.retold(caption, after, people, self.task)
        return self._edited(ties.described(row.caption, people, said), text)

    def _edited(self, caption: Caption, text: str) -> Caption:
        return budget.checked(grammar.edited(caption, text, self.task), self.task, self.run.counter)

    def _people(self, row: Row, typed: Typed) -> tuple[Person, ...]:
        """People who look different from what the row says, or of whom something else changes."""
        known = {person.name: person for person in row.caption.parts.people} if row.caption.parts else {}
        said = []
        for name in dict.fromkeys((*typed.looks, *typed.changes)):
            person = known.get(name, Person(name, ""))
            looks, changes = typed.looks.get(name, person.looks), typed.changes.get(name, person.changes)
            said.append(Person(name, grammar.clean(looks), grammar.clean(changes)))
        return redescribed(row, said)

    def score(self, row: Row, typed: Typed, facts: dict[str, Any]) -> tuple[Score, ...]:
        """Scores what is typed on a row's panels against the run's thresholds.

        Raises:
            BadInput: it can't be said like this.
            ToolkitError: the scorer's model is not available.
        """
        if self.run.scorer is None:
            return ()
        from pipeline.stages.filter import score_one

        caption, run = self.check(row, typed), self.run
        return score_one(self.task, row.grid, caption, run.scorer, run.folder, run.store.cache, facts)

    def ask(self, row: Row, machine: str, place: int) -> Caption:
        """Another caption by the captioner, to be shown beside the current one; nothing in the run changes.

        Args:
            machine: the captioner's text so far.
            place: the grid's position in the run.

        Raises:
            ToolkitError: the captioner can't be asked, or has nothing new to say.
        """
        run = self.run
        if run.captioner.verbatim:
            raise BadInput(
                f"the captioner '{run.settings.captioner}' takes texts as they are and can't be asked for others."
            )
        known = self._shown.setdefault(row.id, [])
        faults = [score.reason for score in row.scores if not score.passed]
        asking = Asking(stages.captioning(run, {row.id: place}))
        caption = asking.again(row.grid, [machine, row.caption.text, *known], faults)
        known.append(caption.text)
        return caption
