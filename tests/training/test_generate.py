"""Image sets from a LoRA file: it says itself how it is drawn with, and given pictures stay."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import BadInput, MissingWeights
from pipeline.pixels import cut, open_image
from pipeline.records import Layout
from training import generate, loop
from training.backends import flux
from training.generate import GenerationRequest
from training.job import Job
from training.processes import Processes
from training.sampling import SamplingSettings

CPU = torch.device("cpu")
SETTINGS = SamplingSettings(steps=2, guidance=3.5)
PROMPT = "[MOVIE-SHOTS] <Mara>, [SCENE-1] runs, [SCENE-2] sits, [SCENE-3] sleeps."
Make = Callable[..., Job]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lora(make_job: Make) -> Path:
    return loop.train(make_job(steps=2, learning_rate=0.05), Processes(), lambda *_: None).file


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest of any pixel."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def test_the_file_says_task_canvas_and_mode(lora: Path, tiny_flux: Path) -> None:
    generator = generate.open_generator(lora, str(tiny_flux), SETTINGS, CPU)
    assert generator.layout.canvas == (128, 192)
    assert generator.backend.BASE == "flux-1"
    assert generator.kept == "noised"  # it was trained jointly


def test_a_conditional_lora_sees_given_panels_clean(make_job: Make, tiny_flux: Path) -> None:
    file = loop.train(make_job(steps=1, conditional=1.0), Processes(), lambda *_: None).file
    assert generate.open_generator(file, str(tiny_flux), SETTINGS, CPU).kept == "clean"


def test_a_base_in_a_folder_must_be_told(lora: Path) -> None:
    with pytest.raises(BadInput, match="was trained on the base in a folder 'flux'; say where it lies with --model"):
        generate.open_generator(lora, None, SETTINGS, CPU)


def test_the_base_is_of_the_commit_that_the_lora_was_trained_on(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is told of a base that is not here: hub and cache are out of reach."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    file = changed(lora, card={"base": "someone/flux", "weights": "c0ffee/transformer"})
    for model, told in ((None, "'hf download someone/flux --revision c0ffee'"), ("a/b", "'hf download a/b'")):
        with pytest.raises(MissingWeights, match=rf"{told} .* as diffusers saves it with --model FOLDER\.$"):
            generate.open_generator(file, model, SETTINGS, CPU)


def changed(file: Path, *, card: Mapping[str, Any] | None = None, weights: Mapping[str, Tensor] | None = None) -> Path:
    """A copy of a LoRA with another card and other weights beside its own."""
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    header["iclora"] = json.dumps(json.loads(header["iclora"]) | dict(card or {}))
    copy = file.with_name("changed.safetensors")
    save_file(load_file(file) | dict(weights or {}), copy, metadata=header)
    return copy


def test_what_does_not_fit_its_base_or_is_damaged_is_refused_in_a_sentence(lora: Path, tiny_flux: Path) -> None:
    name, weight = next((name, weight) for name, weight in load_file(lora).items() if "lora_A" in name)
    far = {f"transformer.blocks.9.to_q.lora_{half}.weight": torch.zeros(4, 4) for half in "AB"}
    for change, sentence in (
        ({"card": {"family": "z-image"}}, "flux is a FluxPipeline, and base=z-image is trained on a ZImagePipeline"),
        ({"card": {"recipe": {"rank": 4}}}, "does not say rightly how it is drawn with"),
        ({"card": {"scales": []}}, "does not say rightly how it is drawn with"),
        ({"weights": {name: torch.full_like(weight, math.nan)}}, "has what is no number in transformer."),
        ({"weights": {name: torch.zeros(4, 999)}}, "layers that FluxTransformer2DModel has of another size"),
        ({"weights": far}, "layers that FluxTransformer2DModel lacks: blocks.9.to_q; name a LoRA of the same base"),
    ):
        with pytest.raises(BadInput, match=re.escape(sentence)):
            generate.open_generator(changed(lora, **change), str(tiny_flux), SETTINGS, CPU)


def test_what_comes_out_as_no_number_is_no_picture(lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    """Of a LoRA of finite numbers whose products are none, and of a VAE that decodes to none."""
    huge = {name: torch.full_like(weight, 1e30) for name, weight in load_file(lora).items()}
    generator = generate.open_generator(changed(lora, weights=huge), str(tiny_flux), SETTINGS, CPU)
    with pytest.raises(BadInput, match=r"draws at --guidance 3\.5 is no number and no picture"):
        generate.draw(generator, [GenerationRequest(PROMPT)])
    ill = shutil.copytree(tiny_flux, tmp_path / "model")
    weights = next((ill / "vae").glob("*.safetensors"))
    bias = load_file(weights)["decoder.conv_out.bias"]
    save_file(load_file(weights) | {"decoder.conv_out.bias": torch.full_like(bias, math.nan)}, weights)
    with pytest.raises(BadInput, match=r"the VAE of .*model gives what is no number and no picture"):
        generate.draw(generate.open_generator(lora, str(ill), SETTINGS, CPU), [GenerationRequest(PROMPT)])


def test_what_the_lora_has_not_learnt_is_told_and_drawn_all_the_same(lora: Path, tiny_flux: Path) -> None:
    photo, small = Image.new("RGB", (128, 64)), Image.new("RGB", (64, 64))

    def told(request: GenerationRequest, **card: Any) -> list[str]:
        generator = generate.open_generator(changed(lora, card=card), str(tiny_flux), SETTINGS, CPU)
        return generate.remarks(generator, request)

    assert not told(GenerationRequest(PROMPT))
    assert not told(GenerationRequest(PROMPT, 0, {1: photo}))
    (base,) = told(GenerationRequest(PROMPT), weights="c0ffee/transformer")
    assert "than the base that the LoRA was trained on (flux, c0ffee/transformer)" in base
    (prompt,) = told(GenerationRequest("a dog, [SCENE-1] runs, [SCENE-3] sleeps."))
    assert prompt.startswith("the prompt lacks [MOVIE-SHOTS], [SCENE-2]; every caption that the LoRA has read goes [M")
    (order,) = told(
        GenerationRequest(
            PROMPT.replace("[SCENE-1]", "[X]").replace("[SCENE-2]", "[SCENE-1]").replace("[X]", "[SCENE-2]")
        )
    )
    assert order.startswith("the prompt has its markers in another order; every caption that the LoRA has read goes [M")
    (crop,) = told(GenerationRequest(PROMPT, 0, {2: small}))
    assert crop.startswith("the picture for panel 3 loses 50% of its area")
    for share, panels, given in ((1, [2], {}), (1, [2], {0: photo}), (0.5, [2], {0: photo}), (1, [], {})):
        (mode,) = told(GenerationRequest(PROMPT, 0, given), recipe={"conditional": share}, condition=panels)
        assert mode.startswith(f"the LoRA has learnt to draw with {'panel 2' if panels else 'some panels'} given, and")
    for share, panels, given in ((1, [2], {1: photo}), (0.5, [2], {}), (1, [], {0: photo}), (0, [2], {0: photo})):
        assert not told(GenerationRequest(PROMPT, 0, given), recipe={"conditional": share}, condition=panels)


def test_a_strange_file_is_refused(lora: Path, tmp_path: Path) -> None:
    save_file(load_file(lora), tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="was not made by iclora"):
        generate.open_generator(tmp_path / "other.safetensors", None, SETTINGS, CPU)


def test_the_same_request_gives_the_same_grid_alone_and_in_company(lora: Path, tiny_flux: Path) -> None:
    generator = generate.open_generator(lora, str(tiny_flux), SETTINGS, CPU)
    requests = [GenerationRequest(PROMPT, seed=1), GenerationRequest("[MOVIE-SHOTS] nothing.", seed=2)]
    together = generate.draw(generator, requests)
    alone = generate.draw(generator, requests[1:])[0]
    assert difference(together[1], alone) <= 1  # a batch adds up in another order
    assert difference(together[0], together[1]) > 1
    assert difference(together[0], generate.draw(generator, [GenerationRequest(PROMPT, seed=3)])[0]) > 1


def test_the_lora_takes_part(lora: Path, tiny_flux: Path) -> None:
    generator = generate.open_generator(lora, str(tiny_flux), SETTINGS, CPU)
    base = replace(generator, lora=None)
    assert (
        difference(
            generate.draw(generator, [GenerationRequest(PROMPT)])[0],
            generate.draw(base, [GenerationRequest(PROMPT)])[0],
        )
        > 0
    )


@pytest.mark.parametrize("kept", ["clean", "noised"])
def test_a_given_picture_comes_back_as_the_vae_knows_it(
    kept: str, lora: Path, tiny_flux: Path, draw: Callable[..., Image.Image]
) -> None:
    """Its latents stand untouched on the finished canvas: what differs is the rim that the decoder shares."""
    generator = replace(generate.open_generator(lora, str(tiny_flux), SETTINGS, CPU), kept=kept)
    photo = draw(1, (128, 64))
    one, other = (
        cut(generate.draw(generator, [GenerationRequest(PROMPT, seed, {1: photo})])[0], generator.layout)
        for seed in (1, 2)
    )
    middle = (32, 24, 96, 40)
    apart = [difference(a.crop(middle), b.crop(middle)) for a, b in zip(one, other, strict=True)]
    assert apart[1] < min(apart[0], apart[2])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (GenerationRequest("a" * 200), "has 201 tokens, 128 are read"),
        (
            GenerationRequest(PROMPT, 0, {3: Image.new("RGB", (8, 8))}),
            "panel 4 is given, and the LoRA's grids have panels 1 to 3",
        ),
        (GenerationRequest(PROMPT, 0, dict.fromkeys(range(3), Image.new("RGB", (8, 8)))), "all 3 panels are given"),
    ],
)
def test_a_request_that_can_t_be_drawn_is_refused_in_a_sentence(
    asked: GenerationRequest, sentence: str, lora: Path, tiny_flux: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        generate.draw(generate.open_generator(lora, str(tiny_flux), SETTINGS, CPU), [asked])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (SamplingSettings(0, 3.5), "a grid is drawn in 1 step or more, got --steps 0"),
        (SamplingSettings(2, math.nan), "guidance is a number from 0 on such as 3.5, got --guidance nan"),
        (SamplingSettings(2, -1.0), "got --guidance -1"),
    ],
)
def test_settings_that_draw_nothing_are_refused_in_a_sentence(
    settings: SamplingSettings, sentence: str, tiny_flux: Path
) -> None:
    generator = generate.Generator(flux.make(str(tiny_flux)), None, Layout(1, 1, 64, 64), settings, CPU)
    with pytest.raises(BadInput, match=sentence):
        generate.draw(generator, [GenerationRequest(PROMPT)])


def test_the_command_writes_over_nothing(lora: Path, tiny_flux: Path, tmp_path: Path, iclora: Run) -> None:
    photo, drawn = tmp_path / "set-2.png", tmp_path / "new" / "folder" / "one.webp"
    Image.new("RGB", (128, 64), "red").save(photo)
    before = photo.read_bytes()

    def run(*words: str) -> tuple[int, str, str]:
        return iclora("generate", str(lora), "a dog", "--model", str(tiny_flux), "--steps", "1", *words)

    for words, sentence in (
        (("--to", str(tmp_path / "set.png")), "set-2.png exists and would be overwritten; name another"),
        (("--to", "grid"), "error: --to grid doesn't end like an image's name; name a file such as grid.png."),
        (("--to", "grid.txt"), "error: --to grid.txt doesn't end like an image's name"),
        (("--given", f"2={photo}"), "panel 2 is given twice"),
    ):
        code, _, told = run("--given", f"2={photo}", *words)
        assert code == 2 and sentence in told
    assert photo.read_bytes() == before
    code, printed, _ = run("--to", str(drawn))
    assert code == 0 and open_image(drawn).size == (128, 192)
    assert "note: the prompt lacks [MOVIE-SHOTS], [SCENE-1], [SCENE-2], [SCENE-3]" in printed
    for file in ("generated.png", "generated2.png"):
        assert not Path(file).exists()
        assert file in run()[1]
        assert open_image(Path(file)).size == (128, 192)


def test_the_command_writes_grid_and_panels(
    lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclora import cli

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
