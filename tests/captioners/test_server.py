"""The server captioner: requests, responses, and every kind of failure."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from asking import answer_to, answers_of, ask, make, opened, picture, run
from endpoint import (
    GOOD,
    HALF,
    HUGE,
    MODEL,
    Handler,
    Reaction,
    closed,
    completion,
    cuts,
    fails,
    hangs,
    hangs_up,
    late,
    pictures,
    says,
    sends,
    serving,
    trickles,
)
from PIL import Image
from plain import facts

from captioners import server
from iclora.run import Run
from iclora.settings import Settings
from miniature.film import HELD_OUT_SEED, write_film
from miniature.film import picture as write_picture
from miniature.world import draw_scene
from pipeline.captioning.protocol import Question, Turn
from pipeline.errors import BadInput, EmptyResult
from pipeline.records import Caption

VLM = Path(__file__).parents[2] / "miniature" / "vlm"
ROOT = Path(__file__).parents[2]
KEY = "sk-0123456789-secret"


# ---- the stage, in a run of its own


FEW = json.dumps({"summary": "a day by the sea", "panels": [{"text": "a boat on the sea"}]})
SORRY = "I'm sorry, I can't help with that."
SCRIPTS = {
    0: [fails(429, "slow down", {"Retry-After": "1"})],
    1: [fails(500), fails(503)],
    2: [hangs],
    3: [cuts],
    4: [hangs_up],
    5: [HALF],
    6: [trickles],
    7: [says(FEW)],
    8: [says(SORRY)],
    9: [says(None, refusal=SORRY)],
    10: [sends(b"<html>Bad gateway</html>", Content_Type="text/html")],
    11: [HUGE],
    12: [says("")],
    13: [fails(400, "that picture is not allowed")],
    14: [],
}
TWICE = {number: 1 + len(script) for number, script in SCRIPTS.items()} | {11: 1, 12: 1, 13: 1}
"""How often each is requested in the first run; a question given up in a run is not asked again in it."""


def test_every_server_fault_ends_in_a_caption_or_a_row_that_the_next_run_retries(tmp_path: Path) -> None:
    count = len(SCRIPTS)
    with serving({picture(number): script for number, script in SCRIPTS.items()}) as endpoint:
        options: dict[str, Any] = {"timeout": 0.7, "schema": "none", "price_in": 2, "price_out": 10}
        made = run(tmp_path, make(endpoint, **options), count)
        first = [endpoint.asked[picture(number)] for number in range(count)]
        assert dict(enumerate(first)) == TWICE
        assert [row.grid for row in made] == [f"g{number}" for number in range(count)]
        waited, at = endpoint.at[picture(0)][:2]
        assert 1.0 <= at - waited < 3
        told = {row.grid: row.problems for row in made if row.problems}
        assert told == {
            "g11": (
                "no answer yet (malformed: the response is longer than 1,048,576 bytes and was not read to the end); "
                "the next run asks again",
            ),
            "g12": ("no answer yet (empty: the message has no text (finish reason stop)); the next run asks again",),
            "g13": ("no answer yet (refused: HTTP 400, that picture is not allowed); the next run asks again",),
        }
        assert [row.attempts for row in made] == [1] * 7 + [2, 2, 2, 1, 0, 0, 0, 1]
        report = facts(tmp_path)
        assert (report["asked"], report["answers from the cache"]) == (count + 3, 0)
        assert report["failures"] == {"malformed": 1, "empty": 1, "refused": 1}
        assert report["attempts"] == {"0": 3, "1": 9, "2": 3}
        spent = report["spent"]
        assert spent["answers"] == 15
        assert (spent["tokens written"], spent["tokens read"]) == (16 * 100, 16 * 1000)  # the empty one among them
        assert spent["cost"] == pytest.approx(16 * (1000 * 2 + 100 * 10) / 1e6)

        again = run(tmp_path, make(endpoint, **options), count)
        second = [endpoint.asked[picture(number)] for number in range(count)]
        assert [number for number in range(count) if second[number] > first[number]] == [11, 12, 13]
        assert not [row for row in again if row.problems]
        assert [row for row in again if row.attempts and row.grid not in told] == [
            row for row in made if row.grid not in told
        ]
        report = facts(tmp_path)
        assert (report["asked"], report["answers from the cache"], report["failures"]) == (3, count, {})
        assert (report["spent"]["answers"], report["spent"]["tokens written"]) == (18, 19 * 100)

        assert run(tmp_path, make(endpoint, **options), count) == again
        assert sum(endpoint.asked.values()) == sum(second)


def test_a_question_unanswered_in_three_runs_is_given_up_and_marked(tmp_path: Path) -> None:
    with serving({picture(1): [fails(400, "no such picture")] * 9}) as endpoint:
        for number in (1, 2, 3):
            made = run(tmp_path, make(endpoint, schema="none"), 2)
            assert endpoint.asked == {picture(0): 1, picture(1): number}
        assert made[0].problems == () and made[1].panels == ("", "", "")
        (problem,) = made[1].problems
        assert problem.startswith("no answer in 3 runs, most recently refused: HTTP 400, no such picture; write")
        assert facts(tmp_path)["failures"] == {"given up": 1}
        assert run(tmp_path, make(endpoint, schema="none"), 2) == made
        assert run(tmp_path, make(endpoint, schema="none"), 2, caption__max_words=300) == made  # the stage runs anew
        assert sum(endpoint.asked.values()) == 4


def test_a_failed_retry_keeps_the_earlier_faulty_answer(tmp_path: Path) -> None:
    thin = GOOD.replace("gulls fly over roofs", "gulls fly")
    with serving({picture(0): [says(thin), fails(400)]}) as endpoint:
        (made,) = run(tmp_path, make(endpoint, schema="none"), 1)
        assert made.panels[1] == "gulls fly" and made.attempts == 1
        assert made.problems == (
            "no answer yet (refused: HTTP 400, no); the next run asks again",
            "the text of [SCENE-2] has fewer than 3 words",
        )
        (made,) = run(tmp_path, make(endpoint, schema="none"), 1)
        assert (made.attempts, made.problems, endpoint.asked[picture(0)]) == (2, (), 3)


def test_running_a_command_again_retries_unanswered_questions(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for number in range(6):
        write_picture(draw_scene(Random(number)), tmp_path / "shots" / f"{number}.png", (384, 192))
    with serving(default=fails(400)) as endpoint:
        lines = (f"captioner.url={endpoint.url}", "captioner.schema=none", "group.floor=0", "group.ceiling=1")
        shots = (str(tmp_path / "shots"),)
        asked = Settings(task="storyboard", sources=shots, captioner="server", scorer="none", overrides=lines)

        def walk() -> tuple[bool, list[Caption]]:
            run = Run(asked, tmp_path / "run")
            with run.store:
                worked = run.advance("caption")[-1].worked
                return worked, run.store.items(Caption, "captions")

        with pytest.raises(EmptyResult, match=r"2 grids have no caption \(2 refused\); the same command asks again"):
            walk()
        with Run(asked, tmp_path / "run").store as store:
            made = store.items(Caption, "captions")
        assert made and all(row.problems[0].startswith("no answer yet (refused: ") for row in made)
        endpoint.default = says(GOOD)
        worked, made = walk()
        assert worked and not [row for row in made if row.problems]
        assert not walk()[0] and sum(endpoint.asked.values()) == 2 * len(made)


def test_an_answers_text_tokens_and_cost_are_kept(tmp_path: Path) -> None:
    with serving() as endpoint:
        captioner = make(endpoint)
        run(tmp_path, captioner, 1)
    (file,) = (tmp_path / "cache" / "replies").rglob("*.json")
    kept = json.loads(file.read_text())
    assert kept.pop("seconds") > 0 and len(kept.pop("instruction")) == 12
    assert kept == {
        "by": captioner.identity(),
        "text": GOOD,
        "tokens": 100,
        "read": 1000,
        "cost": 0,
        "finished": True,
        "failures": [],
    }


# ---- kills and changes

CHILD = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/captioners"]
import test_server
from pathlib import Path
test_server.run(Path(sys.argv[2]), test_server.server.make({"url": sys.argv[3], "concurrency": 4}), 12)
"""


