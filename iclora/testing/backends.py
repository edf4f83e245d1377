"""The contract of training backends, check by check; each takes a backend on a small model."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pipeline import families, plugins
from pipeline.errors import BadInput
from training import config as settings
from training import job, lora, memory, objective, sampling
from training.backends.base import Backend, Encoded, Prompts, References
from training.model_files import parameter_count

TEXTS = ("[SCENE-1] a cat, [SCENE-2] the same cat", "a dog")
LEVELS = (0.3, 0.8)


def canvas_of(backend: Backend) -> tuple[int, int]:
    """A small one, wider than it is high, so that a transposed axis shows."""
    return 4 * backend.token, 2 * backend.token


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.byte().numpy())


def pixels_of(image: Image.Image) -> Tensor:
    from training import dataset

    return dataset.pixels(image)


def noise_of(backend: Backend, grids: int, seed: int = 0) -> Tensor:
    shape = (grids, *backend.latent_shape(canvas_of(backend)))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures_of(backend: Backend, seed: int) -> list[Image.Image]:
    """As many reference images as a grid may have, of different shapes."""
    token = backend.token
    return [picture(((2 + number) * token, token), seed + number) for number in range(backend.REFERENCES)]


def read(backend: Backend, texts: tuple[str, ...], pictures: list[list[Image.Image]]) -> list[Encoded]:
    seen = pictures if backend.ENCODER_SEES_REFERENCES else []
    with backend.loaded(backend.ENCODERS, torch.float32, "cpu") as encoders:
        return [
            backend.encode_text(encoders, [text], [seen[number]] if seen else ())[0]
            for number, text in enumerate(texts)
        ]


def latents_of(backend: Backend, pictures: list[list[Image.Image]]) -> References:
    """At the size at which the backend encodes them, on which what a text encoder makes of them may depend."""

    def sized(image: Image.Image) -> Image.Image:
        return image.resize(backend.reference_size(image.size)) if backend.ENCODER_SEES_REFERENCES else image

    with backend.loaded(["vae"], torch.float32, "cpu") as parts:
        return [
            [backend.encode_image(parts["vae"], pixels_of(sized(image))[None])[0][0] for image in images]
            for images in pictures
        ]


def inputs_of(backend: Backend) -> tuple[list[Encoded], References, list[list[Image.Image]]]:
    """Two grids' texts and reference images."""
    pictures = [pictures_of(backend, 10), pictures_of(backend, 20)] if backend.REFERENCES else []
    return read(backend, TEXTS, pictures), latents_of(backend, pictures), pictures


# ---- the checks


