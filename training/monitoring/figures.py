"""Sheets of pictures: samples over the steps of a training, and the grids as the model sees them.

Each is a PNG, written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline import files
from pipeline.records import Layout

PAPER, INK, FAINT = "#ffffff", "#1d2433", "#6b7385"

# ---- samples over the steps

MARGIN = 24
HEAD, TEXT, SMALL = 22, 18, 16
"""Font sizes in pixels."""
STRIP_TITLE = "Samples of the training: the same captions and noise at each step, with the averaged weights"
COLUMNS = 8
"""The most steps on a strip."""
ROW = 384
"""Height of a row of pictures in pixels; less if they are wide, so that none is wider than WIDEST."""
WIDEST = 512
CAPTION_LINES = 12
"""The most lines of a caption below its grid."""
PROMPT = 300
"""Width of the column of prompts in pixels."""


def draw_strip(pictures: Mapping[int, Sequence[Image.Image]], captions: Sequence[str], path: Path) -> None:
    """Samples of the same prompts over a training's steps, one row per prompt.

    Args:
        pictures: by step, one grid per prompt.
    """
    steps = chosen(sorted(pictures))
    columns = [[_fit(picture) for picture in pictures[step]] for step in steps]
    wide = max(picture.width for column in columns for picture in column)
    high = max(picture.height for column in columns for picture in column)
    gap = MARGIN // 2
    left, top = MARGIN + PROMPT + MARGIN, MARGIN + 2 * TEXT
    size = (left + len(steps) * (wide + gap) - gap + MARGIN, top + len(captions) * (high + gap) - gap + MARGIN)
    sheet, pen = _blank(size)
    for number, (step, column) in enumerate(zip(steps, columns, strict=True)):
        x = left + number * (wide + gap)
        pen.text((x + wide / 2, top - gap), f"step {step:,}", INK, _font(TEXT), anchor="ms")
        for row, picture in enumerate(column):
            sheet.paste(picture, (x + (wide - picture.width) // 2, top + row * (high + gap)))
    for row, caption in enumerate(captions):
        y = top + row * (high + gap)
        for line in folded(caption, PROMPT, SMALL, high // _line_height(SMALL)):
            pen.text((MARGIN, y), line, INK, _font(SMALL))
            y += _line_height(SMALL)
    _save(STRIP_TITLE, sheet, path)


def chosen(steps: Sequence[int]) -> list[int]:
    """At most COLUMNS of the steps, evenly spaced, always with the first and the last."""
    if len(steps) <= COLUMNS:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (COLUMNS - 1))] for place in range(COLUMNS)]


def _fit(picture: Image.Image) -> Image.Image:
    scale = min(ROW / picture.height, WIDEST / picture.width)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def draw_rows(title: str, rows: Mapping[str, Sequence[Image.Image]], captions: Sequence[str], path: Path) -> None:
    """Grids of several models for the same captions, one row per model and one column per caption, texts below.

    Args:
        rows: by model, one grid per caption.
    """
    pictures = {name: [_fit(picture) for picture in row] for name, row in rows.items()}
    wide = max(picture.width for row in pictures.values() for picture in row)
    high = max(picture.height for row in pictures.values() for picture in row)
    gap, line = MARGIN // 2, _line_height(SMALL)
    texts = [folded(caption, wide, SMALL, CAPTION_LINES) for caption in captions]
    step = TEXT * 2 + high
    below = len(rows) * step + gap
    size = (2 * MARGIN + len(captions) * (wide + gap) - gap, below + max(map(len, texts)) * line + MARGIN)
    sheet, pen = _blank(size)
    for number, (name, row) in enumerate(pictures.items()):
        y = number * step
        pen.text((MARGIN, y + 2 * TEXT - gap // 2), name, INK, _font(TEXT), anchor="ls")
        for place, picture in enumerate(row):
            sheet.paste(picture, (MARGIN + place * (wide + gap), y + 2 * TEXT))
    for place, words in enumerate(texts):
        for number, one in enumerate(words):
            pen.text((MARGIN + place * (wide + gap), below + number * line), one, INK, _font(SMALL))
    _save(title, sheet, path)


# ---- the grids as the model sees them


@dataclass(frozen=True)
class Shown:
    """A grid of a training and what the model gets with it."""

    image: Image.Image
    """As the model sees it, pixel by pixel."""
    layout: Layout
    """At the picture's size."""
    caption: str
    tokens: int | None
    """Tokens of the caption; None if the tokenizer is not on this machine."""
    given: tuple[int, ...]
    """Panels (from 0) that stay clean."""
    note: str
    """Anything else, such as the scale."""


SHEET_TITLE = "The first grids of the training as the model sees them, with what it reads"
SEAM = "#ff2fd0"
GIVEN = "#00a651"
LARGEST = 768
"""Longer side of a grid on a sheet, in pixels."""
SHEET = 1680
"""Width of a sheet in pixels, about; grids stand side by side if they fit."""


