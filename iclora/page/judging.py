"""How a text fares before it is saved: checked, scored, and compared with what the captioner answers next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iclora import stages
from iclora.page.looking import Looking
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.records import Caption, Person, Row, Score
from pipeline.review.people import redescribed, with_looks
from pipeline.stages.caption import Asking
from pipeline.text import budget, grammar


class Judging(Looking):
    """A run whose texts can be judged; nothing in it changes.

    `score` and `ask` take long and read no state: they may run in any thread, but each in only one at a time.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._shown: dict[str, list[str]] = {}
        """Texts that the captioner has written for a grid in this session."""

    def check(self, row: Row, text: str, looks: Mapping[str, str] | None = None) -> Caption:
        """The caption that a row would have with a text and other looks of people, with its problems.

        Args:
            looks: by name; if they differ from the row's, the text is rendered anew.

        Raises:
            BadInput: someone's looks can't be written like this.
        """
        people, caption = self._people(row, looks), self._edited(row.caption, text)
        if not people or not row.caption.parts:
            return caption
        parts = grammar.redescribed(row.caption.parts, people)
        anew = with_looks(caption, people, self.task)
        return self._edited(replace(row.caption, parts=parts), anew)

    def _edited(self, caption: Caption, text: str) -> Caption:
        return budget.checked(grammar.edited(caption, text, self.task), self.task, self.run.counter)

    def _people(self, row: Row, looks: Mapping[str, str] | None) -> tuple[Person, ...]:
        """People whose looks differ from the row's; what changes about them from panel to panel stays."""
        parts = row.caption.parts
        changes = {person.name: person.changes for person in parts.people} if parts else {}
        said = [Person(name, grammar.clean(told), changes.get(name, "")) for name, told in (looks or {}).items()]
        return redescribed(row, said)

    def score(
        self, row: Row, text: str, facts: dict[str, Any], looks: Mapping[str, str] | None = None
    ) -> tuple[Score, ...]:
        """Scores a text on a row's panels against the run's thresholds.

        Raises:
            BadInput: someone's looks can't be written like this.
            ToolkitError: the scorer's model is not available.
        """
        if self.run.scorer is None:
            return ()
        from pipeline.stages.filter import score_one

        caption, run = self.check(row, text, looks), self.run
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
