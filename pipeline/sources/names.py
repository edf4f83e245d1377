"""What names of files say: which files are nobody's source, and when two names are spellings of one."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

from pipeline.wording import counted

PROGRAM_FOLDERS = frozenset((
    "@eadir", "@recently-snapshot", "@recycle", "@sharebin", "@synoeastream", "@tmp", "#recycle", "#snapshot",  # NAS
    ".@__thumb", ".streams", ".@upload_cache", ".syncthing", ".stversions", ".stfolder",
    "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found",  # file systems
    ".trash", ".trashes", ".fseventsd", ".spotlight-v100", ".temporaryitems", ".documentrevisions-v100",
    "__macosx", ".appledouble", ".appledb", ".appledesktop",
    ".thumbnails", ".thumbs", ".picasaoriginals", ".bridgecache", ".bridgecachet", ".dtrash",  # photographs
    ".photoprism", "captureone", "darktable_exported_thumbs",
    "adobe premiere pro video previews", "adobe premiere pro audio previews", "adobe premiere pro auto-save",  # films
    "media cache", "media cache files", "cacheclip", "optimizedmedia", "proxymedia", "plex versions",
    "__pycache__", ".ipynb_checkpoints", "node_modules",
))  # fmt: skip
"""Folders that programs make for themselves, with thumbnails, deleted files, copies of smaller size and the like."""
PROGRAM_FOLDER_ENDINGS = (".lrdata", ".lrcat-data", ".trickplay", ".cocatalogdb")
"""Of folders with previews: `Catalog Previews.lrdata` is Lightroom's, `Film.trickplay` Jellyfin's."""
LIBRARY = re.compile(r"\.(?:photoslibrary|photolibrary|aplibrary|migratedphotolibrary)\Z")
LIBRARY_ORIGINALS = frozenset(("originals", "masters"))
"""Folders of a library of Apple's programs that hold what the user has put there; the others hold copies."""
PROGRAM_FILES = frozenset((
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
    "digikam4.db", "thumbnails-digikam.db", "recognition.db", "similarity.db", "sync.ffs_db", "aquota.user",
    "aquota.group", "indexervolumeguid", "wpsettings.dat",
))  # fmt: skip
PROGRAM_FILE_ENDINGS = frozenset((
    ".aae", ".xmp", ".pp3", ".dop", ".on1", ".cos", ".cop", ".cof", ".arp", ".nksc", ".photo-edit", ".vrd", ".dr4",
    ".lrcat", ".lrcat-shm", ".lrcat-wal", ".thm", ".lrv", ".lrf", ".ffindex", ".db-journal",
))  # fmt: skip
"""Of files beside pictures with what was done to them (`a.jpg.xmp`, `a.AAE`), and of small copies that cameras make of
films."""
SYNOLOGY = re.compile(r"@Syno(?:EAStream|Resource|Thumb)\w*\Z", re.I)
"""How names of a Synology's own files end, which it leaves beside the files that they belong to."""
MOST_NAMED = 5
"""Names that a sentence lists."""


def key(name: str) -> str:
    """Equal for names that differ in case or in Unicode normal form only (Macs store NFD, other systems NFC)."""
    return unicodedata.normalize("NFC", name.casefold())


def is_program_folder(name: str, above: str = "") -> bool:
    """Whether a program has made a folder for itself.

    Args:
        name: its own name.
        above: that of the folder that it is in, if that is known.
    """
    low = name.casefold()
    is_copies = bool(LIBRARY.search(above.casefold())) and low not in LIBRARY_ORIGINALS
    return low in PROGRAM_FOLDERS or low.endswith(PROGRAM_FOLDER_ENDINGS) or low.startswith(".trash-") or is_copies


def program_folder(name: str) -> str:
    """The outermost folder that a program has made for itself and that a file lies in; empty if there is none.

    Args:
        name: a path within a container; that of a folder ends with "/".
    """
    folders = name.split("/")[:-1]
    for depth, folder in enumerate(folders):
        if is_program_folder(folder, folders[depth - 1] if depth else ""):
            return "/".join(folders[: depth + 1])
    return ""


def is_program_file(name: str) -> bool:
    """Whether a program keeps a file for itself, by its name without folders."""
    low = name.casefold()
    ending = posixpath.splitext(low)[1]
    return low in PROGRAM_FILES or ending in PROGRAM_FILE_ENDINGS or bool(SYNOLOGY.search(name))


def is_hidden(name: str) -> bool:
    """Whether a file is hidden or lies in a hidden folder, by its path within a container."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def is_passed_over(name: str) -> bool:
    """Whether a file is hidden or a program's own, by its path within a container."""
    return is_hidden(name) or bool(program_folder(name)) or is_program_file(name.rpartition("/")[2])


def passed_over(names: Collection[str]) -> str:
    """A sentence that counts the folders and files of programs among names that are passed over; empty without any.

    Files that are only hidden are not counted: whoever hides a file wants no word about it.
    """
    folders = {folder for name in names if (folder := program_folder(name))}
    inner = (name.rpartition("/")[2] for name in names if not program_folder(name))
    kept = Counter(name if name.casefold() in PROGRAM_FILES else posixpath.splitext(name)[1] or name
                   for name in inner if is_program_file(name))  # fmt: skip
    made = Counter(folder.rpartition("/")[2] for folder in folders)
    told = [
        f"{counted(sum(found.values()), f'{what} of programs', f'{what}s of programs')} ({listed(sorted(found))})"
        for what, found in (("folder", made), ("file", kept))
        if found
    ]
    return f"passed over: {' and '.join(told)}." if told else ""


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
