"""Measures drawn grids on the scale of a run's own grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from iclora.evaluation.instruments import Instruments
from iclora.evaluation.results import Drawn
from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from pipeline.text import grammar, looks
from training import dataset
from training.evaluation import seams
from training.evaluation.measures import Floats, Vectors, calibrate, measure, panels_of
from training.generator import GenerationRequest

if TYPE_CHECKING:
    from PIL import Image


class Measuring:
    """Vectors of grids, and the scale of a run's own.

    Args:
        given: panels, from 0, that are not drawn but given.

    Raises:
        BadInput: real grids are too few, or no better than shuffled ones.
    """

    def __init__(self, instruments: Instruments, task: Task, data: dataset.Data, given: tuple[int, ...] = ()) -> None:
        self._instruments, self._task, self._given = instruments, task, given
        self._texts = dict[str, Floats]()
        held_out, trained = (
            [self._vectors(panels_in(sample), sample.text) for sample in side] for side in (data.held_out, data.train)
        )
        self._real = dict(zip((sample.text for sample in data.held_out), held_out, strict=True)) if given else {}
        self.trained = panels_of(trained)
        try:
            self.scale = calibrate(held_out, trained)
        except ValueError as error:
            raise BadInput(
                f"nothing can be measured on this run: {error}; add grids, or use another scorer."
            ) from error

    def tells_looks_each_time(self, prompt: str) -> bool:
        """Whether each panel's own text tells what the others do, which the base draws too."""
        return looks.in_every_panel(grammar.parse(prompt, self._task))

    def vectors(self, panels: Sequence[Image.Image], request: GenerationRequest) -> Vectors:
        """What is measured of a drawn grid."""
        found, real = self._vectors(panels, request.prompt), self._real.get(request.prompt)
        return replace(found, given=tuple(request.given), real_NE=real.looks_NE if real and request.given else None)

    def _vectors(self, panels: Sequence[Image.Image], text: str) -> Vectors:
        caption = grammar.parse(text, self._task)
        if text not in self._texts:
            self._texts[text] = self._instruments.scorer.text_vectors(caption.panels)
        return replace(self._instruments.vectors(panels, caption, self._texts[text]), given=self._given)


def panels_in(sample: TrainingSample) -> list[Image.Image]:
    """The panels of a real grid."""
    return pixels.cut(pixels.open_image(Path(sample.path)), sample.layout)


def measured(
    name: str,
    requests: Sequence[GenerationRequest],
    drawn: Sequence[Image.Image],
    layout: Layout,
    measuring: Measuring,
    folder: Path,
) -> Iterator[Drawn]:
    """Writes and measures the grids that a candidate has drawn."""
    home, scale = Path(name.replace("/", "_")), measuring.scale
    (folder / home).mkdir(parents=True, exist_ok=True)
    for number, (request, grid) in enumerate(zip(requests, drawn, strict=True), 1):
        file = home / f"{number:04d}.png"
        grid.save(folder / file)
        found = measure(measuring.vectors(pixels.cut(grid, layout), request), measuring.trained)
        faults, subjects = seams.faults(grid, layout, request.given), scale.kept_subjects(found)
        yield Drawn(
            name,
            request.prompt,
            request.seed,
            file,
            found,
            0.0 if faults else scale.followed(found),
            0.0 if faults else scale.kept(found),
            scale.is_copy(found),
            scale.is_memorised(found),
            varied=scale.varied(found),
            kept_subjects=0.0 if faults and subjects is not None else subjects,
            told_each=measuring.tells_looks_each_time(request.prompt),
            malformed=bool(faults),
            faults="; ".join(faults),
        )
