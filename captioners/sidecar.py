"""Uses the texts that came with the images, word for word, without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import plugins
from pipeline.captioning import protocol
from pipeline.text import grammar


class Options(plugins.Options):
    """The sidecar captioner has no options."""


class Sidecar:
    batch = 64
    verbatim = True

    def identity(self) -> dict[str, Any]:
        return {"captioner": "sidecar"}

    def ask(self, questions: Sequence[protocol.Question]) -> Iterator[tuple[int, protocol.Answer]]:
        yield from ((place, protocol.Answer(_text(question))) for place, question in enumerate(questions))


def _text(question: protocol.Question) -> str:
    """The joint caption that all panels share, else their own texts combined; empty if there are none.

    A text with a marker is a joint caption, perhaps a damaged one, and stays as it is.
    """
    texts = list(dict.fromkeys(folded for text in question.texts if (folded := grammar.fold(text))))
    if not texts or any(marker in text for marker in question.markers for text in texts):
        return " ".join(texts)
    return json.dumps({"summary": "", "panels": [{"text": text} for text in question.texts]}, ensure_ascii=False)


def make(options: dict[str, Any]) -> Sidecar:
    plugins.parse_options(Options, "the captioner sidecar", options)
    return Sidecar()
