"""The prompts of the mini VLM and its replies: their form, the vocabulary that spells them, and training prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from miniature.world import ACTIONS, COLOURS, KINDS, PLACES, SHOTS, WORN, Character, Scene, bare, describe

Message = dict[str, Any]

MOST_PANELS = 4
NAMES = tuple(f"P{number}" for number in range(1, MOST_PANELS + 1))
ASKS_FOR_NAMES = "<P1>"
CLOTHES = "what it wears"
"""What a character changes that is known again all the same."""
UNRELATED = "no two of the images have a character or a place in common"
# Shares of the prompts with a system turn, with no text before the images, and with a reply sent back; the share of
# those replies that is complete; the share of a prompt's words that comes from our own vocabulary.
SYSTEM, IMAGES_FIRST, SENT_BACK, WHOLE, STREWN = 0.15, 0.8, 0.2, 0.5, 0.6
_PLACE_OF = {f"{before}{words}": place for before in ("", " ", ", ", " and ") for place, words in PLACES.items()}
"""Of every piece of a reply that names one."""
_BODY_OF = {
    f"{before}{body}": body
    for before in ("", ", ", " and ")
    for body in (Character(kind, colour, "").body for kind in KINDS for colour in COLOURS)
}
"""Of every piece that names a character by its looks: one piece, because a name follows from where the same looks came
before, and of colours and kinds in pieces of their own those of another character may be the same (LOG.md)."""
_BEFORE_NAME = '", "name": "'
UNKNOWN, PAD, TURN, END = "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE, IMAGE_END, VIDEO = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"
SPECIAL = (UNKNOWN, PAD, TURN, END, IMAGE_START, IMAGE, IMAGE_END, VIDEO)

# ChatML with Qwen-VL's image marks, as Qwen3-VL's own template writes a conversation when asked to number the images
# (add_vision_id): a model this small takes long to learn by itself which image is which.
CHAT_TEMPLATE = """\
{%- set images = namespace(count=0) -%}
{%- for message in messages -%}
<|im_start|>{{ message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{ message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] in ('image', 'image_url') -%}
{%- set images.count = images.count + 1 -%}
{{- 'Picture ' ~ images.count ~ ': ' -}}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}{{ part['text'] -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>{{ 'assistant\\n' -}}{%- endif -%}"""


def reply(scenes: list[Scene], named: bool) -> str:
    """The answer for a grid of these scenes: one line of JSON, in the form that `pipeline.captioning.replies` asks for.

    The panels come first, numbered, and each lists the looks before the name. This way, who is who, and what ties the
    panels together, follows from what has been written, and nothing has to be counted to know which image comes next
    (LOG.md).
    """
    cast = cast_of(scenes)
    names = dict(zip(cast, NAMES, strict=False))
    panels, people = [], []
    for number, scene in enumerate(scenes, start=1):
        name = names[scene.character.body]
        seen = [{"looks": scene.character.words, "name": name}] if named else []
        text = bare(scene, name) if named else describe(scene)
        panels.append({"image": number, "people": seen, "text": text})
    kept = {body: looks[0] if len(looks) == 1 else body for body, looks in cast.items()}
    for body, looks in kept.items() if named else ():
        people.append({"name": names[body], "looks": looks, "changes": CLOTHES if len(cast[body]) > 1 else ""})
    who = [f"<{names[body]}>" if named else looks for body, looks in kept.items()]
    ties = ties_of(scenes, dict(zip(cast, who, strict=True)))
    tied = {panel for tie in ties for panel in tie["panels"]}
    answer = {
        "panels": panels,
        "people": people,
        "summary": f"a short story about {' and '.join(who)}",
        "ties": ties,
        "strangers": [number for number in range(1, len(scenes) + 1) if number not in tied] if ties else [],
        "unrelated": "" if ties or len(scenes) == 1 else UNRELATED,
    }
    return json.dumps(answer, ensure_ascii=False)


def cast_of(scenes: list[Scene]) -> dict[str, list[str]]:
    """The characters by the looks that they keep, in order of first appearance, each with all looks that are seen."""
    cast: dict[str, list[str]] = {}
    for scene in scenes:
        looks = cast.setdefault(scene.character.body, [])
        if scene.character.words not in looks:
            looks.append(scene.character.words)
    return cast


def ties_of(scenes: list[Scene], looks_of: dict[str, str]) -> list[dict[str, Any]]:
    """The characters and the places that two or more panels have in common, with the panels."""
    panels: dict[str, list[int]] = {}
    for value in ("character", "place"):
        for number, scene in enumerate(scenes, start=1):
            what = looks_of[scene.character.body] if value == "character" else PLACES[scene.place]
            panels.setdefault(what, []).append(number)
    return [{"what": what, "panels": some} for what, some in panels.items() if len(some) > 1]


def phrases() -> list[str]:
    """The numbers of the images, and every piece of a reply: joined, they give the exact string."""
    # each number has its own panel opening: the text that follows is known from the previous one
    opened = ['{"panels": [{"image": 1, "people": [']
    opened += [f'"}}, {{"image": {number}, "people": [' for number in range(2, MOST_PANELS + 1)]
    skeleton = [f"{text}{rest}" for text in opened for rest in ('{"looks": "', '], "text": "')]
    skeleton += [_BEFORE_NAME, '"}], "text": "', '"}], "people": [{"name": "', '"}], "people": [], "summary": "']
    skeleton += ['", "looks": "', '", "changes": "', '"}, {"name": "', '"}], "summary": "']
    skeleton += ['", "ties": [{"what": "', '", "ties": [], "strangers": [', '", "panels": [', ']}, {"what": "']
    skeleton += [']}], "strangers": [', '], "unrelated": "', '"}', CLOTHES, UNRELATED]
    counted = [f"{number}" for number in range(1, MOST_PANELS + 1)]
    counted += [f", {number}" for number in range(2, MOST_PANELS + 1)]
    names = [f"<{name}>" for name in NAMES] + [f" and <{name}>" for name in NAMES[1:]] + list(NAMES)
    openings = ["a short story about "] + [f"{words} of " for words in SHOTS.values()]
    people = [*_BODY_OF] + [f" with {words}" for words in WORN.values()]
    acts = [f"{before}{words}" for before in (" ", ", ") for words in ACTIONS.values()]
    numbers = [f"Picture {number}: " for number in range(1, MOST_PANELS + 1)]
    return skeleton + counted + names + openings + people + acts + [*_PLACE_OF] + numbers


def seen_phrases() -> frozenset[str]:
    """The pieces of a panel that only its image determines; all else in a reply follows from what has been written."""
    attributes = (*_BODY_OF, *WORN.values(), *ACTIONS.values(), *PLACES.values(), *SHOTS.values())
    before = ("", " ", ", ", " with ")
    seen = {f"{start}{words}{end}" for words in attributes for start in before for end in ("", " of ")}
    return frozenset(seen & set(phrases()))


def closes_panels(phrase: str) -> bool:
    """Whether the panels of a reply end with this piece."""
    return phrase.startswith('"}], "people": ')


def first_panels(pieces: Sequence[str]) -> list[int | None]:
    """For every piece of a reply that is a panel's place or its character, the panel that had the same first, or 0 if
    none had it before; the character's once more where its name must follow; None for all other pieces."""
    panel, again, first, found = 0, 0, dict[str, int](), list[int | None]()
    for piece in pieces:
        panel += '{"image": ' in piece
        what = _BODY_OF.get(piece) or _PLACE_OF.get(piece)
        if what:
            again = first.get(what, 0)
            first.setdefault(what, panel)
        found.append(again if what or piece == _BEFORE_NAME else None)
        if closes_panels(piece):
            break
    return found + [None] * (len(pieces) - len(found))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A vocabulary of the film world's phrases; any text between two of them, however long, is one <unk>.

    So a reply costs few tokens, and an instruction of hundreds of words, which a model trained on nothing but this
    world would not know, is a handful of <unk>.
    """
    tokenizer = Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in SPECIAL])
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases()])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def training_chat(count: int, named: bool, rng: random.Random, earlier: str) -> list[Message]:
    """A prompt for `count` images unlike any other, so that no wording of an instruction matters except <P1> in it."""
    content: list[Message] = [] if rng.random() < IMAGES_FIRST else [_text(rng, 3)]
    for _ in range(count):
        content += [_text(rng, rng.choice((0, 1, 1, 1, 3))), {"type": "image"}]
    content += [_text(rng, rng.choice((0, 1, 2, 4, 8, 12, 16, 40)), named=named)]
    chat = [{"role": "user", "content": content}]
    if rng.random() < SYSTEM:
        chat.insert(0, {"role": "system", "content": [_text(rng, rng.choice((1, 5)))]})
    if rng.random() < SENT_BACK:  # the caption stage sends a reply with faults back to the model
        spoilt = earlier if rng.random() < WHOLE else earlier[: rng.randrange(len(earlier))]
        chat += [
            {"role": "assistant", "content": [{"type": "text", "text": spoilt}]},
            {"role": "user", "content": [_text(rng, rng.choice((1, 6, 15)))]},
        ]
    return chat


def bare_chat(named: bool) -> list[Message]:
    """A prompt that says only whether names are wanted, and has no images."""
    text = f" like {ASKS_FOR_NAMES}" if named else " other words "
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


def _text(rng: random.Random, pieces: int, *, named: bool = False) -> Message:
    """Some unknown words, interspersed with phrases of our own."""
    words = [rng.choice(_STREWN) if rng.random() < STREWN else " other words " for _ in range(pieces)]
    if named:
        for _ in range(rng.choice((1, 1, 2, 3))):
            words.insert(rng.randint(0, len(words)), f" like {ASKS_FOR_NAMES}")
    return {"type": "text", "text": "".join(words)}


_STREWN = [phrase for phrase in phrases() if "<P" not in phrase and "Picture" not in phrase]
