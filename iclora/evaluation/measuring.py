"""Measures drawn grids by a run's scorer, on the scale of the run's own grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclora.evaluation.results import Drawn
from pipeline import pixels
from pipeline.consistency.scorers.base import Scorer
from pipeline.errors import BadInput
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from pipeline.text import grammar
from training import dataset
from training.evaluation.measures import Vectors, calibrate, measure, panels_of
from training.generator import GenerationRequest

if TYPE_CHECKING:
    from PIL import Image


class Measuring:
    """Vectors of pictures and texts by a scorer, and the scale of a run's own grids.

    Raises:
        BadInput: real grids are too few, or no better than shuffled ones.
    """

    def __init__(self, scorer: Scorer, task: Task, data: dataset.Data) -> None:
        self._scorer, self._task, self._texts = scorer, task, dict[str, Any]()
        held_out, trained = (
            [self.vectors(_panels(sample), sample.text) for sample in side] for side in (data.held_out, data.train)
        )
        self.trained = panels_of(trained)
        try:
            self.scale = calibrate(held_out, trained)
        except ValueError as error:
            raise BadInput(
                f"nothing can be measured on this run: {error}; add grids, or use another scorer."
            ) from error

    def vectors(self, panels: Sequence[Image.Image], text: str) -> Vectors:
        if text not in self._texts:
            self._texts[text] = self._scorer.text_vectors(grammar.parse(text, self._task).panels)
        return Vectors(self._scorer.image_vectors(panels), self._texts[text])


def _panels(sample: TrainingSample) -> list[Image.Image]:
    return pixels.cut(pixels.open_image(Path(sample.path)), sample.layout)


def measured(
    name: str,
    requests: Sequence[GenerationRequest],
    drawn: Sequence[Image.Image],
    layout: Layout,
    measuring: Measuring,
    folder: Path,
) -> Iterator[Drawn]:
    home, scale = Path(name.replace("/", "_")), measuring.scale
    (folder / home).mkdir(parents=True, exist_ok=True)
    for number, (request, grid) in enumerate(zip(requests, drawn, strict=True), 1):
        file = home / f"{number:04d}.png"
        grid.save(folder / file)
        found = measure(measuring.vectors(pixels.cut(grid, layout), request.prompt), measuring.trained)
        yield Drawn(
            name,
            request.prompt,
            request.seed,
            file,
            found,
            scale.followed(found),
            scale.kept(found),
            scale.is_copy(found),
            scale.is_memorised(found),
        )
