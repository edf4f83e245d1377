"""The mini VLM: a small Qwen3-VL that learns to see single frames, to write the joint reply, and to relate panels."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from miniature.making.descent import Descent, ahead, look, shuffled
from miniature.making.frames import ATTRIBUTES, Frames, Pool, labels_of, render_pool
from miniature.making.reply import (
    CHAT_TEMPLATE,
    END,
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    MOST_PANELS,
    PAD,
    VIDEO,
    bare_chat,
    build_tokenizer,
    closes_panels,
    first_panels,
    reply,
    seen_phrases,
    training_chat,
)
from miniature.world import PLACES, Character

# Pixels of one image before patching: enough that a 2:1 panel comes in at 192x96 and a square one at 144x144.
LEAST_PIXELS, MOST_PIXELS = 144 * 96, 21_504
PATCH, MERGE = 12, 2
# Shapes drawn in pixels, and their shares of the training frames. The panels of every task are among them, since the
# processor makes images of six sizes of them, and one that was never trained on is read worse (LOG.md).
SHAPES = (
    ((640, 320), 0.66),
    ((448, 448), 0.07),
    ((368, 512), 0.06),
    ((288, 544), 0.06),
    ((336, 432), 0.09),
    ((448, 304), 0.06),
)
TEXT_WIDTH = 192
NAMED = 0.6  # share of the prompts that ask for names
# Shares of the grids: a random mix of frames, one unrelated frame among related ones, one character in several clothes.
STRANGERS, STRANGER, DRESSED = 0.2, 0.2, 0.1
PANELS = (1, 2, 2, 3, 3, 3, 4, 4)  # images per grid, as often as they are drawn
FRAMES_PER_STEP, GRIDS_PER_STEP = 32, 8
SORTED = 6  # batches of grids that are drawn at once
SPREAD = 0.6  # share of the first stage before every token must describe the frame
BLIND_GRIDS = 64  # per step of the second stage
ALONE = 0.07  # share of the third stage's steps that have grids of one image; for as many, the vision tower is frozen
UNSEEN = 5  # one step of the third stage in so many has no images
WEIGHTS = {"kind": 6.0, "action": 3.0}  # of the attributes of a single frame that take longest to learn; others have 1
BESIDE = 0.5  # weight of the single frames relative to the replies
RECURRING = 0.3  # weight of the places and characters that recur relative to the replies
HALFWAY = 2  # of the four text layers
IGNORED = -100  # label of a token that does not count, as in transformers
SEED = 4_000_000_000  # above the seeds of all films and scenes


def build_config(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLConfig:
    """2.7 million parameters: five vision layers, four text layers."""
    token = tokenizer.get_vocab()
    vision = {
        "depth": 5,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 1,
        "out_hidden_size": TEXT_WIDTH,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [],
        "initializer_range": 0.07,  # for a width of 128; with the usual 0.02, attention stays flat for long
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "initializer_range": 0.05,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
        "pad_token_id": token[PAD],
        "eos_token_id": token[END],
    }
    return Qwen3VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=token[IMAGE],
        video_token_id=token[VIDEO],
        vision_start_token_id=token[IMAGE_START],
        vision_end_token_id=token[IMAGE_END],
        dtype="float32",
    )


def build_processor(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLProcessor:
    patching: dict[str, Any] = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 1,
        "size": {"shortest_edge": LEAST_PIXELS, "longest_edge": MOST_PIXELS},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }
    return Qwen3VLProcessor(  # type: ignore[no-untyped-call]
        Qwen2VLImageProcessor(**patching), tokenizer, Qwen3VLVideoProcessor(**patching), chat_template=CHAT_TEMPLATE
    )


class Album:
    """A pool's frames indexed by character and place, so that grids can be composed like those of a film."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.labels = torch.tensor([labels_of(scene) for scene in pool.scenes])
        self._with: dict[Character, list[int]] = {}
        for index, scene in enumerate(pool.scenes):
            self._with.setdefault(scene.character, []).append(index)
        self._bodies: dict[str, list[Character]] = {}
        for character in self._with:
            self._bodies.setdefault(character.body, []).append(character)

    def pick_grid(self, count: int, rng: random.Random) -> list[int]:
        """Frames for one grid: a cast of one or two in one or two places, or one of the unusual kinds that a run may
        also contain and that the model has to recognise."""
        kind = rng.random()
        if kind < STRANGERS:
            return [self._any(rng) for _ in range(count)]
        if kind < STRANGERS + DRESSED:
            body = rng.choice(list(self._bodies))
            return [rng.choice(self._with[rng.choice(self._bodies[body])]) for _ in range(count)]
        picks = self._related(count, rng)
        if kind < STRANGERS + DRESSED + STRANGER:
            picks[rng.randrange(count)] = self._any(rng)
        return picks

    def _any(self, rng: random.Random) -> int:
        return rng.randrange(len(self.pool.scenes))

    def _related(self, count: int, rng: random.Random) -> list[int]:
        cast = rng.sample(list(self._with), rng.choice((1, 2, 2)))
        places = rng.sample(list(PLACES), rng.choice((1, 1, 2, 10)))
        picks = []
        for _ in range(count):
            mine = self._with[rng.choice(cast)]
            there = [index for index in mine if self.pool.scenes[index].place in places]
            picks.append(rng.choice(there or mine))
        return picks


