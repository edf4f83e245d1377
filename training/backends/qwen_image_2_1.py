"""Qwen-Image-2.1: one stream of text, reference images and the picture, each of which sees only what stands before it;
text and reference images are read by Qwen3-VL."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from training.backends._qwen import QwenStyle, qwen3_vl
from training.backends.base import Encoded, Guidance, References, dtype_of, grouped, sizes_of
from training.model_files import Known

_QWEN3_VL = qwen3_vl(
    4_096,
    12_288,
    {
        "depth": 27,
        "hidden_size": 1_152,
        "intermediate_size": 4_304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
)
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "transformer": {
        "patch_size": 1,
        "in_channels": 64,
        "out_channels": 64,
        "num_layers": 32,
        "attention_head_dim": 128,
        "num_attention_heads": 32,
        "context_in_dim": 4_096,
        "mlp_ratio": 3,
        "axes_dims_rope": [16, 56, 56],
        "causal_condition": True,
    },
    "vae": {"base_dim": 96, "decoder_base_dim": 144, "z_dim": 64, "dim_mult": [1, 2, 4, 8, 8], "num_res_blocks": 2},
    "text_encoder": _QWEN3_VL,
    # scheduler_config.json of https://huggingface.co/Qwen/Qwen-Image-2.1: the same as Qwen-Image's. Training goes by it
    # too: no trainer's noise levels for this model have been seen here.
    "scheduler": {
        "use_dynamic_shifting": True,
        "shift": 1.0,
        "base_shift": 0.5,
        "max_shift": 0.9,
        "base_image_seq_len": 256,
        "max_image_seq_len": 8_192,
        "shift_terminal": 0.02,
        "time_shift_type": "exponential",
    },
}
SLOT = 4
"""Tokens of a picture for each place that it has in the text encoder's sequence: two by two."""
STEP = 32
"""Sides of reference images are multiples of it, in pixels: of one such place."""
SYSTEM = "<|im_start|>system\nComprehend and analyze the provided prompt.<|im_end|>\n"
PICTURE = "<image{}><|vision_start|><|image_pad|><|vision_end|>"
"""What stands for a reference image before the prompt."""


