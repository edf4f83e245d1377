"""The review page over HTTP, on many grids at once: decisions, search, find and replace, small pictures, keys."""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from served import GRIDS, SHORT, Served, carried_out, edited_elsewhere, looked_for, opened

from iclora.page import app, keys, views
from iclora.page.bulk import Replacement, Search
from pipeline.errors import BadInput
from pipeline.records import Score
from pipeline.review import replacing
from pipeline.review.current import CurrentRows


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
    undone = carried_out(client, "/undo", {"step": answer["step"]}).json()
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
    preview = looked_for(client, {"old": "does", "new": "mends"}).json()
    assert preview["found"] == len(preview["shown"]) == preview["looked"] == preview["of"] == GRIDS
    pieces = preview["shown"][0]["fields"][0]["pieces"]
    assert [piece["text"].strip() for piece in pieces if piece["kind"] != "same"] == ["does", "mends"]
    assert listed(client) == before
    answer = carried_out(client, "/replace", {"search": preview["number"]}).json()
    assert {row["id"] for row in answer["rows"]} == {one["id"] for one in preview["shown"]}
    assert "mends thing" in client.get(f"/rows/{before[0]['id']}").json()["text"]
    run = opened(served.home)
    with run.store:
        assert {event["who"] for event in run.table("events")} == {replacing.name_of("does", "mends")}
    carried_out(client, "/undo", {"step": answer["step"]})
    assert listed(client) == before
    run = opened(served.home)
    with run.store, pytest.raises(BadInput, match="no replacement to undo"):
        run.undo_replace()


def test_all_rows_of_a_replacement_come_when_they_are_asked_for(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "AT_ONCE", 1)
    monkeypatch.setattr(views, "COMPARED", 1)
    preview = looked_for(client, {"old": "does", "new": "mends"}).json()
    assert len({one["id"] for one in preview["shown"]}) == len(preview["shown"]) == GRIDS
    answer = carried_out(client, "/replace", {"search": preview["number"]}).json()
    assert (len(answer["rows"]), len(answer["others"])) == (1, GRIDS - 1)
    rows = answer["rows"] + client.post("/rows", json={"grids": answer["others"]}).json()
    assert bases(client) == {row["id"]: row["base"] for row in rows}
    answer = client.post("/rows", json={"grids": ["g-nothing"]})
    assert (answer.status_code, answer.json()["error"]) == (404, "this run has no grid 'g-nothing'.")


@pytest.mark.parametrize("work", [(Search, "run"), (Replacement, "prepare")])
def test_while_a_phrase_is_looked_for_or_replaced_others_decide(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, work: tuple[type, str]
) -> None:
    begun, over, usual = threading.Event(), threading.Event(), getattr(*work)

    def wait(*arguments: Any) -> Any:
        begun.set()
        assert over.wait(60)
        return usual(*arguments)

    monkeypatch.setattr(*work, wait)
    row = listed(client)[0]
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(replaced, client, "does", "mends")
        assert begun.wait(60)
        drop = {"base": row["base"], "decision": "drop", "note": "why"}
        assert client.post(f"/rows/{row['id']}/decide", json=drop).status_code == 200
        assert not waiting.done()
        over.set()
        assert waiting.result().status_code == 200
    after = client.get(f"/rows/{row['id']}").json()
    assert (after["decision"], after["note"], "mends" in after["text"]) == ("drop", "why", True)


