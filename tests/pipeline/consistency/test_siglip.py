"""A SigLIP scorer: its tokenizer, text length, padding and scale, with tiny random models of the real classes."""

import json
from pathlib import Path

import numpy as np
import open_clip as library
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pipeline import task
from pipeline.cache import Cache
from pipeline.consistency.scorers import open_clip
from pipeline.consistency.scorers.open_clip import OpenClip
from pipeline.engines.base import Facts
from pipeline.errors import MissingWeights
from pipeline.records import Caption, Grid, Group, Layout, Position, Record, Scores
from pipeline.stages import filter

WORDS = ["a", "cat", "dog", "on", "the", "beach", "red", "hat", "with", "in"]
LENGTH = 64

CONFIG = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": LENGTH,
        "vocab_size": 16,
        "hf_tokenizer_name": "in this folder",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}
"""Like open_clip's ViT-B-16-SigLIP, but small."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("siglip")
    written = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (home / "open_clip_config.json").write_text(json.dumps(written), encoding="utf-8")
    write_tokenizer(home)
    torch.manual_seed(0)
    parts = json.loads(json.dumps(CONFIG))
    model = library.CustomTextCLIP(**{name: part for name, part in parts.items() if name != "custom_text"})
    save_file(
        {name: part.contiguous() for name, part in model.state_dict().items()}, home / "open_clip_model.safetensors"
    )
    return home


def write_tokenizer(home: Path) -> None:
    """One token per word; the end token is also the padding, as in SigLIP."""
    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_max_length=LENGTH
    )
    fast.save_pretrained(home)


@pytest.fixture(scope="module")
def siglip(folder: Path) -> OpenClip:
    return open_clip.make({"model": f"local-dir:{folder}"})


def test_the_identity_names_the_kind_and_loads_nothing(siglip: OpenClip, folder: Path) -> None:
    fresh = open_clip.make({"model": f"local-dir:{folder}"})
    assert fresh.identity()["kind"] == "siglip"
    assert "_loaded" not in vars(fresh)


def test_the_kind_is_known_for_architectures_of_open_clip() -> None:
    kinds = {name: OpenClip(open_clip.Options(model=name))._kind for name in ("ViT-B-32", "ViT-B-16-SigLIP2")}
    assert kinds == {"ViT-B-32": "clip", "ViT-B-16-SigLIP2": "siglip"}


def test_another_tokenizer_changes_the_identity(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    same = open_clip.make({"model": f"local-dir:{tmp_path}"}).identity()["weights"]
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text(encoding="utf-8").replace('"cat"', '"cow"'), encoding="utf-8")
    assert open_clip.make({"model": f"local-dir:{folder}"}).identity()["weights"] == same
    assert open_clip.make({"model": f"local-dir:{tmp_path}"}).identity()["weights"] != same


def test_texts_are_padded_to_the_training_length(siglip: OpenClip) -> None:
    _, _, tokenizer = siglip._loaded
    tokens = tokenizer(["a cat"])
    assert tokens.shape == (1, LENGTH)
    assert tokens[0].tolist() == [2, 3] + [1] * (LENGTH - 2)


@pytest.mark.parametrize(("words", "fits"), [(1, True), (63, True), (64, False), (65, False), (300, False)])
def test_it_reads_sixty_three_words_and_the_end_token(siglip: OpenClip, words: int, fits: bool) -> None:
    _, _, tokenizer = siglip._loaded
    assert open_clip._fits(" ".join(["cat"] * words), tokenizer) is fits


def test_a_longer_text_is_split_at_clauses_without_loss(siglip: OpenClip) -> None:
    _, _, tokenizer = siglip._loaded
    clauses = ["a red cat with a hat on the beach"] * 12
    parts = open_clip._parts(", ".join(clauses), lambda part: open_clip._fits(part, tokenizer))
    assert len(parts) > 1
    assert all(part.startswith("a red cat") and part.rstrip(",").endswith("on the beach") for part in parts)
    for part in parts:
        assert len(tokenizer.tokenizer(part).input_ids) <= LENGTH
    long = siglip.text_vectors([", ".join(clauses)])[0]
    other = siglip.text_vectors([", ".join([*clauses[:-1], "a dog in the dog"])])[0]
    assert abs(np.linalg.norm(long) - 1) < 1e-5
    assert not np.allclose(long, other, atol=1e-4)


def test_pictures_and_texts_are_unit_vectors_in_one_space(siglip: OpenClip) -> None:
    pictures = siglip.image_vectors([Image.new("RGB", (96, 32), colour) for colour in ("red", "blue")])
    texts = siglip.text_vectors(["a red hat", "The beach!"])
    for vectors in (pictures, texts):
        assert vectors.shape == (2, 32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_an_unreadable_config_is_reported(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "open_clip_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(MissingWeights, match=r"open_clip_config.json can't be read as a model's config"):
        open_clip.make({"model": f"local-dir:{tmp_path}"}).identity()


def test_the_filter_uses_the_defaults_of_the_scorers_kind(siglip: OpenClip, tmp_path: Path) -> None:
    couples = task.load("couple-profile")
    layout = Layout(rows=1, cols=2, panel_width=64, panel_height=64)
    picture = Image.new("RGB", layout.canvas, "red")
    picture.paste("blue", layout.boxes[1])
    picture.save(tmp_path / "grid.png")
    records = tuple(Record(name, "", "", Position(), histogram="00" * 128) for name in ("one", "two"))
    grid = Grid("g-one", Group("r-one", "couple-profile", records, "by hand", 1.0), layout, "grid.png")
    texts = ("a red hat on the beach", ", ".join(["a dog with a red hat"] * 30))
    caption = Caption("told", "", "a cat in the hat", texts, grid="g-one")
    stage = filter.stage(couples, [grid], siglip, tmp_path, Cache(tmp_path / "cache"))
    results = list(stage.run([caption]))
    scores = next(row for row in results if isinstance(row, Scores)).scores
    assert {score.name: score.threshold for score in scores} == {
        "text 1": 0.04,
        "text 2": 0.04,
        "order": 0.01,
        "summary": 0.04,
        "least alike": -1.0,  # nothing is asked of it unless by hand
        "most alike": 0.9995,  # only identical panels of a pair are copies
        "texts alike": 0.9995,
    }
    (facts,) = [row.found for row in results if isinstance(row, Facts)]
    assert facts["calibration"].startswith("fixed defaults for siglip scorers: the run has 1 of the 8")
