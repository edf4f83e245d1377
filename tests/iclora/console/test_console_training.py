"""The last lines of a training and of an evaluation: which LoRA counts, why, and what comes next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iclora import console
from iclora.console import training


@pytest.mark.parametrize(
    ("chosen", "told"), [("storyboard", "next, hand the LoRA over: iclora handover runs/x.safetensors\n"), (None, "")]
)
def test_only_a_lora_that_is_better_than_its_base_is_to_be_handed_over(
    chosen: str | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any = SimpleNamespace(task=SimpleNamespace(name="storyboard"), lora=Path("runs/x.safetensors"))
    evaluation: Any = SimpleNamespace(chosen=chosen, file=None, folder=Path("runs"), lines=lambda: ["figures"])
    console.evaluated(run, evaluation)
    assert capsys.readouterr().out.partition("evaluation.html\n")[2] == told


def outcome(**facts: Any) -> Any:
    usual: dict[str, Any] = {"step": 400, "of_step": 400, "lowest": None, "own": None}
    return SimpleNamespace(**usual | facts)


def lowest(step: int, file: Path | None = None) -> Any:
    return SimpleNamespace(step=step, held_out=0.12345, file=file)


@pytest.mark.parametrize(
    ("found", "sentences"),
    [
        (outcome(), ["step 400, the last."]),
        (outcome(lowest=lowest(400)), ["step 400, the last."]),
        (
            outcome(lowest=lowest(250, Path("steps/x-000250.safetensors"))),
            [
                "step 400, the last.",
                "lowest at step 250, 0.1235: steps/x-000250.safetensors has the weights of that step",
            ],
        ),
        (
            outcome(lowest=lowest(250)),
            ["step 400, the last.", "step 250, 0.1235, and that step was not saved; train.pat"],
        ),
        (outcome(lowest=lowest(0)), ["step 400, the last.", "lowest at step 0, 0.1235, which is the base alone"]),
        (outcome(of_step=250, lowest=lowest(250)), ["step 250, whose held-out loss was the lowest (train.patience)."]),
        (
            outcome(of_step=200, own=Path("x-last.safetensors")),
            ["step 200, as iclora evaluate chose; the training ended with x-last.safetensors."],
        ),
    ],
)
def test_the_last_lines_of_a_training_say_which_step_counts_and_why(found: Any, sentences: list[str]) -> None:
    told = list(training._which_step(found, "loss"))
    assert len(told) == len(sentences)
    assert all(sentence in line for line, sentence in zip(told, sentences, strict=True))


@pytest.mark.parametrize(
    ("file", "is_of_run", "told"),
    [
        ("runs/x/training/x.safetensors", True, "next, compare it with its base: iclora evaluate x\n"),
        ("b/x.safetensors", True, "next, compare it with its base: iclora evaluate x --lora b/x.safetensors\n"),
        ("b/x.safetensors", False, "next, draw with it: iclora generate b/x.safetensors '[A] a cat; [B] it sits'\n"),
    ],
)
def test_every_training_ends_with_the_next_command(
    file: str, is_of_run: bool, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any = SimpleNamespace(
        lora=Path("runs/x/training/x.safetensors"), command=lambda name, *more: " ".join(["iclora", name, "x", *more])
    )
    job: Any = SimpleNamespace(
        data=SimpleNamespace(held_out=(), train=[SimpleNamespace(text="[A] a cat; [B] it sits")])
    )
    console.to_try(run if is_of_run else None, outcome(file=Path(file)), job)
    assert capsys.readouterr().out == told


def test_with_evaluations_patience_hands_over_the_step_of_the_best_score() -> None:
    (told,) = training._which_step(outcome(of_step=250, lowest=lowest(300)), "score")
    assert told == "The LoRA has the averaged weights of step 250, whose score was the best (train.patience)."
