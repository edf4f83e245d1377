"""The wall of all grids in a real browser: by mouse and by keyboard, and many grids."""

import re
from pathlib import Path

import pytest
from browsing import HIDDEN_FOCUS, Faults, here, rows, visit_wall, wait_for
from playwright.sync_api import BrowserContext, Page, expect
from served import GRIDS, SHORT, Served, edited_elsewhere, serving

from bench.page import make
from iclora.page import keys
from pipeline.review import risk
from pipeline.review.current import CurrentRows


@pytest.fixture
def page(context: BrowserContext, served: Served, faults: Faults) -> Page:
    return visit_wall(context, served, faults)


def ids(page: Page) -> list[str]:
    cells = page.locator("[role=gridcell]")
    return [str(cell.get_attribute("data-id")) for cell in cells.all()]


def decided(served: Served) -> dict[str, tuple[str, str]]:
    return {name: (row.decision, row.review.note) for name, row in rows(served).items() if row.review}


def test_grids_are_selected_with_the_mouse_dropped_together_and_undone_in_one_step(page: Page, served: Served) -> None:
    first, _, third, _ = ids(page)
    cells = page.locator("[role=gridcell]")
    cells.nth(0).click()
    cells.nth(2).click(modifiers=["Control"])
    expect(page.locator("[aria-selected=true]")).to_have_count(2)
    page.keyboard.press("r")
    page.keyboard.press("4")
    wait_for(page, "2 grids: drop")
    assert decided(served) == dict.fromkeys((first, third), ("drop", "blurred or damaged"))
    expect(page.locator("[aria-selected=true]")).to_have_count(0)
    page.keyboard.press("u")
    wait_for(page, "undone in 2 grids")
    assert decided(served) == {}
    cells.nth(1).click()
    cells.nth(3).click(modifiers=["Shift"])
    expect(page.locator("[aria-selected=true]")).to_have_count(3)


def test_a_whole_review_is_done_with_the_keyboard_alone(page: Page, served: Served) -> None:
    press, order = page.keyboard.press, ids(page)
    press("Shift+ArrowRight")
    press("a")
    wait_for(page, "2 grids: keep")
    press("End")
    press("q")
    wait_for(page, f"{order[3]}: unsure")
    press("Home")
    press("ArrowRight")
    press("ArrowRight")
    press("Enter")
    expect(page.locator("#grid")).to_have_attribute("alt", f"grid {order[2]}")
    press("t")
    page.keyboard.type("ask Ann")  # none of its letters is a command
    press("Enter")
    wait_for(page, "note saved")
    press("z")
    press("3")
    expect(page.locator("#zooming")).to_be_visible()
    press("ArrowLeft")
    expect(page.locator("#zooming-title")).to_contain_text("Panel 2 of 3")
    press("Escape")
    press("Escape")
    expect(page.locator(f"[data-id='{order[2]}'][role=gridcell]")).to_be_focused()
    press("/")
    page.keyboard.type("ask ann")
    press("Enter")
    wait_for(page, "1 of 4 rows have 'ask ann'")
    assert ids(page) == [order[2]]
    press("/")
    press("Escape")
    expect(page.locator("[role=gridcell]")).to_have_count(GRIDS)
    press("f")
    page.keyboard.type("story")
    press("Tab")
    page.keyboard.type("tale")
    press("Enter")
    expect(page.locator("#changes li")).to_have_count(GRIDS)
    press("Enter")
    wait_for(page, f"replaced in {GRIDS} captions")
    assert all("tale" in row.caption.text for row in rows(served).values())
    assert {name: said for name, (said, _) in decided(served).items() if name != order[2]} == {
        order[0]: "keep", order[1]: "keep", order[3]: "unsure",
    }  # fmt: skip
    press("u")
    wait_for(page, f"undone in {GRIDS} grids")
    assert not any("tale" in row.caption.text for row in rows(served).values())


def test_a_search_sent_by_enter_leaves_alone_what_is_done_after_it(page: Page) -> None:
    press, order = page.keyboard.press, ids(page)
    press("/")
    page.keyboard.type(order[0])
    press("Enter")
    wait_for(page, f"1 of {GRIDS} rows have '{order[0]}'")
    press(" ")
    page.evaluate("say('done since')")
    page.wait_for_timeout(500)  # twice as long as the page waits for more to be typed
    expect(page.locator("#status")).to_have_text("done since")
    expect(page.locator("[aria-selected=true]")).to_have_count(1)


