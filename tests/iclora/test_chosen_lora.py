"""Which LoRA an evaluation chooses, and that it becomes the run's own and stays it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import iclora
from iclora import console
from iclora.evaluation import choice
from iclora.evaluation.results import BASE, Result
from iclora.run import Run
from pipeline import pixels
from pipeline.errors import BadInput
from training import generate, loop, lora_file
from training.evaluation.statistics import Estimate
from training.generator import GenerationRequest, Generator
from training.job import Job
from training.lora_keys import SUFFIXES
from training.processes import Processes

Make = Callable[..., Job]
SOME = Estimate(0.5, 0.4, 0.6, 0.05)


def result(name: str, score: float, error: float, better: float | None, p: float | None) -> Result:
    apart = None if better is None else Estimate(better, better - 0.1, better + 0.1, 0.05)
    own = Estimate(score, score - 2 * error, score + 2 * error, error)
    return Result(name, own, SOME, SOME, SOME, SOME, SOME, SOME, SOME, better=apart, p=p)


def compared(scores: Sequence[float], error: float = 0.02, p: float = 0.001, base: float = 0.2) -> list[Result]:
    """LoRAs in the order of their steps after the base."""
    tuned = [result(str(number), one, error, one - base, p) for number, one in enumerate(scores, 1)]
    return [result(BASE, base, error, None, None), *tuned]


scores = st.lists(st.floats(0, 1.2), min_size=1, max_size=9)


@given(scores, st.floats(0.001, 0.3))
def test_the_chosen_one_is_within_one_standard_error_of_the_best_and_no_earlier_one_is(
    several: list[float], error: float
) -> None:
    found = choice.choose(compared(several, error, base=-1))
    assert found is not None
    place, best = int(found) - 1, max(several)
    assert several[place] >= best - error
    assert all(one < best - error for one in several[:place])


@given(scores, st.floats(0.05, 1))
def test_nothing_is_chosen_where_the_best_is_not_better_than_the_base(several: list[float], p: float) -> None:
    assert choice.choose(compared(several, p=p, base=-1)) is None  # by chance
    assert choice.choose(compared(several, base=2)) is None  # worse, however sure


def test_one_prompt_chooses_nothing() -> None:
    found = [replace(one, score=Estimate(one.score.value), p=None) for one in compared([0.4, 0.9])]
    assert choice.choose(found) is None


@given(scores, st.floats(0.001, 0.3), st.floats(0.01, 0.5))
def test_a_worse_one_that_comes_later_changes_nothing(several: list[float], error: float, less: float) -> None:
    before = choice.choose(compared(several, error, base=-1))
    assert choice.choose(compared([*several, max(several) - less], error, base=-1)) == before


# ---- end to end, on a training of the miniature's kind with three saved steps


@pytest.fixture
def home(evaluable: Path, tmp_path: Path) -> Path:
    return shutil.copytree(evaluable, tmp_path / "run")


@pytest.fixture
def job(make_job: Make, home: Path) -> Job:
    return replace(make_job(steps=3, save_every=1, learning_rate=0.04), folder=home / "training")


@pytest.fixture
def run(home: Path, job: Job) -> Iterator[Run]:
    loop.train(job, Processes(), lambda *_: None)
    with iclora.open_run("storyboard", folder=home) as opened:
        yield opened


@pytest.fixture
def good_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`good_from(2)` replaces the diffusion model: LoRAs of step 2 and later draw real grids, others blank ones."""
    known = {file.read_text(encoding="utf-8"): file.with_suffix(".png") for file in run.dataset.glob("*/*.txt")}

    def patch(step: int) -> None:
        def drawn(generator: Generator, requests: list[GenerationRequest], *_: object) -> list[Image.Image]:
            good = bool(generator.loras) and generator.card is not None and generator.card.step >= step
            size = generator.layout.canvas
            return [
                pixels.open_image(known[one.prompt]).resize(size) if good else Image.new("RGB", size)
                for one in requests
            ]

        monkeypatch.setattr(generate, "sample", drawn)

    return patch


