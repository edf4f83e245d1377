"""The mini CLIP: a small open_clip ResNet, trained to tell a panel's own text from one with a single word wrong."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from miniature.making.descent import Descent, look, shuffled
from miniature.making.frames import ATTRIBUTES, Pool, alter, labels_of, render_pool, set_value
from miniature.world import Scene, describe, draw_scene

IMAGE = 128  # pixels, square: panels are squashed to fit
# (shape drawn in pixels, share of the training frames); all are squashed to one size.
SHAPES = (((640, 320), 0.76), ((448, 448), 0.08), ((384, 480), 0.08), ((320, 608), 0.08))
WRONG_TEXTS = 3  # per frame, each wrong in one attribute
NAMED = 0.7  # share of the texts with a name
WORDINGS = 6
WORDING_WITHOUT_SHOT = 5
SEED = 3_000_000_000  # above the seeds of all films and scenes
EMBEDDING = 64
FRAMES_PER_STEP = 64
UNSTATED = -1
TOKENS = "text.token_embedding.weight"
NAMES = ("Mara", "Leo", "P1", "P2", "Anh", "Dr. Okonkwo", "Xiomara", "Bjørn", "Li Wei", "Old Tom", "Zuleika", "Ravi")
LINKS = ("", "", "", "then ", "next, ", "meanwhile ", "finally, ", "where ", "featuring ", "and ")
ENDS = ("", "", "", ",", ";", ".", ", and", " while")

MODEL = {
    "embed_dim": EMBEDDING,
    "custom_text": True,
    "vision_cfg": {"image_size": IMAGE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


class Words:
    """Tokenises the film world's texts with open_clip's own tokenizer, onto the few rows that training uses.

    Row 0 stands for every token that no text of the world contains, including names. It stays a zero vector, as those
    rows do in the saved table, so an unseen name is the same as every name was in training.
    """

    def __init__(self) -> None:
        self.tokenizer = SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])  # type: ignore[index]
        known = {self.tokenizer.sot_token_id, self.tokenizer.eot_token_id}
        for text in _world_texts():
            known.update(self.tokenizer.encode(text))
        self.known = torch.tensor(sorted(known))
        self._row = {token: row for row, token in enumerate(sorted(known), start=1)}
        self._cache: dict[str, list[int]] = {}

    def rows(self, texts: list[str]) -> Tensor:
        """(texts, longest) rows of the small table; the end of text has the highest row, as CLIP's pooling requires."""
        encoded = [self._encode(text) for text in texts]
        longest = max(map(len, encoded))
        return torch.tensor([rows + [0] * (longest - len(rows)) for rows in encoded])

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            tokens = [self.tokenizer.sot_token_id, *self.tokenizer.encode(text), self.tokenizer.eot_token_id]
            self._cache[text] = [self._row.get(token, 0) for token in tokens]
        return self._cache[text]


def _world_texts() -> list[str]:
    """Texts that together contain every word of the world in every wording."""
    rng = random.Random(0)
    scenes = []
    for attribute, values in ATTRIBUTES.items():
        scene = draw_scene(rng)
        scenes += [set_value(scene, attribute, value) for value in values]
    return [describe(scene, "P", wording) + "," for scene in scenes for wording in range(WORDINGS)]


def write_text(scene: Scene, wording: int, rng: random.Random) -> str:
    """The scene as it may appear in a joint caption: named or not, linked to the text around it, or bare."""
    name = rng.choice(NAMES) if rng.random() < NAMED else None
    return rng.choice(LINKS) + describe(scene, name, wording) + rng.choice(ENDS)


def draw_texts(scenes: list[Scene], rng: random.Random) -> tuple[list[str], Tensor]:
    """Each scene's own text and WRONG_TEXTS others, with the attributes that they state: (texts, attributes)."""
    texts, labels = [], []
    for scene in scenes:
        wrong = [alter(scene, attribute, rng) for attribute in rng.sample(list(ATTRIBUTES), WRONG_TEXTS)]
        for shown in (scene, *wrong):
            wording = rng.randrange(WORDINGS)
            texts.append(write_text(shown, wording, rng))
            stated = labels_of(shown)
            labels.append(stated if wording != WORDING_WITHOUT_SHOT else [*stated[:-1], UNSTATED])
    return texts, torch.tensor(labels)


def contrast(image_BD: Tensor, text_TD: Tensor, scale: Tensor, bias: Tensor, match_BT: Tensor) -> Tensor:
    """SigLIP's loss: every pair is judged by itself, so that one threshold on the cosine holds for all pairs."""
    logits_BT = scale * functional.normalize(image_BD) @ functional.normalize(text_TD).T + bias
    return -functional.logsigmoid(torch.where(match_BT, logits_BT, -logits_BT)).sum() / len(image_BD)