def test_a_killed_run_does_not_repeat_answered_questions(tmp_path: Path) -> None:
    slow = {picture(number): [hangs] for number in range(6, 12)}
    with serving(slow) as endpoint:
        words = [sys.executable, "-c", CHILD, str(Path(__file__).parents[1]), str(tmp_path), endpoint.url]
        with subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as child:
            until(lambda: len(list(tmp_path.rglob("cache/replies/*/*.json"))) == 6 and endpoint.busy == 4)
            os.kill(child.pid, signal.SIGKILL)
        before = endpoint.asked
        assert before == {picture(number): 1 for number in range(10)}
        endpoint.scripts.clear()
        made = run(tmp_path, make(endpoint, concurrency=4), 12)
        assert endpoint.asked - before == {picture(number): 1 for number in range(6, 12)}
    assert len(made) == 12 and not [row for row in made if row.problems]
    assert facts(tmp_path)["answers from the cache"] == 6
    assert facts(tmp_path)["spent"]["tokens written"] == 12 * 100  # those before the kill among them


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)


def test_a_changed_instruction_asks_again_but_a_changed_word_limit_does_not(tmp_path: Path) -> None:
    with serving() as endpoint:
        for changes, asked in (({}, 3), ({"caption__max_words": 300}, 3), ({"caption__instructions": "Look."}, 6)):
            run(tmp_path, make(endpoint), 3, **changes)
            assert sum(endpoint.asked.values()) == asked


