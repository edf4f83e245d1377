"""A training is seen from outside, on a page and through the commands, however it stands and whatever was cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import Faults
from playwright.sync_api import BrowserContext, Page, expect
from plotted import logged

from iclora import watching
from iclora.page import access
from iclora.page import watching as page_of_training
from iclora.page.server import page_served
from iclora.watching import Watched
from pipeline.errors import BadInput, Diverged
from training import loop
from training.job import Job
from training.monitoring import journal, status
from training.monitoring.status import Status
from training.processes import Processes

Make = Callable[..., Job]
ROOT = Path(__file__).parents[2]
ABOUT = Status(task="storyboard", title="Film storyboard", base="tiny", grids=6, held_out=2, steps=40)


def state(folder: Path, seen: str = "") -> dict[str, Any]:
    """What the page is sent, which JSON can hold."""
    found: dict[str, Any] = json.loads(json.dumps(Watched(folder).state(seen), allow_nan=False))
    return found


def lines(found: dict[str, Any]) -> dict[str, list[list[float]]]:
    return {line["name"]: line["points"] for chart in found["charts"] for line in chart["lines"]}


# ---- how a training stands


def test_a_training_says_what_it_is_and_that_it_is_over(make_job: Make) -> None:
    job = make_job(steps=2, samples=2, sample_steps=1, sample_every=1)
    loop.train(job, Processes(), lambda *_: None)
    found = state(job.folder)
    assert (found["title"], found["stands"], found["step"], found["steps"]) == (job.task.title, "ended", 2, 2)
    assert found["seconds_left"] is None
    assert found["samples"]["steps"] == [0, 1, 2]
    assert [one["prompt"] for one in found["samples"]["captions"]] == [sample.text for sample, _ in job.prompted]
    drawn = lines(found)
    assert {"training, smoothed", "held out", "panel 3, smoothed", "panel 1, held out", "memory"} <= set(drawn)
    assert [step for step, _ in drawn["held out"]] == [0, 2]
    assert 0.05 < drawn["memory"][-1][1] < 100  # GiB of this very process
    facts = dict(found["facts"])
    assert facts["grids"] == "6, 2 held out" and facts["memory"].endswith(" GiB")
    assert "charts" not in state(job.folder, found["version"])  # nothing has changed
    assert (job.folder / "base-and-lora.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("error", "stands", "message"),
    [
        (KeyboardInterrupt(), "interrupted", "It was stopped; the same command resumes from its last checkpoint."),
        (Diverged("step 1: the loss is nan."), "failed", "step 1: the loss is nan."),
        (OSError(28, "No space left on device"), "failed", "[Errno 28] No space left on device"),
        (RuntimeError("shapes"), "failed", "RuntimeError: shapes"),
    ],
)
def test_how_a_training_ended_early_is_said(error: BaseException, stands: str, message: str, tmp_path: Path) -> None:
    logged(tmp_path, 4)
    with pytest.raises(type(error)), status.kept(tmp_path, ABOUT) as standing:
        standing.begin(0)
        assert state(tmp_path)["stands"] == "running"
        raise error
    assert (state(tmp_path)["stands"], state(tmp_path)["message"]) == (stands, message)


def test_a_training_whose_process_was_killed_is_interrupted_and_one_elsewhere_is_believed(tmp_path: Path) -> None:
    logged(tmp_path, 4)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    status.Standing(tmp_path, ABOUT).begin(0)
    said = json.loads((tmp_path / status.FILE).read_text(encoding="utf-8"))
    for host, stands in ((said["host"], "interrupted"), ("another machine", "running")):
        (tmp_path / status.FILE).write_text(json.dumps({**said, "process": gone.pid, "host": host}), encoding="utf-8")
        assert state(tmp_path)["stands"] == stands
    for name in (status.FILE, journal.STEPS):
        os.utime(tmp_path / name, (1, 1))
    assert "whether it is still at work on another machine can't be told from here" in state(tmp_path)["message"]


def test_the_time_left_counts_what_is_done_between_steps_by_the_clock_of_the_machine_that_trains(
    tmp_path: Path,
) -> None:
    logged(tmp_path, 10)
    status.Standing(tmp_path, ABOUT).begin(0)
    for name, at in ((status.FILE, 1_000_000.0), (journal.STEPS, 1_000_050.0)):  # long ago, by this one's
        os.utime(tmp_path / name, (at, at))
    assert (state(tmp_path)["pace"], state(tmp_path)["seconds_left"]) == (5.0, 150.0)


def test_a_training_that_was_refused_leaves_the_status_of_the_one_in_the_folder(make_job: Make) -> None:
    loop.train(make_job(steps=1), Processes(), lambda *_: None)
    before = (make_job().folder / status.FILE).read_bytes()
    with pytest.raises(BadInput, match="holds another training"):
        loop.train(make_job(steps=1, seed=5), Processes(), lambda *_: None)
    assert (make_job().folder / status.FILE).read_bytes() == before


# ---- what a folder may hold


def test_half_written_and_damaged_lines_break_nothing(tmp_path: Path) -> None:
    logged(tmp_path, 12, 4)
    whole = lines(state(tmp_path))
    damage = {
        journal.STEPS: b"\x00\x00\x00\nseven,0.1,0.1\n13,x,,,,,,,\n14,0.3,0.",
        journal.VALIDATION: b"14,0.5,1,nan,joint\n\xff\xfe\n14,0.",
        journal.EVALUATION: b"step,score,low,high,fol",
        status.FILE: b'{"task": "story',
    }
    for name, cut_off in damage.items():
        with (tmp_path / name).open("ab") as file:
            file.write(cut_off)
    (tmp_path / "samples").mkdir()
    for name in ("000004-1.png", "000004-2.png", "notes.png"):
        (tmp_path / "samples" / name).write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    found = state(tmp_path)
    assert found["stands"] == "unknown"
    assert lines(found) == whole
    assert found["samples"] == {
        "steps": [4],
        "captions": [{"number": number, "prompt": "", "given": ""} for number in (1, 2)],
    }


def test_many_steps_are_sent_as_few_points_with_the_last(tmp_path: Path) -> None:
    logged(tmp_path, 1)
    with (tmp_path / journal.STEPS).open("a") as log:
        log.writelines(f"{step},0.4,0.4,,0.5,0.0001,1,0.1,2\n" for step in range(2, 20_001))
    for points in lines(state(tmp_path)).values():
        assert len(points) <= watching.POINTS + 1 and points[-1][0] in (1, 20_000)


def test_samples_of_a_longer_training_before_are_left_out(tmp_path: Path) -> None:
    logged(tmp_path, 12)
    (tmp_path / "samples").mkdir()
    for step in (0, 10, 400):
        (tmp_path / "samples" / f"{step:06d}-1.png").touch()
    assert state(tmp_path)["samples"]["steps"] == [0, 10]


def test_what_is_no_training_is_told_in_one_sentence(
    tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, why in (
        ("empty", "holds no training: it has neither status.json nor log.csv"),
        ("no", "is not a folder"),
    ):
        code, _, errors = iclora("watch", folder)
        assert code == 2 and errors.startswith("error: ") and why in errors and errors.count("\n") == 1
    logged(tmp_path / "run" / "training", 1)
    assert watching.find(tmp_path / "run") == tmp_path / "run" / "training"
    code, _, errors = iclora("train", "storyboard", "--plan", "--serve")
    assert code == 2 and "--plan trains nothing" in errors


# ---- the page


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with page_served(partial(page_of_training.make, Watched(folder))) as page:
        yield page.url


def test_the_page_only_reads_and_only_for_those_with_the_token(tmp_path: Path) -> None:
    folder = logged(tmp_path / "training", 3)
    (folder / "samples").mkdir()
    (folder / "samples" / "000000-1.png").write_bytes(b"picture")
    (tmp_path / "secret.png").touch()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with served(folder) as url:
        home, token = url.split("/#")
        assert home.startswith("http://127.0.0.1:")
        assert httpx2.get(f"{home}/state").status_code == 403
        assert httpx2.get(f"{home}/").status_code == 200  # empty
        with httpx2.Client(base_url=home, headers={"Origin": home, access.TOKEN: token}) as client:
            assert client.get("/state").json()["step"] == 3
            assert client.get("/samples/0/1").content == b"picture"
            for path, code in (("/samples/9/1", 404), ("/samples/..%2F../1", 404), ("/samples/0/-1", 404)):
                assert client.get(path).status_code in (code, 422)
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert client.request(method, "/state").status_code == 405
            assert client.get("/state", headers={"Host": "evil.example"}).status_code == 403
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


class Gate:
    """A `Progress` that stops a training after a step until it may go on."""

    def __init__(self, step: int) -> None:
        self.step, self.reached, self.goes_on = step, threading.Event(), threading.Event()

    def __call__(self, what: str, done: int, total: int, /) -> None:
        if what == "training" and done == self.step:
            self.reached.set()
            assert self.goes_on.wait(120)


@pytest.fixture
def shown(make_job: Make, context: BrowserContext, faults: Faults, tmp_path: Path) -> Iterator[tuple[Page, Gate]]:
    """The page of a real training that has stopped for a moment after two of four steps."""
    job, gate = make_job(steps=4, samples=2, sample_steps=1, sample_every=1, validate_every=1, save_every=4), Gate(2)
    thread = threading.Thread(target=loop.train, args=(job, Processes(), gate))
    thread.start()
    try:
        assert gate.reached.wait(120)
        with served(job.folder) as url:
            page = context.new_page()
            faults.listen(page)
            page.goto(url)
            expect(page.locator("#counts")).to_contain_text("step 2 of 4")
            yield page, gate
            gate.goes_on.set()
            page.screenshot(path=tmp_path / "end.png", full_page=True)
    finally:
        gate.goes_on.set()
        thread.join(120)
    assert faults == []


@pytest.mark.slow
def test_a_running_training_is_seen_to_its_end_and_its_samples_by_keyboard(shown: tuple[Page, Gate]) -> None:
    page, gate = shown
    expect(page.locator("#stands")).to_have_text("running")
    expect(page.locator("#counts")).to_contain_text("left")
    expect(page.locator("#charts figure")).to_have_count(5)
    assert page.locator("#charts svg[role=img]").first.get_attribute("aria-label").startswith("loss of whole grids. ")
    slider = page.locator("#step")
    expect(slider).to_have_attribute("aria-valuetext", "step 1")
    expect(page.locator("#samples .here img").first).to_have_js_property("naturalWidth", 128)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#at")).to_have_text("the base alone")
    expect(page.locator("#samples .base").first).to_be_hidden()
    page.keyboard.press("End")  # the newest, and then newer ones
    gate.goes_on.set()
    expect(page.locator("#stands")).to_have_text("ended", timeout=60_000)
    expect(page.locator("#at")).to_have_text("step 4")
    expect(page.locator("#samples .base small").first).to_have_text("the base alone")
    expect(page.locator("#samples .here img").first).to_have_attribute("alt", "sample 1, step 4")
    assert page.locator("#facts dt").all_inner_texts()[:2] == ["loss, smoothed", "held-out loss"]


@pytest.mark.slow
def test_everybody_can_read_and_reach_the_page(shown: tuple[Page, Gate], tmp_path: Path) -> None:
    page, _ = shown
    for scheme in ("light", "dark"):
        for wide in (1360, 390):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": wide, "height": 844})
            page.wait_for_timeout(300)  # the charts are drawn anew
            found = Axe().run(page).response["violations"]
            assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") == wide
            page.screenshot(path=tmp_path / f"{scheme}-{wide}.png", full_page=True)
    page.locator("h1").click()
    reached = []
    for _ in range(2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["step", "beside"]


@pytest.mark.slow
def test_when_the_command_ends_the_page_stays_and_says_so(context: BrowserContext, tmp_path: Path) -> None:
    logged(tmp_path, 5)
    page = context.new_page()
    with served(tmp_path) as url:
        page.goto(url)
        expect(page.locator("#charts figure")).to_have_count(4)
    expect(page.locator("#status")).to_contain_text("iclora watch shows it again", timeout=20_000)
    expect(page.locator("#charts figure")).to_have_count(4)


# ---- beside a training


@pytest.mark.parametrize("kind", [OSError, BadInput])
def test_a_training_goes_on_without_a_page_that_can_t_be_served(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise kind("no port is free")

    monkeypatch.setattr("socket.socket.bind" if kind is OSError else "pipeline.plugins.extras.require", refuse)
    said: list[str] = []
    trained = False
    with watching.served(tmp_path, said.append, said.append):
        trained = True
    assert trained
    assert said == ["the page can't be served, and the training goes on without it: no port is free"]


def test_an_error_of_the_training_is_not_one_of_its_page(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(Diverged, match="step 3"), watching.served(tmp_path, said.append, said.append):
        raise Diverged("step 3")
    assert len(said) == 1 and said[0].startswith("http://127.0.0.1:")


COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from iclora.cli import main; main()"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_a_training_that_is_served_ends_with_ctrl_c_as_any_other_and_can_be_watched_then(
    grids: Path, tiny_flux: Path, tmp_path: Path
) -> None:
    wanted = {"model": tiny_flux, "scales": "[0.125]", "smallest_panel": 48, "steps": 100_000, "samples": 0}
    words = ["train", "storyboard", "--data", str(grids), "--into", "mine", "--serve"]
    for key, value in wanted.items():
        words += ["--set", f"train.{key}={value}"]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    start = partial(
        subprocess.Popen, cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with start([sys.executable, "-u", "-c", COMMAND, *words]) as training:
        assert training.stdout
        url = next(line for line in training.stdout if line.startswith("Watch at ")).split()[-1]
        home, token = url.split("/#")
        with httpx2.Client(base_url=home, headers={access.TOKEN: token}, timeout=60) as client:
            while client.get("/state").json()["step"] < 2:
                assert training.poll() is None
        os.killpg(training.pid, signal.SIGINT)
        _, errors = training.communicate(timeout=60)
        assert training.returncode == 130 and errors == "stopped; the same command resumes from here.\n"
    assert state(tmp_path / "mine")["stands"] == "interrupted"
    with start([sys.executable, "-u", "-c", COMMAND, "watch", "mine"]) as watcher:
        assert watcher.stdout
        url = watcher.stdout.readline().split()[-1]
        assert httpx2.get(url.split("#")[0]).status_code == 200
        os.killpg(watcher.pid, signal.SIGINT)
        watcher.communicate(timeout=60)
        assert watcher.returncode == 0


def test_status_survives_what_another_version_writes(tmp_path: Path) -> None:
    for content in ("[]", "{}", json.dumps({**asdict(ABOUT), "more": 1}), "\x00"):
        (tmp_path / status.FILE).write_text(content, encoding="utf-8")
        assert Status.read(tmp_path) is None
    (tmp_path / status.FILE).write_text(json.dumps(asdict(replace(ABOUT, title="ü"))), encoding="utf-8")
    assert Status.read(tmp_path) == replace(ABOUT, title="ü")
