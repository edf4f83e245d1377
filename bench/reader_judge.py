"""The miniature's reader as the judge of `iclora evaluate`, so that its figures are counts of what panels really show.

    iclora evaluate storyboard --prompts prompts.csv --seeds 2 --judge bench/reader_judge.py

The judge's "consistent" is the share of grids with one kind and one colour in all panels; "follows its texts" is the
share of places and actions that panels show as their texts tell. Only for grids of the miniature, whose panels have
128 x 64 pixels.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from iclora.evaluation.judge import Consistency
from miniature.reader import FILE, Reader
from miniature.world import ACTIONS, PLACES
from pipeline import files, plugins
from pipeline.captioning.protocol import Answer, Question

PANEL_TEXT = re.compile(r'^\d+\. Does image \d+ show: "(.*)"\?$', re.MULTILINE)


class Options(plugins.Options):
    """None."""


class ReaderJudge:
    """Answers the judge's questions with what the reader recognises."""

    batch = 64
    verbatim = False

    def identity(self) -> dict[str, Any]:
        return {"captioner": "reader", "weights": files.digest(FILE)[:16]}

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for place, question in enumerate(questions):
            stacked = np.stack([np.array(panel) for panel in question.panels])
            seen = _reader().read(torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255)
            reply = _consistency(seen) if question.form is Consistency else _following(seen, question.instruction)
            yield place, Answer(json.dumps(reply))


def _consistency(seen: Sequence[dict[str, str]]) -> dict[str, Any]:
    bodies = {f"{panel['colour']} {panel['kind']}" for panel in seen}
    return {"why": ", ".join(sorted(bodies)), "score": 10 if len(bodies) == 1 else 0}


def _following(seen: Sequence[dict[str, str]], instruction: str) -> dict[str, Any]:
    told = PANEL_TEXT.findall(instruction)
    panels = []
    for number, (text, panel) in enumerate(zip(told, seen, strict=True), 1):
        place, action = PLACES[panel["place"]], ACTIONS[panel["action"]]
        panels.append(
            {"image": number, "why": f"{action} {place}", "score": 5 * (place in text) + 5 * (action in text)}
        )
    return {"panels": panels}


@functools.cache
def _reader() -> Reader:
    return Reader.load()


def make(options: dict[str, Any]) -> ReaderJudge:
    plugins.parse_options(Options, "the judge reader", options)
    return ReaderJudge()
