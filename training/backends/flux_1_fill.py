"""FLUX.1 Fill: FLUX.1 that reads what is given through channels of its own, beside the noised canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from training.backends._flux_1 import DYNAMIC, PARTS, TRANSFORMER, Flux1
from training.backends.base import Encoded, References
from training.model_files import Known


class Fill(Flux1):
    PIPELINE = "FluxFillPipeline"
    BASE = "flux-1-fill"
    READS_GIVEN = True
    CALL: ClassVar[Mapping[str, str]] = {
        "image": 'Image.new("RGB", (WIDTH, HEIGHT))',
        "mask_image": 'Image.new("L", (WIDTH, HEIGHT), 255)',  # everything is to be drawn
    }
    KNOWN: ClassVar[Mapping[str, Known]] = {
        "black-forest-labs/FLUX.1-Fill-dev": Known(
            licence="flux-1-dev-non-commercial-license",
            parts=PARTS
            | {
                # 64 of the noised latents, 64 of the given ones, and the mask at every pixel of a token: 16 x 16
                "transformer": TRANSFORMER | {"in_channels": 384, "out_channels": 64, "guidance_embeds": True},
                "scheduler": DYNAMIC,
            },
        )
    }

    def __init__(self, model: str | None, revision: str | None = None) -> None:
        super().__init__(model, revision)
        self._blanks: dict[tuple[int, int], Tensor] = {}

    def with_given(self, noisy_BCHW: Tensor, given_BCHW: Tensor, mask: Tensor) -> Tensor:
        """96 channels: the noised canvas, given panels' latents amid a blank, and 1 where there is something to draw.

        In FluxFillPipeline the panels and the blank are encoded as one picture; here each panel is, as everywhere in
        the toolkit, encoded alone, so that any selection of them can be given.
        """
        b, _, height, width = noisy_BCHW.shape
        seen = torch.lerp(self._blank(height, width, noisy_BCHW.device), given_BCHW, mask)
        drawn = (1 - mask).expand(b, self.STRIDE**2, height, width)
        return torch.cat([noisy_BCHW, seen.expand_as(noisy_BCHW), drawn], dim=1)

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
        if noisy_BCHW.shape[1] == self.channels:
            nothing = noisy_BCHW.new_zeros(noisy_BCHW.shape[-2:])
            noisy_BCHW = self.with_given(noisy_BCHW, noisy_BCHW, nothing)
        return super().predict(transformer, noisy_BCHW, sigma_B, texts, references=references, guidance=guidance)

    def _blank(self, height: int, width: int, device: torch.device) -> Tensor:
        """Latents of a grey canvas, which stands for what is still to be drawn: 1 x C x H x W.

        The VAE is loaded for it, once for every size of canvas.
        """
        if (height, width) not in self._blanks:
            grey = torch.zeros(1, 3, height * self.STRIDE, width * self.STRIDE)
            with self.loaded(["vae"], torch.float32, device) as parts:
                # Cloned, since what was made in inference mode can't take part in training.
                self._blanks[height, width] = self.encode_image(parts["vae"], grey)[0].clone()
        return self._blanks[height, width].to(device)


def make(model: str | None, revision: str | None = None) -> Fill:
    return Fill(model, revision)
