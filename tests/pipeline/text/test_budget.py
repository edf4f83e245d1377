"""Which captions a base model's text encoder would truncate, and which panels would be lost."""

from __future__ import annotations

import random
from functools import cache

import pytest

from pipeline import families, task
from pipeline.records import Caption, Parts, Person, Shown
from pipeline.task import Task
from pipeline.text import budget, grammar
from pipeline.text.counters import ESTIMATE

STORYBOARD = task.load("storyboard")
POLICIES = ("never", "once", "each")
HARBOUR = "the old harbour wall under grey clouds with many gulls"


def caption(*lengths: int, grid: str = "") -> Caption:
    """A storyboard caption whose panels have so many words of one token each."""
    parts = (f"{marker} {' '.join(['oak'] * words)}" for marker, words in zip(STORYBOARD.markers, lengths, strict=True))
    made = grammar.parse(f"[MOVIE-SHOTS] a day, {', '.join(parts)}.", STORYBOARD)
    return Caption(made.text, made.prefix, made.summary, made.panels, grid=grid)


def tasked(base: str) -> Task:
    return STORYBOARD.model_copy(update={"base": base})


# ---- faults


def test_a_caption_that_fits_has_no_fault():
    assert budget.faults(caption(20, 20, 20), STORYBOARD, ESTIMATE) == ()


def test_a_fault_names_the_panels_that_would_be_truncated_and_lost():
    (fault,) = budget.faults(caption(100, 150, 30), tasked("sd-3.5"), ESTIMATE)
    tokens = budget.fit(caption(100, 150, 30), STORYBOARD, ESTIMATE).tokens
    assert fault == (
        f"the caption has about {tokens} T5 tokens, but only 256 are read: "
        "[SCENE-2] would be cut short, [SCENE-3] would be lost"
    )


def test_the_same_caption_fits_a_larger_base():
    long = caption(100, 150, 30)
    assert [base for base in families.names() if not budget.faults(long, tasked(base), ESTIMATE)] == [
        "anima",
        "bria-fibo",
        "chroma",
        "cogview-4",
        "ernie-image",
        "flux-1",
        "flux-1-fill",
        "flux-1-kontext",
        "flux-2",
        "flux-2-klein",
        "flux-3-klein",
        "hunyuan-image",
        "ideogram-4",
        "krea-2",
        "longcat-image",
        "qwen-image",
        "qwen-image-2.1",
        "qwen-image-edit",
        "z-image",
    ]


def test_the_template_around_a_caption_counts_towards_the_limit():
    plain = caption(1, 1, 1)
    bare = budget.fit(plain, tasked("cogview-4"), ESTIMATE).tokens - families.load("cogview-4").template
    to_the_brim = 256 - bare - families.load("lumina-2").template + 1
    assert budget.faults(caption(to_the_brim, 1, 1), tasked("lumina-2"), ESTIMATE) == ()
    assert budget.faults(caption(to_the_brim + 1, 1, 1), tasked("lumina-2"), ESTIMATE) != ()
    assert budget.faults(caption(to_the_brim + 30, 1, 1), tasked("sd-3.5"), ESTIMATE) == ()


def test_losing_only_the_final_full_stop_costs_no_panel():
    plain = caption(1, 1, 1)
    over = 256 - budget.fit(plain, tasked("sd-3.5"), ESTIMATE).tokens + 2
    fitted = budget.fit(caption(over, 1, 1), tasked("sd-3.5"), ESTIMATE)
    assert (fitted.tokens, fitted.over, fitted.cut, fitted.lost) == (257, True, (), ())
    assert "its end would be lost" in budget.faults(caption(over, 1, 1), tasked("sd-3.5"), ESTIMATE)[0]


def test_a_text_without_markers_loses_its_end():
    (fault,) = budget.faults(grammar.parse("oak " * 600, STORYBOARD), STORYBOARD, ESTIMATE)
    assert fault == "the caption has about 601 T5 tokens, but only 512 are read: its end would be lost"


def test_a_row_without_a_caption_has_no_fault():
    assert budget.faults(Caption("", "", "", ("", "", "")), STORYBOARD, ESTIMATE) == ()


