"""A file that can't be used: which, why, how much room there is, and what to do."""

import errno
import os
import re
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
