"""Image sets from a LoRA file: the file says how to use it, and given images stay."""

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
from pipeline.task import load
from training import generate, loop, machine
from training.backends import flux
from training.config import BaseWeights, Config
from training.generator import Adapter, GenerationRequest, Generator, open_generator, remarks
from training.job import Job, family_of
from training.processes import Processes
from training.sampling import SamplingSettings

CPU = torch.device("cpu")
SETTINGS = SamplingSettings(steps=2, guidance=3.5)
PROMPT = "[MOVIE-SHOTS] <Mara>, [SCENE-1] runs, [SCENE-2] sits, [SCENE-3] sleeps."
Make = Callable[..., Job]
Run = Callable[..., tuple[int, str, str]]


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any pixel."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def test_the_file_states_task_and_canvas_and_mode(lora: Path, tiny_flux: Path) -> None:
    generator = open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU)
    assert generator.layout.canvas == (128, 192)
    assert generator.backend.BASE == "flux-1"
    assert generator.given_as == "noised"  # it was trained jointly


def test_a_conditional_lora_sees_given_panels_without_noise(make_job: Make, tiny_flux: Path) -> None:
    file = loop.train(make_job(steps=1, conditional=1.0), Processes(), lambda *_: None).file
    assert open_generator([Adapter(file)], str(tiny_flux), SETTINGS, CPU).given_as == "clean"


def test_the_folder_of_a_base_must_be_given(lora: Path) -> None:
    with pytest.raises(BadInput, match="was trained on the base in a folder 'flux'; say where it is with --model"):
        open_generator([Adapter(lora)], None, SETTINGS, CPU)