@dataclass(frozen=True)
class TrainingData:
    """The training data: frames of every shape, one album each, and the processor that prepares them."""

    processor: Qwen3VLProcessor
    albums: list[Album]

    def pick_album(self, rng: random.Random) -> int:
        return rng.choices(range(len(self.albums)), [share for _, share in SHAPES])[0]


class Heads(nn.Module):
    """Names a frame's attributes from the tower's tokens, by one linear map from each token.

    At first from what one learned query per attribute gathers, which soon finds the informative tokens; in the end also
    from each token by itself, so that every token describes the whole frame and the reply can be read off any of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Linear(TEXT_WIDTH, len(ATTRIBUTES), bias=False)
        self.maps = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(values)) for values in ATTRIBUTES.values())

    def forward(self, tokens_BND: Tensor, labels_BA: Tensor, *, each: bool) -> Tensor:
        """The mean loss over the attributes by their WEIGHTS."""
        weights_BNA = self.queries(tokens_BND).softmax(1)
        gathered_ABD = torch.einsum("bna,bnd->abd", weights_BNA, tokens_BND)
        losses = []
        for head, gathered, label in zip(self.maps, gathered_ABD, labels_BA.T, strict=True):
            losses.append(functional.cross_entropy(head(gathered), label))
            if each:
                spread = label.repeat_interleave(tokens_BND.shape[1])
                losses[-1] = losses[-1] + functional.cross_entropy(head(tokens_BND).flatten(0, 1), spread)
        share = torch.tensor([WEIGHTS.get(name, 1.0) for name in ATTRIBUTES])
        return (torch.stack(losses) * share).sum() / share.sum()


class Recurrence(nn.Module):
    """Says at every panel's place, character and name which panel had it first, from what two text layers make of it.

    Names and ties rest on tokens being the same in two panels, which the replies themselves teach last: no recipe of
    40 minutes had learnt it without this, which takes 400 steps (LOG.md).
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        self.map = nn.Linear(TEXT_WIDTH, MOST_PANELS + 1)
        self._halfway: dict[int, Tensor] = {}  # by thread: each has its own half of a batch
        layer = model.model.language_model.layers[HALFWAY - 1]
        layer.register_forward_hook(lambda *hooked: self._halfway.update({get_ident(): hooked[-1]}))

    def forward(self, firsts_BL: Tensor) -> Tensor:
        """The loss of the batch that the model has just read; what recurs weighs twice.

        Args:
            firsts_BL: the panel that had the place or the character first, 0 for none; IGNORED at all other tokens.
        """
        weights = torch.full((MOST_PANELS + 1,), 2.0)
        weights[0] = 1.0
        tokens_BLD = self._halfway.pop(get_ident())
        return functional.cross_entropy(self.map(tokens_BLD).flatten(0, 1), firsts_BL.flatten(), weights)


