"""What an evaluation compares: the base and LoRAs by step and strength, on which prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from iclora.evaluation.results import BASE
from iclora.generation import Loras, strengths_of
from iclora.prompts import Prompt
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.text import grammar
from training import conditions, dataset, lora_file
from training.conditions import Given
from training.config import BaseWeights
from training.dataset import Data
from training.generator import Adapter, GenerationRequest, Generator, open_generator
from training.lora_file import Card
from training.processes import Processes
from training.sampling import GivenAs

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.records import TrainingSample


def own_requests(prompts: Sequence[str | Prompt], run: Run) -> list[GenerationRequest]:
    """What is asked for by prompts of the user's own, some of whose panels may be given.

    Raises:
        BadInput: one lacks the text of a panel, against which that would be measured, has seeds of its own, gives other
            panels than the others, or a picture that can't be read.
    """
    asked = [Prompt(one) if isinstance(one, str) else one for one in prompts]
    requests = [GenerationRequest(one.caption(run.task), given=one.pictures, references=one.shown) for one in asked]
    for one, request in zip(asked, requests, strict=True):
        told = grammar.parse(request.prompt, run.task).panels
        if missing := [mark for mark, part in zip_longest(run.task.markers, told) if not part]:
            raise BadInput(f"the prompt '{request.prompt[:60]}' has no text for {missing[0]}; give one for each panel.")
        if one.seeds:
            raise BadInput(
                f"the prompt '{request.prompt[:60]}' has seeds of its own, and an evaluation draws all prompts with "
                "the same; leave them out, and say how many with --seeds."
            )
        if request.given.keys() != requests[0].given.keys():
            raise BadInput(
                f"the prompt '{request.prompt[:60]}' gives {_listed(request.given)}, and the first one "
                f"{_listed(requests[0].given)}; give pictures of the same panels to all prompts of an evaluation."
            )
    return requests


def _listed(given: Iterable[int]) -> str:
    """
    Args:
        given: panels, from 0.
    """
    return f"panel {', '.join(str(panel + 1) for panel in sorted(given))}" if given else "no panel"


def told_once(run: Run, data: Data) -> Data:
    """A run's data set with captions that tell looks once, which shows whether panels carry them on.

    Captions that tell looks in every panel are rendered anew from what the run knows; those that it has only as text
    stay as they are.
    """
    if run.task.caption.looks != "each":
        return data
    once = run.task.model_copy(update={"caption": run.task.caption.model_copy(update={"looks": "once"})})
    known = {
        grammar.fold(row.caption.text): grammar.text_of(row.caption.parts, once)
        for row in run.reviewed()
        if row.caption.parts
    }
    train, held_out = (
        tuple(replace(one, text=known.get(one.text, one.text)) for one in side) for side in (data.train, data.held_out)
    )
    return replace(data, train=train, held_out=held_out)


def given_panels(candidates: Mapping[str, Generator]) -> tuple[int, ...]:
    """Panels, from 0, that a LoRA among the candidates has learnt to be given without noise; the first where it has
    always been given some, none if each LoRA draws all."""
    for card in _cards(candidates).values():
        clean = [one for one in card.conditions if one.seen == "clean"]
        for one in clean:
            if numbers := conditions.numbers_of(one, card.condition):
                return tuple(number - 1 for number in numbers)
        if conditions.share_of(clean, "clean") == 1:
            return (0,)
    return ()


def shown_beside(sample: TrainingSample, candidates: Mapping[str, Generator]) -> tuple[Image.Image, ...]:
    """The reference images with which a held-out grid is drawn, if a LoRA has always been shown some: the sample's own,
    or the panels of it that the LoRA has learnt to be shown, the first where that may be any."""
    for card in _cards(candidates).values():
        if conditions.share_of(card.conditions, "reference") < 1:
            continue
        numbers = conditions.numbers_of(card.conditions[0], card.condition) or (1,)
        given = Given(tuple(number - 1 for number in numbers), "reference")
        shown = dataset.references_of(dataset.plain(sample, sample.layout), given)
        return tuple(dataset.open_reference(one) for one in shown)
    return ()


def around_nothing(candidates: Mapping[str, Generator], given: Sequence[int]) -> str:
    """That a LoRA draws here without the given panels that it has learnt to have, as a sentence; empty if none does."""
    cards = _cards(candidates)
    learnt = [name for name, card in cards.items() if conditions.share_of(card.conditions, "clean") == 1]
    if given or not learnt:
        return ""
    return (
        f"{learnt[0]} has learnt to draw around given panels, and no prompt gives any: name pictures in the table of "
        "prompts, in columns such as 'given 1'."
    )


def _cards(candidates: Mapping[str, Generator]) -> dict[str, Card]:
    """What LoRAs of iclora's say about themselves, by candidate."""
    return {name: one.card for name, one in candidates.items() if one.card and one.loras}


def open_candidates(
    run: Run,
    loras: Loras,
    strengths: Sequence[float],
    model: str | None,
    weights: BaseWeights,
    *,
    offload: bool,
) -> dict[str, Generator]:
    """The base, then LoRAs by step and strength; `weights` and `offload` say how the base of all is held in memory.

    Raises:
        BadInput: there is no LoRA, or they are for different bases or canvases.
    """
    given = dict(strengths_of(loras)) or {run.lora: 1.0}
    if missing := [file for file in given if not Path(file).is_file()]:
        raise BadInput(f"there is no LoRA {missing[0]}; train one with '{run.command('train')}', or name a file.")
    wanted = [Adapter(Path(file), one) for file, usual in given.items() for one in strengths or (usual,)]
    wanted.sort(key=lambda one: (card.step if (card := lora_file.find_card(one.file)) else 0, one.strength))
    device, opened = Processes().device, dict[str, Generator]()
    for one in wanted:
        task = None if lora_file.find_card(one.file) else run.task
        opened[_name(one, wanted)] = open_generator([one], model, None, device, task, weights, offload=offload)
    first = next(iter(opened.values()))
    for name, generator in opened.items():
        if (generator.backend.model, generator.layout) != (first.backend.model, first.layout):
            raise BadInput(
                f"{name} draws on {_on(generator)} and {next(iter(opened))} on {_on(first)}; compare LoRAs of one base "
                "and canvas."
            )
    seen: GivenAs = "clean" if first.backend.READS_GIVEN else "noised"
    return {BASE: replace(first, loras=(), given_as=seen), **opened}


def weights_of(candidates: Mapping[str, Generator]) -> dict[str, str]:
    """SHA-256 of the tensors of every LoRA that draws as it was trained, by candidate."""
    alone = {name: one.loras[0] for name, one in candidates.items() if one.loras and one.loras[0].strength == 1}
    return {name: lora_file.digest_of(one.file) for name, one in alone.items()}


def _on(generator: Generator) -> str:
    return f"{generator.backend.model} and {' x '.join(map(str, generator.layout.canvas))} pixels"


def _name(one: Adapter, among: Sequence[Adapter]) -> str:
    """The file's name, with its folder where two have the same, and its strength where it is not 1."""
    twins = {other.file for other in among if other.file.name == one.file.name}
    name = str(one.file) if len(twins) > 1 else one.file.stem
    return name if one.strength == 1 else f"{name} at {one.strength:g}"
