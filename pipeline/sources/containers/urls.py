"""A text file that lists addresses of pictures and films on the web, one per line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline import files
from pipeline.errors import BadInput
from pipeline.sources import encodings
from pipeline.sources.base import HEAD, Content, Facts, Fault, Item
from pipeline.sources.fetching import Address, name_of
from pipeline.task import Task

PRIORITY = 10
BEGINS = re.compile(r"https?://", re.IGNORECASE)
STRIPPED = " \t\r\n<>\"'"
"""What may stand around an address."""
MOST_BYTES, MOST_LINES = 1 << 27, 1_000_000
LONGEST = 8_000
"""Letters of an address; servers take no more."""


def claims(path: Path) -> bool:
    """Whether the first line that is neither empty nor a comment begins with an address, and it is no playlist."""
    try:
        with files.open_regular(path) as file:
            head = file.read(HEAD * 8)
    except OSError:  # a folder; or whoever reads it says so
        return False
    if b"#EXTM3U" in head[:16]:
        return False
    lines = head.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"").splitlines()  # UTF-16 of ASCII letters too
    told = [text for line in lines if (text := line.strip(STRIPPED.encode())) and not text.startswith(b"#")]
    return bool(told and BEGINS.match(told[0].decode("latin-1")))


def items(path: Path, task: Task | None = None) -> Iterator[Item]:
    """An item for every line, with the line's number as its row. A line that is no address is one with a fault.

    Its name is the address without the scheme: sites have folders as disks have, and what lies in one belongs together.
    """
    home = os.path.abspath(path)
    try:
        text = encodings.decode(files.read(path, MOST_BYTES), home)
    except OSError as error:
        text = Fault("unreadable", f"{home} can't be read: {error.strerror}.")
    if isinstance(text, Fault):
        yield Item(home, "", fault=text)
        return
    for number, line in _lines(text):
        if number > MOST_LINES:
            raise BadInput(f"{home} has more than {MOST_LINES:,} lines; split it.")
        facts = Facts(row=number - 1, sources=({"url": line},))
        said = f"line {number} of {home}"
        if not BEGINS.match(line):
            detail = f"{said} is not an address that begins with http:// or https://: {line[:80]!r}."
            yield Item(home, f"line {number}", facts=facts, fault=Fault("address", detail))
        elif len(line) > LONGEST or re.search(r"\s", line):
            detail = f"{said} has more than an address; put texts into a table with the columns url and text."
            yield Item(home, f"line {number}", facts=facts, fault=Fault("address", detail))
        elif name := name_of(line):
            yield Item(home, name, Address(line), listed=True, facts=facts)
        else:
            yield Item(
                home,
                f"line {number}",
                facts=facts,
                fault=Fault("address", f"{said} is not a valid address: {line[:80]!r}."),
            )


def beside(home: str, name: str) -> Content | None:
    return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without those that are empty or comments."""
    for number, given in enumerate(text.splitlines(), start=1):
        if (line := given.strip(STRIPPED)) and not line.startswith("#"):
            yield number, line