def shapes_agree(backend: Backend) -> None:
    """Latents, boxes, tokens and pictures have the sizes that the backend says."""
    width, height = canvas = canvas_of(backend)
    channels, rows, columns = backend.latent_shape(canvas)
    stride, tokens = backend.STRIDE, backend.tokens(canvas)
    assert backend.token % stride == 0, f"a token must be a multiple of STRIDE {stride}, got {backend.token} pixels"
    size = columns * stride, rows * stride
    assert size == (width, height), f"latent_shape must fit a canvas of {width} x {height}, got latents of {size}"
    boxes = backend.latent_boxes([(0, 0, width, height)])
    assert boxes == ((0, 0, columns, rows),), f"latent_boxes must be in latent pixels, got {boxes} for the whole canvas"
    along = math.isqrt(tokens // 8)  # of the tokens that tile one square of `token` pixels
    whole = tokens == 8 * along**2 and along and backend.token % (along * stride) == 0
    assert whole, f"a canvas of 4 x 2 squares of {backend.token} pixels must have as many tokens in each, got {tokens}"
    pixels = torch.stack([pixels_of(picture(canvas, seed)) for seed in (1, 2)])
    with backend.loaded(["vae"], torch.float32, "cpu") as parts:
        mean, std = backend.encode_image(parts["vae"], pixels)
        decoded = backend.decode_image(parts["vae"], mean)
    shapes = (
        f"encode_image must return mean and std of {(2, channels, rows, columns)}, got {mean.shape} and {std.shape}"
    )
    assert mean.shape == std.shape == (2, channels, rows, columns), shapes
    kinds = f"mean and std must be float32, got {mean.dtype} and {std.dtype}"
    assert (mean.dtype, std.dtype) == (torch.float32, torch.float32), kinds
    assert std.min() >= 0, f"std must not be negative, got {std.min():.4g}"
    assert not torch.equal(mean[0], mean[1]), "two pictures must have different latents"
    assert decoded.shape == pixels.shape, f"decode_image must return {pixels.shape}, got {decoded.shape}"
    low, high = float(decoded.min()), float(decoded.max())
    assert low >= 0 and high <= 1, f"decoded pixels must be in 0..1, got {low:.4g}..{high:.4g}"


def texts_are_read(backend: Backend) -> None:
    """Different texts are read differently, the same ones alike, and counted with what surrounds them."""
    found = read(backend, (TEXTS[0], TEXTS[1], TEXTS[0]), [pictures_of(backend, 10)] * 3)
    for name, tensor in found[0].items():
        assert tensor.device.type == "cpu", f"{name} of a text must be on the CPU, got {tensor.device}"
        assert torch.equal(tensor, found[2][name]), f"the same text must have the same {name}"
    assert any(
        found[0][name].shape != found[1][name].shape or not torch.equal(found[0][name], found[1][name])
        for name in found[0]
    ), "two texts must be encoded differently"
    long, short = backend.count_tokens([TEXTS[0], ""])
    assert 0 <= short < long, f"count_tokens must count more for a longer text, got {long} and, for none, {short}"
    assert backend.text_limit > 0, f"text_limit must be a number of tokens, got {backend.text_limit}"


def predictions_stand_alone(backend: Backend) -> None:
    """A grid's prediction depends on its own inputs, all of them, and on no other grid of the batch."""
    transformer = backend.load("transformer", torch.float32, "cpu")
    texts, references, _ = inputs_of(backend)
    noisy, sigma = noise_of(backend, 2), torch.tensor(LEVELS)
    with torch.inference_mode():
        both = backend.predict(transformer, noisy, sigma, texts, references=references)
        assert both.shape == noisy.shape, f"predict must return {noisy.shape}, got {both.shape}"
        assert both.isfinite().all(), "predict must return finite numbers"
        for place in range(2):
            one = slice(place, place + 1)
            own: dict[str, Any] = {"references": references[one]}
            alone = backend.predict(transformer, noisy[one], sigma[one], texts[one], **own)
            torch.testing.assert_close(both[one], alone, rtol=1e-4, atol=1e-5)
            others = [
                backend.predict(transformer, noisy[one], sigma[one] / 2, texts[one], **own),
                backend.predict(transformer, noisy[one], sigma[one], [texts[1 - place]], **own),
                backend.predict(transformer, noisy[one] + 0.5, sigma[one], texts[one], **own),
            ]
            for number in range(backend.REFERENCES):
                changed = [list(references[place])]
                changed[0][number] = changed[0][number] + 1
                others.append(backend.predict(transformer, noisy[one], sigma[one], texts[one], references=changed))
            for other in others:
                differs = "a prediction must depend on the latents, on sigma, on the text and on every reference"
                assert (alone - other).abs().max() > 1e-4, differs


def every_target_learns(backend: Backend) -> None:
    """The LoRA's layers exist and all of them get a gradient."""
    transformer: Any = backend.load("transformer", torch.float32, "cpu")
    linear = {name for name, layer in transformer.named_modules() if isinstance(layer, torch.nn.Linear)}
    wanted = {name for name in linear if re.fullmatch(backend.targets, name)}
    weights = lora.attach(transformer, backend, settings.Config(rank=2, alpha=2))
    assert wanted, f"TARGETS must match linear layers of the transformer, got {backend.targets}"
    trained = {re.sub(r"\.lora_[AB]\.weight$", "", name) for name in weights}
    assert trained == wanted, f"TARGETS must match the layers that get a LoRA, but not {sorted(trained ^ wanted)}"
    texts, references, _ = inputs_of(backend)
    predicted = backend.predict(transformer, noise_of(backend, 2), torch.tensor(LEVELS), texts, references=references)
    predicted.square().mean().backward()  # type: ignore[no-untyped-call]
    for name, weight in weights.items():
        assert weight.grad is not None, f"{name} must get a gradient"
        assert "lora_A" in name or weight.grad.abs().max() > 0, f"{name} must get a gradient other than 0"


def blocks_are_counted(backend: Backend) -> None:
    """All layers of the LoRA are in blocks, of which there is at least one."""
    transformer = backend.blank("transformer")
    inside = {id(module) for block in backend.blocks(transformer) for module in block.modules()}
    targets = [layer for name, layer in transformer.named_modules() if re.fullmatch(backend.targets, name)]
    outside = sum(id(layer) not in inside for layer in targets)
    assert targets and not outside, f"blocks() must hold all layers of TARGETS, got {outside} of {len(targets)} outside"
    assert backend.width(transformer) > 0, f"width() must be a number of channels, got {backend.width(transformer)}"


def memory_is_planned(backend: Backend) -> None:
    """What the VAE takes is counted on tensors without data, so neither encoding nor decoding may look at values."""
    encoding, decoding = memory.vae_peaks(backend, canvas_of(backend), torch.float32)
    assert encoding > 0 and decoding > 0, f"VAE must take memory, got {encoding} and {decoding} bytes"
    sizes = memory.weight_sizes(backend, "bf16")
    every = 2 * parameter_count(backend.blank("transformer"))
    assert sum(sizes.blocks) + sizes.rest == every, f"blocks() must not name a block twice, got {len(sizes.blocks)}"


def noise_levels_fall(backend: Backend) -> None:
    """From 1 to 0 while sampling; between them while training."""
    for tokens in (8, 4096):
        levels = backend.noise_levels(4, tokens).tolist()
        ends = f"noise_levels(4, tokens) must be 5 levels from 1 to 0, got {levels}"
        assert len(levels) == 5 and (levels[0], levels[-1]) == (1.0, 0.0), ends
        assert all(high > low for high, low in itertools.pairwise(levels)), f"noise levels must fall, got {levels}"
        assert backend.shift(tokens) > 0, f"shift must be positive, got {backend.shift(tokens)}"
        sigma = float(backend.draw_sigma(tokens, torch.Generator().manual_seed(0)))
        assert 0 < sigma < 1, f"draw_sigma must be between 0 and 1, got {sigma}"


def grids_are_sampled(backend: Backend) -> None:
    """Guidance changes a grid where the backend says so; given panels stay; references take part."""
    transformer = backend.load("transformer", torch.float32, "cpu")
    texts, references, pictures = inputs_of(backend)
    prompts = Prompts(texts, read(backend, ("", ""), pictures), references)
    noise, canvas = noise_of(backend, 2), canvas_of(backend)

    def draw(guidance: float, given: sampling.GivenPanels | None = None) -> Tensor:
        return sampling.draw(backend, transformer, prompts, noise, sampling.SamplingSettings(2, guidance), given)

    weak, strong = draw(1.0), draw(4.0)
    assert weak.shape == noise.shape, f"a sampled grid must have the shape {noise.shape}, got {weak.shape}"
    assert weak.isfinite().all(), "a sampled grid must have finite numbers"
    same = torch.equal(weak, strong)
    changes = f"guidance is {backend.guidance!r}, but another scale {'changes nothing' if same else 'changes a grid'}"
    assert same == (backend.guidance == "none"), changes
    left = objective.panel_mask(backend.latent_boxes([(0, 0, canvas[0] // 2, canvas[1])]), [0], *noise.shape[-2:])
    given = draw(1.0, sampling.GivenPanels(torch.ones_like(noise), left))
    assert torch.equal(given * left, torch.ones_like(noise) * left), "given panels must stay as they are"
    assert not torch.allclose(given * (1 - left), weak * (1 - left)), "given panels must change the other panels"


CHECKS = (
    shapes_agree,
    texts_are_read,
    predictions_stand_alone,
    every_target_learns,
    blocks_are_counted,
    memory_is_planned,
    noise_levels_fall,
    grids_are_sampled,
)


def check(name: str, model: Path) -> None:
    """Applies all checks to the backend on a model folder."""
    backend: Backend = plugins.load(plugins.BACKENDS, name).make(str(model))
    backend.check()
    families.load(backend.BASE)
    try:
        job.find_backend(backend.BASE, str(model), None)
    except BadInput as error:
        raise AssertionError(f"BASE must be a family that no other backend trains: {error}") from error
    for one in CHECKS:
        one(backend)
