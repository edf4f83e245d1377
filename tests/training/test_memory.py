"""The memory that a training is planned to take, against what is counted and known. No GPU has measured it yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import planned
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pipeline import task
from training import config as settings
from training import machine, memory, presets
from training.allocation import Peak
from training.config import Config
from training.job import find_backend
from training.memory import GIB

pytestmark = pytest.mark.slow


def test_a_base_in_fewer_bits_has_the_size_that_its_storage_has() -> None:
    """FLUX.1-dev in fp8: what has "norm" in its name stays in 16 bits, modulation and its 3.2 billion weights."""
    backend = find_backend("flux-1", None, None)
    found = {kind: memory.weight_sizes(backend, kind) for kind in ("bf16", "fp8", "int8", "nf4")}
    sizes = {kind: (sum(one.blocks) + one.rest) / GIB for kind, one in found.items()}
    assert sizes == pytest.approx({"bf16": 22.17, "fp8": 14.15, "int8": 11.16, "nf4": 6.32}, abs=0.01)
    linear = 11.9e9
    assert sizes["nf4"] * GIB == pytest.approx(linear / 2 + linear / 64 * 4, rel=0.02)  # embedders stay in 16 bits


def test_what_decoding_takes_is_counted_on_the_vae_itself() -> None:
    """FLUX.1's, at full size: three maps of 256 channels (what a block reads, its norm and its activation)."""
    backend = find_backend("flux-1", None, None)
    width, height = 1024, 1536
    encode, decode = memory.vae_peaks(backend, (width, height), torch.bfloat16)
    assert decode / (2 * width * height) == pytest.approx(3 * 256, rel=0.01)
    assert encode < decode
    assert memory.vae_peaks(backend, (width, height), torch.float32)[1] == pytest.approx(2 * decode, rel=0.01)


def parts(base: str = "flux-1", gpu: float | None = None, **how: Any) -> dict[str, dict[str, float]]:
    config = Config(checkpointing=True, **how)
    found = planned.phases(find_backend(base, None, None), config, gpu)
    return {name: dict(phase.parts) for name, phase in found.items()}


def test_every_phase_holds_what_is_there_at_once() -> None:
    found = parts(base_weights="bf16")
    for part in found.values():
        assert part["context"] == GIB / 2
    assert "base" not in found["reading texts"] and found["reading texts"]["text encoders"] > 8 * GIB
    assert found["drawing samples"].keys() >= {"base", "VAE", "one grid"}
    assert "gradient" not in found["drawing samples"]


def test_an_offloaded_base_takes_two_blocks_and_what_is_outside_of_blocks() -> None:
    whole, away = (parts(base_weights="bf16", offload=one)["training"] for one in (False, True))
    sizes = memory.weight_sizes(find_backend("flux-1", None, None), "bf16")
    assert away["base"] == sizes.rest + 2 * max(sizes.blocks) < whole["base"] / 10
    assert away["activations"] == whole["activations"]


def test_fp8_saves_nothing_without_recomputation() -> None:
    """Autograd then keeps all weights as they computed."""
    backend = find_backend("flux-1", None, None)
    sight = planned.sight_of(backend, 1, (512, 512))
    held = Config(base_weights="fp8", checkpointing=False), Config(base_weights="bf16", checkpointing=False)
    fp8, bf16 = (memory.phases(backend, one, planned.lora_of(backend, 16), sight, planned.GPU)[2].total for one in held)
    assert fp8 > bf16


@pytest.mark.parametrize(
    ("base", "gpu", "read_on_cpu"), [("qwen-image", 16, True), ("qwen-image", 24, False), ("flux-1", 12, False)]
)
def test_encoders_that_a_gpu_has_no_room_for_are_in_main_memory(base: str, gpu: float, read_on_cpu: bool) -> None:
    reading = planned.phases(find_backend(base, None, None), planned.with_preset("16gb"), gpu)["reading texts"]
    assert reading.on_cpu == read_on_cpu != ("context" in reading.parts)
    assert reading.parts["text encoders"] > 9 * GIB


def test_reference_images_that_an_encoder_sees_take_tokens_of_it() -> None:
    """A picture of a megapixel: 32 x 32 tokens of 32 pixels; or 13 x 13 of 28 at the size at which Edit's sees it."""
    size, seen = (1024, 1024), {}
    for base in ("qwen-image-2.1", "qwen-image-edit", "flux-2-klein"):
        backend = find_backend(base, None, None)
        seen[base] = backend.picture_tokens(size)
        of_text = backend.text_tokens(100, 3 * seen[base])
        assert of_text == {"qwen-image-2.1": 100, "qwen-image-edit": 100 + 3 * seen[base], "flux-2-klein": 512}[base]
    assert seen == {"qwen-image-2.1": 1_024, "qwen-image-edit": 188, "flux-2-klein": 0}


