"""Any transformers image-text-to-text model in this process: Qwen-VL, SmolVLM, InternVL, Gemma and the miniature."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from captioners import base
from pipeline import discover, weights
from pipeline.errors import BadInput, MissingWeights

FILES = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model")
"""Endings of a model folder's files that its answers depend on."""


class Options(discover.Options):
    model: str = "Qwen/Qwen3-VL-4B-Instruct"
    """Name on the model hub, or a folder."""
    revision: str | None = None
    """Commit or tag on the hub; without it, the newest that is on this machine or the hub's main."""
    batch: int = Field(4, ge=1)
    """Grids per call of the model."""
    max_new_tokens: int = Field(768, ge=32)
    """A joint caption of four detailed panels takes about 300 tokens, its JSON frame another 100."""


class Local:
    verbatim = False

    def __init__(self, options: Options) -> None:
        self.options = options
        self.batch = options.batch

    def identity(self) -> dict[str, Any]:
        tokens = self.options.max_new_tokens
        return {"captioner": "local", "model": self.options.model, "revision": self._revision, "tokens": tokens}

    def ask(self, questions: Sequence[base.Question]) -> Iterator[tuple[int, base.Answer]]:
        import torch

        started = time.perf_counter()
        processor, model = self._loaded
        chats = [_conversation(question) for question in questions]
        with torch.inference_mode(), weights.fit_threads(model):
            inputs = processor(
                text=[processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats],
                images=[list(question.panels) for question in questions],
                padding=True,
                return_tensors="pt",
                add_special_tokens=False,  # the chat template writes them
            ).to(model.device, dtype=model.dtype)
            written = model.generate(**inputs, do_sample=False, max_new_tokens=self.options.max_new_tokens)
        written = written[:, inputs["input_ids"].shape[1] :]
        ends = {processor.tokenizer.pad_token_id, *_listed(model.generation_config.eos_token_id)}
        texts = processor.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        read, seconds = inputs["attention_mask"].sum(1).tolist(), (time.perf_counter() - started) / len(questions)
        for place, (text, ids) in enumerate(zip(texts, written.tolist(), strict=True)):
            length = next((number for number, token in enumerate(ids) if token in ends), len(ids))
            finished = length < self.options.max_new_tokens
            yield place, base.Answer(text.strip(), length, read[place], finished, seconds)

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
        name = self.options.model
        # The commit that identity() told of; the model's own code, if it brings any, is never run.
        pinned = {"revision": None if Path(name).is_dir() else self._revision, "trust_remote_code": False}
        try:
            with _no_bar(name):
                processor: Any = AutoProcessor.from_pretrained(name, **pinned)  # type: ignore[no-untyped-call]
                model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, **pinned)
        except ImportError as error:
            why = " ".join(str(error).split())
            raise BadInput(f"the captioner '{name}' needs a package that is not installed: {why}") from error
        except (OSError, ValueError, SafetensorError) as error:
            raise _missing(name, str(error).strip().partition("\n")[0]) from error
        processor.tokenizer.padding_side = "left"  # a batch is continued at its right end
        for sampling in ("temperature", "top_p", "top_k"):  # set by many models; transformers warns where none is done
            setattr(model.generation_config, sampling, None)
        return processor, model.to(place).eval()


def _conversation(question: base.Question) -> list[dict[str, Any]]:
    """One turn with every panel behind its marker, then the instruction; then what was answered and what was wrong."""
    content: list[dict[str, Any]] = []
    for marker, panel in zip(question.markers, question.panels, strict=True):
        content += [{"type": "text", "text": marker}, {"type": "image", "image": panel}]
    turns = [{"role": "user", "content": [*content, {"type": "text", "text": question.instruction}]}]
    for turn in question.earlier:
        again = f"That answer has faults: {'; '.join(turn.faults)}. Answer again, whole, in the form asked for."
        turns.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        turns.append({"role": "user", "content": [{"type": "text", "text": again}]})
    return turns


def _device() -> tuple[str, Any]:
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.bfloat16
    if torch.backends.mps.is_available():
        return "mps", torch.float16
    return "cpu", torch.float32


@contextmanager
def _no_bar(model: str) -> Iterator[None]:
    """Keeps transformers' bar off the screen while a folder is read; gigabytes from the hub keep theirs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if Path(model).is_dir():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _listed(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _missing(model: str, why: str) -> MissingWeights:
    return MissingWeights(
        f"the weights of the captioner '{model}' are not on this machine and can't be fetched ({why.rstrip('.')}); "
        f"on a machine with a network run 'hf download {model}', or name a folder with --set captioner.model=FOLDER, "
        "or bring texts with the images and use --captioner sidecar."
    )


def make(options: dict[str, Any]) -> Local:
    return Local(discover.parse_options(Options, "the captioner local", options))
