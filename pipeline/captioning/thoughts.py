"""Models that think aloud before they answer: what stands behind the thoughts is the answer."""

from __future__ import annotations

import itertools
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

WORDS = (
    r"(?:[a-z0-9]{1,20}[:_-]){0,2}"  # <seed:think>, <longcat_think>, <inner_monologue>
    r"(?:(?:ant)?thinking|think|thoughts?|reasoning|reflection|analysis|scratchpad|monologue|rationale)"
    r"(?:[_-][a-z]{1,20}){0,2}"  # <reasoning_content>, <think_fast>
)
BEGIN = "|".join(
    (
        rf"<{WORDS}(?:\s[^<>]{{0,80}})?>",
        r"\[THINK\]",
        "◁think▷",
        r"<\|(?:begin_of_thought|START_THINKING|think)\|>",
        r"<\|channel\|>\s*(?:analysis|commentary)\b",  # harmony
        r"<\|channel>\s*thought\b",
        r"<unused94>\s*thought\b",  # MedGemma
        "<｜begin▁of▁thinking｜>",  # noqa: RUF001
        r"<details\s+type=.reasoning.[^<>]{0,80}>",  # Open WebUI
    )
)
END = "|".join(
    (
        rf"</\s*{WORDS}\s*>",
        r"\[/THINK\]",
        "◁/think▷",
        r"<\|(?:end_of_thought|END_THINKING|/think)\|>",
        r"<\|channel\|>\s*final\b[^<]{0,80}(?:<\|constrain\|>[^<]{0,80})?<\|message\|>",
        r"<channel\|>",
        "<unused95>",
        "<｜end▁of▁thinking｜>",  # noqa: RUF001
        r"</details\s*>",
    )
)
MARKS = re.compile(rf"(?P<begin>{BEGIN})|(?P<end>{END})", re.IGNORECASE)
"""Where thoughts begin and end, in the spellings of the models in use."""
BARE = re.compile(r"analysis(?=[A-Z])")
"""How harmony's thoughts begin where a server has removed the special tokens; the answer follows BARE_END."""
BARE_END = "assistantfinal"
ANSWER = r"answer|final_answer|response|output|conclusion|result"
OPENED = re.compile(rf"<({ANSWER})>", re.IGNORECASE)
"""Where an answer between tags begins; what stands outside them is not part of it."""
FRAME = re.compile(
    rf"<\|[A-Za-z0-9_/-]{{1,40}}\|>|</?(?:s|eos|bos|pad|start_of_turn|end_of_turn|{ANSWER})\s*>", re.IGNORECASE
)
"""Special tokens and tags around an answer, none of which is part of it."""


def _switch(given: Any) -> Any:
    """off, on, or a number; also true, false and 0."""
    if isinstance(given, bool) or given == 0:
        return "on" if given else "off"
    if given in ("off", "on") or (isinstance(given, int) and given > 0):
        return given
    raise ValueError("must be off, on, or a number of tokens")


Thinking = Annotated[Literal["off", "on"] | int, BeforeValidator(_switch)]
"""Whether a model thinks before it answers, or how many tokens it may spend on that."""


def budget(thinking: Thinking | None, answer: int) -> int:
    """Tokens that an answer of so many tokens may take together with the thoughts before it."""
    return answer + thinking if isinstance(thinking, int) else answer


def cut(text: str) -> str:
    """What stands behind the thoughts in a text; empty if there is nothing else in it, the same text if there are none.

    Thoughts that were never closed reach to the end, and those that the chat template opened begin with the text. An
    answer that is JSON as a whole has none, whatever its strings say.
    """
    whole, text = text, text.strip()
    if _is_json(text):
        return whole
    if BARE.match(text):
        text = text.partition(BARE_END)[2] if text.count(BARE_END) == 1 else ""
    kept: list[str] = []
    at, thinking = 0, False
    for mark in MARKS.finditer(text):
        if mark["begin"]:
            if not thinking:
                kept.append(text[at : mark.start()])
            thinking = True
            continue
        if not thinking:
            kept.clear()
        at, thinking = mark.end(), False
    if not thinking:
        kept.append(text[at:])
    left = FRAME.sub("", _within_tags("".join(kept))).strip()
    return whole if left == whole.strip() else left


def _within_tags(text: str) -> str:
    """What stands between the tags of an answer; the whole text if there are none, or several answers."""
    opened = list(itertools.islice(OPENED.finditer(text), 2))
    if len(opened) != 1:
        return text
    inside = text[opened[0].end() :]
    closed = re.search(rf"</{opened[0][1]}\s*>", inside, re.IGNORECASE)
    return inside[: closed.start()] if closed else inside


def _is_json(text: str) -> bool:
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
