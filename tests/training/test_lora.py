"""The LoRA: its layers, its dtype, its average, and that its file means the same in every program."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import BadInput
from pipeline.records import Layout
from training import fused as fusing
from training import lora, lora_file, lora_keys
from training.job import Job

Make = Callable[..., Job]
BLOCKS = r"(single_)?transformer_blocks\.\d+\."
CARD = lora_file.Card(
    iclora="0.1.0",
    task="storyboard",
    layout=Layout(3, 1, 1024, 512),
    scales=(0.5, 1.0),
    prefix="[MOVIE-SHOTS]",
    markers=("[SCENE-1]", "[SCENE-2]", "[SCENE-3]"),
    condition=(1,),
    family="flux-1",
    base="black-forest-labs/FLUX.1-dev",
    weights="c0ffee/transformer",
    licence="flux-1-dev-non-commercial-license",
    data="0123456789abcdef",
    grids=40,
    step=250,
    averaged=True,
    recipe={"rank": 4, "alpha": 8.0, "scales": [0.5, 1.0], "conditional": 0.0},
)


def transformer_of(job: Job, dtype: torch.dtype = torch.float32) -> Any:
    return job.backend.load("transformer", dtype, "cpu")


def attached(job: Job, dtype: torch.dtype = torch.float32) -> tuple[Any, dict[str, nn.Parameter]]:
    transformer = transformer_of(job, dtype)
    return transformer, lora.attach(transformer, job.backend, job.config)


def scatter(weights: Mapping[str, Tensor], seed: int = 0) -> None:
    """Fills a LoRA with random weights, as if it had been trained."""
    chance = torch.Generator().manual_seed(seed)
    for weight in weights.values():
        weight.data = 0.1 * torch.randn(weight.shape, generator=chance)


@torch.no_grad()
def predicted(job: Job, transformer: Any) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    noisy, text, pooled = (torch.randn(shape, generator=chance) for shape in ((2, 16, 8, 12), (2, 9, 32), (2, 32)))
    texts = [{"text": one, "pooled": summary} for one, summary in zip(text, pooled, strict=True)]
    return job.backend.predict(transformer, noisy, torch.tensor([0.3, 0.8]), texts)


def published(job: Job, rank: int = 4) -> dict[str, Tensor]:
    """Weights as in the published In-Context LoRAs: on every linear layer of the blocks, modulations included,
    in 16 bits."""
    chance, made = torch.Generator().manual_seed(1), {}
    for name, layer in transformer_of(job).named_modules():
        if isinstance(layer, nn.Linear) and re.match(BLOCKS, name):
            for suffix, shape in zip(
                lora_keys.SUFFIXES, ((rank, layer.in_features), (layer.out_features, rank)), strict=True
            ):
                made[f"transformer.{name}{suffix}"] = (0.1 * torch.randn(shape, generator=chance)).half()
    return made


def in_diffusers(job: Job, file: Path) -> Tensor:
    """What the base predicts with a file loaded by diffusers' own pipeline."""
    from diffusers import FluxPipeline

    parts = dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = FluxPipeline.from_pretrained(job.config.model, **parts)
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    return predicted(job, pipeline.transformer)


def in_comfy(job: Job, file: Path) -> Tensor:
    """What the base predicts with B times A added to its weights, as in a program that finds no alpha and assumes the
    rank."""
    transformer, weights = transformer_of(job), load_file(file)
    for name, layer in transformer.named_modules():
        down, up = (weights.get(f"transformer.{name}{suffix}") for suffix in lora_keys.SUFFIXES)
        if down is not None and up is not None:
            layer.weight.data += up.float() @ down.float()
    return predicted(job, transformer)


# ---- in the transformer


def test_on_a_base_in_16_bits_the_lora_has_32(make_job: Make) -> None:
    transformer, weights = attached(make_job(), torch.bfloat16)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    others = {id(weight) for weight in transformer.parameters()} - {id(weight) for weight in weights.values()}
    assert {weight.dtype for weight in transformer.parameters() if id(weight) in others} == {torch.bfloat16}


