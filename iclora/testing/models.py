"""Contracts of what asks a model: captioners, scorers, image encoders and detectors."""

from __future__ import annotations

import json
import pickle
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from iclora.testing.material import question, task_of_questions
from miniature.draw import draw
from miniature.world import describe, draw_scene
from pipeline import plugins
from pipeline.captioning import replies
from pipeline.captioning.protocol import Answer, Captioner, Question
from pipeline.consistency.scorers.base import KINDS, Scorer
from pipeline.errors import Abstained, BadInput, BadReply
from pipeline.plugins import Kind
from training.evaluation.detectors.base import Detection

FAILURE = re.compile(r"[^:\s][^:\n]*: \S.*")
"""How a captioner says why there is no answer: "timeout: no answer within 120 s"."""


def check_captioner(name: str, options: Mapping[str, Any] | None = None, texts: Sequence[str] = ()) -> None:
    """One answer per question, the same alone, among others and in another process; a stable identity. At least one
    answer is a caption, and a failure has a kind.

    Args:
        texts: that come with the first question's three panels, for a captioner that looks texts up; otherwise each
            panel comes with a description of what it shows.
    """
    made: Captioner = plugins.make(plugins.CAPTIONERS, name, dict(options or {}))
    again: Captioner = plugins.make(plugins.CAPTIONERS, name, dict(options or {}))
    _check_identity(made, again, "captioner", plugins.find(plugins.CAPTIONERS, name).name)
    _check_options(plugins.CAPTIONERS, name, options)
    assert isinstance(made.batch, int) and made.batch >= 1, f"batch must be a number of questions, got {made.batch!r}"
    assert isinstance(made.verbatim, bool), f"verbatim must be True or False, got {made.verbatim!r}"
    questions = [question(1), question(2)]
    if texts:
        panels = len(questions[0].markers)
        assert len(texts) == panels, f"texts must be those of {panels} panels, got {len(texts)}"
        questions[0] = replace(questions[0], texts=tuple(texts))
    if made.verbatim:  # as in a run
        questions = [replace(each, panels=(), grid=None) for each in questions]
    answers = _answers(made, questions)
    _check_answers(answers)
    assert _answers(made, questions) == answers, "the same questions must get the same answers"
    assert _answers(made, questions[1:]) == answers[1:], "an answer must not depend on the other questions"
    assert _answers(_sent(made), questions) == answers, "it must answer alike in another process"


def _check_answers(answers: Sequence[Answer]) -> None:
    of, faults = task_of_questions(), []
    for answer in answers:
        assert isinstance(answer, Answer), f"every question must get an Answer, got a {type(answer).__name__}"
        assert isinstance(answer.failure, str), f"a failure must be a str, got {answer.failure!r}"
        if answer.failure:
            form = f'a failure must have the form "kind: detail", got {answer.failure!r}'
            assert FAILURE.fullmatch(answer.failure), form
            faults.append(answer.failure)
            continue
        assert isinstance(answer.text, str), f"an answer's text must be a str, got {answer.text!r}"
        try:
            replies.read(answer.text, of)
        except (Abstained, BadReply) as error:
            faults.append(str(error))
    assert len(faults) < len(answers), f"at least one answer must be a caption, got: {'; '.join(faults)}"


def _answers(captioner: Captioner, questions: Sequence[Question]) -> list[Answer]:
    came = list(captioner.ask(questions))
    assert sorted(place for place, _ in came) == list(range(len(questions))), (
        f"each of {len(questions)} questions must get one answer, got answers to {sorted(place for place, _ in came)}"
    )
    return [answer for _, answer in sorted(came, key=lambda pair: pair[0])]


# ---- scorers


