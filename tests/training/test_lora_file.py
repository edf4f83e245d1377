"""LoRA files that strangers made: one sentence each, whatever stands in them, and nothing that has no end."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file

from pipeline.errors import BadInput
from training import lora_file, lora_keys
from training.lora_file import Adapter

NUMBERS = itertools.count()
LAYERS = ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_q", "single_transformer_blocks.0.proj_out")
CARD: dict[str, Any] = {
    "iclora": "0.1.0",
    "task": "storyboard",
    "layout": {"rows": 3, "cols": 1, "panel_width": 1024, "panel_height": 512},
    "scales": [1.0],
    "prefix": "[MOVIE-SHOTS]",
    "markers": ["[SCENE-1]", "[SCENE-2]", "[SCENE-3]"],
    "condition": [1],
    "family": "flux-1",
    "base": "a/b",
    "weights": "c0ffee/transformer",
    "licence": "mit",
    "data": "0123",
    "grids": 40,
    "step": 250,
    "averaged": True,
    "recipe": {"conditional": 0.0},
}


def weights(rank: int = 2) -> dict[str, torch.Tensor]:
    return {
        f"transformer.{layer}{suffix}": torch.ones(shape)
        for layer in LAYERS
        for suffix, shape in zip(lora_keys.SUFFIXES, ((rank, 4), (4, rank)), strict=True)
    }


def written(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **header: object) -> Path:
    """A file with these entries in its header, as JSON unless they are texts."""
    file = folder / f"{next(NUMBERS)}.safetensors"
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in header.items()}
    save_file(weights() if tensors is None else tensors, file, metadata=metadata)
    return file


def adapted(folder: Path, **adapter: object) -> Path:
    return written(folder, lora_adapter_metadata={f"transformer.{key}": value for key, value in adapter.items()})


def refused(file: Path, reading: Any = lora_file.read_weights) -> str:
    with pytest.raises(BadInput) as caught:
        reading(file)
    message = str(caught.value)
    assert message.startswith(str(file)) and message.endswith(".") and "\n" not in message and len(message) < 600
    return message


# ---- strength


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", [r"(([\w.]+)+)+!", "(", "[", "*", "a|b", "to_.*", "", "a" * 100_000 + "!", "\0"])
def test_patterns_that_are_no_names_are_refused(pattern: str, tmp_path: Path) -> None:
    """peft takes them for regular expressions, and the first of these keeps `re` busy for longer than anyone lives."""
    assert "is not the name of a layer" in refused(adapted(tmp_path, alpha_pattern={pattern: 1}))


@pytest.mark.parametrize(
    "pattern",
    [
        "attn.to_q",
        "transformer_blocks.0.attn.to_q",
        "to_q",
        "^to_q",
        f"^{LAYERS[0]}",
        r"attn\.to_q$",
        "q",
        "0.proj_out",
    ],
)
def test_names_fit_the_layers_that_they_fit_in_peft(pattern: str) -> None:
    adapter = Adapter(**{"transformer.alpha_pattern": {pattern: 8.0}, "transformer.lora_alpha": 2.0})  # type: ignore[arg-type]
    found = adapter.strengths(dict.fromkeys(LAYERS, 4))
    assert found == {layer: 2.0 if get_pattern_key([pattern], layer) == pattern else 0.5 for layer in LAYERS}


def test_what_a_card_says_reaches_no_terminal_as_a_command(
    iclora: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file = written(tmp_path, iclora=CARD | {"base": "x\x1b[2J\x07\u202e[/b]"})
    code, output, errors = iclora("generate", str(file), "[MOVIE-SHOTS] a day")
    assert code == 2 and r"the base model 'x\x1b[2J\x07\u202e[/b]' is not on this machine" in errors
    assert not {"\x1b", "\x07", "\u202e"} & set(output + errors)


@pytest.mark.parametrize("name", ["\n", "a" * 100_000, "\x1b[31m"])
def test_a_name_that_would_break_or_fill_the_line_is_told_short(name: str, tmp_path: Path) -> None:
    assert repr(name)[:20] in refused(adapted(tmp_path, alpha_pattern={name: None}))


def test_the_first_name_that_fits_counts() -> None:
    several = {"attn.to_q": 8.0, "to_q": 16.0, LAYERS[1]: 32.0}
    adapter = Adapter(**{"transformer.alpha_pattern": several})  # type: ignore[arg-type]
    assert adapter.strengths(dict.fromkeys(LAYERS, 4)) == {LAYERS[0]: 2.0, LAYERS[1]: 2.0, LAYERS[2]: 1.0}


@pytest.mark.timeout(60)
def test_tens_of_thousands_of_names_and_layers_take_no_time() -> None:
    layers = [f"blocks.{number}.attn.to_q" for number in range(20_000)]
    adapter = Adapter(**{"transformer.alpha_pattern": dict.fromkeys(layers, 8.0)})  # type: ignore[arg-type]
    assert set(adapter.strengths(dict.fromkeys(layers, 4)).values()) == {2.0}


@pytest.mark.parametrize("alpha", ["1e308", "1e999", "NaN", '"much"', "null,", "[1]", "9" * 400, "1" * 5_000])
def test_a_strength_that_is_no_usable_number_is_refused(alpha: str, tmp_path: Path) -> None:
    refused(written(tmp_path, lora_adapter_metadata=f'{{"transformer.lora_alpha": {alpha}}}'))


def test_an_alpha_beyond_all_numbers_is_refused_in_a_tensor_too(tmp_path: Path) -> None:
    alpha = {f"transformer.{LAYERS[0]}.alpha": torch.tensor(1e308, dtype=torch.float64)}
    assert "NaN or infinity in" in refused(written(tmp_path, weights() | alpha))
    assert "beyond all numbers" in refused(adapted(tmp_path, lora_alpha=1e300))


# ---- the card


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"layout": CARD["layout"] | {"panel_width": 1_000_000, "panel_height": 1_000_000}}, "canvas has 1000000 x 3"),
        ({"layout": CARD["layout"] | {"rows": 10**9}}, "its canvas has 1024 x 512000000000 pixels, more than"),
        ({"layout": CARD["layout"] | {"rows": 0}}, "it has no panels"),
        ({"layout": CARD["layout"] | {"panel_width": -8}}, "it has no panels"),
        ({"scales": [1e308]}, "scales.0: Input should be less than or equal to 4"),
        ({"scales": [0]}, "scales.0"),
        ({"scales": []}, "scales"),
        ({"scales": [math.nan]}, "scales.0"),
        ({"condition": [4]}, "condition names panel 4, and its grids have 3"),
        ({"condition": [0]}, "condition names panel 0"),
        ({"recipe": {}}, "conditions"),
        ({"recipe": {"conditional": "yes"}}, "conditions"),
        ({"recipe": {"conditions": [{"seen": "twice"}]}}, "conditions"),
        ({"markers": 5}, "markers"),
        ({"base": None}, "base"),
    ],
)
def test_a_card_whose_values_can_t_be_used_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    assert sentence in refused(written(tmp_path, iclora=CARD | changes), lora_file.find_card)
    assert lora_file.find_card(written(tmp_path, iclora=CARD)).layout.canvas == (1024, 1536)


@pytest.mark.parametrize("card", ["", "5", "[]", "{", "[" * 100_000, '{"iclora": "\\ud800"}', "\0"])
def test_a_card_that_is_no_table_is_refused(card: str, tmp_path: Path) -> None:
    refused(written(tmp_path, iclora=card), lora_file.find_card)


# ---- the file


def raw(folder: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A file with any header."""
    file, content = folder / f"{next(NUMBERS)}.safetensors", header if isinstance(header, bytes) else b""
    content = content or json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + data)
    return file


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BROKEN = {
    "metadata that is no text": ({"__metadata__": {"iclora": {"a": 1}}, "x": ONE}, b"1234"),
    "metadata that is no table": ({"__metadata__": 5, "x": ONE}, b"1234"),
    "a deep header": (b'{"x": ' + b"[" * 100_000 + b"}", b""),
    "offsets beyond the file": ({"x": ONE | {"shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, b"1234"),
    "a shape of overflowing size": ({"x": ONE | {"shape": [2**62, 2**62]}}, b"1234"),
    "a hole": ({"x": ONE | {"data_offsets": [4, 8]}}, b"12345678"),
    "an unknown kind of number": ({"x": ONE | {"dtype": "Q7"}}, b"1234"),
    "a header that is no table": ([1, 2], b""),
    "no JSON": (b"{nothing", b""),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_with_a_broken_header_is_one_sentence(what: str, tmp_path: Path) -> None:
    header, data = BROKEN[what]
    for reading in (lora_file.read_weights, lora_file.find_card):
        refused(raw(tmp_path, header, data), reading)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    assert "has no weights" in refused(raw(tmp_path, {}))


@pytest.mark.parametrize("length", [0, 1, 7, 10**8 + 1, 2**63, 2**64 - 1])
def test_a_header_that_lies_about_its_length_is_one_sentence(length: int, tmp_path: Path) -> None:
    refused(raw(tmp_path, {"x": ONE}, b"1234", length))


@pytest.mark.timeout(60)
def test_only_a_regular_file_of_a_loras_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "endless.safetensors").symlink_to("/dev/zero")
    with (tmp_path / "sparse.safetensors").open("wb") as file:
        file.truncate(1 << 40)
    for reading in (lora_file.read_weights, lora_file.find_card):
        for name, why in (
            ("pipe", r"it is not a regular file"),
            ("endless", r"it is not a regular file"),
            ("sparse", r"it has 1,099,511,627,776 bytes, more than 4,294,967,296"),
        ):
            assert why in refused(tmp_path / f"{name}.safetensors", reading)


def test_a_whole_model_is_refused_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, {"x_embedder.weight": torch.zeros(4, 4)})
    monkeypatch.setattr(torch.Tensor, "float", lambda _: pytest.fail("loaded"))
    assert "has keys that are no plain LoRA's (x_embedder.weight)" in refused(file)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.bool, torch.int64])
