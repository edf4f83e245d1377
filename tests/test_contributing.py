"""CONTRIBUTING.md: what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATHS = {*re.findall(r"`([\w./]+/[\w./]*|[\w/]+\.\w+)`", PAGE), *re.findall(r"\]\(([^)]+)\)", PAGE)}
PLACEHOLDER = "NAME"


@pytest.mark.parametrize("path", sorted(path for path in PATHS if PLACEHOLDER not in path))
def test_a_file_that_contributors_are_sent_to_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_folder_of_a_new_plug_in_exists() -> None:
    places = [path for path in PATHS if PLACEHOLDER in path]
    assert len(places) == 4 and all((ROOT / path).parent.is_dir() for path in places)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)\b", PAGE)) <= targets