def check_scorer(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Unit vectors of one space, the same alone, among others and in another process; a stable identity.

    A scorer that makes None scores nothing; only its options are checked.
    """
    _check_options(plugins.SCORERS, name, options)
    made: Scorer | None = plugins.make(plugins.SCORERS, name, dict(options or {}))
    if made is None:
        return
    again: Scorer = plugins.make(plugins.SCORERS, name, dict(options or {}))
    _check_identity(made, again, "scorer", plugins.find(plugins.SCORERS, name).name)
    kind = made.identity().get("kind")
    assert kind in KINDS, f"its identity must have the kind {' or '.join(map(repr, KINDS))}, got {kind!r}"
    pictures, rng = _pictures(), random.Random(0)
    texts = [describe(draw_scene(rng)) for _ in range(4)] + ["one very long text " * 100]
    _check_vectors(made.image_vectors, pictures, "image")
    _check_vectors(made.text_vectors, texts, "text")
    widths = made.image_vectors(pictures[:1]).shape[1], made.text_vectors(texts[:1]).shape[1]
    assert widths[0] == widths[1], (
        f"image and text vectors must be of one space, got {widths[0]} and {widths[1]} numbers"
    )
    assert (_sent(made).text_vectors(texts) == made.text_vectors(texts)).all(), (
        "it must give the same vectors in another process"
    )


def _check_vectors(of: Callable[[Any], np.ndarray], things: Sequence[Any], which: str) -> None:
    vectors = of(things)
    assert vectors.dtype == np.float32, f"{which} vectors must be float32, got {vectors.dtype}"
    rows = f"{which} vectors must be one row for each of {len(things)}, got the shape {vectors.shape}"
    assert vectors.ndim == 2 and len(vectors) == len(things), rows
    lengths = np.linalg.norm(vectors, axis=1)
    worst = lengths[np.abs(lengths - 1).argmax()]
    assert np.allclose(lengths, 1, rtol=1e-5), f"{which} vectors must have unit length, got {worst:.4g}"
    assert (of(things) == vectors).all(), f"the same {which}s must give the same vectors"
    assert np.allclose(of(things[::-1]), vectors[::-1], atol=1e-5), (
        f"{which} vectors must be in the order of the {which}s"
    )
    alone = f"the vector of one {which} must not depend on the others"
    assert np.allclose(of(things[2:3]), vectors[2:3], atol=1e-5), alone


# ---- image encoders and detectors


def check_image_encoder(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Unit vectors, the same alone, among others and in another process; a stable identity."""
    made, again = _two(plugins.IMAGE_ENCODERS, name, options)
    pictures = _pictures()
    _check_vectors(made.image_vectors, pictures, "image")
    same = np.allclose(again.image_vectors(pictures), made.image_vectors(pictures), atol=1e-5)
    assert same, "the same options must give the same vectors"


def check_detector(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Boxes within their images, with a label and a confidence, the same alone and among others; a stable identity."""
    made, again = _two(plugins.DETECTORS, name, options)
    pictures = _pictures()
    found = made.detect(pictures)
    assert len(found) == len(pictures), f"each of {len(pictures)} images must get a list, got {len(found)}"
    for picture, detections in zip(pictures, found, strict=True):
        for one in detections:
            assert isinstance(one, Detection), f"what is found must be a Detection, got a {type(one).__name__}"
            left, top, right, bottom = one.box
            inside = 0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height
            assert inside, f"a box must have an area within its image of {picture.size}, got {one.box}"
            assert isinstance(one.label, str) and one.label, f"a label must be a text, got {one.label!r}"
            assert 0 <= one.score <= 1, f"a score must be from 0 to 1, got {one.score!r}"
    assert _places(again.detect(pictures)) == _places(found), "the same options must find the same"
    assert _places(made.detect(pictures[::-1])) == _places(found[::-1]), "what is found must be in the images' order"
    assert _places(made.detect(pictures[2:3])) == _places(found[2:3]), "an image must not depend on the others"


def _two(kind: Kind, name: str, options: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """A plug-in made twice, its options and identity checked."""
    _check_options(kind, name, options)
    made, again = (plugins.make(kind, name, dict(options or {})) for _ in range(2))
    _check_identity(made, again, kind.word, plugins.find(kind, name).name)
    return made, again


def _pictures() -> list[Image.Image]:
    rng = random.Random(0)
    return [Image.fromarray(draw(draw_scene(rng), size=(256, 128))) for _ in range(5)]


def _places(found: Sequence[Sequence[Detection]]) -> list[set[tuple[object, ...]]]:
    return [{(one.box, one.label) for one in detections} for detections in found]


# ---- what they share


def _check_identity(made: Any, again: Any, key: str, name: str) -> None:
    identity = made.identity()
    assert json.loads(json.dumps(identity)) == identity, f"an identity must be plain data, got {identity}"
    assert identity == again.identity(), (
        f"the same options must give the same identity, got {identity} and {again.identity()}"
    )
    assert identity.get(key) == name, f"its identity must have '{name}' under '{key}', got {identity.get(key)!r}"
    assert _sent(made).identity() == identity, "its identity must be the same in another process"


def _check_options(kind: Kind, name: str, options: Mapping[str, Any] | None) -> None:
    try:
        plugins.make(kind, name, {**(options or {}), "no_such_option": 1})
    except BadInput as error:
        assert "no_such_option" in str(error), f"the error must name the unknown option, got: {error}"
        return
    raise AssertionError("an unknown option must be an error (plugins.parse_options does that)")


def _sent(made: Any) -> Any:
    """What arrives in another process."""
    return pickle.loads(pickle.dumps(made))
