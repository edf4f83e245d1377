"""Base and LoRA on the same prompts and noise, measured on the scale of the run's own grids."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from endpoint import GOOD
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import iclora
from iclora.evaluation.candidates import told_once
from iclora.evaluation.plot import draw_results
from iclora.evaluation.results import Result
from iclora.prompts import Prompt
from iclora.run import Run
from miniature import draw as drawing
from miniature.world import Character, Scene, draw_scene
from pipeline import pixels
from pipeline.errors import BadInput
from pipeline.records import Layout
from pipeline.store import working
from pipeline.text import grammar, looks
from training import dataset, generate
from training.evaluation.statistics import Estimate
from training.generate import Inputs
from training.generator import GenerationRequest, Generator

Command = Callable[..., tuple[int, str, str]]
DOGS = "[MOVIE-SHOTS] dogs, [SCENE-1] a dog, [SCENE-2] a cat, [SCENE-3] a hen."
BLANK = Image.new("RGB", (256, 128))


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

    def drawn(generator: Generator, requests: list[GenerationRequest], *_: object) -> list[Image.Image]:
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


def test_one_prompt_has_neither_interval_nor_p_value_and_chooses_nothing(
    run: Run, lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = real(run)
    drawer(monkeypatch, lambda prompt, _: pixels.open_image(known[prompt]))
    found = evaluated(run, lora, tiny_flux, prompts=[*known][:1])
    base, tuned, reason = found.lines()
    score = f"{found.results[0].score.value:.2f}"
    assert base.startswith(f"base: score {score}; follows ") and tuned.startswith(f"storyboard: score {score}, +0.00; ")
    assert reason == (
        "No LoRA is chosen: one prompt doesn't tell whether storyboard is better than the base; give more with "
        "--prompts."
    )
    told = json.loads((found.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert told["chosen"] is told["candidates"][1]["p"] is told["candidates"][1]["better"]["low"] is None
    assert "<td>0.00</td>" in (found.folder / "evaluation.html").read_text(encoding="utf-8")


def test_malformed_grids_count_as_failures(
    run: Run, lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = real(run)

    def draw(prompt: str, tuned: bool) -> Image.Image:
        grid = pixels.open_image(known[prompt])
        if not tuned:
            grid.paste("red", (0, 0, grid.width, grid.height // 3))
        return grid

    drawer(monkeypatch, draw)
    evaluation = evaluated(run, lora, tiny_flux, prompts=list(known))
    base, tuned = evaluation.results
    assert (base.malformed.value, base.score.value, base.copies.value) == (1, 0, 0)
    assert tuned.malformed.value == 0 and tuned.score.value > 0.5
    assert [line.endswith(f"malformed {share}") for line, share in zip(evaluation.lines(), ("100%", "0%"), strict=True)]
    table = evaluation.table()
    assert set(table["faults"]) == {"panel 1 is blank", ""}
    assert (table["malformed"] == (table["candidate"] == "base")).all()
    assert "panel 1 is blank" in (evaluation.folder / "evaluation.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("drawn_plots")
def test_everything_is_written_and_a_second_time_the_same(
    run: Run, lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluated(run, lora, tiny_flux)
    written = ("evaluation.csv", "evaluation.json", "evaluation.png", "evaluation.html")
    told = {name: (first.folder / name).read_bytes() for name in written}
    summary = json.loads(told["evaluation.json"])
    assert [one["candidate"] for one in summary["candidates"]] == ["base", "storyboard"]
    assert summary["real grids"] == 8
    assert len(first.table()) == 2 * summary["prompts"] == len(first.grids)
    page = (first.folder / "evaluation.html").read_text(encoding="utf-8")
    assert '<img class="plot" src="evaluation.png"' in page
    for one in first.grids:
        assert str(one.file) in page
        assert pixels.open_image(first.folder / one.file).size == (128, 192)
    evaluated(run, lora, tiny_flux)
    assert told == {name: (first.folder / name).read_bytes() for name in told}


@pytest.mark.usefixtures("drawn_plots")
def test_the_plot_shows_every_candidate_with_its_interval(tmp_path: Path) -> None:
    few, names = (
        Estimate(0.2, 0.1, 0.3, 0.05),
        ("base", "a/very/long/path/" * 4 + "storyboard.safetensors", "<b> at 0.5"),
    )
    results = [Result(name, *[few] * 8) for name in names]
    results[1] = replace(results[1], score=Estimate(1.4, 0.8, 2.0, 0.3), kept=Estimate(0.9))
    draw_results(results, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width >= 800
        pixels = np.asarray(plot.convert("RGB"), np.int16)
    long_line = (np.abs(pixels - np.array([0x1F, 0x77, 0xB4])) < 16).all(axis=2).sum(axis=1)
    assert (long_line > 200).any()  # the score's interval from 0.8 to 2


def test_every_candidate_tells_its_steps_and_the_log_what_is_done_with_the_grids(
    run: Run, lora: Path, tiny_flux: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = list[tuple[str, int, int]]()
    with caplog.at_level("INFO", logger="iclora"):
        iclora.evaluate(run, lora, model=str(tiny_flux), steps=2, seeds=2, progress=lambda *one: told.append(one))
    assert list(dict.fromkeys(name for name, _, _ in told)) == ["base", "storyboard"]
    for name in ("base", "storyboard"):
        (total,) = {of for one, _, of in told if one == name}
        assert [done for one, done, _ in told if one == name] == list(range(1, total + 1)) and total % 2 == 0
        assert f"measuring the grids of {name}" in caplog.messages


def test_the_command_compares_strengths_and_says_which_it_takes(
    home: Path, lora: Path, tiny_flux: Path, iclora: Command
) -> None:
    code, printed, errors = iclora(
        *("evaluate", "storyboard", "--out", str(home), "--lora", str(lora), "--model", str(tiny_flux)),
        *("--strength", "0.5", "--strength", "1", "--steps", "1", "--seeds", "1", "--weights", "bf16"),
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
        ({"prompts": [iclora.Prompt(DOGS, seeds=(7,))]}, "dog.*' has seeds of its own, .* say how many with --seeds"),
        ({"prompts": [DOGS, Prompt(DOGS, given={2: BLANK})]}, "gives panel 2, and the first one no panel; give"),
        ({"prompts": [DOGS], "given": [1]}, "--given takes panels of the held-out grids; pictures for prompts of"),
        ({"given": [4]}, "panel 4 can't be given with --given, the grids have panels 1 to 3"),
        ({"given": [1, 2, 3]}, "all 3 panels are given, so nothing is left to generate"),
        ({"seeds": 0}, "at least 1 seed for each prompt, got --seeds 0"),
        ({"offload": True}, "--offload sends the base's weights to a GPU block by block, and there is none"),
        ({"weights": "nf4"}, "base_weights=nf4 needs a CUDA device and the package bitsandbytes"),
    ],
)
def test_what_can_t_be_evaluated_is_told_in_one_sentence(
    more: dict[str, object], sentence: str, run: Run, lora: Path, tiny_flux: Path
) -> None:
    options = {"loras": lora, "model": str(tiny_flux), "steps": 1} | more
    with pytest.raises(BadInput, match=sentence):
        iclora.evaluate(run, **options)  # type: ignore[arg-type]


def test_two_evaluations_of_a_run_at_once_are_refused_and_so_is_choosing_while_it_is_trained_on(
    run: Run, lora: Path, tiny_flux: Path
) -> None:
    (run.folder / "evaluation").mkdir(exist_ok=True)
    at_work = (
        f"another process is at work in {run.folder}/evaluation: '.*', process \\d+ on .*, since 20.*; wait for it\\.$"
    )
    with working(run.folder / "evaluation"), pytest.raises(BadInput, match=at_work):
        evaluated(run, lora, tiny_flux)
    run.lora.parent.mkdir(exist_ok=True)
    shutil.copy(lora, run.lora)
    with working(run.lora.parent), pytest.raises(BadInput, match=f"another process is at work in {run.lora.parent}: "):
        iclora.evaluate(run, choose=True, model=str(tiny_flux), steps=1, seeds=1)
    run.lora.unlink()


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


@pytest.mark.slow
def test_the_commands_in_the_docs_work(
    home: Path, lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Command
) -> None:
    page = (Path(__file__).parents[2] / "docs/evaluating.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(commands) == 7
    models = {
        "--vectors": f"vectors.model=local-dir:{tiny.vit(tmp_path / 'vit')}",
        "--detector": f"detector.model={tiny.rt_detr(tmp_path / 'detr')}",
    }
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
    for command in commands:
        if "--judge" in command or " compare " in command:  # test_judge, test_comparing
            continue
        _, *words = shlex.split(command)
        words += [word for option, line in models.items() if option in words for word in ("--set", line)]
        code, _, errors = iclora(*words, "--out", str(home), "--model", str(tiny_flux), "--steps", "1")
        assert code == 0, f"{command}: {errors}"


FIGURES = """
import cv2
import numpy as np
from miniature.pen import FILLS
from pipeline import plugins
from training.evaluation.detectors.base import PERSON, Detection

