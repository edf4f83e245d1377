"""A checkpoint that is not what was written is one sentence, and is not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import BadInput
from training import checkpoint
from training.job import Job

Make = Callable[..., Job]


def write_pipe(path: Path) -> None:
    os.mkfifo(path)


def write_junk(path: Path) -> None:
    path.write_bytes(b"PK\3\4" + bytes(100))


def write_state(state: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(state, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a pipe": write_pipe,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "no archive": write_junk,
    "no table": write_state([1, 2]),
    "no recipe": write_state({"step": 1}),
    "a recipe that is no table": write_state({"recipe": 5}),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", WRITERS)
def test_a_checkpoint_that_is_not_one_is_refused(what: str, make_job: Make) -> None:
    job = make_job()
    job.folder.mkdir()
    WRITERS[what](job.folder / checkpoint.FILE)
    with pytest.raises(BadInput, match=r"checkpoint\.pt is damaged and can't be read; delete it to start over"):
        checkpoint.load(job)


@pytest.mark.timeout(60)
def test_a_pipe_to_start_from_is_not_waited_for(make_job: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "which can't be read" in str(make_job(init=str(tmp_path / "pipe.safetensors")).recipe)
