"""One training: what is learnt from which data, by which model, and where it goes. Loads no weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline import files, plugins
from pipeline.cache import Cache
from pipeline.errors import BadInput, MissingWeights
from pipeline.plugins import Plugin
from pipeline.records import Layout, Reference, TrainingSample
from pipeline.sources.names import listed
from pipeline.task import Task
from training import backends, conditions, dataset, random_streams
from training.backends.base import Backend
from training.conditions import Condition, Given
from training.config import Config, scaled
from training.dataset import Data, Prompt, View
from training.evaluation.grid_scorer import GridScorer

USUAL = "flux-1"
"""The family of a model that neither its folder nor its name tells."""


@dataclass(frozen=True)
class Job:
    task: Task
    config: Config
    data: Data
    backend: Backend
    folder: Path
    """Where checkpoint, logs, samples and the LoRA go."""
    cache: Cache
    grid_scorer: GridScorer | None = None
    """For `evaluate_every`."""

    @cached_property
    def layouts(self) -> dict[float, Layout]:
        """The canvas at every scale."""
        layout, smallest, token = self.task.grid_layout, self.config.smallest_panel, self.backend.token
        return {scale: scaled(layout, scale, smallest, token) for scale in self.config.scales}

    @cached_property
    def shown(self) -> Layout:
        """The canvas on which held-out grids are measured and samples are drawn: the largest."""
        return self.layouts[max(self.layouts)]

    @cached_property
    def named(self) -> tuple[int, ...]:
        """Panels that the task names as given, from 0."""
        return tuple(panel - 1 for panel in self.task.condition)

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        return self.config.conditions or ()

    @cached_property
    def kinds(self) -> tuple[Condition | None, ...]:
        """Everything that grids are learnt for, None for joint mode; held-out grids are measured for each."""
        return conditions.kinds(self.conditions)

    @cached_property
    def prompted(self) -> tuple[tuple[TrainingSample, Condition | None], ...]:
        """The grids whose captions samples are drawn from, held-out ones if there are any, each for every kind."""
        grids = (self.data.held_out or self.data.train)[: self.config.samples]
        return tuple((sample, kind) for kind in self.kinds for sample in grids)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that the LoRA and its held-out loss depend on, as plain values by name. A training is resumed only
        if all of it is unchanged. Whatever has a path or a name is identified by its content.

        Raises:
            MissingWeights: a part of the model is not there.
        """
        layouts = self.layouts.values()
        parts = ("transformer", "vae", "scheduler", *self.backend.text_parts)
        return self.config.recipe | {
            "data set": self.data.digest,
            "held-out set": self.data.held_out_digest,
            "condition": list(self.task.condition),
            "layouts": [f"{one.rows} x {one.cols} panels of {one.panel_width} x {one.panel_height}" for one in layouts],
            "init": _content(self.config.init) if self.config.init else None,
            **{part: self.backend.identity(part) for part in parts},
        }

    def views(self) -> Iterator[View]:
        """Everything that the model will see of the data: every grid at every size and in every order."""
        panels = self.task.grid_layout.size
        for layout in self.layouts.values():
            for sample in self.data.train:
                yield dataset.plain(sample, layout)
                if self.config.permute:
                    yield from (View(sample, layout, order) for order in random_streams.other_orders(panels))
        for sample in self.data.held_out:
            yield dataset.plain(sample, self.shown)

    def prompt(self, text: str, references: tuple[Reference, ...]) -> Prompt:
        """What the text encoder reads of a caption, or of the empty one."""
        return Prompt(text, references if self.backend.ENCODER_SEES_REFERENCES else ())

    def prompts(self) -> list[Prompt]:
        """All that the text encoder reads, each once: every caption, and the empty text for dropped ones."""
        found = {Prompt(""): None}
        for view in self.views():
            text = dataset.caption(view, self.task)
            for references in self.shown_beside(view):
                found |= {self.prompt(one, references): None for one in ("", text)}
        return list(found)

    def shown_beside(self, view: View) -> list[tuple[Reference, ...]]:
        """Every set of reference images that may be shown beside a grid; none of them is one too."""
        shown: dict[tuple[Reference, ...], None] = {}
        for kind in self.kinds:
            if kind is None or kind.seen != "reference":
                shown[()] = None
                continue
            sets = conditions.choices(kind, view.layout.size, self.named, self.backend.REFERENCES)
            shown |= {dataset.references_of(view, Given(places, kind.seen)): None for places in sets}
        return list(shown)

    def references(self) -> list[Reference]:
        """The reference images of all grids, each once."""
        return list(
            dict.fromkeys(one for view in self.views() for several in self.shown_beside(view) for one in several)
        )

    def reference_size(self, reference: Reference) -> tuple[int, int]:
        """Width and height at which a reference image is encoded: as for the largest canvas, whatever a step's is."""
        return self.backend.reference_size(dataset.reference_size(reference), max(self.config.scales))

    def reference_tokens(self, sample: TrainingSample) -> int:
        """The most tokens that reference images of a sample take together."""
        sets = self.shown_beside(dataset.plain(sample, self.shown))
        return max(sum(self.backend.tokens(self.reference_size(one)) for one in several) for several in sets)

    def picture_tokens(self) -> int:
        """The most tokens as which the text encoder sees the reference images of a sample together."""
        sets = [several for sample in self.samples for several in self.shown_beside(dataset.plain(sample, self.shown))]
        seen = self.backend.picture_tokens
        return max((sum(seen(dataset.reference_size(one)) for one in several) for several in sets), default=0)

    @property
    def samples(self) -> tuple[TrainingSample, ...]:
        """The grids that are trained on, followed by the held-out ones."""
        return (*self.data.train, *self.data.held_out)

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Tokens of every text; None if the tokenizer is not on this machine."""
        try:
            return self.backend.count_tokens(texts)
        except MissingWeights:
            return None

    def check_lengths(self) -> None:
        """Refuses captions that would be truncated, unless that is wanted.

        Raises:
            BadInput: listing them.
        """
        if self.config.truncate:
            return
        counts = self.backend.count_tokens([sample.text for sample in self.samples])
        dataset.check_lengths(self.samples, counts, self.backend.text_limit)

    def check_references(self) -> None:
        """Refuses grids with more reference images than the model takes, and conditions that it can't be shown.

        Raises:
            BadInput: listing them, or naming the condition.
        """
        most, base = self.backend.REFERENCES, self.backend.BASE
        if over := [dataset.name_of(sample) for sample in self.samples if len(sample.references) > most]:
            raise BadInput(
                f"{self._references_taken}, and {listed(over)} have more; remove them, or train on another base."
            )
        for one in self.conditions:
            if one.seen == "noised" and self.backend.READS_GIVEN:
                raise BadInput(
                    f"train.conditions: base={base} reads given panels without noise, so '{one}' can't be trained on "
                    'it; use seen="clean".'
                )
            if one.seen != "reference":
                continue
            if not most:
                raise BadInput(
                    f"train.conditions: {self._references_taken}, so '{one}' can't be trained on it; use "
                    'seen="clean", or another base.'
                )
            sets = conditions.choices(one, self.shown.size, self.named, most)
            if (count := max(map(len, sets))) > most:
                raise BadInput(
                    f"train.conditions: '{one}' shows {count} reference images at once, and base={base} takes at most "
                    f"{most}; name fewer panels."
                )

    @property
    def _references_taken(self) -> str:
        """How many reference images the base takes, for messages; and where, if it is not here."""
        most, base, known = self.backend.REFERENCES, self.backend.BASE, self.backend.family.references
        taken = f"base={base} takes {f'at most {most}' if most else 'no'} reference images"
        if most or known is None or not known.trainers:
            return taken
        trainers = " and ".join(name.replace("_", "-") for name in known.trainers)
        return f"{taken} here ({trainers} can show it up to {known.most})"


def _content(init: str) -> str:
    """Hash of the file to start from. A missing file is reported where its weights are loaded."""
    try:
        return files.digest(init)[:16]
    except OSError:
        return f"{init}, which can't be read"


def find_backend(base: str, model: str | None, revision: str | None) -> Backend:
    """The backend that trains a task's base family.

    Args:
        model: None for the family's usual one.

    Raises:
        BadInput: there is none, or more than one.
    """
    known: dict[str, list[tuple[Plugin, Backend]]] = {}
    for plugin, made in _backends(model, revision):
        known.setdefault(made.BASE, []).append((plugin, made))
    if base not in known:
        raise BadInput(
            f"base={base} can't be trained here yet (available: {', '.join(sorted(known))}); TRAINERS.md in the data "
            "set names trainers that can."
        )
    if len(known[base]) > 1:
        both = " and ".join(str(plugin) for plugin, _ in known[base])
        raise BadInput(f"base={base} is trained by {both}; uninstall all but one, or give it a BASE of its own.")
    ((_, backend),) = known[base]
    return backend


def family_of(model: str | None) -> str:
    """The family of a base model by its folder or its name; that of the published LoRAs if neither tells."""
    return next((one.BASE for one in backends_of(model) if one.fits), USUAL) if model else USUAL


def backends_of(model: str | None) -> Iterator[Backend]:
    """Every family's backend on a model.

    Args:
        model: None for each family's usual one.
    """
    for _, made in _backends(model, None):
        yield made


def _backends(model: str | None, revision: str | None) -> Iterator[tuple[Plugin, Backend]]:
    for plugin, module in plugins.usable(backends):
        try:
            made: Backend = module.make(model, revision)
        except BadInput as error:  # of another package, say for a family that isn't installed
            plugins.leave_out(backends, plugin.name, error)
        else:
            yield plugin, made
