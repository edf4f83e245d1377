"""Texts that came with the images, word for word; no model is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from captioners import base


class Options(base.Options):
    """The sidecar captioner has no options."""


class Sidecar:
    batch = 64
    verbatim = True

    def identity(self) -> dict[str, Any]:
        return {"captioner": "sidecar"}

    def ask(self, questions: Sequence[base.Question]) -> list[base.Answer]:
        return [base.Answer(_text(question)) for question in questions]


def _text(question: base.Question) -> str:
    """The joint caption that all panels share, else their own texts put together; empty where there are none."""
    texts = set(question.texts)
    if len(texts) == 1 and all(marker in question.texts[0] for marker in question.markers[:1]):
        return question.texts[0]
    if not any(question.texts):
        return ""
    return json.dumps({"summary": "", "panels": [{"text": text} for text in question.texts]}, ensure_ascii=False)


def make(options: dict[str, Any]) -> Sidecar:
    base.parse_options(Options, "the captioner sidecar", options)
    return Sidecar()
