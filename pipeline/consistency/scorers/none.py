"""No scores: for a machine without weights. The linter and a person's eyes remain."""

from __future__ import annotations

from typing import Any

from pipeline.errors import BadInput


def make(options: dict[str, Any]) -> None:
    if options:
        raise BadInput(f"the scorer none has no options, got {', '.join(options)}.")
