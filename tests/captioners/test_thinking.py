"""Models that think before they answer: how they are told not to, and what it costs if they do all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from asking import answer_to, answers_of, ask, make, picture, run
from endpoint import GOOD, Handler, Reaction, completion, fails, says, serving
from plain import facts

from captioners import server
from pipeline.captioning.protocol import Answer
from pipeline.errors import BadInput

ALL_THOUGHT: dict[str, Reaction] = {
    "vLLM": says(None, "length", reasoning="Let me look at the first panel. " * 9),
    "SGLang": says("", "length", reasoning_content="Let me look."),
    "without a parser": says("<think>Let me look at the first panel", "length"),
    "with a draft": says(None, "length", reasoning=GOOD),
}


@pytest.mark.parametrize("kind", ALL_THOUGHT)
@pytest.mark.parametrize("listed", [True, False])
def test_a_server_that_spends_all_on_thinking_costs_at_most_16_requests(
    tmp_path: Path, kind: str, listed: bool
) -> None:
    listing = None if listed else fails(404)
    with serving(default=ALL_THOUGHT[kind], listing=listing) as endpoint:
        with pytest.raises(
            BadInput, match=r"8 grids in a row \(thinking: .*captioner.thinking=off.*max_new_tokens="
        ) as told:
            run(tmp_path, make(endpoint, model="small-vlm"), 55)
        assert str(told.value).count(". ") == 0
        assert len(endpoint.bodies) == 16
        budgets = Counter((endpoint_key(body), body["max_tokens"]) for body in endpoint.bodies)
        assert set(budgets.values()) == {1}  # never the same budget twice for one question
        assert sorted(tokens for _, tokens in budgets) == [768] * 8 + [1536] * 8


def endpoint_key(body: dict[str, Any]) -> str:
    return str(body["messages"])


def test_a_budget_that_was_spent_is_doubled_once_and_what_both_took_is_counted() -> None:
    with serving({picture(0): [says("", "length")]}) as endpoint:
        assert answers_of(make(endpoint), [ask()]) == [Answer(GOOD, 200, 2000)]
        assert [body["max_tokens"] for body in endpoint.bodies] == [768, 1536]
    assert answer_to(says("", "length")) == Answer("", 200, 2000, finished=False)


def test_a_doubled_budget_that_the_server_refuses_leaves_the_answer_cut_off() -> None:
    def react(handler: Handler) -> None:
        if handler.body["max_tokens"] > 1000:
            handler.reply({"error": {"message": "max_tokens is more than the model's 1000"}}, 400)
        else:
            handler.reply(completion("[A] half", "length"))

    with serving(default=react) as endpoint:
        assert answers_of(make(endpoint), [ask()]) == [Answer("[A] half", 100, 1000, finished=False)]
        assert [body["max_tokens"] for body in endpoint.bodies] == [768, 1536]


def test_a_question_whose_answer_was_cut_off_twice_is_given_up_and_the_others_are_kept(tmp_path: Path) -> None:
    with serving({picture(1): [says(GOOD[:90], "length")] * 9}) as endpoint:
        made = run(tmp_path, make(endpoint), 3)
        assert endpoint.asked == {picture(0): 1, picture(1): 2, picture(2): 1}
        assert [row.failure for row in made] == ["", "cut off", ""] and made[1].text == ""
        assert facts(tmp_path)["without a caption"] == {"cut off": 1}
        assert run(tmp_path, make(endpoint), 3) == made and len(endpoint.bodies) == 4


# ---- told not to


@pytest.mark.parametrize(
    ("thinking", "sent"),
    [
        (None, {}),
        (
            "off",
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none", "think": False},
        ),
        (
            "on",
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "medium", "think": True},
        ),
        (
            2000,
            {
                "chat_template_kwargs": {"enable_thinking": True, "thinking_budget": 2000},
                "thinking_token_budget": 2000,
                "reasoning_effort": "medium",
                "think": True,
                "max_tokens": 2768,
            },
        ),
    ],
)
def test_thinking_is_set_in_the_words_of_every_kind_of_server(thinking: Any, sent: dict[str, Any]) -> None:
    words = ("chat_template_kwargs", "reasoning_effort", "think", "thinking_token_budget", "max_tokens")
    with serving() as endpoint:
        captioner = make(endpoint, thinking=thinking)
        answers_of(captioner, [ask()])
        (body,) = endpoint.bodies
    assert {name: body[name] for name in words if name in body} == {"max_tokens": 768} | sent
    assert captioner.identity().get("thinking") == thinking


@pytest.mark.parametrize(("given", "meant"), [(False, "off"), (True, "on"), (0, "off"), (5, 5), ("on", "on")])
def test_thinking_may_be_set_as_people_write_it(given: Any, meant: Any) -> None:
    assert server.make({"thinking": given}).options.thinking == meant


@pytest.mark.parametrize("given", ["maybe", -1, 1.5, [1]])
def test_other_values_of_thinking_are_refused(given: Any) -> None:
    with pytest.raises(BadInput, match="thinking: must be off, on, or a number of tokens"):
        server.make({"thinking": given})


def hosted(*known: str, efforts: tuple[str, ...] = ()) -> Reaction:
    """A server that refuses parameters other than these, one a time, and efforts that its model lacks."""

    def react(handler: Handler) -> None:
        unknown = [name for name in handler.body if name not in {"model", "messages", "max_tokens", *known}]
        effort = handler.body.get("reasoning_effort")
        if unknown:
            handler.reply({"error": {"message": f"Unrecognized request argument supplied: {unknown[0]}"}}, 400)
        elif effort and effort not in efforts:
            handler.reply({"error": {"message": f"'reasoning_effort' does not support '{effort}'"}}, 400)
        else:
            handler.reply(completion(GOOD))

    return react


@pytest.mark.parametrize(
    ("efforts", "chosen"), [(("none",), "none"), (("minimal",), "minimal"), (("low", "high"), "low"), (("high",), None)]
)
def test_a_hosted_model_gets_the_least_effort_that_it_knows_and_no_foreign_parameter(
    efforts: tuple[str, ...], chosen: str | None
) -> None:
    with serving(default=hosted("reasoning_effort", efforts=efforts)) as endpoint:
        captioner = make(endpoint, thinking="off", concurrency=1)
        answers = answers_of(captioner, [ask(0), ask(1)])
        assert [answer.text for answer in answers] == [GOOD, GOOD]
        last = endpoint.bodies[-1]
        assert last.get("reasoning_effort") == chosen and "think" not in last and "chat_template_kwargs" not in last
        assert endpoint.asked[picture(1)] == 1  # what was refused is remembered


# ---- further parameters


def test_further_parameters_are_sent_as_they_are() -> None:
    extra = {"top_k": 20, "temperature": 0.7, "chat_template_kwargs": {"lang": "en"}, "mm_processor_kwargs": {"a": [1]}}
    with serving() as endpoint:
        captioner = make(endpoint, extra=extra, thinking="off")
        answers_of(captioner, [ask()])
        (body,) = endpoint.bodies
    assert body["top_k"] == 20 and body["temperature"] == 0.7 and body["mm_processor_kwargs"] == {"a": [1]}
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "lang": "en"}
    assert captioner.identity()["extra"] == extra


def test_a_refused_parameter_that_was_asked_for_is_not_dropped() -> None:
    answer = answer_to(fails(400, "temperature must be 1"), extra={"temperature": 0.7}, schema="none")
    assert answer.failure == "refused: HTTP 400, temperature must be 1"


def test_further_parameters_may_be_json_and_may_not_replace_what_the_captioner_sends() -> None:
    assert server.make({"extra": '{"top_k": 20}'}).options.extra == {"top_k": 20}
    for extra, told in (({"stream": True}, "can't set stream"), ("top_k=20", "must be a table such as"), ([1], "dict")):
        with pytest.raises(BadInput, match=f"extra: .*{told}"):
            server.make({"extra": extra})
