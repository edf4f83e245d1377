"""Any transformers image-text-to-text model in this process: Qwen-VL, SmolVLM, InternVL, Gemma and the miniature."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from captioners import base
from pipeline.errors import MissingWeights


class Options(base.Options):
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
        self._loaded: tuple[Any, Any] | None = None

    def identity(self) -> dict[str, Any]:
        options = self.options
        revision = revision_of(options.model, options.revision)
        return {"captioner": "local", "model": options.model, "revision": revision, "tokens": options.max_new_tokens}

    def ask(self, questions: Sequence[base.Question]) -> list[base.Answer]:
        import torch

        processor, model = self._load()
        inputs = processor.apply_chat_template(
            [_conversation(question) for question in questions],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
        ).to(model.device, dtype=model.dtype)
        with torch.inference_mode():
            written = model.generate(**inputs, do_sample=False, max_new_tokens=self.options.max_new_tokens)
        written = written[:, inputs["input_ids"].shape[1] :]
        ends = {processor.tokenizer.pad_token_id, *_listed(model.generation_config.eos_token_id)}
        texts = processor.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        answers = []
        for text, ids in zip(texts, written.tolist(), strict=True):
            length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
            answers.append(base.Answer(text.strip(), length, length < self.options.max_new_tokens))
        return answers

    def _load(self) -> tuple[Any, Any]:
        """Processor and model, loaded at the first question: a run whose answers are all known loads nothing."""
        if self._loaded is None:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor

            place, dtype = _device()
            name, revision = self.options.model, self.options.revision
            try:
                processor: Any = AutoProcessor.from_pretrained(name, revision=revision)  # type: ignore[no-untyped-call]
                model: Any = AutoModelForImageTextToText.from_pretrained(name, revision=revision, dtype=dtype)
            except (OSError, ValueError) as error:
                raise _missing(name, str(error).splitlines()[0]) from error
            processor.tokenizer.padding_side = "left"  # a batch is continued at its right end
            torch.manual_seed(0)
            self._loaded = processor, model.to(place).eval()
        return self._loaded


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


def revision_of(model: str, revision: str | None = None) -> str:
    """Which weights a name stands for: a hash of a folder's files, or the commit that the hub's files come from.

    Raises:
        MissingWeights: neither a folder, nor on this machine, nor to be fetched.
    """
    if Path(model).is_dir():
        return _folder_hash(Path(model))
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        config = hf_hub_download(model, "config.json", revision=revision)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise _missing(model, str(error).splitlines()[0]) from error
    return Path(config).parent.name


def _folder_hash(folder: Path) -> str:
    """Hash of names, sizes and, up to 64 MB a file, contents: large weights are told apart by their size and config."""
    state = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".safetensors", ".jinja"):
            size = file.stat().st_size
            state.update(f"{file.name} {size}\n".encode())
            if size <= 64 * 2**20:
                state.update(file.read_bytes())
    return state.hexdigest()[:16]


def _listed(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _missing(model: str, why: str) -> MissingWeights:
    return MissingWeights(
        f"the weights of the captioner '{model}' are not on this machine and can't be fetched ({why.rstrip('.')}); "
        f"on a machine with a network run 'hf download {model}', or name a folder with --set captioner.model=FOLDER, "
        "or bring texts with the images and use --captioner sidecar."
    )


def make(options: dict[str, Any]) -> Local:
    return Local(base.parse_options(Options, "the captioner local", options))
