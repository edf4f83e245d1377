"""What panels are measured with: a run's scorer, and the image encoder and the detector that were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iclora.run import Run
from pipeline import plugins, task
from pipeline.consistency.scorers.base import Scorer
from pipeline.errors import BadInput
from pipeline.pixels import subject
from pipeline.records import Caption
from pipeline.task import Given
from pipeline.text import grammar
from training.evaluation import subjects
from training.evaluation.detectors.base import Detection, Detector
from training.evaluation.image_encoders.base import ImageEncoder
from training.evaluation.measures import Floats, Vectors

if TYPE_CHECKING:
    from PIL import Image

Options = Mapping[str, dict[str, Any]]
"""Of the plug-ins of an evaluation, by the option that chooses one: vectors, detector, judge."""


@dataclass(frozen=True)
class Instruments:
    """The plug-ins that measure."""

    scorer: Scorer
    encoder: ImageEncoder | None
    """Compares panels with each other; None if the scorer does."""
    detector: Detector | None

    def identity(self) -> dict[str, Any]:
        """What the figures depend on.

        Raises:
            MissingWeights: a model is not on this machine and can't be fetched.
        """
        return {
            "scorer": self.scorer.identity(),
            "image encoder": (self.encoder or self.scorer).identity(),
            "detector": self.detector.identity() if self.detector else None,
        }

    def looks(self, images: Sequence[Image.Image]) -> Floats:
        """The vectors by which panels are compared with each other."""
        return (self.encoder or self.scorer).image_vectors(images)

    def vectors(self, panels: Sequence[Image.Image], caption: Caption, texts_ND: Floats) -> Vectors:
        """What is measured of a grid.

        Args:
            texts_ND: the scorer's vectors of the panels' own texts.
        """
        encoder = self.encoder or self.scorer
        found = self.detector.detect(panels) if self.detector else None
        boxes = [[subject.box_of(panel)] for panel in panels] if found is None else map(subjects.boxes, found)
        backgrounds = [subjects.without(panel, some) for panel, some in zip(panels, boxes, strict=True)]
        crops = [subjects.crop(*pair) for pair in zip(panels, found, strict=True)] if found else []
        return Vectors(
            self.scorer.image_vectors(panels),
            texts_ND,
            compared_NE=self.encoder.image_vectors(panels) if self.encoder else None,
            backgrounds_NE=encoder.image_vectors(backgrounds),
            subjects_NE=encoder.image_vectors(crops) if crops else None,
            people=_people(found, caption) if found else None,
        )


def _people(found: Sequence[Sequence[Detection]], caption: Caption) -> float | None:
    """How well the people in the panels agree with those named in their texts, on average; None if nobody is named.

    Whoever is named in the summary alone is in every panel.
    """
    named = [len(grammar.people(text)) for text in caption.panels]
    if not any(named):
        named = [len(grammar.people(caption.summary))] * len(named)
    if not any(named):
        return None
    agreements = [subjects.agreement(subjects.count(one), told) for one, told in zip(found, named, strict=True)]
    return sum(agreements) / len(agreements)


def by_section(settings: Given, **chosen: str | None) -> Options:
    """The settings of an evaluation, by the plug-in that has them.

    Args:
        settings: such as `{"vectors.model": "vit_base_patch14_dinov2.lvd142m"}`.
        chosen: the plug-in of every section, by name or path; None for none.

    Raises:
        BadInput: a setting is for no section, or for one without a plug-in.
    """
    options: dict[str, dict[str, Any]] = {section: {} for section in chosen}
    for key, value in task.parse_settings(settings).items():
        section, _, name = key.partition(".")
        if section not in options or not name:
            raise BadInput(f"an evaluation has the settings {', '.join(f'{one}.*' for one in options)}, got {key}.")
        if not chosen[section]:
            raise BadInput(f"{section}.* is set without --{section}, whose plug-in has such options; name one.")
        options[section][name] = value
    return options


def open_instruments(run: Run, vectors: str | None, detector: str | None, options: Options) -> Instruments:
    """
    Args:
        vectors: an image encoder, by name or path.
        detector: by name or path.

    Raises:
        BadInput: the run has no scorer, there is no such plug-in, or an option is wrong.
    """
    if run.scorer is None:
        raise BadInput("without a scorer nothing can be measured; set one with --scorer, such as open_clip.")
    encoder = plugins.make(plugins.IMAGE_ENCODERS, vectors, options["vectors"]) if vectors else None
    finder = plugins.make(plugins.DETECTORS, detector, options["detector"]) if detector else None
    return Instruments(run.scorer, encoder, finder)
