"""What several test files need: drawn images, and a way to send files through a stage with the engine."""

from __future__ import annotations

import gc
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported, whose waiting threads would take the cores from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # every core has a worker already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from pipeline import task
from pipeline.cache import Cache
from pipeline.engines import local
from pipeline.records import Record, Rejected
from pipeline.stages import collect, inspect
from pipeline.store import Store
from pipeline.task import Task

if TYPE_CHECKING:
    from training.job import Job

Outcome = tuple[list[Record], list[Rejected]]
Run = Callable[..., tuple[int, str, str]]


# The same examples in every run, so that a re-run gives the same result; the slow tier asks for more of them.
# Health checks are about time, and the machine may be busy; temporary folders serve all examples of a test.
PATIENT = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("few", max_examples=25, deadline=None, derandomize=True, suppress_health_check=PATIENT)
settings.register_profile("many", settings.get_profile("few"), max_examples=100)
settings.load_profile("few")

SLOW = 600
"""Seconds that a slow test may take; the others are limited in pyproject.toml."""


LONGEST = (
    "test_guide.py", "test_python_api.py", "test_gpu.py", "test_ray_engine.py", "test_offline.py", "test_mini_flux.py",
    "test_wheel.py", "test_film_reader.py", "test_opening.py", "test_training.py", "test_miniature.py",
)  # fmt: skip
"""Files whose slow tests take minutes. They come first, so that no worker is left with one when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW))
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish() -> None:
    """Hides what was imported from the garbage collector: looking at it takes half a second each time, and whatever
    frees a model calls the collector."""
    gc.collect()
    gc.freeze()


def sorted_out(results: Sequence[Record | Rejected]) -> Outcome:
    kept = [item for item in results if isinstance(item, Record)]
    return kept, [item for item in results if isinstance(item, Rejected)]


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    """Soft coloured shapes that look like those of no other seed."""

    def draw(seed: int, size: tuple[int, int] = (640, 360)) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (5, 8, 3), np.uint8)
        picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            centre = tuple(int(rng.integers(0, side)) for side in size)
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            cv2.circle(picture, centre, int(min(size) * rng.uniform(0.05, 0.2)), colour, -1)
        return Image.fromarray(picture)

    return draw


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache that trainings share: a folder for this session and the commands that it runs, not the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("shared")
        patch.setenv("ICLORA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No test cuts the power, so none waits until its files are on the disk; the commands that tests start do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def savefig() -> Iterator[Callable[..., None]]:
    """What draws a plot. Plots are laid out as ever but written blank, except for tests that ask for `drawn_plots`:
    drawing one takes as long as a training of a few steps."""
    from matplotlib.figure import Figure

    drawn = Figure.savefig

    def write_blank(figure: Figure, path: Path, *, format: str, dpi: int) -> None:
        width, height = (round(inches * dpi) for inches in figure.get_size_inches())
        Image.new("RGB", (width, height), "white").save(path, format)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", write_blank)
        yield drawn


@pytest.fixture
def drawn_plots(savefig: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots as users get them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)


@pytest.fixture
def storyboard() -> Task:
    return task.load("storyboard")


@pytest.fixture
def iclora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`iclora("show", "storyboard")` gives exit code, output and errors, in a folder of its own and without the hub."""
    from iclora import cli

    monkeypatch.chdir(tmp_path)
    # In this order: if this is the package's first import, it reads the environment as it was.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["iclora", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def gather(tmp_path: Path, storyboard: Task) -> Callable[..., Outcome]:
    """Collects what lies below a path, into the run's folder `tmp_path / "run"`."""

    def gather(path: Path, task: Task = storyboard) -> Outcome:
        items = collect.find([path])
        with Store(tmp_path / "run") as store:
            stage = collect.stage(task, items, store.folder, store.items(Record, "collected"))
            local.run(stage, items, store, upstream="", progress=lambda *_: None)
            return store.items(Record, "collected"), store.rejected("collect")

    return gather


@pytest.fixture
def measure(tmp_path: Path, storyboard: Task) -> Callable[..., Outcome]:
    """Inspects records of `gather`."""

    def measure(records: Sequence[Record], task: Task = storyboard) -> Outcome:
        return sorted_out(list(inspect.stage(task, tmp_path / "run", 1).run(records)))

    return measure


