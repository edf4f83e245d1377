"""The review page of one of two reviewers in a real browser: what is shown when, and without barriers (axe-core)."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import Faults, visit_wall, wait_for
from playwright.sync_api import BrowserContext, Page, expect
from served import Served, build, opened, serving

from pipeline.review import decisions, reviews
from pipeline.review.current import CurrentRows

BLURRED = "blurred or damaged"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four grids, the first of which Ann drops and the second of which she keeps."""
    home = build(tmp_path_factory.mktemp("reviewers"))
    run = opened(home)
    with run.store:
        said = run.rows()[["id"]].head(2).assign(decision=["drop", "unsure"], note=["too dark", ""])
        run.apply(said, reviewer="Ann")
        run.apply(said.tail(1).assign(decision="keep"), reviewer="Ann")
    return home


@pytest.fixture
def served(built: Path, tmp_path: Path) -> Iterator[Served]:
    with serving(shutil.copytree(built, tmp_path / "run"), "Ben") as page:
        yield page


@pytest.fixture
def page(context: BrowserContext, served: Served, faults: Faults) -> Iterator[Page]:
    yield visit_wall(context, served, faults)
    assert faults == []


def test_a_reviewer_sees_what_another_decided_once_they_have_decided(page: Page, served: Served) -> None:
    press, tile = page.keyboard.press, page.locator("[role=gridcell]").first
    expect(page.locator("#agreement")).to_have_text("Reviewer: Ben.")
    expect(tile).to_contain_text("decided by 1 other reviewer")
    expect(tile).to_have_attribute("aria-label", re.compile("keep by toolkit, decided by 1 other reviewer$"))
    press("Enter")
    expect(page.locator("#words")).to_contain_text("what they said is shown once you keep or drop this grid")
    expect(page.locator("#note")).to_have_value("")
    press("a")
    wait_for(page, ": keep")
    expect(page.locator("#agreement")).to_contain_text("Ann and Ben agree on 0% of 1 grid (Cohen's kappa 0.00)")
    press("ArrowLeft")
    expect(page.locator("#words")).to_contain_text("Ann: drop, too dark")
    expect(page.locator("#words")).to_contain_text("Ben: keep")
    expect(page.locator("#what")).to_contain_text("by Ben")
    press("Escape")
    page.locator("[data-filter=disagree]").click()
    expect(page.locator("[role=gridcell]")).to_have_count(1)
    press("u")
    wait_for(page, "undone")
    expect(page.locator("[data-filter=disagree]")).to_have_text("reviewers disagree 0")
    run = opened(served.home)
    with run.store:
        assert [(row.decision, len(row.words)) for row in run.reviewed() if row.words] == [("drop", 1), ("keep", 1)]


def test_what_the_toolkit_decides_by_a_text_that_another_has_edited_is_shown_when_that_is_checked(
    page: Page, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CurrentRows, "check_some", lambda *_: False)
    run = opened(served.home)
    with run.store, decisions.deciding(served.home):
        row = next(row for row in run.reviewed() if not row.words and row.decision == "keep")
        said: dict[str, Any] = {"decision": "keep", "text": row.caption.text.replace("thing", "work")}
        change = reviews.change(row, run.task, None, **said, reviewer="Ann")
        assert change
        reviews.decide(run.store, [change], "page", "Ann")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    tile = page.locator(f"[role=gridcell][data-id={row.id}]")
    expect(tile).to_have_attribute("aria-label", re.compile(": unsure by toolkit, decided by 1 other.*unchecked"))
    monkeypatch.undo()
    expect(tile).to_have_attribute("aria-label", re.compile(": keep by toolkit, decided by 1 other reviewer$"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_barrier_where_reviewers_disagree(
    page: Page, width: int, scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})

    def check(what: str) -> list[Any]:
        page.screenshot(path=tmp_path / f"{what}.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
        return [(what, one["id"]) for one in Axe().run(page).response["violations"]]

    page.keyboard.press("Enter")
    expect(page.locator("#words")).to_contain_text("Decided by 1 other reviewer")
    found = check("hidden")
    page.keyboard.press("a")
    wait_for(page, ": keep")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#words")).to_contain_text("Reviewers disagree")
    found += check("grid")
    page.keyboard.press("Escape")
    expect(page.locator("[role=gridcell]").first).to_contain_text("reviewers disagree")
    assert found + check("wall") == []