def see(processor: Qwen3VLProcessor, frames: Frames, rng: random.Random) -> dict[str, Tensor]:
    """The processor's output for the frames, without its resize: they have their size already."""
    patches, rows, columns = processor.image_processor.patchify(look(frames, rng), PATCH, MERGE, 1)
    return {"pixel_values": patches.flatten(0, 1), "image_grid_thw": torch.tensor([[1, rows, columns]] * len(frames))}


@dataclass(frozen=True)
class Row:
    """The tokens of a prompt and its reply, how many of them are the prompt's, and the frames that it shows."""

    tokens: Tensor
    asked: int
    frames: list[int]
    firsts: Tensor
    """As `Recurrence` is asked, for all tokens."""


@dataclass(frozen=True)
class Half:
    """Half of a step's batch: the model's inputs, the labels of the frames (frames x attributes), and, of grids, the
    panels that had each place and character first (grids x tokens)."""

    inputs: dict[str, Tensor]
    labels: Tensor
    firsts: Tensor = field(default_factory=lambda: torch.empty(0))


def draw_frames(data: TrainingData, rng: random.Random) -> Iterator[list[Half]]:
    """Endless batches of single frames of one shape."""
    decks = [shuffled(len(album.pool.scenes), FRAMES_PER_STEP, rng) for album in data.albums]
    while True:
        which = data.pick_album(rng)
        album, picks = data.albums[which], next(decks[which])
        halves = (picks[::2], picks[1::2])
        yield [Half(see(data.processor, album.pool.frames[half], rng), album.labels[half]) for half in halves]


def draw_grids(
    data: TrainingData,
    rng: random.Random,
    grids: int = GRIDS_PER_STEP,
    *,
    panels: tuple[int, ...] = PANELS,
    images: bool = True,
    bare: bool = False,
) -> Iterator[list[Half]]:
    """Endless batches of grids of one shape, sorted by length: in mixed batches, a third of all tokens is padding.

    Args:
        panels: images per grid, as often as they are drawn.
        images: whether the images themselves are shown; if not, what only they determine is not learned.
        bare: whether a prompt says only whether names are wanted.
    """
    while True:
        album = data.albums[data.pick_album(rng) if images else 0]
        picked = [album.pick_grid(number, rng) for number in rng.choices(panels, k=SORTED * grids)]
        rows = sorted(spell(data.processor, album, picked, rng, images=images, bare=bare), key=lambda r: len(r.tokens))
        batches = [rows[start : start + grids] for start in range(0, len(rows), grids)]
        for batch in rng.sample(batches, len(batches)):
            yield [join(data.processor, album, half, rng, images=images) for half in (batch[::2], batch[1::2])]


def spell(
    processor: Qwen3VLProcessor, album: Album, grids: list[list[int]], rng: random.Random, *, images: bool, bare: bool
) -> list[Row]:
    """Prompts and replies for grids of an album's frames; the arguments are those of `draw_grids`."""
    tokenizer = processor.tokenizer
    tokens = album.pool.frames[0, ..., 0].size // (PATCH * MERGE) ** 2 if images else 0
    told = [[album.pool.scenes[index] for index in grid] for grid in grids]
    rows = []
    for grid, scenes in zip(grids, told, strict=True):
        named = rng.random() < NAMED
        earlier = reply(rng.choice(told), named)
        chat = bare_chat(named) if bare else training_chat(len(scenes), named, rng, earlier)
        prompt = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(prompt.replace(IMAGE, IMAGE * tokens)).input_ids
        answer = tokenizer(reply(scenes, named) + END).input_ids
        firsts = [
            IGNORED if first is None else first for first in first_panels(tokenizer.convert_ids_to_tokens(answer))
        ]
        rows.append(Row(torch.tensor(asked + answer), len(asked), grid, torch.tensor([IGNORED] * len(asked) + firsts)))
    return rows


