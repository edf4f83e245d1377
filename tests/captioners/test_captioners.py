"""Captioners: the contract of all, how answers are parsed, and the local one with the miniature model."""

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from endpoint import serving
from PIL import Image

import captioners
from miniature.draw import draw
from miniature.world import Scene, draw_scene
from pipeline import plugins, task
from pipeline.captioning import instructions, protocol, replies
from pipeline.captioning.protocol import Answer, Question, Turn
from pipeline.errors import BadInput, BadReply, MissingWeights
from pipeline.task import Task
from pipeline.text import budget

VLM = Path(__file__).parents[2] / "miniature" / "vlm"
OPTIONS: dict[str, dict[str, Any]] = {
    "local": {"model": str(VLM), "max_new_tokens": 96},
    "scripted": {"answers": ["one answer", "another answer"]},
}
"""Options that a captioner requires; one that is not listed needs none."""


@pytest.fixture(scope="module", autouse=True)
def endpoint() -> Iterator[None]:
    """An endpoint for the captioner `server`."""
    with serving() as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIONS, "server", {"url": endpoint.url})
        yield


STORYBOARD = task.load("storyboard")
NAMES = plugins.names(captioners)


def make(name: str, **more: Any) -> protocol.Captioner:
    made: protocol.Captioner = plugins.load(captioners, name).make(OPTIONS.get(name, {}) | more)
    return made


def answers_of(captioner: protocol.Captioner, questions: list[Question]) -> list[Answer]:
    """The answers in the order of the questions, one each."""
    came = dict(captioner.ask(questions))
    return [came[place] for place in range(len(questions))]


def picture(scene: Scene, width: int, height: int) -> Image.Image:
    return Image.fromarray(draw(scene, size=(width, height)))


def ask(seed: int, texts: tuple[str, ...] = ("a cat", "a dog", "a hat"), task: Task = STORYBOARD) -> Question:
    rng = Random(seed)
    panels = tuple(picture(draw_scene(rng), 192, 96) for _ in task.markers)
    return Question(panels, texts, task.markers, instructions.write(task))


# ---- the contract


@pytest.mark.parametrize("name", NAMES)
def test_a_question_gets_the_same_answer_alone_and_in_a_batch(name: str) -> None:
    captioner = make(name)
    questions = [ask(1), ask(2)]
    answers = answers_of(captioner, questions)
    assert [type(answer) for answer in answers] == [Answer, Answer]
    assert answers_of(captioner, questions) == answers
    assert answers_of(captioner, questions[1:]) == answers[1:]


@pytest.mark.parametrize("name", NAMES)
def test_an_identity_is_plain_stable_and_names_the_captioner(name: str) -> None:
    identity = make(name).identity()
    assert identity["captioner"] == name
    assert json.dumps(identity) == json.dumps(make(name).identity())


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_captioner_has_no_weights_and_answers_the_same(name: str) -> None:
    captioner = make(name)
    answers = answers_of(captioner, [ask(1)])
    pickled = pickle.dumps(captioner)
    assert len(pickled) < 10_000
    travelled = pickle.loads(pickled)
    assert travelled.identity() == captioner.identity()
    assert answers_of(travelled, [ask(1)]) == answers


def test_a_servers_key_is_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert b"sk-very-secret" not in pickle.dumps(make("server"))


@pytest.mark.parametrize("name", NAMES)
def test_a_captioner_states_its_batch_and_whether_its_texts_are_verbatim(name: str) -> None:
    captioner = make(name)
    assert captioner.batch >= 1 and captioner.verbatim is (name == "sidecar")


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_reported_with_the_known_ones(name: str) -> None:
    with pytest.raises(BadInput, match=rf"options of the captioner {name}: unknown key 'no_such' \(known: "):
        make(name, no_such=1)


# ---- texts that exist


def sidecar(*texts: str) -> str:
    return answers_of(make("sidecar"), [replace(ask(0), texts=texts)])[0].text


def test_a_sidecars_joint_caption_is_used_word_for_word_on_one_line() -> None:
    text = "[MOVIE-SHOTS] ünï “quotes” {braces}, [SCENE-1] a\n[SCENE-2] b: [SCENE-3] c"
    assert sidecar(text, text, text) == text.replace("\n", " ")


@pytest.mark.parametrize("text", ["[MOVIE-SHOTS] s, [SCENE-2] b, [SCENE-3] c", "[SCENE-3] c only"])
def test_a_damaged_joint_caption_is_left_unchanged(text: str) -> None:
    assert sidecar(text, text, text) == text


def test_the_panels_own_texts_are_combined() -> None:
    caption = replies.read(sidecar('a cat says "hi"', "two dogs", "a hat on a post"), STORYBOARD)
    assert caption.text == '[MOVIE-SHOTS] [SCENE-1] a cat says "hi", [SCENE-2] two dogs, [SCENE-3] a hat on a post.'


