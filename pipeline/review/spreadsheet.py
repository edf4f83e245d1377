"""A table as a file that spreadsheet programs leave alone, and that is read back whatever they have made of it.

Written: every cell quoted, UTF-8 with a byte order mark (without one, Excel assumes another encoding), LF, one line per
cell. Read: commas, semicolons or tabs, UTF-8 or UTF-16, even a mark inside the header, columns and rows in any order.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.errors import BadInput
from pipeline.wording import counted

MARK = "\ufeff"
DELIMITERS = ",;\t"
# What a spreadsheet would run as a formula, or take for a number or a truth value and rewrite (007 as 7).
ALIVE = re.compile(
    r"'*+(?:[=+\-@＝＋－＠]|(?:(?=\D*+\d)[\d\s.,:/%$€£+\-e]+|true|false)\Z)",  # noqa: RUF001
    re.IGNORECASE,
)
SINGLE, DOUBLE = "‘’‚‛′", "“”„‟″"  # noqa: RUF001
STRAIGHT = str.maketrans(dict.fromkeys(SINGLE, "'") | dict.fromkeys(DOUBLE, '"'))
CURLY = re.compile(f"[{SINGLE}{DOUBLE}«»]")
GUILLEMETS = re.compile("« ?| ?»")
LOST = re.compile(r"[?\ufffd]")
FOREIGN = re.compile(r"[^\x00-\x7f\ufffd]")
MISREAD = "ï»¿"
"""The byte order mark as seen by a program that mistakes UTF-8 for Windows-1252."""
MOST_BYTES = 1 << 28
"""Size of a table at most: some hundred thousand grids."""
FEW_ZEROS = 0.2  # a text with a larger share of zero bytes is UTF-16; UTF-8 has none


@dataclass(frozen=True)
class Line:
    """One row of a table: its number as a spreadsheet shows it (the header is 1), and its cells by column."""

    number: int
    cells: dict[str, str]
    fault: str = ""
    """Why its cells can't be told apart; there are none then."""


def guard(text: str) -> str:
    """The text, with an apostrophe in front if a spreadsheet would not leave it as it is."""
    return f"'{text}" if ALIVE.match(text) else text


def unguard(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and ALIVE.match(cell) else cell


def damage(was: str, now: str) -> str:
    """What a spreadsheet has done to a text, if the whole difference is of a kind that people rarely make; else empty.

    Curly quotes made straight are a person's work: no program does that.
    """
    if _straight(was) == _straight(now) and _count(CURLY, now) > _count(CURLY, was):
        return "only its quotation marks differ, as autocorrection changes them; put the straight ones back"
    same = LOST.sub("", FOREIGN.sub("", was)) == LOST.sub("", FOREIGN.sub("", now))
    if same and _count(LOST, now) > _count(LOST, was) and _count(FOREIGN, now) < _count(FOREIGN, was):
        return "letters were lost when it was saved (replaced by question marks); save it as CSV in UTF-8"
    return ""


def _straight(text: str) -> str:
    return GUILLEMETS.sub('"', text).translate(STRAIGHT)


def _count(kind: re.Pattern[str], text: str) -> int:
    return len(kind.findall(text))


# ---- out


def write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Writes the table whole or not at all. Cells must not contain line breaks."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    files.write(path, MARK + buffer.getvalue())


# ---- in


def read(path: Path, columns: Sequence[str]) -> list[Line]:
    """The rows of a table. Columns that are not asked for are left out; column names may be in capitals.

    Raises:
        BadInput: the file can't be read as a table that has each of the columns once.
    """
    text = _text(path).lstrip(MARK)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, columns)))
    except csv.Error as error:
        raise BadInput(f"{path} can't be read as a table ({error}); save it as CSV in UTF-8.") from error
    if not any(map(any, table)):
        raise BadInput(f"{path} is empty.")
    header = [_name(cell) for cell in table[0]]
    if any(name.startswith(MISREAD) for name in header):
        raise BadInput(f"{path} was opened in an encoding other than UTF-8; open the table again and choose UTF-8.")
    if faults := _faults(header, columns):
        raise BadInput(
            f"{path} has {' and '.join(faults)}; it needs one of each; only columns that you added may be left out."
        )
    places = {name: header.index(name) for name in columns}
    return [_line(number, cells, places, len(header)) for number, cells in enumerate(table[1:], start=2) if any(cells)]


def _faults(header: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Columns that are missing from a header, and those that are in it more than once."""
    missing = [f"'{name}'" for name in columns if name not in header]
    several = [f"{header.count(name)} columns named '{name}'" for name in columns if header.count(name) > 1]
    return [*([f"no column named {' or '.join(missing)}"] if missing else []), *several]


def _line(number: int, cells: list[str], places: dict[str, int], width: int) -> Line:
    """One row. There may be too few or too many empty cells at its end: Excel omits them, others pad with them."""
    if len(cells) <= max(places.values()) or any(cells[width:]):
        return Line(number, {}, f"it has {counted(cells, 'cell')}, the header {width}; was a text cut in two?")
    return Line(number, {name: cells[place] for name, place in places.items()})


def _text(path: Path) -> str:
    try:
        content = files.read(path, MOST_BYTES)
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}; give the path of a captions.csv.") from error
    encoding = _encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path} is neither UTF-8 nor UTF-16 (byte {error.start}, near row {line}); save it as CSV in UTF-8."
        ) from error


def _encoding(content: bytes) -> str:
    """By the byte order mark, else by the zero bytes that UTF-16 has in every Latin letter and UTF-8 has nowhere."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = content[::2].count(0), content[1::2].count(0)
    if even + odd > FEW_ZEROS * len(content):
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def _delimiter(text: str, columns: Sequence[str]) -> str:
    """The delimiter that gives a header with the most of our columns."""

    def known(delimiter: str) -> int:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:  # a cell longer than any of ours
            return 0
        return len({_name(cell) for cell in header} & set(columns))

    return max(DELIMITERS, key=known)


def _name(cell: str) -> str:
    """A column's name without what programs leave around it."""
    return cell.strip(f"{MARK} \"'{SINGLE}{DOUBLE}").casefold()
