"""The review page over HTTP: who gets in, what a reviewer can do, and what is refused."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image, ImageChops
from served import GRIDS, Served, carried_out, opened, resettle, serving
from typer.testing import CliRunner

from iclora import cli
from iclora.page import access, browser, views
from iclora.page.session import ReviewSession
from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Review, Row, Score
from pipeline.stages.compose import draw

EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def built(unscored: Path) -> Path:
    return unscored


def rows(client: httpx2.Client) -> list[dict[str, Any]]:
    """All rows in the order of the list, each whole."""
    return [dict(client.get(f"/rows/{row['id']}").json()) for row in client.get("/rows").json()["rows"]]


def post(client: httpx2.Client, row: dict[str, Any], what: str, **said: object) -> httpx2.Response:
    return client.post(f"/rows/{row['id']}/{what}", json={"base": row["base"], **said})


def change(client: httpx2.Client, row: dict[str, Any], what: str, **said: object) -> dict[str, Any]:
    """The row after a change that is accepted."""
    answer = post(client, row, what, **said)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def stored(served: Served) -> tuple[list[Row], list[dict[str, Any]]]:
    run = opened(served.home)
    with run.store:
        return run.reviewed(), run.table("events")


def segments(row: dict[str, Any]) -> list[str]:
    return [piece["text"] for piece in row["pieces"] if piece["kind"] == "text"]


# ---- who gets in


@pytest.mark.parametrize("path", ["/rows", "/undo", "//", "/rows?token=right", "/docs", "/grids/x.png"])
def test_without_the_token_everything_but_the_empty_page_is_refused(served: Served, path: str) -> None:
    url = f"http://{served.address}{path.replace('right', served.token)}"
    for headers in ({}, {access.TOKEN: ""}, {access.TOKEN: "wrong"}, {access.TOKEN: "ü".encode()}):
        answer = httpx2.get(url, headers=headers)
        assert answer.status_code == 403
        assert answer.text == "open the page with the whole address that iclora printed."


def test_the_page_itself_is_the_same_for_everybody_and_needs_no_token(served: Served) -> None:
    answer = httpx2.get(f"http://{served.address}/")
    assert answer.text == access.read("page.html")


def test_the_token_is_never_a_cookie_which_servers_on_other_ports_would_get(
    client: httpx2.Client, served: Served
) -> None:
    for path in ("/", "/rows", f"/rows/{rows(client)[0]['id']}/picture", "/nothing"):
        assert "set-cookie" not in client.get(path).headers
    for name in ("token", access.TOKEN, f"iclora-{served.address.rpartition(':')[2]}"):
        assert (
            httpx2.get(f"http://{served.address}/rows", headers={"Cookie": f"{name}={served.token}"}).status_code == 403
        )


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1"])
def test_another_host_name_for_this_machine_is_refused(client: httpx2.Client, host: str) -> None:
    for path in ("/", "/rows"):
        assert client.get(path, headers={"Host": host}).status_code == 403


def test_a_browser_does_not_let_another_site_send_the_token(served: Served) -> None:
    """Before a script of another site may set a header of its own, its browser asks, and gets no permission."""
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    answer = httpx2.options(
        f"http://{served.address}/rows", headers={**asked, "Access-Control-Request-Headers": access.TOKEN}
    )
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_script_of_another_site_is_refused_even_with_the_token(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[0]
    body = {"base": row["base"], "decision": "keep"}
    for origin in ("http://evil.example", "null", f"https://{served.address}"):
        assert client.get("/rows", headers={"Origin": origin}).status_code == 403
        answer = client.post(f"/rows/{row['id']}/decide", json=body, headers={"Origin": origin})
        assert answer.status_code == 403
    del client.headers["Origin"]
    assert client.post(f"/rows/{row['id']}/decide", json=body).status_code == 403
    assert stored(served)[1] == []


def test_responses_carry_strict_security_headers(client: httpx2.Client) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert re.findall(r"https?://|\*", policy) == []
    for path in ("/", "/rows", f"/rows/{rows(client)[0]['id']}/picture", "/nothing"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_loads_nothing_from_other_servers() -> None:
    page = access.read("page.html")
    assert re.findall(r"https?:|//[a-z]", page) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|<\w[^>]* on\w+=", page) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_the_address_is_on_no_command_line_and_only_its_owner_can_read_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def look(url: str) -> bool:
        file = Path(url.removeprefix("file://"))
        assert file.stat().st_mode & 0o777 == 0o600
        assert "url=http://127.0.0.1:1/#secret" in file.read_text(encoding="utf-8")
        opened.append(file)
        return "secret" not in url

    monkeypatch.setattr("webbrowser.open", look)
    monkeypatch.setenv("DISPLAY", ":0")
    (tmp_path / browser.NAME).symlink_to(tmp_path / "elsewhere")  # what lies there is replaced, not written to
    with browser.opener(tmp_path) as show:
        show("http://127.0.0.1:1/#secret")
    assert opened == [tmp_path / browser.NAME]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slow", ["check", "score", "ask"])
def test_while_one_request_takes_long_the_others_are_answered(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    begun, over, usual = threading.Event(), threading.Event(), getattr(ReviewSession, slow)

    def wait(*arguments: object) -> object:
        begun.set()
        assert over.wait(60)
        return usual(*arguments)

    monkeypatch.setattr(ReviewSession, slow, wait)
    row = rows(client)[0]
    with ThreadPoolExecutor() as threads:
        body = {} if slow == "ask" else {"text": row["text"]}
        waiting = threads.submit(client.post, f"/rows/{row['id']}/{slow}", json=body)
        assert begun.wait(60)
        assert len(rows(client)) == GRIDS
        assert client.get(f"/rows/{row['id']}/picture").status_code == 200
        assert change(client, row, "decide", decision="drop", note="why")["row"]["decision"] == "drop"
        assert not waiting.done()
        over.set()
        assert waiting.result().status_code == 200


# ---- pictures by id


@pytest.mark.parametrize(
    "path",
    [
        "/rows/g-nothing",
        "/rows/g-nothing/picture",
        "/rows/..%2f..%2frun.db/picture",
        "/rows/%2e%2e/picture",
        "/rows/grids%2Fx.png/picture",
        "/records/..%2Frun.db/picture",
        "/records/%2Fetc%2Fpasswd/picture",
        "/run.db",
        "/grids/",
        "/page.html",
    ],
)
def test_an_invalid_id_is_not_found(client: httpx2.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_grid_is_served_byte_for_byte_and_a_record_as_a_small_picture(client: httpx2.Client, served: Served) -> None:
    row = stored(served)[0][0]
    answer = client.get(f"/rows/{row.id}/picture")
    assert answer.content == (served.home / row.grid.path).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    small = client.get(f"/records/{row.grid.group.records[0].id}/picture")
    assert max(Image.open(BytesIO(small.content)).size) == 320


@pytest.mark.parametrize(
    ("what", "said", "status"),
    [
        ("decide", {"decision": "keep"}, 404),
        ("edit", {"text": "x"}, 404),
        ("swap", {"first": 0, "second": 1}, 404),
        ("replace", {"panel": 0, "record": "x"}, 404),
    ],
)
def test_a_change_of_an_unknown_grid_is_refused(
    client: httpx2.Client, what: str, said: dict[str, object], status: int
) -> None:
    answer = client.post(f"/rows/g-nothing/{what}", json={"base": "b-x", **said})
    assert (answer.status_code, answer.json()["error"]) == (status, "this run has no grid 'g-nothing'.")


@pytest.mark.parametrize(
    ("what", "said", "message"),
    [
        ("decide", {"decision": "maybe"}, "decision: "),
        ("decide", {"decision": "keep", "path": "/etc"}, "path: Extra inputs are not permitted"),
        ("decide", {"decision": "drop"}, "a drop needs a reason"),
        ("decide", {"decision": "drop", "note": "  "}, "a drop needs a reason"),
        ("edit", {"text": "no markers", "decision": "keep"}, "caption: the edited caption lacks one of"),
        ("edit", {"text": "x" * 100_001}, "text: "),
        ("swap", {"first": 0, "second": 3}, "has panels 0 to 2, got 3"),
        ("swap", {"first": -1, "second": 1}, "has panels 0 to 2, got -1"),
        ("swap", {"first": 1, "second": 1}, "a swap takes two panels"),
        ("replace", {"panel": 0, "record": "../run.db"}, "this run has no image '../run.db'"),
    ],
)
def test_invalid_input_is_answered_with_a_sentence_and_changes_nothing(
    client: httpx2.Client, served: Served, what: str, said: dict[str, object], message: str
) -> None:
    answer = post(client, rows(client)[0], what, **said)
    assert answer.status_code in (404, 422)
    assert message in answer.json()["error"]
    assert stored(served)[1] == []


# ---- what a reviewer does


def test_all_rows_of_a_fresh_run_are_undecided_and_their_texts_are_split_by_panel(
    client: httpx2.Client, served: Served
) -> None:
    listed, found = client.get("/rows").json()["rows"], rows(client)
    assert len(found) == GRIDS
    listed_of = ("id", "base", "decision", "by", "told", "waiting", "filters", "place", "picture", "worst")
    assert listed == [{name: row[name] for name in listed_of} for row in found]
    for row, known in zip(found, stored(served)[0], strict=True):
        assert (row["decision"], row["by"], row["filters"]) == ("keep", "toolkit", ["undecided"])
        assert "".join(piece["text"] for piece in row["pieces"]) == row["text"] == known.caption.text
        assert [text.strip(" ,.") for text in segments(row)] == list(known.caption.panels)
        assert row["machine"] is None


def test_confirming_a_grid_that_the_toolkit_keeps_is_a_decision_too(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[0]
    answer = change(client, row, "decide", decision="keep")
    assert (answer["row"]["by"], answer["row"]["filters"]) == ("person", [])
    assert answer["row"]["base"] != row["base"]
    now, events = stored(served)
    assert next(each for each in now if each.id == row["id"]).review == Review(row["id"], "keep")
    assert [(e["grid"], e["who"], e["field"], e["was"], e["becomes"]) for e in events] == [
        (row["id"], "page", "decision", "keep", "keep")
    ]
    assert change(client, answer["row"], "decide", decision="keep")["step"] is None


def test_a_drop_has_its_reason_and_keeping_the_grid_after_all_removes_it(client: httpx2.Client) -> None:
    dropped = change(client, rows(client)[0], "decide", decision="drop", note="too  dark")["row"]
    assert (dropped["decision"], dropped["note"]) == ("drop", "too dark")
    kept = change(client, dropped, "decide", decision="keep")["row"]
    assert (kept["decision"], kept["note"]) == ("keep", "")


def test_an_edit_is_stored_beside_the_captioners_text(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[1]
    text = row["text"].replace("does thing", "mends thing")
    edited = change(client, row, "edit", text=text)["row"]
    assert (edited["text"], edited["machine"]["text"]) == (text, row["text"])
    assert [piece["text"] for piece in edited["machine"]["pieces"] if piece["kind"] == "new"] == [" does"] * 3
    assert stored(served)[0][1].review == Review(row["id"], "keep", "", text)


def test_a_text_that_looks_like_markup_stays_text(client: httpx2.Client) -> None:
    row = rows(client)[0]
    text = row["text"].replace("does thing", f"{EVIL} 'does' \u2067thing 🎬")
    edited = change(client, row, "edit", text=text)["row"]
    assert edited["text"] == text
    assert client.get("/rows").headers["content-type"] == "application/json"
    answer = client.get(f"/rows/{row['id']}")
    assert answer.headers["content-type"] == "application/json"
    assert EVIL in answer.json()["text"]


def test_a_stale_change_is_refused_and_answered_with_the_current_row(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[0]
    with served.client() as other:
        now = change(other, row, "decide", decision="drop", note="theirs")["row"]
    for what, said in (
        ("decide", {"decision": "keep"}),
        ("edit", {"text": "mine"}),
        ("swap", {"first": 0, "second": 1}),
    ):
        answer = post(client, row, what, **said)
        assert answer.status_code == 409
        assert answer.json()["row"] == now
    assert [event["becomes"] for event in stored(served)[1]] == ["drop", "theirs"]


def test_a_swap_moves_the_texts_along_and_redraws_the_grid(client: httpx2.Client, served: Served) -> None:
    row, before = rows(client)[2], stored(served)[0][2]
    swapped = change(client, row, "swap", first=0, second=2)["row"]
    first, second, third = before.caption.panels
    after = stored(served)[0][2]
    assert after.caption.panels == (third, second, first)
    assert after.grid.id == before.grid.id
    assert after.grid.group.records == before.grid.group.records[::-1]
    assert (swapped["decision"], swapped["problems"]) == ("keep", [])
    shown = Image.open(BytesIO(client.get(f"/rows/{row['id']}/picture").content))
    wanted = draw([Path(r.path) for r in after.grid.group.records], after.grid.layout, "crop")
    assert ImageChops.difference(shown, wanted).getbbox() is None
    back = change(client, swapped, "swap", first=2, second=0)["row"]
    assert back["text"] == row["text"]


def test_another_picture_empties_the_panels_text_and_waits_for_a_person(client: httpx2.Client, served: Served) -> None:
    row, before = rows(client)[1], stored(served)[0][1]
    offers = client.get(f"/rows/{row['id']}/offers/1").json()
    assert [(offer["name"], offer["used"]) for offer in offers] == [("3", ""), ("4", "")]
    replaced = change(client, row, "replace", panel=1, record=offers[1]["id"])["row"]
    assert replaced["decision"] == "unsure"
    assert replaced["filters"] == ["problems", "undecided"]
    assert "the text of [SCENE-2] has fewer than 3 words" in replaced["problems"]
    after = stored(served)[0][1]
    assert after.caption.panels == (before.caption.panels[0], "", before.caption.panels[2])
    assert [Path(record.path).stem for record in after.grid.group.records] == ["0", "4", "2"]
    mine = after.caption.text.replace("[SCENE-2]", "[SCENE-2] a new thing is seen")
    assert change(client, replaced, "edit", text=mine, decision="keep")["row"]["problems"] == []
    assert stored(served)[0][1].grid == after.grid


def test_a_picture_that_has_left_its_grid_is_offered_and_can_come_back(client: httpx2.Client) -> None:
    row = rows(client)[0]
    offers = client.get(f"/rows/{row['id']}/offers/0").json()
    replaced = change(client, row, "replace", panel=0, record=offers[0]["id"])["row"]
    names = {offer["name"]: offer for offer in client.get(f"/rows/{row['id']}/offers/0").json()}
    assert list(names) == ["4", "0"]
    back = change(client, replaced, "replace", panel=0, record=names["0"]["id"])["row"]
    assert back["panels"] == row["panels"]
    answer = post(client, back, "replace", panel=1, record=names["0"]["id"])
    assert answer.status_code == 422


def test_a_picture_of_another_source_is_refused(client: httpx2.Client, served: Served) -> None:
    row, other = rows(client)[:2]
    foreign = next(each for each in stored(served)[0] if each.id == other["id"]).grid.group.records[0]
    answer = post(client, row, "replace", panel=0, record=foreign.id)
    assert answer.status_code == 422
    assert "of its own film or folder" in answer.json()["error"]


def test_every_change_can_be_undone_and_undoing_the_first_leaves_no_decision(
    client: httpx2.Client, served: Served
) -> None:
    row = rows(client)[0]
    steps, now = [], row
    for what, said in (
        ("decide", {"decision": "drop", "note": "why"}),
        ("edit", {"text": row["text"].replace("thing", "work")}),
        ("swap", {"first": 0, "second": 1}),
        ("replace", {"panel": 2, "record": client.get(f"/rows/{row['id']}/offers/2").json()[0]["id"]}),
    ):
        response = change(client, now, what, **said)
        steps.append((response["step"], now))
        now = response["row"]
    for step, before in reversed(steps):
        answer = carried_out(client, "/undo", {"step": step})
        assert [one["base"] for one in answer.json()["rows"]] == [before["base"]]
        assert client.get(f"/rows/{row['id']}").json() == before
    after, events = stored(served)
    assert all(each.review is None for each in after)
    fields = [(event["field"], event["was"], event["becomes"]) for event in events]
    assert len(fields) % 2 == 0
    assert sorted(fields) == sorted((field, becomes, was) for field, was, becomes in fields)


def test_a_change_is_undone_once_and_only_while_its_row_is_as_it_left_it(client: httpx2.Client) -> None:
    row = rows(client)[0]
    first = change(client, row, "decide", decision="drop", note="why")
    second = change(client, first["row"], "decide", decision="keep")
    answer = carried_out(client, "/undo", {"step": first["step"]})
    assert (answer.status_code, answer.json()["row"]["decision"]) == (409, "keep")
    assert carried_out(client, "/undo", {"step": second["step"]}).status_code == 200
    assert carried_out(client, "/undo", {"step": second["step"]}).status_code == 404


def test_the_linter_checks_a_text_while_it_is_typed(client: httpx2.Client) -> None:
    row = rows(client)[0]
    typed = "[MOVIE-SHOTS] 🎬 so,\n [SCENE-1] one thing there, [SCENE-3] the end of it"
    check = client.post(f"/rows/{row['id']}/check", json={"text": typed}).json()
    assert "".join(piece["text"] for piece in check["pieces"]) == typed
    assert [(piece["kind"], piece["panel"]) for piece in check["pieces"]] == [
        ("marker", None), ("summary", None), ("marker", 0), ("text", 0), ("marker", 2), ("text", 2),
    ]  # fmt: skip
    assert check["problems"] == ["the marker [SCENE-2] is missing"]


def test_an_empty_caption_opens_with_prefix_opening_and_markers(client: httpx2.Client) -> None:
    assert client.get("/rows").json()["skeleton"] == "[MOVIE-SHOTS] [SCENE-1], [SCENE-2], [SCENE-3]."


def test_a_score_says_on_which_side_of_its_limit_it_is_good() -> None:
    scores = [
        Score("order", 0.0, 0.02, True, ""),
        Score("text 2", 0.3, 0.25, True, ""),
        Score("free", 0.1, -1.0, True, ""),
    ]
    sent = views.scores_of([*scores, Score("belongs 1", math.nan, math.inf, False, "")])
    assert [(one["value"], one["threshold"], one["ceiling"]) for one in sent] == [
        (0.0, 0.02, True), (0.3, 0.25, False), (0.1, None, False), (None, None, False),
    ]  # fmt: skip


def test_without_a_scorer_there_are_no_scores(client: httpx2.Client) -> None:
    row = rows(client)[0]
    assert client.post(f"/rows/{row['id']}/score", json={"text": row["text"]}).json() == []


def test_the_captioners_new_answer_is_stored_beside_the_existing_text(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[0]
    mine = row["text"].replace("does thing", "mends thing")
    edited = change(client, row, "edit", text=mine)["row"]
    answers = [client.post(f"/rows/{row['id']}/ask", json={}).json()["text"] for _ in range(3)]
    assert len({*answers, mine, row["text"]}) == 5
    assert rows(client)[0] == edited
    assert stored(served)[0][0].caption.text == mine


def test_a_captioner_with_nothing_new_says_so(client: httpx2.Client) -> None:
    grid = rows(client)[0]["id"]
    answers = [client.post(f"/rows/{grid}/ask", json={}) for _ in range(GRIDS + 1)]
    assert [answer.status_code for answer in answers] == [200] * GRIDS + [422]
    assert "the captioner wrote nothing new that can be read" in answers[-1].json()["error"]


def test_changes_made_through_a_table_meanwhile_are_not_overwritten(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[0]
    run = opened(served.home)
    with run.store:
        run.write_review()
        table = served.home / "captions.csv"
        text = table.read_text(encoding="utf-8-sig").replace(f'"{row["id"]}","keep"', f'"{row["id"]}","drop"')
        table.write_text(text, encoding="utf-8")
        assert len(run.apply(table)) == 1
    answer = post(client, row, "decide", decision="keep")
    assert (answer.status_code, answer.json()["row"]["decision"]) == (409, "drop")
    kept = change(client, answer.json()["row"], "decide", decision="keep")["row"]
    assert [event["who"] for event in stored(served)[1]] == [str(table), "page"]
    assert kept["decision"] == "keep"


def test_a_table_keeps_the_panels_that_were_replaced_on_the_page(client: httpx2.Client, served: Served) -> None:
    swapped = change(client, rows(client)[0], "swap", first=0, second=1)["row"]
    before = stored(served)[0][0]
    run = opened(served.home)
    with run.store:
        run.write_review()
        table = served.home / "captions.csv"
        text = table.read_text(encoding="utf-8-sig").replace(f'"{swapped["id"]}","keep"', f'"{swapped["id"]}","unsure"')
        table.write_text(text, encoding="utf-8")
        run.apply(table)
    after = stored(served)[0][0]
    assert (after.decision, after.grid, after.caption) == ("unsure", before.grid, before.caption)


@pytest.mark.parametrize(
    ("captioner", "options", "message"),
    [
        ("sidecar", (), "the captioner 'sidecar' takes texts as they are and can't be asked for others"),
        ("server", ('captioner.url="http://127.0.0.1:9/v1"',), "127.0.0.1:9"),
        ("local", ('captioner.model="/nowhere"',), "/nowhere"),
    ],
)
def test_a_captioner_that_cannot_be_asked_is_reported_in_a_sentence(
    built: Path, tmp_path: Path, captioner: str, options: tuple[str, ...], message: str
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    resettle(run, captioner=captioner, settings=options)
    with serving(run) as served, served.client() as client:
        answer = client.post(f"/rows/{rows(client)[0]['id']}/ask", json={})
    assert answer.status_code == 422
    assert message in answer.json()["error"]


# ---- what comes of it


def test_the_command_serves_until_it_is_interrupted_and_then_writes_the_data_set(built: Path, tmp_path: Path) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    code = f"import sys; sys.argv = ['iclora', 'review', 'storyboard', '--serve', '--out', {str(run)!r}]\n"
    code += "from iclora.cli import main\nmain()"
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    words = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as command:
        assert command.stdout
        try:
            output = ""
            while "Ctrl-C ends" not in output:  # the last line; where reading the rows takes long, a line says so
                output += (line := command.stdout.readline())
                assert line, output
            address, token = re.findall(r"http://(127\.0\.0\.1:\d+)/#(\S+)", output)[0]
            with Served(address, token, run).client() as client:
                change(client, rows(client)[0], "decide", decision="drop", note="why")
            command.send_signal(signal.SIGINT)
            rest = command.stdout.read()
        finally:
            command.kill()
    assert len(token) >= 32
    assert rest == f"1 change; {GRIDS - 1} grids in {run / 'dataset'}\n"
    assert command.returncode == 0


def test_a_table_and_the_page_cannot_be_used_for_one_review() -> None:
    result = CliRunner().invoke(cli.app, ["review", "storyboard", "--serve", "--apply", "captions.csv"])
    assert isinstance(result.exception, BadInput)
    assert str(result.exception).startswith("--apply captions.csv and --serve are two ways to review")


def test_the_data_set_has_the_panels_and_texts_that_the_reviewer_chose(client: httpx2.Client, served: Served) -> None:
    swapped, dropped, *_ = rows(client)
    change(client, swapped, "swap", first=0, second=1)
    change(client, dropped, "decide", decision="drop", note="why")
    run = opened(served.home)
    with run.store:
        marks = run.advance()
        row = next(row for row in run.reviewed() if row.id == swapped["id"])
        file = next(entry["file"] for entry in run.store.table("exported") if entry["grid"] == row.id)
    assert marks[-1].kept == GRIDS - 1
    assert (served.home / "dataset" / file).read_bytes() == (served.home / row.grid.path).read_bytes()
    text = (served.home / "dataset" / file).with_suffix(".txt").read_text(encoding="utf-8")
    assert text == row.caption.text
    table = (served.home / "captions.csv").read_text(encoding="utf-8-sig")
    assert f'"{row.id}","keep"' in table and "why" in table


def test_a_picture_chosen_by_a_person_is_drawn_again_when_its_file_is_gone(
    client: httpx2.Client, served: Served
) -> None:
    change(client, rows(client)[0], "swap", first=0, second=1)
    changed = next(row for row in stored(served)[0] if row.review)
    drawn = (served.home / changed.grid.path).read_bytes()
    (served.home / changed.grid.path).unlink()
    answer = client.get(f"/rows/{changed.id}/picture")
    assert answer.status_code == 404 and "iclora dataset storyboard" in answer.json()["error"]
    run = opened(served.home)
    with run.store:
        run.advance()
    assert (served.home / changed.grid.path).read_bytes() == drawn


def test_a_review_of_pictures_that_have_left_the_run_no_longer_applies(client: httpx2.Client, served: Served) -> None:
    row = rows(client)[0]
    offer = client.get(f"/rows/{row['id']}/offers/0").json()[0]["id"]
    change(client, row, "replace", panel=0, record=offer)
    run = opened(served.home)
    with run.store:
        run.store._db.execute("DELETE FROM records WHERE id = ?", (offer,))
    assert rows(client)[0] == row


def test_a_text_with_a_stand_in_for_a_marker_is_split_without_loss() -> None:
    couple = next(known for name in task.names() if (known := task.load(name)).stand_ins)
    marker, words = next(iter(couple.stand_ins.items()))
    text = " ".join(words if each == marker else f"{each} one thing" for each in (couple.prefix, *couple.markers))
    pieces = views.pieces(text, couple)
    assert "".join(piece["text"] for piece in pieces) == text
    assert {piece["panel"] for piece in pieces} == {None, *range(len(couple.markers))}
