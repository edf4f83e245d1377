"""A person corrects what ties the panels, which do not belong, and who is in them, on the page and in the table."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browsing import Faults, here, visit_wall, wait_for
from playwright.sync_api import BrowserContext, Page, expect
from served import Served, finish, opened, undo
from tabled import apply, parts, row, table

from iclora.page.judging import Typed
from iclora.page.others import base_of
from iclora.page.session import ReviewSession, Stale
from iclora.run import Run
from miniature import film
from miniature.world import draw_scene
from pipeline.dataset import uses
from pipeline.errors import BadInput
from pipeline.records import Appearance, Corrections, Rejected, Row, Tie
from pipeline.review import csv_table
from pipeline.review.notes import captioners_word, persons_word

RABBIT, BEAR = "a red rabbit with a top hat", "a blue bear"


def reply(texts: list[str], people: dict[str, dict[str, str]], **more: object) -> str:
    """An answer; people named in a text are listed in its panel."""
    panels = [{"text": text, "people": [name for name in people if f"<{name}>" in text]} for text in texts]
    return json.dumps(
        {"summary": "a day", "panels": panels, "people": [{"name": name, **one} for name, one in people.items()]} | more
    )


ANSWERS = [
    reply(
        ["<P1> flies a kite by the sea", "<P1> sits down on the sand", "<P2> rides a train to town"],
        {"P1": {"looks": RABBIT}, "P2": {"looks": BEAR, "changes": "what it wears"}},
        ties=[{"what": "the beach", "panels": [1, 2]}],
        strangers=[3],
    ),
    reply(["rain falls on the town", "a lamp is lit inside", "boats leave the bay"], {}, unrelated="three places"),
    "[MOVIE-SHOTS] a day by the sea, [SCENE-1] the tide comes in, [SCENE-2] boats leave, [SCENE-3] gulls cry out.",
    reply(["a clock strikes nine", "the clerk unlocks a door", "people queue outside"], {}),
]
STRANGER, UNRELATED, PLAIN = range(3)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of four grids: one has a stranger, one is unrelated, one is a single text, one is kept as it is."""
    home, rng = tmp_path_factory.mktemp("ties"), random.Random(5)
    for folder in range(len(ANSWERS)):
        for shot in range(4):
            film.picture(draw_scene(rng), home / f"film-{folder}" / f"{shot}.png")
    return finish(home, ANSWERS, "caption.attempts=1", "group.window=3", "filter.recurring=false")


def names(row: Row) -> tuple[str, ...]:
    return tuple(person.name for person in parts(row).people)


def edit(session: ReviewSession, number: int, said: Corrections | None = None, **more: Any) -> Row:
    """What a person types about an answer's row on the page; gives the row as it is then."""
    before = row(session.run, number)
    assert session.edit(
        before.id, session.shown(session.row(before.id)).base, Typed(before.caption.text, said=said, **more)
    )
    return row(session.run, number)


def failed(row: Row) -> list[str]:
    return [score.name for score in row.scores if not score.passed]


# ---- what counts


def test_a_panel_that_belongs_by_a_persons_word_is_not_rejected_as_a_stranger(run: Run) -> None:
    before = row(run, STRANGER)
    assert (failed(before), before.decision) == (["belongs 3"], "drop")
    after = edit(ReviewSession(run), STRANGER, Corrections(strangers=()))
    assert (after.caption.text, after.scores, after.reasons, after.decision) == (before.caption.text, (), (), "keep")
    assert not after.decided
    run.advance(start="filter")
    again = row(run, STRANGER)
    assert (failed(again), again.reasons, again.decision, parts(again).strangers) == ([], (), "keep", ())
    assert run.rejected().query("stage == 'filter'")["id"].tolist() == [row(run, UNRELATED).id]


def test_a_panel_that_a_person_calls_a_stranger_is_rejected_at_once_and_by_the_filter(run: Run) -> None:
    session = ReviewSession(run)
    edit(session, STRANGER, Corrections((Tie("the sea", (0, 1, 2)),), ()))
    run.advance(start="filter")
    after = edit(session, STRANGER, Corrections(strangers=(0,)))
    reason = "Panel [SCENE-1] is a stranger; a person: it does not belong."
    assert (failed(after), after.reasons, after.decision) == (["belongs 1"], (reason,), "drop")
    assert parts(after).ties == (Tie("the sea", (1, 2)),)
    run.advance(start="filter")
    again = row(run, STRANGER)
    assert (failed(again), again.reasons, again.decision) == (["belongs 1"], (reason,), "drop")