def test_a_shared_text_without_markers_goes_to_each_panel() -> None:
    assert replies.read(sidecar("a cat", "a cat", "a cat"), STORYBOARD).panels == ("a cat", "a cat", "a cat")


def test_without_texts_the_answer_is_empty() -> None:
    assert sidecar("", "", "") == ""


def test_a_panel_without_a_text_stays_empty() -> None:
    assert replies.read(sidecar("a cat", "", "a hat"), STORYBOARD).panels == ("a cat", "", "a hat")


# ---- fixed answers


def test_scripted_answers_repeat_in_turn_and_questions_are_recorded() -> None:
    captioner = make("scripted", answers=["a", "b"])
    first, second = ask(1), ask(2)
    back = replace(first, earlier=(Turn("a", ("too short",)),))
    assert [answer.text for answer in answers_of(captioner, [first, second, back, first])] == ["a", "b", "a", "a"]
    assert captioner.asked == [first, second, back, first]  # type: ignore[attr-defined]


def test_a_script_without_answers_is_refused() -> None:
    with pytest.raises(BadInput, match="answers: Tuple should have at least 1 item"):
        make("scripted", answers=[])


# ---- the instruction


@pytest.mark.parametrize("name", task.names())
def test_a_tasks_instruction_names_every_marker_and_asks_for_one_text_each(name: str) -> None:
    asked = task.load(name)
    text = instructions.write(asked)
    assert all(marker in text for marker in asked.markers)
    assert f"exactly {len(asked.markers)} entries" in text
    assert ("<P1>" in text) is asked.caption.people
    assert asked.opening in text


def test_the_instruction_lists_the_words_that_a_task_excludes() -> None:
    text = instructions.write(task.load("sparklers", ['caption.exclude=["sparkler", "glowing trail"]']))
    assert text.endswith("\nNever use these words: sparkler, glowing trail.")
    assert "Never use these words" not in instructions.write(task.load("sparklers"))


@pytest.mark.parametrize("people", [True, False])
def test_the_instruction_asks_for_names_and_looks_only_if_people_are_named(people: bool) -> None:
    text = instructions.write(task.load("storyboard", [f"caption.people={str(people).lower()}"]))
    assert ("<P1>" in text) is ('"name": "P1"' in text) is ('"looks"' in text) is people
    assert ('Name nobody; leave every "people" empty.' in text) is not people
    assert ('"people": [], "summary"' in text) is not people


@pytest.mark.parametrize("people", [True, False])
def test_the_example_in_the_instruction_can_be_parsed(people: bool) -> None:
    asked = task.load("storyboard", [f"caption.people={str(people).lower()}"])
    (example,) = (line for line in instructions.write(asked).splitlines() if line.startswith("Answer with one JSON"))
    form = example[example.index("{") : example.rindex("}") + 1].replace(", ...]", "]")
    reply = replies.JointReply.model_validate_json(form)
    assert [len(reply.panels), len(reply.people), len(reply.ties)] == [1, people, 1]


def test_instructions_for_all_looks_policies_differ_only_in_the_length_of_texts() -> None:
    asked = [task.load("storyboard", [f"caption.looks={looks}", "base=sd-3.5"]) for looks in ("once", "never")]
    once, never = (instructions.write(one).replace(f" {budget.words(one)} ", " # ") for one in asked)
    assert once == never


# ---- reading answers

PANELS = ["a man reads a letter", "rain falls on a street", "a dog waits at the door"]
REPLY = {"summary": "a day at home", "panels": [{"text": text} for text in PANELS]}
CAPTION = "[MOVIE-SHOTS] a day at home, " + ", ".join(
    f"[SCENE-{number}] {text}" for number, text in enumerate(PANELS, start=1)
)


def numbered(*numbers: int) -> str:
    panels = [{"image": number, "text": f"text number {number}"} for number in numbers]
    return json.dumps({"panels": panels, "summary": "a day"})


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(REPLY),
        json.dumps(REPLY, indent=2),
        f"```json\n{json.dumps(REPLY)}\n```",
        f"Sure! {{curly}} Here it is:\n```\n{json.dumps(REPLY)}\n```\nI hope that helps {{}}.",
        f'<think>The form is {{"text": "..."}} or {{"a": 1}}</think>{json.dumps(REPLY)}{json.dumps({"summary": "no"})}',
        json.dumps(REPLY | {"confidence": 0.9}),
        f"{CAPTION}.",
    ],
    ids=["plain", "indented", "fenced", "chatter", "thoughts", "more keys", "free text"],
)
def test_a_good_answer_is_parsed_whatever_surrounds_it(answer: str) -> None:
    caption = replies.read(answer, STORYBOARD)
    assert caption.text == f"{CAPTION}." and caption.problems == ()


