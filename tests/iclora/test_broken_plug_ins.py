"""A plug-in that breaks its contract ends a run with one sentence that names it and says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from plain import painted
from test_contract_checks import CAPTIONER, GOOD, ONES, SCORER, STRATEGY, mine

from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.captioning.answers import Answers
from pipeline.captioning.protocol import Answer, Question
from pipeline.consistency.similarity import Encoder
from pipeline.errors import BadInput
from pipeline.grouping.explain import reject
from pipeline.records import Caption, Position, Record
from pipeline.stages import group

Typed = Callable[..., tuple[int, str, str]]
SMALL = ("--set", "layout.panel_width=128", "--set", "layout.panel_height=64", "--set", "group.floor=0.0")


@pytest.fixture
def pictures(tmp_path: Path, draw: Callable[..., Image.Image]) -> str:
    """Six pictures in one folder, which nothing ties together."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        draw(number, (320, 160)).save(tmp_path / "in" / f"IMG_{number:04d}.png")
    return "in"


@pytest.mark.parametrize(("kind", "shown"), [("", "None"), (', "kind": "blip"', "'blip'")])
def test_a_scorer_of_no_known_kind_is_refused_before_any_work(
    tmp_path: Path, pictures: str, iclora: Typed, kind: str, shown: str
) -> None:
    path = mine(tmp_path, SCORER.replace(', "kind": "clip"', kind).replace("IMAGES", "0").replace("TEXTS", "0"))
    code, out, errors = iclora(
        "dataset", "storyboard", "--source", pictures, "--captioner", "sidecar", "--scorer", path, *SMALL
    )
    assert (code, "collect: 6 in" in out) == (2, False)
    assert errors.strip() == (
        f"error: the scorer 'mine' ({path}): its identity must have the kind 'clip' or 'siglip', got {shown}; "
        "see docs/extending.md."
    )


def test_vectors_of_images_and_texts_that_differ_in_width_are_named(tmp_path: Path) -> None:
    code = SCORER.replace("IMAGES", ONES.format("images")).replace("TEXTS", "np.eye(2, dtype=np.float32)[[0]]")
    path = mine(tmp_path, code)
    encoder = Encoder(plugins.make(plugins.SCORERS, path, {}), Cache(tmp_path), tmp_path)
    grids = painted(tmp_path, [(1, 2, 3)], ("", "", ""))
    with pytest.raises(BadInput) as caught:
        encoder.vectors(grids, [Caption(grids[0].id, "a hen", "", ("a hen", "", ""))])
    assert str(caught.value).startswith(
        f"the scorer 'mine' ({path}): image vectors and text vectors must be of one space, got 1 and 2 numbers"
    )


LOOP = "for place, question in enumerate(questions):\n            yield place, ANSWER"
PAIR = "it must yield a pair of place and Answer for every question"
ENDED = f"ask ended before every question had an answer; {PAIR}"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("ask", "wrong"),
    [
        ("return None", f"ask returned None; {PAIR}"),
        (LOOP.replace("ANSWER", "'a hen'"), f"ask yielded (0, 'a hen'); {PAIR}"),
        (LOOP.replace("place, ANSWER", "Answer('a hen')"), "ask yielded Answer(text='a hen'"),
        (LOOP.replace("ANSWER", "Answer(['a hen'])"), "an Answer's text must be a str, got ['a hen']"),
        (LOOP.replace("ANSWER", "Answer(failure=KeyError('x'))"), "an Answer's failure must be a str, got KeyError"),
        (LOOP.replace("ANSWER", "Answer('a hen', tokens=1.5)"), "an Answer's tokens must be an int, got 1.5"),
        (LOOP.replace("ANSWER", "Answer('a hen', cost=float('nan'))"), "an Answer's cost must be a finite number"),
        (LOOP.replace("place, ANSWER", "7, Answer('a hen')"), "ask answered question 7, which does not wait"),
        (LOOP.replace("place, ANSWER", "0, Answer('a hen')"), "ask answered question 0, which does not wait"),
        (LOOP.replace("place, ANSWER", "'0', Answer('a hen')"), "ask answered question '0', which does not wait"),
        ("yield 0, Answer('a hen') if next(iter(questions)) else 0", ENDED),
        ("return iter(())", ENDED),
    ],
)  # fmt: skip
def test_a_captioner_that_gives_anything_but_an_answer_per_question_is_named(
    tmp_path: Path, ask: str, wrong: str, streams: bool
) -> None:
    code = CAPTIONER.replace("4, False", f"4, False\n    streams = {streams}").replace(LOOP, ask)
    with pytest.raises(BadInput) as caught:
        asked(mine(tmp_path, code))
    assert str(caught.value).startswith(f"the captioner 'mine' ({tmp_path / 'mine.py'}): {wrong}")


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        (CAPTIONER.replace('{"captioner": "mine"}', "None"), "identity returned None"),
        (CAPTIONER.replace('"captioner"', '"name"'), "identity returned {'name': 'mine', 'file': "),
        (CAPTIONER.replace('"mine"}', '"mine", "model": Mine}'), "identity must hold plain values (Object"),
        (CAPTIONER.replace("4, False", "0, False"), "batch must be a number of questions, got 0"),
        (CAPTIONER.replace("4, False", "None, False"), "batch must be a number of questions, got None"),
        (CAPTIONER.replace("4, False", "4, False; sends = 95"), "sends must be a jpegs.Form or None, got 95"),
    ],
)  # fmt: skip
def test_a_captioner_that_says_nothing_of_itself_is_named_before_it_is_asked(
    tmp_path: Path, code: str, wrong: str
) -> None:
    with pytest.raises(BadInput) as caught:
        asked(mine(tmp_path, code.replace("ANSWER", "1 / 0")))
    assert str(caught.value).startswith(f"the captioner 'mine' ({tmp_path / 'mine.py'}): {wrong}")