class QwenImage21(QwenStyle):
    PIPELINE = "QwenImage21Pipeline"
    BASE = "qwen-image-2.1"
    ENCODERS = ("text_encoder",)
    TOKENIZER = "processor"
    CLASSES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "transformer": ("diffusers", "QwenImage21Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLQwenImage21"),
        "text_encoder": ("transformers", "Qwen3VLModel"),  # without the head that would predict the next token
    }
    STRIDE = 16
    REFERENCES = 10
    ENCODER_SEES_REFERENCES = True
    TEMPLATE = SYSTEM + "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    # Every linear layer of the blocks. All of them share one modulation, which sees only the noise level.
    TARGETS = r"transformer_blocks\.\d+\.(?:attn\.(?:to_[qkv]|to_out\.0)|img_mlp\.(?:proj|gate_layer|out))"
    KNOWN: ClassVar[Mapping[str, Known]] = {"Qwen/Qwen-Image-2.1": Known(licence="qwen-research", parts=_PARTS)}

    @property
    def guidance(self) -> Guidance:
        return "classifier-free"

    def pipeline_guidance(self, strength: float) -> dict[str, object]:
        """An opposite that isn't used makes the pipeline warn."""
        return {"true_cfg_scale": strength} | ({"negative_prompt": ""} if strength > self.NEUTRAL else {})

    # ---- latents

    def tokens(self, canvas: tuple[int, int]) -> int:
        """One for each latent, although sides are multiples of two of them."""
        return math.prod(canvas) // self.STRIDE**2

    def encode_image(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The VAE reads a fourth channel, of which an opaque picture has as much as can be."""
        opaque = torch.ones_like(pixels_BCHW[:, :1])
        return super().encode_image(vae, torch.cat([pixels_BCHW, opaque], dim=1))

    def decode_image(self, vae: Any, latents_BCHW: Tensor) -> Tensor:
        """Without the fourth channel: grids are opaque."""
        return super().decode_image(vae, latents_BCHW)[:, :3]

    def reference_size(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """As in the pipeline: about REFERENCE_PIXELS in the picture's shape, on a canvas of any scale, since the text
        encoder sees the picture at the same size (pipeline_qwenimage21.py, calculate_dimensions)."""
        ratio = size[0] / size[1]
        width = math.sqrt(self.REFERENCE_PIXELS * ratio)
        return max(STEP, round(width / STEP) * STEP), max(STEP, round(width / ratio / STEP) * STEP)

    # ---- text

    @property
    def text_parts(self) -> tuple[str, ...]:
        return (*self.ENCODERS, "processor")

    def tokenizer(self, part: str = "processor") -> Any:
        """That of the processor; the model has no other."""
        return self.processor(part).tokenizer

    @cached_property
    def _dropped(self) -> int:
        """Tokens of the system prompt, which the transformer doesn't get."""
        return len(self.tokenizer()(SYSTEM).input_ids)

    def templated(self, texts: Sequence[str]) -> list[str]:
        """As in the pipeline, nothing is a blank."""
        return [self.TEMPLATE.format(text or " ") for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        rows = self.tokenizer()(self.templated(texts), verbose=False).input_ids
        return [len(row) - self._dropped for row in rows]

    def text_tokens(self, longest: int, pictures: int = 0) -> int:
        """The tokens of reference images take the places of what the text encoder makes of them."""
        return super().text_tokens(longest)

    def picture_tokens(self, size: tuple[int, int]) -> int:
        return math.prod(self.reference_size(size)) // STEP**2

    @torch.inference_mode()
    def encode_text(
        self,
        encoders: Mapping[str, Any],
        texts: Sequence[str],
        references: Sequence[Sequence[Image.Image]] = (),
    ) -> list[Encoded]:
        """`text` (L x D): the last layer's states of reference images, prompt and what follows it; nothing is cut.
        `pictures` (L): which of them are places of reference images."""
        encoder, processor = encoders["text_encoder"], self.processor()
        shown = references or [()] * len(texts)
        prompts = self.templated(
            [
                " ".join(PICTURE.format(number) for number in range(1, len(own) + 1)) + (text or " ")
                for text, own in zip(texts, shown, strict=True)
            ]
        )
        seen = {"images": [self._seen(image) for own in shown for image in own]} if any(shown) else {}
        read = processor(text=prompts, **seen, padding=True, padding_side="left", return_tensors="pt")
        read = read.to(encoder.device)
        with _without_last_norm(encoder):
            states = encoder(**read, output_hidden_states=True, use_cache=False).hidden_states[-1]
        pictures, masks = read["input_ids"] == processor.image_token_id, read["attention_mask"].bool()
        return [
            {"text": one[real][self._dropped :].cpu(), "pictures": places[real][self._dropped :].cpu()}
            for one, places, real in zip(states, pictures, masks, strict=True)
        ]

    def _seen(self, image: Image.Image) -> Image.Image:
        """A reference image as the text encoder gets it."""
        return image.convert("RGB").resize(self.reference_size(image.size), Image.Resampling.LANCZOS)

    # ---- the transformer

    @property
    def modulation_per_token(self) -> int:
        """Two scales and two gates: text and reference images are modulated as at noise level 0."""
        return 4

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
        """The tokens of reference images take their places in the text, those of the grid follow it.

        The grid's positions begin where the text ends, so that texts of different lengths can't share a batch: the
        padding would move them. What is a batch here is computed in several, each of one length.
        """
        references = references or [()] * len(texts)
        device, dtype = noisy_BCHW.device, dtype_of(transformer)

        def of(places: list[int]) -> Tensor:
            canvas = noisy_BCHW[places]
            images = [torch.stack(same) for same in zip(*(references[place] for place in places), strict=True)]
            tokens = [image.flatten(2).mT for image in (*images, canvas)]
            count = tokens[-1].shape[1]
            slots = torch.stack([texts[place]["pictures"] for place in places])
            predicted: Tensor = transformer(
                hidden_states=torch.cat(tokens, dim=1).to(dtype),
                timestep=sigma_B[places],
                encoder_hidden_states=torch.stack([texts[place]["text"] for place in places]).to(device, dtype),
                img_shapes=[[(1, *image.shape[-2:]) for image in (*images, canvas)]] * len(places),
                img_mask=torch.cat([slots, slots.new_ones(len(places), count // SLOT)], dim=1).to(device),
                return_dict=False,
            )[0]
            return predicted[:, -count:].mT.reshape(canvas.shape)

        lengths = [len(one["text"]) for one in texts]
        return grouped(list(zip(sizes_of(references), lengths, strict=True)), of)


@contextmanager
def _without_last_norm(encoder: Any) -> Iterator[None]:
    """The transformer was trained on what the last layer returns, which transformers 5 doesn't give: what it calls the
    last hidden states are normalised."""
    hook = encoder.language_model.norm.register_forward_hook(lambda _, args, __: args[0])
    try:
        yield
    finally:
        hook.remove()


def make(model: str | None, revision: str | None = None) -> QwenImage21:
    return QwenImage21(model, revision)
