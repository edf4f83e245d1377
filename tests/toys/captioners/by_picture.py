"""Answers by what the pictures are, so that whoever asks again gets the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import plugins
from pipeline.captioning import protocol


class Options(plugins.Options):
    """There are none."""


class ByPicture:
    batch = 1
    verbatim = False

    def identity(self) -> dict[str, Any]:
        return {"captioner": "by picture"}

    def ask(self, questions: Sequence[protocol.Question]) -> Iterator[tuple[int, protocol.Answer]]:
        for place, question in enumerate(questions):
            words = [hashlib.sha256(panel.tobytes()).hexdigest()[:8] for panel in question.panels]
            panels = [{"text": f"the thing named {word} is seen here"} for word in words]
            yield place, protocol.Answer(json.dumps({"summary": f"a story of {words[0]}", "panels": panels}))


def make(options: dict[str, Any]) -> ByPicture:
    plugins.parse_options(Options, "the captioner by_picture", options)
    return ByPicture()
