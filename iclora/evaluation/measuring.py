"""Measures drawn grids on the scale of a run's own grids."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from iclora.evaluation.instruments import Instruments
from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from pipeline.text import grammar, looks
from training import dataset
from training.evaluation import seams
from training.evaluation.measures import Floats, Measures, Vectors, calibrate, measure, panels_of

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Grade:
    """What is measured of one drawn grid, on the scale of a run's own."""

    measures: Measures
    followed: float
    """0 as shuffled real grids, 1 as real ones; 0 for copies and malformed grids."""
    kept: float
    copy: bool
    """Whether two of its panels are the same picture."""
    memorised: bool
    """Whether one of its panels is one that was trained on."""
    varied: float
    """How much the scene changes: 0 if it stays the same, 1 as in real grids."""
    kept_subjects: float | None
    """As `kept`, of subjects cut out of their panels; None without a detector."""
    told_each: bool
    """Whether each panel's own text tells what the others do, which the base draws too."""
    faults: str
    """What is malformed, such as "panel 2 is blank"; empty if nothing is."""

    @property
    def malformed(self) -> bool:
        """Whether its panels are not where the layout says."""
        return bool(self.faults)


class Measuring:
    """Grades drawn grids on the scale of a run's own.

    Args:
        given: panels, from 0, that are not drawn but given.

    Raises:
        BadInput: real grids are too few, or no better than shuffled ones.
    """

    def __init__(self, instruments: Instruments, task: Task, data: dataset.Data, given: tuple[int, ...] = ()) -> None:
        self._instruments, self._task, self._given = instruments, task, given
        self._texts = dict[str, Floats]()
        held_out, trained = (
            [self._vectors(panels_in(sample), sample.text, beside(sample)) for sample in side]
            for side in (data.held_out, data.train)
        )
        self._real = dict(zip((sample.text for sample in data.held_out), held_out, strict=True)) if given else {}
        self._trained = panels_of(trained)
        try:
            self.scale = calibrate(held_out, trained)
        except ValueError as error:
            raise BadInput(
                f"nothing can be measured on this run: {error}; add grids, or use another scorer."
            ) from error

    def grade(
        self,
        grid: Image.Image,
        layout: Layout,
        prompt: str,
        given: Collection[int] = (),
        references: Sequence[Image.Image] = (),
    ) -> Grade:
        """
        Args:
            grid: at the size of the layout.
            given: panels, from 0, that were given.
            references: what a single panel is to keep together with.
        """
        real = self._real.get(prompt) if given else None
        vectors = replace(
            self._vectors(pixels.cut(grid, layout), prompt, references),
            given=tuple(given),
            real_NE=real.looks_NE if real else None,
        )
        found, scale = measure(vectors, self._trained), self.scale
        faults, subjects = seams.faults(grid, layout, given), scale.kept_subjects(found)
        return Grade(
            measures=found,
            followed=0.0 if faults else scale.followed(found),
            kept=0.0 if faults else scale.kept(found),
            copy=scale.is_copy(found),
            memorised=scale.is_memorised(found),
            varied=scale.varied(found),
            kept_subjects=0.0 if faults and subjects is not None else subjects,
            told_each=looks.in_every_panel(grammar.parse(prompt, self._task)),
            faults="; ".join(faults),
        )

    def _vectors(self, panels: Sequence[Image.Image], text: str, references: Sequence[Image.Image] = ()) -> Vectors:
        caption = grammar.parse(text, self._task)
        if text not in self._texts:
            own = caption.panels or (caption.summary,)  # a single panel has no marker
            self._texts[text] = self._instruments.scorer.text_vectors(own)
        beside_NE = self._instruments.looks(references) if references else None
        found = self._instruments.vectors(panels, caption, self._texts[text])
        return replace(found, given=self._given, beside_NE=beside_NE)


def panels_in(sample: TrainingSample) -> list[Image.Image]:
    """The panels of a real grid."""
    return pixels.cut(pixels.open_image(Path(sample.path)), sample.layout)


def beside(sample: TrainingSample) -> list[Image.Image]:
    """The reference images of a single panel; none of a grid, whose panels are compared with each other."""
    return [] if sample.layout.size > 1 else [dataset.open_reference(one) for one in sample.references]
