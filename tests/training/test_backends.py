"""The backends of FLUX.1 and Z-Image: compared with diffusers' own pipelines, and at full size without weights."""

from __future__ import annotations

import inspect
import itertools
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from diffusers import FluxPipeline, ZImagePipeline
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pipeline import task
from pipeline.errors import BadInput, MissingWeights
from pipeline.families import load as base_family
from training import config as settings
from training.backends import flux, z_image
from training.backends._flux_1 import token_places
from training.backends.base import Backend, Encoded, Prompts, pack, shift_factor, unpack
from training.backends.flux import Flux
from training.backends.z_image import ZImage
from training.job import find_backend

DEV, SCHNELL = "black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell"
Z_IMAGE, TURBO = "Tongyi-MAI/Z-Image", "Tongyi-MAI/Z-Image-Turbo"
TEXTS = ["[SCENE-1] a cat; [SCENE-2] the same cat\nsits, far from here, on a warm stone wall in the sun", "", "a dog"]
HEIGHT, WIDTH = 64, 96  # pixels; unequal, so that swapping height and width is noticed
STEPS = 4


@dataclass(frozen=True)
class Family:
    """A tiny model as loaded by our backend and by diffusers' pipeline."""

    backend: Backend
    pipeline: Any

    @property
    def parts(self) -> dict[str, Any]:
        return {part: getattr(self.pipeline, part) for part in (*self.backend.ENCODERS, "vae", "transformer")}

    @property
    def is_flux(self) -> bool:
        return self.backend.PIPELINE == "FluxPipeline"

    @property
    def is_guided(self) -> bool:
        """Whether the transformer takes a guidance strength."""
        return bool(self.pipeline.transformer.config.get("guidance_embeds"))

    def encode(self, *texts: str) -> list[Encoded]:
        return self.backend.encode_text(self.parts, texts)

    def draw(self, noise_BCHW: Tensor, guidance: float, **more: Any) -> Tensor:
        """The pipeline's own images of the first texts, or their latents in its own form."""
        start = pack(noise_BCHW) if self.is_flux else noise_BCHW
        drawn: Tensor = self.pipeline(
            TEXTS[: len(noise_BCHW)],
            height=HEIGHT,
            width=WIDTH,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            latents=start,
            max_sequence_length=self.backend.text_limit,
            **more,
        ).images
        return drawn


def load(backend: Backend, kind: Any) -> Family:
    pipeline = kind.from_pretrained(backend.model)
    pipeline.set_progress_bar_config(disable=True)
    return Family(backend, pipeline)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {
        "dev": tiny.flux(home / "dev"),
        "schnell": tiny.flux(home / "schnell", guidance=False, length=256),
        "z-image": tiny.z_image(home / "z-image"),
    }


@pytest.fixture(scope="module")
def families(folders: dict[str, Path]) -> dict[str, Family]:
    return {
        "dev": load(flux.make(str(folders["dev"])), FluxPipeline),
        "schnell": load(flux.make(str(folders["schnell"])), FluxPipeline),
        "z-image": load(z_image.make(str(folders["z-image"])), ZImagePipeline),
    }


