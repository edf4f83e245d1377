"""Runs any transformers image-text-to-text model in this process: Qwen-VL, SmolVLM, InternVL, Gemma, the miniature."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline import plugins, weights
from pipeline.captioning import protocol, thoughts
from pipeline.errors import BadInput, MissingWeights
from pipeline.progress import LOG
from pipeline.wording import command

if TYPE_CHECKING:
    from PIL import Image

LONGEST_SIDE = 10_000
"""Pixels; a processor's "longest_edge" above this is really an area."""
FILES = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model")
"""Suffixes of the files in a model folder that its answers depend on."""


class Options(plugins.Options):
    model: str = "Qwen/Qwen3-VL-4B-Instruct"
    """A name on the model hub, or a folder."""
    revision: str | None = None
    """Commit or tag on the hub; if not set, the newest on this machine, else the hub's main."""
    images: protocol.Images = "panels"
    """What the model sees: each panel as a separate picture, the grid as one picture (for models that take only one),
    or both."""
    max_pixels: int | None = Field(None, ge=1024)
    """Most pixels per picture that the model is given; if not set, its processor decides."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Loads weights as they are, or in 8 or 4 bits, which requires a CUDA device and the package bitsandbytes."""
    batch: int = Field(4, ge=1)
    """Grids per call of the model; halved for the rest of the run if memory runs out."""
    max_new_tokens: int = Field(768, ge=32)
    """Token limit of an answer, doubled once if it was not enough. A joint caption of four detailed panels takes about
    300, its JSON frame another 100."""
    thinking: thoughts.Thinking = "off"
    """Whether a model that can think before it answers does so: off, on, or the number of tokens that it may take for
    that besides those of the answer."""


class Local:
    verbatim = False
    needs = "gpu"

    def __init__(self, options: Options) -> None:
        self.options = options
        self.batch = options.batch
        self._fits = options.batch

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the loaded weights: another process loads the ones that `identity` names."""
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    def identity(self) -> dict[str, Any]:
        if self.options.quantize != "none":
            _check_quantizing(self.options.quantize)  # here, so that it fails before any work is done
        return {
            "captioner": "local",
            "model": self.options.model,
            "revision": self._revision,
            "images": self.options.images,
            "pixels": self.options.max_pixels,
            "quantize": self.options.quantize,
            "tokens": self.options.max_new_tokens,
            # Answers that were kept before there was this option have an identity without it.
            **({} if self.options.thinking == "off" else {"thinking": self.options.thinking}),
        }

    def ask(self, questions: Sequence[protocol.Question]) -> Iterator[tuple[int, protocol.Answer]]:
        import torch

        start = 0
        while start < len(questions):
            part = questions[start : start + self._fits]
            try:
                answers = self._answers(part)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise BadInput(
                        f"the captioner '{self.options.model}' runs out of memory on a single grid; use smaller "
                        "pictures with --set captioner.max_pixels=262144, smaller weights with --set "
                        "captioner.quantize=4bit, or a smaller model with --set captioner.model=NAME."
                    ) from error
                self._fits = len(part) // 2
                continue
            yield from enumerate(answers, start)
            start += len(part)

    def _answers(self, questions: Sequence[protocol.Question]) -> list[protocol.Answer]:
        """Answers a batch of questions in one call of the model."""
        import torch

        started = time.perf_counter()
        processor, model = self._loaded
        chats = [protocol.conversation(question, self.options.images) for question in questions]
        pictures = [[part["image"] for turn in chat for part in turn["content"] if "image" in part] for chat in chats]
        most, flat = self.options.max_pixels, list(itertools.chain.from_iterable(pictures))
        # Decoding is greedy, so that an answer within the doubled limit begins as one within the limit.
        limit = 2 * thoughts.budget(self.options.thinking, self.options.max_new_tokens)
        with torch.inference_mode(), weights.fit_threads(model):
            inputs = processor(
                text=[self._prompt(processor, chat) for chat in chats],
                images=pictures,
                padding=True,
                return_tensors="pt",
                add_special_tokens=False,  # the chat template adds them
                images_kwargs=pixel_budget(processor.image_processor, most, flat) if most else {},
            ).to(model.device, dtype=model.dtype)
            generated = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
        generated = generated[:, inputs["input_ids"].shape[1] :]
        ends = {processor.tokenizer.pad_token_id, *_listed(model.generation_config.eos_token_id)}
        read, seconds = inputs["attention_mask"].sum(1).tolist(), (time.perf_counter() - started) / len(questions)
        answers = []
        for ids, seen in zip(generated.tolist(), read, strict=True):
            length = next((number for number, token in enumerate(ids) if token in ends), len(ids))
            text = _without_thoughts(processor.tokenizer, ids[:length])
            answers.append(protocol.Answer(text, length, seen, length < limit, seconds))
        return answers

    def _prompt(self, processor: Any, chat: list[dict[str, Any]]) -> str:
        """The conversation in the model's own form."""
        switch = {"enable_thinking": self.options.thinking != "off"}
        knows = all(name in str(processor.chat_template) for name in switch)  # transformers warns about others
        prompt: str = processor.apply_chat_template(chat, add_generation_prompt=True, **(switch if knows else {}))
        return prompt

    @cached_property
    def _revision(self) -> str:
        """The identity of the weights."""
        try:
            return weights.identity(self.options.model, FILES, self.options.revision)
        except LookupError as error:
            raise _missing(self.options.model, str(error)) from error

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Processor and model, loaded for the first question: a run whose answers are all cached loads nothing."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        place = weights.device()
        dtype = _dtype(place)
        name, quantize = self.options.model, self.options.quantize
        quantized = {} if quantize == "none" else _quantized(quantize, place, dtype)
        # The commit in identity(). Code that comes with a model is never run.
        pinned: dict[str, Any] = {
            "revision": None if Path(name).is_dir() else self._revision,
            "trust_remote_code": False,
        }
        try:
            with weights.told(), weights.no_bars():
                weights.provide(f"the captioner {name}", name, pinned["revision"])
                processor: Any = AutoProcessor.from_pretrained(name, **pinned)  # type: ignore[no-untyped-call]
                model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, **quantized, **pinned)
        except ImportError as error:
            why = " ".join(str(error).split())
            raise BadInput(f"the captioner '{name}' needs a package that is not installed: {why}") from error
        except LookupError as error:
            raise _missing(name, str(error)) from error
        processor.tokenizer.padding_side = "left"  # generation continues at the right end of a batch
        for sampling in ("temperature", "top_p", "top_k"):  # set by many models; unused, transformers warns about them
            setattr(model.generation_config, sampling, None)
        LOG.info("waiting for the first captions of %s", name)
        return processor, (model if quantized else model.to(place)).eval()