def test_numbers_that_are_no_weights_as_they_stand_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    tensors = {key: value.to(kind) for key, value in weights().items()}
    assert "has numbers of the kind" in refused(written(tmp_path, tensors))


def test_thousands_of_layers_are_read(tmp_path: Path) -> None:
    many = {
        f"transformer.blocks.{number}{suffix}": torch.ones(shape)
        for number in range(3_000)
        for suffix, shape in zip(lora_keys.SUFFIXES, ((1, 2), (2, 1)), strict=True)
    }
    assert len(lora_file.read_weights(written(tmp_path, many))) == 6_000
    assert refused(written(tmp_path, dict(itertools.islice(many.items(), 5_999)))).count("lora_B") == 1


# ---- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def tried(file: Path) -> None:
    """Reads a file as a LoRA; whatever it is, only our own error comes of it, in one line."""
    for reading in (lora_file.read_weights, lora_file.find_card):
        try:
            reading(file)
        except BadInput as error:
            assert "\n" not in str(error)


@fuzzed
@given(st.binary(max_size=400))
def test_any_bytes_are_a_lora_or_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    tried(tmp_path / "a.safetensors")
    tried(raw(tmp_path, content or b"{}"))


@fuzzed
@given(flips=st.dictionaries(st.integers(0, 2_000), st.integers(0, 255), max_size=6), length=st.integers(0, 3_000))
def test_any_damage_to_a_lora_is_one_sentence(tmp_path: Path, flips: dict[int, int], length: int) -> None:
    file = tmp_path / "whole.safetensors"
    save_file(weights(), file, metadata={"iclora": json.dumps(CARD), "lora_adapter_metadata": "{}"})
    content = bytearray(file.read_bytes())
    for place, value in flips.items():
        content[place % len(content)] = value
    (tmp_path / "a.safetensors").write_bytes(content[: max(length, 8)])
    tried(tmp_path / "a.safetensors")


@fuzzed
@given(key=st.sampled_from(sorted(CARD)), value=JSON)
def test_any_value_on_a_card_is_read_or_one_sentence(tmp_path: Path, key: str, value: Any) -> None:
    tried(written(tmp_path, iclora=CARD | {key: value}))


@fuzzed
@given(st.dictionaries(st.sampled_from(["lora_alpha", "alpha_pattern", "use_rslora", "target_modules"]), JSON))
def test_any_strength_is_read_or_one_sentence(tmp_path: Path, adapter: dict[str, Any]) -> None:
    tried(adapted(tmp_path, **adapter))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    file = adapted(tmp_path, lora_alpha=4, r=2)
    for name, tensor in lora_file.read_weights(file).items():
        assert tensor.unique().tolist() == [2.0 if re.search("lora_B", name) else 1.0]
    assert len(load_file(file)) == len(lora_file.read_weights(file))
