"""Verdicts on belonging: a score with a reason per panel, facts for the report, and when a run should stop."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from miniature.making.reply import reply
from miniature.world import Character, Scene, draw_character, draw_scene
from pipeline import task
from pipeline.captioning import replies
from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.similarity import Vectors
from pipeline.consistency.verdict import BELONGS, Verdict
from pipeline.records import (
    Appearance,
    Caption,
    Corrections,
    Grid,
    Group,
    Layout,
    Parts,
    Person,
    Position,
    Record,
    Score,
    Shown,
)
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.text.corrections import corrected

STORYBOARD = task.load("storyboard")
LAYOUT = STORYBOARD.grid_layout
MARKERS = STORYBOARD.markers


def told(scenes: Sequence[Scene], grid: str = "") -> Caption:
    """A truthful caption of these scenes, with parts."""
    parts = replies.read(reply(list(scenes), named=True), STORYBOARD).parts
    assert parts is not None
    made = grammar.caption_of(parts, STORYBOARD)
    return Caption(made.text, made.prefix, made.summary, made.panels, grid=grid, names=made.names, parts=parts)


def drawn(number: int, scenes: Sequence[Scene], vectors: bool = False, film: bool = False) -> Grid:
    """A grid whose records have histograms only, which depend on the place and the character's colour."""
    records = []
    for panel, scene in enumerate(scenes):
        rng = random.Random(f"{scene.place} {scene.character.colour}")
        bins = bytes(rng.randrange(0, 200) if rng.random() < 0.2 else 0 for _ in range(128)).hex()
        where = Position(folder=f"f{number // 2}", film="film.mp4" if film else "", shot=panel if film else -1)
        records.append(Record(f"{number}-{panel}", "", "", where, histogram=bins))
    group = Group(f"s{number}", "storyboard", tuple(records), "by hand", 1.0)
    return Grid(f"g{number}", group, LAYOUT, f"{number}.png")


