"""Traits that a task's captions must not tell, because its prefix or a name shall carry them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import task
from pipeline.captioning import instructions
from pipeline.errors import BadInput
from pipeline.task import Task
from pipeline.text import grammar

PAGE = (Path(__file__).parents[3] / "docs/tasks.md").read_text(encoding="utf-8")
HAIR = {"caption.exclude": {"hair": ["hair", "blonde", "金发"], "the face": ["green eyes"]}}


def of(settings: task.Given) -> Task:
    return task.load("storyboard", settings)


def caption(third: str, head: str = "[MOVIE-SHOTS] A day at sea,") -> str:
    return f"{head} [SCENE-1] <Ines> hauls a net, [SCENE-2] gulls circle above, [SCENE-3] {third}."


@pytest.mark.parametrize(
    ("third", "faults"),
    [
        ("<Ines> dries her Blonde hair", ["'hair' {}", "'blonde' {} (hair)"]),
        ("<Ines> with GREEN  eyes sleeps", ["'green eyes' {} (the face)"]),
        ("<Ines> is a 金发女孩 asleep", ["'金发' {} (hair)"]),
        ("<Blonde> sleeps on deck", []),
        ("a sign that reads 'Hair' swings", []),
        ("hairs of a brush dry", []),
    ],
)
def test_a_caption_that_tells_a_trait_is_reported_with_word_and_trait(third: str, faults: list[str]) -> None:
    expected = tuple(fault.format("must not appear in this task's captions") for fault in faults)
    assert grammar.parse(caption(third), of(HAIR)).problems == expected


def test_prefix_and_opening_may_tell_what_no_caption_tells() -> None:
    own = of({"prefix": "blonde-ines", "opening": "A story of hair,", **HAIR})
    text = caption("<Ines> sleeps on deck", "blonde-ines A story of hair, told at sea,")
    assert grammar.parse(text, own).problems == ()
    assert len(grammar.parse(text.replace("told", "long hair told"), own).problems) == 1


def test_a_phrase_does_not_go_on_behind_a_marker_or_a_name() -> None:
    own = of({"caption.exclude": ["long hair"]})
    text = caption("hair dries in the wind").replace("above", "for very long")
    assert grammar.parse(text, own).problems == ()


def test_the_captioner_is_told_the_traits_and_their_words() -> None:
    text = instructions.write(of(HAIR))
    assert 'Say nothing of hair, not even in "looks": never use words such as hair, blonde, 金发.' in text
    assert 'Say nothing of the face, not even in "looks": never use words such as green eyes.' in text
    assert "looks" not in instructions.write(of({"caption.people": False, **HAIR})).split("Say nothing of hair")[1]


def test_a_list_of_words_and_a_table_of_traits_may_not_be_mixed_up() -> None:
    plain = of({"caption.exclude": ["hair", "green   eyes"]})
    assert plain.caption.exclude == {"hair": ("hair",), "green eyes": ("green eyes",)}
    assert "\nNever use these words: hair, green eyes." in instructions.write(plain)


@pytest.mark.parametrize(
    ("exclude", "fault"),
    [
        ("hair", "must be a list of words, or a table"),
        ({"hair": []}, "caption.exclude.hair"),
        ({"hair": "blonde"}, "caption.exclude.hair"),
        ({"hair": [" "]}, "must not be empty"),
        ({"hair": ["a\x1bb"]}, "control character"),
        ([3], "must be a list of words"),
        ([f"word {number}" for number in range(1001)], "has 1001 words, more than 1000"),
    ],
)
def test_traits_that_could_not_be_looked_for_are_refused(exclude: object, fault: str) -> None:
    with pytest.raises(BadInput, match=re.escape(fault)):
        of({"caption.exclude": exclude} if exclude != {"hair": []} else ["caption.exclude.hair=[]"])


def test_the_task_of_a_character_in_the_docs_works(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    file = tmp_path / "mira.toml"
    file.write_text(text, encoding="utf-8")
    own = task.load(str(file))
    said = "mira-k Mira at sea, [SCENE-1] she hauls a net, [SCENE-2] she sorts the catch, [SCENE-3] blonde, she sleeps."
    assert grammar.parse(said, own).problems == ("'blonde' must not appear in this task's captions (hair)",)
    assert "Say nothing of hair" in instructions.write(own)
