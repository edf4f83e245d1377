"""Contracts of what asks a model: captioners and scorers."""

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
from pipeline.consistency.scorers.base import Scorer
from pipeline.errors import Abstained, BadInput, BadReply
from pipeline.plugins import Kind

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
    assert kind in ("clip", "siglip"), f"its identity must have the kind 'clip' or 'siglip', got {kind!r}"
    rng = random.Random(0)
    scenes = [draw_scene(rng) for _ in range(5)]
    pictures = [Image.fromarray(draw(scene, size=(256, 128))) for scene in scenes]
    texts = [describe(scene) for scene in scenes[:4]] + ["one very long text " * 100]
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
