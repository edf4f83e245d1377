"""The review page over HTTP, on many grids at once: decisions, search, find and replace, small pictures, keys."""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from served import GRIDS, Served, opened

from iclora.page import app, keys, views
from iclora.page.session import ReviewSession
from pipeline.errors import BadInput
from pipeline.records import Score
from pipeline.review import replacing


@pytest.fixture(scope="module")
def built(unscored: Path) -> Path:
    return unscored


def listed(client: httpx2.Client) -> list[dict[str, Any]]:
    return list(client.get("/rows").json()["rows"])


def bases(client: httpx2.Client) -> dict[str, str]:
    return {row["id"]: row["base"] for row in listed(client)}


def decisions_of(served: Served) -> list[tuple[str, str]]:
    run = opened(served.home)
    with run.store:
        return [(row.review.decision or "", row.review.note) for row in run.reviewed() if row.review]


def test_one_decision_on_many_grids_is_one_step_that_is_undone_at_once(client: httpx2.Client, served: Served) -> None:
    before = listed(client)
    said = {"rows": bases(client), "decision": "drop", "note": "blurred"}
    answer = client.post("/decide", json=said).json()
    assert [(row["decision"], row["by"]) for row in answer["rows"]] == [("drop", "person")] * GRIDS
    assert decisions_of(served) == [("drop", "blurred")] * GRIDS
    undone = client.post("/undo", json={"step": answer["step"]}).json()
    assert sorted(row["base"] for row in undone["rows"]) == sorted(row["base"] for row in before)
    assert decisions_of(served) == []


def test_if_one_of_many_grids_has_changed_none_is_decided(client: httpx2.Client, served: Served) -> None:
    seen = bases(client)
    one = [*seen][-1]
    client.post(f"/rows/{one}/decide", json={"base": seen[one], "decision": "keep"})
    answer = client.post("/decide", json={"rows": seen, "decision": "drop", "note": "why"})
    assert (answer.status_code, answer.json()["row"]["id"]) == (409, one)
    assert decisions_of(served) == [("keep", "")]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"decision": "drop"}, "a drop needs a reason"),
        ({"decision": "keep", "rows": {}}, "rows: "),
        ({"decision": "keep", "rows": {f"g-{number}": "x" for number in range(app.BATCH + 1)}}, "rows: "),
        ({"decision": "keep", "rows": {"g-nothing": "x"}}, "this run has no grid 'g-nothing'"),
    ],
)
def test_an_invalid_decision_on_many_grids_is_refused_in_a_sentence(
    client: httpx2.Client, served: Served, said: dict[str, object], message: str
) -> None:
    answer = client.post("/decide", json={"rows": bases(client), **said})
    assert answer.status_code in (404, 422)
    assert message in answer.json()["error"]
    assert decisions_of(served) == []


def test_a_note_is_kept_and_decides_nothing_and_a_drop_keeps_its_reason(client: httpx2.Client, served: Served) -> None:
    grid, base = next(iter(bases(client).items()))
    noted = client.post(f"/rows/{grid}/note", json={"base": base, "note": "ask  Ann"}).json()["row"]
    assert (noted["note"], noted["by"]) == ("ask Ann", "toolkit")
    said = {"base": noted["base"], "decision": "drop", "note": "dark"}
    dropped = client.post(f"/rows/{grid}/decide", json=said).json()["row"]
    answer = client.post(f"/rows/{grid}/note", json={"base": dropped["base"], "note": " "})
    assert (answer.status_code, answer.json()["error"].split(";")[0]) == (422, "a drop needs a reason")
    assert decisions_of(served) == [("drop", "dark")]


def test_search_finds_captions_notes_and_ids_whatever_their_case(client: httpx2.Client) -> None:
    grid, base = next(iter(bases(client).items()))
    client.post(f"/rows/{grid}/note", json={"base": base, "note": "ask Ann"})
    for text, found in ((" ASK ann", [grid]), (grid[2:], [grid]), ("zebra", [])):
        assert client.post("/search", json={"text": text}).json() == found
    assert len(client.post("/search", json={"text": "does THING"}).json()) == GRIDS


def test_a_phrase_is_replaced_as_previewed_in_one_step(client: httpx2.Client, served: Served) -> None:
    before = listed(client)
    said = {"old": "does", "new": "mends"}
    preview = client.post("/replacements", json=said).json()
    assert len(preview["grids"]) == len(preview["shown"]) == GRIDS
    pieces = preview["shown"][0]["fields"][0]["pieces"]
    assert [piece["text"].strip() for piece in pieces if piece["kind"] != "same"] == ["does", "mends"]
    assert listed(client) == before
    answer = client.post("/replace", json={**said, "grids": preview["grids"]}).json()
    assert {row["id"] for row in answer["rows"]} == set(preview["grids"])
    assert "mends thing" in client.get(f"/rows/{preview['grids'][0]}").json()["text"]
    run = opened(served.home)
    with run.store:
        assert {event["who"] for event in run.table("events")} == {replacing.name_of("does", "mends")}
    client.post("/undo", json={"step": answer["step"]})
    assert listed(client) == before
    run = opened(served.home)
    with run.store, pytest.raises(BadInput, match="no replacement to undo"):
        run.undo_replace()