def test_a_small_step_changes_every_weight(make_job: Make) -> None:
    """In 16 bits, a step of 1e-4 leaves most of them unchanged."""
    _, weights = attached(make_job(), torch.bfloat16)
    scatter(weights)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-4)
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    stayed = sum(int((before[name] == weight).sum()) for name, weight in weights.items())
    assert stayed == 0
    short = torch.cat([weight.flatten() for weight in before.values()]).bfloat16()
    assert float((short - 1e-4 == short).float().mean()) > 0.3


def test_only_linear_layers_of_the_blocks_have_a_lora_and_nothing_else_is_trained(make_job: Make) -> None:
    transformer, weights = attached(make_job())
    layers = {name.removesuffix(suffix) for name in weights for suffix in lora_keys.SUFFIXES if name.endswith(suffix)}
    assert len(weights) == 2 * len(layers) == 2 * (12 + 5)  # of one double and one single block
    assert all(re.match(BLOCKS, layer) for layer in layers)
    assert "single_transformer_blocks.0.proj_out" in layers and "proj_out" not in layers
    assert {name for name, weight in transformer.named_parameters() if weight.requires_grad} == {
        re.sub(r"(lora_[AB])", r"\1.default", name) for name in weights
    }


def test_an_untrained_lora_predicts_as_the_base(make_job: Make) -> None:
    job = make_job()
    transformer, weights = attached(job)
    assert torch.equal(predicted(job, transformer), predicted(job, transformer_of(job)))
    assert all(weight.any() == name.endswith(lora_keys.SUFFIXES[0]) for name, weight in weights.items())


def test_initial_weights_depend_only_on_the_seed(make_job: Make) -> None:
    first = attached(make_job())[1]
    torch.rand(7)
    state = torch.get_rng_state()
    again, other = attached(make_job())[1], attached(make_job(seed=1))[1]
    assert torch.equal(torch.get_rng_state(), state)  # no other random number depends on the LoRA
    for name in first:
        assert torch.equal(first[name], again[name])
        assert torch.equal(first[name], other[name]) == name.endswith(lora_keys.SUFFIXES[1])


# ---- its average


def test_the_average_equals_that_of_a_plain_loop(make_job: Make) -> None:
    weight = nn.Parameter(torch.zeros(3))
    average, expected, chance = lora.Average({"x": weight}, 0.9), torch.zeros(3), torch.Generator().manual_seed(0)
    for step in range(1, 120):
        weight.data = torch.randn(3, generator=chance)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.data
        torch.testing.assert_close(average.tensors["x"], expected)
    assert (1 + 119) / (10 + 119) > 0.9  # both sides of the minimum were covered


def test_the_average_replaces_the_weights_and_restores_them(make_job: Make) -> None:
    job = make_job()
    transformer, weights = attached(job)
    average = lora.Average(weights, 0.99)
    scatter(weights)
    raw = predicted(job, transformer)
    with pytest.raises(RuntimeError), average.applied():
        assert torch.equal(predicted(job, transformer), predicted(job, transformer_of(job)))
        raise RuntimeError
    assert torch.equal(predicted(job, transformer), raw)


# ---- its file


def written(job: Job, folder: Path) -> tuple[Path, Tensor]:
    """A file, and what the model that it was written from predicts."""
    transformer, weights = attached(job)
    scatter(weights)
    file = folder / "ours.safetensors"
    lora_file.write(file, weights, job.config.alpha / job.config.rank, CARD)
    return file, predicted(job, transformer)


def test_every_key_is_in_diffusers_style_and_names_a_layer_of_its_size(make_job: Make, tmp_path: Path) -> None:
    job = make_job(rank=4, alpha=8)
    layers = dict(transformer_of(job).named_modules())
    weights = load_file(written(job, tmp_path)[0])
    assert len(weights) == 34
    for key, weight in weights.items():
        match = re.fullmatch(r"transformer\.(.+)\.lora_([AB])\.weight", key)
        assert match
        layer = layers[match[1]]
        assert weight.shape == ((4, layer.in_features) if match[2] == "A" else (layer.out_features, 4))
        assert weight.dtype == torch.float32