def replaced(client: httpx2.Client, old: str, new: str) -> httpx2.Response:
    search = looked_for(client, {"old": old, "new": new}).json()["number"]
    return carried_out(client, "/replace", {"search": search})


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_caption_that_loses_its_phrase_has_nothing_replaced(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    row, usual = client.get(f"/rows/{listed(client)[0]['id']}").json(), Replacement.prepare

    def edit() -> None:
        text = row["text"].replace("does", "has")
        assert client.post(f"/rows/{row['id']}/edit", json={"base": row["base"], "text": text}).status_code == 200

    def prepare(*arguments: Any) -> None:
        usual(*arguments)
        monkeypatch.setattr(Replacement, "prepare", usual)
        edit()

    search = looked_for(client, {"old": "does", "new": "mends"}).json()["number"]
    if meanwhile:
        monkeypatch.setattr(Replacement, "prepare", prepare)
    else:
        edit()
    answer = carried_out(client, "/replace", {"search": search})
    assert (answer.status_code, "look at the preview again" in answer.json()["error"]) == (422, True)
    assert all("mends" not in client.get(f"/rows/{each['id']}").json()["text"] for each in listed(client))


def test_only_the_latest_search_can_be_replaced_and_only_what_is_found(client: httpx2.Client) -> None:
    before = listed(client)
    first, second = (looked_for(client, {"old": "does", "new": new}).json()["number"] for new in ("mends", "cures"))
    for answer in (
        client.post("/replace", json={"search": first}),
        client.get(f"/replacements/{first}", params={"known": 0}),
    ):
        assert (answer.status_code, "look for this one again" in answer.json()["error"]) == (422, True)
    assert listed(client) == before
    assert carried_out(client, "/replace", {"search": second}).status_code == 200
    again = carried_out(client, "/replace", {"search": second})
    assert (again.status_code, "look at the preview again" in again.json()["error"]) == (422, True)
    answer = looked_for(client, {"old": "zebra", "new": "x"})
    assert answer.json()["error"].startswith("none of 4 captions has 'zebra'")


def test_a_search_that_goes_on_can_not_be_replaced_and_ends_when_another_begins(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over, usual = threading.Event(), threading.Event(), replacing.changes_of

    def slow(*arguments: Any, **more: Any) -> Any:
        for change in usual(*arguments, **more):
            begun.set()
            assert over.wait(60)
            yield change

    monkeypatch.setattr(replacing, "changes_of", slow)
    first = client.post("/replacements", json={"old": "does", "new": "mends"}).json()
    assert begun.wait(60) and not first["done"]
    answer = client.post("/replace", json={"search": first["number"]})
    assert (answer.status_code, "wait for the preview" in answer.json()["error"]) == (422, True)
    monkeypatch.setattr(replacing, "changes_of", usual)
    assert looked_for(client, {"old": "does", "new": "cures"}).json()["found"] == GRIDS
    over.set()


def test_captions_that_were_edited_elsewhere_are_checked_and_the_page_is_told(
    client: httpx2.Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.get(f"/rows/{listed(client)[0]['id']}").json()
    told = client.get("/rows").json()
    assert (told["left"], [row["filters"].count("unchecked") for row in told["rows"]]) == (0, [0] * GRIDS)
    monkeypatch.setattr(CurrentRows, "check_some", lambda *_: False)
    edited_elsewhere(served.home, {first["id"]: SHORT})
    now = client.get("/rows").json()
    (row,) = [row for row in now["rows"] if row["id"] == first["id"]]
    assert (now["left"], "unchecked" in row["filters"], "problems" in row["filters"]) == (1, True, False)
    assert client.get(f"/checked/{now['doubted']}").json() == {"rows": [], "doubted": now["doubted"], "left": 1}
    whole = client.get(f"/rows/{first['id']}").json()  # which checks it
    found = client.get(f"/checked/{now['doubted']}").json()
    assert (found["left"], found["doubted"], len(found["rows"])) == (0, now["doubted"] + 1, 1)
    assert "problems" in found["rows"][0]["filters"] and "unchecked" not in found["rows"][0]["filters"]
    assert found["rows"][0]["base"] == row["base"] == whole["base"]
    assert whole["problems"][0].startswith("the text of [SCENE-2] has fewer than")


def test_captions_are_checked_when_nothing_else_is_to_be_done(client: httpx2.Client, served: Served) -> None:
    listed(client)
    texts = {grid: SHORT.replace("fish", grid) for grid in bases(client)}
    edited_elsewhere(served.home, texts)
    seen = client.get("/rows").json()["doubted"]
    while (found := client.get(f"/checked/{seen}").json())["left"]:
        pass
    rows = client.get("/rows").json()["rows"]
    assert [row["filters"].count("problems") for row in rows] == [1] * GRIDS
    assert {row["id"] for row in rows} == set(texts) and found["doubted"] >= len(texts)


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
