"""Measures of panels, which of them apply to which kind of tie, and when the captioner's opinion counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline import task
from pipeline.consistency import evidence
from pipeline.consistency.likeness import Likeness
from pipeline.records import Appearance, Caption, Corrections, Parts, Person, Position, Record, Shown, Tie
from pipeline.task import Task
from pipeline.text.corrections import corrected

RABBIT, BEAR, CAT = "a red rabbit with a hat", "a blue bear with a cape", "a white cat with a scarf"


def tied(*ties: str) -> Task:
    named = ", ".join(f'"{tie}"' for tie in ties)
    return task.load("storyboard", [f"group.ties=[{named}]"])


def record(name: str, colour: int = 0, **position: object) -> Record:
    bins = bytes(255 if place == colour else 0 for place in range(128)).hex()
    return Record(name, "", "", Position(**position), histogram=bins)  # type: ignore[arg-type]


def shot(number: int, film: str = "film.mp4", folder: str = "/films") -> Record:
    return record(f"{film} {number}", folder=folder, film=film, shot=number)


def caption(
    *texts: str,
    people: Sequence[Person] = (),
    ties: Sequence[Tie] = (),
    strangers: Sequence[int] = (),
    unrelated: str = "",
) -> Caption:
    """A caption of panels with these texts; people are in the panels whose texts name them."""
    shown = [Shown(text, tuple(Appearance(one.name) for one in people if f"<{one.name}>" in text)) for text in texts]
    parts = Parts(tuple(people), tuple(shown), "a story", tuple(ties), tuple(strangers), unrelated)
    return Caption("", "", "a story", tuple(texts), parts=parts)


def alike(measure: Likeness, one: int, other: int) -> float:
    return float(measure.pairs(np.array([one]), np.array([other]))[0])


MARA, BO = Person("Mara", RABBIT), Person("Bo", BEAR)
STORY = caption("<Mara> on the beach", "<Mara> and <Bo> on the beach", "<Bo> by the castle", people=(MARA, BO))
LONE = Caption("", "", "", ("a rabbit", "", "a bear"))
"""A caption that came as plain text."""


# ---- which measures count


@pytest.mark.parametrize(
    ("ties", "pictures", "texts"),
    [
        (("people",), ("pictures", "colours"), ("texts", "people", "words")),
        (("subject",), ("pictures", "colours"), ("texts", "words")),
        (("place",), ("pictures", "colours"), ("texts", "words")),
        (("style",), ("pictures", "colours"), ("texts",)),
        (("change",), ("pictures",), ("texts", "people", "words")),
        (("style", "change"), ("pictures", "colours"), ("texts", "people", "words")),
    ],
)
def test_the_kinds_of_tie_decide_which_measures_are_used(
    ties: tuple[str, ...], pictures: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    theme, records, vectors = tied(*ties), [record(name) for name in "abc"], np.eye(3)
    assert tuple(evidence.from_pictures(theme, records, vectors)) == pictures
    assert tuple(evidence.from_captions(theme, [STORY], vectors)) == texts


def test_every_task_has_measures_for_its_ties() -> None:
    for name in task.names():
        assert set(task.load(name).group.ties) <= set(evidence.MEASURES)


@pytest.mark.parametrize("tie", evidence.MEASURES)
def test_without_a_scorer_colours_replace_pictures_and_words_replace_texts(tie: str) -> None:
    assert tuple(evidence.from_pictures(tied(tie), [record(name) for name in "abc"], None)) == ("colours",)
    assert "texts" not in evidence.from_captions(tied(tie), [STORY], None)


def test_people_are_not_compared_in_a_task_without_names() -> None:
    theme = task.load("storyboard", ["caption.people=false"])
    assert "people" not in evidence.from_captions(theme, [STORY], None)


# ---- what is read off pictures and captions


def test_colours_are_compared_by_their_histograms() -> None:
    measure = evidence.from_pictures(tied("style"), [record("a", 3), record("b", 3), record("c", 5)], None)["colours"]
    assert [alike(measure, 0, 1), alike(measure, 0, 2)] == pytest.approx([1, 0])


def test_people_are_compared_by_looks_not_by_names() -> None:
    same = caption("<Ida> swims", "<Mara> eats", "a tree", people=(Person("Ida", RABBIT), MARA))
    measure = evidence.from_captions(tied("people"), [same], None)["people"]
    assert alike(measure, 0, 1) == pytest.approx(1)
    assert np.isnan(alike(measure, 0, 2))


def test_a_persons_looks_in_one_panel_override_their_usual_looks() -> None:
    panels = (Shown("<Mara> runs", (Appearance("Mara"),)), Shown("<Mara> swims", (Appearance("Mara", CAT),)))
    told = Caption("", "", "", ("", ""), parts=Parts((MARA,), panels, ""))
    assert evidence.looks_of(told) == [[RABBIT], [CAT]]


def test_a_plain_text_caption_has_no_looks_and_its_panel_texts_are_used() -> None:
    assert evidence.looks_of(LONE) == [[], [], []]
    assert list(evidence.bare_texts(LONE)) == ["a rabbit", "", "a bear"]
    measures = evidence.from_captions(tied("people"), [LONE], None)
    assert np.isnan(alike(measures["people"], 0, 2))
    assert np.isnan(alike(measures["words"], 0, 1))
    assert alike(measures["words"], 0, 2) == 0


def test_bare_texts_leave_out_looks() -> None:
    told = "<Mara>, a red rabbit with a hat, on the beach"
    known = Caption("", "", "", (told,), parts=Parts((MARA,), (Shown("<Mara> on the beach"),), ""))
    assert list(evidence.bare_texts(known)) == ["<Mara> on the beach"]


def test_without_any_text_nothing_is_measured_and_nothing_fails() -> None:
    empty = [Caption("", "", "", ("", "", ""))] * 3
    for measure in evidence.from_captions(tied("people", "place"), empty, np.full((9, 4), np.nan)).values():
        assert np.isnan(measure.pairs(np.arange(8), np.arange(1, 9))).all()


# ---- tying words


def test_words_count_if_the_captioner_uses_them_for_a_tie_anywhere_in_the_run() -> None:
    one = caption("<Mara> flies a kite on the beach", "<Mara> eats on the beach", people=(MARA,),
                  ties=[Tie("on the beach", (0, 1)), Tie("<Mara>", (0, 1))])  # fmt: skip
    other = caption("<Bo> sleeps on the beach", "<Bo> flies a kite", people=(BO,))
    assert evidence.tying_words([one, other]) == {"beach"}
    measure = evidence.from_captions(tied("place"), [one, other], None)["words"]
    assert alike(measure, 0, 2) == pytest.approx(1)
    assert alike(measure, 0, 3) == 0  # a kite is nobody's tie


def test_without_any_ties_every_word_counts() -> None:
    assert evidence.tying_words([STORY, LONE]) is None
    named = caption("<Mara> runs", "<Mara> eats", people=(MARA,), ties=[Tie("<Mara>", (0, 1))])
    assert evidence.tying_words([named]) is None
    measure = evidence.from_captions(tied("place"), [STORY], None)["words"]
    assert alike(measure, 0, 1) > 0.9


# ---- nearness


def test_nearness_is_the_inverse_of_the_distance_in_shots() -> None:
    panels = [shot(4), shot(5), shot(8), shot(0), shot(3), shot(1)]
    near = evidence.nearness(panels, np.arange(6).reshape(2, 3))
    np.testing.assert_allclose(near, [[1, 1, 1 / 3], [1, 1 / 2, 1]])


def test_pictures_and_shots_of_different_films_have_no_nearness() -> None:
    pictures = [record(name, folder="/x", stem=name) for name in "abc"]
    films = [shot(4), shot(5, "other.mp4"), shot(5, folder="/elsewhere")]
    assert evidence.nearness([*pictures, *films], np.arange(6).reshape(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_same_shot_counts_as_adjacent_and_a_single_panel_has_no_nearness() -> None:
    assert evidence.nearness([shot(4), shot(4)], np.array([[0, 1]])).tolist() == [[1, 1]]
    assert evidence.nearness([shot(4)], np.array([[0]])).tolist() == [[0]]


# ---- the captioner's word


def test_a_panel_called_a_stranger_counts_if_it_shares_no_person() -> None:
    told = caption("<Mara> runs", "<Mara> eats", "a castle", people=(MARA,), strangers=(2,))
    assert evidence.called_strangers(told.parts) == (2,)
    alone = caption("<Mara> runs", "<Mara> eats", "<Bo> sleeps", people=(MARA, BO), strangers=(2,))
    assert evidence.called_strangers(alone.parts) == (2,)


def test_it_does_not_count_if_the_captions_texts_contradict_it() -> None:
    told = caption("<Mara> runs", "<Bo> eats", "<Mara> and <Bo>", people=(MARA, BO), strangers=(0, 2))
    assert evidence.called_strangers(told.parts) == ()
    listed = Parts((MARA,), (Shown("a kite", (Appearance("Mara"),)), Shown("<Mara> eats")), "", strangers=(0,))
    assert evidence.called_strangers(listed) == ()


def test_if_no_panels_are_related_all_but_those_that_share_a_person_are_strangers() -> None:
    texts = ("<Mara> runs", "<Bo> eats", "<Mara> sleeps")
    told = caption(*texts, people=(MARA, BO), unrelated="three stories")
    assert evidence.called_strangers(told.parts) == (1,)
    apart = caption("a kite", "<Bo> eats", "a castle", people=(BO,), unrelated="three stories")
    assert evidence.called_strangers(apart.parts) == (0, 1, 2)


def test_a_caption_without_parts_or_strangers_calls_no_strangers() -> None:
    assert evidence.called_strangers(LONE.parts) == evidence.called_strangers(STORY.parts) == ()


def test_a_person_calls_strangers_whoever_is_in_the_panels_and_says_who_is() -> None:
    parts = caption("<Mara> runs", "<Mara> eats", "a castle", people=(MARA,), strangers=(2,)).parts
    assert parts is not None
    assert not evidence.settled(parts) and not evidence.settled(None)
    assert evidence.called_strangers(corrected(parts, Corrections(strangers=()))) == ()
    assert evidence.called_strangers(corrected(parts, Corrections(strangers=(0,)))) == (0,)
    assert evidence.called_strangers(corrected(parts, Corrections(strangers=(0, 1, 2)))) == (0, 1, 2)
    shown = corrected(parts, Corrections(shown=((), None, (Appearance("Mara"),))))
    assert evidence.people_in(shown) == [set(), {"Mara"}, {"Mara"}]
    assert evidence.called_strangers(shown) == ()  # she is in another panel, too
    assert evidence.tying_words([replace(STORY, parts=corrected(parts, Corrections((Tie("a kite", (0, 1)),))))]) == {
        "kite"
    }


def test_a_tie_is_untold_where_a_text_has_neither_its_words_nor_its_people() -> None:
    told = caption("<Mara> in the forest", "a forest at night", "<Bo> by the sea", "<Mara> sleeps", people=(MARA, BO))
    assert told.parts
    assert evidence.untold(Tie("in the forest", (0, 1, 2)), told.parts) == (2,)
    assert evidence.untold(Tie("<Mara> in the forest", (0, 2, 3)), told.parts) == (2,)


def test_a_tie_that_no_text_tells_may_be_a_style_and_is_not_doubted() -> None:
    told = caption("<Mara> in the forest", "<Mara> sleeps", people=(MARA,))
    assert told.parts
    assert evidence.untold(Tie("watercolour", (0, 1)), told.parts) == ()


def test_a_person_who_is_only_listed_for_a_panel_tells_a_tie() -> None:
    listed = Parts((MARA,), (Shown("a kite flies", (Appearance("Mara"),)), Shown("<Mara> eats")), "")
    assert evidence.untold(Tie("<Mara>", (0, 1)), listed) == ()


def test_texts_without_spaces_are_not_compared_with_ties() -> None:
    told = Parts((), (Shown("灯塔在海边"), Shown("一座灯塔")), "")
    assert evidence.untold(Tie("同一座灯塔", (0, 1)), told) == ()