def stories(count: int, seed: int = 0) -> list[list[Scene]]:
    """Stories of three scenes with one character in one place; every third story moves to another place."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        first = draw_scene(rng, draw_character(rng))
        scenes = [first, *(replace(draw_scene(rng, first.character), place=first.place) for _ in range(2))]
        made.append(scenes if number % 3 else [*scenes[:2], draw_scene(rng, first.character)])
    return made


def strangers(count: int, seed: int = 1) -> list[list[Scene]]:
    rng = random.Random(seed)
    return [[draw_scene(rng) for _ in range(3)] for _ in range(count)]


def judged(
    told_of: Sequence[Sequence[Scene]],
    theme: Task = STORYBOARD,
    taught: dict[str, bool] | None = None,
    film: bool = False,
) -> tuple[Verdict, list[tuple[Score, ...]], list[Caption]]:
    grids = [drawn(number, scenes, film=film) for number, scenes in enumerate(told_of)]
    captions = [told(scenes, grid.id) for grid, scenes in zip(grids, told_of, strict=True)]
    found = verdict.verdict(theme, grids, captions, None, taught or {})
    return found, [verdict.scores(found, n, captions[n], theme) for n in range(len(grids))], captions


def of(scores: Sequence[Score], name: str) -> list[Score]:
    return [score for score in scores if score.name.startswith(name)]


# ---- one grid


def test_every_panel_has_a_score_with_the_runs_floor_and_median() -> None:
    found, scores, _ = judged(stories(20))
    assert found.found is not None and found.panels is not None
    for number, some in enumerate(scores):
        mine = of(some, BELONGS)
        assert [score.name for score in mine] == ["belongs 1", "belongs 2", "belongs 3"]
        assert [score.value for score in mine] == pytest.approx(found.panels[number].tolist(), abs=1e-4)
        assert {score.threshold for score in mine} == {round(found.found.threshold, 4)}
        assert all(score.passed == (score.value >= score.threshold) for score in mine)
        assert {score.usual for score in mine} == {round(float(np.median(found.panels)), 4)}


def test_a_stranger_is_named_by_its_marker_with_measured_and_usual_values() -> None:
    told_of = stories(24)
    told_of[5][1] = Scene(Character("robot", "purple", "crown"), "moon", "drum", "close")
    _, scores, _ = judged(told_of)
    first, second, third = of(scores[5], BELONGS)
    assert (first.passed, second.passed, third.passed) == (True, False, True)
    assert second.reason.startswith(
        f"Panel [SCENE-2] is a stranger in its grid: {second.value:.4f}, floor {second.threshold:.4f} (colours "
    )
    assert second.reason.endswith(
        "people 0.17, usually 1.00, words 0.00, usually 1.00; the captioner: it does not belong)."
    )
    assert first.reason.startswith(f"Panel [SCENE-1] belongs to its grid: {first.value:.4f}, floor ")
    assert "the captioner" not in first.reason


def test_strangers_with_truthful_captions_fail_and_correct_grids_pass() -> None:
    told_of = [*stories(30), *strangers(10)]
    _, scores, _ = judged(told_of)
    passed = [all(score.passed for score in of(some, BELONGS)) for some in scores]
    assert sum(passed[:30]) >= 29
    assert sum(passed[30:]) <= 1


def test_unmeasured_values_are_left_out_of_the_reason() -> None:
    grids = [drawn(number, scenes) for number, scenes in enumerate(stories(8))]
    captions = [Caption("", "", "", ("a rabbit", "a kite", ""), grid=grid.id) for grid in grids]
    found = verdict.verdict(STORYBOARD, grids, captions, None, {})
    last = verdict.scores(found, 0, captions[0], STORYBOARD)[2]
    assert "colours" in last.reason and "people" not in last.reason and "words" not in last.reason


def test_a_scorers_pictures_and_texts_are_measured_too() -> None:
    told_of = stories(12)
    grids = [drawn(number, scenes) for number, scenes in enumerate(told_of)]
    captions = [told(scenes, grid.id) for grid, scenes in zip(grids, told_of, strict=True)]
    rows = np.random.default_rng(0).normal(size=(12, 3, 4))
    found = verdict.verdict(STORYBOARD, grids, captions, Vectors(rows, rows[::-1], rows[:, 0]), {})
    assert found.measures == ("pictures", "colours", "texts", "people", "words")
    assert found.features.shape == (12, 3, 10)


def test_adjacent_shots_get_a_bonus() -> None:
    folders, films = (judged(stories(10), film=film)[0] for film in (False, True))
    assert folders.panels is not None and films.panels is not None
    np.testing.assert_allclose(films.panels, folders.panels + evidence.ADJACENT_SHOT)


def test_the_captioners_opinion_counts_against_a_panel() -> None:
    told_of = stories(20)
    grids = [drawn(number, scenes) for number, scenes in enumerate(told_of)]
    captions = [told(scenes, grid.id) for grid, scenes in zip(grids, told_of, strict=True)]
    parts = captions[3].parts
    assert parts is not None
    panels = (parts.panels[0], parts.panels[1], Shown("a kite"))
    spoken, silent = ([*captions[:3], replaced(captions[3], panels, called), *captions[4:]] for called in ((2,), ()))
    with_word, without = (verdict.verdict(STORYBOARD, grids, some, None, {}) for some in (spoken, silent))
    assert with_word.panels is not None and without.panels is not None
    assert with_word.panels[3, 2] == pytest.approx(without.panels[3, 2] + evidence.CALLED_STRANGER)
    assert with_word.panels[3, :2] == pytest.approx(without.panels[3, :2])


def test_a_persons_word_on_who_belongs_decides_against_the_rule_and_the_captioner() -> None:
    told_of = [*stories(20), *strangers(1)]
    grids = [drawn(number, scenes) for number, scenes in enumerate(told_of)]
    captions = [told(scenes, grid.id) for grid, scenes in zip(grids, told_of, strict=True)]

    def scores(number: int, said: tuple[int, ...]) -> list[Score]:
        parts = captions[number].parts
        assert parts is not None
        one = replace(captions[number], parts=corrected(parts, Corrections(strangers=said)))
        found = verdict.verdict(STORYBOARD, grids, [*captions[:number], one, *captions[number + 1 :]], None, {})
        assert found.found is not None
        return of(verdict.scores(found, number, one, STORYBOARD), BELONGS)

    apart = verdict.verdict(STORYBOARD, grids, captions, None, {})
    assert not all(score.passed for score in verdict.scores(apart, 20, captions[20], STORYBOARD))
    assert scores(20, ()) == []
    reason = "Panel [SCENE-3] is a stranger; a person: it does not belong."
    assert scores(1, (2,)) == [Score("belongs 3", 0.0, 1.0, False, reason)]
    assert [(score.name, score.passed) for score in scores(1, (0, 1, 2))] == [
        ("belongs 1", False), ("belongs 2", False), ("belongs 3", False),
    ]  # fmt: skip


def replaced(caption: Caption, panels: tuple[Shown, ...], called: tuple[int, ...]) -> Caption:
    assert caption.parts is not None
    parts = Parts(caption.parts.people, panels, caption.parts.summary, caption.parts.ties, called)
    return Caption("", "", "", tuple(panel.text for panel in panels), grid=caption.grid, parts=parts)


# ---- too few grids for a rule


def test_with_too_few_grids_only_the_captioners_opinion_rejects() -> None:
    found, scores, _ = judged([*stories(belonging.FEWEST - 2), *strangers(1)])
    assert found.found is None and found.facts() == {}
    assert not any(of(some, BELONGS) for some in scores[:-1])
    assert of(scores[-1], BELONGS)[0] == Score(
        "belongs 1",
        0.0,
        1.0,
        False,
        "Panel [SCENE-1] is a stranger; the captioner: no two of the images have a character or a place in common.",
    )
    assert [score.passed for score in of(scores[-1], BELONGS)] == [False] * 3


def test_eight_grids_are_enough_and_one_panel_never_is() -> None:
    assert judged(stories(belonging.FEWEST))[0].found is not None
    single = task.load("storyboard", ["layout.rows=1", 'markers=["[SCENE-1]"]'])
    grids = [
        Grid(f"g{n}", Group(f"s{n}", "storyboard", (record,), "", 1.0), Layout(1, 1, 64, 64), "")
        for n, record in enumerate(drawn(n, scenes).group.records[0] for n, scenes in enumerate(stories(20)))
    ]
    captions = [
        Caption("", "", "", ("a rabbit",), grid=grid.id, parts=Parts((), (Shown("a rabbit"),), "")) for grid in grids
    ]
    found = verdict.verdict(single, grids, captions, None, {})
    assert found.found is None
    assert verdict.scores(found, 0, captions[0], single) == ()


# ---- recurring people


def seen(*names: str, theme: Task = STORYBOARD) -> list[Score]:
    """Recurrence scores of panels with people of these names, one letter each, without a fitted rule."""
    panels = tuple(Shown("a day", tuple(Appearance(letter) for letter in some)) for some in names)
    everyone = tuple(Person(letter, "a bear") for letter in dict.fromkeys("".join(names)))
    caption = Caption("", "", "", ("",) * len(names), parts=Parts(everyone, panels, ""))
    return list(verdict.scores(Verdict(None, np.zeros(0), (), None), 0, caption, theme))


def test_a_panel_whose_people_appear_in_no_other_panel_fails() -> None:
    scores = seen("A", "AB", "C")
    assert [score.name for score in scores] == ["recurs 1", "recurs 2", "recurs 3"]
    assert [score.passed for score in scores] == [True, True, False]
    assert [score.value for score in scores] == [1, 1, 0]
    assert scores[2].reason == "Nobody in panel [SCENE-3] appears in another panel: 0, floor 0.5000."
    assert scores[0].reason == "Somebody in panel [SCENE-1] appears in another panel: 1, floor 0.5000."


def test_a_panel_without_people_has_no_recurrence_score() -> None:
    assert [score.name for score in seen("A", "", "A")] == ["recurs 1", "recurs 3"]
    assert seen("", "", "") == []


def test_a_person_named_only_in_a_text_counts() -> None:
    panels = (Shown("<Mara> runs"), Shown("a kite", (Appearance("Mara"),)), Shown("<Bo> eats"))
    caption = Caption("", "", "", ("",) * 3, parts=Parts((Person("Mara", ""),), panels, ""))
    scores = verdict.scores(Verdict(None, np.zeros(0), (), None), 0, caption, STORYBOARD)
    assert [(score.name, score.passed) for score in scores] == [
        ("recurs 1", True),
        ("recurs 2", True),
        ("recurs 3", False),
    ]


@pytest.mark.parametrize("setting", ["filter.recurring=false", 'group.ties=["style"]'])
def test_recurrence_is_not_scored_if_switched_off_or_if_people_are_not_a_tie(setting: str) -> None:
    assert seen("A", "B", "C", theme=task.load("storyboard", [setting])) == []


def test_recurrence_is_not_scored_for_a_plain_text_caption() -> None:
    caption = Caption("", "", "", ("<A> runs", "<B> runs", "<C> runs"))
    assert verdict.scores(Verdict(None, np.zeros(0), (), None), 0, caption, STORYBOARD) == ()


# ---- a person's decisions


def test_decisions_by_grid_id_train_the_rule() -> None:
    told_of = [*stories(20), *strangers(10)]
    before, after = (judged(told_of, taught=taught)[0] for taught in ({}, {f"g{n}": n < 20 for n in range(30)}))
    assert before.panels is not None and after.panels is not None
    gap = [found.panels[:20].min(axis=1).mean() - found.panels[20:].min(axis=1).mean() for found in (before, after)]
    assert gap[1] > gap[0]
    unknown = judged(told_of, taught={"g-not-there": False})[0]
    np.testing.assert_array_equal(unknown.panels, before.panels)


# ---- the run


def test_the_facts_have_area_threshold_weights_and_error_rates() -> None:
    found = judged([*stories(30), *strangers(6)])[0]
    facts = found.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert set(facts) == {
        "groups",
        "area",
        "threshold",
        "counts",
        "false rejects",
        "strangers that pass",
        "grids with one stranger that pass",
    }
    assert facts["groups"] == 36
    assert list(facts["counts"]) == ["colours", "people", "words"]
    assert sum(facts["counts"].values()) == pytest.approx(1, abs=0.002)
    for name in ("false rejects", "strangers that pass", "grids with one stranger that pass"):
        assert facts[name]["of"] == 36  # shuffled ones are no more independent than the run's own
        assert facts[name]["low"] <= facts[name]["rate"] <= facts[name]["high"]
    assert facts["strangers that pass"]["rate"] <= facts["grids with one stranger that pass"]["rate"] < 0.3


def test_the_printed_lines_have_the_auc_and_three_rates_with_intervals() -> None:
    facts = judged(stories(30))[0].facts()
    facts["area"] = {"value": 0.987, "low": 0.951, "high": 0.999, "line": 0.65, "cleared": True}
    facts["strangers that pass"] = {"count": 1, "of": 30, "low": 0.0059, "high": 0.1667}
    area, rates = verdict.lines(facts)
    assert area == "groups against shuffled controls: ROC AUC 0.99 (0.95 to 1.00; chance is 0.5)"
    assert rates.startswith("belonging: false rejects at most 0 of 30 (0.0 to 11.3 %); false accepts: ")
    assert "; false accepts: grids of strangers 1 of 30 (0.6 to 16.7 %), grids with one stranger 0 of 30" in rates
    assert verdict.lines({}) == []


def test_a_run_of_strangers_should_stop_with_a_reason() -> None:
    facts = judged(strangers(40))[0].facts()
    why = verdict.at_chance(facts)
    assert why.startswith("the 40 groups are hardly more alike than pictures put together at random (ROC AUC ")
    area = facts["area"]
    assert why.endswith(f"95 % interval {area['low']:.2f} to {area['high']:.2f}, which falls short of 0.65)")


def test_a_run_of_stories_continues_and_so_does_one_without_a_rule() -> None:
    assert verdict.at_chance(judged(stories(20))[0].facts()) == ""
    assert verdict.at_chance(judged([*stories(20), *strangers(20)])[0].facts()) == ""
    assert verdict.at_chance({}) == ""
