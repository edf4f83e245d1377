"""The LoRA that counts: which checkpoints a run has, and the chosen one in the place of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from iclora.evaluation.results import BASE, SIGNIFICANT, Evaluation, Result, best_of
from iclora.generation import Loras, strengths_of
from iclora.run import Run
from pipeline.errors import BadInput
from training import lora_file, results
from training.evaluation import statistics
from training.generator import Generator


def wanted(run: Run, loras: Loras, *, checkpoints: bool, choose: bool) -> Loras:
    """What to compare: with `checkpoints` those too, and to choose among, what the training itself has written.

    Raises:
        BadInput: the run has no LoRA of its own, or one can't become that.
    """
    if checkpoints:
        saved: dict[str | Path, float] = dict.fromkeys(_checkpoints(run), 1.0)
        loras = saved | dict(strengths_of(loras))
    if not choose:
        return loras
    loras = strengths_of(loras) or {_own(run): 1.0}
    of_run = lora_file.find_card(_own(run))
    for file in loras:
        card = lora_file.find_card(Path(file))
        if card is None or of_run is None or card.chosen or card.recipe != of_run.recipe:
            raise BadInput(
                f"--choose takes what the run's own training has saved, and {file} is something else; use "
                "--checkpoints, or leave out --choose."
            )
    return loras


def _own(run: Run) -> Path:
    own = results.own_file(run.lora)
    if not own.is_file():
        raise BadInput(f"there is no LoRA {own}; train one with '{run.command('train')}'.")
    return own


def _checkpoints(run: Run) -> list[Path]:
    """What the run's training has saved on the way, and what it ended with unless that is among it."""
    own = _own(run)
    card = lora_file.find_card(own)
    saved = sorted((own.parent / results.STEPS).glob("*.safetensors"))
    cards = {file: found for file in saved if (found := lora_file.find_card(file))}
    # Files of an earlier training with other settings may lie there too.
    same = {file: found for file, found in cards.items() if card and found.recipe == card.recipe}
    return [*same] if card and card.step in {one.step for one in same.values()} else [*same, own]


def choose(found: Sequence[Result]) -> str | None:
    """The first LoRA within one standard error of the best, if that is better than the base; otherwise none.

    Args:
        found: LoRAs in the order of preference, from the smallest step and strength.
    """
    best = best_of(found)
    if best.better is None or best.better.value <= 0 or best.p is None or best.p >= SIGNIFICANT:
        return None
    return statistics.choose({one.candidate: one.score for one in found if one.candidate != BASE})


def keep(run: Run, evaluation: Evaluation, candidates: Mapping[str, Generator]) -> Evaluation:
    """Makes the chosen LoRA the run's own, if one was chosen."""
    if evaluation.chosen is None:
        return evaluation
    (adapter,), final = candidates[evaluation.chosen].loras, run.lora
    results.choose(final, adapter.file, adapter.strength, evaluation.rule)
    return replace(evaluation, file=final)