def chosen(run: Run, tiny_flux: Path, **more: object) -> iclora.Evaluation:
    texts = [file.read_text(encoding="utf-8") for file in sorted(run.dataset.glob("*/*.txt"))]
    options = {"model": str(tiny_flux), "steps": 1, "seeds": 1, "prompts": texts, "checkpoints": True, "choose": True}
    options |= more
    return iclora.evaluate(run, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_chosen_checkpoint_becomes_the_runs_lora_and_the_former_is_kept(
    run: Run, job: Job, tiny_flux: Path, good_from: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    good_from(2)
    home = run.folder / "training"
    final, last = home / "storyboard.safetensors", home / "storyboard-last.safetensors"
    former = final.read_bytes()
    evaluation = chosen(run, tiny_flux)
    assert [one.candidate for one in evaluation.results] == ["base", *(f"storyboard-00000{step}" for step in (1, 2, 3))]
    assert evaluation.chosen == "storyboard-000002"
    card = lora_file.find_card(final)
    assert card is not None
    assert (card.step, card.strength, card.chosen) == (2, 1.0, True)
    told = (home / "handover/README.md").read_text(encoding="utf-8")
    assert "of step 2" in told and "## Evaluation" in told  # it is this one that is handed over
    best = max(one.score.value for one in evaluation.results)
    assert card.why.startswith(f"smallest step and strength within one standard error of the best score {best:.2f} (")
    assert card.why.endswith("), chosen by iclora evaluate")
    assert last.read_bytes() == former
    weights = lora_file.read_weights(final)
    saved = lora_file.read_weights(home / "steps/storyboard-000002.safetensors")
    assert all(torch.equal(weights[name], saved[name]) for name in saved)

    # The reason stands where people look.
    told = json.loads((evaluation.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert told["chosen"] == "storyboard-000002"
    assert "storyboard-last.safetensors" in told["reason"]
    assert "storyboard-000002 is chosen" in (evaluation.folder / "evaluation.html").read_text(encoding="utf-8")

    # A second time the same.
    now, figures = final.read_bytes(), (evaluation.folder / "evaluation.json").read_bytes()
    chosen(run, tiny_flux)
    assert (final.read_bytes(), last.read_bytes()) == (now, former)
    assert (evaluation.folder / "evaluation.json").read_bytes() == figures

    # A training that is repeated or extended leaves the choice as it is.
    again = loop.train(job, Processes(), lambda *_: None)
    assert (again.took, again.of_step, again.own) == (0, 2, last)
    assert final.read_bytes() == now
    longer = replace(job, config=job.config.model_copy(update={"steps": 4}))
    more = loop.train(longer, Processes(), lambda *_: None)
    assert (more.took, more.step, more.of_step) == (1, 4, 2)
    assert final.read_bytes() == now
    own = lora_file.find_card(last)
    assert own is not None and (own.step, own.chosen) == (4, False)
    console.trained(more, longer)
    assert "step 2, as iclora evaluate chose; the training ended with" in capsys.readouterr().out
    evaluation = chosen(run, tiny_flux)
    assert len(evaluation.results) == 5


@pytest.mark.slow
def test_a_strength_is_folded_into_the_weights(run: Run, tiny_flux: Path, good_from: Callable[[int], None]) -> None:
    good_from(3)
    final = run.folder / "training/storyboard.safetensors"
    before = lora_file.read_weights(final)
    for _ in range(2):  # not once more for every time
        evaluation = chosen(run, tiny_flux, checkpoints=False, strengths=[1, 0.5])
        assert evaluation.chosen in {"storyboard at 0.5", "storyboard-last at 0.5"}
        card, after = lora_file.find_card(final), lora_file.read_weights(final)
        assert card is not None and (card.step, card.strength) == (3, 0.5)
        for name, weight in before.items():
            assert torch.equal(after[name], weight * 0.5 if name.endswith(SUFFIXES[1]) else weight)


def test_nothing_is_chosen_where_nothing_is_better_than_the_base(
    run: Run, tiny_flux: Path, good_from: Callable[[int], None]
) -> None:
    good_from(9)
    final = run.folder / "training/storyboard.safetensors"
    before = final.read_bytes()
    evaluation = chosen(run, tiny_flux)
    assert evaluation.chosen is None and evaluation.file is None
    assert final.read_bytes() == before
    assert not final.with_stem("storyboard-last").exists()
    assert "No LoRA is chosen: storyboard-000001 has the best score and is not better than the base" in (
        evaluation.folder / "evaluation.html"
    ).read_text(encoding="utf-8")


def test_only_what_the_runs_own_training_has_saved_can_become_its_lora(
    run: Run, lora: Path, tiny_flux: Path, good_from: Callable[[int], None]
) -> None:
    good_from(2)
    final = run.folder / "training/storyboard.safetensors"
    with pytest.raises(BadInput, match=r"--choose takes what the run's own training has saved, and .*; use"):
        chosen(run, tiny_flux, loras=lora)
    chosen(run, tiny_flux)
    with pytest.raises(BadInput, match=r"and .*storyboard\.safetensors is something else"):
        chosen(run, tiny_flux, checkpoints=False, loras=final)
    shutil.rmtree(final.parent)
    with pytest.raises(BadInput, match=r"there is no LoRA .*; train one with 'iclora train"):
        chosen(run, tiny_flux)


@pytest.mark.slow
def test_files_of_an_earlier_training_are_not_among_the_checkpoints(run: Run, lora: Path, tiny_flux: Path) -> None:
    steps = run.folder / "training/steps"
    shutil.copy(lora, steps / "storyboard-000400.safetensors")  # another learning rate
    (steps / "storyboard-000003.safetensors").unlink()
    evaluation = iclora.evaluate(run, model=str(tiny_flux), steps=1, seeds=1, checkpoints=True)
    names = [one.candidate for one in evaluation.results]
    assert names == ["base", "storyboard-000001", "storyboard-000002", "storyboard"]
