"""Which weights a name stands for, with and without a model hub."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import weights


def test_a_folders_hash_tells_contents_names_and_sizes_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    hashes = {weights.folder_hash([one]), weights.folder_hash([two]), weights.folder_hash([one, two])}
    one.write_bytes(b"Weights")
    assert len(hashes | {weights.folder_hash([one])}) == 4


def test_large_weights_are_told_apart_without_reading_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WHOLE", 2**20)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(8 * 2**20 + 5))
    before = weights.folder_hash([file])
    content = bytearray(file.read_bytes())
    content[3 * 2**20 : 4 * 2**20] = b"t" * 2**20  # one tensor trained further
    file.write_bytes(content)
    assert weights.folder_hash([file]) != before
    content[-1] = 1
    file.write_bytes(content)
    assert weights.folder_hash([file]) != before


ASK = """
import time
from pipeline import weights
started = time.monotonic()
try:
    weights.hub_commit("nobody/nothing", "config.json")
except LookupError as error:
    print(error, "|", time.monotonic() - started)
"""


@pytest.mark.parametrize(("offline", "why"), [("0", "refused"), ("1", "offline mode is enabled")])
def test_a_model_that_nobody_has_is_told_at_once_in_one_line(offline: str, why: str) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}  # nothing listens at that port
    ran = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | nowhere, capture_output=True, text=True, check=True
    )
    message, seconds = ran.stdout.split("|")
    assert why in message and "\n" not in message and float(seconds) < 10 and not ran.stderr


def test_a_name_that_can_be_no_model_is_told() -> None:
    with pytest.raises(LookupError, match="Repo id must"):
        weights.hub_commit("no/such/model", "config.json")


def test_what_is_on_this_machine_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "models--some--model"
    (home / "snapshots" / "abc123").mkdir(parents=True)
    (home / "snapshots" / "abc123" / "config.json").write_text("{}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights.hub_commit("some/model", "config.json") == "abc123"
