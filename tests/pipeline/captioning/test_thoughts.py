"""What a model thinks aloud is cut off, in whatever way it marks its thoughts."""

import json

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.captioning import replies, thoughts
from pipeline.errors import BadReply

STORYBOARD = task.load("storyboard")
FREE = "[MOVIE-SHOTS] a calm day, [SCENE-1] a red box stands, [SCENE-2] a blue box lies, [SCENE-3] a green box hangs."
TEXTS = ("a red box stands on a table", "a blue box lies on a chair", "a green box hangs from a shelf")
GOOD = json.dumps({"summary": "a calm day", "panels": [{"text": text} for text in TEXTS]})
DRAFT = GOOD.replace("box", "draft")
ALOUD = f"The caption needs [MOVIE-SHOTS] and then [SCENE-1], [SCENE-2] and [SCENE-3]. First try: {DRAFT} No, boxes."

THINKING = {
    "tags": "<think>{}</think>\n",
    "opened by the chat template": "{}</think>\n",
    "thinking": "<thinking>{}</thinking>",
    "reasoning": "<reasoning>\n{}\n</reasoning>\n\n",
    "capitals": "<THINK>{}</THINK>",
    "attributes": '<thought kind="plan">{}</thought>',
    "twice": "<think>{0}</think><think>{0}</think>",
    "nested": "<think>{0}<think>{0}</think>{0}</think>",
    "brackets": "[THINK]{}[/THINK]",
    "triangles": "◁think▷{}◁/think▷",
    "seed": "<seed:think>{}</seed:think>",
    "tokens": "<|begin_of_thought|>{}<|end_of_thought|>",
    "Cohere's tokens": "<|START_THINKING|>{}<|END_THINKING|>",
    "harmony": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "harmony with a form": "<|channel|>analysis<|message|>{}<|end|><|channel|>final <|constrain|>json<|message|>",
    "harmony without its tokens": "analysis{}assistantfinal",
    "a channel": "<|channel>thought\n{}<channel|>",
    "a family's own": "<longcat_think>{}</longcat_think>",
    "a field's name": "<reasoning_content>{}</reasoning_content>",
    "a monologue": "<inner_monologue>{}</inner_monologue>",
    "a reason": "<rationale>{}</rationale>",
    "unused tokens": "<unused94>thought\n{}<unused95>",
    "full-width tokens": "<｜begin▁of▁thinking｜>{}<｜end▁of▁thinking｜>",  # noqa: RUF001
    "details": '<details type="reasoning" done="true"><summary>Thought for 3 s</summary>{}</details>\n',
}


@pytest.mark.parametrize("kind", THINKING)
@pytest.mark.parametrize(("answer", "text"), [(GOOD, TEXTS[0]), (FREE, "a red box stands")], ids=["JSON", "free text"])
def test_the_answer_is_what_stands_behind_the_thoughts(kind: str, answer: str, text: str) -> None:
    caption = replies.read(THINKING[kind].format(ALOUD) + answer, STORYBOARD)
    assert caption.panels[0] == text and caption.names == () and caption.problems == ()
    assert "draft" not in caption.text


@pytest.mark.parametrize("answer", [f"<think>{ALOUD}", f"{ALOUD}</think>", "<think></think>", f"analysis{ALOUD}"])
def test_a_draft_among_thoughts_is_never_taken_for_the_answer(answer: str) -> None:
    with pytest.raises(BadReply, match="only thoughts"):
        replies.read(answer, STORYBOARD)


@pytest.mark.parametrize(
    "frame",
    [
        "<answer>{}</answer>",
        "<|begin_of_box|>{}<|end_of_box|>",
        "{}<|im_end|>",
        "<s>{}</s>",
        "<think>hm</think>\n<response>\n{}\n</response>\n",
        "I look at it.\n<output>{}</output> Is that all?",
        "<SUMMARY>I will describe it.</SUMMARY>\n<REASONING>hm</REASONING>\n<CONCLUSION>{}</CONCLUSION>",
        "{}</answer>",
        "<answer>{}",
    ],
)
def test_tags_and_tokens_around_an_answer_are_no_people(frame: str) -> None:
    caption = replies.read(frame.format(FREE), STORYBOARD)
    assert caption.text == FREE and caption.names == ()


@pytest.mark.parametrize("text", ["a sign says <think> aloud", "he wonders: </think> or not", "<reasoning>"])
def test_an_answer_that_is_json_as_a_whole_may_say_anything_in_its_texts(text: str) -> None:
    answer = json.dumps({"summary": text, "panels": []})
    assert thoughts.cut(answer) == answer


def test_text_without_thoughts_stays_as_it_is() -> None:
    text = f"  {FREE} <P1> thinks & reasons.\n"
    assert thoughts.cut(text) == text


PIECES = [
    "<think>",
    "</think>",
    "[THINK]",
    "<|channel|>analysis",
    "<|channel|>final<|message|>",
    "{",
    "}",
    "x",
    "<answer>",
    "</answer>",
    "<output>",
]


@fuzzed
@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_order_of_marks_leaves_no_thought_and_cutting_twice_changes_nothing(text: str) -> None:
    left = thoughts.cut(text)
    assert len(left) <= len(text) and thoughts.cut(left) == left


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<think", "<|", "<|channel|>final", "analysis", "{", "◁", "<answer>", "<a-"]
)
def test_a_long_run_of_marks_is_read_in_linear_time(piece: str) -> None:
    assert len(thoughts.cut(piece * 100_000)) <= 100_000 * len(piece)
