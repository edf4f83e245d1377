"""Who counts the tokens of a text: a family's own tokenizer if it is on this machine, else an estimate."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline import families, task
from pipeline.text import budget, counters, grammar
from pipeline.text.counters import ESTIMATE

RELEASED = Path(__file__).parents[4] / "shared/data/movie-shots"
STABLE = task.load("storyboard", ["base=sd-3.5"])
LONG = grammar.parse(
    f"[MOVIE-SHOTS] a day, [SCENE-1] {'the oak ' * 50}, [SCENE-2] {'of elm ' * 75}, [SCENE-3] oak of the sea.", STABLE
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A hub cache without a tokenizer, whatever this machine has."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_tokenizer(hub: Path, name: str) -> None:
    """Puts a tokenizer that makes one token of each word and sign into a hub cache, as a download would."""
    repo, _, folder = name.rpartition("/")
    home = hub / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(home / "snapshots/c0ffee" / folder)


# ---- the family's tokenizer


def test_a_tokenizer_on_this_machine_counts_exactly(hub: Path):
    put_tokenizer(hub, families.load("sd-3.5").tokenizer)
    counter = counters.find("sd-3.5")
    # [MOVIE-SHOTS] and the markers are five signs and words each; plus commas, the full stop and T5's end token
    assert budget.fit(LONG, STABLE, counter).tokens == 4 * 5 + 2 + 100 + 150 + 4 + 4 + 1
    (fault,) = budget.faults(LONG, STABLE, counter)
    assert fault == (
        "the caption has 281 T5 tokens, but only 256 are read: [SCENE-2] would be cut short, [SCENE-3] would be lost"
    )
    assert budget.facts([], STABLE, counter)["counted by"] == f"the tokenizer of {families.load('sd-3.5').tokenizer}"


def test_the_identity_of_a_tokenizer_names_its_commit_and_not_its_location(hub: Path):
    put_tokenizer(hub, families.load("sd-3.5").tokenizer)
    assert counters.find("sd-3.5").identity == {
        "counter": "tokenizer",
        "model": families.load("sd-3.5").tokenizer,
        "commit": "c0ffee",
    }


def test_counters_can_be_sent_to_other_processes(hub: Path):
    put_tokenizer(hub, families.load("sd-3.5").tokenizer)
    for counter in (ESTIMATE, counters.find("sd-3.5")):
        travelled = pickle.loads(pickle.dumps(counter))
        assert travelled == counter
        assert travelled.starts("oak leaves") == counter.starts("oak leaves")


def test_without_a_complete_tokenizer_the_estimate_counts(hub: Path):
    assert counters.find("sd-3.5") is ESTIMATE
    put_tokenizer(hub, families.load("sd-3.5").tokenizer)
    (lost,) = hub.rglob("tokenizer.json")
    lost.unlink()
    assert counters.find("sd-3.5") is ESTIMATE


def test_parsing_a_caption_does_not_depend_on_the_machine(hub: Path):
    before = grammar.parse(LONG.text, STABLE)
    put_tokenizer(hub, families.load("sd-3.5").tokenizer)
    assert grammar.parse(LONG.text, STABLE) == before
    assert before.problems == ()  # only a counter can say what is too long


# ---- the estimate


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("girl", 1), ("diligently", 3), ("Matilda", 3), ("BOTTOM", 3), ("2024", 4), ("<Ana>", 4), ("[A]", 4), ("é", 2)],
)
def test_the_estimate_counts_a_text_as(text: str, tokens: int):
    assert len(ESTIMATE.starts(text)) == tokens


@pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released captions are not at {RELEASED}")
def test_the_estimate_exceeds_clips_own_count_of_the_released_captions():
    clip = {"0001": 127, "0003": 130, "0005": 122, "0008": 150}  # open_clip's tokenizer, without its two end tokens
    for name, counted in clip.items():
        text = (RELEASED / f"{name}.txt").read_text(encoding="utf-8").strip()
        assert 1.2 < len(ESTIMATE.starts(text)) / counted < 1.8, name