def test_while_captions_are_checked_the_wall_says_so_and_then_has_their_problems(
    context: BrowserContext, served: Served, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit_wall(context, served, faults)
    order = ids(page)
    monkeypatch.setattr(CurrentRows, "check_some", lambda *_: False)
    edited_elsewhere(served.home, dict.fromkeys(order[2:], SHORT))
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    problems = page.locator("[data-filter=problems]")
    expect(problems).to_have_text(re.compile(r"^problems \d \(2 captions left to check\)$"))
    expect(page.locator(".flags", has_text="unchecked")).to_have_count(2)
    monkeypatch.undo()
    wait_for(page, "all captions are checked, and some have problems")
    expect(problems).to_have_text(f"problems {sum(bool(row.caption.problems) for row in rows(served).values())}")
    expect(page.locator(".flags", has_text="unchecked")).to_have_count(0)
    assert ids(page) == order  # nothing has moved
    page.locator("#sort").select_option("risk")
    riskiest = [row.id for row in risk.riskiest_first(rows(served).values())]
    place = order.index(riskiest[-1])
    expect(page.locator("[role=gridcell]").nth(place)).not_to_have_attribute("data-id", riskiest[-1])
    assert ids(page) == riskiest != order


def test_keys_can_be_chosen_and_are_shown(page: Page, served: Served) -> None:
    page.keyboard.press("?")
    page.locator("#keys input[name=keep]").fill("k")
    page.keyboard.press("Enter")
    expect(page.locator("#keys-status")).to_contain_text("kept in the run's folder")
    page.keyboard.press("Escape")
    expect(page.locator("#keep kbd")).to_have_text("K")
    first = ids(page)[0]
    page.keyboard.press("a")
    page.keyboard.press("k")
    wait_for(page, f"{first}: keep")
    assert list(decided(served)) == [first]


def test_single_key_shortcuts_can_be_turned_off_which_lasts_and_buttons_do_everything(
    page: Page, served: Served
) -> None:
    page.locator("#help").click()
    page.locator("#keys-on").uncheck()
    page.get_by_role("button", name="Save keys").click()
    expect(page.locator("#keys-status")).to_contain_text("turned off")
    page.reload()
    expect(page.locator("[role=gridcell]")).to_have_count(GRIDS)
    expect(page.locator("#keep kbd")).to_be_hidden()
    for key in keys.REVIEW.usual.values():
        page.keyboard.press(key)
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(".segment")).to_have_count(3)
    for key in "arqetsxcz1":
        page.keyboard.press(key)
    page.locator("#zoom").click()
    page.keyboard.press("2")
    expect(page.locator("#zooming")).to_be_hidden()
    page.locator(".box[data-panel='1']").click()
    page.keyboard.press("p")
    expect(page.locator("#frame")).to_be_hidden()
    page.keyboard.press("Escape")
    page.locator("#keep").click()
    wait_for(page, ": keep")
    assert len(decided(served)) == 1
    page.locator("#help").click()
    page.locator("#keys-on").check()
    page.get_by_role("button", name="Save keys").click()
    expect(page.locator("#keys-status")).to_have_text("The keys are kept in the run's folder.")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    wait_for(page, "undone")


@pytest.mark.parametrize("size", [(1360, 460), (390, 600)])
def test_what_has_the_focus_is_never_behind_a_bar(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.keyboard.press("Enter")
    expect(page.locator(".segment")).to_have_count(3)
    page.keyboard.press("e")
    expect(page.locator("#parts textarea").first).to_be_focused()
    page.locator("#skip").focus()
    hidden, scrolled = set(), set()
    for key in ("Tab", "Shift+Tab"):
        for _ in range(45):
            page.keyboard.press(key)
            hidden.add(page.evaluate(HIDDEN_FOCUS, ["header", "footer"]))
            scrolled.add(page.evaluate("scrollY"))
    assert hidden == {""}
    assert len(scrolled) > 3


@pytest.mark.slow
def test_the_wall_is_sorted_by_place_and_by_the_worst_of_a_kind_of_score(page: Page, served: Served) -> None:
    found = rows(served)
    page.locator("#sort").select_option("place")
    assert ids(page) == list(found)
    page.locator("#sort").select_option("text")
    worst = {
        name: min(s.value - s.threshold for s in row.scores if s.name.startswith("text "))
        for name, row in found.items()
    }
    assert ids(page) == sorted(worst, key=worst.__getitem__)


@pytest.mark.slow
def test_a_picture_that_is_gone_is_said_and_asked_for_once(
    context: BrowserContext, served: Served, faults: Faults
) -> None:
    gone = next(iter(rows(served).values())).grid
    (served.home / gone.path).unlink()
    page, asked = context.new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url) if f"{gone.id}/thumbnail" in request.url else None)
    page.goto(served.url)
    wait_for(page, "can't be opened")
    expect(page.locator("[role=gridcell] img[src]")).to_have_count(GRIDS - 1)
    assert len(asked) == 1
    assert faults == []


@pytest.mark.slow
def test_of_many_grids_the_wall_has_those_in_sight_and_escape_leads_back_to_the_same_place(
    context: BrowserContext, faults: Faults, tmp_path: Path
) -> None:
    make(tmp_path / "run", 300)
    with serving(tmp_path / "run") as served:
        page = visit_wall(context, served, faults)
        expect(page.locator("[data-filter=all]")).to_have_text("all 300")
        assert page.locator("[role=gridcell]").count() < 100
        page.keyboard.press("Control+End")
        last = page.evaluate("document.activeElement.dataset.id")
        expect(page.locator(f"[data-id='{last}'] img")).to_have_js_property("complete", True)
        page.keyboard.press("ArrowUp")
        place = page.evaluate("[scrollY, document.activeElement.dataset.id]")
        page.keyboard.press("Enter")
        expect(page.locator(".segment")).to_have_count(3)
        assert here(page) == place[1]
        page.keyboard.press("Escape")
        assert page.evaluate("[scrollY, document.activeElement.dataset.id]") == place
        page.keyboard.press("Control+a")
        page.keyboard.press("q")  # all are kept so far
        wait_for(page, "300 grids: unsure", 30_000)
        page.keyboard.press("u")
        wait_for(page, "undone in 300 grids", 30_000)
    assert faults == []