def test_the_strength_is_the_same_with_and_without_a_header_and_merged_into_the_weights(
    make_job: Make, tmp_path: Path
) -> None:
    job = make_job(rank=4, alpha=8)
    file, own = written(job, tmp_path)
    assert not torch.allclose(own, predicted(job, transformer_of(job)), atol=1e-2)
    assert torch.equal(in_diffusers(job, file), own)
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(file), bare)
    assert torch.equal(in_diffusers(job, bare), own)
    torch.testing.assert_close(in_comfy(job, file), own)


def test_a_file_says_what_it_is_for(make_job: Make, tmp_path: Path) -> None:
    file, _ = written(make_job(), tmp_path)
    assert lora_file.find_card(file) == CARD
    assert not list(tmp_path.glob("*.part"))


def test_the_same_weights_and_card_give_the_same_bytes(make_job: Make, tmp_path: Path) -> None:
    """safetensors itself writes the keys of a header in a different order every time."""
    job, files = make_job(), []
    _, weights = attached(job)
    scatter(weights)
    for number in range(8):
        files.append(tmp_path / f"{number}.safetensors")
        lora_file.write(files[-1], weights, 2.0, CARD)
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as opened:
        assert list(opened.metadata()) and set(opened.keys()) == load_file(files[0]).keys()
    content = files[0].read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert start % 8 == 0  # as safetensors aligns tensors, so that they can be mapped into memory
    header = json.loads(content[8:start])
    assert list(header) == sorted(header) and list(header["__metadata__"]) == sorted(header["__metadata__"])


def test_the_umask_decides_who_may_read_a_file(make_job: Make, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    file, _ = written(make_job(), tmp_path)
    assert file.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_files_of_other_programs_have_no_card(make_job: Make, tmp_path: Path) -> None:
    save_file(published(make_job()), tmp_path / "theirs.safetensors")
    assert lora_file.find_card(tmp_path / "theirs.safetensors") is None
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 20)
    for name in ("torn.safetensors", "nowhere.safetensors"):
        with pytest.raises(BadInput, match=f"{re.escape(name)} can't be read as a LoRA file"):
            lora_file.find_card(tmp_path / name)


# ---- an initial LoRA


def begun(make_job: Make, file: Path, **settings: Any) -> Tensor:
    """What the model predicts before the first step of a training that starts from a file."""
    job = make_job(init=str(file), **settings)
    transformer, weights = attached(job)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(weight.requires_grad for weight in weights.values())
    return predicted(job, transformer)


@pytest.mark.parametrize("alpha", [4, 8])
def test_training_starts_from_a_published_lora_unchanged(alpha: int, make_job: Make, tmp_path: Path) -> None:
    file = tmp_path / "theirs.safetensors"
    save_file(published(make_job()), file)
    assert torch.equal(begun(make_job, file, alpha=alpha), in_diffusers(make_job(), file))


def test_training_starts_from_our_own_lora_unchanged(make_job: Make, tmp_path: Path) -> None:
    file, own = written(make_job(rank=4, alpha=8), tmp_path)
    assert torch.equal(begun(make_job, file, alpha=4), own)


def test_alphas_in_a_file_are_respected(make_job: Make, tmp_path: Path) -> None:
    weights = published(make_job())
    layers = {key.removesuffix(lora_keys.SUFFIXES[0]) for key in weights if key.endswith(lora_keys.SUFFIXES[0])}
    save_file(weights | {f"{layer}.alpha": torch.tensor(2.0) for layer in layers}, tmp_path / "half.safetensors")
    halved = {
        key: value.float() / 2 if key.endswith(lora_keys.SUFFIXES[1]) else value for key, value in weights.items()
    }
    save_file(halved, tmp_path / "folded.safetensors")
    assert torch.equal(begun(make_job, tmp_path / "half.safetensors"), begun(make_job, tmp_path / "folded.safetensors"))


