"""Ctrl-C: one sentence, exit code 130, no traceback, and an end soon after, whatever the command is waiting for."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from endpoint import Endpoint, hangs
from endpoint import serving as answering
from served import Served, resettle

from training import loop
from training.job import Job
from training.processes import Processes

ROOT = Path(__file__).parents[2]
LONGEST = 30
"""Seconds: far less than what the commands wait for, far more than they need on a busy machine."""
RESUMES = "stopped; the same command resumes from here.\n"
# A shell's background jobs ignore Ctrl-C, and so do their children.
COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from iclora.cli import main; main()"
WITH = (
    "import signal, sys, threading; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from iclora.cli.interrupts import Interruptible\n"
    "def told(): print('begun', flush=True)\n"
    "with Interruptible(lambda: 'stopped.'):\n"
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")


@contextmanager
def started(code: str, *words: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[str], times: int = 1) -> tuple[str, str]:
    """What a process still prints after Ctrl-C."""
    for _ in range(times):
        with suppress(ProcessLookupError):  # it ended after an earlier one
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        time.sleep(0.1)
    output, errors = process.communicate(timeout=LONGEST)
    # A second one that comes when Python has already given its signals back to the system is told as just that.
    assert process.returncode in (130, -signal.SIGINT)[:times], errors
    return output, errors


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def line(process: subprocess.Popen[str], pattern: str) -> str:
    """The first line that matches."""
    assert process.stdout
    for printed in process.stdout:
        if re.search(pattern, printed):
            return printed
    raise AssertionError(process.communicate())


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    """A server that takes questions and never answers."""
    with answering(default=hangs) as endpoint:
        yield endpoint


# ---- the commands


@pytest.fixture(scope="module")
def built(unscored: Path) -> Path:
    return unscored


def test_a_data_set_whose_captioner_does_not_answer(built: Path, silent: Endpoint, tmp_path: Path) -> None:
    words = ["dataset", "storyboard", "--out", str(tmp_path / "run"), "--scorer", "none"]
    for number in range(4):
        words += ["--source", str(built.parent / f"film-{number}")]
    words += ["--captioner", "server", "--set", f"captioner.url={silent.url}", "--set", "group.floor=0.0"]
    with started(COMMAND, *words, folder=tmp_path) as command:
        wait_for(lambda: silent.asked.total() > 0, command)
        output, errors = interrupted(command)
    assert errors == RESUMES
    assert "compose: " in output  # what was done is kept


@pytest.mark.parametrize("times", [1, 3])
def test_a_review_that_asks_a_captioner_which_does_not_answer(
    built: Path, silent: Endpoint, tmp_path: Path, times: int
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    resettle(run, captioner="server", settings=(f"captioner.url={silent.url}",))
    with started(COMMAND, "review", "storyboard", "--serve", "--out", str(run), folder=tmp_path) as command:
        address, token = re.findall(r"http://(127\.0\.0\.1:\d+)/#(\S+)", line(command, "Review at"))[0]
        with Served(address, token, run).client() as client:
            grid = client.get("/rows").json()["rows"][0]["id"]
            answers: list[httpx2.Response] = []
            asking = threading.Thread(target=lambda: answers.append(client.post(f"/rows/{grid}/ask", json={})))
            asking.start()
            wait_for(lambda: silent.asked.total() > 0, command)
            output, errors = interrupted(command, times)
            asking.join()
    assert errors == RESUMES
    assert "grids in" not in output
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [
        (503, "the review was stopped before this was done.")
    ]


@pytest.mark.slow
def test_a_training(grids: Path, tiny_flux: Path, tmp_path: Path) -> None:
    small = {"model": tiny_flux, "scales": "[0.125]", "smallest_panel": 48, "rank": 4, "alpha": 4, "samples": 0}
    words = ["train", "storyboard", "--data", str(grids), "--into", str(tmp_path / "lora")]
    for key, value in {**small, "steps": 100_000, "save_every": 1}.items():
        words += ["--set", f"train.{key}={value}"]
    with started(COMMAND, *words, folder=tmp_path) as command:
        wait_for(lambda: any((tmp_path / "lora").rglob("*.safetensors")), command)
        output, errors = interrupted(command)
    assert errors.endswith(RESUMES)
    assert "Traceback" not in output + errors


@pytest.mark.slow
def test_a_generation(make_job: Callable[..., Job], tiny_flux: Path, tmp_path: Path) -> None:
    lora = loop.train(make_job(steps=1), Processes(), lambda *_: None).file
    words = ["generate", str(lora), "a dog", "--model", str(tiny_flux), "--steps", "1000000"]
    with started(COMMAND, *words, folder=tmp_path) as command:
        line(command, "note: the prompt lacks")
        output, errors = interrupted(command)
    assert errors.endswith("stopped; nothing was written, and the same command starts again.\n")
    assert "Traceback" not in output + errors
    assert not (tmp_path / "generated.png").exists()


# ---- whatever holds a command up


@pytest.mark.parametrize(
    "held_up",
    [
        "import hashlib; told(); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",  # Python sees no signal meanwhile
        "threading.Thread(target=threading.Event().wait).start(); told(); threading.Event().wait()",
        "import contextlib; told()\n    with contextlib.suppress(KeyboardInterrupt): threading.Event().wait()\n"
        "    threading.Event().wait()",
        "told()\n    try: threading.Event().wait()\n    finally: threading.Event().wait()",
        "told()\n    try: threading.Event().wait()\n    except KeyboardInterrupt: raise ValueError('hidden') from None",
    ],
    ids=["a computation", "a thread", "a swallowed interrupt", "an ending without end", "another error"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_nothing_holds_up_the_end(held_up: str, times: int, tmp_path: Path) -> None:
    with started(f"{WITH}    {held_up}", folder=tmp_path) as command:
        line(command, "begun")
        assert interrupted(command, times) == ("", "stopped.\n")


@pytest.mark.parametrize(
    "first", ["", "signal.signal(signal.SIGINT, signal.SIG_IGN); "], ids=["heeds it", "ignores it"]
)
def test_a_worker_process_ends_in_silence(first: str, tmp_path: Path) -> None:
    body = (
        "    import multiprocessing\n"
        "    forked = multiprocessing.get_context('fork')\n"
        "    at_work = forked.Event()\n"
        f"    def work(): {first}at_work.set(); threading.Event().wait()\n"
        "    worker = forked.Process(target=work)\n"
        "    worker.start(); at_work.wait(); told()\n"
        "    try: worker.join()\n"
        "    finally: worker.join()\n"
    )
    with started(f"{WITH}{body}", folder=tmp_path) as command:
        line(command, "begun")
        assert interrupted(command) == ("", "stopped.\n")  # the worker has the same output, which has ended too


def test_a_command_that_ends_by_itself_leaves_signals_as_they_were(tmp_path: Path) -> None:
    code = f"{WITH}    pass\nassert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    code += "assert signal.set_wakeup_fd(-1) == -1\nprint('over')"
    with started(code, folder=tmp_path) as command:
        output, errors = command.communicate(timeout=LONGEST)
    assert (output, errors, command.returncode) == ("over\n", "", 0)


def test_a_command_that_is_still_being_loaded_shows_no_traceback(tmp_path: Path) -> None:
    loading = "sys.meta_path.insert(0, type('Slow', (), {'find_spec': staticmethod(lambda *_: told())}))"
    code = (
        f"{WITH.partition('from iclora')[0]}def told():\n    print('begun', flush=True)\n    threading.Event().wait()\n"
    )
    code += f"from iclora.__main__ import main\n{loading}\nmain()"
    with started(code, folder=tmp_path) as command:
        line(command, "begun")
        assert interrupted(command) == ("", "stopped.\n")
