"""Token budgets: which captions the base model's text encoder would cut off, and which panels that would lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from pipeline import families
from pipeline.records import Caption
from pipeline.task import Task
from pipeline.text.counters import ESTIMATE, TokenCounter
from pipeline.text.markers import EDGES, inside, spans

LONGEST, SHORTEST = 50, 6
"""The most words a panel's text is asked to have: where the budget is large, and where there is none."""
LOOKS, PEOPLE = 15, 2
"""The most words a person's looks are asked to have, and how many people's looks the budget allows for."""
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
    """Markers of the panels that would not be read at all."""


def fit(caption: Caption, task: Task, counter: TokenCounter) -> Fit:
    """How much of a caption is read. A panel without a marker of its own can't be lost."""
    base, text = families.load(task.base), caption.text
    starts = counter.starts(text)
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


def faults(caption: Caption, task: Task, counter: TokenCounter) -> tuple[str, ...]:
    """The fault of a caption that is longer than its base model reads."""
    base, fitted = families.load(task.base), fit(caption, task, counter)
    if not fitted.over:
        return ()
    about = "" if counter.exact else "about "
    ends = [f"{' '.join(fitted.cut)} would be cut short"] if fitted.cut else []
    ends += [f"{' '.join(fitted.lost)} would be lost"] if fitted.lost else []
    harm = ", ".join(ends) or "its end would be lost"
    return (f"the caption has {about}{fitted.tokens} {base.encoder} tokens, but only {base.limit} are read: {harm}",)


def checked(caption: Caption, task: Task, counter: TokenCounter) -> Caption:
    """The caption with the fault of its length, if it has one, behind its other problems."""
    found = faults(caption, task, counter)
    return replace(caption, problems=(*caption.problems, *found)) if found else caption


def facts(captions: Sequence[Caption], task: Task, counter: TokenCounter) -> dict[str, Any]:
    """What the report says of the captions' lengths; captions without a text are not counted."""
    base = families.load(task.base)
    fits = {caption.id: fit(caption, task, counter) for caption in captions if caption.text}
    counts = [fitted.tokens for fitted in fits.values()]
    return {
        "base": task.base,
        "encoder": base.encoder,
        "limit": base.limit,
        "counted by": counter.name,
        "tokens": {"min": min(counts), "median": median(counts), "max": max(counts)} if counts else {},
        "over the limit": {
            grid: {"tokens": fitted.tokens, "cut": list(fitted.cut), "lost": list(fitted.lost)}
            for grid, fitted in fits.items()
            if fitted.over
        },
    }


def words(task: Task) -> int:
    """The most words each text of a caption may have, summary included, so that all of it is read with the looks.

    Reckoned with the estimate whatever tokenizer is at hand: an instruction must not depend on the machine.
    """
    base = families.load(task.base)
    frame = len(ESTIMATE.starts(" ".join((task.prefix, task.opening, *task.markers)))) + base.template
    times = {"once": 1, "each": len(task.markers) + 1, "never": 0}[task.caption.looks]
    looks = PEOPLE * LOOKS * times if task.caption.people else 0
    each = ((base.limit - frame) / TOKENS_PER_WORD - looks) / (len(task.markers) + 1)
    return max(SHORTEST, min(LONGEST, int(each)))