def test_a_person_says_that_something_or_nothing_ties_the_panels(run: Run) -> None:
    session = ReviewSession(run)
    assert failed(row(run, UNRELATED)) == ["belongs 1", "belongs 2", "belongs 3"]
    after = edit(session, UNRELATED, Corrections((Tie("the harbour", (0, 2)),), ()))
    assert (parts(after).unrelated, parts(after).ties) == ("", (Tie("the harbour", (0, 2)),))
    assert captioners_word(parts(after)) == ""
    assert persons_word(parts(after)) == "the harbour in panels 1 and 3; all panels belong"
    run.advance(start="filter")
    assert failed(row(run, UNRELATED)) == []
    after = edit(session, STRANGER, Corrections(strangers=(0, 1, 2)))
    assert (parts(after).unrelated, parts(after).ties) == ("nothing ties them", ())
    assert persons_word(parts(after)) == "no panels belong together"
    assert after.reasons[0].startswith("Panel [SCENE-1] is a stranger; a person: nothing ties them.")


def test_looks_in_one_panel_and_what_changes_are_told_by_the_text(run: Run) -> None:
    session, before = ReviewSession(run), row(run, STRANGER)
    rabbit, bear = names(before)
    shown = (None, None, (Appearance(bear, "a blue bear in a coat"),))
    after = edit(session, STRANGER, Corrections(shown=shown))
    assert after.caption.panels[2] == f"<{bear}>, a blue bear in a coat, rides a train to town"
    assert after.caption.text == before.caption.text.replace(BEAR, "a blue bear in a coat")
    after = edit(session, STRANGER, changes={bear: ""})
    assert after.caption.text == before.caption.text
    after = edit(session, STRANGER, changes={rabbit: "its hat", bear: "its coat"})
    assert [person.changes for person in parts(after).people] == ["its hat", "its coat"]
    assert after.caption.panels[2] == f"<{bear}>, a blue bear in a coat, rides a train to town"


def test_who_is_in_a_panel_decides_what_may_be_its_reference(run: Run) -> None:
    task = run.task.model_copy(update={"export": run.task.export.model_copy(update={"use": uses.PANELS})})

    def references() -> dict[int | None, tuple[int, ...]]:
        found = uses.targets(row(run, STRANGER), task)
        return {one.panel: one.references for one in found if not isinstance(one, Rejected)}

    session = ReviewSession(run)
    assert references() == {0: (1,), 1: (0,)}
    _, bear = names(row(run, STRANGER))
    edit(session, STRANGER, Corrections(shown=(None, (Appearance(bear),), None), ties=()))
    assert references() == {1: (2,), 2: (1,)}
    edit(session, STRANGER, Corrections(shown=(None, (), ()), ties=(Tie("red", (0, 2)),)))
    assert references() == {0: (2,), 2: (0,)}


def test_corrections_follow_panels_and_outlive_an_edit_and_new_captions(run: Run) -> None:
    session, before = ReviewSession(run), row(run, STRANGER)
    rabbit, bear = names(before)
    edit(session, STRANGER, Corrections((Tie("red", (0, 2)),), (1,), ((), None, None)))
    shown = session.row(before.id)
    session.swap(before.id, session.shown(shown).base, 0, 1)
    after = row(run, STRANGER)
    assert (parts(after).ties, parts(after).strangers) == ((Tie("red", (1, 2)),), (0,))
    assert [person.name for person in parts(after).panels[1].people] == []
    assert after.review and after.review.corrections == Corrections((Tie("red", (1, 2)),), (0,), (None, (), None))
    assert failed(after) == ["belongs 1"]
    (offer, *_) = session.offers(session.row(before.id), 1)
    session.replace(before.id, session.shown(session.row(before.id)).base, 1, offer.record.id)
    gone = row(run, STRANGER)
    assert gone.review and gone.review.corrections == Corrections((), (0,))
    words = [ANSWERS[STRANGER].replace("the beach", "the shore"), *ANSWERS[1:]]
    second = Run(run.settings.changed(settings={"captioner.answers": words}), run.folder)
    second.advance()
    assert (parts(row(second, STRANGER)).ties, parts(row(second, STRANGER)).strangers) == ((), (0,))
    assert bear in names(gone) and rabbit in names(before)


