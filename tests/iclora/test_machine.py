"""A file that can't be used: which, why, how much room there is, and what to do."""

import errno
import json
import os
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from iclora import machine


def error(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


def test_a_full_disk_is_told_with_the_file_the_free_space_and_the_ways_on(tmp_path: Path) -> None:
    told = machine.unusable(error(errno.ENOSPC, str(tmp_path / "not" / "yet" / "there.png")))
    assert re.match(
        rf"{tmp_path}/not/yet/there\.png can't be written: No space left on device \([\d,]+ MiB free for {tmp_path}\); "
        "free some space and type the same again, which resumes, or name a folder on another disk ",
        told,
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_where_no_file_is_known_the_fullest_of_the_folders_that_are_written_to_is_named(number: int) -> None:
    assert re.match(
        r"a file can't be written: .+ \([\d,]+ MiB free for /.*\); free some space", machine.unusable(error(number))
    )


def test_other_faults_name_the_file_if_it_is_known() -> None:
    assert machine.unusable(error(errno.EACCES, "/x/y")) == "/x/y can't be used: Permission denied."
    assert machine.unusable(error(errno.EIO)) == "a file can't be read or written: Input/output error."


# ---- what a machine is ready for

WEIGHTS = {"captioner": "a/vlm", "scorer": "a/clip", "base": "a/base"}


def having(device: str, *kinds: str) -> machine.Machine:
    found = tuple(machine.Weights(kind, repo, kind in kinds) for kind, repo in WEIGHTS.items())
    return machine.Machine(device, 2, 10.0, {"python": "3.11"}, found)


def test_the_verdict_says_what_is_ready_and_which_command_brings_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: ["torch"] if extra == "train" else [])
    assert having("cpu", "scorer").verdict() == [
        "ready for: sidecar, server, open_clip, review --serve",
        "missing for local: hf download a/vlm",
        "missing for train: pip install 'iclora[train]'; hf download a/base; a GPU",
        "missing for generate: pip install 'iclora[train]'; hf download a/base; a GPU",
    ]


def test_a_machine_that_has_everything_is_ready_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: [])
    assert having("cuda", *WEIGHTS).verdict() == [f"ready for: {', '.join(machine.USES)}"]


def test_every_extra_that_a_use_names_exists() -> None:
    offered = set(metadata.metadata("iclora").get_all("Provides-Extra") or ())
    assert {extra for extra, _ in machine.USES.values() if extra} <= offered


def test_the_report_is_also_json(iclora: Callable[..., tuple[int, str, str]]) -> None:
    code, output, errors = iclora("doctor", "--json")
    found = json.loads(output)
    assert (code, errors) == (0, "")
    assert set(found["missing"]) == set(machine.USES) and found["missing"]["sidecar"] == []
    assert found["device"] in ("cpu", "cuda", "mps") and found["versions"]["iclora"]
