"""Newer families do what their own pipelines in diffusers do: read texts, sample, decode, and load what was trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pipelines
import pytest
import tiny_newer
import torch
from PIL import Image
from torch import Tensor

from pipeline import plugins
from pipeline.errors import MissingWeights
from pipeline.records import Layout
from training import backends, dataset, generate, loop, lora, lora_file, planning, sampling
from training.backends.base import Backend, Encoded, Prompts, pack, unpack
from training.backends.krea_2 import make
from training.backends.qwen_image_edit import QwenImageEdit
from training.config import Config
from training.generator import Adapter, GenerationRequest, open_generator
from training.job import Job
from training.processes import Processes
from training.sampling import SamplingSettings

Make = Callable[..., Job]
TEXTS = ["[SCENE-1] a cat; [SCENE-2] the same cat\nsits, far from here, on a warm stone wall in the sun", "a dog"]
HEIGHT, WIDTH = 64, 96  # pixels; unequal, so that swapping height and width is noticed
STEPS = 2
CPU = torch.device("cpu")
MODELS: dict[str, tuple[str, dict[str, bool]]] = {
    "Qwen-Image": ("qwen_image", {}),
    "Qwen-Image-Edit": ("qwen_image_edit", {}),
    "Krea 2 Raw": ("krea_2", {}),
    "Krea 2 Turbo": ("krea_2", {"distilled": True}),
    "SD 3.5": ("sd_3_5", {}),
}
SMALL = 64 * 64
"""Area of reference images for the VAE, in place of a million pixels."""
CARD: dict[str, Any] = {
    "iclora": "0.1.0",
    "task": "storyboard",
    "layout": Layout(3, 1, 1024, 512),
    "scales": (1.0,),
    "prefix": "[MOVIE-SHOTS]",
    "markers": ("[SCENE-1]", "[SCENE-2]", "[SCENE-3]"),
    "condition": (),
    "weights": "",
    "licence": "unknown",
    "data": "",
    "grids": 0,
    "step": 3,
    "averaged": False,
    "recipe": {"rank": 2, "alpha": 4.0, "conditional": 0.0},
}


@dataclass(frozen=True)
class Family:
    """A tiny model as loaded by our backend and by diffusers' pipeline."""

    name: str
    backend: Backend
    pipeline: Any

    @property
    def parts(self) -> dict[str, Any]:
        return {part: getattr(self.pipeline, part) for part in (*self.backend.ENCODERS, "vae", "transformer")}

    @property
    def texts(self) -> list[str]:
        """Edit's pipeline takes one at a time."""
        return TEXTS[:1] if self.backend.REFERENCES else TEXTS

    @property
    def pictures(self) -> list[list[Image.Image]]:
        """Every grid's reference images: of different shapes, and none of the size at which it is encoded.

        Their shapes are those of whole tokens: of others, the pipeline stretches what we crop.
        """
        return [[picture((256, 64)), picture((96, 96))]] if self.backend.REFERENCES else []

    def read(self, *texts: str) -> list[Encoded]:
        return self.backend.encode_text(self.parts, texts, self.pictures * len(texts))

    def prompts(self) -> Prompts:
        vae = self.pipeline.vae
        references = [
            [
                self.backend.encode_image(
                    vae, dataset.pixels(dataset.fitted(one, self.backend.reference_size(one.size)))[None]
                )[0][0]
                for one in own
            ]
            for own in self.pictures
        ]
        return Prompts(self.read(*self.texts), self.read(*([""] * len(self.texts))), references)

    def draw(self, guidance: float, output: str) -> Tensor:
        """The pipeline's own images of the texts, or their latents as B x C x H x W."""
        packed = self.backend.PIPELINE != "StableDiffusion3Pipeline"
        references = {"image": self.pictures[0]} if self.pictures else {}
        guided = self.backend.pipeline_guidance(guidance)
        if guided.get("negative_prompt") == "":
            guided["negative_prompt"] = [""] * len(self.texts)
            if guidance <= 1:  # the pipeline would warn that it isn't used
                del guided["negative_prompt"]
        drawn: Tensor = self.pipeline(
            prompt=self.texts,
            height=HEIGHT,
            width=WIDTH,
            num_inference_steps=STEPS,
            latents=pack(self.noise()) if packed else self.noise(),
            max_sequence_length=self.backend.text_limit,
            output_type=output,
            **guided,
            **references,
        ).images
        return unpack(drawn, HEIGHT // 8, WIDTH // 8) if packed and output == "latent" else drawn

    def noise(self) -> Tensor:
        return random(len(self.texts), 16, HEIGHT // 8, WIDTH // 8)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture(size: tuple[int, int]) -> Image.Image:
    across, down = torch.linspace(0, 255, size[0]), torch.linspace(255, 0, size[1])
    red, green = torch.meshgrid(down, across, indexing="ij")
    return Image.fromarray(torch.stack([red, green, (red - green).abs()], dim=-1).byte().numpy())


@pytest.fixture(scope="module")
def small_references() -> Any:
    """Reference images are encoded at 64 x 64 pixels, by both sides."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as theirs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "VAE_IMAGE_SIZE", SMALL)
        patch.setattr(QwenImageEdit, "REFERENCE_PIXELS", SMALL)
        yield


@pytest.fixture(scope="module", params=MODELS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_references: None) -> Family:
    name, settings = MODELS[request.param]
    folder = getattr(tiny_newer, name)(tmp_path_factory.mktemp("models") / name, **settings)
    backend = plugins.load(backends, name).make(str(folder))
    pipeline = getattr(diffusers, backend.PIPELINE).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if backend.ENCODER_SEES_REFERENCES:
        _say_which_tokens_are_pictures(pipeline)
    return Family(request.param, backend, pipeline)


def _say_which_tokens_are_pictures(pipeline: Any) -> None:
    """As huggingface/diffusers#14189 does; without it, transformers 5 gives pictures the places of a line of text."""
    forward, asked = pipeline.text_encoder.forward, pipeline.processor.image_token

    def mended(*args: Any, input_ids: Tensor, **kwargs: Any) -> Any:
        pictures = input_ids == pipeline.tokenizer.convert_tokens_to_ids(asked)
        return forward(*args, input_ids=input_ids, **{"mm_token_type_ids": pictures.int(), **kwargs})

    pipeline.text_encoder.forward = mended


# ---- texts


def theirs(family: Family, texts: list[str]) -> list[Encoded]:
    """What the pipeline makes of texts, without the padding."""
    limit = family.backend.text_limit
    if family.backend.PIPELINE == "StableDiffusion3Pipeline":
        together, _, pooled, _ = family.pipeline.encode_prompt(
            texts, None, None, do_classifier_free_guidance=False, max_sequence_length=limit
        )
        return [{"text": one, "pooled": summary} for one, summary in zip(together, pooled, strict=True)]
    seen = {}
    if family.pictures:
        resize = family.pipeline.image_processor.resize
        sizes = ((768, 192), (384, 384))  # width and height: 384 x 384 pixels in the pictures' shapes
        seen = {
            "image": [
                resize(one, height, width) for one, (width, height) in zip(family.pictures[0], sizes, strict=True)
            ]
        }
    read, mask = family.pipeline.encode_prompt(prompt=texts, max_sequence_length=limit, **seen)
    masks = [None] * len(read) if mask is None else mask.bool()
    return [{"text": one if real is None else one[real]} for one, real in zip(read, masks, strict=True)]


@torch.inference_mode()
def test_texts_are_read_as_by_the_pipeline(family: Family) -> None:
    for texts in ([*TEXTS, "", "x" * 600], ["x"]) if not family.pictures else ([TEXTS[0]], [""]):
        expected, read = theirs(family, texts), family.read(*texts)
        assert [one.keys() for one in read] == [one.keys() for one in expected]
        for ours, other in zip(read, expected, strict=True):
            for name in ours:
                torch.testing.assert_close(ours[name], other[name], rtol=1e-5, atol=1e-5)


def test_tokens_are_counted_as_the_transformer_gets_them(family: Family) -> None:
    backend = family.backend
    texts = ["", TEXTS[0], "x" * 600]
    counts = backend.count_tokens(texts)
    assert [count - counts[0] for count in counts] == [len(text) for text in texts]
    if backend.PIPELINE == "StableDiffusion3Pipeline":
        assert counts[0] == 1 and backend.text_limit == 256
        return
    bare = [backend.encode_text(family.parts, [text])[0]["text"] for text in texts]
    cut = [count if backend.REFERENCES else min(count, backend.text_limit) for count in counts]
    assert [len(one) for one in bare] == cut
    assert backend.text_limit == {"krea-2": 256, "qwen-image": 512, "qwen-image-edit": 1024}[backend.BASE]


def test_a_model_without_its_processor_is_reported_in_one_sentence(tmp_path: Path) -> None:
    backend = plugins.load(backends, "qwen_image_edit").make(str(tiny_newer.qwen_image_edit(tmp_path / "model")))
    shutil.rmtree(tmp_path / "model" / "processor")
    with pytest.raises(MissingWeights, match=r"^the base model in the folder .* can't be loaded \(.*; name one as"):
        backend.processor()


# ---- sampling


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_sampling_ends_at_the_pipelines_latents(family: Family, guidance: float) -> None:
    """With its packing, noise levels, guidance and reference images."""
    settings = SamplingSettings(STEPS, guidance)
    drawn = sampling.draw(family.backend, family.pipeline.transformer, family.prompts(), family.noise(), settings)
    assert (drawn - family.noise()).abs().mean() > 0.1
    torch.testing.assert_close(drawn, family.draw(guidance, "latent"), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_pictures_are_decoded_as_by_the_pipeline(family: Family) -> None:
    latents = family.draw(0.0, "latent")
    decoded = family.backend.decode_image(family.pipeline.vae, latents)
    torch.testing.assert_close(decoded, family.draw(0.0, "pt"), rtol=1e-5, atol=1e-5)
    assert decoded.std() > 0.01


@torch.inference_mode()
def test_latents_are_drawn_from_a_posterior_on_the_transformers_scale(family: Family) -> None:
    vae, pixels = family.pipeline.vae, random(2, 3, HEIGHT, WIDTH).clamp(-1, 1)
    mean, std = family.backend.encode_image(vae, pixels)
    if family.backend.PIPELINE != "StableDiffusion3Pipeline":
        posterior = vae.encode(pixels[:, :, None]).latent_dist
        shift, scale = (
            torch.tensor(one).view(1, -1, 1, 1) for one in (vae.config.latents_mean, vae.config.latents_std)
        )
        expected = [(posterior.mean[:, :, 0] - shift) / scale, posterior.std[:, :, 0] / scale]
    else:
        posterior = vae.encode(pixels).latent_dist
        expected = [(posterior.mean - 0.0609) * 1.5305, posterior.std * 1.5305]
    torch.testing.assert_close([mean, std], expected, rtol=1e-5, atol=1e-5)


# ---- trained LoRAs


def trained(backend: Backend, file: Path) -> Path:
    """A LoRA of three steps on noise."""
    transformer = backend.load("transformer", torch.float32, "cpu")
    weights = lora.attach(transformer, backend, Config(rank=2, alpha=4))
    with backend.loaded(backend.ENCODERS, torch.float32, "cpu") as encoders:
        texts = backend.encode_text(encoders, TEXTS[:1])
    optimizer = torch.optim.AdamW(weights.values(), lr=0.05)
    for step in range(3):
        predicted = backend.predict(transformer, random(1, 16, 8, 8, seed=step), torch.tensor([0.6]), texts)
        loss: Any = (predicted - random(1, 16, 8, 8, seed=9)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    card = lora_file.Card(**CARD, family=backend.BASE, base=backend.model)
    lora_file.write(file, {name: weight.detach() for name, weight in weights.items()}, 2.0, card)
    return file


def test_a_lora_of_three_steps_draws_in_the_pipeline_as_here(family: Family, tmp_path: Path) -> None:
    """One that was trained on Raw in Turbo as well."""
    backend, transformer = family.backend, family.backend.load("transformer", torch.float32, "cpu")
    on_raw = family.name == "Krea 2 Turbo"
    file = trained(make(str(tiny_newer.krea_2(tmp_path / "raw"))) if on_raw else backend, tmp_path / "lora.safetensors")
    plain = family.draw(0.0, "latent")
    family.pipeline.load_lora_weights(file.parent, weight_name=file.name)
    drawn = family.draw(0.0, "latent")
    family.pipeline.unload_lora_weights()
    transformer.load_lora_adapter(lora.added_up([(lora.read(file, transformer, backend), 1.0)]), prefix=None)
    with torch.inference_mode():
        ours = sampling.draw(backend, transformer, family.prompts(), family.noise(), SamplingSettings(STEPS, 0.0))
    torch.testing.assert_close(ours, drawn, rtol=1e-5, atol=1e-5)
    assert (drawn - plain).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen_image_edit", "krea_2", "sd_3_5"])
def test_a_training_ends_with_a_lora_that_generates_images(
    name: str, make_job: Make, tmp_path: Path, small_references: None
) -> None:
    """With samples from held-out grids, and with reference images where the family takes any."""
    model = str(getattr(tiny_newer, name)(tmp_path / "model"))
    base = plugins.load(backends, name).make(model).BASE
    settings: dict[str, Any] = {"model": model, "steps": 2, "samples": 1, "sample_steps": 2, "learning_rate": 0.01}
    job = make_job(overrides=[f'base="{base}"'], **settings)
    if most := job.backend.REFERENCES:
        shown = [{"seen": "reference", "share": 0.7}]
        job = make_job("beside", overrides=[f'base="{base}"'], **settings, conditions=shown)
        job = pipelines.with_references(job, tmp_path, [(64, 64), (96, 64)])
    plan, file = planning.make(job, CPU), loop.train(job, Processes(), lambda *_: None).file
    assert plan.layers and bool(plan.references) == bool(most)
    if name == "krea_2":  # a LoRA of Raw is drawn with on Turbo
        model = str(tiny_newer.krea_2(tmp_path / "turbo", distilled=True))
    generator = open_generator([Adapter(file)], model, SamplingSettings(2, 2.0), CPU)
    pictures = [() if not most else (picture((64, 64)),), ()]
    grids_drawn = generate.draw(generator, [GenerationRequest(TEXTS[0], 1, references=of) for of in pictures])
    assert {one.size for one in grids_drawn} == {job.shown.canvas}
    assert (grids_drawn[0].tobytes() == grids_drawn[1].tobytes()) == (not most)
