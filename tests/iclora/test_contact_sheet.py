"""The contact sheet in a real browser, from the disk: what is shown, in which order, and for whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import HIDDEN_FOCUS, Faults
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from pipeline.records import Grid, Group, Rejected, Row, Score
from pipeline.review import contact_sheet
from pipeline.review.coverage import Aspect
from pipeline.task import Task
from pipeline.text import grammar

VALUES = (0.5, 0.2, 0.3, 0.4)
PLACES = ("beach", "castle", "farm", "beach at night")


def row(number: int, value: float, place: str, task: Task) -> Row:
    text = (
        f"[MOVIE-SHOTS] a day, [SCENE-1] on the {place}, [SCENE-2] she sits on the {place}, [SCENE-3] she sleeps there."
    )
    grid = Grid(f"g{number}", Group(f"s{number}", task.name, (), "shots 1 to 3", 1), task.grid_layout, "grid.png")
    good = value > 0.25
    scores = (Score("text 1", value, 0.25, good, ""), Score("order", value, 0.9, True, ""))
    return Row(
        grid, grammar.parse(text, task), scores, "keep" if good else "drop", () if good else ("text 1 is too low",)
    )


@pytest.fixture
def sheet(storyboard: Task, context: BrowserContext, faults: Faults, tmp_path: Path) -> Page:
    Image.new("RGB", (96, 144), "navy").save(tmp_path / "grid.png")
    rows = [row(number, *one, storyboard) for number, one in enumerate(zip(VALUES, PLACES, strict=True), 1)]
    rejected = {
        "inspect": [Rejected("r", "a.png", "too small", "60 x 40"), Rejected("s", "b.png", "blank", "one colour")]
    }
    coverage = [Aspect("place", "grids", {"beach": 2, "farm": 1}, ("much beach",))]
    found = contact_sheet.Sheet(
        rows, rejected, storyboard, "apply it", "iclora review storyboard --serve", {}, coverage
    )
    contact_sheet.write(found, tmp_path / "review.html")
    page = context.new_page()
    page.on("console", lambda line: faults.append(line.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((tmp_path / "review.html").as_uri())
    return page


def names(page: Page) -> list[str]:
    found: list[str] = page.locator("article:visible").evaluate_all("all => all.map((one) => one.id)")
    return found


def test_grids_are_filtered_by_decision_and_words_and_sorted_by_keyboard(sheet: Page, faults: Faults) -> None:
    assert names(sheet) == ["g2", "g3", "g4", "g1"]  # dropped first, then those that barely passed
    expect(sheet.locator("#shown")).to_have_text("4 of 4 grids shown")
    sheet.locator("h1").click()
    reached = []
    for _ in range(4):
        sheet.keyboard.press("Tab")
        reached.append(sheet.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached == ["the review page", "kind", "words", "order"]
    sheet.keyboard.type("worst order")  # as a list of choices takes it
    assert names(sheet) == ["g2", "g1", "g4", "g3"]
    sheet.keyboard.press("Shift+Tab")
    sheet.keyboard.type("BEACH sits")
    assert names(sheet) == ["g1", "g4"]
    expect(sheet.locator("#shown")).to_have_text("2 of 4 grids shown")
    expect(sheet.get_by_text("Dropped by their scores")).to_be_hidden()
    sheet.locator("#words").fill("")
    sheet.locator("#kind").select_option("drop")
    assert names(sheet) == ["g2"]
    sheet.locator("#kind").select_option("all")
    sheet.locator("#order").select_option("name")
    assert names(sheet) == ["g2", "g1", "g3", "g4"]
    expect(sheet.get_by_text("iclora review storyboard --serve")).to_be_visible()
    assert faults == []


def test_what_has_the_focus_is_never_behind_the_tools(sheet: Page) -> None:
    sheet.set_viewport_size({"width": 390, "height": 400})
    hidden = set()
    for key in ("Tab", "Shift+Tab"):
        for _ in range(16):
            sheet.keyboard.press(key)
            hidden.add(sheet.evaluate(HIDDEN_FOCUS, ["#tools"]))
    assert hidden == {""}
