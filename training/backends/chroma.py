"""Chroma1-HD: FLUX.1's blocks without its modulation layers and CLIP; text is T5's, of which padding is left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends._flux_1 import T5, TRANSFORMER, Flux1, token_places
from training.backends.base import (
    FLUX_VAE,
    Backend,
    Encoded,
    Guidance,
    References,
    dtype_of,
    grouped,
    pack,
    unpack,
)
from training.model_files import Known

_TRANSFORMER = {key: value for key, value in TRANSFORMER.items() if key != "pooled_projection_dim"}


class Chroma(Backend):
    PIPELINE = "ChromaPipeline"
    BASE = "chroma"
    ENCODERS = ("text_encoder",)
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "ChromaTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "T5EncoderModel"),
    }
    STRIDE = 8
    TARGETS = Flux1.TARGETS
    # The shift and the spacing of ComfyUI's template (image_chroma_text_to_image.json): its scheduler's own config has
    # not been seen here, and is read as soon as the model is on the machine. sd-scripts recommends `sigmoid` for
    # Chroma (docs/flux_train_network.md): logit-normal levels without a shift.
    KNOWN: ClassVar[Mapping[str, Known]] = {
        "lodestones/Chroma1-HD": Known(
            licence="apache-2.0",
            parts={
                "transformer": _TRANSFORMER,
                "vae": FLUX_VAE,
                "text_encoder": T5,
                "scheduler": {"use_dynamic_shifting": False, "shift": 1.0, "use_beta_sigmas": True},
            },
        )
    }

    def part_class(self, part: str) -> Any:
        # diffusers' Chroma warns of a class of diffusers' own that it uses, which no user can change.
        warnings.filterwarnings("ignore", "`FluxPosEmbed` is deprecated", FutureWarning)
        return super().part_class(part)

    @property
    def guidance(self) -> Guidance:
        return "classifier-free"

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): T5's reading of the text, its end mark and the first padding token.

        The transformer was trained with all other padding masked out, and since its text tokens have no positions,
        leaving them out is the same. diffusers 0.42 passes the mask as numbers that are added to the attention scores,
        so that padding is seen after all (https://github.com/huggingface/diffusers/issues/12116), and drops it from
        the single blocks under gradient checkpointing.
        """
        t5 = encoders["text_encoder"]
        read = self.tokenizer()(
            list(texts), padding="max_length", max_length=self.text_limit, truncation=True, return_tensors="pt"
        ).to(t5.device)
        states = t5(read.input_ids, attention_mask=read.attention_mask).last_hidden_state.cpu()
        lengths = read.attention_mask.sum(1).tolist()
        return [{"text": one[: length + 1]} for one, length in zip(states, lengths, strict=True)]

    def predict(
        self,
        transformer: Any,
        noisy_BCHW: Tensor,
        sigma_B: Tensor,
        texts: Sequence[Encoded],
        *,
        references: References = (),
        guidance: float = 1.0,
    ) -> Tensor:
        height, width = noisy_BCHW.shape[-2:]
        device, dtype = noisy_BCHW.device, dtype_of(transformer)

        def of(places: list[int]) -> Tensor:
            text = torch.stack([texts[place]["text"] for place in places]).to(device, dtype)
            tokens = transformer(
                hidden_states=pack(noisy_BCHW[places]).to(dtype),
                encoder_hidden_states=text,
                timestep=sigma_B[places],
                img_ids=token_places(height, width).to(device),
                txt_ids=torch.zeros(text.shape[1], 3, device=device),
                return_dict=False,
            )[0]
            return unpack(tokens, height, width)

        return grouped([len(one["text"]) for one in texts], of)


def make(model: str | None, revision: str | None = None) -> Chroma:
    return Chroma(model, revision)