@pytest.fixture(params=["dev", "schnell", "z-image"])
def family(request: pytest.FixtureRequest, families: dict[str, Family]) -> Family:
    return families[request.param]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noise(grids: int = 2) -> Tensor:
    return random(grids, 16, HEIGHT // 8, WIDTH // 8)


# ---- texts


@torch.inference_mode()
def test_texts_are_encoded_bit_for_bit_as_by_the_pipeline(family: Family) -> None:
    limit = family.backend.text_limit
    texts = [*TEXTS, "x" * 600]  # the last is cut by both
    if family.is_flux:
        long, pooled, _ = family.pipeline.encode_prompt(texts, None, max_sequence_length=limit)
        expected = [{"text": one, "pooled": summary} for one, summary in zip(long, pooled, strict=True)]
    else:
        long, _ = family.pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, max_sequence_length=limit
        )
        expected = [{"text": one} for one in long]
    encoded = family.encode(*texts)
    assert [one.keys() for one in encoded] == [one.keys() for one in expected]
    for ours, theirs in zip(encoded, expected, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not torch.equal(encoded[0]["text"][-1], encoded[2]["text"][-1])


def test_special_tokens_and_chat_template_are_counted(family: Family) -> None:
    """Compared with the known special tokens, and with what the encoder actually gets."""
    backend = family.backend
    around = 1 if family.is_flux else len("#user\n#\n#assistant\n")
    assert backend.count_tokens([*TEXTS, "x" * 600]) == [len(text) + around for text in [*TEXTS, "x" * 600]]
    if not family.is_flux:
        assert [len(one["text"]) for one in family.encode(*TEXTS)] == backend.count_tokens(TEXTS)
        assert len(family.encode("x" * 600)[0]["text"]) == backend.text_limit


def test_the_lower_limit_of_tokenizer_and_family_applies(families: dict[str, Family], tmp_path: Path) -> None:
    assert {name: family.backend.text_limit for name, family in families.items()} == {
        "dev": 512,
        "schnell": 256,
        "z-image": 512,
    }
    assert len(families["dev"].encode("")[0]["text"]) == 512
    short = z_image.make(str(tiny.z_image(tmp_path, length=48)))
    assert short.text_limit == 48


# ---- the transformer


@contextmanager
def overheard(transformer: nn.Module) -> Iterator[list[dict[str, Any]]]:
    """The inputs that a transformer gets, by the names of its arguments."""
    asked: list[dict[str, Any]] = []
    names = inspect.signature(inspect.unwrap(type(transformer).forward))

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = names.bind(transformer, *args, **kwargs).arguments
        asked.append({name: value for name, value in given.items() if isinstance(value, (Tensor, list))})

    handle = transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield asked
    finally:
        handle.remove()


def euler(family: Family, velocity: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Euler's method along the noise levels to which the pipeline's scheduler has been set."""
    x = noise()
    levels = family.pipeline.scheduler.sigmas
    for level, following in itertools.pairwise(levels):
        x = x + (following - level) * velocity(x, level.expand(len(x)))
    return x


def as_drawn(family: Family, latents_BCHW: Tensor) -> Tensor:
    return pack(latents_BCHW) if family.is_flux else latents_BCHW


@torch.inference_mode()
def test_the_transformer_gets_the_inputs_that_the_pipeline_gives_it(family: Family) -> None:
    with overheard(family.pipeline.transformer) as theirs:
        family.draw(noise(), 3.5 if family.is_flux else 0.0, output_type="latent")
    level = family.pipeline.scheduler.sigmas[:1].expand(2)
    with overheard(family.pipeline.transformer) as ours:
        family.backend.predict(family.pipeline.transformer, noise(), level, family.encode(*TEXTS[:2]), guidance=3.5)
    (asked,) = ours
    assert len(asked) == (6 + family.is_guided if family.is_flux else 3)
    assert asked.keys() == theirs[0].keys()
    for name, value in asked.items():
        torch.testing.assert_close(value, theirs[0][name])


@torch.inference_mode()
def test_sampling_through_the_backend_ends_at_the_pipelines_latents(family: Family) -> None:
    texts = family.encode(*TEXTS[:2])
    expected = family.draw(noise(), 3.5 if family.is_flux else 0.0, output_type="latent")
    drawn = euler(
        family, lambda x, sigma: family.backend.predict(family.pipeline.transformer, x, sigma, texts, guidance=3.5)
    )
    assert (drawn - noise()).abs().mean() > 0.1
    torch.testing.assert_close(as_drawn(family, drawn), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [0.0, 1.0, 4.0])
def test_guided_sampling_ends_at_the_pipelines_latents(family: Family, guidance: float) -> None:
    """Whatever guidance means to the family: an input (FLUX.1-dev), nothing (schnell), two predictions (Z-Image)."""
    expected = family.draw(noise(), guidance, output_type="latent")
    prompts = Prompts(family.encode(*TEXTS[:2]), family.encode("", ""))

    def velocity(x_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
        return family.backend.guided(family.pipeline.transformer, x_BCHW, sigma_B, prompts, guidance)

    torch.testing.assert_close(as_drawn(family, euler(family, velocity)), expected, rtol=1e-4, atol=1e-5)


def test_a_backend_says_how_its_model_is_guided(families: dict[str, Family]) -> None:
    said = {name: family.backend.guidance for name, family in families.items()}
    assert said == {"dev": "embedded", "schnell": "none", "z-image": "classifier-free"}
    published = {
        backend.model: backend.guidance for backend in (flux.make(DEV), flux.make(SCHNELL), z_image.make(TURBO))
    }
    assert published == {DEV: "embedded", SCHNELL: "none", TURBO: "none"}


@torch.inference_mode()
def test_guidance_is_an_input_of_models_that_have_one(family: Family) -> None:
    texts, sigma = family.encode(*TEXTS[:2]), torch.tensor([0.3, 0.8])
    weak, strong = (
        family.backend.predict(family.pipeline.transformer, noise(), sigma, texts, guidance=strength)
        for strength in (1.0, 3.5)
    )
    assert torch.equal(weak, strong) == (not family.is_guided)


@torch.inference_mode()
def test_a_prediction_depends_only_on_its_own_text_and_level(family: Family) -> None:
    transformer, sigma = family.pipeline.transformer, torch.tensor([0.3, 0.8])
    texts = family.encode(*TEXTS[:2])
    both = family.backend.predict(transformer, noise(), sigma, texts)
    assert both.shape == noise().shape
    for index in range(2):
        part = slice(index, index + 1)
        alone = family.backend.predict(transformer, noise()[part], sigma[part], texts[part])
        torch.testing.assert_close(both[part], alone, rtol=1e-4, atol=1e-5)
        for other in (
            family.backend.predict(transformer, noise()[part], sigma[part], family.encode(TEXTS[2])),
            family.backend.predict(transformer, noise()[part], sigma[part] / 2, texts[part]),
        ):
            assert (alone - other).abs().max() > 1e-3


@torch.inference_mode()
def test_a_base_in_bfloat16_predicts_almost_the_same(folders: dict[str, Path], family: Family) -> None:
    backend, texts, sigma = family.backend, family.encode(*TEXTS[:2]), torch.tensor([0.3, 0.8])
    exact = backend.predict(family.pipeline.transformer, noise(), sigma, texts)
    rough = backend.predict(backend.load("transformer", torch.bfloat16, "cpu"), noise(), sigma, texts)
    assert (rough.float() - exact).abs().mean() < 0.03 * exact.abs().mean()


def test_every_layer_of_the_lora_contributes_to_the_prediction(family: Family) -> None:
    backend = family.backend
    transformer = backend.load("transformer", torch.float32, "cpu")
    inject_adapter_in_model(LoraConfig(r=2, target_modules=backend.targets), transformer)
    predicted = backend.predict(transformer, noise(), torch.tensor([0.3, 0.8]), family.encode(*TEXTS[:2]))
    predicted.square().mean().backward()
    grads = {name: weight.grad for name, weight in transformer.named_parameters() if "lora_B" in name}
    assert grads and all(grad is not None and grad.abs().max() > 0 for grad in grads.values())


# ---- FLUX's tokens

SIDES = st.integers(1, 5).map(lambda tokens: 2 * tokens)


@given(st.integers(1, 3), st.integers(1, 4), SIDES, SIDES)
def test_packing_matches_the_pipeline_and_is_reversible(grids: int, channels: int, height: int, width: int) -> None:
    latents = random(grids, channels, height, width)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, grids, channels, height, width))
    assert torch.equal(unpack(tokens, height, width), latents)
    assert torch.equal(FluxPipeline._unpack_latents(tokens, 8 * height, 8 * width, 8), latents)


@given(SIDES, SIDES)
def test_token_positions_are_those_of_their_latents_row_by_row(height: int, width: int) -> None:
    places = token_places(height, width)
    expected = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float32)
    assert torch.equal(places, expected)
    rows, columns = torch.meshgrid(torch.arange(height) // 2, torch.arange(width) // 2, indexing="ij")
    tokens = pack(torch.stack([rows, columns])[None].float())
    assert torch.equal(tokens[0, :, 0], places[:, 1]) and torch.equal(tokens[0, :, 4], places[:, 2])


# ---- images


def test_latents_have_the_shift_and_scale_that_the_transformer_expects(family: Family) -> None:
    vae, pixels = family.pipeline.vae, random(2, 3, HEIGHT, WIDTH).clamp(-1, 1)
    with torch.inference_mode():
        posterior = vae.encode(pixels).latent_dist
    mean, std = family.backend.encode_image(vae, pixels)
    assert mean.shape == std.shape == (2, 16, HEIGHT // 8, WIDTH // 8)
    torch.testing.assert_close(mean, (posterior.mean - 0.1159) * 0.3611)
    torch.testing.assert_close(std, posterior.std * 0.3611)


def test_latents_and_pixels_are_moved_to_the_cpu_from_a_vae_on_a_gpu(family: Family) -> None:
    """Noise and cached latents are on the CPU, so latents left on the GPU could not be combined with them."""
    vae = family.pipeline.vae
    with FakeTensorMode():  # there is no GPU here: these tensors only record where they would be
        with torch.device("cuda"):
            on_gpu = type(vae).from_config(vae.config)
        assert on_gpu.device.type == "cuda"
        mean, std = family.backend.encode_image(on_gpu, torch.zeros(1, 3, HEIGHT, WIDTH))
        decoded = family.backend.decode_image(on_gpu, mean)
    assert {tensor.device.type for tensor in (mean, std, decoded)} == {"cpu"}


def test_decoding_undoes_shift_and_scale(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, pixels = family.pipeline.vae, random(1, 3, HEIGHT, WIDTH).clamp(-1, 1)
    with torch.inference_mode():
        posterior = vae.encode(pixels).latent_dist
    given: list[Tensor] = []
    real = vae.decode
    monkeypatch.setattr(vae, "decode", lambda latents: given.append(latents) or real(latents))
    decoded = family.backend.decode_image(vae, family.backend.encode_image(vae, pixels)[0])
    torch.testing.assert_close(given[0], posterior.mean)
    assert decoded.shape == (1, 3, HEIGHT, WIDTH)


def test_images_are_decoded_as_by_the_pipeline(family: Family) -> None:
    guidance = 3.5 if family.is_flux else 0.0
    latents = family.draw(noise(), guidance, output_type="latent")
    expected = family.draw(noise(), guidance, output_type="pt")
    decoded = family.backend.decode_image(
        family.pipeline.vae, unpack(latents, HEIGHT // 8, WIDTH // 8) if family.is_flux else latents
    )
    torch.testing.assert_close(decoded, expected)
    assert decoded.std() > 0.01


# ---- noise levels


@pytest.mark.parametrize(("tokens", "factor"), [(1024, 1.88), (2304, 2.33), (4096, 3.16), (6144, 3.16), (9216, 3.16)])
def test_the_shift_grows_with_the_canvas_up_to_a_cap(families: dict[str, Family], tokens: int, factor: float) -> None:
    """512, 768 and 1024 pixels square; then 1024 x 1536 and 1536 square, which are capped."""
    for backend in (flux.make(DEV), families["dev"].backend):
        assert shift_factor(backend.config("scheduler"), tokens) == pytest.approx(factor, abs=0.005)


@pytest.mark.parametrize(
    ("backend", "factor"),
    [(flux.make(SCHNELL), 1), (z_image.make(Z_IMAGE), 6), (z_image.make(TURBO), 3)],
)
def test_other_models_have_one_shift_for_all_sizes(backend: Backend, factor: float) -> None:
    assert {shift_factor(backend.config("scheduler"), tokens) for tokens in (256, 6144)} == {factor}


# ---- published models at full size

Layers = dict[str, tuple[int, int]]
"""Inputs and outputs of linear layers by their names."""
RANK = 16


def flux_layers() -> Layers:
    """19 blocks of two streams, image and text, then 38 of one; 24 heads of 128, inner layers four times as wide."""
    d, inner = 24 * 128, 4 * 24 * 128
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    double: Layers = {f"attn.{name}": (d, d) for name in attention}
    for stream in ("ff", "ff_context"):
        double |= {f"{stream}.net.0.proj": (d, inner), f"{stream}.net.2": (inner, d)}
    single: Layers = {f"attn.{name}": (d, d) for name in ("to_q", "to_k", "to_v")}
    single |= {"proj_mlp": (d, inner), "proj_out": (d + inner, d)}
    blocks = [("transformer_blocks", 19, double), ("single_transformer_blocks", 38, single)]
    return {
        f"{kind}.{index}.{name}": sizes
        for kind, count, layers in blocks
        for index in range(count)
        for name, sizes in layers.items()
    }


def z_image_layers() -> Layers:
    """30 blocks of one stream, 30 heads of 128; the gated inner layers are 8/3 as wide."""
    d, inner = 30 * 128, 30 * 128 * 8 // 3
    block: Layers = {f"attention.{name}": (d, d) for name in ("to_q", "to_k", "to_v", "to_out.0")}
    block |= {
        f"feed_forward.{name}": sizes for name, sizes in (("w1", (d, inner)), ("w2", (inner, d)), ("w3", (d, inner)))
    }
    return {f"layers.{index}.{name}": sizes for index in range(30) for name, sizes in block.items()}


def published(model: str) -> Backend:
    return z_image.make(model) if model in ZImage.KNOWN else flux.make(model)


@pytest.mark.parametrize(
    ("model", "part", "billions"),
    [
        (DEV, "transformer", 11.901),
        (SCHNELL, "transformer", 11.891),
        (DEV, "text_encoder_2", 4.762),
        (DEV, "text_encoder", 0.1231),
        (DEV, "vae", 0.0838),
        (Z_IMAGE, "transformer", 6.155),
        (Z_IMAGE, "text_encoder", 4.022),
    ],
)
def test_a_part_without_weights_has_the_published_size(model: str, part: str, billions: float) -> None:
    weights = list(published(model).blank(part).parameters())
    assert sum(weight.numel() for weight in weights) / 1e9 == pytest.approx(billions, rel=5e-4)
    assert {weight.device.type for weight in weights} == {"meta"}


@pytest.mark.parametrize(
    ("model", "layers", "count"),
    [
        (DEV, flux_layers(), 19 * 12 + 38 * 5),
        (SCHNELL, flux_layers(), 19 * 12 + 38 * 5),
        (Z_IMAGE, z_image_layers(), 30 * 7),
    ],
    ids=["dev", "schnell", "z-image"],
)
def test_at_full_size_the_lora_is_on_the_layers_of_the_blocks_and_nowhere_else(
    model: str, layers: Layers, count: int
) -> None:
    """Names, shapes and number of its weights as in peft, compared with the published sizes."""
    backend = published(model)
    transformer = inject_adapter_in_model(
        LoraConfig(r=RANK, target_modules=backend.targets), backend.blank("transformer")
    )
    sizes = {name: tuple(weight.shape) for name, weight in get_peft_model_state_dict(transformer).items()}
    expected = {f"{name}.lora_A.weight": (RANK, inputs) for name, (inputs, _) in layers.items()}
    expected |= {f"{name}.lora_B.weight": (outputs, RANK) for name, (_, outputs) in layers.items()}
    assert sizes == expected and len(layers) == count
    trainable = sum(math.prod(shape) for shape in sizes.values())
    assert trainable == RANK * sum(inputs + outputs for inputs, outputs in layers.values())
    assert not any(name.startswith(("proj_out", "all_final_layer")) for name in sizes)


@pytest.mark.parametrize("family", [Flux, ZImage])
def test_known_configs_have_no_keys_that_a_part_ignores(family: type[Backend]) -> None:
    """diffusers silently drops an unknown key, and transformers keeps it without using it."""
    for model, known in family.KNOWN.items():
        backend = family(model)
        for part, config in known.parts.items():
            if part == "scheduler":
                continue
            kind = backend.part_class(part)
            read = kind.config_class() if hasattr(kind, "config_class") else None
            names = vars(read).keys() if read else inspect.signature(kind.__init__).parameters.keys()
            assert set(config) <= set(names), (model, part)


# ---- missing files


def test_a_folder_with_only_the_model_is_enough(family: Family) -> None:
    family.backend.check()
    assert family.backend.licence == "unknown"


@pytest.mark.parametrize(
    ("make", "folder", "message"),
    [
        (z_image.make, "dev", "is a FluxPipeline, and base=z-image is trained on a ZImagePipeline"),
        (flux.make, "z-image", "is a ZImagePipeline, and base=flux-1 is trained on a FluxPipeline"),
    ],
)
def test_a_model_of_another_family_is_refused(
    make: Callable[[str], Backend], folder: str, message: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(BadInput, match=message):
        make(str(folders[folder])).check()


def test_an_incomplete_model_is_reported_with_its_missing_part(family: Family, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(family.backend.model, home)
    again = type(family.backend)(str(home))
    shutil.rmtree(home / "vae")
    with pytest.raises(MissingWeights, match="has no 'vae'"):
        again.check()
    (home / "transformer" / "config.json").unlink()
    with pytest.raises(MissingWeights, match=r"transformer/config\.json can't be read"):
        again.config("transformer")
    (home / "model_index.json").unlink()
    with pytest.raises(MissingWeights, match=r"has no model_index\.json as diffusers writes it"):
        again.check()


ASKS: dict[str, Callable[[Backend], Any]] = {
    "check": lambda backend: backend.check(),
    "count": lambda backend: backend.count_tokens(["a"]),
    "load": lambda backend: backend.load("vae", torch.float32, "cpu"),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("model", ["nobody/nothing", DEV])
def test_a_model_that_cannot_be_found_is_reported_at_once_in_one_sentence(
    ask: Callable[[Backend], Any], offline: bool, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, a download makes six attempts per file, which takes a minute."""
    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"  # nothing listens on that port
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    for make in (flux.make, z_image.make):
        with pytest.raises(MissingWeights) as caught:
            ask(make(model))
        message = str(caught.value)
        assert message.startswith(f"the base model '{model}' is not on this machine and can't be fetched (")
        assert ("offline mode" if offline else "refused") in message and f"'hf download {model}'" in message
        assert "\n" not in message
    assert not waits


def test_an_unknown_model_has_no_config() -> None:
    with pytest.raises(MissingWeights, match="not one of the models known here"):
        z_image.make("nobody/nothing").config("transformer")


@pytest.mark.parametrize("miniature", [False, True])
def test_a_task_is_trained_on_the_model_of_its_base(miniature: bool) -> None:
    for base, model in (("flux-1", str(settings.MINIATURE) if miniature else DEV), ("z-image", Z_IMAGE)):
        own = task.load("storyboard", [f"base={base}"])
        assert find_backend(base, settings.load(own, miniature=miniature).model, None).model == model
        named = task.load("storyboard", [f"base={base}", "train.model=someone/model"])
        assert find_backend(base, settings.load(named, miniature=miniature).model, None).model == "someone/model"
    for backend in (Flux, ZImage):
        assert backend.KNOWN[base_family(backend.BASE).model].licence == base_family(backend.BASE).licence


def test_licence_and_limit_of_known_models_need_no_file() -> None:
    licences = {
        model: (family(model).licence, family(model).text_limit) for family in (Flux, ZImage) for model in family.KNOWN
    }
    assert licences == {
        DEV: ("flux-1-dev-non-commercial-license", 512),
        SCHNELL: ("apache-2.0", 256),
        Z_IMAGE: ("apache-2.0", 512),
        TURBO: ("apache-2.0", 512),
    }


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: some-non-commercial\n---\n", "some-non-commercial"),
        ("---\nlicense: [\n---\n", "unknown"),
        ("# A model", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_of_a_folder_is_the_one_in_its_model_card(card: str | None, licence: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert flux.make(str(tmp_path)).licence == licence


@pytest.mark.parametrize("base", ["flux-2-klein", "qwen-image", "z-image"])
def test_diffsynth_is_told_layers_in_every_block_of_models_whose_layers_it_calls_as_diffusers_does(base: str) -> None:
    backend = find_backend(base, None, None)
    transformer = backend.blank("transformer")
    told = base_family(base).trainers["diffsynth"]["layers"].split(",")
    for block in backend.blocks(transformer):
        ((home, _),) = [(name, module) for name, module in transformer.named_modules() if module is block]
        layers = [f"{home}.{name}" for name, module in block.named_modules() if isinstance(module, nn.Linear)]
        assert any(layer.endswith(f".{one}") or layer == one for layer in layers for one in told), home