class Options(plugins.Options):
    tolerance: int = 8

class Figures:
    def __init__(self, options):
        self.tolerance = options.tolerance

    def identity(self):
        return {"detector": "figures", "tolerance": self.tolerance}

    def detect(self, images):
        return [[*self.find(np.asarray(image.convert("RGB"), int))] for image in images]

    def find(self, pixels):
        found = []
        for fill in FILLS.values():
            near = (np.abs(pixels - np.array(fill)).max(-1) <= self.tolerance).astype(np.uint8)
            near = cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
            found += cv2.connectedComponentsWithStats(near)[2][1:].tolist()
        for left, top, width, height, _ in sorted(found, key=lambda one: one[4])[-1:]:
            yield Detection((left, top, left + width, top + height), PERSON, 1.0)

def make(options):
    return Figures(plugins.parse_options(Options, "the detector figures", options))
"""
"""Finds the largest patch in a colour of the miniature's figures: on 98 of 100 panels one in the figure."""


@pytest.fixture
def figures(tmp_path: Path) -> str:
    (tmp_path / "figures.py").write_text(FIGURES, encoding="utf-8")
    return str(tmp_path / "figures.py")


def scenes_of(run: Run, panels: Callable[[int], list[Scene]]) -> dict[str, Image.Image]:
    """By the captions of the run's grids, grids of other scenes."""
    drawn = {}
    for number, text in enumerate(sorted(real(run))):
        grid = Image.new("RGB", (256, 384))
        for place, scene in enumerate(panels(number)):
            grid.paste(Image.fromarray(drawing.draw(scene, size=(256, 128))), (0, 128 * place))
        drawn[text] = grid
    return drawn


