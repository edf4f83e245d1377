"""Which weights a name stands for, with and without a model hub."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import model_hub
import pytest
from model_hub import MODEL, ModelHub

from pipeline import weights
from pipeline.progress import LOG


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


# ---- downloads, from a real server that speaks the hub's requests

SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub with a model in two shards, in other formats, and in parts; nothing of it is on this machine."""
    home = tmp_path / "model"
    (home / "vae").mkdir(parents=True)
    index = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))})
    for name, content in {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": index}.items():
        (home / name).write_text(content)
    for name in (*SHARDS, "vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors"):
        (home / name).write_bytes(bytes(600_000))
    (home / "vae" / "config.json").write_text("{}")
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json", "README.md", "onnx.onnx"):
        (home / name).write_text("{}")
    with model_hub.serving(home) as served:
        model_hub.use(served, tmp_path / "cache", monkeypatch)
        yield served


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the log says, in order, each sentence once."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in found:
                found.append(record.getMessage())

    handler, before = Handler(), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG)
    yield found
    LOG.removeHandler(handler)
    LOG.setLevel(before)


def test_a_download_takes_what_a_model_is_loaded_from_and_tells_how_it_stands(hub: ModelHub, told: list[str]) -> None:
    weights.provide("the captioner X", MODEL)
    assert hub.sent == ["config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS]
    assert (told[0], told[-1]) == ("downloading the captioner X", "loading the captioner X")
    said = [one.removeprefix("downloading the captioner X: ") for one in told[1:-1]]
    assert said[0] == "file 1 of 5, 0.0 of 1.2 MB"
    assert {"file 4 of 5, 0.6 of 1.2 MB", "file 5 of 5, 0.6 of 1.2 MB"} <= set(said)
    assert said[-1] == "file 5 of 5, 1.2 of 1.2 MB"
    hub.sent.clear()
    weights.provide("the captioner X", MODEL)
    assert hub.sent == []
    weights.fetch("vae of X", MODEL, part="vae")
    assert hub.sent == ["vae/config.json", "vae/diffusion_pytorch_model.safetensors"]


def test_a_download_that_breaks_off_is_one_line_and_goes_on_with_what_is_missing(
    hub: ModelHub, told: list[str]
) -> None:
    hub.breaks = SHARDS[1]
    with pytest.raises(LookupError) as error:
        weights.fetch("the captioner X", MODEL)
    assert str(error.value).startswith(
        f"the download broke off at file 5 of 5, {SHARDS[1]}, and continues with it when the same command is given "
        "again: Server error '503"
    )
    assert "\n" not in str(error.value)
    hub.breaks = ""
    hub.sent.clear()
    weights.fetch("the captioner X", MODEL)
    assert hub.sent == [SHARDS[1]]
    assert told[-1] == "downloading the captioner X: file 1 of 1, 0.6 of 0.6 MB"


def test_what_can_t_be_listed_is_left_to_the_library_that_loads_it(hub: ModelHub, told: list[str]) -> None:
    weights.fetch("the captioner X", "some/other")
    assert (hub.sent, told) == ([], [])


@pytest.mark.parametrize(
    ("there", "device"), [({"cuda", "mps"}, "cuda"), ({"mps"}, "mps"), (set(), "cpu")], ids=["cuda", "mps", "cpu"]
)
def test_models_run_on_a_gpu_where_torch_sees_one(
    there: set[str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in there)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: "mps" in there)
    assert weights.device() == device


def test_where_the_gpu_is_taken_up_models_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with weights.on_cpu():
        assert weights.device() == "cpu"
    assert weights.device() == "cuda"