def test_a_failure_with_half_a_letter_in_it_is_kept_without(tmp_path: Path) -> None:
    (answer,) = asked(mine(tmp_path, CAPTIONER.replace("ANSWER", "Answer(failure='lost: \\ud800')")), questions=1)
    assert answer.failure == "lost: ?"


def test_a_captioner_that_fails_on_every_grid_ends_its_command_like_an_empty_data_set(
    tmp_path: Path, pictures: str, iclora: Typed
) -> None:
    words = ("caption", "storyboard", "--source", pictures, "--scorer", "none", *SMALL, "--set", "group.prove=false")
    silent = mine(tmp_path, CAPTIONER.replace("ANSWER", "Answer(failure='unreachable: nobody is there')"))
    code, _, errors = iclora(*words, "--captioner", silent)
    assert code == 1 and "2 grids have no caption (2 unreachable); the same command asks again." in errors
    half = mine(tmp_path, CAPTIONER.replace("ANSWER", f"Answer(failure='lost: it') if place else Answer({GOOD!r})"))
    assert iclora(*words, "--captioner", half)[0] == 0
    assert iclora(*words, "--captioner", "sidecar")[0] == 0  # a person may be going to write the texts


def asked(path: str, questions: int = 2) -> list[Answer]:
    answers = Answers(plugins.make(plugins.CAPTIONERS, path, {}), Cache(Path(path).parent), "an instruction")
    asking = [Question((), (str(number),), (), "what is there?") for number in range(questions)]
    cases = [SimpleNamespace(question=question, key=answers.key(question)) for question in asking]
    return list(answers.settle(cases, lambda _, answer, __: answer))


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (
            "    return None",
            "form returned None; it must yield each group as Formed and each left-over record as reject",
        ),
        ("    yield from records", "form yielded a Record; it must yield each group as Formed and"),
    ],
)
def test_a_strategy_that_gives_no_groups_is_named(tmp_path: Path, body: str, wrong: str) -> None:
    path = mine(tmp_path, f"{STRATEGY}{body}\n")
    of = task.load("storyboard", [f"group.by={json.dumps(path)}"])
    stage = group.stage(group.Parameters(of, plugins.find(plugins.GROUPING, path), None, tmp_path, Cache(tmp_path)))
    record = Record("r", "r.png", "/in/r.png", Position("/in", "r"), width=640, height=360, phash="0" * 16,
                    histogram=bytes(range(128)).hex())  # fmt: skip
    with pytest.raises(BadInput) as caught:
        list(stage.run([record]))
    assert str(caught.value).startswith(f"the grouping strategy 'mine' ({path}): {wrong}")


@pytest.mark.parametrize(("reason", "advised"), [("no album", False), ("no structure", True)])
def test_a_run_without_groups_gives_advice_that_its_strategy_heeds_and_says_nothing_of_captions(
    tmp_path: Path, pictures: str, iclora: Typed, reason: str, advised: bool
) -> None:
    body = f"    yield from (reject(record, {reason!r}, 'is in none') for record in records)\n"
    path = mine(tmp_path, f"from {reject.__module__} import reject\n{STRATEGY}{body}")
    code, out, errors = iclora("dataset", "storyboard", "--source", pictures, "--captioner", "sidecar",
                               "--scorer", "none", "--set", f"group.by={json.dumps(path)}", *SMALL)  # fmt: skip
    assert code == 1 and f"group rejected 6 images (6 {reason})" in errors
    assert ("group.prove=false" in errors) == advised
    assert "next:" not in out and "captions.csv" not in out
