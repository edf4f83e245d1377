"""Image sets by the command and by the Python API."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

import iclora
from pipeline.errors import BadInput
from pipeline.pixels import open_image
from pipeline.progress import Progress
from training import generate as drawing
from training.generator import GenerationRequest

Run = Callable[..., tuple[int, str, str]]
PANELS = {1: "<Mara> runs", 2: "sits", 3: "sleeps"}
PROMPT = "[MOVIE-SHOTS] a day, [SCENE-1] <Mara> runs, [SCENE-2] sits, [SCENE-3] sleeps."


def small_task(file: Path) -> None:
    """Storyboards on the canvas of the LoRA."""
    usual = (Path(__file__).parents[2] / "pipeline/tasks/storyboard.toml").read_text(encoding="utf-8")
    file.write_text(usual.replace("1024", "128").replace("512", "64"), encoding="utf-8")


def test_a_table_is_drawn_prompt_by_prompt_and_seed_by_seed(
    lora: Path, tiny_flux: Path, tmp_path: Path, iclora: Run
) -> None:
    table, to = tmp_path / "prompts.csv", tmp_path / "set.png"
    table.write_text(
        f'prompt,summary,panel 1,panel 2,panel 3,seed\n"{PROMPT}",,,,,5\n,a day,<Mara> runs,sits,sleeps,\n',
        encoding="utf-8",
    )
    words = ["--prompts", str(table), "--seed", "5", "--seed", "6", "--model", str(tiny_flux), "--steps", "1"]
    code, printed, errors = iclora("generate", str(lora), *words, "--to", str(to))
    assert code == 0, errors
    stems = ["set", "set2", "set3"]
    assert all(f"{stem}.png, its panels in" in printed for stem in stems)
    recipes = [json.loads((tmp_path / f"{stem}.json").read_text(encoding="utf-8")) for stem in stems]
    assert [(one["prompt"], one["seed"]) for one in recipes] == [(PROMPT, 5), (PROMPT, 5), (PROMPT, 6)]
    grids = [open_image(tmp_path / f"{stem}.png") for stem in stems]
    assert max(high for _, high in ImageChops.difference(grids[0], grids[1]).getextrema()) <= 1
    assert max(high for _, high in ImageChops.difference(grids[1], grids[2]).getextrema()) > 1


def test_the_recipe_stands_in_the_picture_and_beside_it(
    lora: Path, tiny_flux: Path, tmp_path: Path, iclora: Run
) -> None:
    style = tmp_path / "a=style.safetensors"
    save_file(load_file(lora), style)
    photo = tmp_path / "photo.png"
    Image.new("RGB", (128, 64), "red").save(photo)
    panels = [word for panel, text in PANELS.items() for word in ("--panel", f"{panel}={text}")]
    code, _, errors = iclora(
        *("generate", str(lora), "--summary", "a day", *panels, "--strength", "0.5", "--lora", f"{style}=0.25"),
        *("--given", f"2={photo}", "--model", str(tiny_flux), "--steps", "1", "--to", str(tmp_path / "a.png")),
    )
    assert code == 0, errors
    recipe = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert recipe == json.loads(Image.open(tmp_path / "a.png").text["iclora"])  # type: ignore[attr-defined]
    assert (recipe["prompt"], recipe["given"], recipe["steps"]) == (PROMPT, [2], 1)
    assert [(one["file"], one["strength"]) for one in recipe["loras"]] == [(lora.name, 0.5), (style.name, 0.25)]
    assert len({one["sha256"] for one in recipe["loras"]}) == 2
    assert (recipe["canvas"], recipe["panels"]) == ([128, 192], [3, 1])


def test_given_panels_are_unchanged_to_the_pixel_where_that_is_asked(
    lora: Path, tiny_flux: Path, draw: Callable[..., Image.Image]
) -> None:
    photo = draw(1, (128, 64))
    drawn = {
        kept: iclora.generate(lora, PROMPT, given={2: photo}, keep_given=kept, model=str(tiny_flux), steps=1)[0]
        for kept in (False, True)
    }
    assert drawn[True].panels[1].tobytes() == photo.convert("RGB").tobytes()
    assert drawn[False].panels[1].tobytes() != photo.convert("RGB").tobytes()
    for panel in (0, 2):
        assert drawn[True].panels[panel].tobytes() == drawn[False].panels[panel].tobytes()
        assert max(high - low for low, high in drawn[True].panels[panel].getextrema()) > 0  # not blank


def test_prompts_of_their_own_seeds_and_pictures_keep_them(lora: Path, tiny_flux: Path) -> None:
    photo = Image.new("RGB", (128, 64), "red")
    generation = iclora.open_generation(
        lora,
        [PROMPT, iclora.Prompt(summary="a day", panels=PANELS, given={3: photo}, seeds=(7,))],
        given={1: photo},
        seeds=(1, 2),
        model=str(tiny_flux),
    )
    asked = [(request.prompt, request.seed, sorted(request.given)) for request in generation.requests]
    assert asked == [(PROMPT, 1, [0]), (PROMPT, 2, [0]), (PROMPT, 7, [2])]


def test_a_lora_of_another_program_draws_the_same_with_the_task(lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    """Its keys are peft's; the canvas is that of a task file."""
    theirs, task = tmp_path / "theirs.safetensors", tmp_path / "small.toml"
    keys = {key.replace("transformer.", "base_model.model.", 1): value for key, value in load_file(lora).items()}
    save_file(keys, theirs)
    small_task(task)
    (ours,) = iclora.generate(lora, PROMPT, model=str(tiny_flux), steps=1)
    (drawn,) = iclora.generate(
        theirs, iclora.Prompt(summary="a day", panels=PANELS), task=task, model=str(tiny_flux), steps=1
    )
    assert drawn.grid.tobytes() == ours.grid.tobytes()


