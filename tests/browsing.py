"""The review page in a real browser, for the tests of the page. Needs the system's Chromium."""

from __future__ import annotations

import shutil

from playwright.sync_api import BrowserContext, Page, expect
from served import Served, opened

from pipeline.records import Row

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

HIDDEN_FOCUS = """(names) => {
  const focused = document.activeElement, box = focused.getBoundingClientRect();
  if (focused.matches("body, #skip")) return "";  // that lies above the header
  const bars = names.map((name) => document.querySelector(name))
    .filter((bar) => getComputedStyle(bar).position === "sticky" && !bar.contains(focused))
    .map((bar) => bar.getBoundingClientRect());
  const covered = (bar) => box.bottom > bar.top && box.top < bar.bottom
    && Math.max(bar.top - box.top, box.bottom - bar.bottom) < Math.min(24, box.height) - 1;
  return bars.some(covered) ? focused.outerHTML.slice(0, 80) : "";
}"""
"""By selectors of bars that stay in their place: what has the focus, if one covers it; empty if 24 pixels of it, or all
that there are, can be seen."""


class Faults(list[str]):
    """What the browser complains about: script errors, and requests that the policy should have forbidden."""

    def listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("console", lambda line: self.append(line.text) if line.type == "error" else None)
        page.on("request", lambda asked: self.append(asked.url) if "127.0.0.1" not in asked.url else None)


def visit_wall(context: BrowserContext, served: Served, faults: Faults) -> Page:
    """The page as it opens."""
    page = context.new_page()
    faults.listen(page)
    page.goto(served.url)
    expect(page.locator("[role=gridcell]").first).to_be_visible(timeout=20_000)
    return page


def visit(context: BrowserContext, served: Served, faults: Faults) -> Page:
    """One grid at a time, from the riskiest on."""
    page = visit_wall(context, served, faults)
    page.keyboard.press("Enter")
    expect(page.locator(".segment")).to_have_count(3)
    return page


def rows(served: Served) -> dict[str, Row]:
    run = opened(served.home)
    with run.store:
        return {row.id: row for row in run.reviewed()}


def here(page: Page) -> str:
    """Id of the grid on display."""
    return str(page.locator("#grid").get_attribute("alt")).removeprefix("grid ")


def wait_for(page: Page, text: str, milliseconds: float = 5_000) -> None:
    expect(page.locator("#status")).to_contain_text(text, timeout=milliseconds)


def edit_as_one(page: Page) -> None:
    """Opens the editor with the whole caption in one field."""
    page.keyboard.press("e")
    page.locator("#as-one").click()
    expect(page.locator("#text")).to_be_visible()