def pixel_budget(processor: Any, most: int, images: Sequence[Image.Image]) -> dict[str, Any]:
    """Arguments for an image processor so that no picture has more than `most` pixels.

    transformers has no common setting. Qwen-VL, GLM-V and the like have an area called "longest_edge" (GLM-V uses half
    of it, since it counts a picture as two frames). Idefics and SmolVLM scale every picture up to a long side and cut
    it into square tiles; InternVL cuts it into at most a given number of tiles. These three add one tile that shows the
    whole picture, which is not counted. There is always at least one tile. All grids of a run have the same shape, so
    a picture's size does not depend on the rest of its batch.

    Raises:
        BadInput: the processor sizes pictures in another way; Gemma's and LLaVA's use one fixed size.
    """
    size = dict(processor.size or {})
    if size.get("longest_edge", 0) > LONGEST_SIDE:
        return {"size": {"longest_edge": most, "shortest_edge": min(most, size["shortest_edge"])}}
    if "longest_edge" in size and hasattr(processor, "max_image_size"):
        tile = processor.max_image_size["longest_edge"]
        # The picture closest to a square has the most rows of tiles for a given row length.
        shape = min(max(image.size) / min(image.size) for image in images)
        tiles = range(1, size["longest_edge"] // tile + 1)
        fits = [long for long in tiles if long * math.ceil(long / shape) * tile**2 <= most]
        return {"size": {"longest_edge": max(fits, default=1) * tile}}
    if hasattr(processor, "crop_to_patches"):
        return {"max_patches": max(1, min(processor.max_patches, most // (size["height"] * size["width"])))}
    raise BadInput(
        f"captioner.max_pixels={most} can't be given to a {type(processor).__name__}, which sizes pictures in its own "
        f"way ({size}); leave it out."
    )


def _without_thoughts(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of an answer behind its thoughts, which some models mark by special tokens; without these."""
    text = thoughts.cut(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            text = text.replace(token.content, "")
    return text.strip()


def _check_quantizing(quantize: str) -> None:
    import torch

    missing = [] if torch.cuda.is_available() else ["no CUDA device"]
    if find_spec("bitsandbytes") is None:
        missing.append("no package bitsandbytes")
    if missing:
        raise BadInput(
            f"captioner.quantize={quantize} needs a CUDA device and the package bitsandbytes, but there is "
            f"{' and '.join(missing)} here; leave it out, or choose a smaller model with --set captioner.model=NAME."
        )


def _quantized(quantize: str, place: str, dtype: Any) -> dict[str, Any]:
    """Arguments to load weights in 8 or 4 bits; such a model can't be moved later, so it is loaded on its device."""
    from transformers import BitsAndBytesConfig

    kind = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    if quantize == "8bit":
        kind = {"load_in_8bit": True}
    config = BitsAndBytesConfig(**kind)  # type: ignore[no-untyped-call]
    return {"quantization_config": config, "device_map": place}


def _dtype(place: str) -> Any:
    """The dtype that the model runs in: on a GPU bfloat16, if it supports that (NVIDIA since 2020)."""
    import torch

    if place == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if place == "cpu" else torch.float16


def _listed(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _missing(model: str, why: str) -> MissingWeights:
    fetch = "" if Path(model).is_dir() else f"run '{command(['hf', 'download', model])}' with network access, "
    return MissingWeights(
        f"the weights of the captioner '{model}' are not on this machine and can't be fetched ({why.rstrip('.')}); "
        f"{fetch}name a folder with --set captioner.model=FOLDER, or put texts beside the images and use --captioner "
        "sidecar."
    )


def make(options: dict[str, Any]) -> Local:
    return Local(plugins.parse_options(Options, "the captioner local", options))
