"""The three uses of a reviewed group, of which `export.use` chooses one: what a sample shows, and beside what.

    grids      the whole grid and its joint caption
    panels     one panel and its own text, with other panels of the group as reference images
    sheets     the whole grid and its joint caption, with one of its panels as a reference image

Which panel refers to which: the panels that the task gives (`condition`) come first. Else a panel refers to those that
have something in common with it: people by name, or a tie that the captioner or a person has recorded. Where a caption
tells of neither, the group itself is the tie, and a panel refers to those before it. A panel that has nothing in common
with any other is left out: a reference that explains nothing teaches a model to ignore references.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import families
from pipeline.errors import BadReply
from pipeline.families.base import DESCRIPTION
from pipeline.records import Caption, Parts, Rejected, Row
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.corrections import shown_in

GRIDS, PANELS, SHEETS = "grids", "panels", "sheets"
REASON = "no reference"
"""Of what is left out because no other panel may be its reference."""


@dataclass(frozen=True)
class Target:
    """What one sample shows."""

    text: str
    """Its caption, on one line."""
    panel: int | None = None
    """The panel, from 0; None for the whole grid."""
    references: tuple[int, ...] = ()
    """The panels, from 0, that are its reference images, in the order in which a model is shown them."""


def has_references(task: Task) -> bool:
    return task.export.use != GRIDS


def noun(task: Task) -> str:
    """What one sample of a data set is called."""
    return "panel" if task.export.use == PANELS else "grid"


def targets(row: Row, task: Task) -> Iterator[Target | Rejected]:
    """The samples that a row gives, and a rejection for each panel, or the grid, that has no reference."""
    if task.export.use == GRIDS:
        yield Target(grammar.fold(row.caption.text))
        return
    texts = row.caption.panels or grammar.parse(row.caption.text, task).panels
    known = _Known(row.caption, texts, task)
    if task.export.use == SHEETS:
        chosen = known.of_the_grid()
        yield Target(_joint(row.caption, task, chosen), None, chosen) if chosen else _grid_without(row)
        return
    for panel in known.drawn:
        chosen = known.of_panel(panel)
        if not chosen or not texts[panel]:
            yield _panel_without(row, panel, known if texts[panel] else None)
        else:
            yield Target(_own(row.caption, texts[panel], task, panel, chosen), panel, chosen)


def how(task: Task) -> str:
    """How references are chosen, as a sentence for the card."""
    given = [task.markers[panel - 1] for panel in task.condition[: task.export.references]]
    if given:
        verb = "reference is" if len(given) == 1 else "references are"
        return f"The {verb} {' and '.join(given)}, which the task gives."
    if task.export.use == SHEETS:
        return "The reference is the panel that shows most of the people or things that recur in the grid."
    return (
        "The reference is the panel that has most of the named people, else of the recorded ties, in common with it; "
        "where captions record neither, the one before it."
    )


def as_trained(task: Task) -> Task:
    """The task as a training on its data set has it: a panel is a canvas of its own, and nothing is given in a canvas
    whose references are beside it. For grids, and for what this has returned, the task itself."""
    if task.export.use == GRIDS:
        return task
    changes: dict[str, Any] = {"condition": ()}
    if task.export.use == PANELS and task.grid_layout.size > 1:
        layout = task.layout.model_copy(update={"rows": 1, "cols": 1})
        group = task.group.model_copy(update={"roles": {}})
        head = _template(task).partition("{text}")[0].strip()
        changes |= {"layout": layout, "group": group, "markers": (), "stand_ins": {}, "prefix": head, "opening": ""}
    return task.model_copy(update=changes)


def _template(task: Task) -> str:
    references = families.load(task.base).references
    return references.template if references else DESCRIPTION


# ---- which panels


class _Known:
    """What is known of the panels of one grid that they have in common."""

    def __init__(self, caption: Caption, texts: Sequence[str], task: Task) -> None:
        """
        Args:
            texts: of the panels.
        """
        parts = caption.parts
        self.most, self.given = task.export.references, [panel - 1 for panel in task.condition]
        self.people = [
            frozenset(shown_in(parts, panel) if parts else grammar.people(text)) for panel, text in enumerate(texts)
        ]
        self.ties = [frozenset(tie.panels) for tie in parts.ties] if parts else []
        self.in_order = not self.given and not any(self.people) and not self.ties
        """Whether nothing but the order of the panels is known."""

    @property
    def drawn(self) -> list[int]:
        """The panels that a model is to draw; the others are references only."""
        return [panel for panel in range(len(self.people)) if panel not in self.given and (panel or not self.in_order)]

    def of_panel(self, panel: int) -> tuple[int, ...]:
        """The references of a panel, the best first."""
        if self.given:
            return tuple(self.given[: self.most])
        if self.in_order:
            return tuple(reversed(range(panel)))[: self.most]
        ties = [tie for tie in self.ties if panel in tie]
        return self._best(self.people[panel], ties, panel)

    def of_the_grid(self) -> tuple[int, ...]:
        """The references of the whole grid, the best first."""
        if self.given or self.in_order:
            return tuple((self.given or range(len(self.people)))[: self.most])
        counts = Counter(name for names in self.people for name in names)
        return self._best(frozenset(name for name, count in counts.items() if count > 1), self.ties)

    def _best(
        self, people: frozenset[str], ties: Sequence[frozenset[int]], target: int | None = None
    ) -> tuple[int, ...]:
        """The panels that show some of these people or ties. Each shows as many people as it can of those that the ones
        before it don't; then what shows fewer others, has more ties, comes before the target, and is nearer to it goes
        first."""
        tied = [sum(panel in tie for tie in ties) for panel in range(len(self.people))]
        left = [panel for panel, shown in enumerate(self.people) if panel != target and (shown & people or tied[panel])]
        chosen: list[int] = []
        while left and len(chosen) < self.most:
            missing = people.difference(*(self.people[panel] for panel in chosen))
            place = target or 0

            def rank(panel: int, missing: frozenset[str] = missing, place: int = place) -> tuple[int, ...]:
                shown = self.people[panel]
                alike = (len(shown & missing), len(shown & people), -len(shown - people), tied[panel])
                return *alike, panel < place, -abs(panel - place)

            chosen.append(max(left, key=rank))
            left.remove(chosen[-1])
        return tuple(chosen)


def _grid_without(row: Row) -> Rejected:
    detail = f"In {row.id} no person and no recorded tie is in two panels, so none can be the reference of the grid."
    return Rejected(row.id, row.grid.path, REASON, detail)


def _panel_without(row: Row, panel: int, known: _Known | None) -> Rejected:
    """The rejection of a panel without a reference; without a text, if nothing is `known`."""
    part, what = f"{row.id}#{panel + 1}", f"{row.grid.path} panel {panel + 1}"
    if known is None:
        return Rejected(part, what, "no caption", f"Panel {panel + 1} of {row.id} has no text of its own.")
    named = ", ".join(f"<{name}>" for name in sorted(known.people[panel])) or "nobody"
    detail = (
        f"Panel {panel + 1} of {row.id} shows {named} and has no person and no recorded tie in common with another "
        "panel, so none can be its reference."
    )
    return Rejected(part, what, REASON, detail)


# ---- captions


def _joint(caption: Caption, task: Task, references: Sequence[int]) -> str:
    """The joint caption without the looks that a reference shows; one that a person has worded stays as it is."""
    if caption.parts is None or _rendered(caption.parts, task).text != caption.text:
        return grammar.fold(caption.text)
    return grammar.text_of(caption.parts, as_trained(task), references)


def _own(caption: Caption, text: str, task: Task, panel: int, references: Sequence[int]) -> str:
    """The caption of one panel; a text that a person has worded stays as it is."""
    if caption.parts is not None and _rendered(caption.parts, task).panels[panel] == text:
        text = grammar.inherited(caption.parts, panel, references, task)
    return grammar.fold(_template(task).replace("{text}", grammar.sentence(text)))


def _rendered(parts: Parts, task: Task) -> Caption:
    """The caption as its parts give it; one without texts where they give none."""
    try:
        return grammar.parse(grammar.text_of(parts, task), task)
    except BadReply:  # a person's text has a marker where none can be
        return Caption("", "", "", ("",) * len(parts.panels))
