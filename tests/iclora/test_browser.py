"""The review page in a real browser: with the mouse, with the keyboard, in two tabs. Needs the system's Chromium.

    apt-get install chromium

Every test leaves screenshots in its own temporary folder.
"""

import shutil
from pathlib import Path

import pytest
from browsing import Faults, edit_as_one, here, rows, visit, wait_for
from playwright.sync_api import BrowserContext, Page, expect
from served import GRIDS, Served, resettle, serving

from bench.page import make

EVIL = '<img src=x onerror="document.title = 1"> <script>document.title = 2</script>'


def test_the_worst_is_shown_first_with_its_scores_and_why(page: Page, served: Served, tmp_path: Path) -> None:
    row = rows(served)[here(page)]
    assert row.decision == "drop"
    expect(page.locator("#decision")).to_have_text("drop")
    expect(page.locator(".score.bad").first).to_be_visible()
    expect(page.locator(".score")).to_have_count(len(row.scores))
    expect(page.locator("#scores .why")).to_contain_text("order")
    expect(page.locator("#grid")).to_have_js_property("naturalWidth", row.grid.layout.canvas[0])
    page.screenshot(path=tmp_path / "worst.png")


def test_a_segment_and_its_panel_are_highlighted_together(page: Page, tmp_path: Path) -> None:
    lit = page.locator(".lit[data-panel]")
    for panel in range(3):
        for kind in (".segment", ".box"):
            page.locator(f"{kind}[data-panel='{panel}']").hover()
            expect(lit).to_have_count(2)
            assert lit.evaluate_all("found => found.map(each => each.dataset.panel)") == [str(panel)] * 2
    page.screenshot(path=tmp_path / "lit.png")
    page.mouse.move(2, 400)
    expect(lit).to_have_count(0)
    page.locator(".segment[data-panel='1']").focus()
    expect(page.locator(".box[data-panel='1'].lit")).to_have_count(1)


def test_the_keep_key_decides_and_moves_to_the_riskiest_undecided_row(page: Page, served: Served) -> None:
    first = here(page)
    page.keyboard.press("a")
    wait_for(page, f"{first}: keep")
    assert here(page) != first
    assert rows(served)[first].review is not None
    expect(page.locator("#counts")).to_contain_text(f"1 of {GRIDS} decided")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#decision")).to_have_text("keep")
    assert here(page) == first


def test_drop_asks_for_a_reason_by_number_or_in_words(page: Page, served: Served, tmp_path: Path) -> None:
    first = here(page)
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    expect(page.locator("#dropping")).to_be_visible()  # no reason, no drop
    page.screenshot(path=tmp_path / "reason.png")
    page.keyboard.press("2")
    wait_for(page, f"{first}: drop")
    second = here(page)
    page.locator("#drop").click()
    page.keyboard.type("the <b>hat</b> is missing")
    page.keyboard.press("Enter")
    wait_for(page, f"{second}: drop")
    found = rows(served)
    assert (found[first].review.decision, found[first].review.note) == ("drop", "panels do not belong together")
    assert found[second].review.note == "the <b>hat</b> is missing"
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#note")).to_have_value("the <b>hat</b> is missing")


def test_linter_and_scores_follow_a_text_while_it_is_typed(page: Page, served: Served, tmp_path: Path) -> None:
    grid = here(page)
    before = rows(served)[grid]
    edit_as_one(page)
    page.locator("#text").fill(before.caption.text.replace("[SCENE-2]", "[SCENE-9]"))
    expect(page.locator("#problems")).to_contain_text("the marker [SCENE-2] is missing")
    expect(page.locator("#problems")).to_contain_text("[SCENE-9] is not a marker of this task")
    page.screenshot(path=tmp_path / "linter.png")
    one, two, three = before.caption.panels
    right = f"[MOVIE-SHOTS] {before.caption.summary}, [SCENE-1] {three}, [SCENE-2] {one}, [SCENE-3] {two}."
    page.locator("#text").fill(right)
    expect(page.locator("#problems")).to_contain_text("No problems found in the text.")
    expect(page.locator("[data-score='order'].bad")).to_have_count(0)
    expect(page.locator("[data-score='order']")).to_have_count(1)
    page.screenshot(path=tmp_path / "right.png")
    assert rows(served)[grid] == before  # nothing is written while typing
    page.keyboard.press("Control+Shift+Enter")
    wait_for(page, "text saved, keep")
    after = rows(served)[grid]
    assert (after.caption.text, after.decision) == (right, "keep")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#machine")).to_contain_text(before.caption.text)


