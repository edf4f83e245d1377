"""Image sets by the command and by the Python API."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

import iclora
from pipeline.errors import BadInput
from pipeline.pixels import open_image

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


def test_every_command_in_the_docs_works(
    lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Run
) -> None:
    page = (Path(__file__).parents[2] / "docs/generating.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(commands) == 5
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    shutil.copy(lora, "storyboard.safetensors")
    for name in ("theirs", "style"):
        save_file(load_file(lora), f"{name}.safetensors")
    Image.new("RGB", (300, 200), "red").save("photo.png")
    Path("prompts.csv").write_text(f'prompt\n"{PROMPT}"\n', encoding="utf-8")
    small_task(Path("storyboard.toml"))
    for command in commands:
        _, *words = shlex.split(command.replace("--task storyboard", "--task storyboard.toml"))
        code, _, errors = iclora(*words, "--model", str(tiny_flux), "--steps", "1")
        assert code == 0, f"{command}: {errors}"
    assert {"sets/grid.json", "sets/grid2-3.png"} <= {str(file) for file in Path("sets").iterdir()}
    assert Path("generated4-3.png").exists()
