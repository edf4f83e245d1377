"""The structured answer: a model that abstains, and names that contradict one another."""

from __future__ import annotations

import json

import pytest

from pipeline import replies, task
from pipeline.errors import Abstained, BadReply

STORYBOARD = task.load("storyboard")
TEXTS = ["<P1> reads a letter", "rain falls on a street", "<P1> runs to the door"]


def reply(*listed: list[str], names: list[str] | None = None, **more: object) -> str:
    people = listed or ([],) * 3
    panels = [{"text": text, "names": names} for text, names in zip(TEXTS, people, strict=True)]
    return json.dumps({"summary": "a day of <P1>", "panels": panels} | ({"names": names} if names else {}) | more)


# ---- abstaining


@pytest.mark.parametrize(
    "answer",
    [
        '{"unrelated": "a kitchen, a desert\\nand a chart"}',
        '```json\n{"unrelated": "a kitchen, a desert and a chart"}\n```',
        reply(unrelated="a kitchen, a desert and a chart"),
        '{"summary": "", "names": [], "panels": [], "unrelated": "a kitchen, a desert and a chart"}',
    ],
    ids=["alone", "fenced", "beside a whole reply", "beside an empty reply"],
)
def test_a_model_may_abstain_with_its_reason(answer: str):
    with pytest.raises(Abstained, match=r"^a kitchen, a desert and a chart$"):
        replies.read(answer, STORYBOARD)


@pytest.mark.parametrize("reason", ["", "None", "no.", "n/a", "..."])
def test_no_reason_is_no_abstention(reason: str):
    assert replies.read(reply(unrelated=reason), STORYBOARD).problems == ()


def test_an_abstention_that_was_only_thought_of_does_not_count():
    thought = '<think>They could be {"unrelated": "two films"}, but the coat is the same.</think>'
    assert replies.read(thought + reply(), STORYBOARD).problems == ()


def test_a_long_reason_is_cut_and_half_a_character_does_no_harm():
    with pytest.raises(Abstained) as caught:
        replies.read(json.dumps({"unrelated": "half a \ud83d " + "word " * 100}), STORYBOARD)
    assert str(caught.value).startswith("half a ? word word")
    assert len(str(caught.value)) == replies.MOST_REASON


def test_only_a_text_is_a_reason():
    with pytest.raises(BadReply, match="summary: Field required"):
        replies.read('{"unrelated": true}', STORYBOARD)


# ---- the form of the answer


def test_panels_come_in_the_order_of_their_numbers():
    panels = [{"image": number, "text": TEXTS[number - 1]} for number in (3, 1, 2)]
    assert replies.read(json.dumps({"summary": "a day", "panels": panels}), STORYBOARD).panels == tuple(TEXTS)


@pytest.mark.parametrize("numbers", [(1, 2, 2), (0, 1, 2), (1, 2, 4)])
def test_numbers_that_are_not_each_panel_s_once_are_a_fault(numbers: tuple[int, ...]):
    panels = [{"image": number, "text": text} for number, text in zip(numbers, TEXTS, strict=True)]
    with pytest.raises(BadReply, match='"image" numbers of 3 panels are not 1 to 3'):
        replies.read(json.dumps({"summary": "a day", "panels": panels}), STORYBOARD)


def test_a_free_text_on_several_lines_is_told_of_and_read_as_one():
    free = "[MOVIE-SHOTS] a day of <P1>,\n" + "\n\n".join(
        f"[SCENE-{number}] {text}," for number, text in enumerate(TEXTS, start=1)
    )
    caption = replies.read(free + "\n", STORYBOARD)
    assert caption.problems == ("the text is broken into 4 lines instead of standing on one",)
    assert "\n" not in caption.text and caption.panels == tuple(TEXTS)


# ---- names


def test_names_that_agree_are_no_fault():
    assert replies.read(reply(["P1"], [], ["<P1>", "P1"], names=["P1"]), STORYBOARD).problems == ()


def test_the_list_of_all_names_may_be_left_out():
    assert replies.read(reply(["P1"], [], ["P1"]), STORYBOARD).problems == ()


def test_a_panel_may_not_list_whom_the_list_of_all_names_or_its_own_text_lacks():
    caption = replies.read(reply(["P1"], ["P2"], ["P1"], names=["P1"]), STORYBOARD)
    assert caption.problems == (
        '"names" of [SCENE-2] has <P2>, whom the first "names" lacks',
        'the text of [SCENE-2] leaves out <P2>, who is in its "names"',
    )


def test_half_a_character_in_a_name_becomes_a_question_mark():
    answer = json.dumps({"summary": "s", "names": ["Bo\ud83d"], "panels": [{"text": t, "names": []} for t in TEXTS]})
    assert replies.read(answer.replace("<P1> reads", "<Bo\\ud83d> reads"), STORYBOARD).names == ("Bo?", "P1")
