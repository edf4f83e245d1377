"""Every form of a message is read, and every response of another shape ends in a row."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import Any

import httpx2
import openai
import pytest
from asking import answer_to, answers_of, ask, make
from endpoint import GOOD, Reaction, completion, explodes, fails, floods, says, sends, serving, trickles_headers
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from captioners.server import Options, Server, connection, responses
from captioners.server.endpoint import Endpoint
from pipeline.captioning import replies
from pipeline.captioning.protocol import Answer
from pipeline.errors import BadInput, BadReply

CALL = {"name": "joint_caption", "arguments": GOOD}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
HALVES = [{"type": "text", "text": GOOD[:50]}, {"type": "text", "text": GOOD[50:]}]
SEEN = json.loads(GOOD)

MESSAGES: dict[str, Reaction] = {
    "a text": says(GOOD),
    "a part": says([{"type": "text", "text": GOOD}]),
    "parts": says(HALVES),
    "a part without a type": says([{"text": GOOD}]),
    "texts": says([GOOD[:50], GOOD[50:]]),
    "an output part": says([{"type": "output_text", "text": GOOD}]),
    "thoughts and a part": says([THOUGHT, {"type": "reasoning", "text": "draft"}, *HALVES]),
    "one part without a list": says({"type": "text", "text": GOOD}),
    "an object": says(SEEN),
    "a tool call": says(None, "tool_calls", tool_calls=[{"id": "c1", "type": "function", "function": CALL}]),
    "a tool call with an object": says(None, tool_calls=[{"function": CALL | {"arguments": SEEN}}]),
    "several tool calls": says(
        None, tool_calls=[None, {"function": {"name": "look", "arguments": "{}"}}, {"function": CALL}]
    ),
    "a function call": says(None, function_call=CALL),
    "a reasoning field": says("", reasoning=GOOD),
    "a reasoning field with thoughts": says(None, reasoning_content=f"I look at it and then {GOOD}"),
    "reasoning details": says(None, reasoning_details=[{"type": "reasoning.text", "text": GOOD}]),
    "both": says(GOOD, reasoning="The caption {needs}", reasoning_content=GOOD.replace("a day", "a draft")),
    "an error beside it": lambda handler: handler.reply(completion(GOOD) | {"error": {"message": "logged"}}),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_form_of_a_message_is_read_at_the_first_attempt(kind: str) -> None:
    with serving(default=MESSAGES[kind]) as endpoint:
        (answer,) = answers_of(make(endpoint), [ask()])
        assert len(endpoint.bodies) == 1
    assert replies.find_object(answer.text) == SEEN and not answer.failure


@pytest.mark.parametrize(
    "message",
    [
        says(None, reasoning="The caption needs [A] and [B] and [C]."),
        says(None, reasoning=f"{GOOD} or rather {GOOD.replace('a day', 'a night')}"),
        says([THOUGHT]),
        says(None, tool_calls=[]),
        says(None, tool_calls=[{"function": "joint_caption"}]),
        says(7),
    ],
)
def test_thoughts_without_an_answer_are_none(message: Reaction) -> None:
    assert answer_to(message).failure == "empty: the message has no text (finish reason stop)"


def answered(content: bytes) -> Reaction:
    return sends(content)


SHAPES = {
    "choices in an object": b'{"choices": {}}',
    "choices in an object with a key": b'{"choices": {"0": {"message": {"content": "x"}}}}',
    "no choices": b'{"choices": []}',
    "null": b'{"choices": [null]}',
    "a number": b"7",
    "a message that is text": b'{"choices": [{"message": "hello"}]}',
    "nothing": b"",
    "deep": b'{"choices": ' + b"[" * 200_000,
    "as deep as can be read": b'{"choices": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a deep error": b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}",
    "not UTF-8": b'{"choices": "\xff\xfe"}',
    "a huge number": b'{"choices": 1' + b"0" * 9000 + b"}",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_response_of_another_shape_is_a_failure_after_few_attempts(shape: str) -> None:
    with serving(default=answered(SHAPES[shape])) as endpoint:
        (answer,) = answers_of(make(endpoint, retries=1), [ask()])
        assert len(endpoint.bodies) <= 2
    assert answer.failure.partition(":")[0] in ("malformed", "server error") and len(answer.failure) < 500


@pytest.mark.parametrize("status", [400, 500])
def test_the_body_of_an_error_may_have_any_depth(status: int) -> None:
    for depth in (100, 700, 900, 950, 200_000):
        deep = b"[" * depth + b"]" * depth
        for body in (deep, b'{"error": {"message": ' + deep + b"}}"):
            answer = answer_to(lambda handler, body=body: handler.reply(body, status), retries=0)  # type: ignore[misc]
            assert answer.failure and len(answer.failure) < 500


@pytest.mark.parametrize(
    ("reaction", "failure"),
    [
        (explodes, "malformed: the response is longer than 1,048,576 bytes and was not read to the end"),
        (floods, "malformed: the response is longer than 1,048,576 bytes and was not read to the end"),
        (trickles_headers, "timeout: no answer within 0.3 s after 1 attempts"),
        (
            sends(b"no gzip", Content_Encoding="gzip"),
            "malformed: the response can't be unpacked: Error -3 while decompressing data: incorrect header check",
        ),
        (
            sends(gzip.compress(gzip.compress(b"{}")), Content_Encoding="gzip, gzip"),
            "malformed: the response is packed as 'gzip, gzip', which was not asked for",
        ),
    ],
)
def test_a_response_without_end_is_neither_waited_for_nor_kept(reaction: Reaction, failure: str) -> None:
    patience = 0.3 if reaction is trickles_headers else 10.0
    assert answer_to(reaction, timeout=patience, retries=0).failure == failure


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_a_packed_answer_is_read(packed: str) -> None:
    content = json.dumps(completion(GOOD)).encode()
    content = gzip.compress(content) if packed == "gzip" else zlib.compress(content)
    assert answer_to(sends(content, Content_Encoding=packed)).text == GOOD


def test_no_more_is_unpacked_than_a_response_may_have() -> None:
    unpack = connection._unpacking("gzip")
    assert len(unpack(gzip.compress(b"0" * 2**26), 1001)) == 1001


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"<?xml version='1.0'?><Error/>", ""),
        (b'data: {"choices": []}\n\ndata: [DONE]\n', 'data: {"choices": []} data: [DONE]'),
        (b"upstream \x1b[31m timed out", r"upstream \x1b[31m timed out"),
    ],
)
def test_what_is_no_json_at_all_is_asked_for_only_once_more(content: bytes, begins: str) -> None:
    with serving(default=sends(content)) as endpoint:
        (answer,) = answers_of(make(endpoint), [ask()])
        assert len(endpoint.bodies) == 2
    assert answer.failure.startswith("malformed: the response is not JSON, but begins with ")
    assert begins in answer.failure and "\x1b" not in answer.failure


def test_a_servers_message_reaches_no_terminal_as_a_command() -> None:
    answer = answer_to(fails(400, "no \x1b[31m\x00 \u202e way"), retries=0)
    assert answer.failure == r"refused: HTTP 400, no \x1b[31m\x00 \u202e way"


@pytest.mark.parametrize("listing", [explodes, floods, trickles_headers, *map(sends, SHAPES.values())])
def test_a_list_of_models_of_any_shape_is_read_or_counts_as_none(
    listing: Reaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioners.server.endpoint.CONNECT_SECONDS", 0.3 if listing is trickles_headers else 10.0)
    monkeypatch.setattr("captioners.server.endpoint.LIST_RETRIES", 0)
    with serving(listing=listing) as endpoint:
        with pytest.raises(BadInput, match=r"lists no models; name one with --set captioner\.model=NAME"):
            make(endpoint).identity()
        assert answers_of(make(endpoint, model="m"), [ask()])[0].text == GOOD


@pytest.mark.parametrize("data", [[{"id": "m"}, {"id": 7}, "x", None, {}], [{"id": "m"}]])
def test_only_the_models_with_a_name_are_listed(data: list[Any]) -> None:
    with serving(listing=sends(json.dumps({"data": data}).encode())) as endpoint:
        assert make(endpoint).identity()["model"] == "m"


# ---- anything

WORDS = """choices message content error code text type tool_calls function arguments reasoning reasoning_details usage
finish_reason completion_tokens prompt_tokens refusal panels summary object"""
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(re.findall(r"\w+", WORDS)), inner, max_size=4)
    ),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries({"message": PLAIN | st.fixed_dictionaries({"content": PLAIN}), "finish_reason": PLAIN})
CLIENT = openai.OpenAI(api_key="k", base_url="http://h/v1")
SHAPE = PLAIN | st.fixed_dictionaries({"choices": st.lists(MESSAGE, max_size=2), "usage": PLAIN})


@fuzzed
@given(SHAPE.map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_a_response_of_any_shape_is_an_answer_or_a_failure(content: bytes) -> None:
    captioner = Server(Options(url="http://127.0.0.1:9/v1", model="m"))
    try:
        data = responses.parse(content)
        fault = responses.fault_in(data)
        answer = captioner._read(data) if fault is None else Answer(failure=str(fault))
    except BadReply as error:
        answer = Answer(failure=f"malformed: {error}")
    assert isinstance(answer.text, str) and answer.tokens >= 0 and answer.cost >= 0
    assert bool(answer.text) != bool(answer.failure) or not answer.finished


@fuzzed
@given(st.integers(400, 599), SHAPE.map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_an_error_with_any_body_is_a_sentence(status: int, body: bytes) -> None:
    response = httpx2.Response(status, content=body, request=httpx2.Request("POST", "http://h/v1"))
    error = CLIENT._make_status_error_from_response(response)
    endpoint = Endpoint(Options(url="http://127.0.0.1:9/v1", model="m"))
    try:
        said = endpoint.failure(responses.fault_of(error))
    except BadInput as stopped:
        said = str(stopped)
    assert "\n" not in said and len(said) < 800
