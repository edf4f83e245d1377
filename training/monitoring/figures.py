"""Plots and sheets of a training: its losses, its samples over the steps, and the grids as the model sees them.

Each is a PNG, written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from pipeline import files
from pipeline.records import Layout
from training.monitoring import journal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

PAPER, INK, FAINT = "#ffffff", "#1d2433", "#6b7385"

# ---- losses


def draw_losses(folder: Path, path: Path, of_step: int, why: str) -> None:
    """The losses in a training's log: of whole grids, by noise level and by panel; and the scores, if there are any.

    Args:
        of_step: the step whose weights the LoRA has.
        why: in words, as in the LoRA's file.

    Raises:
        BadInput: the folder has no log.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, validation = journal.read_steps(folder), journal.read_validation(folder).dropna()
    scores = journal.read_evaluation(folder)
    charts = 3 if scores.empty else 4
    figure = Figure(figsize=(5 * charts, 5))
    FigureCanvasAgg(figure)
    # Layout engines place axes by drawing everything once more, half a second for each training.
    figure.subplots_adjust(left=0.6 / (5 * charts), right=1 - 0.2 / (5 * charts), bottom=0.1, top=0.93, wspace=0.36)
    whole, levels, panels, *scored = drawn = list(figure.subplots(1, charts))
    for chart in drawn:
        chart.set_xlabel("step")
        chart.xaxis.set_major_formatter("{x:,.0f}")
        chart.xaxis.get_major_locator().set_params(integer=True)
        chart.set_xlim(-0.02 * steps["step"].max(), 1.02 * steps["step"].max())
        chart.grid(color="#e4e7ee")
        chart.spines[["top", "right"]].set_visible(False)
        chart.axvline(of_step, color=INK, linestyle=":", linewidth=1.5)
    _draw_whole(whole, steps, validation)
    whole.plot([], [], ":", color=INK, label=f"the LoRA: step {of_step:,}, {why}")
    whole.legend()
    _draw_noise_levels(levels, validation)
    _draw_panels(panels, steps, validation)
    for chart in scored:
        _draw_scores(chart, scores)
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=120)


def smoothed(losses: pd.Series[float]) -> pd.Series[float]:
    """A moving average with more weight on near steps; single steps scatter with their noise levels.

    Two moving averages over a twentieth of all steps make one over a tenth with triangular weights.
    """
    for _ in range(2):
        losses = losses.rolling(max(1, len(losses) // 20), center=True, min_periods=1).mean()
    return losses


def _draw_whole(chart: Axes, steps: pd.DataFrame, validation: pd.DataFrame) -> None:
    chart.set_title("loss")
    chart.plot(steps["step"], steps["loss"], ".", color="tab:blue", alpha=0.25, markersize=5, markeredgewidth=0)
    chart.plot(steps["step"], smoothed(steps["loss"]), color="tab:blue", label="training, smoothed")
    if not validation.empty:
        held_out = journal.held_out(validation)
        lowest = int(held_out.argmin())
        step, loss = held_out.index[lowest], held_out.iloc[lowest]
        chart.plot(held_out.index, held_out, ".-", color="tab:orange", label="held out, mean over noise levels")
        label = f"lowest held-out: {loss:.4f} at step {step:,}{'' if step else ' (the base alone)'}"
        chart.plot(step, loss, "o", color="tab:orange", markersize=11, markerfacecolor="none", label=label)
    kinds = validation["given"].unique()
    for kind, style in zip(kinds, cycle((":", "--", "-.")), strict=False) if len(kinds) > 1 else ():
        losses = validation[validation["given"] == kind].groupby("step")["loss"].mean()
        chart.plot(losses.index, losses, style, color="tab:brown", linewidth=1, label=f"held out, {kind}")


def _draw_noise_levels(chart: Axes, validation: pd.DataFrame) -> None:
    from matplotlib import colormaps

    chart.set_title("held-out loss by noise level")
    if validation.empty:
        chart.text(0.5, 0.5, "nothing held out", transform=chart.transAxes, ha="center", color=FAINT)
        chart.set_axis_off()
        return
    for sigma in sorted(validation["sigma"].unique()):
        losses = validation[validation["sigma"] == sigma].groupby("step")["loss"].mean()
        chart.plot(losses.index, losses, ".-", color=colormaps["viridis"](0.95 * sigma), label=f"{sigma:g}")
    chart.legend(title="sigma", loc="upper left", bbox_to_anchor=(1, 1))


def _draw_panels(chart: Axes, steps: pd.DataFrame, validation: pd.DataFrame) -> None:
    chart.set_title("loss by panel")
    for panel in range(1, 1 + sum(str(name).startswith("loss_") for name in steps)):
        trained = steps.set_index("step")[f"loss_{panel}"].dropna()
        held_out = validation[validation["panel"] == panel].groupby("step")["loss"].mean()
        if trained.empty and held_out.empty:
            continue  # always given
        colour, style = f"C{(panel - 1) % 10}", "." if len(trained) == 1 else "-"
        chart.plot(trained.index, smoothed(trained), style, color=colour, label=f"panel {panel}")
        chart.plot(held_out.index, held_out, ".--", color=colour)
    chart.plot([], [], color=FAINT, label="training, smoothed")
    if not validation.empty:
        chart.plot([], [], ".--", color=FAINT, label="held out")
    chart.legend()


def _draw_scores(chart: Axes, scores: pd.DataFrame) -> None:
    chart.set_title("drawn grids: 0 as shuffled real ones, 1 as real ones")
    step = scores["step"]
    chart.fill_between(step, scores["low"], scores["high"], color="tab:green", alpha=0.15, linewidth=0)
    chart.plot(step, scores["score"], ".-", color="tab:green", label="score, with its 95 % interval")
    chart.plot(step, scores["followed"], ".--", color="tab:blue", label="follows its texts")
    chart.plot(step, scores["kept"], ".--", color="tab:orange", label="keeps together")
    for name, colour in (("copies", "tab:red"), ("memorised", "tab:purple"), ("malformed", "tab:brown")):
        if scores[name].any():
            chart.plot(step, scores[name], ".:", color=colour, label=f"{name}, share of grids")
    chart.legend()


# ---- samples over the steps

MARGIN = 24
TEXT, SMALL = 18, 16
"""Font sizes in pixels."""
COLUMNS = 8
"""The most steps on a strip."""
ROW = 384
"""Height of a row of pictures in pixels; less if they are wide, so that none is wider than WIDEST."""
WIDEST = 512
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
    _save(sheet, path)


def chosen(steps: Sequence[int]) -> list[int]:
    """At most COLUMNS of the steps, evenly spaced, always with the first and the last."""
    if len(steps) <= COLUMNS:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (COLUMNS - 1))] for place in range(COLUMNS)]


def _fit(picture: Image.Image) -> Image.Image:
    scale = min(ROW / picture.height, WIDEST / picture.width)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


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


SEAM = "#ff2fd0"
GIVEN = "#00a651"
LARGEST = 768
"""Longer side of a grid on a sheet, in pixels."""
CAPTION_LINES = 12
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
    _save(sheet, path)


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


def _save(sheet: Image.Image, path: Path) -> None:
    with files.replacing(path) as part:
        sheet.save(part, format="PNG")