def test_abandoning_the_answers_leaves_no_threads_behind() -> None:
    with serving({picture(number): [hangs] for number in range(1, 20)}) as endpoint:
        threads = threading.active_count()
        answers = make(endpoint).ask([ask(number) for number in range(20)])
        assert next(answers)[0] == 0
        started = time.monotonic()
        answers.close()
        assert time.monotonic() - started < 5
        until(lambda: threading.active_count() <= threads + endpoint.busy)
        assert endpoint.busy <= 16


# ---- several at once


def test_questions_run_concurrently_up_to_the_limit_and_answers_arrive_at_once() -> None:
    with serving({picture(0): [late(2.0)]}, default=late(0.4)) as endpoint:
        captioner = make(endpoint, concurrency=16)
        places = [place for place, _ in captioner.ask([ask(number) for number in range(64)])]
        assert endpoint.busiest == 16 and sorted(places) == list(range(64))
        assert captioner.batch >= 2 * 16
        assert places[0] != 0  # the slow one keeps nobody waiting
        assert set(endpoint.asked.values()) == {1}
    with serving(default=late(0.02)) as endpoint:
        answers_of(make(endpoint, concurrency=1), [ask(number) for number in range(5)])
        assert endpoint.busiest == 1


def test_no_grid_waits_for_a_slow_one_and_captions_keep_their_order(tmp_path: Path) -> None:
    """The first answer comes when all other grids were asked about, which is more than the questions of a batch."""
    count = 20

    def last(handler: Handler) -> None:
        until(lambda: sum(handler.server.asked.values()) == count, seconds=20)
        handler.reply(completion(GOOD))

    with serving({picture(0): [last]}) as endpoint:
        captioner = make(endpoint, concurrency=2, timeout=30)
        assert captioner.batch < count
        made = run(tmp_path, captioner, count)
    assert [row.grid for row in made] == [f"g{number}" for number in range(count)]
    assert {row.attempts for row in made} == {1}


# ---- what is sent


def test_a_request_has_markers_with_pictures_then_the_instruction_then_earlier_faults() -> None:
    with serving() as endpoint:
        captioner = make(endpoint, seed=7, max_new_tokens=500)
        answers_of(captioner, [ask(3, earlier=(Turn("half", ("it is cut off", "it is thin")),))])
        (body,) = endpoint.bodies
    first, said, again = body["messages"]
    assert [part.get("text", part["type"]) for part in first["content"]] == [
        *("[A]", "image_url", "[B]", "image_url", "[C]", "image_url", "Say what you see."),
    ]
    assert said == {"role": "assistant", "content": "half"}
    assert "it is cut off; it is thin" in again["content"][0]["text"]
    assert (body["model"], body["seed"], body["max_tokens"], body["temperature"]) == (MODEL, 7, 500, 0)
    form = body["response_format"]
    assert form["type"] == "json_schema" and "panels" in form["json_schema"]["schema"]["required"]


@pytest.mark.parametrize(
    ("images", "sizes"),
    [("panels", [(64, 64)] * 3), ("grid", [(64, 192)]), ("both", [(64, 192), (64, 64), (64, 64), (64, 64)])],
)
def test_the_panels_the_grid_or_both_are_shown(images: str, sizes: list[tuple[int, int]]) -> None:
    with serving() as endpoint:
        answers_of(make(endpoint, images=images), [ask()])
        assert [opened(url).size for url in pictures(endpoint.bodies[0])] == sizes


