"""The structured answer: a model that abstains, the forms that answers take, and people who contradict it."""

from __future__ import annotations

import json

import pytest

from pipeline import task
from pipeline.captioning import replies
from pipeline.errors import Abstained, BadReply
from pipeline.records import Appearance, Parts, Person, Tie
from pipeline.task import Task
from pipeline.text.markers import CONTROL

STORYBOARD = task.load("storyboard")
TEXTS = ["<P1> reads a letter", "rain falls on a street", "<P1> runs to the door"]
LOOKS = "a tall man in a grey coat"
MAN = {"name": "P1", "looks": LOOKS}


def reply(*seen: list[object], **more: object) -> str:
    panels = [{"people": people, "text": text} for people, text in zip(seen or ([],) * 3, TEXTS, strict=True)]
    return json.dumps({"panels": panels, "people": [MAN], "summary": "a day of <P1>"} | more)


def parts_of(answer: str, own: Task = STORYBOARD) -> Parts:
    parts = replies.read(answer, own).parts
    assert parts
    return parts


# ---- abstaining


@pytest.mark.parametrize(
    "answer",
    [
        '{"unrelated": "a kitchen, a desert\\nand a chart"}',
        '```json\n{"unrelated": "a kitchen, a desert and a chart"}\n```',
        '{"panels": [], "people": [], "summary": "", "unrelated": "a kitchen, a desert and a chart"}',
        '{"panels": ["a kitchen", 7], "unrelated": "a kitchen, a desert and a chart"}',
    ],
    ids=["alone", "fenced", "beside an empty reply", "beside panels that can't be read"],
)
def test_a_model_may_abstain_and_give_a_reason(answer: str):
    with pytest.raises(Abstained, match=r"^a kitchen, a desert and a chart$"):
        replies.read(answer, STORYBOARD)


def test_a_reason_beside_described_panels_is_kept_with_their_caption():
    caption = replies.read(reply(unrelated="a kitchen,\na desert and a chart"), STORYBOARD)
    assert caption.parts and caption.parts.unrelated == "a kitchen, a desert and a chart"
    assert caption.text == replies.read(reply(), STORYBOARD).text and caption.problems == ()


def test_a_reason_beside_too_few_panels_is_a_fault_and_not_an_abstention():
    few = json.dumps({"panels": [{"text": TEXTS[0]}], "summary": "a day", "unrelated": "a kitchen and a desert"})
    with pytest.raises(BadReply, match="3 panels, got 1 texts"):
        replies.read(few, STORYBOARD)


@pytest.mark.parametrize("reason", ["", "None", "no.", "n/a", "..."])
def test_no_reason_is_no_abstention(reason: str):
    caption = replies.read(reply(unrelated=reason), STORYBOARD)
    assert caption.problems == () and caption.parts and caption.parts.unrelated == ""


def test_an_abstention_inside_the_models_thoughts_does_not_count():
    thought = '<think>They could be {"unrelated": "two films"}, but the coat is the same.</think>'
    assert replies.read(thought + reply(), STORYBOARD).problems == ()


def test_a_long_reason_is_truncated_and_half_a_character_does_no_harm():
    with pytest.raises(Abstained) as caught:
        replies.read(json.dumps({"unrelated": "half a \ud83d " + "word " * 100}), STORYBOARD)
    assert str(caught.value).startswith("half a ? word word")
    assert len(str(caught.value)) == replies.MOST_REASON


def test_a_reason_must_be_a_text():
    with pytest.raises(BadReply, match="summary: Field required"):
        replies.read('{"unrelated": true}', STORYBOARD)


# ---- the form of the answer


def test_panels_are_sorted_by_their_numbers():
    panels = [{"image": number, "text": TEXTS[number - 1]} for number in (3, 1, 2)]
    assert replies.read(json.dumps({"summary": "a day", "panels": panels}), STORYBOARD).panels == tuple(TEXTS)


@pytest.mark.parametrize("numbers", [(1, 2, 2), (0, 1, 1), (1, 2, 4)])
def test_every_panel_must_be_numbered_exactly_once(numbers: tuple[int, ...]):
    panels = [{"image": number, "text": text} for number, text in zip(numbers, TEXTS, strict=True)]
    with pytest.raises(BadReply, match='"image" numbers of the 3 panels are not 1 to 3'):
        replies.read(json.dumps({"summary": "a day", "panels": panels}), STORYBOARD)


def test_a_free_text_on_several_lines_is_reported_and_read_as_one_line():
    free = "[MOVIE-SHOTS] a day of <P1>,\n" + "\n\n".join(
        f"[SCENE-{number}] {text}," for number, text in enumerate(TEXTS, start=1)
    )
    caption = replies.read(free + "\n", STORYBOARD)
    assert caption.problems == ("the text is spread over 4 lines instead of one",)
    assert "\n" not in caption.text and caption.panels == tuple(TEXTS)