def name_losses(guesses: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each attribute, predicted by one linear map from an embedding; UNSTATED ones don't count."""
    parts = torch.split(guesses, [len(values) for values in ATTRIBUTES.values()], dim=-1)
    losses = [functional.cross_entropy(part, labels[:, i], ignore_index=UNSTATED) for i, part in enumerate(parts)]
    return torch.stack(losses)


def encode_text(model: open_clip.CustomTextCLIP, rows_TL: Tensor) -> Tensor:
    """open_clip's text tower on no more columns than the texts need; its own mask is truncated from a full context."""
    length = rows_TL.shape[1]
    model.text.attn_mask = torch.full((length, length), -math.inf).triu_(1)
    embedding: Tensor = model.encode_text(rows_TL)
    return embedding


def build_model(words: Words) -> open_clip.CustomTextCLIP:
    """A new model with a token table of only the rows in `words`, row 0 held at zero."""
    towers = {key: value for key, value in MODEL.items() if key != "custom_text"}
    model = open_clip.CustomTextCLIP(**towers, init_logit_scale=math.log(20.0))
    width = model.text.width
    model.text.token_embedding = nn.Embedding(len(words.known) + 1, width, padding_idx=0)
    nn.init.normal_(model.text.token_embedding.weight[1:], std=0.02)
    with torch.no_grad():
        model.text.token_embedding.weight[0] = 0
    return model.to(memory_format=torch.channels_last)


def save(model: open_clip.CustomTextCLIP, words: Words, out: Path) -> None:
    """Weights in half precision under open_clip's names, the token table padded to its full size with zeros."""
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    table = torch.zeros(MODEL["text_cfg"]["vocab_size"], weights[TOKENS].shape[1])  # type: ignore[index]
    table[words.known] = weights[TOKENS][1:]
    weights[TOKENS] = table
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in half.items()}, out / "open_clip_model.safetensors")
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def render(frames: int) -> Pool:
    pools = [render_pool(int(frames * share), (IMAGE, IMAGE), SEED, shape=shape) for shape, share in SHAPES]
    return Pool(np.concatenate([pool.frames for pool in pools]), [scene for pool in pools for scene in pool.scenes])


def train(out: Path, *, frames: int = 30_000, eye_steps: int = 900, pair_steps: int = 600) -> None:
    """Trains from scratch to `out`, which open_clip loads as local-dir:<out>."""
    started = time.monotonic()
    torch.manual_seed(SEED)
    pool = render(frames)
    print(f"clip: {frames} frames drawn in {time.monotonic() - started:.0f} s", flush=True)
    words = Words()
    model = build_model(words)
    heads = nn.Linear(EMBEDDING, sum(map(len, ATTRIBUTES.values())))
    train_eyes(model, heads, pool, eye_steps)
    train_pairs(model, heads, words, pool, pair_steps)
    save(model, words, out)
    print(f"clip: {(time.monotonic() - started) / 60:.1f} minutes in all, weights in {out}", flush=True)


def train_eyes(model: open_clip.CustomTextCLIP, heads: nn.Linear, pool: Pool, steps: int) -> None:
    """First stage: name what a frame shows from its embedding. Cheaper, with a denser training signal than pairs."""
    rng, started = random.Random(SEED + 1), time.monotonic()
    descent = Descent([(model.visual, 2e-3), (heads, 2e-3)], steps)
    labels = torch.tensor([labels_of(scene) for scene in pool.scenes])
    for step, picks in zip(range(steps), shuffled(len(labels), FRAMES_PER_STEP, rng), strict=False):
        guesses = heads(model.visual(look(pool.frames[picks], rng)))
        losses = name_losses(guesses, labels[picks])
        descent.step(losses.mean())
        if step % 50 == 0 or step == steps - 1:
            each = " ".join(f"{name} {loss:.2f}" for name, loss in zip(ATTRIBUTES, losses, strict=True))
            print(f"clip: frames {step} {each} {time.monotonic() - started:.0f} s", flush=True)


def train_pairs(model: open_clip.CustomTextCLIP, heads: nn.Linear, words: Words, pool: Pool, steps: int) -> None:
    """Second stage: images against their own texts, all others of the batch and those with one attribute wrong."""
    rng, started = random.Random(SEED + 2), time.monotonic()
    bias = nn.Parameter(torch.tensor(-10.0))
    descent = Descent(
        [(model.visual, 1e-3), (model.text, 2e-3), (heads, 1e-3), (nn.ParameterList([model.logit_scale, bias]), 1e-2)],
        steps,
    )
    labels = torch.tensor([labels_of(scene) for scene in pool.scenes])
    for step, picks in zip(range(steps), shuffled(len(labels), FRAMES_PER_STEP, rng), strict=False):
        texts, stated = draw_texts([pool.scenes[i] for i in picks], rng)
        seen = labels[picks]
        image = model.visual(look(pool.frames[picks], rng))
        text = encode_text(model, words.rows(texts))
        match = ((seen[:, None] == stated[None]) | (stated[None] == UNSTATED)).all(-1)
        pairs = contrast(image, text, model.logit_scale.exp(), bias, match)
        named = name_losses(heads(image), seen).mean() + name_losses(heads(text), stated).mean()
        descent.step(pairs + named)
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - started
            print(f"clip: pairs {step} loss {pairs:.3f} named {named:.3f} {seconds:.0f} s", flush=True)
