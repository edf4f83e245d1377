"""What a person's decisions teach the rule for belonging: the preview, the change itself, and its limits."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from served import finish, opened

from iclora.run import Run
from miniature import film
from miniature.world import PLACES, Scene, bare, draw_character, draw_scene
from pipeline.consistency import teaching, verdict
from pipeline.consistency.teaching import FEWEST, Turn, Worst
from pipeline.consistency.verdict import BELONGS, Verdict
from pipeline.errors import BadInput
from pipeline.records import Row
from pipeline.review import decisions, reviews
from pipeline.store import read_settings

FILMS = 40
SIZE = (320, 160)


def answer(scenes: list[Scene]) -> str:
    cast = list(dict.fromkeys(scene.character for scene in scenes))
    people = [{"name": f"P{number}", "looks": who.words} for number, who in enumerate(cast, start=1)]
    names = [f"P{cast.index(scene.character) + 1}" for scene in scenes]
    panels = [{"text": bare(scene, name), "people": [name]} for scene, name in zip(scenes, names, strict=True)]
    return json.dumps({"panels": panels, "people": people, "summary": "a day of <P1>"})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of folders whose shots show one character in one place or in three, or two characters."""
    home = tmp_path_factory.mktemp("learning")
    rng = random.Random(3)
    answers = []
    for number in range(FILMS):
        who, places = draw_character(rng), rng.sample(list(PLACES), 3)
        scenes = [replace(draw_scene(rng, who), place=places[0] if number % 3 != 1 else place) for place in places]
        if number % 3 == 2:
            scenes[2] = replace(scenes[2], character=draw_character(rng))
        for shot, scene in enumerate(scenes):
            film.picture(scene, home / f"film-{number:02d}" / f"{shot}.png", SIZE)
        answers.append(answer(scenes))
    small = ("layout.panel_width=160", "layout.panel_height=96")
    return finish(home, answers, "caption.attempts=1", "group.prove=false", *small)


def rows(run: Run) -> list[Row]:
    return run.reviewed()


def of_one_cast(row: Row) -> bool:
    return len(row.caption.names) == 1


def decide(run: Run, kept: int = 20, dropped: int = 4) -> dict[str, bool]:
    """Keeps grids with one character and drops grids with two, whatever their places."""
    all_rows = rows(run)
    chosen = [row for row in all_rows if of_one_cast(row)][:kept]
    chosen += [row for row in all_rows if not of_one_cast(row)][:dropped]
    assert len(chosen) == kept + dropped < len(all_rows)
    for row in chosen:
        change = reviews.change(
            row, run.task, run.counter, decision="keep" if of_one_cast(row) else "drop", note="seen"
        )
        assert change
        reviews.decide(run.store, [change], "page")
    return {row.id: of_one_cast(row) for row in chosen}


def strangers(run: Run) -> set[str]:
    """Grids in which the latest filter finds that a panel is a stranger."""
    return {row.id for row in rows(run) if any(not s.passed and s.name.startswith(f"{BELONGS} ") for s in row.scores)}


def counts(run: Run) -> dict[str, float]:
    mark = run.store.mark("filter")
    assert mark
    return dict(mark.facts["belonging"]["counts"])


# ---- how many decisions are needed


@pytest.mark.parametrize(
    ("kept", "dropped", "missing"),
    [
        (12, 0, "got 12 to keep and 0 to drop: 8 more are missing, including one to drop"),
        (0, 25, "got 0 to keep and 25 to drop: 1 more is missing, including one to keep"),
        (10, 9, "got 10 to keep and 9 to drop: 1 more is missing"),
        (0, 0, "got 0 to keep and 0 to drop: 20 more are missing, including one to keep and one to drop"),
        (19, 1, ""),
        (1, 19, ""),
    ],
)
def test_twenty_decisions_of_both_kinds_are_enough_and_the_report_says_how_many_are_missing(
    kept: int, dropped: int, missing: str
) -> None:
    decided = {f"g-{number}": number < kept for number in range(kept + dropped)}
    message = teaching.lacking(decided)
    assert message.endswith(missing) and bool(message) == bool(missing)


