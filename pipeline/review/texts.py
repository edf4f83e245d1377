"""A caption's text with some of its parts replaced, and everything else exactly as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.errors import BadInput, BadReply
from pipeline.records import Row
from pipeline.task import Task
from pipeline.text import grammar


def with_panels(row: Row, texts: Mapping[int, str], task: Task, summary: str | None = None) -> str:
    """The row's caption with other texts for some panels or another summary, and everything else exactly as it was.

    Args:
        texts: by the panel's place, from 0.
        summary: None leaves it as it is.

    Raises:
        BadInput: a text is empty or contains a marker; the message begins with `panel_` and the panel's number, or with
            `summary`.
    """
    for panel, text in texts.items():
        if not grammar.clean(text):
            raise BadInput(f"panel_{panel + 1}: is empty")
    if summary is not None and not grammar.clean(summary):
        raise BadInput("summary: is empty")
    if not row.caption.text:
        row = replace(row, caption=grammar.edited(row.caption, grammar.skeleton(task), task))
    caption = row.caption
    if summary is not None:
        try:
            caption = replace(caption, text=grammar.replace_summary(caption, summary, task))
        except BadReply as error:
            raise BadInput(f"summary: {error}") from error
    return moved(replace(row, caption=caption), texts, task)


def moved(row: Row, texts: Mapping[int, str], task: Task) -> str:
    """As `with_panels`, for texts that move with their pictures; a picture without one has an empty text."""
    caption = row.caption
    for panel, text in texts.items():
        try:
            caption = replace(caption, text=grammar.replace_panel(caption, panel, grammar.clean(text), task))
        except BadReply as error:
            raise BadInput(f"panel_{panel + 1}: {error}") from error
    return caption.text
