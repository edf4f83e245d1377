"""The miniature's reader as the judge of `iclora evaluate`, so that its figures are counts of what panels really show.

    iclora evaluate storyboard --prompts prompts.csv --seeds 2 --judge bench/reader_judge.py

The judge's "consistent" is the share of grids with the described character (kind and colour) in all panels, or with one
character in all where the summary describes none. With given panels it is the share of drawn panels with the described
character, or with the given one. `--set judge.looks=kind` and `judge.looks=colour` look at one of the two alone.
"Follows its texts" is the share of places and actions that panels show as their texts tell. Only for grids of the
miniature, whose panels have 128 x 64 pixels.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from iclora.evaluation.judge import Consistency
from miniature.making.reader import FILE, Reader
from miniature.world import ACTIONS, COLOURS, KINDS, PLACES
from pipeline import files, plugins
from pipeline.captioning.protocol import Answer, Question

PANEL_TEXT = re.compile(r'^\d+\. Does image \d+ show: "(.*)"\?$', re.MULTILINE)
SUMMARY = re.compile(r"^You judge pictures that were made together as one set: (.*)$", re.MULTILINE)
DESCRIBED = re.compile(rf"\b(?P<colour>{'|'.join(COLOURS)}) (?P<kind>{'|'.join(KINDS)})\b")
GIVEN = re.compile(r"^Images? ([\d, ]+) (?:was|were) given", re.MULTILINE)

Look = Literal["kind", "colour"]
Looks = Mapping[str, str]
"""Kind, colour, place, action, ... of a panel."""


class Options(plugins.Options):
    """What the reader looks at."""

    looks: Literal["both", "kind", "colour"] = "both"
    """What must be the same: kind and colour, or one of them alone."""


class ReaderJudge:
    """Answers the judge's questions with what the reader recognises."""

    batch = 64
    verbatim = False

    def __init__(self, looks: Sequence[Look]) -> None:
        self._looks = looks

    def identity(self) -> dict[str, Any]:
        return {"captioner": "reader", "weights": files.digest(FILE)[:16], "looks": list(self._looks)}

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for place, question in enumerate(questions):
            stacked = np.stack([np.array(panel) for panel in question.panels])
            seen = _reader().read(torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255)
            about = _consistency if question.form is Consistency else _following
            yield place, Answer(json.dumps(about(seen, question.instruction, self._looks)))


def _consistency(seen: Sequence[Looks], instruction: str, looks: Sequence[Look]) -> dict[str, Any]:
    told, given = SUMMARY.search(instruction), _given(instruction)
    described = DESCRIBED.search(told[1]) if told else None
    wanted = described.groupdict() if described else seen[given[0] if given else 0]
    fits = [
        all(panel[look] == wanted[look] for look in looks) for place, panel in enumerate(seen) if place not in given
    ]
    share = sum(fits) / len(fits) if given else float(all(fits))
    return {"why": ", ".join(f"{panel['colour']} {panel['kind']}" for panel in seen), "score": round(10 * share)}


def _given(instruction: str) -> list[int]:
    """Panels, from 0."""
    told = GIVEN.search(instruction)
    return [int(number) - 1 for number in told[1].split(",")] if told else []


def _following(seen: Sequence[Looks], instruction: str, _: Sequence[Look]) -> dict[str, Any]:
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
    looks = plugins.parse_options(Options, "the judge reader", options).looks
    return ReaderJudge(("kind", "colour") if looks == "both" else (looks,))
