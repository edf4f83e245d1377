"""A stage in worker processes: the same rows as in this one, and a clean end whatever happens to a worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from pipeline.engines import local
from pipeline.engines.base import Facts, Stage
from pipeline.errors import ToolkitError
from pipeline.records import Position, Record, Rejected
from pipeline.store import Item, Mark, Store

INPUTS = [Record(f"r{number}", f"{number}.png", "film", Position()) for number in range(8)]
NAMES = [record.id for record in INPUTS]
HURRY = "hurry.txt"
"""The sign for workers not to dawdle."""
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Parameters:
    folder: Path
    worst: str = ""
    """Id of the record that ends in the way of the test."""


def inspect(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Item | Rejected | Facts]:
    for record in records:
        if record.id == parameters.worst:
            yield Rejected(record.id, record.path, "unreadable", "It is cut off.")
        else:
            time.sleep(0.05 if record.id < "r3" else 0)  # later batches overtake
            yield replace(record, url=f"{os.environ['OMP_WAIT_POLICY']}", width=len(record.id))
    yield Facts({"seen": len(records), "elsewhere": os.getpid() != os.getppid()})


def fail(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Item | Rejected]:
    if parameters.worst in [record.id for record in records]:
        raise OSError("the disk is gone")
    yield from records


def die(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Item | Rejected]:
    if parameters.worst in [record.id for record in records]:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from records


def dawdle(records: Sequence[Record], *, parameters: Parameters) -> Iterator[Item | Rejected]:
    for record in records:
        with (parameters.folder / "begun.txt").open("a") as begun:
            begun.write(f"{os.getpid()} {record.id}\n")
        time.sleep(0 if record.id < "r2" or (parameters.folder / HURRY).exists() else 1)
        yield record


def run(folder: Path, function: object, worst: str = "", *, processes: bool = True) -> Mark:
    work = partial(function, parameters=Parameters(folder, worst))  # type: ignore[call-overload]
    stage: Stage[Record] = Stage("inspect", "records", work, {}, batch=1, workers=2)
    with Store(folder) as store:
        return local.run(stage, INPUTS, store, upstream="films", progress=lambda *_: None, processes=processes)


def rows(folder: Path) -> list[Record]:
    with Store(folder) as store:
        return store.items(Record, "records")


def test_processes_give_the_same_rows_in_the_same_order_as_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    threads = run(tmp_path / "threads", inspect, "r5", processes=False)
    processes = run(tmp_path / "processes", inspect, "r5")
    assert rows(tmp_path / "processes") == rows(tmp_path / "threads")
    assert [row.id for row in rows(tmp_path / "processes")] == [name for name in NAMES if name != "r5"]
    assert replace(processes, seconds=0) == replace(threads, seconds=0)
    assert (processes.entered, processes.kept, processes.facts["seen"]) == (8, 7, 8)


def test_the_threads_of_a_worker_do_not_busy_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    run(tmp_path, inspect)
    assert {row.url for row in rows(tmp_path)} == {"PASSIVE"}


def test_an_error_in_a_worker_is_raised_by_the_stage_and_earlier_results_stay(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        run(tmp_path, fail, "r4")
    assert [row.id for row in rows(tmp_path)] == NAMES[:4]
    assert run(tmp_path, fail).kept == 8
    assert [row.id for row in rows(tmp_path)] == NAMES


def test_a_killed_worker_is_reported_in_one_sentence_and_the_stage_resumes(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError, match=r"a worker process of the stage inspect was killed, .* the stage resumes\."):
        run(tmp_path, die, "r4")
    before = [row.id for row in rows(tmp_path)]
    assert before == NAMES[: len(before)]
    assert run(tmp_path, die).kept == 8
    assert [row.id for row in rows(tmp_path)] == NAMES


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path[:0] = sys.argv[1:3]  # the product's folder first: `pipeline` is also a folder of tests
import test_processes
from pathlib import Path
if __name__ == "__main__":
    test_processes.run(Path(sys.argv[3]), test_processes.dawdle)
"""


def nobody_is_left(group: int) -> bool:
    """Whether a process group is empty, or soon will be: Python's own resource tracker ends a moment after the rest."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_ends_all_workers_and_the_stage_resumes(tmp_path: Path) -> None:
    script, begun, run_folder = tmp_path / "interrupted.py", tmp_path / "run/begun.txt", tmp_path / "run"
    script.write_text(INTERRUPTED)
    here = Path(__file__).parent
    words = [sys.executable, str(script), str(here.parents[2]), str(here), str(run_folder)]
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not (begun.exists() and "r2" in begun.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        _, errors = process.communicate()
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1, errors  # no worker's output
    assert nobody_is_left(process.pid)
    before = [row.id for row in rows(run_folder)]
    assert before == NAMES[: len(before)] and len(before) < 8
    (run_folder / HURRY).touch()
    assert run(run_folder, dawdle).kept == 8
    assert [row.id for row in rows(run_folder)] == NAMES


def test_a_script_without_a_guard_is_not_run_again_by_every_worker(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"print('once', flush=True)\nimport sys\nsys.path[:0] = {[str(ROOT), str(ROOT / 'tests/pipeline/engines')]}\n"
        f"import test_processes\nfrom pathlib import Path\n"
        f"test_processes.run(Path({str(tmp_path / 'run')!r}), test_processes.inspect)\n",
        encoding="utf-8",
    )
    (tmp_path / "run").mkdir()
    ran = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "once\n"), ran.stderr
    assert [row.id for row in rows(tmp_path / "run")] == NAMES
