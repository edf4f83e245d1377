"""JSON that is unambiguous is read at once, though it is not strict; what could be meant in two ways is refused."""

import json
from typing import Any

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.captioning import objects, replies
from pipeline.errors import BadReply
from pipeline.records import Caption, Tie

STORYBOARD = task.load("storyboard")
TEXTS = ("a red box stands on a table", "a blue box lies on a chair", "a green box hangs from a shelf")
GOOD: dict[str, Any] = {
    "summary": "a calm day with boxes",
    "panels": [{"image": number, "text": text} for number, text in enumerate(TEXTS, start=1)],
    "unrelated": "",
}
J = json.dumps


def numbered(number: Any) -> dict[str, Any]:
    return GOOD | {"panels": [panel | {"image": number(panel["image"])} for panel in GOOD["panels"]]}


UNSTRICT = {
    "a line break in a text": J(GOOD).replace("stands on", "stands\n  on"),
    "a tab in a text": J(GOOD).replace("stands on", "stands\ton"),
    "commas before brackets": J(GOOD).replace("}]", "},]")[:-1] + ", }",
    "a Python dict": str(GOOD),
    "a Python dict with constants": str(GOOD | {"unrelated": None, "sure": True}),
    "numbers from 0": J(numbered(lambda number: number - 1)),
    "numbers as text": J(numbered(str)),
    "numbers with a word": J(numbered(lambda number: f"Image {number}")),
    "markers for numbers": J(numbered(lambda number: f"[SCENE-{number}]")),
    "null for lists": J(GOOD | {"people": None, "ties": None, "strangers": None, "names": None, "unrelated": None}),
    "null in lists": J(GOOD | {"people": [None], "ties": [None]}),
    "an outer key": J({"joint_caption": GOOD}),
    "two outer keys": J({"id": 7, "result": {"caption": GOOD}}),
    "a list": J([GOOD]),
    "a list in a key": J({"captions": [GOOD]}),
    "a tool call": f"<tool_call>{J({'name': 'joint_caption', 'arguments': GOOD})}</tool_call>",
    "a string": J(J(GOOD)),
    "an indented string": J(J(GOOD, indent=2)),
    "a string in a key": J({"response": J(GOOD)}),
    "twice the same": f"{J(GOOD)}\n{J(GOOD, indent=1)}",
    "after a half one": f"{J(GOOD)[:60]}\n\nAgain:\n{J(GOOD)}",
}


@pytest.mark.parametrize("kind", UNSTRICT)
def test_unambiguous_json_is_read_at_the_first_attempt(kind: str) -> None:
    caption = replies.read(UNSTRICT[kind], STORYBOARD)
    assert caption.panels == TEXTS and caption.summary == "a calm day with boxes" and caption.problems == ()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (J(GOOD).replace("a red box", r"a child\'s red box"), "a child's red box stands on a table"),
        (str(GOOD).replace("a red box", r"a child\'s \"red\" box"), 'a child\'s "red" box stands on a table'),
        (J(GOOD).replace("a red box", r"a \[red\] box \x26 a bag"), "a [red] box & a bag stands on a table"),
        (J(GOOD).replace("a red box", r"a red\_box"), "a red_box stands on a table"),
        (str(GOOD).replace("'a red box stands on a table'", '"a child\'s red box"'), "a child's red box"),
    ],
)
def test_escapes_that_json_lacks_stand_for_their_letter(answer: str, text: str) -> None:
    assert replies.read(answer, STORYBOARD).panels[0] == text


def test_ties_and_strangers_are_numbered_as_the_panels_are() -> None:
    given = numbered(lambda number: number - 1) | {
        "ties": [{"what": "a table", "panels": [0, "image 2"]}],
        "strangers": [1],
    }
    parts = replies.read(J(given), STORYBOARD).parts
    assert parts and parts.ties == (Tie("a table", (0, 2)),) and parts.strangers == (1,)


@pytest.mark.parametrize(
    "answer",
    [
        J(GOOD)[:-20],
        J(GOOD) + J(GOOD | {"summary": "another day"}),
        J({"first": GOOD, "second": GOOD | {"summary": "another day"}}),
        J(GOOD).replace("a red box", 'a "red" box'),
        str(GOOD).replace("a red box", "a child's red box"),
        J(numbered(lambda number: number * 10)),
        J(numbered(lambda number: f"{number} of 3")),
        J(numbered(lambda number: min(number, 2))),
        J(GOOD | {"panels": [*GOOD["panels"][:2], {"text": TEXTS[2]}]}),
        J(GOOD | {"panels": [*GOOD["panels"][:2], None]}),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(answer: str) -> None:
    with pytest.raises(BadReply):
        replies.read(answer, STORYBOARD)


LETTERS = st.text(st.sampled_from("{}[]\"'\\,: \n\tax1NoneTrue"), max_size=60)


@fuzzed
@given(LETTERS)
def test_anything_in_place_of_json_is_read_or_refused(text: str) -> None:
    list(objects.find(text, replies.KEYS))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*replies.KEYS, "people", "x"]), inner),
    max_leaves=20,
)


@fuzzed
@given(PLAIN)
def test_an_answer_of_any_shape_is_a_caption_or_a_fault(shape: Any) -> None:
    for answer in (J(shape), repr(shape), J(GOOD | {"panels": shape}), J(GOOD | {"people": shape, "ties": shape})):
        try:
            assert isinstance(replies.read(answer, STORYBOARD), Caption)
        except BadReply as fault:
            assert len(str(fault)) < 1500


@pytest.mark.parametrize("depth", [*range(80, 1000, 60), 200_000])
@pytest.mark.parametrize(
    "form", ['{{"panels": {0}}}', '{{"panels": [], "summary": {0}, "x": {0}}} {{"summary": {0}}}', "{0}"]
)
def test_json_of_any_depth_is_refused(depth: int, form: str) -> None:
    with pytest.raises(BadReply):
        replies.read(form.format("[" * depth + "]" * depth)[: replies.LONGEST], STORYBOARD)
    with pytest.raises(BadReply):
        replies.read(form.format('{"a":' * depth + "1" + "}" * depth)[: replies.LONGEST], STORYBOARD)
