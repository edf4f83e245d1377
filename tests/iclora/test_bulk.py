"""A phrase replaced in all captions and its undo, as the page's server carries them out, and what comes between."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import SHORT, edited_elsewhere, opened, undo

from iclora.page.bulk import Replacement, Search, Searches
from iclora.page.jobs import Jobs
from iclora.page.others import State, base_of
from iclora.page.session import ReviewSession
from iclora.page.steps import Stale
from pipeline.errors import BadInput
from pipeline.review import decisions, replacing


@pytest.fixture(scope="module")
def built(unscored: Path) -> Path:
    return unscored


@pytest.fixture
def session(built: Path, tmp_path: Path) -> Iterator[ReviewSession]:
    run = opened(Path(shutil.copytree(built, tmp_path / "run")))
    with run.store:
        yield ReviewSession(run, "Ann")


def search(session: ReviewSession, old: str = "does", new: str = "mends") -> Search:
    found = Searches(session).begin(old, new, inside_words=False)
    found.run()
    return found


def replaced(session: ReviewSession, found: Search) -> Replacement:
    """A replacement that has been written; the rows are still to be made anew."""
    replacement = Replacement(session, found)
    while not replacement.write():
        replacement.prepare(replacement.rows(), session.read().made.grids)
    return replacement


def captions(session: ReviewSession) -> dict[str, str]:
    return {row.id: row.caption.text for row in session.rows()}


def test_a_step_knows_the_rows_as_they_will_be_before_they_are_made(session: ReviewSession) -> None:
    row = session.row(session.rows()[0].id)
    session.decide(row.id, base_of(row), "drop", "too dark")
    before = captions(session)
    step = replaced(session, search(session)).step
    assert step
    assert {part.grid: part.after for part in step.parts} == {row.id: State.of(row) for row in session.rows()}
    assert all("mends" in text for text in captions(session).values())
    undo(session, step.number)
    assert captions(session) == before


def test_the_lines_of_one_replacement_have_one_time_and_are_taken_back_together(
    session: ReviewSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(f"2026-11-29T00:00:{second:02}+00:00" for second in range(60))
    monkeypatch.setattr(decisions, "now", lambda: next(times))
    before = captions(session)
    replaced(session, search(session))
    events = session.run.table("events")
    assert len({event["at"] for event in events}) == 1 and len({event["grid"] for event in events}) == len(before)
    assert len(session.run.undo_replace("Ann").changes) == len(before)
    assert captions(session) == before


def test_what_is_decided_before_the_rows_are_made_is_not_undone_with_the_phrase(session: ReviewSession) -> None:
    replacement = replaced(session, search(session))
    grid = session.rows()[0].id
    edited_elsewhere(session.run.folder, {grid: SHORT})
    while session.settle_some():
        pass
    replacement.settled()
    assert replacement.step
    with pytest.raises(Stale, match=grid):
        undo(session, replacement.step.number)
    assert captions(session)[grid] == SHORT and len(session.steps) == 1


def test_rows_that_change_while_they_are_prepared_are_prepared_again(session: ReviewSession) -> None:
    found = search(session)
    replacement = Replacement(session, found)
    assert not replacement.write()  # nothing is prepared
    replacement.prepare(replacement.rows(), session.read().made.grids)
    row = session.row(session.rows()[0].id)
    session.decide(row.id, base_of(row), "drop", "too dark")
    assert not replacement.write()
    replacement.prepare(replacement.rows(), session.read().made.grids)
    assert replacement.write()
    dropped = session.row(row.id)
    assert (dropped.decision, "mends" in dropped.caption.text) == ("drop", True)
    with pytest.raises(BadInput, match="look at the preview again"):
        replaced(session, found)


def test_captions_that_are_not_checked_are_searched_as_if_they_were(session: ReviewSession) -> None:
    rows = session.rows()
    edited_elsewhere(session.run.folder, {row.id: row.caption.text.replace("does", "finds") for row in rows[:2]})
    outlines = session.rows()
    assert [row.checked for row in outlines].count(False) == 2
    checked = [session.row(row.id) for row in outlines]
    name = f"<{checked[0].caption.names[0]}>"
    for old, new in (
        ("finds", "loses"),
        ("thing", ""),
        ("a man in", "a woman in"),
        ("blue cap", "red"),
        (name, "<Ines>"),
    ):
        phrase = replacing.Phrase.of(old, new)
        found, wanted = (
            [*replacing.changes_of(some, session.task, session.run.counter, phrase, problems=False)]
            for some in (outlines, checked)
        )
        assert found == wanted and any(found)


def test_what_can_wait_is_done_when_nothing_more_is_asked_for() -> None:
    jobs, done, begun = Jobs(), list[str](), threading.Event()

    def idle() -> bool:
        done.append("idle")
        begun.set()
        return len(done) < 3

    worker = threading.Thread(target=jobs.work, args=(idle,))
    worker.start()
    assert not begun.wait(0.1)  # the first visitor is not held up
    asyncio.run(jobs.in_turn(done.append, "asked"))
    assert begun.wait(10)
    jobs.end()
    worker.join(10)
    assert not worker.is_alive() and 2 <= len(done) <= 3 and done[0] == "asked"