def test_the_base_is_loaded_at_the_commit_that_the_lora_was_trained_on(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the error for a missing base is tested: hub and cache are out of reach."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    file = changed(lora, card={"base": "someone/flux", "weights": "c0ffee/transformer"})
    for model, hint in ((None, "'hf download someone/flux --revision c0ffee'"), ("a/b", "'hf download a/b'")):
        with pytest.raises(MissingWeights, match=rf"{hint} .* as diffusers saves it with --model FOLDER\.$"):
            open_generator([Adapter(file)], model, SETTINGS, CPU)


def changed(file: Path, *, card: Mapping[str, Any] | None = None, weights: Mapping[str, Tensor] | None = None) -> Path:
    """A copy of a LoRA with other metadata and other weights beside its own."""
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    header["iclora"] = json.dumps(json.loads(header["iclora"]) | dict(card or {}))
    copy = file.with_name("changed.safetensors")
    save_file(load_file(file) | dict(weights or {}), copy, metadata=header)
    return copy


def test_a_file_that_is_damaged_or_does_not_fit_its_base_is_refused_in_one_sentence(
    lora: Path, tiny_flux: Path
) -> None:
    name, weight = next((name, weight) for name, weight in load_file(lora).items() if "lora_A" in name)
    far = {f"transformer.blocks.9.to_q.lora_{half}.weight": torch.zeros(4, 4) for half in "AB"}
    for change, sentence in (
        ({"card": {"family": "z-image"}}, "flux is a FluxPipeline, and base=z-image is trained on a ZImagePipeline"),
        ({"card": {"recipe": {"rank": 4}}}, "has a damaged description of how to use it"),
        ({"card": {"scales": []}}, "has a damaged description of how to use it"),
        ({"weights": {name: torch.full_like(weight, math.nan)}}, "has NaN or infinity in transformer."),
        ({"weights": {name: torch.zeros(4, 999)}}, "layers that have another size in FluxTransformer2DModel"),
        (
            {"weights": far},
            "layers that are missing from FluxTransformer2DModel: blocks.9.to_q; use a LoRA of the same base",
        ),
    ):
        with pytest.raises(BadInput, match=re.escape(sentence)):
            open_generator([Adapter(changed(lora, **change))], str(tiny_flux), SETTINGS, CPU)


def test_nan_and_infinity_are_errors_and_not_images(lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    """From a LoRA of finite weights whose products overflow, and from a VAE that decodes to NaN."""
    huge = {name: torch.full_like(weight, 1e30) for name, weight in load_file(lora).items()}
    generator = open_generator([Adapter(changed(lora, weights=huge))], str(tiny_flux), SETTINGS, CPU)
    with pytest.raises(BadInput, match=r"produces NaN or infinity at --guidance 3\.5"):
        generate.draw(generator, [GenerationRequest(PROMPT)])
    ill = shutil.copytree(tiny_flux, tmp_path / "model")
    weights = next((ill / "vae").glob("*.safetensors"))
    bias = load_file(weights)["decoder.conv_out.bias"]
    save_file(load_file(weights) | {"decoder.conv_out.bias": torch.full_like(bias, math.nan)}, weights)
    with pytest.raises(BadInput, match=r"the VAE of .*model decodes to NaN or infinity"):
        generate.draw(open_generator([Adapter(lora)], str(ill), SETTINGS, CPU), [GenerationRequest(PROMPT)])


def test_a_request_unlike_the_training_gets_a_warning_and_is_generated_anyway(lora: Path, tiny_flux: Path) -> None:
    photo, small = Image.new("RGB", (128, 64)), Image.new("RGB", (64, 64))

    def warnings(request: GenerationRequest, **card: Any) -> list[str]:
        generator = open_generator([Adapter(changed(lora, card=card))], str(tiny_flux), SETTINGS, CPU)
        return remarks(generator, request)

    assert not warnings(GenerationRequest(PROMPT))
    assert not warnings(GenerationRequest(PROMPT, 0, {1: photo}))
    (base,) = warnings(GenerationRequest(PROMPT), weights="c0ffee/transformer")
    assert "than the base that the LoRA was trained on (flux, c0ffee/transformer)" in base
    (prompt,) = warnings(GenerationRequest("a dog, [SCENE-1] runs, [SCENE-3] sleeps."))
    assert prompt.startswith("the prompt lacks [MOVIE-SHOTS], [SCENE-2]; every caption in the LoRA's training reads [M")
    (order,) = warnings(
        GenerationRequest(
            PROMPT.replace("[SCENE-1]", "[X]").replace("[SCENE-2]", "[SCENE-1]").replace("[X]", "[SCENE-2]")
        )
    )
    assert order.startswith(
        "the prompt has its markers in another order; every caption in the LoRA's training reads [M"
    )
    (crop,) = warnings(GenerationRequest(PROMPT, 0, {2: small}))
    assert crop.startswith("the picture for panel 3 loses 50% of its area")
    for share, panels, given in ((1, [2], {}), (1, [2], {0: photo}), (0.5, [2], {0: photo}), (1, [], {})):
        (mode,) = warnings(GenerationRequest(PROMPT, 0, given), recipe={"conditional": share}, condition=panels)
        assert mode.startswith(
            f"the LoRA has learnt to generate with {'panel 2' if panels else 'some panels'} given, and"
        )
    for share, panels, given in ((1, [2], {1: photo}), (0.5, [2], {}), (1, [], {0: photo}), (0, [2], {0: photo})):
        assert not warnings(GenerationRequest(PROMPT, 0, given), recipe={"conditional": share}, condition=panels)


def test_a_file_from_another_program_needs_a_task(lora: Path, tmp_path: Path, tiny_flux: Path) -> None:
    save_file(load_file(lora), tmp_path / "other.safetensors")
    other = [Adapter(tmp_path / "other.safetensors")]
    with pytest.raises(BadInput, match="does not say which canvas it has learnt; name the task with --task"):
        open_generator(other, None, SETTINGS, CPU)
    generator = open_generator(other, str(tiny_flux), SETTINGS, CPU, load("storyboard"))
    assert generator.layout.canvas == (1024, 1536)
    assert (generator.given_as, generator.card) == ("noised", None)
    both = open_generator([*other, Adapter(lora)], str(tiny_flux), SETTINGS, CPU)
    assert both.layout.canvas == (128, 192)


@pytest.mark.slow
def test_loras_are_added_up_by_their_strengths(lora: Path, tiny_flux: Path) -> None:
    """A LoRA at twice its strength is the LoRA and itself; at 0 it is the base."""

    def drawn(*strengths: float) -> Image.Image:
        generator = open_generator([Adapter(lora, one) for one in strengths], str(tiny_flux), SETTINGS, CPU)
        return generate.draw(generator, [GenerationRequest(PROMPT)])[0]

    base = replace(open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU), loras=())
    assert difference(drawn(0.0), generate.draw(base, [GenerationRequest(PROMPT)])[0]) == 0
    assert difference(drawn(2.0), drawn(1.0, 1.0)) <= 1
    assert difference(drawn(2.0), drawn(1.0)) > 1


def test_weights_that_the_machine_can_t_hold_are_refused_before_anything_is_loaded(lora: Path) -> None:
    with pytest.raises(BadInput, match="int8 needs a CUDA device"):
        open_generator([Adapter(lora)], None, SETTINGS, CPU, weights="int8")


def test_the_same_request_gives_the_same_grid_alone_and_in_a_batch(lora: Path, tiny_flux: Path) -> None:
    generator = open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU)
    requests = [GenerationRequest(PROMPT, seed=1), GenerationRequest("[MOVIE-SHOTS] nothing.", seed=2)]
    together = generate.draw(generator, requests)
    alone = generate.draw(generator, requests[1:])[0]
    assert difference(together[1], alone) <= 1  # a batch sums in another order
    assert difference(together[0], together[1]) > 1
    assert difference(together[0], generate.draw(generator, [GenerationRequest(PROMPT, seed=3)])[0]) > 1


