"""axe-core finds no barrier on any page of the toolkit: light and dark, on a wide and on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import Faults, visit_wall
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from plotted import logged
from served import GRIDS, Served, opened

import iclora
from iclora.evaluation import report
from iclora.evaluation.comparison import Comparison
from iclora.evaluation.results import BASE, Drawn, Evaluation, compare
from iclora.page import comparing, watching
from iclora.page.server import page_served
from iclora.watching import Watched
from training.evaluation.measures import Measures, Scale

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (1280, 390)
PROMPTS = 3

Check = Callable[[Page, str], None]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`check(page, "wall")` looks at the page as it stands, in both schemes and widths."""

    def look(page: Page, what: str) -> None:
        for scheme, width in product(SCHEMES, WIDTHS):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 844})
            expect(page.locator("html")).to_have_js_property("scrollWidth", width)  # once charts are drawn anew
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            page.screenshot(path=tmp_path / f"{what}-{scheme}-{width}.png")
            barriers = [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
            assert (what, scheme, width, barriers) == (what, scheme, width, [])

    return look


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """The folder of an evaluation with made-up figures, as the toolkit writes it."""
    folder, grids = tmp_path / "evaluation", list[Drawn]()
    for candidate, number in product((BASE, "tuned"), range(PROMPTS)):
        file = Path(candidate) / f"{number:04d}.png"
        (folder / candidate).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (6, 12, 3), np.uint8)
        Image.fromarray(noise).resize((768, 384)).save(folder / file)
        good = 0.9 if candidate != BASE else 0.5 - number / 10
        grids.append(
            Drawn(
                candidate=candidate, prompt=f"prompt {number} of a long day by the sea", seed=0, file=file,
                measures=Measures(0.3, 0.9, 0.7, 0.8, 0.5, people=80.0), followed=good, kept=good, copy=False,
                memorised=number == 1, varied=0.8, kept_subjects=0.7, told_each=False,
                faults="panel 2 is blank" if number == 2 else "",
            )
        )  # fmt: skip
    drawn, scale = tuple(grids), Scale((0.1, 0.3), (0.4, 0.8), 0.99, 0.99, 12)
    report.write(Evaluation(folder, compare(drawn, PROMPTS, 1), drawn, "tuned", scale, PROMPTS, 1, {}))
    return folder


def test_of_the_review_page(context: BrowserContext, served: Served, faults: Faults, check: Check) -> None:
    page = visit_wall(context, served, faults)
    page.keyboard.press(" ")
    check(page, "wall")
    page.keyboard.press("Enter")
    expect(page.locator(".segment")).to_have_count(3)
    check(page, "grid")
    for what, typed in {"editor": "e", "drop": "r", "keys": "?", "replace": "f"}.items():
        page.keyboard.press(typed)
        if what == "editor":
            page.locator("#tying summary").click()
            page.get_by_role("button", name="Add a tie").click()
            page.keyboard.type("a kite")
        if what == "replace":
            page.keyboard.type("story")
            page.keyboard.press("Enter")
            expect(page.locator("#changes li")).to_have_count(GRIDS)
        check(page, what)
        page.keyboard.press("Escape")
    for key in "z1p":
        page.keyboard.press(key)
    expect(page.locator("#frame")).to_be_focused()
    check(page, "crop")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator("#to-rejected").click()
    expect(page.locator("#rejects li")).to_have_count(2 * GRIDS)
    check(page, "rejected")
    assert faults == []


def test_of_the_comparing_page(context: BrowserContext, evaluation: Path, faults: Faults, check: Check) -> None:
    with page_served(partial(comparing.make, Comparison(evaluation, ("tuned", BASE)))) as served:
        page = context.new_page()
        faults.listen(page)
        page.goto(served.url)
        expect(page.locator("#image-right")).to_have_js_property("naturalWidth", 768)
        check(page, "comparing")
        page.keyboard.press("?")
        check(page, "keys")
    assert faults == []


def test_of_the_page_of_a_training(context: BrowserContext, tmp_path: Path, faults: Faults, check: Check) -> None:
    folder = logged(tmp_path / "training", 12, 4)
    (folder / "samples").mkdir()
    for step in (0, 8):
        Image.new("RGB", (768, 384), "navy").save(folder / "samples" / f"{step:06d}-1.png")
    with page_served(partial(watching.make, Watched(folder))) as served:
        page = context.new_page()
        faults.listen(page)
        page.goto(served.url)
        expect(page.locator("#samples .here img")).to_have_js_property("naturalWidth", 768)
        expect(page.locator("#charts figure").first).to_be_visible()
        check(page, "watching")
    assert faults == []


def test_of_the_pages_on_disk(
    context: BrowserContext, served: Served, built: Path, evaluation: Path, check: Check
) -> None:
    run = opened(served.home)
    with run.store:
        run.write_review()
    survey = iclora.survey(built.parent / "film-0").write(served.home / "survey.html")
    for file in (served.home / "review.html", served.home / "review-page.html", evaluation / "evaluation.html", survey):
        page = context.new_page()
        page.goto(file.as_uri())
        page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
        check(page, file.stem)