def test_corrections_follow_people_to_other_names(run: Run) -> None:
    session, before = ReviewSession(run), row(run, STRANGER)
    rabbit, bear = names(before)
    shown = ((Appearance(rabbit), Appearance(bear)), None, (Appearance(bear, "a bear in a coat"),))
    edit(session, STRANGER, Corrections((Tie(f"the hat of <{bear}>", (0, 2)),), (), shown))
    run.replace(f"<{bear}>", "<Ursula>")
    after = row(run, STRANGER)
    assert after.caption.panels[2] == "<Ursula>, a bear in a coat, rides a train to town"
    assert parts(after).panels[2].text == "<Ursula>, rides a train to town"
    assert parts(after).panels[2].people == (Appearance("Ursula", "a bear in a coat"),)
    assert parts(after).ties == (Tie("the hat of <Ursula>", (0, 2)),)
    assert persons_word(parts(after)).endswith(f"panel 1 shows <{rabbit}> and <Ursula>; panel 3 shows <Ursula>")
    run.advance(start="filter")
    assert row(run, STRANGER) == after  # nothing but the captioner's word was against it


# ---- undo, and several reviewers


def test_corrections_are_undone_and_listed_in_the_log(run: Run) -> None:
    session, before = ReviewSession(run), row(run, STRANGER)
    edit(session, STRANGER, Corrections((Tie("red", (0, 1, 2)),), ()))
    said = [(event["field"], event["was"], event["becomes"]) for event in run.table("events")]
    assert said == [
        ("ties", "the beach: 1 and 2", "red: 1, 2 and 3"),
        ("strangers", "3", ""),
    ]
    undo(session, session.steps[-1].number)
    assert row(run, STRANGER) == before
    said = [(event["field"], event["was"], event["becomes"]) for event in run.table("events")]
    assert said[2:] == [(name, now, was) for name, was, now in said[:2]]


def test_corrections_of_one_reviewer_are_seen_by_others_and_make_their_rows_stale(run: Run) -> None:
    ann, ben = ReviewSession(run, "Ann"), ReviewSession(run, "Ben")
    grid = row(run, STRANGER).id
    base = ben.shown(ben.row(grid)).base
    edit(ann, STRANGER, Corrections(strangers=()))
    assert row(run, STRANGER).words == ()  # it decides nothing in anybody's name
    with pytest.raises(Stale):
        ben.edit(grid, base, Typed(row(run, STRANGER).caption.text, said=Corrections(ties=())))
    edit(ben, STRANGER, Corrections(ties=()))
    assert (parts(row(run, STRANGER)).ties, parts(row(run, STRANGER)).strangers) == ((), ())
    with pytest.raises(Stale):
        undo(ann, ann.steps[-1].number)
    undo(ben, ben.steps[-1].number)
    undo(ann, ann.steps[-1].number)
    assert parts(row(run, STRANGER)).strangers == (2,)


def test_a_plain_text_is_left_alone_with_a_sentence(run: Run) -> None:
    session, plain = ReviewSession(run), row(run, PLAIN)
    with pytest.raises(BadInput, match="ties: the caption is plain text and holds no ties and no people"):
        session.edit(plain.id, base_of(plain), Typed(plain.caption.text, said=Corrections(ties=())))
    assert row(run, PLAIN) == plain


# ---- the table


def test_the_table_holds_ties_and_strangers_and_reads_them_back(run: Run) -> None:
    lines = {line["id"]: line for line in table(run)}
    cells = [(lines[row(run, number).id]["ties"], lines[row(run, number).id]["strangers"]) for number in range(3)]
    assert cells == [("the beach: 1 and 2", "'3"), ("", "all"), ("", "")]
    assert run.apply(run.folder / "captions.csv") == []
    (change,) = apply(run, STRANGER, ties="the beach: 1, 2; a train: 2, 3", strangers="", note="seen")
    assert change.review.corrections == Corrections((Tie("the beach", (0, 1)), Tie("a train", (1, 2))), ())
    assert run.apply(run.folder / "edited.csv") == []  # the same table again, with numbers as they were typed
    lines = {line["id"]: line for line in table(run)}
    assert lines[row(run, STRANGER).id]["ties"] == "the beach: 1 and 2; a train: 2 and 3"
    (change,) = apply(run, UNRELATED, strangers="2")
    assert change.review.corrections == Corrections(strangers=(1,))
    assert parts(row(run, STRANGER)).ties == (Tie("the beach", (0, 1)), Tie("a train", (1, 2)))