def draw_sheet(grids: Sequence[Shown], path: Path) -> None:
    """The grids side by side at a whole multiple or fraction of their size, with seams and given panels marked."""
    pictures = [marked(shown) for shown in grids]
    wide = max(PROMPT, *(picture.width for picture in pictures))
    columns = min(len(grids), max(1, (SHEET - MARGIN) // (wide + MARGIN)))
    texts = [list(_lines_below(shown, wide)) for shown in grids]
    line = _line_height(SMALL)
    y, corners = MARGIN, []
    for first in range(0, len(grids), columns):
        row = range(first, min(first + columns, len(grids)))
        high = max(pictures[n].height for n in row)
        corners += [(MARGIN + (n - first) * (wide + MARGIN), y, y + high + line // 2) for n in row]
        y += high + line // 2 + max(len(texts[n]) for n in row) * line + MARGIN
    sheet, pen = _blank((MARGIN + columns * (wide + MARGIN), y))
    for picture, text, (left, top, below) in zip(pictures, texts, corners, strict=True):
        sheet.paste(picture, (left, top))
        for number, (words, colour) in enumerate(text):
            pen.text((left, below + number * line), words, colour, _font(SMALL))
    _save(SHEET_TITLE, sheet, path)


def zoom(size: tuple[int, int]) -> tuple[int, int]:
    """The factors by which a grid's sides are multiplied and divided on a sheet; one of the two is 1."""
    longer = max(size)
    return max(1, LARGEST // longer), -(-longer // LARGEST)


def marked(shown: Shown) -> Image.Image:
    """The grid as a sheet shows it, with thin lines along its seams and frames around given panels."""
    times, parts = zoom(shown.image.size)
    picture = shown.image.convert("RGB").reduce(parts)
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    boxes = [tuple(side * times // parts for side in box) for box in shown.layout.boxes]
    for left, top, right, bottom in boxes:
        if left:
            pen.line((left, top, left, bottom - 1), SEAM)
        if top:
            pen.line((left, top, right - 1, top), SEAM)
    for panel in shown.given:
        left, top, right, bottom = boxes[panel]
        pen.rectangle((left, top, right - 1, bottom - 1), outline=GIVEN, width=4)
        _tag(pen, left, top)
    return picture


def _tag(pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """Writes "given" into a panel's corner."""
    font = _font(SMALL)
    pen.rectangle((left, top, left + font.getlength("given") + 16, top + _line_height(SMALL)), fill=GIVEN)
    pen.text((left + 8, top + _line_height(SMALL) / 2), "given", PAPER, font, anchor="lm")


def _lines_below(shown: Shown, wide: int) -> Iterator[tuple[str, str]]:
    """The lines below a grid with their colours: size and tokens, the note, then the caption."""
    times, parts = zoom(shown.image.size)
    width, height = shown.image.size
    size = f"enlarged {times} times" if times > 1 else f"shown at 1/{parts}" if parts > 1 else "actual size"
    counted = "" if shown.tokens is None else f", {shown.tokens} tokens"
    facts = f"{width} x {height} pixels ({size}){counted}"
    for line in folded(f"{facts}, {shown.note}" if shown.note else facts, wide, SMALL, CAPTION_LINES):
        yield line, FAINT
    for line in folded(shown.caption, wide, SMALL, CAPTION_LINES):
        yield line, INK


# ---- text and canvas


def folded(text: str, wide: int, size: int, most: int) -> list[str]:
    """The text in lines of at most `wide` pixels, at most `most` of them; an ellipsis shows that it was cut."""
    font, lines = _font(size), [""]
    for piece in _pieces(text, wide, size):
        longer = f"{lines[-1]} {piece}".strip()
        if font.getlength(longer) <= wide:
            lines[-1] = longer
        else:
            lines.append(piece)
    if len(lines) > most:
        lines = lines[:most]
        while font.getlength(f"{lines[-1]} ...") > wide:
            lines[-1] = lines[-1].rpartition(" ")[0]
        lines[-1] += " ..."
    return lines


def _pieces(text: str, wide: int, size: int) -> Iterator[str]:
    """The words; those wider than a line in pieces that fit."""
    font = _font(size)
    for word in text.split():
        rest = word
        while font.getlength(rest) > wide:
            fits = next(length for length in count(1) if font.getlength(rest[: length + 1]) > wide)
            yield rest[:fits]
            rest = rest[fits:]
        yield rest


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which every machine has."""
    return ImageFont.load_default(size)


def _line_height(size: int) -> int:
    return size * 4 // 3


def _blank(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", size, PAPER)
    return sheet, ImageDraw.Draw(sheet)


def _save(title: str, sheet: Image.Image, path: Path) -> None:
    """Writes a sheet below its title."""
    heads = folded(title, sheet.width - 2 * MARGIN, HEAD, 3)
    top = MARGIN + len(heads) * _line_height(HEAD)
    whole, pen = _blank((sheet.width, top + sheet.height))
    for number, words in enumerate(heads):
        pen.text((MARGIN, MARGIN + number * _line_height(HEAD)), words, INK, _font(HEAD))
    whole.paste(sheet, (0, top))
    with files.replacing(path) as part:
        whole.save(part, format="PNG")