@pytest.mark.parametrize("address", ["/replacements", "/replace"])
def test_while_replacements_are_looked_for_others_decide(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    begun, over, usual = threading.Event(), threading.Event(), ReviewSession.replacements

    def wait(*arguments: Any, **more: Any) -> Any:
        begun.set()
        assert over.wait(60)
        return usual(*arguments, **more)

    row, said = listed(client)[0], dict[str, Any](old="does", new="mends")
    if address == "/replace":
        said["grids"] = client.post("/replacements", json=said).json()["grids"]
    monkeypatch.setattr(ReviewSession, "replacements", wait)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.post, address, json=said)
        assert begun.wait(60)
        drop = {"base": row["base"], "decision": "drop", "note": "why"}
        assert client.post(f"/rows/{row['id']}/decide", json=drop).status_code == 200
        assert not waiting.done()
        over.set()
        assert waiting.result().status_code == 200
    after = client.get(f"/rows/{row['id']}").json()
    assert (after["decision"], after["note"], "mends" in after["text"]) == ("drop", "why", address == "/replace")


def test_a_caption_that_loses_its_phrase_meanwhile_has_nothing_replaced(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ReviewSession.replacements

    def edited(session: ReviewSession, *arguments: Any, **more: Any) -> Any:
        found = usual(session, *arguments, **more)
        monkeypatch.setattr(ReviewSession, "replacements", usual)
        text = row["text"].replace("does", "has")
        answer = client.post(f"/rows/{row['id']}/edit", json={"base": row["base"], "text": text})
        assert answer.status_code == 200
        return found

    row, said = client.get(f"/rows/{listed(client)[0]['id']}").json(), dict[str, Any](old="does", new="mends")
    said["grids"] = client.post("/replacements", json=said).json()["grids"]
    monkeypatch.setattr(ReviewSession, "replacements", edited)
    answer = client.post("/replace", json=said)
    assert (answer.status_code, "look at the preview again" in answer.json()["error"]) == (422, True)
    assert all("mends" not in client.get(f"/rows/{each['id']}").json()["text"] for each in listed(client))


def test_a_phrase_is_not_replaced_if_other_captions_would_change_than_was_shown(client: httpx2.Client) -> None:
    before = listed(client)
    answer = client.post("/replace", json={"old": "does", "new": "mends", "grids": [before[0]["id"]]})
    assert (answer.status_code, "look at the preview again" in answer.json()["error"]) == (422, True)
    assert listed(client) == before
    answer = client.post("/replacements", json={"old": "zebra", "new": "x"})
    assert answer.json()["error"].startswith("none of 4 captions has 'zebra'")


def test_a_grids_small_picture_is_kept_until_the_grid_is_drawn_anew(client: httpx2.Client, served: Served) -> None:
    grid, base = next(iter(bases(client).items()))
    small = client.get(f"/rows/{grid}/thumbnail").content
    assert max(Image.open(BytesIO(small)).size) == app.THUMBNAIL
    (kept,) = (served.home / "thumbnails").glob(f"{grid}-*")
    assert kept.read_bytes() == small
    client.post(f"/rows/{grid}/swap", json={"base": base, "first": 0, "second": 1})
    assert client.get(f"/rows/{grid}/thumbnail").content != small


def test_a_panels_picture_can_be_had_large(client: httpx2.Client) -> None:
    record = client.get(f"/rows/{listed(client)[0]['id']}").json()["records"][0]
    large = Image.open(BytesIO(client.get(f"/records/{record}/large").content))
    assert max(large.size) > app.THUMBNAIL


def test_keys_are_kept_in_the_runs_folder_and_two_actions_never_share_one(
    client: httpx2.Client, served: Served
) -> None:
    usual = dict(keys.REVIEW.usual)
    assert client.get("/keys").json() == {"keys": usual, "on": True}
    chosen = {"keys": {**usual, "keep": "k"}, "on": False}
    assert client.post("/keys", json={"keys": {"keep": "K"}, "on": False}).json() == chosen
    assert client.get("/keys").json() == chosen
    for wrong, message in (
        ({"keep": "r"}, "is the key for both"),
        ({"keep": "1"}, "no digit"),
        ({"fly": "y"}, "'fly'"),
    ):
        answer = client.post("/keys", json={"keys": wrong})
        assert (answer.status_code, message in answer.json()["error"]) == (422, True)
    assert client.get("/keys").json() == chosen
    (served.home / keys.REVIEW.file).write_text("{broken", encoding="utf-8")
    assert client.get("/keys").json() == {"keys": usual, "on": True}


def test_rows_are_sorted_by_how_far_the_worst_score_of_a_kind_is_on_the_good_side() -> None:
    scores = [
        Score("text 1", 0.4, 0.3, True, ""),
        Score("text 2", 0.2, 0.3, False, ""),
        Score("order", 0.1, 0.02, False, ""),
    ]
    assert views.worst(scores) == {"text": -0.1, "order": -0.08}