@pytest.mark.parametrize(
    ("base", "part", "tokens", "how"),
    [
        ("flux-1", "text_encoder_2", 512, {}),
        ("z-image", "text_encoder", 512, {"output_hidden_states": True}),
        ("qwen-image", "text_encoder", 700, {"output_hidden_states": True, "logits_to_keep": 1}),
        ("qwen-image-2.1", "text_encoder", 1_500, {"output_hidden_states": True, "use_cache": False}),
    ],
)
def test_reading_a_text_takes_no_more_than_planned(base: str, part: str, tokens: int, how: dict[str, Any]) -> None:
    """Counted operation by operation on encoders of full size without data."""
    backend = find_backend(base, None, None)
    usual = torch.get_default_dtype()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        torch.set_default_dtype(torch.bfloat16)
        try:
            encoder = backend.blank(part, "cpu").eval()
        finally:
            torch.set_default_dtype(usual)
        ids = torch.zeros(1, tokens, dtype=torch.long)
        masked = {"attention_mask": torch.ones_like(ids)} if part == "text_encoder" else {}
        with Peak() as counted:
            encoder(input_ids=ids, **masked, **how)
    planned_bytes = memory.reads(backend, tokens, planned.GPU)["one text"]
    assert 0.3 * planned_bytes < counted.most <= planned_bytes


# ---- what stays in 16 bits


KEPT = {
    "flux-1": ("x_embedder", "context_embedder", "time_text_embed", "norm_out"),
    "krea-2": ("img_in", "time_embed", "time_mod_proj", "txt_in", "text_fusion", "final_layer"),
    "qwen-image": ("img_in", "txt_in", "time_text_embed", "norm_out", "proj_out"),
}


@pytest.mark.parametrize("base", KEPT)
def test_layers_outside_of_the_blocks_stay_in_16_bits_in_every_format(base: str) -> None:
    """`proj_out` of FLUX.1 doesn't: single blocks have layers of that name, which diffusers would leave out with it."""
    backend = find_backend(base, None, None)
    kept = machine.kept_layers(backend, backend.blank("transformer"))
    assert {name.partition(".")[0] for name in kept} == set(KEPT[base])
    assert machine._quantized(Config(base_weights="int8"), torch.bfloat16, kept).llm_int8_skip_modules == kept
    cast: Any = backend.blank("transformer").to(torch.bfloat16)
    machine.cast_layers(backend, cast, torch.bfloat16)
    layers = dict(cast.named_modules())
    assert {layers[name].weight.dtype for name in kept} == {torch.bfloat16}
    assert torch.float8_e4m3fn in {weight.dtype for weight in cast.parameters()}


# ---- presets


def training_of(*lines: str) -> Config:
    return settings.load(task.load("storyboard", lines))


def test_a_preset_gives_defaults_and_what_is_set_by_hand_goes_before_it() -> None:
    for name, row in presets.TABLE.items():
        found = training_of(f"train.preset={name}")
        assert {key: getattr(found, key) for key in row} == dict(row)
    own = training_of("train.preset=12gb", "train.base_weights=fp8", "train.steps=100")
    assert (own.base_weights, own.optimizer, own.steps) == ("fp8", "adamw8bit", 100)
    small = settings.load(task.load("storyboard", ["train.preset=12gb"]), miniature=True)
    assert small.micro_batch == 1 and small.steps == settings.FOR_MINIATURE["steps"]


def test_no_more_grids_go_together_than_a_step_has_with_a_preset_too() -> None:
    assert training_of("train.preset=80gb", "train.batch=2").micro_batch == 2


@pytest.mark.parametrize(("name", "gib"), planned.CARDS.items())
def test_a_preset_fits_flux_1_dev_on_the_canvas_that_it_was_made_for(name: str, gib: int) -> None:
    assert planned.peak(find_backend("flux-1", None, None), planned.with_preset(name), gib) < gib


def test_where_a_setting_comes_from_a_preset_is_told(tmp_path: Path) -> None:
    from iclora.settings import Settings, in_force

    asked = Settings(task="storyboard", sources=(str(tmp_path),)).changed(
        settings=["train.preset=24gb", "train.micro_batch=2"]
    )
    origins = {one.key: (one.value, one.origin) for one in in_force(asked)}
    assert origins["train.base_weights"] == ("fp8", "preset")
    assert origins["train.micro_batch"] == (2, "run")
