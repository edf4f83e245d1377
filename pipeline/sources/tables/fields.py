"""What columns of tables, and keys of listings, usually mean by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pipeline.text import grammar

IMAGE = (
    "file_name", "image", "file", "image_path", "file_path", "path", "image_file", "image_name", "picture", "photo",
    "img", "img_path", "image_src", "src",
)  # fmt: skip
TEXT = (
    "text", "prompt", "caption", "description", "captions", "alt_text", "image_alt_text", "alt", "instruction", "tags",
)  # fmt: skip
GROUP = (
    "group", "group_id", "sku", "product_id", "product", "item_id", "item", "article_number", "article", "asin",
    "parent_sku", "handle", "pair_id", "pair", "set_id", "set_name", "scene_id", "scene", "series", "album",
)  # fmt: skip
PANEL = ("panel", "view", "role", "angle", "side", "slot", "view_name", "perspective", "image_type")
ORDER = (
    "order", "position", "image_position", "sequence", "seq", "sort_order", "sort", "rank", "index", "number", "page",
    "frame",
)  # fmt: skip
LICENCE = ("licence", "license", "licence_name", "license_name", "rights", "usage_rights")
AUTHOR = ("author", "photographer", "artist", "creator", "credit", "credits")
URL = ("url", "source_url", "page_url", "original_url", "image_url", "link")
DATE = (
    "date",
    "date_taken",
    "taken",
    "taken_at",
    "created",
    "created_at",
    "timestamp",
    "captured",
    "published",
    "year",
)
FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": IMAGE, "text": TEXT, "group": GROUP, "panel": PANEL, "order": ORDER, "licence": LICENCE, "author": AUTHOR,
    "url": URL, "date": DATE,
}  # fmt: skip
"""By field, the names that a column for it may have, the likeliest first. Spaces, case, hyphens and underscores in them
don't matter."""
CONTROL = re.compile(
    r"(?:control|references?|(?:cond|conditioning|control|edit|input|kontext|reference|source)images?)"
    r"(?:filename|path)?(\d*)(?:filename|path)?"
)
"""Plain names of keys and columns that hold reference images, with their number where there are several."""
RIGHTS = ("licence", "author", "url", "date")


@lru_cache(maxsize=10_000)
def plain(name: str) -> str:
    """A name without what doesn't matter in it: `File Name` and `file_name` are `filename`."""
    return re.sub(r"[\W_]+", "", name.casefold())


NAMES = {field: tuple(dict.fromkeys(map(plain, names))) for field, names in FIELDS.items()}
KNOWN = frozenset(name for names in NAMES.values() for name in names)


def column(field: str, columns: Iterable[str]) -> str:
    """The column for a field by its name; empty if there is none."""
    spelt: dict[str, str] = {}
    for name in columns:
        spelt.setdefault(plain(name), name)
    return next((spelt[name] for name in NAMES[field] if name in spelt), "")


def by_name(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an entry by the plain names of their keys, of those of one name the first."""
    found: dict[str, Any] = {}
    for name, value in entry.items():
        found.setdefault(plain(str(name)), value)
    return found


def value(field: str, entry: Mapping[str, Any]) -> Any:
    """An entry's value for a field; None if there is none.

    Args:
        entry: as `by_name` gives it.
    """
    return next((entry[name] for name in NAMES[field] if entry.get(name) not in (None, "", [], {})), None)


def references(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The reference images that an entry names, in the order of their numbers.

    Args:
        entry: as `by_name` gives it.
    """
    found: list[tuple[int, str]] = []
    for name, value in entry.items():
        if (key := CONTROL.fullmatch(name)) and value:
            several = value if isinstance(value, list) else [value]
            found += ((int(key[1] or 0), one) for one in several if isinstance(one, str) and one)
    return tuple(file for _, file in sorted(found, key=lambda one: one[0]))


def line(value: object) -> str:
    """A value on one line, and without halves of letters, which JSON can escape and no file can hold."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():  # as spreadsheets keep whole numbers
        value = int(value) if abs(value) < 1e15 else value  # noqa: PLR2004  (beyond it not every number is one)
    return grammar.fold(str(value)).encode(errors="replace").decode()


def number(value: object) -> float | None:
    """A value as a finite number, with a decimal point or comma; None if it isn't one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(str(value).strip().replace(",", "."))
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None
