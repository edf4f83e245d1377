"""The engine for many machines. Without Ray: its settings, refusals and what a worker does; the slow tests start it."""

import hashlib
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from iclora import open_run
from iclora.settings import Settings, in_force
from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.consistency.scorers import open_clip
from pipeline.engines import _capacity, base, local
from pipeline.engines import ray as engine
from pipeline.engines.base import Facts, Stage
from pipeline.engines.ray import SIGN, Ground, Worker
from pipeline.errors import BadInput, ToolkitError
from pipeline.records import Position, Record, Rejected
from pipeline.stages import filter, group
from pipeline.store import Item, Store

ROOT = Path(__file__).parents[3]
RECORDS = [Record(f"r{number:02}", f"{number}.png", "film", Position()) for number in range(12)]
NAMES = [record.id for record in RECORDS]
Run = Callable[..., tuple[int, str, str]]
Needs = Literal["core", "gpu", "part of a gpu", "server"]


def silent(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Parameters:
    folder: Path
    kills: str = ""
    """Id of the record that kills its worker: the first time, or every time if an exclamation mark follows."""


def work(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Item | Rejected | Facts]:
    for record in records:
        with (parameters.folder / "begun.txt").open("a") as begun:
            begun.write(f"{record.id}\n")
        once = parameters.folder / "killed.txt"
        if record.id == parameters.kills.rstrip("!") and (parameters.kills.endswith("!") or not once.exists()):
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05 if record.id < "r03" else 0)  # later batches overtake
        yield Rejected(record.id, record.path, "dark", "It is black.") if record.id == "r05" else record
    yield Facts({"seen": len(records)})


def dawdle(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Item | Rejected | Facts]:
    yield from work(records, parameters=parameters)
    time.sleep(0.5)


def stage(folder: Path, kills: str = "", function: object = work) -> Stage[Record]:
    bound = partial(function, parameters=Parameters(folder, kills))  # type: ignore[call-overload]
    return Stage("inspect", "records", bound, {}, batch=1)


def on_ray(folder: Path, line: Sequence[Stage[Record]]) -> None:
    """Works on the records with Ray, in a store for each stage; prints what a stage ends with."""
    made = engine.make({"least": 0, "workers": 2})
    with made.working(folder, []):
        for number, one in enumerate(line):
            with Store(folder / str(number)) as store:
                try:
                    base.run(one, RECORDS, store, upstream="", progress=silent, engine=made)
                except ToolkitError as error:
                    print(error)


def rows(folder: Path) -> tuple[list[Record], list[Rejected], object]:
    with Store(folder) as store:
        mark = store.mark("inspect")
        return store.items(Record, "records"), store.rejected("inspect"), mark and (mark.done, mark.facts)


def python(code: str, *words: object, **environment: str) -> subprocess.Popen[str]:
    """Another Python, since what Ray starts outlives a test."""
    head = "import sys\nfrom pathlib import Path\nimport test_ray_engine as test\nhome = Path(sys.argv[1])\n"
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)))
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, words)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ---- settings and refusals


def test_an_engine_is_a_setting_of_the_run_with_options_of_its_own() -> None:
    asked = Settings(task="storyboard").changed(engine="ray", settings=["engine.address=auto", "engine.gpus=0.25"])
    found = {one.key: (one.value, one.origin) for one in in_force(asked)}
    assert found["engine"] == ("ray", "run") and found["engine.gpus"] == (0.25, "run")
    assert found["engine.least"] == (2000, "default")
    assert asked.changed(engine="local", settings=["engine.workers=3"]).overrides == {"engine.workers": 3}
    assert asked.changed(unset=["engine"]).engine == "local"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "rya"], r"no engine named 'rya', did you mean 'ray'\?"),
        (["--engine", "ray", "--set", "engine.adress=auto"], "unknown key 'engine.adress', did you mean 'address'"),
        (["--set", "engine.address=auto"], "unknown key 'engine.address'"),
        (["--engine", "ray", "--set", "engine.workers=0"], "engine.workers: .* greater than or equal to 1, got 0"),
    ],
)
def test_a_wrong_engine_or_option_is_one_sentence(iclora: Run, words: list[str], message: str) -> None:
    code, _, errors = iclora("inspect", "storyboard", *words)
    assert code == 2
    assert re.search(message, " ".join(errors.split())), errors


