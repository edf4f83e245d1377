"""Image sets from a LoRA file: it says itself how it is drawn with, and given pictures stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from pipeline.errors import BadInput
from pipeline.pixels import cut, open_image
from training import generate, loop
from training.generate import Wish
from training.job import Job
from training.processes import Processes
from training.sampling import Manner

CPU = torch.device("cpu")
MANNER = Manner(steps=2, guidance=3.5)
PROMPT = "[MOVIE-SHOTS] <Mara>, [SCENE-1] runs, [SCENE-2] sits, [SCENE-3] sleeps."
Make = Callable[..., Job]


@pytest.fixture
def lora(make_job: Make) -> Path:
    return loop.train(make_job(steps=2, learning_rate=0.05), Processes(), lambda *_: None).file


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest of any pixel."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def test_the_file_says_task_canvas_and_mode(lora: Path, tiny_flux: Path) -> None:
    studio = generate.open_studio(lora, str(tiny_flux), MANNER, CPU)
    assert studio.layout.canvas == (128, 192)
    assert studio.backend.BASE == "flux-1"
    assert studio.kept == "noised"  # it was trained jointly


def test_a_conditional_lora_sees_given_panels_clean(make_job: Make, tiny_flux: Path) -> None:
    file = loop.train(make_job(steps=1, conditional=1.0), Processes(), lambda *_: None).file
    assert generate.open_studio(file, str(tiny_flux), MANNER, CPU).kept == "clean"


def test_a_base_in_a_folder_must_be_told(lora: Path) -> None:
    with pytest.raises(BadInput, match="was trained on the base in a folder 'flux'; say where it lies with --model"):
        generate.open_studio(lora, None, MANNER, CPU)


def test_a_strange_file_is_refused(lora: Path, tmp_path: Path) -> None:
    save_file(load_file(lora), tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="was not made by iclora"):
        generate.open_studio(tmp_path / "other.safetensors", None, MANNER, CPU)


def test_the_same_wish_gives_the_same_grid_alone_and_in_company(lora: Path, tiny_flux: Path) -> None:
    studio = generate.open_studio(lora, str(tiny_flux), MANNER, CPU)
    wishes = [Wish(PROMPT, seed=1), Wish("[MOVIE-SHOTS] nothing.", seed=2)]
    together = generate.draw(studio, wishes)
    alone = generate.draw(studio, wishes[1:])[0]
    assert difference(together[1], alone) <= 1  # a batch adds up in another order
    assert difference(together[0], together[1]) > 1
    assert difference(together[0], generate.draw(studio, [Wish(PROMPT, seed=3)])[0]) > 1


def test_the_lora_takes_part(lora: Path, tiny_flux: Path) -> None:
    studio = generate.open_studio(lora, str(tiny_flux), MANNER, CPU)
    base = replace(studio, lora=None)
    assert difference(generate.draw(studio, [Wish(PROMPT)])[0], generate.draw(base, [Wish(PROMPT)])[0]) > 0


@pytest.mark.parametrize("kept", ["clean", "noised"])
def test_a_given_picture_comes_back_as_the_vae_knows_it(
    kept: str, lora: Path, tiny_flux: Path, draw: Callable[..., Image.Image]
) -> None:
    """Its latents stand untouched on the finished canvas: what differs is the rim that the decoder shares."""
    studio = replace(generate.open_studio(lora, str(tiny_flux), MANNER, CPU), kept=kept)
    photo = draw(1, (128, 64))
    one, other = (cut(generate.draw(studio, [Wish(PROMPT, seed, {1: photo})])[0], studio.layout) for seed in (1, 2))
    middle = (32, 24, 96, 40)
    apart = [difference(a.crop(middle), b.crop(middle)) for a, b in zip(one, other, strict=True)]
    assert apart[1] < min(apart[0], apart[2])


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (Wish("a" * 200), "has 201 tokens, 128 are read"),
        (Wish(PROMPT, 0, {3: Image.new("RGB", (8, 8))}), "panel 4 is given, and the LoRA's grids have panels 1 to 3"),
        (Wish(PROMPT, 0, dict.fromkeys(range(3), Image.new("RGB", (8, 8)))), "all 3 panels are given"),
    ],
)
def test_a_wish_that_can_t_be_drawn_is_refused_in_a_sentence(
    wish: Wish, sentence: str, lora: Path, tiny_flux: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        generate.draw(generate.open_studio(lora, str(tiny_flux), MANNER, CPU), [wish])


def test_the_command_writes_grid_and_panels(
    lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import cli

    Image.new("RGB", (300, 200), "red").save(tmp_path / "photo.png")
    words = ["iclora", "generate", str(lora), PROMPT, "--model", str(tiny_flux), "--steps", "1"]
    monkeypatch.setattr(
        "sys.argv", [*words, "--given", f"1={tmp_path / 'photo.png'}", "--to", f"{tmp_path / 'set.png'}"]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    sizes = [open_image(tmp_path / f"set{end}.png").size for end in ("", "-1", "-2", "-3")]
    assert sizes == [(128, 192), (128, 64), (128, 64), (128, 64)]