# ---- names


def test_consistent_people_are_no_fault():
    assert replies.read(reply([MAN], [], [MAN | {"name": "<P1>"}, MAN]), STORYBOARD).problems == ()


def test_the_list_of_all_people_may_be_omitted():
    assert replies.read(reply([MAN], [], [MAN], people=[]), STORYBOARD).problems == ()


def test_a_panel_may_list_only_people_who_are_in_its_text_and_in_the_list_of_all_people():
    caption = replies.read(reply(["P1"], [{"name": "P2", "looks": LOOKS}], ["P1"]), STORYBOARD)
    assert caption.problems[:2] == (
        '"people" of [SCENE-2] has <P2>, who is missing from the list of all "people"',
        'the text of [SCENE-2] does not mention <P2>, who is in its "people"',
    )
    assert not any("<P1>" in problem for problem in caption.problems)


def test_half_a_character_in_a_name_becomes_a_question_mark():
    answer = json.dumps({"summary": "s", "people": ["Bo\ud83d"], "panels": [{"text": text} for text in TEXTS]})
    assert replies.read(answer.replace("<P1> reads", "<Bo\\ud83d> reads"), STORYBOARD).names == ("Bo?", "P1")


@pytest.mark.parametrize("odd", ["\x00", "\x1b[31m", "\x7f", "\ufffd", "\u202e"])
def test_characters_that_stand_for_lost_letters_or_steer_a_terminal_are_a_fault_and_are_kept_nowhere(odd: str):
    texts = [TEXTS[0], f"rain {odd}falls on a street", TEXTS[2]]
    answer = json.dumps({"summary": "a day", "people": [MAN], "panels": [{"text": text} for text in texts]})
    caption = replies.read(answer, STORYBOARD)
    assert not CONTROL.search(caption.text)
    assert any("letters were lost" in problem for problem in caption.problems)


def test_markdown_around_a_marker_is_a_fault():
    text = "[MOVIE-SHOTS] a calm day, **[SCENE-1]** a red box, **[SCENE-2]** a lamp, **[SCENE-3]** a bed."
    assert "the caption has the Markdown sign '**'" in replies.read(text, STORYBOARD).problems


# ---- the answer as data


def test_an_answer_becomes_parts_whose_panels_are_counted_from_zero():
    seen = {"looks": "a tall man in a wet grey coat", "name": "P1"}
    answer = reply([MAN], [], [seen], ties=[{"what": "<P1>", "panels": [1, 3]}], strangers=[2])
    parts = parts_of(answer)
    assert parts.people == (Person("P1", LOOKS),)
    assert [panel.text for panel in parts.panels] == TEXTS
    assert [panel.people for panel in parts.panels] == [
        (Appearance("P1", LOOKS),), (), (Appearance("P1", seen["looks"]),)
    ]  # fmt: skip
    assert parts.summary == "a day of <P1>"
    assert (parts.ties, parts.strangers, parts.unrelated) == ((Tie("<P1>", (0, 2)),), (1,), "")


def test_a_free_text_has_no_parts():
    free = ", ".join(f"[SCENE-{number}] {text}" for number, text in enumerate(TEXTS, start=1))
    assert replies.read(f"[MOVIE-SHOTS] a day, {free}.", STORYBOARD).parts is None


def test_the_text_of_an_answer_states_looks_by_the_policy_of_the_task():
    never, each = (task.load("storyboard", [f"caption.looks={looks}"]) for looks in ("never", "each"))
    assert replies.read(reply(), STORYBOARD).summary == f"a day of <P1>, {LOOKS}"
    assert replies.read(reply(), never).panels == tuple(TEXTS)
    assert replies.read(reply(), each).panels[2] == f"<P1>, {LOOKS}, runs to the door"


def test_panels_given_in_another_order_keep_their_people():
    panels = [
        {"image": number, "text": TEXTS[number - 1], "people": [MAN] if number != 2 else []} for number in (2, 3, 1)
    ]
    parts = parts_of(json.dumps({"panels": panels, "people": [MAN], "summary": "a day"}))
    assert [(panel.text, len(panel.people)) for panel in parts.panels] == list(zip(TEXTS, (1, 0, 1), strict=True))


def test_people_may_be_given_as_bare_names():
    parts = parts_of(reply(["P1"], [], ["<P1>"], people=["<P1>", "P2"]))
    assert parts.people == (Person("P1", ""),)  # P2 appears nowhere
    assert [panel.people for panel in parts.panels] == [(Appearance("P1"),), (), (Appearance("P1"),)]


