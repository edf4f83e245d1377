"""The mini FLUX's T5 tower learns to which panel of a page each word belongs, before the transformer uses it.

FLUX.1's T5 was pretrained on text; a new one trained by the transformer's loss alone does not learn to separate the
panels (LOG.md), and the positions of words, which FLUX gives as zeros, don't help.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from miniature.making.descent import Descent
from miniature.making.flux_data import PANELS, SEED, caption, draw_known
from miniature.making.flux_parts import T5_WIDTH, tokens_of
from miniature.making.resumable import Course, Place
from miniature.making.spelling import T5_LENGTH

STEPS, PAGES = 400, 32
NO_WORD = -100  # cross_entropy's default for labels that do not count


class PanelProbe(nn.Module):
    """Predicts from a word's vector (B x tokens x T5_WIDTH) its panel, 0 being the summary; for training only."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.pad = tokenizer.pad_token_id
        self.marks = tokenizer.convert_tokens_to_ids([f"[SCENE-{number}]" for number in range(1, PANELS + 1)])
        self.layer = nn.Linear(T5_WIDTH, PANELS + 1)

    def loss(self, words: Tensor, ids: Tensor) -> Tensor:
        """Cross-entropy over all words; a panel's words are those from its marker up to the next."""
        panels = torch.isin(ids, torch.tensor(self.marks)).cumsum(1).masked_fill(ids == self.pad, NO_WORD)
        return functional.cross_entropy(self.layer(words).flatten(0, 1), panels.flatten())


def train(t5: Any, probe: PanelProbe, tokenizer: Any, place: Place) -> None:
    modules = nn.ModuleDict({"t5": t5, "probe": probe})
    descent = Descent([(module, 1e-3) for module in modules.values()], STEPS)

    def loss_of(step: int) -> Tensor:
        rng = random.Random(SEED + step)
        ids = tokens_of(tokenizer, [caption(draw_known(rng, PANELS), rng) for _ in range(PAGES)], T5_LENGTH)
        return probe.loss(t5(ids).last_hidden_state, ids)

    Course("t5", SEED, STEPS, modules, descent, loss_of).run(place)
