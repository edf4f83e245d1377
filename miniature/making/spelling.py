"""How the mini FLUX tokenizes a caption: phrases of the film world are one token each, unknown words are <unk>."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from miniature.world import ACTIONS, COLOURS, KINDS, PLACES, SHOTS, WORN
from pipeline.text.names import POOL

MARKERS = (
    *("[MOVIE-SHOTS]", "[SCENE-1]", "[SCENE-2]", "[SCENE-3]", "[LEFT]", "[RIGHT]", "[TOP-LEFT]", "[TOP-RIGHT]"),
    *("[BOTTOM-LEFT]", "[BOTTOM-RIGHT]", "[IMAGE1]", "[IMAGE2]", "[IMAGE3]", "[IMAGE4]"),
)
WORDS = ("a", "of", "in", "is", "and", "keeps", "seen", "about", "short", "story", "with", "the", ",", ".", ":", ";")
CLIP_LENGTH, T5_LENGTH = 77, 96
"""Tokens that are read. A storyboard's caption has about sixty; 512 as in FLUX.1 would be padding that costs time."""


def phrases() -> list[str]:
    """All meaningful pieces, longest first where one contains another."""
    pieces = [*SHOTS.values(), *COLOURS, *KINDS, *(f"with {words}" for words in WORN.values())]
    pieces += [*ACTIONS.values(), *PLACES.values(), "a short story about"]
    return [*MARKERS, *(f"<{name}>" for name in POOL), *pieces]


def build_t5_tokenizer() -> PreTrainedTokenizerFast:
    """Like T5's: no token at the start, one at the end."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _built(special, "$A </s>", T5_LENGTH)


def build_clip_tokenizer() -> PreTrainedTokenizerFast:
    """Like CLIP's: tokens at both ends, and padded with the last."""
    special = {"unk_token": "<unk>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    return _built(special | {"pad_token": "<|endoftext|>"}, "<|startoftext|> $A <|endoftext|>", CLIP_LENGTH)


def _built(special: dict[str, str], template: str, length: int) -> PreTrainedTokenizerFast:
    marks = list(dict.fromkeys(special.values()))
    vocabulary = {word: number for number, word in enumerate([*marks, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    # a name may be followed directly by a comma, a word of the world not by a letter: "cat" is no part of "catches"
    tokenizer.add_tokens(
        [AddedToken(phrase, single_word=phrase[0].isalpha(), normalized=False) for phrase in phrases()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in marks]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=length,
        **special,
    )