def test_a_lora_of_another_program_draws_the_same_on_a_canvas_by_its_measures(
    lora: Path, tiny_flux: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.safetensors"
    save_file(load_file(lora), theirs)
    (ours,) = iclora.generate(lora, PROMPT, model=str(tiny_flux), steps=1)
    (drawn,) = iclora.generate(theirs, PROMPT, layout="3x1:128x64", model=str(tiny_flux), steps=1)
    assert drawn.grid.tobytes() == ours.grid.tobytes()
    (wide,) = iclora.generate(theirs, PROMPT, layout="1x2:64x96", model=str(tiny_flux), steps=1)
    assert [panel.size for panel in wide.panels] == [(64, 96), (64, 96)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layout": "3x1"}, r"--layout takes ROWSxCOLS:WIDTHxHEIGHT of a panel such as 3x1:1024x512, got '3x1'"),
        ({"layout": "0x1:64x64"}, "--layout takes ROWSxCOLS:WIDTHxHEIGHT"),
        ({"layout": "3x1:100x64"}, "16 pixels, got --layout with 100 x 64; 96 x 64 is the nearest"),
        ({"layout": "3x1:64x64", "task": "storyboard"}, "--task and --layout both say which canvas is drawn"),
        ({"offload": True}, "--offload sends the base's weights to a GPU block by block, and there is none"),
        ({"retry": -1}, "is drawn again 0 times or more, got --retry -1"),
    ],
)
def test_an_option_that_can_t_be_met_is_refused(
    options: dict[str, object], sentence: str, lora: Path, tiny_flux: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        iclora.open_generation(lora, PROMPT, model=str(tiny_flux), **options)  # type: ignore[arg-type]


def test_what_another_command_draws_meanwhile_is_not_overwritten(
    lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Run
) -> None:
    for name, other, words in (("generated-1.png", "generated2", ()), ("grid.json", "grid2", ("--to", "grid.png"))):
        theirs = tmp_path / name

        def elsewhere(_: int, theirs: Path = theirs) -> Image.Image:
            theirs.write_text("of another", encoding="utf-8")
            return Image.new("RGB", (128, 192), "red")

        drawer(monkeypatch, elsewhere)
        assert iclora("generate", str(lora), PROMPT, "--model", str(tiny_flux), *words)[0] == 0
        assert theirs.read_text(encoding="utf-8") == "of another" and (tmp_path / f"{other}.json").exists()
    code, _, errors = iclora("generate", str(lora), PROMPT, "--model", str(tiny_flux), "--to", "grid.png")
    assert code == 2 and "grid.json exists and would be overwritten; name another file with --to." in errors


def test_a_lora_given_twice_is_refused(lora: Path, tiny_flux: Path, iclora: Run) -> None:
    again = str(lora.parent / "." / lora.name)
    code, _, errors = iclora("generate", str(lora), PROMPT, "--lora", f"{again}=0.5", "--model", str(tiny_flux))
    assert code == 2
    assert "storyboard.safetensors is given twice; name each LoRA once" in errors


def drawer(monkeypatch: pytest.MonkeyPatch, pictures: Callable[[int], Image.Image]) -> list[int]:
    """Replaces the diffusion model by pictures by seed; returns the seeds that will have been drawn."""
    seeds = list[int]()

    def sample(
        _: object, requests: Sequence[GenerationRequest], __: object, progress: Progress, what: str
    ) -> list[Image.Image]:
        progress(what, len(requests), len(requests))
        seeds.extend(request.seed for request in requests)
        return [pictures(request.seed) for request in requests]

    monkeypatch.setattr(drawing, "sample", sample)
    return seeds


def test_a_malformed_grid_is_told_and_drawn_again_until_it_is_whole(
    lora: Path, tiny_flux: Path, tmp_path: Path, draw: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch,
    iclora: Run,
) -> None:  # fmt: skip
    whole, blank = Image.new("RGB", (128, 192)), Image.new("RGB", (128, 192), "red")
    for panel in range(3):
        whole.paste(draw(panel + 1, (128, 64)), (0, 64 * panel))
    partly = whole.copy()
    partly.paste(blank.crop((0, 0, 128, 64)), (0, 64))
    pictures = {1: blank, 1_000_004: partly, 2_000_007: whole, 2: whole}
    words = ("--model", str(tiny_flux), "--seed", "1", "--seed", "2", "--to")

    def run(retry: int) -> tuple[str, list[int], dict[str, object]]:
        seeds = drawer(monkeypatch, pictures.__getitem__)
        to = tmp_path / f"{retry}.png"
        code, printed, errors = iclora("generate", str(lora), PROMPT, *words, str(to), "--retry", str(retry))
        assert code == 0, errors
        assert printed.count("note: ") == 1  # the second grid is whole
        return printed, seeds, json.loads(to.with_suffix(".json").read_text(encoding="utf-8"))

    printed, seeds, recipe = run(0)
    assert "0.png is malformed: panel 1 is blank; panel 2 is blank; panel 3 is blank\n" in printed
    assert (seeds, recipe["seed"]) == ([1, 2], 1)
    assert recipe["faults"] == [f"panel {panel} is blank" for panel in (1, 2, 3)]
    printed, seeds, recipe = run(1)
    assert "1.png is malformed: panel 2 is blank (the best of 2 seeds)\n" in printed
    assert (seeds, recipe["seed"], recipe["faults"]) == ([1, 2, 1_000_004], 1_000_004, ["panel 2 is blank"])
    printed, seeds, recipe = run(5)
    assert "5.png is drawn with seed 2000007 after 2 malformed ones\n" in printed
    assert (seeds, recipe["seed"], recipe["faults"]) == ([1, 2, 1_000_004, 2_000_007], 2_000_007, [])


def test_every_step_of_the_drawing_is_told_and_what_is_drawn_again_by_a_name_of_its_own(
    lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[tuple[str, int, int]]()
    common = {"model": str(tiny_flux), "steps": 3, "progress": lambda *one: told.append(one)}
    iclora.generate(lora, PROMPT, **common)  # type: ignore[arg-type]
    assert told == [("drawing", 1, 3), ("drawing", 2, 3), ("drawing", 3, 3)]
    told.clear()
    drawer(monkeypatch, lambda _: Image.new("RGB", (128, 192), "red"))
    iclora.generate(lora, PROMPT, retry=2, **common)  # type: ignore[arg-type]
    assert told == [("drawing", 1, 1), ("try 2", 1, 1), ("try 3", 1, 1)]


def test_the_command_logs_the_steps_of_its_drawing(lora: Path, tiny_flux: Path, tmp_path: Path, iclora: Run) -> None:
    log = tmp_path / "one.jsonl"
    words = ("--model", str(tiny_flux), "--steps", "2", "--log", str(log))
    assert iclora("generate", str(lora), PROMPT, *words)[0] == 0
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(one["stage"], one["done"], one["of"]) for one in lines if one["event"] == "progress"] == [
        ("drawing", 1, 2),
        ("drawing", 2, 2),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--lora", "a.safetensors=much"), "--lora takes FILE or FILE=STRENGTH"),
        (("--panel", "one=a"), "--panel takes PANEL=TEXT such as 1="),
        ((), "there is no prompt"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(
    words: tuple[str, ...], sentence: str, lora: Path, tiny_flux: Path, iclora: Run
) -> None:
    code, _, errors = iclora("generate", str(lora), "--model", str(tiny_flux), *words)
    assert code == 2
    assert sentence in errors


def test_nothing_to_generate_is_refused(lora: Path, tiny_flux: Path) -> None:
    with pytest.raises(BadInput, match="there is nothing to generate"):
        iclora.open_generation(lora, [], model=str(tiny_flux))


@pytest.mark.slow
def test_every_command_in_the_docs_works(
    lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Run
) -> None:
    page = (Path(__file__).parents[2] / "docs/generating.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(commands) == 7
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    shutil.copy(lora, "storyboard.safetensors")
    for name in ("theirs", "style"):
        save_file(load_file(lora), f"{name}.safetensors")
    Image.new("RGB", (300, 200), "red").save("photo.png")
    Path("prompts.csv").write_text(f'prompt\n"{PROMPT}"\n', encoding="utf-8")
    small_task(Path("storyboard.toml"))
    for command in commands:
        smaller = command.replace("--task storyboard", "--task storyboard.toml").replace("1024x512", "128x64")
        _, *words = shlex.split(smaller)
        code, _, errors = iclora(*words, "--model", str(tiny_flux), "--steps", "1")
        assert code == 0, f"{command}: {errors}"
    assert {"sets/grid.json", "sets/grid2-3.png"} <= {str(file) for file in Path("sets").iterdir()}
    assert Path("generated5-3.png").exists()
