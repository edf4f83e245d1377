"""People compare pictures without knowing which is which; their marks last, and come to a share with its interval."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pandas as pd
import pytest
from browsing import Faults
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from served import Served
from test_page_access import CONTRASTS

from iclora.evaluation import people, report
from iclora.evaluation.comparison import Comparison
from iclora.evaluation.people import Marking, Preference
from iclora.page import access, comparing
from iclora.page.jobs import Jobs
from iclora.page.server import Server
from pipeline.errors import BadInput
from training.evaluation import statistics

PROMPTS = 6
NAMES = ("base", "tuned", "weak")


def draw(folder: Path, name: str, shade: int) -> list[dict[str, object]]:
    """Grids of a candidate, as an evaluation leaves them."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for number in range(PROMPTS):
        pixels = np.random.default_rng([shade, number]).integers(0, 256, (12, 8, 3), np.uint8)
        file = Path(name) / f"{number:04d}.png"
        Image.fromarray(pixels).resize((128, 192)).save(folder / file)
        rows.append({"candidate": name, "prompt": f"prompt {number}, <b>bold</b>", "seed": 0, "file": str(file)})
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluation of two LoRAs and their base."""
    home = tmp_path / "run" / "evaluation"
    rows = [row for shade, name in enumerate(NAMES) for row in draw(home, name, shade)]
    pd.DataFrame(rows).to_csv(home / "evaluation.csv", index=False)
    scores = [
        {"candidate": name, "score": {"value": value}} for name, value in zip(NAMES, (0.2, 0.8, 0.5), strict=True)
    ]
    (home / "evaluation.json").write_text(json.dumps({"candidates": scores, "chosen": None}), encoding="utf-8")
    (home / "evaluation.html").write_text('<main><div id="people"></div>rest</main>', encoding="utf-8")
    return home


def marking(folder: Path, by: str = "", between: tuple[str, str] = ("tuned", "base")) -> Marking:
    return Marking(folder, people.read_pairs(folder, *between), by)


def better(mine: Marking, name: str) -> Callable[[str], None]:
    """`better(marking, "tuned")(pair)` marks the side on which that candidate is."""

    def mark(pair: str) -> None:
        found = mine.pairs[pair]
        mine.mark(found, "left" if found.left == name else "right")

    return mark


def found(folder: Path) -> Preference:
    (one,) = people.preferences(folder)
    return one


# ---- figures


@pytest.mark.parametrize(
    ("successes", "of", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_the_interval_of_a_share_is_wilsons(successes: int, of: int, low: float, high: float) -> None:
    assert statistics.wilson(successes, of) == pytest.approx((low, high), abs=5e-5)


def test_the_sign_test_is_exact() -> None:
    assert statistics.sign_test(9, 3) == pytest.approx(0.1460, abs=5e-5)
    assert statistics.sign_test(3, 9) == statistics.sign_test(9, 3)
    assert statistics.sign_test(5, 0) == 2 / 32
    assert statistics.sign_test(4, 4) == statistics.sign_test(0, 0) == 1.0


def test_a_pair_counts_once_by_the_majority_of_those_who_marked_it(folder: Path) -> None:
    one, two, three = (marking(folder, by) for by in ("ann", "bob", "cem"))
    first, second, third, fourth, *_ = one.pairs
    for mine in (one, two):
        better(mine, "tuned")(first)
    better(three, "base")(first)  # 2 to 1
    better(one, "base")(second)
    better(one, "tuned")(third)
    better(two, "base")(third)  # 1 to 1
    one.mark(one.pairs[fourth], "tie")
    now = found(folder)
    assert (now.one, now.other, now.wins, now.losses, now.ties, now.pairs) == ("tuned", "base", 1, 1, 2, PROMPTS)
    assert str(now).startswith(
        "People: tuned is preferred to base in 1 of 2 pairs, 50% (9% to 91%), p 1.000; 2 ties, 4 of 6 pairs marked; "
        "agreement with each other: alpha -0."
    )


def test_agreement_is_krippendorffs_alpha_of_the_published_example() -> None:
    """Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section D: four observers, twelve units."""
    lines = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    ratings = np.array([[float(one) if one != "." else np.nan for one in line] for line in lines])
    assert statistics.alpha(ratings) == pytest.approx(0.849, abs=5e-4)
    two = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], np.float64)  # section A
    assert statistics.alpha(two) == pytest.approx(0.095, abs=5e-4)
    estimate = statistics.agreement(two)
    assert estimate is not None and estimate.low < 0.095 < estimate.high
    assert statistics.alpha(two[[0, 0]]) == 1.0
    assert statistics.agreement(np.ones((2, 4))) is None  # nothing to tell apart
    assert statistics.agreement(two[:1]) is None


def test_people_are_compared_with_the_judge(folder: Path) -> None:
    table = pd.read_csv(folder / "evaluation.csv")
    number = table.groupby("candidate").cumcount()
    points = np.where(table["candidate"] == "tuned", 0.5 + 0.1 * (-1.0) ** number, 0.5)
    table.assign(judge_follows=points, judge_consistent=points).to_csv(folder / "evaluation.csv", index=False)
    mine = marking(folder)
    for pair in mine.pairs.values():
        better(mine, "tuned" if int(pair.prompt[7]) % 2 == 0 else "base")(pair.id)
    now = found(folder)
    assert now.with_judge is not None and now.with_judge.value == 1.0
    assert now.among is None
    assert "agreement with the judge: alpha 1.00" in str(now)


# ---- blind, and lasting


def test_neither_sides_nor_order_tell_which_is_which(folder: Path) -> None:
    many = [
        pair
        for two in (("tuned", "base"), ("weak", "base"), ("tuned", "weak"))
        for pair in people.read_pairs(folder, *two)
    ]
    assert 3 <= sum(pair.left < pair.right for pair in many) <= len(many) - 3
    turned = {pair.id: pair for pair in people.read_pairs(folder, "base", "tuned")}
    for pair in people.read_pairs(folder, "tuned", "base"):  # however it is asked for
        assert turned[pair.id] == pair
    orders = {by: list(marking(folder, by).pairs) for by in ("ann", "bob")}
    assert orders["ann"] != orders["bob"] and sorted(orders["ann"]) == sorted(orders["bob"])
    assert orders["ann"] == list(marking(folder, "ann").pairs)


def test_marks_name_sides_only_and_the_key_lies_apart(folder: Path) -> None:
    mine = marking(folder, "ann")
    for pair in mine.pairs:
        better(mine, "tuned")(pair)
    assert not any(name in (folder / people.MARKS).read_text(encoding="utf-8") for name in NAMES)
    key = json.loads((folder / people.KEY).read_text(encoding="utf-8"))
    for mark in people.read_marks(folder):
        assert key[mark.pair][mark.mark] == "tuned"
        assert mark.by == "ann" and mark.at.endswith("+00:00")


def test_marks_are_on_disk_at_once_and_whoever_comes_back_goes_on(folder: Path) -> None:
    mine = marking(folder, "ann")
    first, second, *_ = mine.pairs
    mine.mark(mine.pairs[first], "left")
    with (folder / people.MARKS).open("ab") as file:
        file.write(b'{"at": "2026-11-27T')  # cut off
    back = marking(folder, "ann")
    assert back.marks == {first: "left"}
    back.mark(back.pairs[second], "tie")
    back.mark(back.pairs[first], "right")  # on second thoughts
    assert marking(folder, "ann").marks == {first: "right", second: "tie"}
    assert marking(folder, "bob").marks == {}
    assert len((folder / people.MARKS).read_bytes().splitlines()) == 4


def test_marks_count_for_the_same_pictures_only(folder: Path) -> None:
    mine = marking(folder)
    for pair in mine.pairs:
        better(mine, "tuned")(pair)
    draw(folder, "tuned", 1)  # the same again
    assert found(folder).wins == PROMPTS
    draw(folder, "tuned", 9)  # another LoRA of that name
    assert people.preferences(folder) == []


def test_the_report_has_what_people_prefer(folder: Path) -> None:
    report.add_people(folder)
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["people"] == []
    mine = marking(folder)
    for pair in mine.pairs:
        better(mine, "tuned")(pair)
    for _ in range(2):
        report.add_people(folder)
    (told,) = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["people"]
    assert (told["one"], told["wins"], told["share"][0], told["p"]) == ("tuned", PROMPTS, 1.0, 2 / 64)
    html = (folder / "evaluation.html").read_text(encoding="utf-8")
    assert html.count("People: tuned is preferred to base in 6 of 6 pairs, 100% (61% to 100%)") == 1
    assert html.endswith("rest</main>")


def test_what_can_t_be_compared_is_told_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    assert people.usual_pair(folder) == ("tuned", "base")
    with pytest.raises(BadInput, match="the evaluation has no 'other'; it compared base, tuned, weak"):
        people.read_pairs(folder, "other", "base")
    for read in (people.usual_pair, lambda home: people.read_pairs(home, "tuned", "base")):
        with pytest.raises(BadInput, match=r"there is no evaluation in .*; 'iclora evaluate' makes one"):
            read(tmp_path / "nowhere")


# ---- the page


@contextmanager
def serving(folder: Path, by: str = "") -> Iterator[tuple[str, str]]:
    """Address and token of the page, served as the command does."""
    token, jobs = secrets.token_urlsafe(8), Jobs()
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        address = f"127.0.0.1:{door.getsockname()[1]}"
        server = Server(comparing.make(Comparison(folder, by=by), jobs, address, token), jobs, door)
        server.start()
        thread = threading.Thread(target=jobs.work)
        thread.start()
        try:
            yield address, token
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def test_the_page_is_sent_no_name_of_a_candidate_and_nothing_without_the_token(folder: Path) -> None:
    mine = marking(folder)
    with serving(folder) as (address, token):
        home = f"http://{address}"
        assert httpx2.get(f"{home}/pairs").status_code == 403
        with httpx2.Client(base_url=home, headers={"Origin": home, access.TOKEN: token}) as client:
            sent = client.get("/pairs")
            assert [pair["id"] for pair in sent.json()] == list(mine.pairs)
            one, *_ = mine.pairs
            picture = client.get(f"/pairs/{one}/right")
            assert picture.content == mine.pairs[one].pictures[1].read_bytes()
            for answer in (sent, picture):
                assert not any(name in answer.text for name in NAMES)
                assert not {"last-modified", "etag", "content-disposition"} & {*answer.headers}
            assert client.post(f"/pairs/{one}", json={"mark": "best"}).status_code == 422
            assert client.get("/result").json() == {"result": ""}
            assert client.get("/pairs/nothing/left").status_code == 404
            assert client.get(f"/pairs/{one}/middle").status_code == 422


@pytest.fixture
def page(context: BrowserContext, folder: Path, faults: Faults) -> Iterator[Page]:
    with serving(folder, "ann") as (address, token):
        page = context.new_page()
        faults.listen(page)
        page.goto(f"http://{address}/#{token}")
        expect(page.locator("#counts")).to_have_text(f"pair 1 of {PROMPTS}, 0 marked")
        yield page
    assert faults == []


def seen(page: Page, number: int, marked: int) -> None:
    expect(page.locator("#counts")).to_have_text(f"pair {number} of {PROMPTS}, {marked} marked")


def test_all_pairs_are_marked_by_the_keyboard_on_a_narrow_screen(page: Page, folder: Path, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for side in ("left", "right"):
        image = page.locator(f"#image-{side}")
        expect(image).to_have_js_property("naturalWidth", 128)
        box = image.bounding_box()
        assert box and box["width"] > 100 and box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator("#prompt")).to_contain_text("<b>bold</b>")
    page.screenshot(path=tmp_path / "narrow.png")
    ids = list(marking(folder, "ann").pairs)
    for number, key in enumerate("121200", 1):
        seen(page, number, number - 1)
        page.keyboard.press(key)
        expect(page.locator("#status")).to_contain_text("saved")
    seen(page, PROMPTS, PROMPTS)
    expect(page.locator("#all")).to_contain_text("All pairs are marked. People: tuned is preferred to base in")
    expect(page.locator("#to-review")).to_be_hidden()
    assert marking(folder, "ann").marks == dict(zip(ids, ["left", "right", "left", "right", "tie", "tie"], strict=True))
    page.keyboard.press("ArrowLeft")
    seen(page, PROMPTS - 1, PROMPTS)
    expect(page.locator("#tie")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("1")
    expect(page.locator("#on-left")).to_have_class("better")
    assert marking(folder, "ann").marks[ids[4]] == "left"


def test_a_reload_goes_on_at_the_first_unmarked_pair_and_buttons_are_reached_by_tab(page: Page) -> None:
    page.keyboard.press("2")
    seen(page, 2, 1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("0")
    seen(page, 4, 2)
    page.reload()
    seen(page, 2, 2)
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["help", "left", "right", "tie", "back", "next"]
    page.locator("#right").focus()
    page.keyboard.press("Enter")
    seen(page, 4, 3)  # the third has its mark


def test_keys_can_be_changed_and_turned_off_as_on_the_review_page(page: Page, folder: Path) -> None:
    page.keyboard.press("?")
    page.locator("#keys input[name=left]").fill("j")
    page.keyboard.press("Enter")
    expect(page.locator("#keys-status")).to_contain_text("kept in the run's folder")
    page.keyboard.press("2")  # the dialog is open, and nothing is marked behind it
    page.keyboard.press("Escape")
    expect(page.locator("#left kbd")).to_have_text("J")
    page.keyboard.press("1")
    page.keyboard.press("j")
    seen(page, 2, 1)
    assert list(marking(folder, "ann").marks.values()) == ["left"]
    page.locator("#help").click()
    page.locator("#keys-on").uncheck()
    page.get_by_role("button", name="Save keys").click()
    expect(page.locator("#keys-status")).to_contain_text("turned off")
    page.reload()
    seen(page, 2, 1)
    for key in ("j", "2", "0", "?"):
        page.keyboard.press(key)
    expect(page.locator("#helping")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    seen(page, 3, 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_of_the_page_can_be_read(page: Page, scheme: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.keyboard.press("1")
    expect(page.locator("#status")).to_contain_text("saved")
    texts = page.evaluate(CONTRASTS)
    assert len(texts) > 8
    assert [what for ratio, what in texts if ratio < 4.5] == []
    page.screenshot(path=tmp_path / f"{scheme}.png")


# ---- beside the review


def test_the_review_page_leads_to_it_and_back_once_the_run_is_evaluated(
    context: BrowserContext, served: Served, folder: Path, faults: Faults
) -> None:
    aside = folder.rename(served.home.parent / "not evaluated yet")
    page = context.new_page()
    faults.listen(page)
    page.goto(served.url)
    link = page.get_by_role("link", name="Compare LoRAs")
    expect(page.locator("[role=gridcell]").first).to_be_visible()
    expect(link).to_be_hidden()
    aside.rename(folder)
    page.reload()
    link.click()
    expect(page.locator("#image-right")).to_have_js_property("naturalWidth", 128)
    seen(page, 1, 0)
    page.keyboard.press("1")
    seen(page, 2, 1)
    assert page.url == f"http://{served.address}/compare/"
    assert len(marking(folder).marks) == 1
    page.get_by_role("link", name="Review grids").click()
    expect(page.locator("[role=gridcell]").first).to_be_visible()
    assert faults == []


def test_beside_the_review_it_says_what_is_missing_and_is_shut_without_the_token(served: Served) -> None:
    home = f"http://{served.address}"
    assert httpx2.get(f"{home}/compare/pairs").status_code == 403
    with served.client() as client:
        assert client.get("/compare/pairs").status_code == 422
        assert "'iclora evaluate' makes one" in client.get("/compare/pairs").json()["error"]
        policies = [client.get(path).headers["Content-Security-Policy"] for path in ("/", "/compare/", "/rows")]
    assert len({*policies}) == 3 and "script-src" not in policies[2]


# ---- the command


def test_the_command_serves_until_ctrl_c_and_prints_what_people_prefer(
    evaluable: Path, folder: Path, iclora: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in evaluable.iterdir():  # the run itself
        if not (folder.parent / file.name).exists():
            (folder.parent / file.name).symlink_to(file)

    def visit(redirect: str) -> None:
        text = Path(redirect.removeprefix("file://")).read_text(encoding="utf-8")
        home, token = text.partition("url=")[2].partition('"')[0].split("/#")

        def work() -> None:
            with httpx2.Client(base_url=home, headers={"Origin": home, access.TOKEN: token}) as client:
                for pair in client.get("/pairs").json()[:2]:
                    assert client.post(f"/pairs/{pair['id']}", json={"mark": "tie"}).status_code == 200
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=work).start()

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", visit)
    options = ("--out", str(folder.parent), "--by", "ann")
    code, out, errors = iclora("compare", "storyboard", *options)
    assert code == 0, errors
    assert "People: nothing is decided yet; 2 ties, 2 of 6 pairs marked." in out
    code, _, errors = iclora("compare", "storyboard", *options, "--between", "tuned")
    assert code == 2 and "--between names two candidates, once each, got 1" in errors