@pytest.mark.parametrize(
    "header",
    [
        {"lora_alpha": 8},
        {"lora_alpha": 8, "use_rslora": True},
        {"lora_alpha": 8, "alpha_pattern": {"attn.to_q": 2, "single_transformer_blocks.0.proj_out": 1}},
    ],
)
def test_the_strength_in_a_header_means_what_it_does_in_diffusers(
    header: dict[str, Any], make_job: Make, tmp_path: Path
) -> None:
    """A LoRA that diffusers saved with alpha 8 at rank 4 counts twice."""
    file = headed(make_job(), tmp_path, header)
    theirs = in_diffusers(make_job(), file)
    assert not torch.allclose(theirs, in_comfy(make_job(), file), atol=1e-3)
    assert torch.equal(begun(make_job, file), theirs)


def headed(job: Job, folder: Path, given: dict[str, Any]) -> Path:
    """A file with a header as diffusers writes it."""
    file, weights = folder / "theirs.safetensors", published(job)
    layers = sorted(key[len("transformer.") : -len(".lora_A.weight")] for key in weights if ".lora_A." in key)
    header = {f"transformer.{key}": value for key, value in ({"r": 4, "target_modules": layers} | given).items()}
    save_file(weights, file, metadata={"format": "pt", "lora_adapter_metadata": json.dumps(header)})
    return file


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"use_dora": True}, "is a DoRA, which has more than two matrices per layer; use a plain LoRA"),
        (
            {"lora_alpha": "much"},
            r"has an unusable strength in its header \(transformer\.lora_alpha: .*\); save it again",
        ),
        ({"lora_alpha": math.nan}, r"has an unusable strength in its header"),
    ],
)
def test_an_unusable_header_is_refused(given: dict[str, Any], sentence: str, make_job: Make, tmp_path: Path) -> None:
    file = headed(make_job(), tmp_path, given)
    with pytest.raises(BadInput, match=sentence):
        lora_file.read_weights(file)


def test_an_initial_lora_of_another_rank_is_refused(make_job: Make, tmp_path: Path) -> None:
    save_file(published(make_job(), rank=8), tmp_path / "theirs.safetensors")
    with pytest.raises(BadInput, match=r"theirs\.safetensors has rank 8 and train\.rank is 4; set both to the same"):
        begun(make_job, tmp_path / "theirs.safetensors")


def refused(make_job: Make, folder: Path, weights: dict[str, Tensor]) -> str:
    """The error for an initial LoRA with these weights."""
    save_file(weights, folder / "theirs.safetensors")
    with pytest.raises(BadInput) as caught:
        begun(make_job, folder / "theirs.safetensors")
    return str(caught.value)


def test_an_initial_lora_with_keys_of_another_style_is_refused(make_job: Make, tmp_path: Path) -> None:
    lokr = {"lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": torch.zeros(4, 32)}
    assert "has keys that are no plain LoRA's (lora_unet_double_blocks_0_img" in refused(make_job, tmp_path, lokr)


def test_an_initial_lora_for_layers_that_the_model_lacks_is_refused(make_job: Make, tmp_path: Path) -> None:
    far = {
        key.replace("blocks.0.", "blocks.7."): value for key, value in published(make_job()).items() if "single" in key
    }
    some = published(make_job()) | far
    assert "has weights for layers that are missing from FluxTransformer2DModel" in refused(make_job, tmp_path, some)
    assert "has weights for layers that are missing from FluxTransformer2DModel" in refused(make_job, tmp_path, far)


def test_an_initial_lora_for_layers_of_another_size_is_refused(make_job: Make, tmp_path: Path) -> None:
    wide = {
        key: torch.zeros(4, 1) if key.endswith(lora_keys.SUFFIXES[0]) else value
        for key, value in published(make_job()).items()
    }
    message = refused(make_job, tmp_path, wide)
    assert "has weights for layers that have another size in FluxTransformer2DModel" in message


def test_an_initial_lora_with_one_of_two_matrices_missing_is_refused(make_job: Make, tmp_path: Path) -> None:
    whole = published(make_job())
    for suffix in lora_keys.SUFFIXES:
        gone = next(key for key in whole if key.endswith(suffix))
        message = refused(make_job, tmp_path, {key: value for key, value in whole.items() if key != gone})
        assert gone.removeprefix("transformer.") in message
    assert "has no weights" in refused(make_job, tmp_path, {})


