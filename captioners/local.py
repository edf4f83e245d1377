"""Any transformers image-text-to-text model in this process: Qwen-VL, SmolVLM, InternVL, Gemma and the miniature."""

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
from pipeline.captioning import protocol
from pipeline.errors import BadInput, MissingWeights

if TYPE_CHECKING:
    from PIL import Image

LONGEST_SIDE = 10_000
"""Pixels; what a processor calls a long side and is more than this is an area."""
FILES = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model")
"""Endings of a model folder's files that its answers depend on."""


class Options(plugins.Options):
    model: str = "Qwen/Qwen3-VL-4B-Instruct"
    """Name on the model hub, or a folder."""
    revision: str | None = None
    """Commit or tag on the hub; without it, the newest that is on this machine or the hub's main."""
    images: protocol.Images = "panels"
    """Each panel as a picture of its own, the grid as one (for models that take a single picture), or both."""
    max_pixels: int | None = Field(None, ge=1024)
    """Most pixels that the model gets of one picture; without it as many as its own processor gives."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Weights as they are, or in 8 or 4 bits, which takes a CUDA device and the package bitsandbytes."""
    batch: int = Field(4, ge=1)
    """Grids per call of the model; halved for the rest of the run where memory runs out."""
    max_new_tokens: int = Field(768, ge=32)
    """A joint caption of four detailed panels takes about 300 tokens, its JSON frame another 100."""


