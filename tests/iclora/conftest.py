"""A browser that looks at the review page of a finished run, which the miniature's model has scored."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import pytest
from browsing import CHROMIUM, Faults, visit
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from served import Served, build, opened, serving

import iclora
from iclora.offline import MINIATURE
from iclora.run import Run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run; tests copy it."""
    return build(tmp_path_factory.mktemp("browser"), scored=True)


@pytest.fixture(scope="session")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without scores; tests copy it."""
    return build(tmp_path_factory.mktemp("unscored"))


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Path:
    """A copy of the run, for one test."""
    return shutil.copytree(built, tmp_path / "run")


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    run = opened(home)
    with run.store:
        yield run


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    with serving(home) as page:
        yield page


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client() as client:
        yield client


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def page(context: BrowserContext, served: Served, faults: Faults, tmp_path: Path) -> Iterator[Page]:
    page = visit(context, served, faults)
    yield page
    page.screenshot(path=tmp_path / "end.png")
    assert [fault for fault in faults if "status of 4" not in fault] == []  # refused requests are fine


@pytest.fixture(scope="session")
def make_evaluable(grids: Path) -> Callable[[Path, str, Mapping[str, object]], Path]:
    """`make_evaluable(folder, captioner, settings)` is the folder of a run whose data set are the eight grids that the
    LoRA is trained on; all of them are kept."""

    def make(folder: Path, captioner: str, more: Mapping[str, object]) -> Path:
        settings = {
            "scorer.model": f"local-dir:{MINIATURE / 'clip'}",
            "layout.panel_width": 256,
            "layout.panel_height": 128,
            "filter.floor": -1,
            "filter.summary": -1,
            "filter.slack": 10,
            "filter.related": -1,
            "filter.recurring": False,
            "filter.copies": 1,
            "filter.texts": 1,
        } | dict(more)
        with iclora.open_run(
            "storyboard", grids, captioner=captioner, settings=settings, folder=folder, scorer="open_clip"
        ) as run:
            run.advance(to="filter")
            run.apply(run.rows()[["id"]].assign(decision="keep"))
            run.advance(start="filter")
        return folder

    return make


@pytest.fixture(scope="session")
def evaluable(
    make_evaluable: Callable[[Path, str, Mapping[str, object]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Such a run with the grids' own captions; tests copy it."""
    return make_evaluable(tmp_path_factory.mktemp("evaluable") / "run", "sidecar", {})
