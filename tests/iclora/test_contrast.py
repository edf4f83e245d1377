"""Contrast on the review page and the contact sheet, computed from their colours by the formula of WCAG 2.2."""

from __future__ import annotations

import colorsys
import re
from itertools import product

import pytest

from iclora.page import access
from pipeline.review import contact_sheet, markup

Colour = tuple[float, float, float]
PAGE = re.findall(r"<style>(.*?)</style>", access.read("page.html"), re.DOTALL)[0]
TEXT, GRAPHIC = 4.5, 3.0
"""Lowest ratios of level AA: of text, and of what else is needed to understand or use a page."""
PANELS = 9
MODES = {"light": 0, "dark": 1}


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: Colour) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def over(top: Colour, share: float, below: Colour) -> Colour:
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(top, below, strict=True))
    return red, green, blue


def hexadecimal(text: str) -> Colour:
    digits = text.removeprefix("#")
    pairs = [digit * 2 for digit in digits] if len(digits) == 3 else re.findall("..", digits)
    red, green, blue = (int(pair, 16) / 255 for pair in pairs)
    return red, green, blue


def variables(style: str) -> dict[str, tuple[Colour, Colour]]:
    """The colours that a style sheet names, in light and in dark mode."""
    found = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", style)
    return {name: (hexadecimal(light), hexadecimal(dark)) for name, light, dark in found}


def tones(name: str) -> tuple[list[Colour], list[Colour]]:
    """The colours of the panels in light and in dark mode, as text or as tag."""
    value = re.findall(rf"--{name}: (.*?);", PAGE)[0]
    parts = re.findall(r"hsl\(var\(--hue\) (\d+)% (\d+)%\)", value)
    parts = parts if "light-dark" in value else parts * 2
    assert "const hue = (panel) => (205 + panel * 137) % 360;" in access.read("page.html")
    light, dark = (
        [
            colorsys.hls_to_rgb((205 + panel * 137) % 360 / 360, int(high) / 100, int(full) / 100)
            for panel in range(PANELS)
        ]
        for full, high in parts
    )
    return light, dark


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("style", [PAGE, markup.COLOURS + contact_sheet.STYLE], ids=["page", "contact sheet"])
def test_every_text_colour_can_be_read_on_every_background(style: str, mode: str) -> None:
    colour = {name: pair[MODES[mode]] for name, pair in variables(style).items()}
    backgrounds = [colour[name] for name in ("paper", "back") if name in colour]
    assert {"paper", "ink", "soft", "good", "bad", "mark"} <= set(colour)
    for name, below in product(("ink", "soft", "good", "bad", "mark"), backgrounds):
        assert contrast(colour[name], below) >= TEXT, (name, mode)


@pytest.mark.parametrize("mode", MODES)
def test_text_and_signs_on_colours_can_be_read(mode: str) -> None:
    colour = {name: pair[MODES[mode]] for name, pair in variables(PAGE).items()}
    for name in ("ink", "good", "bad", "soft"):  # pressed filters, and the rows that a person has decided
        assert contrast(colour["paper"], colour[name]) >= TEXT, name
    for name in ("paper", "back"):
        assert contrast(colour["edge"], colour[name]) >= GRAPHIC, name
    shaded = over(colour["good"], 0.3, colour["back"])  # the right side of a limit
    assert "color-mix(in srgb, var(--good) 30%, var(--back))" in PAGE
    for name in ("good", "bad", "ink"):
        assert contrast(colour[name], shaded) >= GRAPHIC, name
    fixed = re.findall(r"color: (#\w+); background: (#\w+)", PAGE)
    assert fixed and all(contrast(hexadecimal(front), hexadecimal(back)) >= TEXT for front, back in fixed)


@pytest.mark.parametrize("mode", MODES)
def test_a_panels_marker_can_be_read_at_every_hue_lit_or_not(mode: str) -> None:
    paper = variables(PAGE)["paper"][MODES[mode]]
    full, high, share = re.findall(r"\.segment\.lit \{ background: hsl\(var\(--hue\) (\d+)% (\d+)% / (\.\d+)\)", PAGE)[
        0
    ]
    for panel, tone in enumerate(tones("tone")[MODES[mode]]):
        lit = colorsys.hls_to_rgb((205 + panel * 137) % 360 / 360, int(high) / 100, int(full) / 100)
        for below in (paper, over(lit, float(share), paper)):
            assert contrast(tone, below) >= TEXT, panel
    for panel, tag in enumerate(tones("tag")[MODES[mode]]):
        assert contrast((1, 1, 1), tag) >= TEXT, panel


def test_no_colour_of_the_contact_sheet_is_left_to_the_browser() -> None:
    assert "opacity" not in contact_sheet.STYLE
    assert re.search(r"body \{[^}]*color: var\(--ink\); background: var\(--paper\)", markup.PAGE)