def join(processor: Qwen3VLProcessor, album: Album, rows: list[Row], rng: random.Random, *, images: bool) -> Half:
    """The rows padded to equal length; only the replies are learned.

    No mask: with causal attention, no token sees the padding after it.
    """
    tokenizer = processor.tokenizer
    ids = pad_sequence([row.tokens for row in rows], batch_first=True, padding_value=tokenizer.pad_token_id)
    labels = pad_sequence([row.tokens for row in rows], batch_first=True, padding_value=IGNORED)
    for label, row in zip(labels, rows, strict=True):
        label[: row.asked] = IGNORED
    frames = [index for row in rows for index in row.frames]
    firsts = pad_sequence([row.firsts for row in rows], batch_first=True, padding_value=IGNORED)
    if not images:
        return Half({"input_ids": ids, "labels": hide_seen(labels, tokenizer)}, album.labels[frames], firsts)
    image = ids == tokenizer.convert_tokens_to_ids(IMAGE)
    inputs = {"input_ids": ids, "labels": labels, "mm_token_type_ids": image.int()}
    return Half(inputs | see(processor, album.pool.frames[frames], rng), album.labels[frames], firsts)


def train_tower(model: Qwen3VLForConditionalGeneration, heads: Heads, data: TrainingData, steps: int) -> None:
    """First stage: single frames and small heads, since replies alone train the vision tower too little, too late."""
    rng, started = random.Random(SEED + 1), time.monotonic()
    visual = model.model.visual
    descent = Descent([(visual, 1e-3), (heads, 2e-3)], steps, inner=[visual])

    def loss_of(half: Half) -> Tensor:
        tokens = visual(half.inputs["pixel_values"], half.inputs["image_grid_thw"]).pooler_output
        loss: Tensor = heads(tokens.unflatten(0, (len(half.labels), -1)), half.labels, each=step >= SPREAD * steps)
        return loss

    for step, halves in zip(range(steps), ahead(draw_frames(data, rng)), strict=False):
        show("tower", step, steps, descent.step_in_parts(loss_of, halves), started)


def train_relations(
    model: Qwen3VLForConditionalGeneration, recurrence: Recurrence, data: TrainingData, steps: int
) -> None:
    """Second stage: what follows from the panels once they are written, who is who, and what ties which of them.

    No images and bare prompts, so that a step has many grids. It comes before the replies: a model that has learnt to
    guess names from how often they occur takes long to unlearn it (LOG.md).
    """
    rng, started = random.Random(SEED + 2), time.monotonic()
    words = model.model.language_model
    descent = Descent([(words, 1e-3), (model.lm_head, 1e-3), (recurrence, 3e-3)], steps, inner=[words])
    model.model.visual.requires_grad_(False)

    def loss_of(half: Half) -> Tensor:
        loss: Tensor = model(**half.inputs, use_cache=False).loss + RECURRING * recurrence(half.firsts)
        return loss

    batches = draw_grids(data, rng, BLIND_GRIDS, images=False, bare=True)
    for step, halves in zip(range(steps), ahead(batches), strict=False):
        show("relations", step, steps, descent.step_in_parts(loss_of, halves), started)