def test_ties_that_cannot_be_read_are_in_doubt_with_row_and_column(run: Run) -> None:
    for cells, doubt in (
        ({"ties": "the beach"}, "ties: 'the beach' does not say in which panels it is seen"),
        ({"ties": "the beach: 1 and 4"}, "ties: there is no panel 4; the grid has 3 panels"),
        ({"strangers": "none"}, "strangers: 'none' is neither numbers of panels"),
    ):
        with pytest.raises(BadInput, match=f"row [0-9]+, {doubt}"):
            apply(run, STRANGER, **cells)
    with pytest.raises(BadInput, match="ties: the caption is plain text"):
        apply(run, PLAIN, ties="the sea: 1 and 2")
    assert run.table("decisions") == []


def test_an_edit_of_ties_that_were_changed_elsewhere_is_in_doubt(run: Run) -> None:
    run.write_review()
    old = (run.folder / "captions.csv").read_text(encoding="utf-8-sig")
    edit(ReviewSession(run), STRANGER, Corrections((Tie("red", (0, 1)),)))
    path = run.folder / "old.csv"
    path.write_text(old.replace("the beach: 1 and 2", "the shore: 1 and 2"), encoding="utf-8")
    with pytest.raises(BadInput, match=r"has changed in the run since this table was written \(decision, ties\)"):
        run.apply(path)
    assert csv_table.has_edits(path, run.reviewed(), run.task)


# ---- the page


def stored(served: Served, number: int = STRANGER) -> Row:
    run = opened(served.home)
    with run.store:
        return row(run, number)


def test_a_row_comes_with_its_parts_and_takes_corrections(client: httpx2.Client, served: Served) -> None:
    grid = stored(served).id
    before = client.get(f"/rows/{grid}").json()
    rabbit, bear = names(stored(served))
    assert before["parts"] == {
        "ties": [{"what": "the beach", "panels": [0, 1]}],
        "strangers": [2],
        "shown": [[{"name": rabbit, "looks": ""}], [{"name": rabbit, "looks": ""}], [{"name": bear, "looks": ""}]],
    }
    assert client.get(f"/rows/{stored(served, PLAIN).id}").json()["parts"] is None
    corrections = {"ties": [], "shown": [None, None, [{"name": bear, "looks": "a bear in a coat"}]]}
    typed = {"text": before["text"], "corrections": corrections}
    check = client.post(f"/rows/{grid}/check", json=typed).json()
    assert check["text"] == before["text"].replace(BEAR, "a bear in a coat")
    answer = client.post(f"/rows/{grid}/edit", json={**typed, "base": before["base"]}).json()["row"]
    assert (answer["text"], answer["parts"]["ties"]) == (check["text"], [])
    assert answer["word"] == "panel 3 does not belong"
    assert answer["corrected"] == f"the panels have no ties; panel 3 shows <{bear}>"
    for strange, told in (
        ({"strangers": [3]}, "strangers: there is no panel 4"),
        ({"ties": [{"what": "x"}]}, "panels"),
        ({"shown": [[{"name": "Zeno"}], None, None]}, "'Zeno' is not in this grid"),
    ):
        refused = client.post(
            f"/rows/{grid}/edit", json={"text": answer["text"], "base": answer["base"], "corrections": strange}
        )
        assert refused.status_code == 422 and told in refused.text
    assert client.get(f"/rows/{grid}").json() == answer


@pytest.fixture
def page(context: BrowserContext, served: Served, faults: Faults) -> Iterator[Page]:
    """The page, with the editor open for the grid that has a stranger, and the parts in sight."""
    page, grid = visit_wall(context, served, faults), stored(served).id
    page.locator(f"[role=gridcell][data-id='{grid}']").press("Enter")
    expect(page.locator(".segment")).to_have_count(3)
    assert here(page) == grid
    page.keyboard.press("e")
    page.locator("#tying summary").press("Enter")
    yield page
    assert faults == []