def test_too_few_decisions_are_reported_in_one_sentence_and_change_nothing(
    iclora: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    run = opened(home)
    with run.store:
        decide(run, FEWEST - 4, 3)
    code, output, errors = iclora("review", "storyboard", "--out", str(home), "--learn")
    assert (code, output) == (2, "")
    assert re.fullmatch(
        r"error: training the rule takes 20 decided grids of both kinds, got \d+ to keep and \d+ to drop: 1 more is "
        r"missing; go on deciding with iclora review storyboard --serve --out \S+\.\n",
        errors,
    )
    assert not opened(home).task.filter.learn


def test_unsure_decisions_teach_nothing(run: Run) -> None:
    decided = decide(run, FEWEST - 4, 4)
    first = next(row for row in rows(run) if row.id in decided)
    change = reviews.change(first, run.task, run.counter, decision="unsure")
    assert change
    reviews.decide(run.store, [change], "page")
    assert run.decided() == {grid: word for grid, word in decided.items() if grid != first.id}
    with pytest.raises(BadInput, match="1 more is missing"):
        run.preview_learning()


# ---- the preview


def verdict_of(run: Run) -> Verdict:
    captions = reviews.captions(run.store, run.task, run.counter)
    by_id = {grid.id: grid for grid in reviews.grids(run.store, run.task)}
    return verdict.verdict(run.task, [by_id[one.grid] for one in captions], captions, None, {})


def test_two_verdicts_are_compared_by_the_worst_panel_of_every_undecided_grid(run: Run) -> None:
    before, grids = verdict_of(run), reviews.grids(run.store, run.task)
    assert before.found is not None and before.panels is not None
    floor = before.found.threshold
    was, becomes = np.full_like(before.panels, floor + 1), np.full_like(before.panels, floor + 1)
    was[0, 2], becomes[1, 1], becomes[2, 0] = floor - 0.5, floor - 0.25, floor - 2
    was[3, 0] = becomes[3, 1] = floor - 3  # a stranger under both
    one, other = replace(before, panels=was), replace(before, panels=becomes)
    preview = teaching.compare(one, other, grids, {grids[2].id: True, grids[5].id: False})
    assert grids[1].id not in {turn.grid for turn in teaching.compare(one, other, grids, {}, [grids[1].id]).turns}
    near = round(floor, 4)
    assert [(turn.grid, turn.before.panel, turn.after.panel) for turn in preview.turns] == [
        (grids[0].id, 2, 0),
        (grids[1].id, 0, 1),
    ]  # the third turns as well, but a person has decided on it
    assert (preview.turns[0].before, preview.turns[0].after.passes) == (Worst(2, round(floor - 0.5, 4), near), True)
    assert (preview.turns[1].before.passes, preview.turns[1].after) == (True, Worst(1, round(floor - 0.25, 4), near))
    lines = list(teaching.lines(preview, run.task.markers))
    assert lines[1:5] == [
        "1 grid would now be rejected as strangers:",
        f"  {grids[1].id}: worst panel [SCENE-1] {floor + 1:.4f}, floor {floor:.4f} -> "
        f"[SCENE-2] {floor - 0.25:.4f}, floor {floor:.4f}",
        "1 grid would no longer be rejected as strangers:",
        f"  {grids[0].id}: worst panel [SCENE-3] {floor - 0.5:.4f}, floor {floor:.4f} -> "
        f"[SCENE-1] {floor + 1:.4f}, floor {floor:.4f}",
    ]
    assert lines[5:] == ["the 2 grids that you have decided on keep your decisions"]


def test_a_run_without_a_rule_cannot_be_taught(run: Run) -> None:
    current = verdict_of(run)
    untaught = replace(current, found=None, panels=None)
    with pytest.raises(BadInput, match="have no rule that could be trained"):
        teaching.compare(untaught, untaught, reviews.grids(run.store, run.task), {})


def test_a_measure_that_a_person_decides_by_gains_weight(run: Run) -> None:
    decide(run)
    was, becomes = run.preview_learning().counts["people"]
    assert becomes > was + 0.1  # who is seen is all that separates the kept grids from the dropped ones
    assert counts(run)["people"] == pytest.approx(was, abs=0.001)


# ---- learning


def test_a_dry_run_previews_the_changes_and_makes_none(iclora: Callable[..., tuple[int, str, str]], home: Path) -> None:
    run = opened(home)
    with run.store:
        decide(run)
        before, settings, mark = rows(run), read_settings(home), run.store.mark("filter")
    code, output, errors = iclora("review", "storyboard", "--out", str(home), "--learn", "--dry-run")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert re.fullmatch(r"weight of each measure: (\w+ \d\.\d\d -> \d\.\d\d(, )?){3}", lines[0])
    assert lines[-2:] == ["the 24 grids that you have decided on keep your decisions", "Nothing was changed."]
    run = opened(home)
    with run.store:
        assert (rows(run), read_settings(home), run.store.mark("filter")) == (before, settings, mark)


def test_learning_does_what_it_previewed_and_leaves_a_persons_decisions_alone(
    iclora: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    run = opened(home)
    with run.store:
        decided = decide(run)
        preview, before = run.preview_learning(), strangers(run)
        overrides = run.settings.overrides
    code, output, errors = iclora("review", "storyboard", "--out", str(home), "--learn")
    assert (code, errors) == (0, "")
    assert "Your decisions teach the rule from now on; " in output
    run = opened(home)
    with run.store:
        assert run.settings.overrides == overrides | {"filter.learn": True}
        assert counts(run) == {name: pytest.approx(now, abs=0.001) for name, (_, now) in preview.counts.items()}
        turned = (strangers(run) ^ before) - decided.keys()
        assert turned == {turn.grid for turn in preview.turns} != set()
        assert {row.id: row.decision == "keep" for row in rows(run) if row.id in decided} == decided
        exported = {entry["grid"] for entry in run.store.table("exported")}
        assert exported & decided.keys() == {grid for grid, kept in decided.items() if kept}


def test_a_learning_run_takes_up_every_further_decision_and_a_run_that_does_not_learn_takes_up_none(run: Run) -> None:
    decided = decide(run)
    run.advance(start="filter")
    untaught = counts(run)
    run.learn()
    run.advance(start="filter")
    taught = counts(run)
    assert taught != untaught
    other = next(row for row in rows(run) if row.id not in decided)
    change = reviews.change(other, run.task, run.counter, decision="drop", note="no")
    assert change
    reviews.decide(run.store, [change], "page")
    run.advance(start="filter")
    assert counts(run) != taught
    (run.folder / decisions.FILE).unlink()  # too few to learn from: the run's own rule is back
    run.advance(start="filter")
    assert counts(run) == untaught


def test_learning_twice_leaves_one_setting_and_keeps_the_others(run: Run) -> None:
    before = run.settings.overrides
    run.settings = run.settings.changed(settings=["filter.learn = false"])
    for _ in range(2):
        run.learn()
        assert run.settings.overrides == before | {"filter.learn": True}
    assert run.task.filter.learn


def test_learning_cannot_be_combined_with_another_way_to_review(
    iclora: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    for words, message in (
        (["--apply", "x.csv"], "--apply x.csv and --learn are two ways to review"),
        (["--serve"], "--serve and --learn are two ways to review"),
    ):
        code, _, errors = iclora("review", "storyboard", "--out", str(home), "--learn", *words)
        assert code == 2 and errors.startswith(f"error: {message}")


def test_a_worst_panel_at_the_floor_passes() -> None:
    turn = Turn("g-x", Worst(0, 0.5, 0.5), Worst(1, 0.4999, 0.5))
    assert (turn.before.passes, turn.after.passes) == (True, False)