def test_a_person_whom_the_list_of_all_people_does_not_describe_looks_as_first_seen():
    coat, gown = "a woman in a coat", "a woman in a gown"
    answer = reply(["P1"], [{"name": "P2", "looks": "a dog"}], [{"name": "P1", "looks": coat}], people=["P1"])
    assert parts_of(answer).people == (Person("P1", coat), Person("P2", "a dog"))
    answer = reply([{"name": "P1", "looks": coat}], [], [{"name": "P1", "looks": gown}], people=[])
    assert parts_of(answer).people == (Person("P1", coat),)


def test_a_person_named_only_in_a_text_has_no_looks():
    assert parts_of(reply(people=[])).people == (Person("P1", ""),)


def test_people_are_in_order_of_first_appearance_whatever_the_order_of_their_list():
    texts = ["<P1> reads", "<P2>'s umbrella and <P1>'s letter", "rain falls"]
    people = [{"name": name, "looks": looks} for name, looks in (("P2", "a small girl"), ("P1", LOOKS))]
    answer = json.dumps({"panels": [{"text": text} for text in texts], "people": people, "summary": "a day"})
    assert [person.name for person in parts_of(answer).people] == ["P1", "P2"]


def test_the_variable_looks_of_a_person_are_kept_and_stated_where_they_show():
    coat, gown = "a tall woman in a coat", "a tall woman in a gown"
    people = [{"name": "P1", "looks": "a tall woman", "changes": " her clothes. "}]
    seen = [[{"looks": looks, "name": "P1"}] if looks else [] for looks in (coat, "", gown)]
    caption = replies.read(reply(*seen, people=people, summary="a day"), STORYBOARD)
    assert caption.parts and caption.parts.people == (Person("P1", "a tall woman", "her clothes"),)
    assert caption.panels[::2] == (f"<P1>, {coat}, reads a letter", f"<P1>, {gown}, runs to the door")
    assert caption.problems == ()


@pytest.mark.parametrize(
    ("numbers", "panels"),
    [([1, 3], (0, 2)), ([3, 1, 3], (0, 2)), ([0, 1, 2, 4, -1, 99], (0, 1)), ([1], None), ([3, 3], None), ([], None),
     ([2, 4], None)],
)  # fmt: skip
def test_a_tie_needs_two_images_that_exist(numbers: list[int], panels: tuple[int, ...] | None):
    ties = parts_of(reply(ties=[{"what": "a grey street,", "panels": numbers}])).ties
    assert ties == ((Tie("a grey street", panels),) if panels else ())


def test_a_tie_without_a_reason_is_ignored():
    assert parts_of(reply(ties=[{"what": " . ", "panels": [1, 2]}])).ties == ()


def test_strangers_are_existing_images_listed_once_and_in_order():
    assert parts_of(reply(strangers=[3, 0, 2, 2, 4, -1])).strangers == (1, 2)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"people": "P1"}, "people: Input should be a valid list"),
        ({"people": [7]}, "people.0: Input should be a valid dictionary"),
        ({"people": [{"looks": "a man"}]}, "people.0.name: Field required"),
        ({"ties": [{"what": "a street"}]}, "ties.0.panels: Field required"),
        ({"strangers": ["the second"]}, "strangers.0: Input should be a valid integer"),
    ],
)
def test_data_of_another_form_is_explained_to_the_model_in_words(more: dict[str, object], fault: str):
    with pytest.raises(BadReply) as caught:
        replies.read(reply(**more), STORYBOARD)
    assert fault in str(caught.value)


def test_looks_that_an_answer_repeats_in_its_texts_are_stated_once():
    answer = json.loads(reply([MAN], [], [MAN]))
    for panel in answer["panels"]:
        panel["text"] = panel["text"].replace("<P1>", f"P1, {LOOKS},")
    answer["summary"] = f"a day of <P1>, {LOOKS}"
    caption = replies.read(json.dumps(answer), STORYBOARD)
    assert caption.text.count(LOOKS) == 1 and caption.problems == ()
    assert caption.parts and caption.parts.summary == "a day of <P1>"


def test_looks_are_one_line_without_brackets_and_without_punctuation_at_the_ends():
    people = [{"name": "P1", "looks": " a tall\nman, [see above] with <P2>'s hat. "}]
    assert parts_of(reply(people=people)).people[0].looks == "a tall man, see above with P2's hat"


def test_a_name_without_looks_is_a_fault_that_is_sent_back_to_the_model():
    assert replies.read(reply(people=["P1"]), STORYBOARD).problems == (
        "<P1> is named, but nothing says what they look like",
    )


def test_an_image_in_an_answer_lists_looks_before_names_and_before_anything_that_depends_on_them():
    schema = replies.JointReply.model_json_schema()
    assert list(schema["properties"]) == ["panels", "people", "summary", "ties", "strangers", "unrelated"]
    assert list(schema["$defs"]["PanelReply"]["properties"]) == ["image", "people", "text"]
    assert list(schema["$defs"]["SeenReply"]["properties"]) == ["looks", "name"]
