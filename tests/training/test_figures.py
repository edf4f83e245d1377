"""Sheets of pictures: samples over the steps, rows to compare, and the grids as the model sees them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from pipeline.records import Layout
from training.monitoring import figures
from training.monitoring.figures import Shown

ROWS = Layout(3, 1, 128, 64)
SQUARE = Layout(2, 2, 256, 256)
CAPTION = "[MOVIE-SHOTS] A day of <Bella>, [SCENE-1] she wakes, [SCENE-2] she rows, [SCENE-3] she sleeps."


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
    assert not list(path.parent.glob("*.part"))
    return picture


def coloured(picture: Image.Image, box: tuple[int, int, int, int], colour: str) -> float:
    """The share of a box's pixels in a colour."""
    pixels = np.asarray(picture.convert("RGB").crop(box))
    return float((pixels == ImageColor.getrgb(colour)).all(-1).mean())


# ---- samples over the steps


def test_few_steps_are_all_shown_and_many_are_reduced_to_eight_with_the_first_and_the_last() -> None:
    assert figures.chosen([0, 500, 1_000]) == [0, 500, 1_000]
    assert figures.chosen(range(8)) == list(range(8))
    for count in range(9, 60):
        shown = figures.chosen(range(0, 250 * count, 250))
        assert len(set(shown)) == 8 and (shown[0], shown[-1]) == (0, 250 * (count - 1))
        gaps = np.diff(shown) / 250
        assert gaps.max() - gaps.min() <= 1


def test_a_strip_has_one_column_per_step_and_one_row_per_prompt(tmp_path: Path) -> None:
    colours = {0: ("#400000", "#004000"), 100: ("#800000", "#008000"), 200: ("#c00000", "#00c000")}
    pictures = {step: [Image.new("RGB", ROWS.canvas, colour) for colour in row] for step, row in colours.items()}
    figures.draw_strip(pictures, [CAPTION, CAPTION], tmp_path / "strip.png")
    strip = opened(tmp_path / "strip.png")
    pixels = np.asarray(strip)
    places = []
    for row in colours.values():
        for colour in row:
            ys, xs = np.nonzero((pixels == ImageColor.getrgb(colour)).all(-1))
            assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (256, 384)  # 128 x 192 at the height of a row
            places.append((xs.min(), ys.min()))
    (x0, y0), (_, y1), (x1, _) = places[:3]
    assert places == [(x0 + column * (x1 - x0), y) for column in range(3) for y in (y0, y1)]
    assert x1 - x0 > 256 and y1 - y0 > 384
    assert coloured(strip, (0, 0, int(x0), strip.height), figures.PAPER) < 1  # the prompts are left of the images
    assert coloured(strip, (int(x0), 0, strip.width, int(y0)), figures.PAPER) < 1  # and the steps above them


def test_wide_grids_make_lower_rows(tmp_path: Path) -> None:
    figures.draw_strip({5: [Image.new("RGB", (2048, 512), "#123456")]}, [CAPTION], tmp_path / "strip.png")
    pixels = np.asarray(opened(tmp_path / "strip.png"))
    ys, xs = np.nonzero((pixels == ImageColor.getrgb("#123456")).all(-1))
    assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (512, 128)


def test_a_strip_of_forty_steps_shows_eight(tmp_path: Path) -> None:
    for name, count in (("eight", 8), ("forty", 40)):
        pictures = {step: [Image.new("RGB", ROWS.canvas)] for step in range(0, count * 100, 100)}
        figures.draw_strip(pictures, ["text"], tmp_path / f"{name}.png")
    assert opened(tmp_path / "forty.png").size == opened(tmp_path / "eight.png").size


# ---- rows to compare


def test_rows_have_the_models_one_above_the_other_and_each_caption_below_its_column(tmp_path: Path) -> None:
    colours = {"the base": ("#400000", "#004000"), "the LoRA": ("#c00000", "#00c000")}
    rows = {name: [Image.new("RGB", ROWS.canvas, colour) for colour in row] for name, row in colours.items()}
    figures.draw_rows("Base above, LoRA below", rows, [CAPTION, "short"], tmp_path / "rows.png")
    sheet = opened(tmp_path / "rows.png")
    pixels = np.asarray(sheet)
    corners = []
    for row in colours.values():
        for colour in row:
            ys, xs = np.nonzero((pixels == ImageColor.getrgb(colour)).all(-1))
            assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (256, 384)
            corners.append((int(xs.min()), int(ys.min())))
    (x0, y0), (x1, _), (_, y1), _ = corners
    assert corners == [(x, y) for y in (y0, y1) for x in (x0, x1)] and x1 >= x0 + 256 and y1 >= y0 + 384
    for above in ((0, 0, sheet.width, y0 - 40), (x0, y0 - 30, x1, y0), (x0, y0 + 384, x1, y1)):  # title, names
        assert coloured(sheet, above, figures.PAPER) < 1
    for left in (x0, x1):
        assert coloured(sheet, (left, y1 + 384, left + 256, sheet.height), figures.PAPER) < 1


# ---- the grids as the model sees them


