"""Model folders that are broken or made by strangers: one sentence each, which says what is wrong and the way on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iclora.offline import MINIATURE
from pipeline import weights
from pipeline.errors import BadInput, MissingWeights, ToolkitError
from training.backends import flux
from training.backends.base import Backend
from training.results import base_name

WAY_ON = "name one as diffusers saves it with --set train.model=FOLDER"


@pytest.fixture
def model(tiny_flux: Path, tmp_path: Path) -> Path:
    """A copy of a small FLUX.1 that may be damaged."""
    return shutil.copytree(tiny_flux, tmp_path / "model")


def test_the_miniature_is_known_by_any_path(tiny_flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its LoRAs are drawn with wherever the toolkit is installed, so they must not name a folder."""
    monkeypatch.chdir(MINIATURE)
    for path in ("flux", "./flux", "../miniature/flux/", str(MINIATURE / "flux")):
        assert base_name(flux.make(path)) == "miniature/flux"
    assert base_name(flux.make(str(tiny_flux))) == "flux" and not flux.make(str(tiny_flux)).is_miniature


def used(backend: Backend) -> None:
    """What a training does with its model."""
    backend.check()
    assert backend.channels and backend.licence and backend.text_limit and backend.shift(100)
    for part in (*backend.ENCODERS, "vae", "transformer"):
        backend.count(part)
    backend.blank("transformer")
    backend.count_tokens(["a"])
    for part in (*backend.ENCODERS, "vae", "transformer"):
        backend.load(part, torch.float32, "cpu")


def refused(model: Path) -> str:
    with pytest.raises(ToolkitError) as caught:
        used(flux.make(str(model)))
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and str(model) in message
    return message


CONFIGS = ("transformer/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")


@pytest.mark.parametrize("file", [*CONFIGS, "model_index.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"a"', "{}", "[" * 100_000, '{"a": ' + "9" * 5_000 + "}"])
def test_a_config_that_is_no_table_of_settings_is_one_sentence(file: str, content: str, model: Path) -> None:
    (model / file).write_text(content)
    try:
        used(flux.make(str(model)))
    except (MissingWeights, BadInput) as error:
        assert "\n" not in str(error) and str(error).endswith(".")
    else:
        assert content == "{}" and file.startswith("scheduler")  # all of its settings have defaults


def test_what_a_config_lacks_is_named(model: Path) -> None:
    path = model / "vae" / "config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key[0] != "l"}))
    message = refused(model)
    assert f"{path} lacks latent_channels" in message and WAY_ON in message


def test_a_model_of_a_billion_layers_is_not_built(model: Path) -> None:
    path = model / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_layers": 10**9}))
    assert "the config of its transformer has num_layers=1000000000, more than 1,000" in refused(model)


@pytest.mark.parametrize("length", ['"long"', "1e999", "NaN", "null", "[]"])
def test_a_tokenizer_whose_limit_is_no_number_is_one_sentence(length: str, model: Path) -> None:
    path = model / "tokenizer_2" / "tokenizer_config.json"
    found = json.loads(path.read_text()) | {"model_max_length": "LENGTH"}
    path.write_text(json.dumps(found).replace('"LENGTH"', length))
    try:
        used(flux.make(str(model)))
    except MissingWeights as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_2"])
@pytest.mark.parametrize("change", ["half", "header", "empty", "other"])
def test_broken_weights_are_one_sentence(part: str, change: str, model: Path) -> None:
    (file,) = (model / part).glob("*.safetensors")
    content = file.read_bytes()
    other = next((model / ("vae" if part != "vae" else "transformer")).glob("*.safetensors")).read_bytes()
    damaged = {"half": content[: len(content) // 2], "header": b"\xff" * 100 + content[100:], "empty": b""}
    file.write_bytes(damaged.get(change, other))
    if change != "other":  # weights of another model: some libraries begin with random ones, and say so
        assert WAY_ON in refused(model)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("file", [*CONFIGS, "model_index.json", "README.md", "vae/*.safetensors", "tokenizer/*.json"])
def test_a_pipe_in_a_models_folder_is_not_waited_for(file: str, model: Path) -> None:
    path = next(iter(sorted(model.glob(file))), model / file)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    try:
        used(flux.make(str(model)))
    except ToolkitError as error:
        assert "it is not a regular file" in str(error) and "\n" not in str(error)
    else:
        assert file in ("README.md", "tokenizer/*.json")  # neither is needed, and transformers passes pipes over


def test_a_readme_of_a_billion_laughs_names_no_licence(model: Path) -> None:
    lines = ["a0: &a0 [ha, ha]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (model / "README.md").write_text("\n".join(["---", *lines, "license: *a39", "---", ""]))
    assert flux.make(str(model)).licence == "unknown"


def test_what_a_library_raises_is_told_in_one_line() -> None:
    def load(error: Exception) -> Callable[[], None]:
        def fail() -> None:
            with weights.told():
                raise error

        return fail

    for error in (KeyError("a"), RuntimeError("size\nmismatch"), TypeError(), Exception("header too large")):
        with pytest.raises(LookupError) as caught:
            load(error)()
        assert "\n" not in str(caught.value) and str(caught.value)
    for error in (MemoryError(), ImportError("no package"), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(type(error)):
            load(error)()


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(place=st.integers(0, 30), value=JSON)
def test_any_value_in_a_config_is_used_or_one_sentence(place: int, value: Any, model: Path, tiny_flux: Path) -> None:
    file = "transformer/config.json"
    found = json.loads((tiny_flux / file).read_text())
    key = sorted(found)[place % len(found)]
    (model / file).write_text(json.dumps(found | {key: value}))
    backend = flux.make(str(model))
    try:
        backend.check()
        backend.blank("transformer")
    except (MissingWeights, BadInput) as error:
        assert "\n" not in str(error)
