"""Two reviewers of one run, each with a page of their own at the same time: over HTTP, and what comes of it."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from served import GRIDS, Served, carried_out, looked_for, opened, serving
from typer.testing import CliRunner

from iclora import cli
from iclora.report import write as write_report
from pipeline.errors import BadInput
from pipeline.records import Row
from pipeline.review import decisions

DARK = "too dark"


@pytest.fixture(scope="module")
def built(unscored: Path) -> Path:
    return unscored


@pytest.fixture
def ann(home: Path) -> Iterator[httpx2.Client]:
    with serving(home, "Ann") as served, served.client() as client:
        yield client


@pytest.fixture
def ben(home: Path, ann: httpx2.Client) -> Iterator[httpx2.Client]:
    assert ann
    with serving(home, "Ben") as served, served.client() as client:
        yield client


def listed(client: httpx2.Client) -> list[dict[str, Any]]:
    return list(client.get("/rows").json()["rows"])


def row(client: httpx2.Client, grid: str) -> dict[str, Any]:
    return dict(client.get(f"/rows/{grid}").json())


def post(client: httpx2.Client, seen: dict[str, Any], what: str, **said: object) -> httpx2.Response:
    return client.post(f"/rows/{seen['id']}/{what}", json={"base": seen["base"], **said})


def decide(client: httpx2.Client, grid: str, decision: str, note: str | None = None) -> int:
    """Decides on the grid as the reviewer sees it now; gives the step."""
    answer = post(client, row(client, grid), "decide", decision=decision, note=note)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["step"])


def undo(client: httpx2.Client, step: int) -> int:
    return carried_out(client, "/undo", {"step": step}).status_code


def reviewed(home: Path) -> dict[str, Row]:
    run = opened(home)
    with run.store:
        return {each.id: each for each in run.reviewed()}


def words(home: Path, grid: str) -> dict[str, str | None]:
    return {word.reviewer: word.decision for word in reviewed(home)[grid].words}


def who_decided(home: Path) -> dict[str, str]:
    with (home / "captions.csv").open(encoding="utf-8-sig", newline="") as file:
        return {line["id"]: line["decided by"] for line in csv.DictReader(file)}


def test_what_others_decide_is_hidden_until_one_has_decided_oneself(ann: httpx2.Client, ben: httpx2.Client) -> None:
    grid = listed(ann)[0]["id"]
    before = row(ben, grid)
    decide(ann, grid, "drop", DARK)
    hidden = row(ben, grid)
    assert hidden == {**before, "waiting": 1}
    assert DARK not in ben.get("/rows").text and ben.post("/search", json={"text": DARK}).json() == []
    decide(ben, grid, "unsure")
    assert (row(ben, grid)["decision"], row(ben, grid)["words"], row(ben, grid)["waiting"]) == ("unsure", [], 1)
    decide(ben, grid, "keep")
    shown = row(ben, grid)
    assert (shown["decision"], shown["told"], shown["waiting"]) == ("keep", "Ben", 0)
    assert shown["words"] == [
        {"name": "Ann", "decision": "drop", "note": DARK}, {"name": "Ben", "decision": "keep", "note": ""},
    ]  # fmt: skip
    assert "disagree" in shown["filters"] and "undecided" not in shown["filters"]
    assert row(ann, grid)["words"] == shown["words"]


def test_a_decision_that_one_cannot_see_makes_ones_own_neither_stale_nor_needless(
    home: Path, ann: httpx2.Client, ben: httpx2.Client
) -> None:
    seen = listed(ben)[0]
    decide(ann, seen["id"], "keep")
    assert post(ben, seen, "decide", decision="keep").status_code == 200
    assert words(home, seen["id"]) == {"Ann": "keep", "Ben": "keep"}
    assert row(ben, seen["id"])["told"] == "Ann and Ben"


def test_a_drop_needs_a_reason_of_ones_own(ann: httpx2.Client, ben: httpx2.Client) -> None:
    grid = listed(ann)[0]["id"]
    decide(ann, grid, "drop", DARK)
    answer = post(ben, row(ben, grid), "decide", decision="drop")
    assert answer.status_code == 422 and "a drop needs a reason" in answer.json()["error"]


def test_a_caption_that_another_has_edited_meanwhile_is_shown_before_one_decides(
    ann: httpx2.Client, ben: httpx2.Client
) -> None:
    seen = row(ben, listed(ben)[0]["id"])
    post(ann, row(ann, seen["id"]), "edit", text=seen["text"].replace("thing", "work"))
    answer = post(ben, seen, "decide", decision="keep")
    assert answer.status_code == 409 and "work" in answer.json()["row"]["text"]


def test_editing_what_another_keeps_is_no_decision_of_ones_own(
    home: Path, ann: httpx2.Client, ben: httpx2.Client
) -> None:
    grid = listed(ann)[0]["id"]
    decide(ann, grid, "keep")
    seen = row(ben, grid)
    edited = post(ben, seen, "edit", text=seen["text"].replace("thing", "work")).json()["row"]
    assert "undecided" in edited["filters"] and edited["waiting"] == 1
    assert words(home, grid) == {"Ann": "keep"}


def test_undo_takes_back_ones_own_step_where_another_has_decided_since(
    home: Path, ann: httpx2.Client, ben: httpx2.Client
) -> None:
    grid = listed(ann)[0]["id"]
    kept, dropped = decide(ann, grid, "keep"), decide(ben, grid, "drop", DARK)
    assert undo(ann, kept) == 200
    assert words(home, grid) == {"Ben": "drop"}
    now = reviewed(home)[grid]
    assert now.review and (now.decision, now.review.note) == ("drop", DARK)
    assert undo(ben, dropped) == 200  # what counts goes back to nobody's word, and not to Ann's
    assert (words(home, grid), reviewed(home)[grid].review) == ({}, None)


def test_undo_of_the_latest_word_leaves_the_others_word_in_force(
    home: Path, ann: httpx2.Client, ben: httpx2.Client
) -> None:
    grid = listed(ann)[0]["id"]
    decide(ann, grid, "drop", DARK)
    kept = decide(ben, grid, "keep")
    assert reviewed(home)[grid].decision == "keep"
    assert undo(ben, kept) == 200
    now = reviewed(home)[grid]
    assert now.review and (now.decision, now.review.note, words(home, grid)) == ("drop", DARK, {"Ann": "drop"})
    assert row(ben, grid)["waiting"] == 1


def test_undo_gives_back_the_word_that_one_had_before(home: Path, ann: httpx2.Client, ben: httpx2.Client) -> None:
    grid = listed(ann)[0]["id"]
    decide(ann, grid, "keep")
    dropped = decide(ann, grid, "drop", DARK)
    decide(ben, grid, "unsure")
    assert undo(ann, dropped) == 200
    assert words(home, grid) == {"Ben": "unsure", "Ann": "keep"}
    assert reviewed(home)[grid].decision == "unsure"


def test_undo_leaves_the_note_of_another_where_it_is(home: Path, ann: httpx2.Client, ben: httpx2.Client) -> None:
    grid = listed(ann)[0]["id"]
    kept = decide(ann, grid, "keep")
    post(ben, row(ben, grid), "note", note="ask Tom")
    assert undo(ann, kept) == 200
    now = reviewed(home)[grid]
    assert now.review and (now.decided, now.review.note) == (False, "ask Tom")


def test_one_reviewer_cannot_undo_the_step_of_another(ann: httpx2.Client, ben: httpx2.Client) -> None:
    step = decide(ann, listed(ann)[0]["id"], "keep")
    assert undo(ben, step) == 404


def test_an_edit_that_others_have_edited_since_is_not_undone(ann: httpx2.Client, ben: httpx2.Client) -> None:
    grid = listed(ann)[0]["id"]
    step = post(ann, row(ann, grid), "edit", text=row(ann, grid)["text"].replace("thing", "work")).json()["step"]
    post(ben, row(ben, grid), "edit", text=row(ben, grid)["text"].replace("work", "trade"))
    answer = carried_out(ann, "/undo", {"step": step})
    assert answer.status_code == 409 and "trade" in answer.json()["row"]["text"]


def test_replacing_a_phrase_in_all_captions_is_nobodys_decision(
    home: Path, ann: httpx2.Client, ben: httpx2.Client
) -> None:
    search = looked_for(ann, {"old": "does", "new": "mends"}).json()["number"]
    answer = carried_out(ann, "/replace", {"search": search})
    assert answer.status_code == 200
    assert all("undecided" in each["filters"] for client in (ann, ben) for each in listed(client))
    run = opened(home)
    with run.store:
        assert {event["reviewer"] for event in run.table("events")} == {"Ann"}
        for other in (None, "Ben"):
            with pytest.raises(BadInput, match=r"there is no replacement( of Ben)? to undo"):
                run.undo_replace(other)
        assert len(run.undo_replace("Ann").changes) == GRIDS


def test_agreement_counts_the_grids_that_both_have_decided(home: Path, ann: httpx2.Client, ben: httpx2.Client) -> None:
    one, two, three, _ = (each["id"] for each in listed(ann))
    for client, said in ((ann, {one: "keep", two: "drop", three: "keep"}), (ben, {one: "keep", two: "keep"})):
        for grid, decision in said.items():
            decide(client, grid, decision, DARK if decision == "drop" else None)
    told = "Ann and Ben agree on 50% of 2 grids (Cohen's kappa 0.00)"
    assert ben.get("/agreement").json() == {"several": True, "reviewer": "Ben", "agreement": told}
    assert ben.get("/rows").json()["shared"]["agreement"] == told
    run = opened(home)
    with run.store:
        assert f"Reviewers: {told}." in run.remarks()
        write_report(run, "filter")
        assert '"agreement": {' in (home / "report.json").read_text(encoding="utf-8")


def test_a_single_reviewer_without_a_name_sees_nothing_of_all_this(home: Path) -> None:
    with serving(home) as served, served.client() as client:
        grid = listed(client)[0]["id"]
        decide(client, grid, "keep")
        assert client.get("/agreement").json() == {"several": False, "reviewer": "", "agreement": ""}
        seen = row(client, grid)
        assert (seen["told"], seen["words"], seen["waiting"]) == ("person", [], 0)


def test_decisions_without_a_name_are_the_unnamed_reviewers(home: Path) -> None:
    grid, found = next(iter(reviewed(home).items()))
    line = decisions.line_on(found.grid, decisions.Review(grid, "drop", DARK), [], "page")  # as earlier versions did
    with decisions.deciding(home):
        decisions.append(home, [line])
    with serving(home, "Ann") as served, served.client() as client:
        assert row(client, grid)["waiting"] == 1
        decide(client, grid, "keep")
        assert row(client, grid)["words"][0] == {"name": "unnamed", "decision": "drop", "note": DARK}
    with serving(home) as served, served.client() as client:
        assert "undecided" not in row(client, grid)["filters"]


def test_a_table_is_applied_in_a_reviewers_name_and_says_who_decided(home: Path) -> None:
    grid = next(iter(reviewed(home)))
    run, table = opened(home), home / "captions.csv"
    with run.store:
        run.apply(run.rows()[["id"]].assign(decision="drop", note="'=SUM(1)"), reviewer="=Ann")
        run.write_review()
        assert set(who_decided(home).values()) == {"'=Ann: drop"}  # guarded against spreadsheets
        text = table.read_text(encoding="utf-8-sig").replace(f'"{grid}","drop"', f'"{grid}","keep"')
        table.write_text(text, encoding="utf-8")
        assert len(run.apply(table, reviewer="Ben")) == 1
        run.write_review()
        assert who_decided(home)[grid] == "'=Ann: drop; Ben: keep"
        assert run.rows().set_index("id").loc[grid, "decided by"] == "=Ann: drop; Ben: keep"
        assert run.edits(table) == []  # the table as it was written, and read back


def command(home: Path, *words: str) -> list[str]:
    code = f"import sys; sys.argv = ['iclora', 'review', 'storyboard', '--out', {str(home)!r}, *{words!r}]\n"
    return [sys.executable, "-u", "-c", f"{code}from iclora.cli import main\nmain()"]


@pytest.mark.slow
def test_when_the_page_is_killed_and_opened_again_table_and_page_name_who_decided(home: Path) -> None:
    """Ann's page is a process of its own, which is killed while Ben's is being served."""
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    with (
        serving(home, "Ben") as served,
        served.client() as ben,
        subprocess.Popen(
            command(home, "--serve", "--as", "Ann"), stdout=subprocess.PIPE, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout
            address, token = next(
                found.groups() for line in process.stdout if (found := re.search(r"//(127\.0\.0\.1:\d+)/#(\S+)", line))
            )
            grid, other = (each["id"] for each in listed(ben)[:2])
            with Served(address, token, home).client() as ann:
                decide(ann, grid, "keep")
                decide(ann, other, "keep")
        finally:
            process.kill()
        decide(ben, grid, "drop", DARK)
    run = opened(home)
    with run.store:
        run.write_review()
    assert {name: said for name, said in who_decided(home).items() if said} == {
        grid: "Ann: keep; Ben: drop", other: "Ann: keep",
    }  # fmt: skip
    with serving(home, "Ann") as again, again.client() as ann:
        assert [each["name"] for each in row(ann, grid)["words"]] == ["Ann", "Ben"]
        assert "undecided" not in row(ann, other)["filters"]


def test_a_name_without_a_decision_is_refused_before_anything_is_read() -> None:
    result = CliRunner().invoke(cli.app, ["review", "nothing", "--as", "Ann"])
    assert isinstance(result.exception, BadInput)
    assert "--as Ann says who decides; give it with --serve or --apply" in str(result.exception)


def test_a_name_that_cannot_be_used_is_refused_before_a_page_is_served(home: Path) -> None:
    result = CliRunner().invoke(cli.app, ["review", "storyboard", "--out", str(home), "--as", " ", "--serve"])
    assert isinstance(result.exception, BadInput)
    assert "the reviewer's name is empty" in str(result.exception)
