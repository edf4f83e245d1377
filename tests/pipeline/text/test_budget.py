"""Which captions a base model's text encoder would cut, and which panels would be lost by it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline import families, task
from pipeline.records import Caption, Parts, Person, Shown
from pipeline.task import Task
from pipeline.text import budget, grammar

RELEASED = Path(__file__).parents[4] / "shared/data/movie-shots"
STORYBOARD = task.load("storyboard")
POLICIES = ("never", "once", "each")
HARBOUR = "the old harbour wall under grey clouds with many gulls"


@pytest.fixture(autouse=True)
def no_tokenizer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Whatever this machine has: here it has no tokenizer until a test puts one there."""
    budget._tokenizer.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield
    budget._tokenizer.cache_clear()


def put_tokenizer(hub: Path, name: str) -> None:
    """A tokenizer of one token a word and a sign, in a model hub's cache as a download leaves it."""
    repo, _, folder = name.rpartition("/")
    home = hub / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(home / "snapshots/c0ffee" / folder)


def caption(*lengths: int, grid: str = "") -> Caption:
    """A storyboard caption whose panels have so many words of one token each."""
    parts = (f"{marker} {' '.join(['oak'] * words)}" for marker, words in zip(STORYBOARD.markers, lengths, strict=True))
    made = grammar.parse(f"[MOVIE-SHOTS] a day, {', '.join(parts)}.", STORYBOARD)
    return Caption(made.text, made.prefix, made.summary, made.panels, grid=grid)


def tasked(base: str) -> Task:
    return STORYBOARD.model_copy(update={"base": base})


# ---- faults


def test_a_caption_that_fits_has_no_fault():
    assert budget.faults(caption(20, 20, 20), STORYBOARD) == ()


def test_a_fault_names_the_panels_that_would_be_cut_and_lost():
    (fault,) = budget.faults(caption(100, 150, 30), tasked("sd-3.5"))
    assert fault == (
        f"the caption has about {budget.fit(caption(100, 150, 30), STORYBOARD).tokens} tokens of T5, 256 are read: "
        "[SCENE-2] would be cut, [SCENE-3] would be lost"
    )


def test_the_same_caption_fits_a_larger_base():
    long = caption(100, 150, 30)
    assert [base for base in families.names() if not budget.faults(long, tasked(base))] == [
        "bria-fibo",
        "chroma",
        "cogview-4",
        "flux-1",
        "flux-2",
        "flux-2-klein",
        "hunyuan-image",
        "qwen-image",
        "z-image",
    ]


def test_the_template_around_a_caption_takes_from_what_is_read():
    plain = caption(1, 1, 1)
    bare = budget.fit(plain, tasked("cogview-4")).tokens - families.load("cogview-4").template
    to_the_brim = 256 - bare - families.load("lumina-2").template + 1
    assert budget.faults(caption(to_the_brim, 1, 1), tasked("lumina-2")) == ()
    assert budget.faults(caption(to_the_brim + 1, 1, 1), tasked("lumina-2")) != ()
    assert budget.faults(caption(to_the_brim + 30, 1, 1), tasked("sd-3.5")) == ()


def test_a_last_full_stop_that_is_not_read_costs_no_panel():
    plain = caption(1, 1, 1)
    over = 256 - budget.fit(plain, tasked("sd-3.5")).tokens + 2
    fitted = budget.fit(caption(over, 1, 1), tasked("sd-3.5"))
    assert (fitted.tokens, fitted.over, fitted.cut, fitted.lost) == (257, True, (), ())
    assert "its end would be lost" in budget.faults(caption(over, 1, 1), tasked("sd-3.5"))[0]


def test_a_text_without_markers_loses_its_end():
    (fault,) = budget.faults(grammar.parse("oak " * 600, STORYBOARD), STORYBOARD)
    assert fault == "the caption has about 601 tokens of T5, 512 are read: its end would be lost"


def test_no_caption_has_no_fault():
    assert budget.faults(Caption("", "", "", ("", "", "")), STORYBOARD) == ()


def test_what_is_counted_is_the_rendering_that_is_trained_on():
    own = {looks: task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"]) for looks in POLICIES}
    walk = ("walks home", "mends a net by the sea", "drinks a cup of tea")
    looks = "a tall old sailor with a white beard and a cap of dark blue wool on a bald head"
    parts = Parts((Person("Rami", looks),), tuple(Shown(f"<Rami> {text}") for text in walk), "a day of <Rami>")
    tokens = [budget.fit(grammar.told(parts, one), one).tokens for one in own.values()]
    told = len(budget._estimated(f", {looks}"))
    assert [count - tokens[0] for count in tokens] == [
        0,
        told,
        4 * told + 3,
    ]  # in panels with the comma that closes them
    assert tokens[2] == len(budget._estimated(grammar.tell(parts, own["each"]))) + families.load("sd-3.5").template


def test_looks_in_every_panel_may_be_more_than_is_read():
    looks = "a sailor in " + "very " * 60 + "old boots"
    texts = ("walks home", "mends a net by the sea", "drinks a cup of tea")
    parts = Parts((Person("Rami", looks),), tuple(Shown(f"<Rami> {text}") for text in texts), "a day of <Rami>")
    once, each = (task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"]) for looks in ("once", "each"))
    assert budget.faults(grammar.told(parts, once), once) == ()
    (fault,) = budget.faults(grammar.told(parts, each), each)
    assert fault in grammar.told(parts, each).problems and "[SCENE-3] would be lost" in fault


# ---- counting


def test_a_tokenizer_that_is_on_this_machine_counts_exactly(tmp_path: Path):
    put_tokenizer(tmp_path / "hub", families.load("sd-3.5").tokenizer)
    # [MOVIE-SHOTS] and the markers are five signs and words each; with commas, the full stop and T5's end mark
    assert budget.fit(caption(10, 10, 10), tasked("sd-3.5")).tokens == 4 * 5 + 2 + 30 + 4 + 1
    (fault,) = budget.faults(caption(100, 150, 30), tasked("sd-3.5"))
    assert fault == ("the caption has 307 tokens of T5, 256 are read: [SCENE-2] would be cut, [SCENE-3] would be lost")
    assert budget.facts([], tasked("sd-3.5"))["counted by"] == f"the tokenizer of {families.load('sd-3.5').tokenizer}"


def test_half_a_tokenizer_is_none(tmp_path: Path):
    put_tokenizer(tmp_path / "hub", families.load("sd-3.5").tokenizer)
    (lost,) = tmp_path.rglob("tokenizer.json")
    lost.unlink()
    assert budget.facts([], tasked("sd-3.5"))["counted by"] == "an estimate that errs upwards"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("girl", 1), ("diligently", 3), ("Matilda", 3), ("BOTTOM", 3), ("2024", 4), ("<Ana>", 4), ("[A]", 4), ("é", 2)],
)
def test_the_estimate_counts_a_text_as(text: str, tokens: int):
    assert len(budget._estimated(text)) == tokens


@pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released captions are not at {RELEASED}")
def test_the_estimate_is_above_clips_own_count_of_the_released_captions():
    clip = {"0001": 127, "0003": 130, "0005": 122, "0008": 150}  # open_clip's tokenizer, without its two end marks
    for name, counted in clip.items():
        text = (RELEASED / f"{name}.txt").read_text(encoding="utf-8").strip()
        assert 1.2 < len(budget._estimated(text)) / counted < 1.8, name


def test_every_base_says_how_much_it_reads_and_where_its_tokenizer_is():
    for name, base in ((name, families.load(name)) for name in families.names()):
        assert 0 < base.template < base.limit, name
        assert len(base.tokenizer.split("/")) == 3, name
        assert base.source.endswith(".py"), name


# ---- the report


def test_facts_tell_the_spread_and_the_captions_over_the_limit():
    short, middle, long = caption(5, 5, 5, grid="g-a"), caption(9, 9, 9, grid="g-b"), caption(100, 150, 30, grid="g-c")
    counts = [budget.fit(one, STORYBOARD).tokens for one in (short, middle, long)]
    assert budget.facts([long, short, Caption("", "", "", ("",) * 3, grid="g-d"), middle], tasked("sd-3.5")) == {
        "base": "sd-3.5",
        "encoder": "T5",
        "limit": 256,
        "counted by": "an estimate that errs upwards",
        "tokens": {"min": counts[0], "median": counts[1], "max": counts[2]},
        "over the limit": {"g-c": {"tokens": counts[2], "cut": ["[SCENE-2]"], "lost": ["[SCENE-3]"]}},
    }


def test_no_captions_have_no_spread():
    assert budget.facts([], STORYBOARD)["tokens"] == {}


def test_a_thousand_captions_are_counted_in_a_moment():
    rng = random.Random(0)
    words = ["harbour", "<Ines>", "gulls", "red", "the", "of", "walks,", "a"]
    many = [
        grammar.parse(caption(1, 1, 1).text.replace("oak", " ".join(rng.choices(words, k=35))), STORYBOARD)
        for _ in range(1000)
    ]
    started = time.process_time()
    budget.facts(many, STORYBOARD)
    assert time.process_time() - started < 1


# ---- how long a text may be


@pytest.mark.parametrize("base", families.names())
def test_texts_as_long_as_they_are_asked_to_be_fit(base: str):
    for name in task.names():
        own = task.load(name, [f"base={base}"])
        most = budget.words(own)
        if most == budget.SHORTEST:
            continue  # no text of use would fit
        text = " ".join([HARBOUR] * 5).split()[:most]
        made = grammar.parse(grammar.render(" ".join(text[:30]), [" ".join(text)] * len(own.markers), [], own), own)
        assert budget.faults(made, own) == (), (name, most)


@pytest.mark.parametrize("base", families.names())
def test_texts_of_the_asked_length_fit_with_the_looks_of_two_people(base: str):
    words = HARBOUR.split() * 5
    people = tuple(Person(name, " ".join(words[: budget.LOOKS])) for name in ("Ines", "Rami"))
    for name in task.names():
        for looks in POLICIES:
            own = task.load(name, [f"base={base}", f"caption.looks={looks}"])
            most = budget.words(own)
            if most == budget.SHORTEST or not own.caption.people:
                continue  # no text of use would fit, or there are no looks
            named = f"<Ines> and <Rami> {' '.join(words[: most - 3])}"
            panel = Shown(named if looks == "each" else " ".join(words[:most]))
            made = grammar.told(Parts(people, (panel,) * len(own.markers), named), own)
            assert budget.faults(made, own) == (), (name, looks, most)


def test_the_more_often_looks_are_told_the_shorter_a_text_may_be():
    lengths = [budget.words(task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"])) for looks in POLICIES]
    assert lengths[0] > lengths[1] > lengths[2]


def test_where_nobody_is_named_looks_take_no_room():
    bare = ["caption.people=false", "base=sd-3.5"]
    assert len({budget.words(task.load("storyboard", [f"caption.looks={looks}", *bare])) for looks in POLICIES}) == 1
