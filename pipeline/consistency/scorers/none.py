"""No scores, for a machine without weights. The caption linter and the reviewer remain."""

from __future__ import annotations

from typing import Any

from pipeline import plugins


class Options(plugins.Options):
    """The scorer `none` has no options."""


def make(options: dict[str, Any]) -> None:
    plugins.parse_options(Options, "the scorer none", options)
