"""docs/many-machines.md, run as it stands on few pictures; and what two processes do with one run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bitmaps
import pytest

from iclora import open_run
from iclora.cli import endings
from iclora.page.others import base_of
from iclora.page.session import ReviewSession

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")
SHELL, SBATCH = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("sh", "sbatch"))
SMALL = [word for key, value in bitmaps.SMALL.items() for word in ("--set", f"{key}={str(value).lower()}")]
BARE = ["--captioner", str(ROOT / "tests/toys/captioners/by_picture.py"), "--scorer", "none", *SMALL]
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the page is for Linux")
def test_the_page_makes_one_data_set_of_all_parts(tmp_path: Path) -> None:
    bitmaps.folders(tmp_path / "films", "abcd")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "iclora").write_text(f'#!/bin/sh\nexec {sys.executable} -m iclora "$@"\n', encoding="utf-8")
    (bin_ / "iclora").chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}

    def typed(script: str, **more: str) -> None:
        ran = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    cut, merge, _ = SHELL  # the last one is for a cluster
    typed(f"{cut.strip().replace('16', '2')} {' '.join(BARE)}")
    for number in ("1", "2"):
        typed(SBATCH[0], SLURM_ARRAY_JOB_ID="9", SLURM_ARRAY_TASK_ID=number)
        told = (tmp_path / f"logs/part-{number}.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(told[0])["job"] == f"9_{number}" and json.loads(told[-1])["exit_code"] == 0
    typed(merge)
    assert len(list((tmp_path / "runs/all/dataset").glob("*/*.png"))) == 4


def test_the_page_lists_the_exit_codes_that_the_commands_end_with() -> None:
    table = PAGE.split("## Exit codes")[1].split("\n## ")[0]
    ours = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in row.split(", ")} - {137, 143}
    assert ours == {endings.DONE, endings.EMPTY, endings.REFUSED, endings.STOPPED}


def test_shard_tells_what_each_part_has_and_the_commands_that_follow_are_right(iclora: Run) -> None:
    bitmaps.folders(Path("films"), "ab")
    code, told, _ = iclora("shard", "storyboard", "--source", "films", "--shards", "2", *BARE)
    films = Path("films").resolve()
    first, second, *_, run, then, merge, rest = told.splitlines()
    assert code == 0 and first == f"part 1 of 2: 3 items, about 0.0 MB, {films}/a/1.bmp to {films}/a/3.bmp"
    assert second.startswith("part 2 of 2: 3 items") and then == "then"
    assert run == "  iclora group storyboard --out runs/storyboard-parts/N"
    assert rest == "  iclora dataset storyboard"
    assert merge == "  iclora merge storyboard runs/storyboard-parts/*"
    for number in ("1", "2"):
        assert iclora(*run.replace("group", "collect").replace("/N", f"/{number}").split()[1:])[0] == 0
    folders = map(str, Path("runs/storyboard-parts").iterdir())
    code, told, errors = iclora(*merge.split()[1:-1], *folders, "--log", "merge.jsonl")
    assert (code, errors) == (0, "") and told.endswith("next: iclora show storyboard collected\n")
    assert json.loads(Path("merge.jsonl").read_text(encoding="utf-8").splitlines()[-1])["exit_code"] == 0
    code, told, _ = iclora("show", "storyboard")
    assert code == 0 and re.search(r"collected +6\n", told)
    assert "part 1 of 2" in iclora("show", "storyboard", "settings", "--out", "runs/storyboard-parts/1")[1]


# ---- one writer, many readers


@contextmanager
def at_work(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on a run, in the middle of writing a batch."""
    code = (
        "import sys, time; from pathlib import Path; from pipeline.store import Store\n"
        "with Store(Path(sys.argv[1])) as store, store.working(), store._transaction() as db:\n"
        "    db.execute('DELETE FROM records')\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as other:
        try:
            assert other.stdout and other.stdout.readline() == "at work\n"
            yield other
        finally:
            other.kill()


def test_whoever_works_on_a_run_is_named_to_a_second_command_and_everybody_may_look(iclora: Run) -> None:
    bitmaps.folders(Path("films"), "ab")
    assert iclora("caption", "storyboard", "--source", "films", *BARE)[0] == 0
    with at_work(Path("runs/storyboard")) as other:
        code, _, errors = iclora("dataset", "storyboard")
        assert code == 2 and errors.startswith(
            "error: another process is at work in runs/storyboard: '-c runs/storyboard'"
        )
        assert f"process {other.pid} on " in errors and "; wait for it, or name another folder" in errors
        for words in ([], ["records"], ["rejected"], ["settings"]):
            code, told, errors = iclora("show", "storyboard", *words)
            assert (code, errors) == (0, "") and (words or re.search(r"records +6\n", told))
        with open_run("storyboard", folder="runs/storyboard") as run:  # and on the page also decide
            session = ReviewSession(run)
            row = session.rows()[0]
            assert len(session.rows()) == 2 and session.decide(row.id, base_of(row), "drop", "too dark")
    assert iclora("caption", "storyboard")[0] == 0  # nobody cleans up after a kill