@pytest.mark.slow
def test_without_the_scorers_weights_a_sentence_replaces_the_scores(
    built: Path, context: BrowserContext, faults: Faults, tmp_path: Path
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    resettle(run, settings={"scorer.model": "local-dir:/nowhere"})
    with serving(run) as served:
        page = visit(context, served, faults)
        expect(page.locator(".score").first).to_be_visible()  # what the filter found stays
        page.keyboard.press("e")
        page.keyboard.type("x")
        expect(page.locator("#scores")).to_contain_text("No scores: ")
        expect(page.locator("#scores")).to_contain_text("/nowhere")
        page.screenshot(path=tmp_path / "unscored.png")


def test_letters_typed_into_a_text_are_not_commands_and_escape_cancels(page: Page, served: Served) -> None:
    before = rows(served)
    page.locator(".box[data-panel='1']").click()  # clicking a panel selects its text
    chosen = page.evaluate("getSelection().toString()")
    assert chosen == before[here(page)].caption.panels[1]
    page.keyboard.type("arsnu")
    expect(page.locator("#caption")).to_contain_text("[SCENE-2] arsnu")
    page.keyboard.press("Escape")
    expect(page.locator("#editor")).to_be_hidden()
    assert rows(served) == before


def test_text_that_looks_like_markup_stays_text(page: Page, served: Served) -> None:
    grid = here(page)
    before = rows(served)[grid].caption
    text = before.text.replace("[SCENE-3]", f"[SCENE-3] {EVIL}")
    page.keyboard.press("e")
    page.get_by_label("Panel 3 [SCENE-3]").fill(f"{EVIL} {before.panels[2]}")
    page.keyboard.press("Control+Enter")
    wait_for(page, "text saved")
    expect(page.locator(".segment").last).to_contain_text(EVIL)
    assert page.locator("#side img, #side script").count() == 0
    assert page.title() == "Review: Film storyboard"
    assert rows(served)[grid].caption.text == text


@pytest.mark.slow
def test_a_swap_by_number_moves_panels_and_texts(page: Page, served: Served, tmp_path: Path) -> None:
    grid = here(page)
    before = rows(served)[grid]
    page.keyboard.press("s")
    page.keyboard.press("1")
    page.screenshot(path=tmp_path / "picking.png")
    page.keyboard.press("3")
    wait_for(page, "panels 1 and 3 swapped")
    after = rows(served)[grid]
    assert after.grid.group.records == before.grid.group.records[::-1]
    assert after.caption.panels == before.caption.panels[::-1]
    expect(page.locator(".segment").first).to_contain_text(before.caption.panels[2])
    assert after.grid.path in page.locator("#grid").evaluate("picture => decodeURIComponent(picture.dataset.path)")
    page.screenshot(path=tmp_path / "swapped.png")


@pytest.mark.slow
def test_a_panels_picture_can_be_replaced_with_the_mouse(page: Page, served: Served, tmp_path: Path) -> None:
    grid = here(page)
    page.locator("#replace").click()
    page.locator(".box[data-panel='0']").click()
    expect(page.locator("#offers button")).to_have_count(2)
    for offer in page.locator("#offers img").all():
        expect(offer).to_have_js_property("naturalWidth", 320)
    page.screenshot(path=tmp_path / "offers.png")
    record = page.locator("#offers button").first.get_attribute("data-record")
    page.locator("#offers button").first.click()
    wait_for(page, "has a new picture; write its text")
    after = rows(served)[grid]
    assert (after.grid.group.records[0].id, after.caption.panels[0], after.decision) == (record, "", "unsure")
    expect(page.locator("#problems")).to_contain_text("the text of [SCENE-1] has fewer than 3 words")


def test_the_captioners_new_answer_is_shown_next_to_a_persons_text(page: Page, served: Served, tmp_path: Path) -> None:
    grid = here(page)
    mine = rows(served)[grid].caption.text.replace("a short story", "my own story")
    edit_as_one(page)
    page.locator("#text").fill(mine)
    page.keyboard.press("Control+Enter")
    wait_for(page, "text saved")
    page.keyboard.press("c")
    expect(page.locator("#proposal mark").first).to_be_visible()
    page.screenshot(path=tmp_path / "asked.png")
    proposed = page.locator("#proposal > div").first.inner_text()
    assert rows(served)[grid].caption.text == mine
    page.locator("#proposal button").click()
    expect(page.locator("#text")).to_have_value(proposed)
    assert rows(served)[grid].caption.text == mine  # copied to the editor, not saved


def test_undo_takes_back_one_change_after_another(page: Page, served: Served) -> None:
    first, before = here(page), rows(served)
    page.keyboard.press("a")
    wait_for(page, f"{first}: keep")
    page.keyboard.press("s")
    page.keyboard.press("1")
    page.keyboard.press("2")
    wait_for(page, "swapped")
    for grid in (here(page), first):
        page.keyboard.press("u")
        wait_for(page, "undone")
        expect(page.locator("#grid")).to_have_attribute("alt", f"grid {grid}")
    expect(page.locator("#undo")).to_be_disabled()
    assert rows(served) == before


def test_filters_show_the_rows_that_their_labels_count(page: Page, served: Served) -> None:
    found = rows(served)
    shown = {}
    for name in ("all", "rejected", "borderline", "problems", "undecided"):
        page.locator(f"[data-filter={name}]").click()
        label = page.locator(f"[data-filter={name}]").inner_text()
        shown[name] = page.locator("#strip button").count()
        assert label == f"{name} {shown[name]}"
    assert shown["all"] == shown["undecided"] == GRIDS
    assert shown["rejected"] == sum(bool(row.reasons) for row in found.values()) >= 1
    assert shown["problems"] == sum(bool(row.caption.problems) for row in found.values()) == 1
    page.locator("[data-filter=problems]").click()
    assert found[here(page)].caption.problems
    page.keyboard.press("a")
    wait_for(page, "All rows in this filter are decided.")
    page.locator("[data-filter=undecided]").click()
    expect(page.locator("#strip button")).to_have_count(GRIDS - 1)


@pytest.mark.slow
def test_of_many_rows_the_strip_shows_those_around_the_current_one(
    context: BrowserContext, faults: Faults, tmp_path: Path
) -> None:
    make(tmp_path / "run", 300)
    with serving(tmp_path / "run") as served:
        page = visit(context, served, faults)
        buttons, marked = page.locator("#strip button"), page.locator("#strip .here")
        expect(page.locator("[data-filter=all]")).to_have_text("all 300")
        expect(buttons).to_have_count(120)
        first = here(page)
        expect(marked).to_have_attribute("data-id", first)
        page.keyboard.press("ArrowLeft")  # to the last row
        expect(page.locator("#what")).to_contain_text("300 of 300")
        expect(buttons).to_have_count(120)
        expect(marked).to_have_attribute("data-id", here(page))
        expect(page.locator(f"#strip [data-id='{first}']")).to_have_count(0)
        page.locator("#strip button").first.click()
        expect(page.locator("#what")).to_contain_text("181 of 300")
        expect(marked).to_have_count(1)
    assert faults == []


def test_two_tabs_do_not_overwrite_each_other(
    page: Page, context: BrowserContext, served: Served, faults: Faults, tmp_path: Path
) -> None:
    other = visit(context, served, faults)
    grid = here(page)
    assert here(other) == grid
    edit_as_one(page)
    page.locator("#text").fill(rows(served)[grid].caption.text.replace("a short", "my own"))
    other.keyboard.press("r")
    other.keyboard.type("too dark")
    other.keyboard.press("Enter")
    wait_for(other, f"{grid}: drop")
    page.keyboard.press("Control+Enter")
    wait_for(page, "has been changed elsewhere")
    page.screenshot(path=tmp_path / "stale.png")
    expect(page.locator("#text")).to_have_value(rows(served)[grid].caption.text.replace("a short", "my own"))
    assert rows(served)[grid].review.note == "too dark"
    page.keyboard.press("Control+Enter")  # saved anyway, after the warning
    wait_for(page, "text saved")
    after = rows(served)[grid]
    assert (after.decision, after.review.note) == ("drop", "too dark")
    assert "my own" in after.caption.text
    page.keyboard.press("u")
    wait_for(page, "undone")
    assert "my own" not in rows(served)[grid].caption.text
    assert other.locator("#undo").is_enabled()  # each tab undoes its own changes


def test_everything_can_be_done_by_keyboard_alone(page: Page, served: Served) -> None:
    press = page.keyboard.press
    kept = here(page)
    press("a")
    wait_for(page, f"{kept}: keep")
    dropped = here(page)
    press("r")
    press("1")
    wait_for(page, f"{dropped}: drop")
    edited = here(page)
    press("e")
    for _ in range(3):
        press("Tab")
    press("Control+End")
    page.keyboard.type(" by night.")
    press("Control+Shift+Enter")
    wait_for(page, f"{edited}: text saved, keep")
    last = here(page)
    press("x")
    press("2")
    expect(page.locator("#offering")).to_be_visible()
    press("Enter")
    wait_for(page, f"{last}: panel 2 has a new picture")
    found = rows(served)
    assert [found[grid].decision for grid in (kept, dropped, edited, last)] == ["keep", "drop", "keep", "unsure"]
    assert found[edited].caption.text.endswith(" by night.")
    press("u")
    wait_for(page, "undone")
    press("n")
    wait_for(page, "There are no other undecided rows in this filter.")
    assert here(page) == last
    press("?")
    expect(page.locator("#helping")).to_be_visible()
    press("Escape")
    expect(page.locator("#helping")).to_be_hidden()


@pytest.mark.slow
@pytest.mark.slow
def test_the_page_works_in_a_narrow_window_and_in_dark_mode(page: Page, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture, side = page.locator("#picture").bounding_box(), page.locator("#side").bounding_box()
    assert picture and side and picture["y"] + picture["height"] <= side["y"]
    page.screenshot(path=tmp_path / "narrow.png", full_page=True)
    page.locator("#keep").click()
    wait_for(page, ": keep")