def test_free_text_is_used_unchanged() -> None:
    text = "[MOVIE-SHOTS] A day; [SCENE-1]: a man reads [SCENE-2] rain {falls} on, [SCENE-3] a dog waits here"
    assert replies.read(text, STORYBOARD).text == text


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "neither"),
        ("I'm sorry, I can't help with that.", "neither"),
        ("[SCENE-1] a [SCENE-3] c", "neither"),
        (json.dumps(REPLY)[:-3], "neither the complete JSON"),
        (json.dumps(PANELS), "neither"),
        ('{"scene 1": "a cat"}', "neither"),
        ('{"summary": ' + "9" * 5000 + "}", "neither"),
        ('{"a":' * 9000, "neither"),
        (json.dumps({"summary": "s"}), "panels: Field required"),
        (json.dumps({"panels": PANELS}), "panels.0: Input should be a valid dictionary"),
        (json.dumps({"panels": PANELS}), "; summary: Field required"),
        (json.dumps(REPLY | {"panels": REPLY["panels"][:2]}), "3 panels, got 2 texts"),  # type: ignore[index]
        (json.dumps(REPLY | {"panels": [*REPLY["panels"], {"text": "more"}]}), "3 panels, got 4 texts"),
        (json.dumps(REPLY | {"summary": "as in [SCENE-2] it rains"}), "must not contain the marker"),
        (json.dumps(REPLY | {"people": "P1"}), "people: Input should be a valid list"),
        (numbered(1, 1, 3), 'the "image" numbers of the 3 panels are not 1 to 3, each once'),
        (json.dumps(REPLY) + json.dumps(REPLY | {"summary": "a night out"}), "several different JSON objects"),
        ("<think>The panels are dark.", "only thoughts"),
        (numbered(2, 3, 4), 'the "image" numbers of the 3 panels are not 1 to 3, each once'),
    ],
)
def test_the_fault_of_an_unreadable_answer_is_described_for_the_model(answer: str, fault: str) -> None:
    with pytest.raises(BadReply) as caught:
        replies.read(answer, STORYBOARD)
    assert fault in str(caught.value) and len(str(caught.value)) < 500


def test_panels_are_sorted_by_number_whatever_their_order_in_the_answer() -> None:
    assert replies.read(numbered(3, 1, 2), STORYBOARD).panels == ("text number 1", "text number 2", "text number 3")


def test_names_get_brackets_whether_or_not_the_answer_has_them() -> None:
    panels = [
        {"text": "<P1> reads a letter", "people": ["<P1>"]},
        {"text": "P2 and P1 dance on a street", "people": [{"name": "P1"}, {"name": " P2 "}]},
        {"text": "P11 and a dog wait here", "people": []},
    ]
    caption = replies.read(json.dumps({"summary": "a day of P1", "people": ["P1"], "panels": panels}), STORYBOARD)
    assert caption.names == ("P1", "P2")
    assert caption.summary == "a day of <P1>"
    assert caption.panels == ("<P1> reads a letter", "<P2> and <P1> dance on a street", "P11 and a dog wait here")


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert replies.read(json.dumps(REPLY | {"summary": "a half \ud83d day"}), STORYBOARD).summary == "a half ? day"


LARGE = {
    "braces": "{" * 2_000_000,
    "nested": '{"a":' * 400_000,
    "quotes": '{"' * 1_000_000,
    "half a reply": '{"summary": "s", "panels": [' + '{"text": "a b c"},' * 110_000,
    "a million numbers": '{"summary": "s", "panels": [1' + ",1" * 1_000_000 + "]}",
    "words": "word " * 400_000,
    "names": " ".join(f"<n{number}>" for number in range(200_000)),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("letters", [2_000_000, replies.LONGEST])
def test_two_megabytes_of_anything_are_refused_at_once(kind: str, letters: int) -> None:
    started = time.monotonic()
    with pytest.raises(BadReply) as caught:
        replies.read(LARGE[kind][:letters], STORYBOARD)
    assert time.monotonic() - started < 2 and len(str(caught.value)) < 500


# ---- the local captioner, with the miniature model


@pytest.fixture(scope="module")
def vlm() -> protocol.Captioner:
    return make("local")


GRIDS = [ask(3), ask(4), ask(5, ("", ""), task.load("couple-profile"))]


@pytest.fixture(scope="module")
def answers(vlm: protocol.Captioner) -> list[Answer]:
    return answers_of(vlm, GRIDS)


def test_the_miniature_answers_in_the_requested_format(answers: list[Answer]) -> None:
    for question, answer in zip(GRIDS, answers, strict=True):
        reply = replies.JointReply.model_validate_json(answer.text)
        assert len(reply.panels) == len(question.markers) and answer.finished and answer.tokens > 10


def test_a_model_that_is_being_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "iclora"):
        answers_of(make("local", max_new_tokens=32), GRIDS[:1])
    told = [one.getMessage() for one in caplog.records if one.name == "iclora"]
    assert told == [f"loading the captioner {VLM}", f"waiting for the first captions of {VLM}"]


