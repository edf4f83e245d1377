"""Token budgets: which captions the base model's text encoder would cut, and which panels would be lost by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from pipeline import families
from pipeline.families.base import Family
from pipeline.records import Caption
from pipeline.task import Task
from pipeline.text.markers import EDGES, inside, spans

# The estimate for where the tokenizer is not on this machine. It is meant to err upwards: four small letters a token,
# three of a word with a capital, two capitals; digits and signs one each, an opening bracket two (T5 knows no `<`);
# every byte of any other letter, which is the most that a byte-level BPE takes. On 24 captions, ours and released ones,
# this was 1.1 to 1.5 times (mean 1.3) what an English SentencePiece of 30,000 counts, 0.9 to 1.2 times a BPE of 32,000
# made for program code, and 1.5 to 1.6 times CLIP's own count of the released ones.
PIECE = re.compile(r"[A-Z]{2,}|[A-Z][a-z]*|[a-z]+|\S")
LONGEST, SHORTEST = 50, 6
"""Words that a panel's text is asked to have at most, where the budget is large and where it is none."""
LOOKS, PEOPLE = 15, 2
"""Words that a person's looks are asked to have at most, and people whose looks are reckoned with."""
TOKENS_PER_WORD = 1.86
"""The estimate's mean on 24 captions, ours and the released ones, without their markers."""


@dataclass(frozen=True)
class Fit:
    """How a caption fits into what its base model reads."""

    tokens: int
    """Tokens of the caption and of the template around it."""
    over: bool
    cut: tuple[str, ...] = ()
    """Markers of the panels that would lose their end."""
    lost: tuple[str, ...] = ()
    """Markers of those that would not be read at all."""


def fit(caption: Caption, task: Task) -> Fit:
    """How much of a caption is read. A panel without a marker of its own can't be lost."""
    base, text = families.load(task.base), caption.text
    starts = _starts(text, base)
    room = base.limit - base.template
    if len(starts) <= room:
        return Fit(len(starts) + base.template, over=False)
    read, found = starts[room], spans(text, task)
    cut: list[str] = []
    lost: list[str] = []
    for panel, marker in enumerate(task.markers):
        start, end = inside(found, panel, len(text))
        end = start + len(text[start:end].rstrip(EDGES))
        if read < end:
            (cut if text[start:read].strip(EDGES) else lost).append(marker)
    return Fit(len(starts) + base.template, True, tuple(cut), tuple(lost))


def faults(caption: Caption, task: Task) -> tuple[str, ...]:
    """The fault of a caption that is longer than its base model reads."""
    base, fitted = families.load(task.base), fit(caption, task)
    if not fitted.over:
        return ()
    about = "" if _tokenizer(base.tokenizer) else "about "
    ends = [f"{' '.join(fitted.cut)} would be cut"] if fitted.cut else []
    ends += [f"{' '.join(fitted.lost)} would be lost"] if fitted.lost else []
    harm = ", ".join(ends) or "its end would be lost"
    return (f"the caption has {about}{fitted.tokens} tokens of {base.encoder}, {base.limit} are read: {harm}",)


def facts(captions: Sequence[Caption], task: Task) -> dict[str, Any]:
    """What the report tells of the captions' lengths; captions without a text are not counted."""
    base = families.load(task.base)
    fits = {caption.id: fit(caption, task) for caption in captions if caption.text}
    counts = [fitted.tokens for fitted in fits.values()]
    known = bool(_tokenizer(base.tokenizer))
    return {
        "base": task.base,
        "encoder": base.encoder,
        "limit": base.limit,
        "counted by": f"the tokenizer of {base.tokenizer}" if known else "an estimate that errs upwards",
        "tokens": {"min": min(counts), "median": median(counts), "max": max(counts)} if counts else {},
        "over the limit": {
            grid: {"tokens": fitted.tokens, "cut": list(fitted.cut), "lost": list(fitted.lost)}
            for grid, fitted in fits.items()
            if fitted.over
        },
    }


def words(task: Task) -> int:
    """Words that each text of a caption may have, the summary included, so that all of it is read with its looks."""
    base = families.load(task.base)
    frame = len(_estimated(" ".join((task.prefix, task.opening, *task.markers)))) + base.template
    told = {"once": 1, "each": len(task.markers) + 1, "never": 0}[task.caption.looks]
    looks = PEOPLE * LOOKS * told if task.caption.people else 0
    each = ((base.limit - frame) / TOKENS_PER_WORD - looks) / (len(task.markers) + 1)
    return max(SHORTEST, min(LONGEST, int(each)))


def _starts(text: str, base: Family) -> list[int]:
    """Where in the text each of its tokens starts."""
    tokenizer = _tokenizer(base.tokenizer)
    if tokenizer is None:
        return _estimated(text)
    counted = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [start for start, _ in counted["offset_mapping"]]


def _estimated(text: str) -> list[int]:
    starts: list[int] = []
    for piece in PIECE.finditer(text):
        starts += [piece.start()] * _weight(piece[0])
    return starts


def _weight(piece: str) -> int:
    """Tokens that a piece of text has at most, as far as can be told without its tokenizer."""
    if not piece.isascii():
        return len(piece.encode())
    if piece.isalpha():
        letters = 4 if piece.islower() else 3 if piece[1:].islower() else 2
        return -(-len(piece) // letters)
    return 2 if piece in "<[{(" else 1


@cache
def _tokenizer(name: str) -> Any | None:
    """A tokenizer by model and folder; None where it is not on this machine. Never fetches anything."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, folder = name.rpartition("/")
    config = try_to_load_from_cache(repo, f"{folder}/tokenizer_config.json")
    if not isinstance(config, str):
        return None
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(Path(config).parent, local_files_only=True)
    except (OSError, ValueError, ImportError):  # half a download, or a package that it needs is missing
        return None
    return loaded if loaded.is_fast else None  # only the fast ones tell where their tokens stand