def test_a_large_picture_is_reduced_to_a_megapixel_per_panel() -> None:
    grid = Image.new("RGB", (2048, 3072))
    panels = tuple(grid.crop((0, top, 2048, top + 1024)) for top in (0, 1024, 2048))
    question = Question(panels, ("",) * 3, ("[A]", "[B]", "[C]"), "Look.", grid=grid)
    with serving() as endpoint:
        answers_of(make(endpoint, images="both"), [question])
        whole, *parts = (opened(url).size for url in pictures(endpoint.bodies[0]))
    assert whole == (1414, 2121) and parts == [(1414, 707)] * 3


def test_the_stage_passes_the_grid_if_the_captioner_shows_it(tmp_path: Path) -> None:
    with serving() as endpoint:
        run(tmp_path, make(endpoint, images="grid"), 2)
        assert [opened(url).size for body in endpoint.bodies for url in pictures(body)] == [(64, 192)] * 2


def refuses(word: str, message: str) -> Reaction:
    """A server that refuses requests with this parameter."""

    def react(handler: Handler) -> None:
        if word in handler.body:
            handler.reply({"error": {"message": message}}, 400)
        else:
            handler.reply(completion(GOOD))

    return react


def test_a_refused_schema_is_left_out_from_then_on() -> None:
    with serving(default=refuses("response_format", "unknown grammar")) as endpoint:
        captioner = make(endpoint, concurrency=1)
        answers = answers_of(captioner, [ask(number) for number in range(5)])
        assert {answer.text for answer in answers} == {GOOD}
        assert ["response_format" in body for body in endpoint.bodies] == [True, False, False, False, False, False]
        with pytest.raises(BadInput, match=r"refuses the schema .*\(HTTP 400, unknown grammar\)"):
            answers_of(make(endpoint, schema="json_schema"), [ask()])


def test_a_refusal_for_another_reason_keeps_the_schema() -> None:
    with serving({picture(0): [fails(400, "bad picture")] * 2}) as endpoint:
        first, second = answers_of(make(endpoint, concurrency=1), [ask(0), ask(1)])
        assert first.failure == "refused: HTTP 400, bad picture" and second.text == GOOD
        assert ["response_format" in body for body in endpoint.bodies] == [True, False, True]


@pytest.mark.parametrize("word", ["temperature", "max_tokens", "seed"])
def test_a_parameter_unknown_to_a_hosted_model_is_left_out(word: str) -> None:
    with serving(
        default=refuses(word, f"Unsupported parameter: '{word}' is not supported with this model.")
    ) as endpoint:
        assert answers_of(make(endpoint), [ask()])[0].text == GOOD
        last = endpoint.bodies[-1]
        assert word not in last and "response_format" in last
        assert last.get("max_completion_tokens", last.get("max_tokens")) == 768


# ---- one question's failure

