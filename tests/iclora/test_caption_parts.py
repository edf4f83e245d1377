"""The editor of the review page by fields, in a real browser: what is kept is the whole caption, letter for letter."""

from pathlib import Path

import bitmaps
import pytest
from browsing import here, rows, wait_for
from playwright.sync_api import Page, expect
from served import Served, captioned

CAPTION = "[MOVIE-SHOTS] One day, [SCENE-1] a wall is seen, [SCENE-2] a door is seen, [SCENE-3] a roof is seen."
SEPARATORS = "[MOVIE-SHOTS] One day;  [SCENE-1]: he comes... [SCENE-2] he sits — [SCENE-3] he goes!"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("parts")
    for number in range(3):
        bitmaps.write(home / "in" / f"{number}.bmp", number)
    return captioned(home, CAPTION)


def test_summary_and_panels_have_fields_of_their_own_and_the_rest_of_the_caption_stays_as_it_was(
    page: Page, served: Served
) -> None:
    grid = here(page)
    before = rows(served)[grid]
    page.keyboard.press("e")
    summary = page.get_by_label("Summary", exact=True)
    expect(summary).to_be_focused()
    expect(summary).to_have_value(before.caption.summary)
    fields = page.locator("#parts textarea")
    assert [field.input_value() for field in fields.all()] == [before.caption.summary, *before.caption.panels]
    expect(page.locator("#text")).to_be_hidden()
    page.keyboard.press("Control+Enter")  # nothing was typed
    wait_for(page, "text saved")
    assert rows(served)[grid].caption.text == before.caption.text
    page.keyboard.press("e")
    summary.fill("A day of my own, ")  # it ends as its part does
    page.keyboard.press("Tab")
    expect(page.locator(".box[data-panel='0'].lit")).to_have_count(1)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#machine")).to_be_visible()  # the captioner's text, beside another one
    after = rows(served)[grid]
    assert after.caption.text == before.caption.text.replace(before.caption.summary, "A day of my own")
    assert after.review is not None and after.review.text == after.caption.text
    # whatever joins the parts
    without = [SEPARATORS.replace(part, "") for part in ("One day;", "he sits —", "[MOVIE-SHOTS] ")]
    for text in (SEPARATORS, *without, "[SCENE-1][SCENE-2][SCENE-3]"):
        assert page.evaluate("text => joined(partsOf(text))", text) == text
    filled = page.evaluate(
        "text => joined(partsOf(text).map((part, place) => ({...part, words: `words ${place}.`})))",
        "[MOVIE-SHOTS] [SCENE-1], [SCENE-2], [SCENE-3].",
    )
    assert filled == "[MOVIE-SHOTS] words 0, [SCENE-1] words 1, [SCENE-2] words 2, [SCENE-3] words 3."


@pytest.mark.slow
def test_a_caption_that_lacks_a_marker_is_edited_as_one_text_until_it_has_all(page: Page, served: Served) -> None:
    grid = here(page)
    text = rows(served)[grid].caption.text
    page.keyboard.press("q")
    wait_for(page, f"{grid}: unsure")
    page.keyboard.press("e")
    page.get_by_role("button", name="As one text").click()
    page.locator("#text").fill(text.replace("[SCENE-2] ", ""))
    page.keyboard.press("Control+Enter")
    wait_for(page, "text saved")
    page.reload()
    page.locator(f"[role=gridcell][data-id='{grid}']").press("Enter")
    expect(page.locator(".segment").first).to_be_visible()
    page.keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#parts")).to_be_hidden()
    page.get_by_role("button", name="As one text").click()
    wait_for(page, "lacks one of [SCENE-1] [SCENE-2] [SCENE-3]")
    page.locator("#text").fill(text)
    page.get_by_role("button", name="As one text").click()
    expect(page.get_by_label("Summary", exact=True)).to_be_focused()