def test_a_batch_of_different_sizes_gives_the_same_answers_as_one_by_one(
    vlm: protocol.Captioner, answers: list[Answer]
) -> None:
    assert [answers_of(vlm, [question])[0] for question in GRIDS] == answers


def test_an_answer_cut_off_by_the_limit_is_marked_unfinished(answers: list[Answer]) -> None:
    short = make("local")
    short.options = short.options.model_copy(update={"max_new_tokens": 16})  # type: ignore[attr-defined]
    (cut,) = answers_of(short, GRIDS[:1])
    assert (cut.tokens, cut.finished) == (32, False)  # the limit was doubled once
    assert answers[0].text.startswith(cut.text) and cut.text != answers[0].text


def test_faults_are_sent_back_as_a_conversation(vlm: protocol.Captioner, answers: list[Answer]) -> None:
    question = replace(GRIDS[0], earlier=(Turn(answers[0].text, ("the text of [SCENE-1] is thin",)),))
    roles = [turn["role"] for turn in protocol.conversation(question)]
    assert roles == ["user", "assistant", "user"]
    assert "the text of [SCENE-1] is thin" in str(protocol.conversation(question)[-1])
    assert replies.JointReply.model_validate_json(answers_of(vlm, [question])[0].text)


QUIET = """
import sys
sys.path[:0] = sys.argv[1:]
import test_captioners
print(repr(test_captioners.answers_of(test_captioners.make("local"), test_captioners.GRIDS[:1])))
"""


@pytest.mark.slow
def test_another_process_answers_the_same_and_prints_nothing_else(answers: list[Answer]) -> None:
    words = [sys.executable, "-W", "error", "-c", QUIET, str(Path(__file__).parent), str(Path(__file__).parents[1])]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == (f"{answers[:1]!r}\n", "")


def test_other_weights_or_limits_change_the_identity(tmp_path: Path) -> None:
    for file in VLM.iterdir():
        (tmp_path / file.name).symlink_to(file)
    copy = make("local", model=str(tmp_path)).identity()
    assert copy["revision"] == make("local").identity()["revision"]
    template = tmp_path / "chat_template.jinja"
    changed = template.read_text() + " "
    template.unlink()
    template.write_text(changed)
    assert make("local", model=str(tmp_path)).identity()["revision"] != copy["revision"]
    assert make("local", max_new_tokens=100).identity() != make("local").identity()


@pytest.mark.parametrize("model", ["nobody/nothing", "no such/name/at all"])
def test_a_missing_model_is_reported_in_one_sentence_with_three_remedies(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(VLM.parent.parent)
    with pytest.raises(MissingWeights, match=rf"'{model}'.*hf download.*captioner.model=FOLDER.*--captioner sidecar"):
        make("local", model=model).identity()


def test_a_folder_without_a_model_is_reported_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(VLM.parent.parent)
    with pytest.raises(MissingWeights, match=r"the folder captioners lacks config\.json\); .*captioner.model=FOLDER"):
        make("local", model="captioners").identity()


def test_broken_weights_are_reported_at_the_first_question(tmp_path: Path) -> None:
    for file in VLM.iterdir():
        (tmp_path / file.name).write_bytes(
            file.read_bytes()[:1000] if file.suffix == ".safetensors" else file.read_bytes()
        )
    with pytest.raises(MissingWeights, match="can't be fetched"):
        answers_of(make("local", model=str(tmp_path)), GRIDS[:1])


def test_asking_restores_the_number_of_threads(vlm: protocol.Captioner) -> None:
    import torch

    threads = torch.get_num_threads()
    answers_of(vlm, GRIDS[:1])
    assert torch.get_num_threads() == threads


def test_panels_reach_the_model_at_full_size(vlm: protocol.Captioner) -> None:
    """A panel of 1024 x 512 is read like the same panel drawn small, not like a shrunken grid."""
    rng = Random(3)
    scenes = [draw_scene(rng) for _ in range(3)]
    large = replace(GRIDS[0], panels=tuple(picture(scene, 1024, 512) for scene in scenes))
    reply = replies.JointReply.model_validate_json(answers_of(vlm, [large])[0].text)
    assert len(reply.panels) == 3
