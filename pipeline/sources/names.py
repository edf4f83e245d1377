"""What names of files say: which files are nobody's source, and when two names are spellings of one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

PROGRAM_FOLDERS = frozenset((
    "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "recycler", "lost+found",
    "system volume information", "__macosx",
))  # fmt: skip
"""Folders that programs make for themselves, with thumbnails, deleted files and the like; others of them are hidden."""
PROGRAM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))
MOST_NAMED = 5
"""Names that a sentence lists."""


def key(name: str) -> str:
    """Equal for names that differ in case or in Unicode normal form only (Macs store NFD, other systems NFC)."""
    return unicodedata.normalize("NFC", name.casefold())


def is_passed_over(name: str) -> bool:
    """Whether a file is hidden or a program's own, by its path within a container."""
    *folders, file = name.split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in (*folders, file))
    return hidden or not PROGRAM_FOLDERS.isdisjoint(map(str.casefold, folders)) or file.casefold() in PROGRAM_FILES


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