FAILURES = {
    "timeout: no answer within 0.2 s after 2 attempts": hangs,
    "timeout: no answer within 0.2 s after 2 attempts ": trickles,
    "connection: Server disconnected without sending a response": hangs_up,
    "server error: HTTP 500, it broke": fails(500, "it broke"),
    "refused: HTTP 429, slow down": fails(429, "slow down"),
    "refused: HTTP 422, [{'msg': 'bad'}]": lambda handler: handler.reply({"detail": [{"msg": "bad"}]}, 422),
    "refused: HTTP 451, too bad": lambda handler: handler.reply(b"<html>too <b>bad</b></html>", 451),
    "empty: the message has no text (finish reason content_filter)": says(" ", "content_filter"),
    "malformed: the response is not complete JSON": HALF,
    "malformed: the response is nested too deeply": sends(b"[" * 200_000),
    "server error: HTTP 200 with an error, busy": sends(b'{"error": "busy"}'),
    "malformed: the response has no message: []": sends(b"[]"),
    "empty: the message has no text (finish reason stop)": says([{"type": "text"}]),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_has_a_class_and_a_description(failure: str) -> None:
    answer = answer_to(FAILURES[failure], timeout=0.2, retries=1)
    assert answer.failure == failure.strip() and answer.text == "" and answer.seconds > 0


@pytest.mark.parametrize(
    "said", ["At most 1 image(s) may be provided in one request", "The number of images exceeds the limit of 1"]
)
def test_a_server_that_takes_a_single_picture_gets_a_hint(said: str) -> None:
    answer = answer_to(fails(400, f"{said}."))
    assert answer.failure == f"refused: HTTP 400, {said}; show it one with --set captioner.images=grid"


def test_a_server_without_encryption_is_told_as_that() -> None:
    with (
        serving() as endpoint,
        pytest.raises(BadInput, match=r"no server answers at https://.* \(it does not speak https"),
    ):
        answers_of(make(endpoint, url=endpoint.url.replace("http:", "https:"), model="m"), [ask()])


@pytest.mark.parametrize("forbidden", [0, 1], ids=["before any answer", "after one"])
def test_one_forbidden_picture_does_not_stop_the_others(forbidden: int) -> None:
    with serving({picture(forbidden): [fails(403, "flagged")]}) as endpoint:
        answers = answers_of(make(endpoint, concurrency=1), [ask(0), ask(1), ask(2)])
    failures = ["", "", ""]
    failures[forbidden] = "refused: HTTP 403, flagged"
    assert [answer.failure for answer in answers] == failures


# ---- what stops all of them


def test_a_missing_server_is_reported_with_its_address_and_a_remedy() -> None:
    url = closed()
    named = server.make({"url": url, "model": "m"})
    assert named.identity()["model"] == "m"  # what is in the cache needs no server
    for asking in (lambda: answers_of(named, [ask()]), server.make({"url": url}).identity):
        with pytest.raises(BadInput, match=rf"no server answers at {url} \(.*refused.*\); .*captioner.url=URL"):
            asking()


@pytest.mark.parametrize(
    ("reaction", "told"),
    [
        (fails(401, "who are you?"), "HTTP 401, who are you.; set a valid key as OPENAI_API_KEY"),
        (fails(404, "no model m"), "HTTP 404, no model m; it lists the models small-vlm, and the run keeps 'm' until"),
        (fails(402, "pay"), "HTTP 402, pay; run the same command again when that is settled"),
        (fails(429, "enough", {"Retry-After": "3600"}), "HTTP 429, enough; run the same command again in 3600 s"),
        (fails(429, "quota", code="insufficient_quota"), "HTTP 429, quota; run the same command again when"),
    ],
)
def test_an_error_that_concerns_every_question_is_raised_after_one_round(reaction: Reaction, told: str) -> None:
    with serving(default=reaction) as endpoint:
        captioner = make(endpoint, model="m", concurrency=2, schema="none", retries=1)
        with pytest.raises(BadInput, match=told):
            answers_of(captioner, [ask(number) for number in range(20)])
        assert sum(endpoint.asked.values()) <= 4


def test_answers_before_a_fatal_error_are_kept(tmp_path: Path) -> None:
    with serving({picture(3): [fails(401, "the key has run out")]}) as endpoint:
        with pytest.raises(BadInput, match="run out"):
            run(tmp_path, make(endpoint, concurrency=1), 5)
        assert len(run(tmp_path, make(endpoint, concurrency=1), 5)) == 5
        assert endpoint.asked == {picture(number): 2 if number == 3 else 1 for number in range(5)}


# ---- the model's name, the address and the key


@pytest.mark.parametrize(
    ("models", "told"), [([], "lists no models"), (["one", "two"], "lists the models one, two; name one with --set")]
)
def test_a_model_must_be_set_unless_there_is_exactly_one(models: list[str], told: str) -> None:
    with serving(models=models) as endpoint, pytest.raises(BadInput, match=told):
        make(endpoint).identity()


def test_the_identity_names_the_only_model_and_asks_for_it_once() -> None:
    with serving() as endpoint:
        captioner = make(endpoint)
        assert (
            captioner.identity()
            == captioner.identity()
            == {
                "captioner": "server",
                "url": endpoint.url,
                "model": MODEL,
                "max_new_tokens": 768,
                "seed": 0,
                "images": "panels",
                "schema": "auto",
            }
        )
        answers_of(captioner, [ask()])
        assert endpoint.listings == 1


def test_user_and_password_in_an_address_reach_only_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def react(handler: Handler) -> None:
        seen.append(handler.headers["Authorization"])
        handler.reply({"error": {"message": "not you"}}, 401)

    with serving(default=react) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url.replace("//", "//anna:pass-word@"))
        captioner = server.make({})
        assert captioner.identity()["url"] == endpoint.url
        with pytest.raises(BadInput) as caught:
            answers_of(captioner, [ask()])
    assert seen == [f"Basic {base64.b64encode(b'anna:pass-word').decode()}"]
    assert "pass-word" not in str(caught.value) and endpoint.url in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:8000", "must be a web address such as .*, got 'localhost:8000'"),
        ("ftp://host/v1", "must be a web address such as .*, got 'ftp://host/v1'"),
        ("http://a:pass-word@host:eight/v1", "must be a web address such as .*, got 'http://host:eight/v1'"),
        (
            "http://a:pass-word@host/v1",
            "must not contain a password, got 'http://host/v1' with one; set .* OPENAI_BASE_URL",
        ),
        ("http://host/v1?key=pass-word", "must not have a query"),
        ("http://host:99999/v1", "must be a web address such as .*, got 'http://host:99999/v1'"),
        ("http://host:0/v1", "must be a web address such as .*, got 'http://host:0/v1'"),
    ],
)
def test_an_unusable_address_is_reported_without_its_secrets(url: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        server.make({"url": url})
    assert "pass-word" not in str(caught.value)


def echoes(status: int) -> Reaction:
    """A server that repeats the key that it was sent."""

    def react(handler: Handler) -> None:
        sent = handler.headers["Authorization"]
        content = completion(f"{sent} {GOOD}") if status == 200 else {"error": {"message": f"I was sent {sent}"}}
        handler.reply(content, status)

    return react


def test_the_key_is_sent_and_appears_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    scripts = {picture(0): [echoes(200)], picture(1): [echoes(400)] * 2, picture(2): [echoes(503)] * 2}
    scripts[picture(3)] = [sends(f'{{"error": "{KEY}"}}'.encode())] * 2
    with serving(scripts) as endpoint:
        captioner = make(endpoint, retries=1)
        made = run(tmp_path, captioner, 5)
        with serving(default=echoes(401)) as other, pytest.raises(BadInput) as caught:
            answers_of(make(other), [ask()])
        assert sum(endpoint.asked.values()) == 8
    assert [len(row.problems) for row in made] == [0, 1, 1, 1, 0]
    assert "I was sent Bearer [key]" in made[1].problems[0] and "I was sent Bearer [key]" in str(caught.value)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 10 and not [file for file in files if KEY.encode() in file.read_bytes()]
    shown = "".join([str(made), repr(captioner.identity()), repr(facts(tmp_path)), caplog.text, *capfd.readouterr()])
    assert caplog.records and KEY not in shown


@pytest.mark.parametrize("key", ["sk-with\nbreak", "sk-ünï"])
def test_an_invalid_key_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(BadInput, match="OPENAI_API_KEY contains characters") as caught:
        server.make({})
    assert "sk-" not in str(caught.value)


def test_a_local_servers_placeholder_key_may_appear_in_a_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert answer_to(says("none of them rows")).text == "none of them rows"


# ---- a real server


@contextmanager
def transformers_serve(model: Path, log: Path) -> Iterator[str]:
    """Runs `transformers serve` with one model on the CPU and without network."""
    url = closed()
    words = [Path(sys.executable).with_name("transformers"), "serve", model, "--device", "cpu", "--host", "127.0.0.1"]
    words += ["--port", url.split(":")[2].removesuffix("/v1")]
    with log.open("wb") as out:
        quiet = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        serve = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=quiet)
        try:
            until(lambda: answers(url.replace("v1", "health")) or serve.poll() is not None, seconds=180)
            assert serve.poll() is None, log.read_text()
            yield url
        finally:
            serve.terminate()
            serve.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_transformers_serve_captions_a_film_with_the_miniature(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", HELD_OUT_SEED + 40, shots=12, size=(384, 216))
    with transformers_serve(VLM, tmp_path / "serve.log") as url:
        options = (f"captioner.url={url}", f"captioner.model={VLM}", "captioner.concurrency=2", "caption.attempts=2")
        asked = Settings(task="storyboard", sources=(str(film),), captioner="server", scorer="none", overrides=options)
        run = Run(asked, tmp_path / "run")
        with run.store:
            marks = run.advance("caption")
            made = run.store.items(Caption, "captions")
    told = marks[-1].facts
    assert len(made) == marks[-1].entered >= 3 and told["failures"] == {}
    assert all(len(row.panels) == 3 and all(row.panels) and row.names for row in made)
    assert told["asked"] == sum(row.attempts for row in made) and told["spent"]["tokens written"] > 30 * len(made)
    assert told["spent"]["tokens read"] > 100 * len(made)
    run = Run(asked, tmp_path / "run")  # the server has gone; nothing is left to ask
    with run.store:
        assert [result.worked for result in run.advance("caption")] == [False] * 5
