"""Scorers: unit vectors in one space, long texts, and the identity of weights; with the miniature CLIP."""

import json
import pickle
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip as package
import pytest
import torch
from PIL import Image

from miniature.draw import draw
from miniature.world import describe, draw_scene
from pipeline import plugins
from pipeline.consistency import scorers
from pipeline.consistency.scorers import open_clip
from pipeline.consistency.scorers.open_clip import OpenClip
from pipeline.errors import BadInput, MissingWeights

FOLDER = Path(__file__).parents[3] / "miniature" / "clip"
MINIATURE = {"model": f"local-dir:{FOLDER}"}
SCENES = [draw_scene(Random(seed)) for seed in range(40)]
PICTURES = [Image.fromarray(draw(scene, size=(256, 128))) for scene in SCENES]
TEXTS = [describe(scene, None) for scene in SCENES]


@pytest.fixture(scope="module")
def clip() -> OpenClip:
    return open_clip.make(MINIATURE)


# ---- the contract


@pytest.mark.parametrize("name", plugins.names(scorers))
def test_an_unknown_option_is_reported(name: str) -> None:
    with pytest.raises(BadInput, match=r"scorer .*no_such"):
        plugins.load(scorers, name).make({"no_such": 1})


def test_the_scorer_none_scores_nothing() -> None:
    assert plugins.load(scorers, "none").make({}) is None


def test_pictures_and_texts_become_unit_vectors_in_one_space(clip: OpenClip) -> None:
    for vectors in (clip.image_vectors(PICTURES[:3]), clip.text_vectors(TEXTS[:3])):
        assert vectors.shape == (3, 64) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_batching_changes_neither_vectors_nor_their_order(clip: OpenClip) -> None:
    """Forty pictures make two batches; the first and the last are swapped."""
    assert len(PICTURES) > open_clip.BATCH
    pictures, texts = clip.image_vectors(PICTURES), clip.text_vectors(TEXTS)
    for place in (0, open_clip.BATCH - 1, open_clip.BATCH, 39):
        np.testing.assert_allclose(clip.image_vectors([PICTURES[place]])[0], pictures[place], atol=1e-5)
        np.testing.assert_allclose(clip.text_vectors([TEXTS[place]])[0], texts[place], atol=1e-5)
    np.testing.assert_allclose(clip.image_vectors(PICTURES[::-1]), pictures[::-1], atol=1e-5)


def test_a_scorer_is_pickled_without_its_weights(clip: OpenClip) -> None:
    here = clip.text_vectors(["a cat"])
    pickled = pickle.dumps(clip)
    assert len(pickled) < 10_000
    travelled = pickle.loads(pickled)
    assert travelled.identity() == clip.identity()
    assert (travelled.text_vectors(["a cat"]) == here).all()


def test_scoring_is_deterministic(clip: OpenClip) -> None:
    again = open_clip.make(MINIATURE)
    assert clip.image_vectors(PICTURES[:5]).tobytes() == again.image_vectors(PICTURES[:5]).tobytes()
    assert clip.text_vectors(TEXTS[:5]).tobytes() == again.text_vectors(TEXTS[:5]).tobytes()


def test_a_scorer_that_is_being_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "iclora"):
        open_clip.make(MINIATURE).image_vectors(PICTURES[:1])
    name = MINIATURE["model"]
    told = [one.getMessage() for one in caplog.records if one.name == "iclora"]
    assert told == [f"loading the scorer {name}", f"waiting for the first scores of {name}"]


def test_the_miniature_matches_a_picture_with_its_own_text(clip: OpenClip) -> None:
    scores = clip.image_vectors(PICTURES) @ clip.text_vectors(TEXTS).T
    own = np.diag(scores)[:, None]
    assert (own >= scores).mean() > 0.9


def test_a_wide_picture_is_seen_whole(clip: OpenClip) -> None:
    """A centre crop would hide the sides of a 3:1 picture."""
    plain = Image.new("RGB", (384, 128), "navy")
    marked = plain.copy()
    marked.paste("yellow", (0, 0, 100, 128))
    marked.paste("yellow", (284, 0, 384, 128))
    one, other = clip.image_vectors([plain, marked])
    assert one @ other < 0.999
    _, transform, _ = clip._loaded
    blue = transform(marked)[2]
    assert blue[:, 0].max() < -1.5 and blue[:, -1].max() < -1.5 and blue[:, 64].min() > -0.5


# ---- long texts

LONG = ". ".join(TEXTS[:8])


