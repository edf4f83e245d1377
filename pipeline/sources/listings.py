"""Listings: one file that gives the texts and facts of many pictures of a data set."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import BadInput
from pipeline.sources.base import Facts, Item
from pipeline.sources.texts import places
from pipeline.text import grammar

NAMES = ("metadata.jsonl", "metadata.csv", "captions.json")
"""Of `datasets` and DiffSynth, and of diffusion-pipe: in a picture's folder or the one above."""
FILE_KEYS, TEXT_KEYS = ("file_name", "image", "file", "filename"), ("text", "prompt", "caption")
MOST_BYTES = 1 << 28

Entries = Mapping[str, tuple[str, Facts]]
"""Text and facts of pictures by their paths from the listing."""


def names(item: Item) -> list[tuple[str, str]]:
    """Where the item may be listed, nearest first, each with the path by which a listing there names it."""
    here, above, folder = places(item)
    file = item.name.rpartition("/")[2]
    return [(f"{place}{name}", key) for place, key in ((here, file), (above, f"{folder}/{file}")) for name in NAMES]


def parse(content: bytes, where: str) -> Entries:
    """The entries of a listing; none where the file is of some other kind.

    Args:
        where: its address, for the message and by its ending for the format.

    Raises:
        BadInput: it is broken. Captions would be lost unseen without it, so this is not a row.
    """
    try:
        text = content.decode("utf-8-sig")
        entries: list[Any]
        if where.endswith(".jsonl"):
            entries = [json.loads(line) for line in text.splitlines() if line.strip()]
        elif where.endswith(".csv"):
            entries = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            found = json.loads(text)
            entries = [{"file": file, "text": text} for file, text in found.items()] if isinstance(found, dict) else []
        return dict(filter(None, map(_entry, entries)))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, csv.Error) as error:
        raise BadInput(f"{where} can't be read as a listing of pictures ({error}); mend it or move it away.") from error


def _entry(entry: Any) -> tuple[str, tuple[str, Facts]] | None:
    """A picture's path with what is said of it; None where the entry names no picture."""
    file = next((entry[key] for key in FILE_KEYS if isinstance(entry.get(key), str)), "")
    if not file:
        return None
    text = next((entry[key] for key in TEXT_KEYS if entry.get(key)), "")
    if isinstance(text, list):  # diffusion-pipe lists captions of which one is drawn
        text = text[0]
    boxes = tuple((int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in _list(entry, "boxes"))
    sources = tuple(_rights(source) for source in _list(entry, "sources") if isinstance(source, dict))
    facts = Facts(boxes, _text(entry.get("group")), sources or (_rights(entry),))
    return str(PurePosixPath(file)), (_text(text), facts)


def _rights(entry: Mapping[str, Any]) -> dict[str, str]:
    licence = entry.get("licence") or entry.get("license")
    return {"licence": _text(licence), "author": _text(entry.get("author")), "url": _text(entry.get("url"))}


def _text(value: object) -> str:
    """On one line, and without halves of letters, which JSON can escape and no file can hold."""
    return grammar.fold(str(value or "")).encode(errors="replace").decode()


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []
