"""Rejected pictures on the review page: looked at with their reasons, taken in, and in the run when it runs again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import bitmaps
import filmed
import httpx2
import numpy as np
import pytest
from browsing import Faults, wait_for
from PIL import Image
from playwright.sync_api import BrowserContext, expect
from served import Served, serving

import iclora
from iclora.page import rejected
from iclora.run import Run
from pipeline.records import Record
from pipeline.review import decisions, taking
from pipeline.review.decisions import Taken
from pipeline.stages import collect, compose, inspect


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two pictures and a third one that is too small, another of three, one file that can't be read, and
    a run on them."""
    home = tmp_path_factory.mktemp("rejected")
    bitmaps.folders(home / "in", "a", 2)
    bitmaps.folders(home / "in", "b", 3)
    noise = np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(noise).save(home / "in" / "a" / "3 é#.png")
    (home / "in" / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with open_run(home, home / "run") as run:
        run.advance("filter")
    return home


def open_run(home: Path, folder: Path) -> Run:
    return iclora.open_run(
        "storyboard", home / "in", settings=bitmaps.SMALL, captioner="sidecar", scorer="none", folder=folder
    )


@pytest.fixture
def served(built: Path, tmp_path: Path) -> Iterator[Served]:
    with serving(shutil.copytree(built / "run", tmp_path / "run")) as page:
        yield page


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what `collect` reads and `inspect` measures, and ids of the grids that `compose` draws."""
    found: list[str] = []

    def watch(module: ModuleType, name: str, told: Callable[[Any], str]) -> None:
        work = getattr(module, name)

        def watched(one: Any, *more: Any, **named: Any) -> Any:
            found.append(told(one))
            return work(one, *more, **named)

        monkeypatch.setattr(module, name, watched)

    watch(collect, "_stamped", lambda item: str(item.name))
    watch(inspect, "measure", lambda record: Path(record.path).name)
    watch(compose, "write", lambda grid: str(grid.id))
    return found


def of(client: httpx2.Client, reason: str = "") -> dict[str, Any]:
    answer = client.get("/rejected", params={"reason": reason})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def say(client: httpx2.Client, row: dict[str, Any], *, wanted: bool) -> httpx2.Response:
    return client.post("/rejected", json={"stage": row["stage"], "id": row["id"], "wanted": wanted})


def test_rejected_pictures_are_listed_with_their_reasons_and_thumbnails(client: httpx2.Client, served: Served) -> None:
    found = of(client)
    assert dict(found["reasons"]) == {"unreadable": 1, "too small": 1, "no neighbours": 2}
    assert (found["all"], found["total"], found["taken"]) == (4, 4, 0)
    assert found["command"] == f"iclora dataset storyboard --out {served.home}"
    rows = {row["reason"]: row for row in found["rows"]}
    assert [row["can"] for row in rows.values()] == [reason == "too small" for reason in rows]
    assert rows["too small"]["name"] == "3 é#.png"
    (small,) = of(client, "too small")["rows"]
    assert small == rows["too small"]
    assert of(client, "nothing")["rows"] == []
    answer = client.get(f"/rejected/inspect/{small['id']}/picture")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert client.get("/rejected/inspect/..%2frun.db/picture").status_code == 404


def test_only_some_rows_are_sent_at_once(client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "ROWS", 3)
    first, second = (client.get("/rejected", params={"start": start}).json() for start in (0, 3))
    assert [len(part["rows"]) for part in (first, second)] == [3, 1]
    assert len({(row["stage"], row["id"]) for row in first["rows"] + second["rows"]}) == first["total"] == 4


def test_a_picture_is_taken_in_and_taken_back_and_both_words_are_kept(client: httpx2.Client, served: Served) -> None:
    (small,) = of(client, "too small")["rows"]
    taken = say(client, small, wanted=True).json()
    assert (taken["taken"], taken["waits"]) == (True, True)
    assert of(client)["taken"] == 1
    assert of(client, "taken in")["rows"] == [taken]
    say(client, small, wanted=True)  # it is already
    back = say(client, small, wanted=False).json()
    assert back == small
    words = [line.taken for line in decisions.read(served.home).lines]
    assert [(word.wanted, word.picture) for word in words if word] == [(True, small["id"]), (False, small["id"])]


def test_what_was_taken_in_of_another_run_is_not_listed(client: httpx2.Client, served: Served) -> None:
    taking.say(served.home, Taken("other", True, "inspect", "too small", "/elsewhere/a.png"), "page")
    assert (of(client)["taken"], of(client, "taken in")["rows"]) == (0, [])


def test_what_nobody_can_overrule_is_refused_with_a_sentence(client: httpx2.Client, served: Served) -> None:
    for row in (one for one in of(client)["rows"] if not one["can"]):
        answer = say(client, row, wanted=True)
        assert answer.status_code == 422
        assert "can't be taken in: " in answer.json()["error"]
    answer = client.post("/rejected", json={"stage": "inspect", "id": "nothing", "wanted": True})
    assert (answer.status_code, answer.json()["error"]) == (404, "this run has rejected no picture 'nothing'.")
    assert not (served.home / decisions.FILE).exists()


def test_a_picture_that_was_taken_in_is_in_the_run_when_it_runs_again_even_from_nothing(
    built: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(built / "run", tmp_path / "run")
    with open_run(built, folder) as run:
        assert len(run.reviewed()) == 1
        pictures = rejected.RejectedPictures(run)
        (small,) = pictures.page("too small", 0)["rows"]
        pictures.take("inspect", small["id"], "page", wanted=True)
        run.advance("filter")
        assert len(run.reviewed()) == 2
        (row,) = pictures.page("taken in", 0)["rows"]
        assert (row["id"], row["taken"], row["waits"]) == (small["id"], True, False)
        expected = run.rows().to_csv()
        results = run.advance("filter")
        assert not any(result.worked for result in results)
    with open_run(built, tmp_path / "other") as run:  # found again by its content
        run.folder.mkdir()
        shutil.copy(folder / decisions.FILE, run.folder)
        run.advance("filter")
        assert run.rows().to_csv() == expected
        pictures = rejected.RejectedPictures(run)
        pictures.take("inspect", small["id"], "page", wanted=False)
        run.advance("filter")
        assert len(run.reviewed()) == 1
        assert [row["id"] for row in pictures.page("too small", 0)["rows"]] == [small["id"]]


def test_a_shot_that_was_taken_in_is_a_picture_of_the_run_wherever_its_film_lies(
    tmp_path: Path, opened: list[str]
) -> None:
    def run_on(folder: Path, out: str) -> Run:
        return iclora.open_run("storyboard", folder, captioner="sidecar", scorer="none", folder=tmp_path / out)

    def kept(run: Run) -> list[tuple[str, ...]]:
        run.advance("inspect")
        return [record.notes for record in run.store.items(Record, "records")]

    (tmp_path / "in").mkdir()
    dark = [np.zeros((240, 480, 3), np.uint8)] * 40
    (one, other) = (list(filmed.shots([seed], 1.6, size=(480, 240))) for seed in (1, 2))
    filmed.write(tmp_path / "in" / "a.mp4", iter([*one, *dark, *other]))
    bitmaps.write(tmp_path / "in" / "small.bmp", 1)
    with run_on(tmp_path / "in", "run") as run:
        assert kept(run) == [(), ()]
        pictures = rejected.RejectedPictures(run)
        (row,) = pictures.page("blank", 0)["rows"]
        assert pictures.picture("collect", row["id"]).is_file()
        taken = pictures.take("collect", row["id"], "page", wanted=True)
        assert (taken["can"], taken["taken"], taken["waits"]) == (True, True, True)
        opened.clear()
        assert kept(run) == [(), ("taken in though blank",), ()]  # `inspect` need not be told
        assert opened == ["a.mp4", "shot-0001.jpg"]
        (row,) = pictures.page("taken in", 0)["rows"]
        assert (row["stage"], row["waits"], row["picture"]) == ("collect", False, True)
        assert pictures.picture("collect", row["id"]).name == "shot-0001.jpg"
    (tmp_path / "in").rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "run" / decisions.FILE, tmp_path / "other")
    with run_on(tmp_path / "moved", "other") as run:
        assert kept(run) == [(), ("taken in though blank",), ()]
        pictures = rejected.RejectedPictures(run)
        pictures.take("collect", row["id"], "page", wanted=False)
        assert kept(run) == [(), ()]


def test_only_what_is_taken_in_or_back_is_opened_again(built: Path, tmp_path: Path, opened: list[str]) -> None:
    with open_run(built, shutil.copytree(built / "run", tmp_path / "run")) as run:
        before = run.store.items(Record, "records")
        pictures = rejected.RejectedPictures(run)
        (small,) = pictures.page("too small", 0)["rows"]
        for wanted in (True, False):
            opened.clear()
            pictures.take("inspect", small["id"], "page", wanted=wanted)
            run.advance("filter")
            records = run.store.items(Record, "records")
            assert [record.id for record in records if record not in before] == [small["id"]] * wanted
            assert [record for record in records if record in before] == before
            drawn = [row["id"] for row in run.table("grids")][:wanted]
            assert opened == ["3 é#.png", "broken.png", *drawn]  # what can't be read is tried again
        assert len(run.reviewed()) == 1


def test_a_picture_is_taken_in_with_the_keyboard(
    context: BrowserContext, served: Served, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "ROWS", 3)
    page = context.new_page()
    faults.listen(page)
    page.goto(served.url)
    expect(page.locator("[role=gridcell]")).to_have_count(1)
    page.locator("#to-rejected").press("Enter")
    expect(page.locator("#rejects li")).to_have_count(3)
    expect(page.locator("footer button:visible")).to_have_text(
        ["Previous pictures←", "Next pictures→", "Back to the gridsEsc"]
    )
    for key, count in (("ArrowRight", 1), ("ArrowRight", 1), ("ArrowLeft", 3)):
        page.keyboard.press(key)
        expect(page.locator("#rejects li")).to_have_count(count)
    page.locator("#of-reason").select_option("too small")
    expect(page.locator("#rejects li")).to_have_count(1)
    expect(page.locator("#rejects img")).to_have_js_property("naturalWidth", 12)
    page.keyboard.press("a")  # no command here: nothing is kept
    button = page.get_by_role("button", name="Take in 3 é#.png")
    button.press("Enter")
    wait_for(page, "taken in; it counts when you type: iclora dataset storyboard")
    expect(page.get_by_role("button", name="Take back 3 é#.png")).to_be_focused()
    expect(page.locator("#rejects li")).to_contain_text("Will be taken in by the next run")
    page.screenshot(path=tmp_path / "rejected.png")
    page.keyboard.press("Escape")
    expect(page.locator("[role=gridcell]")).to_be_focused()
    lines = decisions.read(served.home).lines
    assert [line.taken.reason for line in lines if line.taken] == ["too small"]
    assert [line for line in lines if line.decides] == []
    assert faults == []