def test_the_rendering_that_is_trained_on_is_counted():
    own = {looks: task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"]) for looks in POLICIES}
    walk = ("walks home", "mends a net by the sea", "drinks a cup of tea")
    looks = "a tall old sailor with a white beard and a cap of dark blue wool on a bald head"
    parts = Parts((Person("Rami", looks),), tuple(Shown(f"<Rami> {text}") for text in walk), "a day of <Rami>")
    tokens = [budget.fit(grammar.caption_of(parts, one), one, ESTIMATE).tokens for one in own.values()]
    extra = len(ESTIMATE.starts(f", {looks}"))
    assert [count - tokens[0] for count in tokens] == [
        0,
        extra,
        4 * extra + 3,
    ]  # inside panels, with the comma that closes them
    assert tokens[2] == len(ESTIMATE.starts(grammar.text_of(parts, own["each"]))) + families.load("sd-3.5").template


def test_looks_in_every_panel_may_exceed_the_limit():
    looks = "a sailor in " + "very " * 60 + "old boots"
    texts = ("walks home", "mends a net by the sea", "drinks a cup of tea")
    parts = Parts((Person("Rami", looks),), tuple(Shown(f"<Rami> {text}") for text in texts), "a day of <Rami>")
    once, each = (task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"]) for looks in ("once", "each"))
    assert budget.faults(grammar.caption_of(parts, once), once, ESTIMATE) == ()
    (fault,) = budget.faults(grammar.caption_of(parts, each), each, ESTIMATE)
    assert "[SCENE-3] would be lost" in fault
    (*others, last) = budget.checked(grammar.caption_of(parts, each), each, ESTIMATE).problems
    assert (tuple(others), last) == (grammar.caption_of(parts, each).problems, fault)


# ---- the report


def test_every_base_states_its_limit_and_the_location_of_its_tokenizer():
    for name, base in ((name, families.load(name)) for name in families.names()):
        assert 0 < base.template < base.limit, name
        assert len(base.tokenizer.split("/")) == 3, name
        assert base.source.endswith(".py"), name


def test_the_facts_give_the_distribution_and_the_captions_over_the_limit():
    short, middle, long = caption(5, 5, 5, grid="g-a"), caption(9, 9, 9, grid="g-b"), caption(100, 150, 30, grid="g-c")
    counts = [budget.fit(one, STORYBOARD, ESTIMATE).tokens for one in (short, middle, long)]
    assert budget.facts(
        [long, short, Caption("", "", "", ("",) * 3, grid="g-d"), middle], tasked("sd-3.5"), ESTIMATE
    ) == {
        "base": "sd-3.5",
        "encoder": "T5",
        "limit": 256,
        "counted by": "an estimate that errs upwards",
        "tokens": {"min": counts[0], "median": counts[1], "max": counts[2]},
        "over the limit": {"g-c": {"tokens": counts[2], "cut": ["[SCENE-2]"], "lost": ["[SCENE-3]"]}},
    }


def test_without_captions_there_is_no_distribution():
    assert budget.facts([], STORYBOARD, ESTIMATE)["tokens"] == {}


def test_a_thousand_captions_are_counted():
    rng = random.Random(0)
    words = ["harbour", "<Ines>", "gulls", "red", "the", "of", "walks,", "a"]
    many = [
        grammar.parse(caption(1, 1, 1).text.replace("oak", " ".join(rng.choices(words, k=35))), STORYBOARD)
        for _ in range(1000)
    ]
    assert sum(budget.facts(many, STORYBOARD, ESTIMATE)["tokens"].values()) > 0


# ---- how long a text may be


@cache
def published(*settings: str) -> tuple[Task, ...]:
    """All tasks with some settings, loaded once for all families."""
    return tuple(task.load(name, settings) for name in task.names())


@pytest.mark.parametrize("base", families.names())
def test_texts_of_the_requested_length_fit(base: str):
    for own in (each.model_copy(update={"base": base}) for each in published()):
        most = budget.words(own)
        if most == budget.SHORTEST:
            continue  # no useful text would fit
        text = " ".join([HARBOUR] * 5).split()[:most]
        made = grammar.parse(grammar.render(" ".join(text[:30]), [" ".join(text)] * len(own.markers), [], own), own)
        assert budget.faults(made, own, ESTIMATE) == (), (own.name, most)


@pytest.mark.parametrize("base", families.names())
def test_texts_of_the_requested_length_fit_with_the_looks_of_two_people(base: str):
    words = HARBOUR.split() * 5
    people = tuple(Person(name, " ".join(words[: budget.LOOKS])) for name in ("Ines", "Rami"))
    for looks in POLICIES:
        for own in (each.model_copy(update={"base": base}) for each in published(f"caption.looks={looks}")):
            most = budget.words(own)
            if most == budget.SHORTEST or not own.caption.people:
                continue  # no useful text would fit, or there are no looks
            named = f"<Ines> and <Rami> {' '.join(words[: most - 3])}"
            panel = Shown(named if looks == "each" else " ".join(words[:most]))
            made = grammar.caption_of(Parts(people, (panel,) * len(own.markers), named), own)
            assert budget.faults(made, own, ESTIMATE) == (), (own.name, looks, most)


def test_the_more_often_looks_are_stated_the_shorter_a_text_may_be():
    lengths = [budget.words(task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"])) for looks in POLICIES]
    assert lengths[0] > lengths[1] > lengths[2]


def test_if_nobody_is_named_looks_take_no_room():
    bare = ["caption.people=false", "base=sd-3.5"]
    assert len({budget.words(task.load("storyboard", [f"caption.looks={looks}", *bare])) for looks in POLICIES}) == 1
