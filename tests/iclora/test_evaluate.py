"""Base and LoRA on the same prompts and noise, measured on the scale of the run's own grids."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import iclora
from iclora.run import Run
from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Layout
from training import generate
from training.generator import GenerationRequest, Generator

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(evaluable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(evaluable, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    with iclora.open_run("storyboard", folder=home) as opened:
        yield opened


def evaluated(run: Run, lora: Path, tiny_flux: Path, **more: object) -> iclora.Evaluation:
    return iclora.evaluate(run, lora, model=str(tiny_flux), steps=1, seeds=1, **more)  # type: ignore[arg-type]


def drawer(monkeypatch: pytest.MonkeyPatch, draw: Callable[[str, bool], Image.Image]) -> None:
    """Replaces the diffusion model: `draw` gets the prompt, and whether a LoRA takes part."""

    def drawn(generator: Generator, requests: list[GenerationRequest], _: object) -> list[Image.Image]:
        size = generator.layout.canvas
        return [draw(request.prompt, bool(generator.loras)).resize(size) for request in requests]

    monkeypatch.setattr(generate, "sample", drawn)


def real(run: Run) -> dict[str, Path]:
    """The run's own grids by their captions."""
    return {file.read_text(encoding="utf-8"): file.with_suffix(".png") for file in run.dataset.glob("*/*.txt")}


def test_real_grids_score_one_and_one_panel_three_times_nothing(
    run: Run, lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = real(run)

    def draw(prompt: str, tuned: bool) -> Image.Image:
        grid = pixels.open_image(known[prompt])
        if tuned:
            return grid
        pasted = grid.copy()
        panel = pixels.cut(grid, Layout(3, 1, grid.width, grid.height // 3))[0]
        for number in range(3):
            pasted.paste(panel, (0, number * panel.height))
        return pasted

    drawer(monkeypatch, draw)
    base, tuned = evaluated(run, lora, tiny_flux, prompts=list(known)).results
    assert base.score.value == 0 and base.copies.value == 1
    assert tuned.score.low <= 1 <= tuned.score.high or abs(tuned.score.value - 1) < 0.1
    assert tuned.better is not None and tuned.better.low > 0
    assert tuned.p is not None and tuned.p < 0.05


def test_everything_is_written_and_a_second_time_the_same(
    run: Run, lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluated(run, lora, tiny_flux)
    told = {name: (first.folder / name).read_bytes() for name in ("evaluation.csv", "evaluation.json")}
    summary = json.loads(told["evaluation.json"])
    assert [one["candidate"] for one in summary["candidates"]] == ["base", "storyboard"]
    assert summary["real grids"] == 8
    assert len(first.table()) == 2 * summary["prompts"] == len(first.grids)
    page = (first.folder / "evaluation.html").read_text(encoding="utf-8")
    for one in first.grids:
        assert str(one.file) in page
        assert pixels.open_image(first.folder / one.file).size == (128, 192)
    evaluated(run, lora, tiny_flux)
    assert told == {name: (first.folder / name).read_bytes() for name in told}


def test_the_command_compares_strengths_and_says_which_it_takes(
    home: Path, lora: Path, tiny_flux: Path, iclora: Command
) -> None:
    code, printed, errors = iclora(
        *("evaluate", "storyboard", "--out", str(home), "--lora", str(lora), "--model", str(tiny_flux)),
        *("--strength", "0.5", "--strength", "1", "--steps", "1", "--seeds", "1"),
    )
    assert code == 0, errors
    assert all(f"\n{name}: score " in f"\n{printed}" for name in ("base", "storyboard at 0.5", "storyboard"))
    assert (
        " is chosen: smallest step and strength within one standard error" in printed or "No LoRA is chosen" in printed
    )
    assert "evaluation.html" in printed


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"prompts": ["a dog"]}, "the prompt 'a dog' has no text for"),
        ({"loras": "nowhere.safetensors"}, r"there is no LoRA nowhere\.safetensors; train one with 'iclora train"),
        ({"prompts": [iclora.Prompt("a dog", seeds=(7,))]}, "'a dog' has seeds or given pictures of its own"),
        ({"seeds": 0}, "at least 1 seed for each prompt, got --seeds 0"),
    ],
)
def test_what_can_t_be_evaluated_is_told_in_one_sentence(
    more: dict[str, object], sentence: str, run: Run, lora: Path, tiny_flux: Path
) -> None:
    options = {"loras": lora, "model": str(tiny_flux), "steps": 1} | more
    with pytest.raises(BadInput, match=sentence):
        iclora.evaluate(run, **options)  # type: ignore[arg-type]


def test_loras_on_different_canvases_are_not_compared(run: Run, lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    header, other = json.loads(card_of(lora)), tmp_path / "other.safetensors"
    header["scales"] = [0.25]
    save_file(load_file(lora), other, metadata={"iclora": json.dumps(header)})
    with pytest.raises(BadInput, match=r"draws on .* 256 x 384 pixels and .*; compare LoRAs of one base and canvas"):
        iclora.evaluate(run, [lora, other], model=str(tiny_flux), steps=1)


def card_of(lora: Path) -> str:
    with safe_open(lora, "pt") as opened:
        return str(opened.metadata()["iclora"])


def test_a_run_without_a_scorer_or_a_data_set_is_refused(
    run: Run, lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "scorer", None)
    with pytest.raises(BadInput, match="without a scorer nothing can be measured"):
        evaluated(run, lora, tiny_flux)
    with pytest.raises(BadInput, match="there is no data set"):
        evaluated(iclora.open_run("storyboard", folder=tmp_path / "none"), lora, tiny_flux)


def test_the_commands_in_the_docs_work(
    home: Path, lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Command
) -> None:
    page = (Path(__file__).parents[2] / "docs/evaluating.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(commands) == 5
    (tmp_path / "user/steps").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "user")
    (home / "training").mkdir(exist_ok=True)
    for file in (
        "steps/storyboard-000200.safetensors",
        "storyboard.safetensors",
        home / "training/storyboard.safetensors",
    ):
        shutil.copy(lora, file)
    caption = next(file.read_text(encoding="utf-8") for file in home.glob("dataset/*/*.txt"))
    Path("prompts.csv").write_text(f'prompt\n"{caption}"\n', encoding="utf-8")
    for command in commands[:3]:  # the others need a judge and people: test_judge, test_comparing
        _, *words = shlex.split(command)
        code, _, errors = iclora(*words, "--out", str(home), "--model", str(tiny_flux), "--steps", "1")
        assert code == 0, f"{command}: {errors}"
