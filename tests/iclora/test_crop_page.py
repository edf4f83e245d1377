"""A panel's crop on the review page: shifted and resized, drawn, kept, taken back, refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from browsing import Faults, visit, wait_for
from PIL import Image
from playwright.sync_api import BrowserContext, expect
from served import Served, captioned, carried_out, opened, serving

from pipeline import pixels
from pipeline.records import Crop, Row

TEXT = "[MOVIE-SHOTS] One day, [SCENE-1] a wall is seen, [SCENE-2] a door is seen, [SCENE-3] a roof is seen."
SIDE = 320
"""Pixels of the pictures' sides, five times those of a panel."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one grid. Its pictures are red at the left and brighter from left to right."""
    home = tmp_path_factory.mktemp("crop")
    (home / "in").mkdir()
    for number in range(3):
        colours = np.random.default_rng(number).integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
        colours[:, : SIDE // 2, 0] = 255
        Image.fromarray(colours).save(home / "in" / f"{number}.png")
    return captioned(home, TEXT)


@pytest.fixture
def served(built: Path, tmp_path: Path) -> Iterator[Served]:
    with serving(shutil.copytree(built, tmp_path / "run")) as page:
        yield page


def row_of(client: httpx2.Client) -> dict[str, Any]:
    (row,) = client.get("/rows").json()["rows"]
    return dict(client.get(f"/rows/{row['id']}").json())


def crop(client: httpx2.Client, row: dict[str, Any], panel: int, box: list[float] | None) -> httpx2.Response:
    return client.post(f"/rows/{row['id']}/crop", json={"base": row["base"], "panel": panel, "box": box})


def stored(served: Served) -> tuple[Row, list[dict[str, Any]]]:
    run = opened(served.home)
    with run.store:
        (row,) = run.reviewed()
        return row, run.table("events")


def red(served: Served, row: Row) -> list[bool]:
    """Whether each panel shows the red half alone."""
    picture = pixels.open_image(served.home / row.grid.path)
    return [bool(np.asarray(panel)[..., 0].mean() > 200) for panel in pixels.cut(picture, row.grid.layout)]


def test_a_crop_is_drawn_and_kept_and_undone_and_changes_neither_text_nor_decision(
    client: httpx2.Client, served: Served
) -> None:
    row, (before, events) = row_of(client), stored(served)
    limits = client.get(f"/rows/{row['id']}/crops/1").json()
    assert limits == {"box": [0, 0, 1, 1], "usual": [0, 0, 1, 1], "largest": [1, 1], "least": 0.05, "enlarged": 0.2}
    answer = crop(client, row, 1, [0, 0.25, 0.5, 0.75]).json()
    after, more = stored(served)
    assert after.review is not None
    assert after.review.crops == (Crop(row["records"][1], (0, 0.25, 0.5, 0.75)),)
    assert (red(served, before), red(served, after)) == ([False] * 3, [False, True, False])
    assert (after.caption.text, after.decision) == (before.caption.text, before.decision)
    assert [(one["field"], one["was"], one["becomes"]) for one in more[len(events) :]] == [
        ("crops", "", "panel 2: 0.0 to 50.0 % of the width, 25.0 to 75.0 % of the height")
    ]
    assert answer["row"]["notes"].endswith("cropped by a person (panel 2)")
    assert client.get(f"/rows/{row['id']}/crops/1").json()["box"] == [0, 0.25, 0.5, 0.75]
    swapped = client.post(
        f"/rows/{row['id']}/swap", json={"base": answer["row"]["base"], "first": 0, "second": 1}
    ).json()
    assert red(served, stored(served)[0]) == [True, False, False]
    for step in (swapped["step"], answer["step"]):
        assert carried_out(client, "/undo", {"step": step}).status_code == 200
    assert stored(served)[0] == before


def test_the_filter_and_the_data_set_have_the_crop(client: httpx2.Client, served: Served) -> None:
    row = row_of(client)
    crop(client, row, 0, [0, 0, 0.5, 0.5])
    now = stored(served)[0]
    (served.home / now.grid.path).unlink()  # it is drawn again from the decision
    run = opened(served.home)
    with run.store:
        run.advance(start="filter")
        (decided,) = run.table("decisions")
        assert decided["crops"] == "panel 1: 0.0 to 50.0 % of the width, 0.0 to 50.0 % of the height"
        (file,) = run.dataset.glob("*/*.png")
    panels = pixels.cut(pixels.open_image(file), now.grid.layout)
    assert [bool(np.asarray(panel)[..., 0].mean() > 200) for panel in panels] == [True, False, False]


def test_a_crop_that_cant_be_is_refused_and_nothing_changes(client: httpx2.Client, served: Served) -> None:
    row, before = row_of(client), stored(served)
    for box, message in (
        ([0.6, 0, 1.1, 0.5], "must lie inside the picture"),
        ([0, 0, 0.5, 0.25], "has not the shape of a panel"),
        ([0, 0, 0.02, 0.02], "would be enlarged 10.0 times"),
    ):
        answer = crop(client, row, 0, box)
        assert (answer.status_code, message in answer.json()["error"]) == (422, True)
    assert crop(client, row, 3, None).status_code == 404
    assert crop(client, {**row, "base": "x"}, 0, None).status_code == 409
    assert crop(client, row, 0, None).json()["step"] is None  # it is as drawn at first
    assert stored(served) == before


def test_a_crop_is_chosen_by_keyboard_and_by_mouse(
    context: BrowserContext, served: Served, faults: Faults, tmp_path: Path
) -> None:
    page = visit(context, served, faults)
    press = page.keyboard.press
    for key in ("z", "2", "p"):
        press(key)
        expect(page.locator("#zooming" if key == "2" else "#frame" if key == "p" else "#picture")).to_be_visible()
    expect(page.locator("#frame")).to_be_focused()
    # All of the picture at first, though the dialog has become wider than the picture meanwhile.
    assert page.locator("#frame").bounding_box() == pytest.approx(page.locator("#large").bounding_box(), abs=1)
    for _ in range(25):
        press("-")
    for key in ("Shift+ArrowLeft", "ArrowDown", "ArrowLeft", "ArrowRight"):
        for _ in range(5):
            press(key)
    expect(page.locator("#crop-status")).to_contain_text("50 % of the width, from 5 % on the left and 30 % at the top")
    page.screenshot(path=tmp_path / "crop.png")
    press("Enter")
    wait_for(page, "panel 2 shows another part of its picture")
    expect(page.locator("#zooming")).to_be_hidden()
    (box,) = [one.box for one in stored(served)[0].review.crops]
    assert box == pytest.approx((0.05, 0.3, 0.55, 0.8))
    page.locator("#zoom").click()
    page.locator(".box[data-panel='1']").click()
    expect(page.locator("#zooming")).to_be_visible()
    page.locator("#crop").click()
    frame = page.locator("#frame").bounding_box()
    large = page.locator("#large").bounding_box()
    assert frame and large
    page.mouse.move(frame["x"] + 20, frame["y"] + 20)
    page.mouse.down()
    page.mouse.move(frame["x"] + 20 + large["width"] * 0.2, frame["y"] - 1000, steps=3)
    page.mouse.up()
    corner = page.locator("#corner").bounding_box()
    assert corner
    page.mouse.move(corner["x"] + 12, corner["y"] + 12)
    page.mouse.down()
    page.mouse.move(corner["x"] + 12 + large["width"] * 0.1, corner["y"] + 12, steps=3)
    page.mouse.up()
    expect(page.locator("#crop-status")).to_contain_text("60 % of the width, from 25 % on the left and 0 % at the top")
    press("Escape")  # the crop is given up, and the picture stays
    expect(page.locator("#frame")).to_be_hidden()
    expect(page.locator("#zooming")).to_be_visible()
    press("p")
    expect(page.locator("#frame")).to_be_focused()
    page.get_by_role("button", name="As drawn at first").click()
    expect(page.locator("#zooming")).to_be_hidden()
    assert stored(served)[0].review is None  # nothing was decided but the crop
    assert faults == []


def test_a_crop_is_chosen_without_dragging_and_without_a_keyboard(
    context: BrowserContext, served: Served, faults: Faults
) -> None:
    page = visit(context, served, faults)
    page.locator("#zoom").click()
    page.locator(".box[data-panel='0']").click()
    page.locator("#crop").click()
    for name, clicks in (("Smaller", 25), ("Shift right", 4), ("Shift left", 1), ("Shift down", 3), ("Shift up", 1)):
        for _ in range(clicks):
            page.locator("#cropping").get_by_role("button", name=name).click()
    expect(page.locator("#crop-status")).to_contain_text("50 % of the width, from 28 % on the left and 27 % at the top")
    large = page.locator("#large").bounding_box()
    assert large
    page.locator("#large").click(position={"x": large["width"] * 0.9, "y": large["height"] * 0.25})
    expect(page.locator("#crop-status")).to_contain_text("50 % of the width, from 50 % on the left and 0 % at the top")
    page.locator("#apply-crop").click()
    wait_for(page, "panel 1 shows another part of its picture")
    (box,) = [one.box for one in stored(served)[0].review.crops]
    assert box == pytest.approx((0.5, 0, 1, 0.5), abs=0.005)
    assert faults == []
