"""The review page in a real browser: who gets in, and that everybody can see and reach what is on it."""

import random
from pathlib import Path
from typing import Literal

import pytest
from browsing import Faults, here, rows, wait_for
from playwright.sync_api import BrowserContext, Page, expect
from served import Served, opened, serving

from iclora.page.browser import opener
from iclora.run import Run
from iclora.settings import Settings
from miniature import film
from miniature.world import draw_scene
from pipeline.consistency import thresholds
from pipeline.review import contact_sheet

# ---- the token


def test_the_token_leaves_the_address_bar_and_is_no_cookie(page: Page, served: Served) -> None:
    assert page.url == f"http://{served.address}/"
    assert page.context.cookies() == []
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.locator("[role=gridcell]")).to_have_count(4)  # this tab goes on
    page.screenshot()


def test_a_tab_without_the_token_says_how_to_get_in_and_pasting_the_address_there_opens_the_page(
    context: BrowserContext, served: Served
) -> None:
    page = context.new_page()
    page.goto(f"http://{served.address}/")
    wait_for(page, "open the page with the whole address that iclora printed")
    page.goto(served.url)
    expect(page.locator("[role=gridcell]")).to_have_count(4)
    assert page.url == f"http://{served.address}/"


def test_the_browser_is_sent_to_the_page_by_a_file(
    context: BrowserContext, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = context.new_page()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", page.goto)
    with opener(tmp_path) as show:
        show(served.url)
        expect(page.locator("[role=gridcell]")).to_have_count(4)
    assert page.url == f"http://{served.address}/"


def test_a_grid_of_the_contact_sheet_leads_to_its_place_on_the_page_while_that_is_served(
    context: BrowserContext, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(served.home)
    with run.store:
        run.write_review()
        command = run.command("review", "--serve")
    sheet = context.new_page()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    at_rest = (served.home / contact_sheet.PAGE).read_text(encoding="utf-8")
    link = sheet.locator("article").nth(2).get_by_role("link", name="Review")

    def follow() -> str:
        sheet.goto((served.home / "review.html").as_uri())
        grid = str(sheet.locator("article").nth(2).get_attribute("id"))
        link.click()
        return grid

    follow()
    expect(sheet.get_by_text(command)).to_be_visible()
    with opener(served.home, contact_sheet.PAGE, at_rest) as show:
        show(served.url)
        grid = follow()
        expect(sheet.locator("#grid")).to_have_attribute("alt", f"grid {grid}")
        assert sheet.url == f"http://{served.address}/"
    follow()
    expect(sheet.get_by_text(command)).to_be_visible()


# ---- for everybody's eyes and hands

CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  const paint = canvas.getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return paint.getImageData(0, 0, 1, 1).data;
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((part, n) => (a * part + (255 - a) * below[n]) / 255);
  const behind = (element) => element === null ? [255, 255, 255]
    : over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement));
  const linear = (part) => part <= 10.31475 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const texts = (element) => [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data);
  const own = (element) => texts(element).join("").trim();
  return [...document.querySelectorAll("body, body *")]
    .filter((element) => own(element) && element.checkVisibility() && !element.closest(":disabled, script, style"))
    .map((element) => {
      const below = behind(element), front = over(rgba(getComputedStyle(element).color), below);
      const [low, high] = [luminance(front), luminance(below)].sort((a, b) => a - b);
      return [(high + 0.05) / (low + 0.05), `${element.tagName} ${element.className} ${own(element).slice(0, 40)}`];
    });
}"""
"""The contrast of every text that is seen, and what it is."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page: Page, scheme: Literal["light", "dark"], tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)
    page.keyboard.press("a")
    wait_for(page, ": keep")
    for number, opening in enumerate(("r", "?", "e")):
        page.keyboard.press(opening)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 30
        assert [what for ratio, what in found if ratio < 4.5] == []
        page.screenshot(path=tmp_path / f"{scheme}-{number}.png")
        page.keyboard.press("Escape")
    page.locator(".segment[data-panel='2']").hover()
    assert [what for ratio, what in page.evaluate(CONTRASTS) if ratio < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_of_the_contact_sheet_can_be_read_and_its_pictures_are_seen(
    context: BrowserContext, served: Served, scheme: Literal["light", "dark"], faults: Faults
) -> None:
    run = opened(served.home)
    with run.store:
        run.write_review()
    page = context.new_page()
    page.on("console", lambda line: faults.append(line.text))
    page.emulate_media(color_scheme=scheme)
    page.goto((served.home / "review.html").as_uri())
    found = page.evaluate(CONTRASTS)
    assert len(found) > 30
    assert [what for ratio, what in found if ratio < 4.5] == []
    for picture in page.locator("img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("picture => picture.naturalWidth") > 0
    assert faults == []


def test_every_row_of_the_strip_is_large_enough_and_reached_by_keyboard(page: Page) -> None:
    buttons = page.locator("#strip button")
    for box in (button.bounding_box() for button in buttons.all()):
        assert box and box["width"] >= 24 and box["height"] >= 24
    page.locator("#help").focus()  # the last in the bar
    page.keyboard.press("Tab")
    names = [button.get_attribute("aria-label") for button in buttons.all()]
    reached = []
    for _ in names:
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        page.keyboard.press("Tab")
    assert reached == names
    buttons.nth(2).focus()
    page.keyboard.press("Enter")
    expect(buttons.nth(2)).to_be_focused()
    expect(buttons.nth(2)).to_have_attribute("aria-current", "true")
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#stage")).to_be_focused()


def test_a_limit_shows_which_side_is_right(page: Page, served: Served, tmp_path: Path) -> None:
    def place(score: str, part: str) -> tuple[float, float]:
        box = page.locator(f"[data-score='{score}'] .{part}").bounding_box()
        assert box
        return box["x"], box["x"] + box["width"]

    row = rows(served)[here(page)]
    checked = []
    for score in row.scores:
        if not page.locator(f"[data-score='{score.name}'] .limit").count():
            continue
        (left, right), (start, end), limit = (place(score.name, part) for part in ("right", "dot", "limit"))
        middle = (start + end) / 2
        assert (left - 1 <= middle <= right + 1) == score.passed, score
        ceiling = thresholds.is_ceiling(score.name)
        assert abs((right if ceiling else left) - sum(limit) / 2) <= 1.5, score
        told = page.locator(f"[data-score='{score.name}'] output").inner_text()
        assert told.split()[1] == ("≤" if ceiling else "≥") or not score.passed
        checked.append(ceiling)
    assert {True, False} <= set(checked)
    page.screenshot(path=tmp_path / "limits.png")


def test_an_empty_caption_opens_as_a_skeleton_to_fill_in(
    context: BrowserContext, faults: Faults, tmp_path: Path
) -> None:
    for number in range(3):
        film.picture(draw_scene(random.Random(number)), tmp_path / "film" / f"{number}.png")
    settings = Settings(
        task="storyboard",
        sources=(str(tmp_path / "film"),),
        captioner="sidecar",
        scorer="none",
        overrides=("group.floor=0.0",),
    )
    run = Run(settings, tmp_path / "run")
    with run.store:
        run.advance("filter")
    with serving(tmp_path / "run") as served:
        page = context.new_page()
        faults.listen(page)
        page.goto(served.url)
        page.locator("[role=gridcell]").press("Enter")
        expect(page.locator("#grid")).to_have_js_property("naturalWidth", 1024)
        page.keyboard.press("e")
        expect(page.locator("#parts textarea")).to_have_count(4)
        page.keyboard.type("a calm day")
        for told in ("stands", "falls", "lies"):
            page.keyboard.press("Tab")
            page.keyboard.type(f"a box {told}")
        text = "[MOVIE-SHOTS] a calm day, [SCENE-1] a box stands, [SCENE-2] a box falls, [SCENE-3] a box lies."
        page.keyboard.press("Control+Shift+Enter")
        wait_for(page, "text saved, keep")
        (row,) = rows(served).values()
    assert (row.caption.text, row.decision) == (text, "keep")
    assert faults == []