def test_an_initial_lora_that_is_damaged_is_refused(make_job: Make, tmp_path: Path) -> None:
    whole = published(make_job())
    first = min(whole)
    for tensor, sentence in (
        (torch.full_like(whole[first], math.nan), "has NaN or infinity in transformer."),
        (whole[first][:3], "whose shapes don't match; use an undamaged file"),
        (whole[first][0], "whose shapes don't match"),
    ):
        assert sentence in refused(make_job, tmp_path, whole | {first: tensor.contiguous()})


def test_one_of_our_files_that_lost_a_layer_is_refused(make_job: Make, tmp_path: Path) -> None:
    """Its header names every layer; the remaining ones look fine by themselves."""
    file, _ = written(make_job(), tmp_path)
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    kept = {key: value for key, value in load_file(file).items() if "attn.to_q" not in key}
    save_file(kept, file, metadata=header)
    with pytest.raises(
        BadInput, match=r"lacks transformer\.single_.*attn\.to_q\.lora_A\.weight, .*; use an undamaged file"
    ):
        lora_file.read_weights(file)


# ---- in fewer passes


def taught(job: Job, dtype: torch.dtype, fused: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """What a LoRA predicts, and its gradients."""
    transformer, weights = attached(job, dtype)
    scatter(weights)
    if fused:
        assert fusing.fuse(transformer) == len(weights) / 2
    chance = torch.Generator().manual_seed(0)
    noisy, text, pooled = (torch.randn(shape, generator=chance) for shape in ((2, 16, 8, 12), (2, 9, 32), (2, 32)))
    texts = [{"text": one, "pooled": summary} for one, summary in zip(text, pooled, strict=True)]
    prediction = job.backend.predict(transformer, noisy, torch.tensor([0.3, 0.8]), texts)
    prediction.float().square().mean().backward()
    return prediction.detach(), {name: weight.grad for name, weight in weights.items() if weight.grad is not None}


def test_fused_layers_predict_and_learn_the_same_as_those_of_peft(make_job: Make) -> None:
    job = make_job(rank=4, alpha=8)
    (own, slopes), (fused, others) = (taught(job, torch.float32, way) for way in (False, True))
    torch.testing.assert_close(fused, own)
    assert len(slopes) == len(others) == 34
    for name, slope in slopes.items():
        torch.testing.assert_close(others[name], slope, rtol=1e-4, atol=1e-7)


def test_fused_layers_in_16_bits_are_as_close_as_16_bits_allow(make_job: Make) -> None:
    job = make_job(rank=4, alpha=8)
    exact, slopes = taught(job, torch.float32, True)
    short, others = taught(job, torch.bfloat16, True)
    assert (short.float() - exact).norm() < 0.03 * exact.norm()
    for name, slope in slopes.items():
        assert others[name].dtype == torch.float32
        assert (others[name] - slope).norm() < 0.1 * slope.norm()


@pytest.mark.parametrize("seen", [torch.float32, torch.bfloat16])
def test_a_fused_layer_works_under_autocast_whatever_its_input(seen: torch.dtype, make_job: Make) -> None:
    """On a GPU, a base in 16 bits runs under autocast, where norms return 32 bits."""
    transformer, weights = attached(make_job(), torch.bfloat16)
    scatter(weights)
    fusing.fuse(transformer)
    layer = transformer.transformer_blocks[0].attn.to_q
    rows = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)).to(seen).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(rows)
    assert (out.dtype, out.shape) == (torch.bfloat16, (2, 5, 32))
    out.sum().backward()
    a, b = (weights[f"transformer_blocks.0.attn.to_q{suffix}"] for suffix in lora_keys.SUFFIXES)
    assert rows.grad is not None and a.grad is not None and b.grad is not None
    assert (rows.grad.dtype, a.grad.dtype, b.grad.dtype) == (seen, torch.float32, torch.float32)
    exact = rows.float() @ layer.base_layer.weight.float().T + layer.base_layer.bias.float() + rows.float() @ a.T @ b.T
    assert (out.float() - exact).norm() < 0.02 * exact.norm()