def test_the_lora_has_an_effect(lora: Path, tiny_flux: Path) -> None:
    generator = open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU)
    base = replace(generator, loras=())
    assert (
        difference(
            generate.draw(generator, [GenerationRequest(PROMPT)])[0],
            generate.draw(base, [GenerationRequest(PROMPT)])[0],
        )
        > 0
    )


@pytest.mark.parametrize("given_as", ["clean", "noised"])
def test_a_given_image_stays_as_the_vae_encodes_it(
    given_as: str, lora: Path, tiny_flux: Path, draw: Callable[..., Image.Image]
) -> None:
    """Its latents are unchanged on the finished canvas; only its rim differs, which the decoder shares."""
    generator = replace(open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU), given_as=given_as)
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
        (GenerationRequest("a" * 200), "has 201 tokens, and only 128 are read"),
        (
            GenerationRequest(PROMPT, 0, {3: Image.new("RGB", (8, 8))}),
            "panel 4 is given, and the LoRA's grids have panels 1 to 3",
        ),
        (GenerationRequest(PROMPT, 0, dict.fromkeys(range(3), Image.new("RGB", (8, 8)))), "all 3 panels are given"),
    ],
)
def test_an_impossible_request_is_refused_in_one_sentence(
    asked: GenerationRequest, sentence: str, lora: Path, tiny_flux: Path
) -> None:
    with pytest.raises(BadInput, match=sentence):
        generate.draw(open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU), [asked])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (SamplingSettings(0, 3.5), "sampling takes at least 1 step, got --steps 0"),
        (SamplingSettings(2, math.nan), "guidance is a number of at least 0 such as 3.5, got --guidance nan"),
        (SamplingSettings(2, -1.0), "got --guidance -1"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(
    settings: SamplingSettings, sentence: str, tiny_flux: Path
) -> None:
    generator = Generator(flux.make(str(tiny_flux)), (), Layout(1, 1, 64, 64), settings, CPU)
    with pytest.raises(BadInput, match=sentence):
        generate.draw(generator, [GenerationRequest(PROMPT)])


def test_a_base_that_is_sent_block_by_block_draws_the_same_grid(lora: Path, tiny_flux: Path) -> None:
    """From main memory to main memory, for want of a GPU."""
    generator = open_generator([Adapter(lora, 0.5)], str(tiny_flux), SETTINGS, CPU)
    asked = [GenerationRequest(PROMPT, 3)]
    (usual,), (sent,) = generate.draw(generator, asked), generate.draw(replace(generator, offload=True), asked)
    assert sent.tobytes() == usual.tobytes()


@pytest.mark.parametrize(
    ("device", "weights", "sentence"),
    [
        ("cpu", "auto", "--offload sends the base's weights to a GPU block by block, and there is none; leave it out"),
        ("meta", "nf4", "--offload can't move weights as nf4, which stay on the GPU; use --weights bf16 or fp8"),
    ],
)
def test_what_can_t_be_offloaded_is_refused(device: str, weights: BaseWeights, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        machine.check_offload(Config(base_weights=weights), torch.device(device))


def test_a_gpu_that_is_too_small_is_told_with_the_ways_on(
    lora: Path, tiny_flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(generate, "_draw", full)
    generator = open_generator([Adapter(lora)], str(tiny_flux), SETTINGS, CPU)
    with pytest.raises(BadInput, match=r"memory is too small .* 128 x 192; use --offload, --weights int8 or nf4, or"):
        generate.draw(generator, [GenerationRequest(PROMPT)])


def test_the_family_of_a_base_is_read_from_its_folder_or_its_name(tiny_flux: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_flux, tmp_path / "other")
    index = other / "model_index.json"
    index.write_text(index.read_text(encoding="utf-8").replace("FluxPipeline", "ZImagePipeline"), encoding="utf-8")
    assert [family_of(str(tiny_flux)), family_of(str(other))] == ["flux-1", "z-image"]
    assert [family_of(name) for name in ("Tongyi-MAI/Z-Image", "some/thing", None)] == ["z-image", "flux-1", "flux-1"]


def test_the_command_overwrites_nothing(lora: Path, tiny_flux: Path, tmp_path: Path, iclora: Run) -> None:
    photo, drawn = tmp_path / "set-2.png", tmp_path / "new" / "folder" / "one.webp"
    Image.new("RGB", (128, 64), "red").save(photo)
    before = photo.read_bytes()

    def run(*words: str) -> tuple[int, str, str]:
        return iclora("generate", str(lora), "a dog", "--model", str(tiny_flux), "--steps", "1", *words)

    for words, sentence in (
        (("--to", str(tmp_path / "set.png")), "set-2.png exists and would be overwritten; name another"),
        (("--to", "grid"), "error: --to grid doesn't end like an image's name; name a file such as grid.png."),
        (("--to", "grid.txt"), "error: --to grid.txt doesn't end like an image's name"),
        (("--given", f"2={photo}"), "panel 2 has two values for --given"),
    ):
        code, _, errors = run("--given", f"2={photo}", *words)
        assert code == 2 and sentence in errors
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