def test_a_long_text_is_pooled_from_all_its_parts(clip: OpenClip) -> None:
    whole = clip.text_vectors([LONG])[0]
    other_end = clip.text_vectors([f"{'. '.join(TEXTS[:7])}. {TEXTS[30]}"])[0]
    assert abs(np.linalg.norm(whole) - 1) < 1e-5
    assert whole @ other_end < 0.9999  # a cut text would not know how it ends


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"  {LONG}. ",
        "red " * 500,
        "猫が赤い帽子をかぶって海辺を歩いている。" * 40,
        "x" * 3000,
        "a, " + "b" * 900,
        "!?" * 400,
    ],
    ids=["clauses", "blanks around", "words", "no spaces", "one word", "one long clause", "signs"],
)
def test_every_part_fits_and_none_is_empty_or_lost(clip: OpenClip, text: str) -> None:
    _, _, tokenizer = clip._loaded
    parts = open_clip._parts(text.strip(), lambda part: open_clip._fits(part, tokenizer))
    assert len(parts) > 1 and all(parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
    for part in parts:
        assert len(tokenizer.encode(part)) + 2 <= tokenizer.context_length
    assert np.isfinite(clip.text_vectors([text])).all()


@pytest.mark.parametrize("word", ["cat", "!", "猫"])
def test_a_text_fits_if_the_tokenizer_does_not_truncate_it(clip: OpenClip, word: str) -> None:
    """`!` is token 0, which is also the padding."""
    _, _, tokenizer = clip._loaded
    for count in range(55, 101):
        text = " ".join([word] * count)
        assert open_clip._fits(text, tokenizer) is (len(tokenizer.encode(text)) + 2 <= 77)


def like_hugging_face(eos: int | None, padding: int, length: int) -> Any:
    """A tokenizer like those in open_clip: one token per word, truncated before the end token, padded after it."""

    def tokenize(texts: list[str], context_length: int = length) -> torch.Tensor:
        end = [] if eos is None else [eos]
        rows = [[*range(10, 10 + len(text.split()))][: context_length - len(end)] + end for text in texts]
        return torch.tensor([row + [padding] * (context_length - len(row)) for row in rows])

    class Tokenizer(SimpleNamespace):
        def __call__(self, texts: list[str], context_length: int = length) -> torch.Tensor:
            return tokenize(texts, context_length)

    return Tokenizer(context_length=length)


@pytest.mark.parametrize(
    ("eos", "padding", "most"),
    [(2, 0, 63), (2, 1, 63), (1, 1, 63), (None, 0, 64)],
    ids=["padding 0", "padding 1", "padding is the end mark (SigLIP)", "no end mark"],
)
def test_padding_of_other_tokenizers_does_not_count_as_text(eos: int | None, padding: int, most: int) -> None:
    tokenizer = like_hugging_face(eos, padding, 64)
    assert [open_clip._fits("word " * count, tokenizer) for count in (1, most, most + 1, 100, 1000)] == [
        True,
        True,
        False,
        False,
        False,
    ]


# ---- which weights


def test_the_identity_is_plain_data_and_loads_nothing(tmp_path: Path) -> None:
    clip = open_clip.make(MINIATURE)
    identity = clip.identity()
    assert json.loads(json.dumps(identity)) == identity and identity["scorer"] == "open_clip"
    assert "_loaded" not in vars(clip)
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert open_clip.make({"model": f"local-dir:{tmp_path}"}).identity()["weights"] != identity["weights"]


# ---- the device


def test_the_model_and_its_inputs_are_on_the_device_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed: "meta" stands in for one, and what would run there runs here."""
    made, seen, create = [], [], package.create_model_and_transforms

    def created(*words: Any, device: str, **named: Any) -> Any:
        made.append(device)
        return create(*words, **named)

    def encode(batch: torch.Tensor, normalize: bool) -> torch.Tensor:
        seen.append(batch.device.type)
        return torch.ones(len(batch), 4)

    scorer = open_clip.make(MINIATURE)
    monkeypatch.setattr("open_clip.create_model_and_transforms", created)
    monkeypatch.setattr("pipeline.weights.device", lambda: "meta")
    monkeypatch.setattr(scorer._loaded[0], "encode_image", encode)
    monkeypatch.setattr(scorer._loaded[0], "encode_text", encode)
    assert scorer.image_vectors(PICTURES[:2]).shape == scorer.text_vectors(TEXTS[:2]).shape == (2, 4)
    assert (made, seen) == (["meta"], ["meta", "meta"])


def test_a_gpu_whose_memory_is_too_small_is_one_sentence(clip: OpenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(clip._loaded[0], "encode_image", full)
    with pytest.raises(BadInput, match=r"does not fit into the GPU's free memory; .*engine\.gpus=1"):
        clip.image_vectors(PICTURES[:1])
    monkeypatch.setattr("open_clip.create_model_and_transforms", full)
    with pytest.raises(BadInput, match="does not fit into the GPU's free memory"):
        open_clip.make(MINIATURE).image_vectors(PICTURES[:1])


# ---- missing weights

WAYS_ON = "not on this machine and can't be fetched .*local-dir:FOLDER.*--scorer none"


def test_a_folder_without_weights_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=f"lacks open_clip_config.json or a .safetensors file.*{WAYS_ON[-20:]}"):
        open_clip.make({"model": f"local-dir:{tmp_path}"}).identity()


def test_broken_weights_are_reported_when_loaded(tmp_path: Path) -> None:
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:5000])
    with pytest.raises(MissingWeights, match=WAYS_ON):
        open_clip.make({"model": f"local-dir:{tmp_path}"}).text_vectors(["a cat"])


@pytest.mark.parametrize("options", [{}, {"model": "hf-hub:nobody/nothing"}])
def test_missing_weights_are_reported_in_one_sentence(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeights, match=WAYS_ON) as caught:
        open_clip.make(options).identity()
    assert "\n" not in str(caught.value)


def test_without_a_network_missing_weights_are_reported_at_once_and_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """open_clip's own download would try twelve times, for 53 seconds and with as many lines of output."""
    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"  # nothing listens at that port
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    started = time.monotonic()
    with pytest.raises(MissingWeights, match="refused"):
        open_clip.make({}).identity()
    assert time.monotonic() - started < 10 and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "ViT-B-33"}, "has no model 'ViT-B-33', did you mean 'ViT-B-32'"),
        ({"model": "ViT-L-14"}, r"no weights 'None' for 'ViT-L-14' \(known: .*openai.*scorer.pretrained=TAG"),
        ({"pretrained": "laion3b"}, r"no weights 'laion3b' for 'ViT-B-32' \(known: .*laion2b_s34b_b79k"),
    ],
)
def test_a_model_without_weights_is_never_initialised_at_random(options: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        open_clip.make(options).identity()