def test_few_pictures_are_refused_before_any_work_and_told_the_ways_on(
    iclora: Run, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        draw(number).save(tmp_path / "in" / f"{number}.png")
    code, _, errors = iclora("inspect", "storyboard", "--source", "in", "--engine", "ray")
    assert code == 2
    assert " ".join(errors.split()) == (
        "error: for 3 records the local engine is quicker than Ray, which is meant for 2,000 and more; type --engine "
        "local, or take Ray nevertheless with --set engine.least=0."
    )
    assert not (tmp_path / "runs/storyboard/run.settings.json").exists()


def test_records_that_can_t_be_counted_before_are_refused_once_collected_and_the_local_engine_goes_on_from_there(
    iclora: Run, draw: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself is not started: what it would collect is collected in this process."""
    monkeypatch.setattr(engine.Ray, "results", lambda _, *words: local.make({}).results(*words))
    draw(0).save("in.gif", save_all=True, append_images=[draw(1), draw(2)])
    frames = ["--set", "pictures.animated=frames"]
    code, _, errors = iclora("inspect", "storyboard", "--source", "in.gif", "--engine", "ray", *frames)
    assert code == 2 and "error: for 3 records the local engine is quicker than Ray" in " ".join(errors.split())
    with open_run("storyboard", "in.gif", settings=["pictures.animated=frames"], engine="local") as run:
        assert [(one.name, one.worked, one.kept) for one in run.advance("inspect")] == [
            ("collect", False, 3),
            ("inspect", True, 3),
        ]


def test_it_takes_few_records_if_told() -> None:
    engine.make({"least": 3}).check(3)
    with pytest.raises(BadInput, match="for 2 records"):
        engine.make({"least": 3}).check(2)


def test_without_its_package_the_engine_names_the_extra(
    iclora: Run, tmp_path: Path, draw: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: ["ray"] * (extra == "ray"))
    draw(1).save(tmp_path / "one.png")
    code, _, errors = iclora("inspect", "storyboard", "--source", "one.png", "--engine", "ray")
    assert code == 2
    assert "the engine 'ray' needs ray, which is not installed: pip install 'iclora[ray]'." in " ".join(errors.split())


def test_ray_is_imported_only_where_there_is_work_for_it() -> None:
    code = (
        "import sys\nfrom pipeline.engines import ray\n"
        "with ray.make({}).working(home, []):\n    print(sorted({'ray', 'pyarrow'} & set(sys.modules)))"
    )
    with python(code, ROOT) as process:
        printed, errors = process.communicate()
    assert printed == "[]\n", errors


def test_as_many_workers_as_cores_and_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(_capacity, "_free_memory", lambda: 10 * _capacity.MEMORY_PER_WORKER + 1)
    assert local.make({}).workers == 10
    assert local.make({"workers": 3}).workers == 3
    monkeypatch.setattr(_capacity, "_free_memory", lambda: 0)
    assert local.make({}).workers == 1
    monkeypatch.setattr(_capacity, "_free_memory", lambda: None)
    assert local.make({}).workers == 64


@pytest.mark.parametrize(
    ("needs", "options", "cluster", "expected"),
    [
        ("core", {}, {"CPU": 16, "GPU": 1}, (1, 0, 16)),
        ("gpu", {}, {"CPU": 16, "GPU": 2}, (0, 1, 2)),
        ("gpu", {"gpus": 0.25}, {"CPU": 16, "GPU": 2}, (0, 0.25, 8)),
        ("gpu", {}, {"CPU": 16}, (1, 0, 16)),
        ("part of a gpu", {}, {"CPU": 16, "GPU": 1}, (1, 0.125, 8)),
        ("part of a gpu", {}, {"CPU": 4, "GPU": 1}, (1, 0.125, 4)),
        ("part of a gpu", {"gpus": 0.5}, {"CPU": 16, "GPU": 1}, (1, 0.5, 2)),
        ("part of a gpu", {"gpus": 0}, {"CPU": 16, "GPU": 1}, (1, 0, 16)),
        ("part of a gpu", {}, {"CPU": 16}, (1, 0, 16)),
    ],
)
def test_workers_get_cores_and_gpus_by_what_their_stage_needs(
    needs: Needs,
    options: dict[str, object],
    cluster: dict[str, float],
    expected: tuple[float, float, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: cluster)
    made, asked = engine.make(options), replace(stage(Path()), needs=needs)
    cores, gpus = made._share(asked)
    assert (cores, gpus, made._count(asked, cores, gpus)) == expected


def test_the_steps_that_run_a_model_take_what_it_needs(tmp_path: Path) -> None:
    storyboard, cache = task.load("storyboard"), Cache(tmp_path)
    clip = open_clip.make({"model": f"local-dir:{ROOT / 'miniature/clip'}"})
    by = plugins.find(plugins.GROUPING, storyboard.group.by)
    needs = {
        scorer and "open_clip": (
            group.stage(group.Parameters(storyboard, by, scorer, tmp_path, cache)).needs,
            filter.stage(storyboard, [], scorer, tmp_path, cache).needs,
        )
        for scorer in (clip, None)
    }
    assert needs == {"open_clip": ("part of a gpu",) * 2, None: ("core",) * 2}


# ---- what a worker does


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.chdir(tmp_path)  # a worker goes to where the engine is; this process comes back
    (tmp_path / SIGN).write_text("seven")
    return Ground(str(tmp_path), str(tmp_path), "seven", (str(tmp_path),))


def answer(worker: Worker, part: object) -> object:
    return pickle.loads(worker._made(pickle.dumps(part)))


def fail(part: object) -> object:
    raise Unruly(part, "never seen")


class Unruly(Exception):
    """It can be pickled, and not read again."""

    def __init__(self, part: object, why: str) -> None:
        super().__init__(f"{part} was {why}")


@dataclass(frozen=True)
class Model:
    """A function that counts how often it was loaded."""

    folder: Path

    def __call__(self, part: object) -> object:
        if part == "bad":
            raise BadInput("it is bad.")
        return part

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        with (self.folder / "loaded.txt").open("a") as loaded:
            loaded.write("once\n")


def test_a_worker_loads_its_function_once_and_hands_errors_on(ground: Ground, tmp_path: Path) -> None:
    worker = Worker(pickle.dumps(Model(tmp_path)), ground)
    assert [answer(worker, part) for part in (1, [2], None)] == [1, [2], None]
    raised = answer(worker, "bad")
    assert isinstance(raised, BadInput) and str(raised) == "it is bad." and "test_ray_engine.py" in raised.__notes__[0]
    assert (tmp_path / "loaded.txt").read_text() == "once\n"


def test_an_error_that_can_t_travel_is_told_as_text(ground: Ground) -> None:
    raised = answer(Worker(pickle.dumps(fail), ground), "r07")
    assert isinstance(raised, RuntimeError) and "r07 was never seen" in str(raised)


def test_a_worker_that_does_not_see_the_files_says_which(ground: Ground, tmp_path: Path) -> None:
    other, gone = tmp_path / "other", tmp_path / "gone.mp4"
    for standing, path in (
        (Ground(str(tmp_path), str(tmp_path), "eight", ()), tmp_path),  # a folder of the same name on its own disk
        (Ground(str(other), str(other), "seven", ()), other),
        (Ground(str(tmp_path), str(tmp_path), "seven", (str(gone),)), gone),
    ):
        raised = answer(Worker(pickle.dumps(Model(tmp_path)), standing), 1)
        assert isinstance(raised, BadInput) and f" does not see {path}; put run and sources on" in str(raised)


# ---- Ray itself


@pytest.mark.slow
def test_ray_comes_to_the_same_rows_whatever_a_worker_dies_of(tmp_path: Path) -> None:
    code = """
stages = [test.stage(home, kills) for kills in ("", "r04", "r04!")]
test.on_ray(home, stages)
"""
    with python(code, tmp_path) as process:
        printed, errors = process.communicate()
    with Store(tmp_path / "here") as store:
        local.run(stage(tmp_path), RECORDS, store, upstream="", progress=silent)
    expected = rows(tmp_path / "here")
    assert [record.id for record in expected[0]] == [name for name in NAMES if name != "r05"]
    assert rows(tmp_path / "0") == rows(tmp_path / "1") == expected, errors
    assert printed.startswith("workers of the stage inspect died again and again of the same inputs")
    before = [record.id for record in rows(tmp_path / "2")[0]]
    assert 0 < len(before) <= 4 and before == NAMES[: len(before)]
    assert "Traceback" not in errors and not list(Path("/tmp").glob(f"iclora-ray-{process.pid}-*"))


@pytest.mark.slow
def test_a_killed_run_resumes_and_sends_nothing_again_that_is_settled(tmp_path: Path) -> None:
    code = "test.on_ray(home, [test.stage(home, function=test.dawdle)])"
    with python(code, tmp_path) as process:
        while not (tmp_path / "0/run.db").exists() or len(rows(tmp_path / "0")[0]) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.kill()
    before = [record.id for record in rows(tmp_path / "0")[0]]
    assert before == NAMES[: len(before)]
    time.sleep(5)  # until Ray's processes have noticed
    (tmp_path / "begun.txt").unlink()
    with python(code, tmp_path) as process:
        _, errors = process.communicate()
    found, rejected, (done, _) = rows(tmp_path / "0")  # type: ignore[misc]
    assert ([record.id for record in found], len(rejected), done) == (NAMES[:5] + NAMES[6:], 1, True), errors
    assert not set((tmp_path / "begun.txt").read_text().split()) & set(before)


@contextmanager
def cluster(home: Path) -> Iterator[str]:
    """The address of a cluster that asks for the token of a home folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ray, port = Path(sys.executable).with_name("ray"), address.partition(":")[2]
    command = [ray, "start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false", f"--port={port}"]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as sockets, (home / "head.log").open("w") as log:
        environment = os.environ | {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        with subprocess.Popen([*command, f"--temp-dir={sockets}"], env=environment, stdout=log, stderr=log) as head:
            try:
                while "Ray runtime started" not in (home / "head.log").read_text():
                    assert head.poll() is None, (home / "head.log").read_text()
                    time.sleep(0.1)
                yield address
            finally:
                head.terminate()


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_joined_by_who_has_it_and_named_to_who_has_none(tmp_path: Path) -> None:
    tokens = {"head": "a" * 64, "friend": "a" * 64, "stranger": "b" * 64, "nobody": ""}
    modes = {home: {"RAY_AUTH_MODE": "token"} for home in ("friend", "nobody")}
    for home, token in tokens.items():
        (tmp_path / home / ".ray").mkdir(parents=True)
        if token:
            (tmp_path / home / ".ray/auth_token").write_text(token, encoding="ascii")
    said = {}
    with cluster(tmp_path / "head") as address:
        for home in ("friend", "stranger", "nobody"):
            code = f"test.engine._begin({address!r}, 1)(); print('joined')"
            with python(code, tmp_path, HOME=str(tmp_path / home), **modes.get(home, {})) as process:
                said[home] = process.communicate()
    assert said["friend"][0] == "joined\n", said
    for home in ("stranger", "nobody"):
        assert f"BadInput: the Ray cluster at engine.address={address} asks for a token that" in said[home][1], said


@pytest.mark.slow
def test_tables_pictures_and_vectors_are_those_of_the_local_engine(
    iclora: Run, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    for number in range(36):
        (tmp_path / f"in/{number // 3}").mkdir(parents=True, exist_ok=True)
        draw(number).save(tmp_path / f"in/{number // 3}/{number % 3}.png")
    (tmp_path / "in/0/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    clip = f"scorer.model=local-dir:{ROOT / 'miniature/clip'}"
    words = ["-m", "iclora", "filter", "storyboard", "--source", "in", "--captioner", "sidecar"]
    for setting in ("group.prove=false", "group.floor=0", "grids=[1, 20]", "caption.people=false", clip):
        words += ["--set", setting]
    for name, more in (("local", []), ("ray", ["--set", "engine.least=0", "--set", "engine.workers=2"])):
        ran = subprocess.run(
            [sys.executable, *words, "--engine", name, *more, "--out", name],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in ran.stderr and (tmp_path / name / "grids").is_dir(), ran.stderr
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def contents(folder: Path) -> dict[str, object]:
    with Store(folder) as store:
        tables: dict[str, object] = {name: store.table(name) for name in store.counts() if name != "stages"}
    assert tables["rejected"] and tables["grids"]
    files = [file for part in ("grids", "cache/vectors") for file in (folder / part).rglob("*.*")]
    hashes = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert any(name.endswith(".f32") for name in hashes)
    return tables | dict(hashes)