def shown(layout: Layout, draw: Callable[..., Image.Image], given: tuple[int, ...] = ()) -> Shown:
    return Shown(draw(1, layout.canvas), layout, CAPTION, 42, given, "scale 0.125")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((128, 192), (4, 1)),
        ((384, 256), (2, 1)),
        ((400, 400), (1, 1)),
        ((512, 768), (1, 1)),
        ((1024, 1024), (1, 2)),
        ((1024, 1536), (1, 2)),
        ((4096, 1024), (1, 6)),
    ],
)
def test_grids_are_shown_at_actual_size_or_a_whole_multiple_or_fraction(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    times, parts = figures.zoom(size)
    assert (times, parts) == expected
    assert max(size) * times / parts <= figures.LARGEST


def test_seams_are_lines_between_panels_and_nothing_else_changes(draw: Callable[..., Image.Image]) -> None:
    grid = shown(SQUARE, draw)
    changed = (np.asarray(figures.marked(grid)) != np.asarray(grid.image)).any(-1)
    marked = figures.marked(grid)
    seam = ImageColor.getrgb(figures.SEAM)
    assert {marked.getpixel((256, y)) for y in range(512)} == {marked.getpixel((x, 256)) for x in range(512)} == {seam}
    changed[256], changed[:, 256] = False, False
    assert not changed.any()


def test_small_grids_are_enlarged_without_smoothing_and_the_seam_stays_in_place(
    draw: Callable[..., Image.Image],
) -> None:
    grid = shown(ROWS, draw)
    marked = np.asarray(figures.marked(grid))
    assert marked.shape == (768, 512, 3)
    lines = [y for y in range(768) if (marked[y] == ImageColor.getrgb(figures.SEAM)).all()]
    assert lines == [256, 512]
    blocks = marked.reshape(192, 4, 128, 4, 3)[:, 1:, :, 1:]  # the first row of a block may be the seam
    assert (blocks == np.asarray(grid.image)[:, None, :, None]).all()


def test_large_grids_shrink_with_their_seams(draw: Callable[..., Image.Image]) -> None:
    marked = np.asarray(figures.marked(shown(Layout(3, 1, 1024, 512), draw)))
    assert marked.shape == (768, 512, 3)
    assert [y for y in range(768) if (marked[y] == ImageColor.getrgb(figures.SEAM)).all()] == [256, 512]


def test_given_panels_are_framed_and_the_others_are_not(draw: Callable[..., Image.Image]) -> None:
    marked = figures.marked(shown(SQUARE, draw, given=(1,)))
    for box, framed in zip(SQUARE.boxes, (False, True, False, False), strict=True):
        left, top, right, bottom = box
        edges = [(left, top, right, top + 4), (left, bottom - 4, right, bottom), (right - 4, top, right, bottom)]
        for edge in edges:
            assert (coloured(marked, edge, figures.GIVEN) > 0.9) is framed
        corner = (left + 8, top + 8, left + 50, top + 18)  # the word in it
        assert (coloured(marked, corner, figures.GIVEN) > 0.4) is framed
        assert (coloured(marked, corner, figures.PAPER) > 0.02) is framed


def test_a_sheet_shows_grids_side_by_side_with_text_below_each(
    tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    grids = [shown(ROWS, draw, given) for given in ((), (0,), (0, 1), (), ())]
    figures.draw_sheet(grids, tmp_path / "sheet.png")
    sheet = opened(tmp_path / "sheet.png")
    margin, (wide, high) = figures.MARGIN, (512, 768)
    titled = sheet
    above = margin + figures._line_height(figures.HEAD)
    assert 0.8 < coloured(titled, (0, 0, sheet.width, above), figures.PAPER) < 1  # the title
    sheet = titled.crop((0, above, titled.width, titled.height))
    assert sheet.width == margin + 3 * (wide + margin)
    for number, grid in enumerate(grids[:3]):
        left = margin + number * (wide + margin)
        assert sheet.crop((left, margin, left + wide, margin + high)).tobytes() == figures.marked(grid).tobytes()
        below = (left, margin + high, left + wide, margin + high + 80)
        assert 0.5 < coloured(sheet, below, figures.PAPER) < 0.99
        assert coloured(sheet, below, figures.INK) > 0 and coloured(sheet, below, figures.FAINT) > 0
        assert coloured(sheet, (left - margin, 0, left, sheet.height), figures.PAPER) == 1


def test_a_sheet_of_one_wide_grid_is_as_wide_as_the_grid(tmp_path: Path, draw: Callable[..., Image.Image]) -> None:
    figures.draw_sheet([shown(Layout(1, 4, 256, 256), draw)], tmp_path / "sheet.png")
    assert opened(tmp_path / "sheet.png").width == 512 + 2 * figures.MARGIN


# ---- text


def test_text_wraps_at_words_and_loses_none() -> None:
    lines = figures.folded(CAPTION * 3, 300, 16, 100)
    assert " ".join(lines).split() == (CAPTION * 3).split() and len(lines) > 3


def test_text_that_is_too_long_ends_with_an_ellipsis_and_no_line_is_too_wide() -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(16)
    for text in (CAPTION * 5, "word" * 400, "a " * 500, "short"):
        lines = figures.folded(text, 300, 16, 4)
        assert len(lines) <= 4 and all(font.getlength(line) <= 300 for line in lines)
        assert lines[-1].endswith(" ...") is (text != "short")