# ---- training


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX.1-dev at small size whose T5 reads 128 letters."""
    import tiny

    return tiny.flux(tmp_path_factory.mktemp("models") / "flux", length=128)


@pytest.fixture(scope="session")
def grids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of storyboards as our export writes it: six grids to train on, two held out, 256 x 384 pixels.

    Every panel shows the miniature's world; its text gives place and shot.
    """
    from miniature.draw import draw
    from miniature.world import draw_character, draw_scene
    from pipeline.dataset import samples
    from pipeline.dataset.split import Split
    from pipeline.exporters import imagefolder
    from pipeline.records import Grid, Group, Position, Row
    from pipeline.text import grammar

    run, home = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("grids")
    small = task.load("storyboard", ["layout.panel_width=256", "layout.panel_height=128"])
    layout, rng, rows = small.grid_layout, random.Random(0), []
    for number in range(1, 9):
        who = draw_character(rng)
        scenes = [draw_scene(rng, who) for _ in range(layout.size)]
        picture = Image.new("RGB", layout.canvas)
        for scene, box in zip(scenes, layout.boxes, strict=True):
            picture.paste(Image.fromarray(draw(scene, size=(layout.panel_width, layout.panel_height))), box[:2])
        picture.save(run / f"{number}.png")
        records = tuple(Record(f"r{number}-{panel}", "", "film.mp4", Position()) for panel in range(layout.size))
        caption_text = grammar.render(
            f"<Mara>, {who.kind}", [f"{scene.place} {scene.shot}" for scene in scenes], ["Mara"], small
        )
        grid = Grid(f"g{number}", Group(f"s{number}", small.name, records, "", 1), layout, f"{number}.png")
        rows.append(Row(grid, grammar.parse(caption_text, small)))
    films = {row.id: f"film {number}" for number, row in enumerate(rows, 1)}
    split = Split(films, frozenset(row.id for row in rows[6:]), "")
    imagefolder.write(samples.gather(rows, small, run, split), home)
    return home


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Data that is encoded once serves all tests that don't ask for a cache of their own."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def toys() -> Iterator[None]:
    """The made-up families of `tests/toys`, as if their files were beside those of the product."""
    from pipeline import families
    from training import backends

    folder = Path(__file__).parent / "toys"
    with pytest.MonkeyPatch.context() as patch:
        for package in (backends, families):
            own = package.__name__.rpartition(".")[2]
            patch.setattr(package, "__path__", [*package.__path__, str(folder / own)])
        yield


@pytest.fixture
def make_job(tmp_path: Path, tiny_flux: Path, grids: Path, encoded: Cache) -> Callable[..., Job]:
    """`make_job(steps=3)` is a training on `grids` with `train.steps=3`, in `tmp_path / "training"` by default."""
    return _maker(tmp_path, tiny_flux, grids, encoded)


def _maker(home: Path, tiny_flux: Path, grids: Path, encoded: Cache) -> Callable[..., Job]:
    def make(
        folder: str = "training",
        *,
        data: Path = grids,
        cache: Cache = encoded,
        overrides: Sequence[str] = (),
        name: str = "storyboard",
        **settings: object,
    ) -> Job:
        from training import config, dataset
        from training.job import Job, find_backend

        usual = {
            "model": str(tiny_flux),
            "scales": [0.125],
            "smallest_panel": 48,
            "steps": 4,
            "micro_batch": 4,
            "rank": 4,
            "alpha": 4,
            "learning_rate": 1e-3,
            "samples": 0,
        }
        trained = {f"train.{key}": value for key, value in (usual | settings).items()}
        of = task.load(name, trained | task.parse_settings(overrides))
        wanted = config.load(of)
        backend = find_backend(of.base, wanted.model, wanted.revision)
        return Job(of, wanted, dataset.read(data, of), backend, home / folder, cache)

    return make


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, tiny_flux: Path, grids: Path, encoded: Cache) -> Path:
    from training import loop
    from training.processes import Processes

    job = _maker(tmp_path_factory.mktemp("lora"), tiny_flux, grids, encoded)(steps=2, learning_rate=0.05)
    return loop.train(job, Processes(), lambda *_: None).file


@pytest.fixture
def lora(_trained: Path, tmp_path: Path) -> Path:
    """A LoRA of two steps, large enough to have an effect; each test has its own copy."""
    return Path(shutil.copy(_trained, tmp_path))