def train_replies(
    model: Qwen3VLForConditionalGeneration, heads: Heads, recurrence: Recurrence, data: TrainingData, steps: int
) -> None:
    """Third stage: the joint reply, first to one image, then to up to four with the vision tower unfrozen.

    From then on, single frames are trained on beside the replies; with the tower frozen for longer, actions came too
    late (LOG.md). Some steps have no images, but any prompt, which may mention other people.
    """
    rng, started = random.Random(SEED + 3), time.monotonic()
    visual, words = model.model.visual, model.model.language_model
    groups = [(visual, 3e-4), (words, 1.5e-3), (model.lm_head, 1.5e-3), (heads, 1e-3), (recurrence, 3e-3)]
    descent = Descent(groups, steps, inner=[visual])
    alone = draw_grids(data, rng, 2 * GRIDS_PER_STEP, panels=(1,))
    seen = chain(islice(alone, int(ALONE * steps)), draw_grids(data, rng))
    blind = draw_grids(data, rng, 3 * GRIDS_PER_STEP, images=False)
    batches = (next(seen if step % UNSEEN else blind) for step in count())

    def loss_of(half: Half) -> Tensor:
        outputs = model(**half.inputs, use_cache=False)
        loss: Tensor = outputs.loss + RECURRING * recurrence(half.firsts)
        if awake and "pixel_values" in half.inputs:
            tokens = torch.stack(outputs.image_outputs.pooler_output)
            loss = loss + BESIDE * heads(tokens, half.labels, each=True)
        return loss

    for step, halves in zip(range(steps), ahead(batches), strict=False):
        awake = step >= ALONE * steps
        visual.requires_grad_(awake)
        show("replies", step, steps, descent.step_in_parts(loss_of, halves), started)


def show(stage: str, step: int, steps: int, loss: float, started: float) -> None:
    """Prints the loss of every hundredth step and the next (in the last stage, one without images and one with)."""
    if step % 100 < 2 or step == steps - 1:  # noqa: PLR2004
        print(f"vlm: {stage} {step} loss {loss:.4f} {time.monotonic() - started:.0f} s", flush=True)


def hide_seen(labels_BL: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """The labels without what only an image determines."""
    vocabulary = tokenizer.get_vocab()
    seen = torch.tensor([vocabulary[phrase] for phrase in seen_phrases()])
    ends = torch.tensor([number for phrase, number in vocabulary.items() if closes_panels(phrase)])
    before_BL = torch.isin(labels_BL, ends).cumsum(dim=1) == 0
    return labels_BL.masked_fill(before_BL & torch.isin(labels_BL, seen), IGNORED)


def train(
    out: Path,
    *,
    frames: int = 20_000,
    tower_steps: int = 1650,
    relation_steps: int = 500,
    reply_steps: int = 2100,
) -> None:
    """Trains from scratch to `out`, a folder that AutoProcessor and AutoModelForImageTextToText load."""
    started = time.monotonic()
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer()
    data = TrainingData(build_processor(tokenizer), render(frames))
    print(f"vlm: {frames} frames drawn in {time.monotonic() - started:.0f} s", flush=True)
    model, heads = Qwen3VLForConditionalGeneration(build_config(tokenizer)).train(), Heads()
    recurrence = Recurrence(model)
    train_tower(model, heads, data, tower_steps)
    train_relations(model, recurrence, data, relation_steps)
    train_replies(model, heads, recurrence, data, reply_steps)
    save(model, data.processor, out)
    print(f"vlm: {(time.monotonic() - started) / 60:.1f} minutes in all, weights in {out}", flush=True)


def render(frames: int) -> list[Album]:
    return [Album(render_pool(int(frames * share), size_of(*shape), SEED, shape=shape)) for shape, share in SHAPES]


def size_of(width: int, height: int) -> tuple[int, int]:
    """Width and height in pixels to which the processor scales an image of this size."""
    rows, columns = smart_resize(height, width, PATCH * MERGE, LEAST_PIXELS, MOST_PIXELS)
    return columns, rows


def save(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, out: Path) -> None:
    """Half precision on disk; the config still says float32, so that a CPU computes in that."""
    token = processor.tokenizer.convert_tokens_to_ids
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, max_new_tokens=320, eos_token_id=token(END), pad_token_id=token(PAD)
    )
    model.save_pretrained(out, state_dict={name: value.half() for name, value in model.state_dict().items()})
    processor.save_pretrained(out)