class Local:
    verbatim = False

    def __init__(self, options: Options) -> None:
        self.options = options
        self.batch = options.batch
        self._fits = options.batch

    def __getstate__(self) -> dict[str, Any]:
        """All but the loaded weights: another process loads its own, those that `identity` tells of."""
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    def identity(self) -> dict[str, Any]:
        if self.options.quantize != "none":
            _check_quantizing(self.options.quantize)  # here, where a run asks before it does any work
        return {
            "captioner": "local",
            "model": self.options.model,
            "revision": self._revision,
            "images": self.options.images,
            "pixels": self.options.max_pixels,
            "quantize": self.options.quantize,
            "tokens": self.options.max_new_tokens,
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
                        f"the captioner '{self.options.model}' runs out of memory on a single grid; give it smaller "
                        "pictures with --set captioner.max_pixels=262144, smaller weights with --set "
                        "captioner.quantize=4bit, or a smaller model with --set captioner.model=NAME."
                    ) from error
                self._fits = len(part) // 2
                continue
            yield from enumerate(answers, start)
            start += len(part)

    def _answers(self, questions: Sequence[protocol.Question]) -> list[protocol.Answer]:
        """The answers to questions that go through the model together."""
        import torch

        started = time.perf_counter()
        processor, model = self._loaded
        chats = [protocol.conversation(question, self.options.images) for question in questions]
        pictures = [[part["image"] for turn in chat for part in turn["content"] if "image" in part] for chat in chats]
        most, every = self.options.max_pixels, list(itertools.chain.from_iterable(pictures))
        with torch.inference_mode(), weights.fit_threads(model):
            inputs = processor(
                text=[processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats],
                images=pictures,
                padding=True,
                return_tensors="pt",
                add_special_tokens=False,  # the chat template writes them
                images_kwargs=pixel_budget(processor.image_processor, most, every) if most else {},
            ).to(model.device, dtype=model.dtype)
            written = model.generate(**inputs, do_sample=False, max_new_tokens=self.options.max_new_tokens)
        written = written[:, inputs["input_ids"].shape[1] :]
        ends = {processor.tokenizer.pad_token_id, *_listed(model.generation_config.eos_token_id)}
        texts = processor.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        read, seconds = inputs["attention_mask"].sum(1).tolist(), (time.perf_counter() - started) / len(questions)
        answers = []
        for text, ids, seen in zip(texts, written.tolist(), read, strict=True):
            length = next((number for number, token in enumerate(ids) if token in ends), len(ids))
            finished = length < self.options.max_new_tokens
            answers.append(protocol.Answer(text.strip(), length, seen, finished, seconds))
        return answers

    @cached_property
    def _revision(self) -> str:
        """Which weights the name stands for: a hash of a folder's files, or a commit on the hub."""
        folder = Path(self.options.model)
        if folder.is_dir():
            files = sorted(file for file in folder.iterdir() if file.suffix in FILES)
            if folder / "config.json" not in files:
                raise _missing(self.options.model, f"the folder {folder} lacks config.json")
            return weights.folder_hash(files)
        try:
            return weights.hub_commit(self.options.model, "config.json", self.options.revision)
        except LookupError as error:
            raise _missing(self.options.model, str(error)) from error

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Processor and model, loaded at the first question: a run whose answers are all known loads nothing."""
        from safetensors import SafetensorError
        from transformers import AutoModelForImageTextToText, AutoProcessor

        place, dtype = _device()
        name, quantize = self.options.model, self.options.quantize
        lean = {} if quantize == "none" else _quantized(quantize, place, dtype)
        # The commit that identity() told of; the model's own code, if it brings any, is never run.
        pinned = {"revision": None if Path(name).is_dir() else self._revision, "trust_remote_code": False}
        try:
            with weights.no_bar(name):
                processor: Any = AutoProcessor.from_pretrained(name, **pinned)  # type: ignore[no-untyped-call]
                model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, **lean, **pinned)
        except ImportError as error:
            why = " ".join(str(error).split())
            raise BadInput(f"the captioner '{name}' needs a package that is not installed: {why}") from error
        except (OSError, ValueError, SafetensorError) as error:
            raise _missing(name, str(error).strip().partition("\n")[0]) from error
        processor.tokenizer.padding_side = "left"  # a batch is continued at its right end
        for sampling in ("temperature", "top_p", "top_k"):  # set by many models; transformers warns where none is done
            setattr(model.generation_config, sampling, None)
        return processor, (model if lean else model.to(place)).eval()


def pixel_budget(processor: Any, most: int, images: Sequence[Image.Image]) -> dict[str, Any]:
    """What an image processor is told so that no picture has more than `most` pixels.

    transformers has no one word for it. Qwen-VL, GLM-V and their kin call an area "longest_edge" (of which GLM-V uses
    half: it counts a picture as two frames); Idefics and SmolVLM enlarge every picture to a long side and cut that into
    square tiles, InternVL cuts as many tiles as a number allows (these show the whole in one more tile, which is not
    counted). The tiles of a picture are never fewer than one. All grids of a run have one shape, so that what a picture
    gets doesn't hang on the others of its batch.

    Raises:
        BadInput: the processor sizes pictures in another way; Gemma's and LLaVA's give all the same size.
    """
    size = dict(processor.size or {})
    if size.get("longest_edge", 0) > LONGEST_SIDE:
        return {"size": {"longest_edge": most, "shortest_edge": min(most, size["shortest_edge"])}}
    if "longest_edge" in size and hasattr(processor, "max_image_size"):
        tile = processor.max_image_size["longest_edge"]
        # The picture nearest to a square has the most rows of tiles to a row's length.
        shape = min(max(image.size) / min(image.size) for image in images)
        tiles = range(1, size["longest_edge"] // tile + 1)
        fits = [long for long in tiles if long * math.ceil(long / shape) * tile**2 <= most]
        return {"size": {"longest_edge": max(fits, default=1) * tile}}
    if hasattr(processor, "crop_to_patches"):
        return {"max_patches": max(1, min(processor.max_patches, most // (size["height"] * size["width"])))}
    raise BadInput(
        f"captioner.max_pixels={most} can't be given to a {type(processor).__name__}, which sizes pictures in a way of "
        f"its own ({size}); leave it out."
    )


def _check_quantizing(quantize: str) -> None:
    import torch

    lacking = [] if torch.cuda.is_available() else ["no CUDA device"]
    if find_spec("bitsandbytes") is None:
        lacking.append("no package bitsandbytes")
    if lacking:
        raise BadInput(
            f"captioner.quantize={quantize} needs a CUDA device and the package bitsandbytes, and there is "
            f"{' and '.join(lacking)} here; leave it out, or name a smaller model with --set captioner.model=NAME."
        )


def _quantized(quantize: str, place: str, dtype: Any) -> dict[str, Any]:
    """What makes transformers load weights in 8 or 4 bits; such a model can't be moved later, so it loads in place."""
    from transformers import BitsAndBytesConfig

    kind = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    if quantize == "8bit":
        kind = {"load_in_8bit": True}
    config = BitsAndBytesConfig(**kind)  # type: ignore[no-untyped-call]
    return {"quantization_config": config, "device_map": place}


def _device() -> tuple[str, Any]:
    """Where the model runs, and in which numbers: bfloat16 where the device computes it (NVIDIA since 2020)."""
    import torch

    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "cuda", torch.bfloat16 if bf16 else torch.float16
    if torch.backends.mps.is_available():
        return "mps", torch.float16
    return "cpu", torch.float32


def _listed(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _missing(model: str, why: str) -> MissingWeights:
    return MissingWeights(
        f"the weights of the captioner '{model}' are not on this machine and can't be fetched ({why.rstrip('.')}); "
        f"on a machine with a network run 'hf download {model}', or name a folder with --set captioner.model=FOLDER, "
        "or bring texts with the images and use --captioner sidecar."
    )


def make(options: dict[str, Any]) -> Local:
    return Local(plugins.parse_options(Options, "the captioner local", options))