OUTSIDE = """() => [...document.querySelectorAll("#ties input, #ties button")].filter((field) => {
  const inner = field.getBoundingClientRect(), outer = field.closest("fieldset").getBoundingClientRect();
  const inside = inner.left >= outer.left && inner.right <= outer.right && inner.top >= outer.top
    && inner.bottom <= outer.bottom;
  return field.checkVisibility() && !inside;
}).length"""
"""How many fields lie outside the frame that they belong to."""


def test_ties_and_strangers_are_corrected_by_keyboard(page: Page, served: Served) -> None:
    rabbit, bear = names(stored(served))
    assert page.evaluate(OUTSIDE) == 0
    expect(page.get_by_label("Tie 1", exact=True)).to_have_value("the beach")
    expect(page.get_by_label("Panel 3: tie 1")).not_to_be_checked()
    expect(page.get_by_label("Panel 3: does not belong")).to_be_checked()
    expect(page.get_by_label(f"Panel 1: {rabbit}")).to_be_checked()
    expect(page.get_by_label(f"Panel 1: {bear}")).not_to_be_checked()
    page.get_by_label("Panel 3: does not belong").press(" ")
    page.get_by_label(f"Panel 1: {bear}").press(" ")
    page.get_by_role("button", name="Add a tie").press("Enter")
    expect(page.get_by_label("Tie 2", exact=True)).to_be_focused()
    page.keyboard.type("the light")
    page.get_by_label("Panel 2: tie 2").press(" ")
    page.get_by_role("button", name="Remove tie 1").press("Enter")
    expect(page.get_by_role("button", name="Add a tie")).to_be_focused()
    expect(page.get_by_label("Tie 1", exact=True)).to_have_value("the light")
    page.get_by_label("Tie 1", exact=True).press("Control+Enter")
    wait_for(page, "saved")
    after = stored(served)
    assert after.review and after.review.corrections == Corrections(
        (Tie("the light", (0, 2)),), (), ((Appearance(rabbit), Appearance(bear)), None, None)
    )
    expect(page.locator("#editor")).to_be_hidden()
    expect(page.locator("#word")).to_contain_text(
        f"A person: the light in panels 1 and 3; all panels belong; panel 1 shows <{rabbit}> and <{bear}>."
    )
    expect(page.locator(".box.stranger")).to_have_count(0)
    page.keyboard.press("u")
    wait_for(page, "undone")
    assert stored(served).review is None
    expect(page.locator(".box.stranger")).to_have_count(1)


def test_what_somebody_wears_in_one_panel_is_typed_and_told_in_the_text_below(page: Page, served: Served) -> None:
    _, bear = names(stored(served))
    looks = page.get_by_label(f"Looks of {bear} in panel 3")
    expect(looks).to_be_visible()
    changes = page.get_by_label(f"What about {bear} changes")
    expect(changes).to_have_value("what it wears")
    changes.fill("")
    expect(looks).to_be_hidden()
    changes.fill("its coat")
    looks.fill("a bear in a coat")
    expect(page.locator(".segment[data-panel='2']")).to_contain_text("a bear in a coat")
    page.get_by_label("Nothing ties these panels").check()
    expect(page.get_by_label("Panel 1: does not belong")).to_be_checked()
    page.locator("#save").click()
    wait_for(page, "saved")
    after = stored(served)
    assert [person.changes for person in parts(after).people] == ["", "its coat"]
    assert "a bear in a coat" in after.caption.panels[2] and parts(after).unrelated == "nothing ties them"
    expect(page.locator(".box.stranger")).to_have_count(3)


def test_a_tie_without_a_text_is_refused_and_what_was_typed_stays(page: Page, served: Served, faults: Faults) -> None:
    page.get_by_role("button", name="Add a tie").click()
    page.locator("#save").click()
    wait_for(page, "one has no text")
    expect(page.get_by_label("Tie 2", exact=True)).to_be_visible()
    assert stored(served).review is None
    page.get_by_label("Tie 2", exact=True).press("Escape")
    expect(page.locator("#editor")).to_be_hidden()
    page.keyboard.press("e")
    expect(page.get_by_label("Tie 2", exact=True)).to_have_count(0)
    # The browser tells of every refusal, of saving and of checking what is typed, perhaps late.
    assert [fault for fault in faults if "status of 422" not in fault] == []
    faults.clear()