def test_subjects_are_cut_out_and_counted_where_a_detector_is(
    run: Run, lora: Path, tiny_flux: Path, figures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Panels with one background and a new figure each keep together, but their subjects do not; real ones do both."""

    def strangers(number: int) -> list[Scene]:
        rng = random.Random(number)
        scene = draw_scene(rng)
        who = (("duck", "yellow"), ("bear", "blue"), ("cat", "red"))
        return [replace(scene, character=Character(*one, "hat"), place="forest") for one in who]

    known, others = real(run), scenes_of(run, strangers)
    drawer(monkeypatch, lambda prompt, tuned: pixels.open_image(known[prompt]) if tuned else others[prompt])
    found = evaluated(run, lora, tiny_flux, prompts=list(known), detector=figures)
    base, tuned = found.results
    assert base.kept_subjects is not None and tuned.kept_subjects is not None
    assert base.kept.value > 1 and base.kept_subjects.value < 0.2
    assert tuned.kept_subjects.value > 0.6
    assert tuned.people is not None and tuned.people.value == 100  # one figure is found, and Mara is named
    assert "subjects" in found.lines()[1] and "people as told 100" in found.lines()[1]
    summary = json.loads((found.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert summary["measured by"]["detector"]["tolerance"] == 8
    assert "<th>subjects</th>" in (found.folder / "evaluation.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_one_scene_three_times_has_little_diversity_and_a_real_grid_all_of_it(
    run: Run, lora: Path, tiny_flux: Path, figures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the subjects are found by a detector or by what stands out."""

    def still(number: int) -> list[Scene]:
        rng = random.Random(number)
        scene = draw_scene(rng)
        return [replace(scene, action=action) for action in ("kite", "book", "drum")]

    known, same = real(run), scenes_of(run, still)
    drawer(monkeypatch, lambda prompt, tuned: pixels.open_image(known[prompt]) if tuned else same[prompt])
    for detector in (None, figures):
        base, tuned = evaluated(run, lora, tiny_flux, prompts=list(known), detector=detector).results
        assert abs(tuned.diversity.value - 1) < 0.1
        assert base.diversity.value < 0.5
        assert (base.kept_subjects is None) == (detector is None)


@pytest.mark.slow
def test_prompts_that_tell_the_looks_in_every_panel_are_counted_apart(run: Run, lora: Path, tiny_flux: Path) -> None:
    once = next(iter(real(run)))
    panels = {panel: f"<Mo>, a red fox, {act}" for panel, act in enumerate(("runs", "sits", "eats"), 1)}
    each = Prompt(summary="a day", panels=panels)
    both = evaluated(run, lora, tiny_flux, prompts=[once, each])
    assert [one.told_each for one in both.grids] == [False, True] * 2
    for result in both.results:
        own = [one for one in both.grids if one.candidate == result.candidate]
        assert result.kept.value == pytest.approx(own[0].kept)
        assert result.kept_each is not None and result.kept_each.value == pytest.approx(own[1].kept)
    assert not both.remark
    apart = evaluated(run, lora, tiny_flux, prompts=[each])
    assert apart.results[0].kept == apart.results[0].kept_each
    assert "Every prompt tells the looks in each panel" in apart.lines()[-1]


def test_captions_that_tell_looks_in_every_panel_are_drawn_and_measured_as_told_once(
    make_evaluable: Callable[[Path, str, Mapping[str, object]], Path], tmp_path: Path
) -> None:
    cap, more = "a man in a blue cap", {"captioner.answers": [GOOD], "caption.looks": "each"}
    with iclora.open_run("storyboard", folder=make_evaluable(tmp_path / "run", "scripted", more)) as run:
        data = dataset.read(run.dataset, run.task)
        once = told_once(run, data)
        for before, after in zip((*data.train, *data.held_out), (*once.train, *once.held_out), strict=True):
            told, retold = (grammar.parse(one.text, run.task) for one in (before, after))
            assert [cap in text for text in told.panels] == [True, False, True]
            assert [cap in text for text in retold.panels] == [True, False, False]
            assert (retold.summary, retold.names) == (told.summary, told.names)
            assert looks.in_every_panel(told) and not looks.in_every_panel(retold)
            assert (after.id, after.path) == (before.id, before.path)


@pytest.mark.slow
def test_panels_are_compared_by_another_encoder(run: Run, lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    settings = {"vectors.model": f"local-dir:{tiny.vit(tmp_path / 'vit')}"}
    texts = list(real(run))
    plain = evaluated(run, lora, tiny_flux, prompts=texts)
    found = evaluated(run, lora, tiny_flux, prompts=texts, vectors="dino", settings=settings)
    assert found.scale.following == plain.scale.following
    assert found.scale.consistency != plain.scale.consistency
    assert [one.measures.following for one in found.grids] == [one.measures.following for one in plain.grids]
    assert found.instruments["image encoder"]["image encoder"] == "dino"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"vectors": "dinosaur"}, "no image encoder named 'dinosaur', did you mean 'dino'"),
        ({"detector": "yolo"}, "no detector named 'yolo'"),
        ({"settings": {"vectors.model": "a"}}, r"vectors\.\* is set without --vectors"),
        ({"settings": ["scorer.model=a"]}, r"has the settings vectors\.\*, detector\.\*, judge\.\*, got scorer\.model"),
        ({"vectors": "dino", "settings": {"vectors.modl": "a"}}, "unknown key 'modl', did you mean 'model'"),
    ],
)
def test_instruments_that_are_not_there_are_told_in_one_sentence(
    more: dict[str, object], sentence: str, run: Run, lora: Path, tiny_flux: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        evaluated(run, lora, tiny_flux, **more)


@pytest.mark.slow
def test_a_conditional_lora_and_its_base_are_given_the_held_out_grids_panels(
    run: Run, lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the base pastes what it is given into every panel, and the LoRA draws the real panels beside it."""
    header, other, known = json.loads(card_of(lora)), tmp_path / "given.safetensors", real(run)
    always = {"seen": "clean", "panels": "task", "share": 1.0}
    header["condition"], header["recipe"] = [1], header["recipe"] | {"conditions": [always]}
    save_file(load_file(lora), other, metadata={"iclora": json.dumps(header)})
    given_as = {}

    def drawn(
        generator: Generator, requests: list[GenerationRequest], inputs: list[Inputs], *_: object
    ) -> list[Image.Image]:
        assert all(one.given is not None and one.given[1].any() for one in inputs)
        given_as[bool(generator.loras)] = generator.given_as
        grids = []
        for request in requests:
            grid = pixels.open_image(known[request.prompt]).copy()
            first = pixels.cut(grid, Layout(3, 1, 256, 128))[0]
            assert {panel: one.tobytes() for panel, one in request.given.items()} == {0: first.tobytes()}
            for panel in () if generator.loras else (1, 2):
                grid.paste(first, (0, 128 * panel))
            grids.append(grid.resize(generator.layout.canvas))
        return grids

    with monkeypatch.context() as patch:
        patch.setattr(generate, "sample", drawn)
        found = evaluated(run, other, tiny_flux)
    base, tuned = found.results
    assert found.given == (0,) and given_as == {False: "noised", True: "clean"}
    assert base.pasted is not None and base.pasted.value == pytest.approx(1, abs=0.01)
    assert tuned.pasted is not None and tuned.pasted.value == pytest.approx(0, abs=0.01)
    assert base.to_given is not None and base.to_given.value > 0.98
    assert tuned.to_given is not None and tuned.to_given.value < 0.9
    assert "like the given" in found.lines()[0]
    assert evaluated(run, other, tiny_flux).given == (0,)  # drawn by the model itself
    alone = evaluated(run, other, tiny_flux, prompts=list(known)[:1])
    assert alone.results[0].to_given is None
    assert "given has learnt to draw around given panels, and no prompt gives any: name pictures" in alone.lines()[-1]
    assert evaluated(run, lora, tiny_flux).results[0].to_given is None


def test_prompts_of_ones_own_are_drawn_around_the_pictures_of_their_table(
    home: Path, lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Command
) -> None:
    """The base pastes what it is given into every panel; the LoRA leaves the others blank."""
    picture = BLANK.copy()
    picture.paste("red", (0, 0, 128, 128))
    picture.save(tmp_path / "given.png")
    table = tmp_path / "prompts.csv"
    table.write_text(f'prompt,given 2\n"{DOGS}",given.png\n"{DOGS[:-1]}s.",given.png\n', encoding="utf-8")

    def drawn(
        generator: Generator, requests: list[GenerationRequest], inputs: list[Inputs], *_: object
    ) -> list[Image.Image]:
        assert all(one.given is not None and one.given[1].any() for one in inputs)
        assert generator.given_as == "noised"
        grids = []
        for request in requests:
            grid = Image.new("RGB", (256, 384))
            for panel in (1,) if generator.loras else (0, 1, 2):
                grid.paste(request.given[1], (0, 128 * panel))
            grids.append(grid.resize(generator.layout.canvas))
        return grids

    monkeypatch.setattr(generate, "sample", drawn)
    code, printed, errors = iclora(
        *("evaluate", "storyboard", "--out", str(home), "--lora", str(lora), "--model", str(tiny_flux)),
        *("--prompts", str(table), "--seeds", "1"),
    )
    assert code == 0, errors
    told = json.loads((home / "evaluation/evaluation.json").read_text(encoding="utf-8"))
    base, tuned = (one["to_given"]["value"] for one in told["candidates"])
    assert told["given"] == [2] and base > 0.99 > tuned
    assert "like the given 1.00" in printed and "With so few prompts p can't be below 0.500" in printed


def test_panels_of_held_out_grids_are_given_to_a_joint_lora_where_asked(
    run: Run, lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = real(run)
    drawer(monkeypatch, lambda prompt, _: pixels.open_image(known[prompt]))
    found = evaluated(run, lora, tiny_flux, given=[1, 3])
    assert found.given == (0, 2)
    assert all(one.to_given is not None and one.pasted is not None for one in found.results)


@pytest.mark.slow
def test_a_lora_trained_to_be_given_any_panels_is_evaluated_around_the_first(
    home: Path, tiny_flux: Path, iclora: Command
) -> None:
    """From the training to the figures by the commands alone."""
    settings = {"conditional": 1, "steps": 4, "scales": [0.5], "smallest_panel": 48, "samples": 0, "model": tiny_flux}
    words = [word for key, value in settings.items() for word in ("--set", f"train.{key}={value}")]
    code, printed, errors = iclora("train", "storyboard", "--out", str(home), *words)
    assert code == 0, errors
    assert "given: randomly drawn panels without noise in 100% of the samples" in printed
    words = ["--out", str(home), "--model", str(tiny_flux), "--steps", "2", "--seeds", "1"]
    code, printed, errors = iclora("evaluate", "storyboard", *words)
    assert code == 0, errors
    told = json.loads((home / "evaluation/evaluation.json").read_text(encoding="utf-8"))
    assert told["given"] == [1]
    assert all(one["to_given"] and one["pasted"] for one in told["candidates"])
    code, printed, errors = iclora("evaluate", "storyboard", *words, "--given", "2")
    assert code == 0, errors
    assert json.loads((home / "evaluation/evaluation.json").read_text(encoding="utf-8"))["given"] == [2]
