"""Contracts of what asks a model: captioners and scorers."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from iclora.testing.material import question
from miniature.draw import draw
from miniature.world import describe, draw_scene
from pipeline import plugins
from pipeline.captioning.protocol import Answer, Captioner, Question
from pipeline.consistency.scorers.base import Scorer
from pipeline.errors import BadInput
from pipeline.plugins import Kind


def check_captioner(name: str, options: Mapping[str, Any] | None = None) -> None:
    """One answer per question, the same alone, among others and in another process; a stable identity."""
    made: Captioner = plugins.make(plugins.CAPTIONERS, name, dict(options or {}))
    again: Captioner = plugins.make(plugins.CAPTIONERS, name, dict(options or {}))
    _check_identity(made, again, "captioner", plugins.find(plugins.CAPTIONERS, name).name)
    _check_options(plugins.CAPTIONERS, name, options)
    assert made.batch >= 1, "it takes at least one question at once"
    assert isinstance(made.verbatim, bool), "it says whether its texts were written by people"
    questions = [question(1), question(2)]
    answers = _answers(made, questions)
    assert all(isinstance(answer, Answer) for answer in answers), "every question gets an Answer"
    assert _answers(made, questions) == answers, "the same questions get the same answers"
    assert _answers(made, questions[1:]) == answers[1:], "an answer doesn't depend on the other questions"
    assert _answers(_sent(made), questions) == answers, "it answers alike in another process"


def _answers(captioner: Captioner, questions: Sequence[Question]) -> list[Answer]:
    came = list(captioner.ask(questions))
    assert sorted(place for place, _ in came) == list(range(len(questions))), "every question gets one answer"
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
    assert made.identity().get("kind") in ("clip", "siglip"), "its identity says what its cosines are like"
    rng = random.Random(0)
    scenes = [draw_scene(rng) for _ in range(5)]
    pictures = [Image.fromarray(draw(scene, size=(256, 128))) for scene in scenes]
    texts = [describe(scene) for scene in scenes[:4]] + ["one very long text " * 100]
    _check_vectors(made.image_vectors, pictures)
    _check_vectors(made.text_vectors, texts)
    assert made.image_vectors(pictures[:1]).shape == made.text_vectors(texts[:1]).shape, "one space for both"
    assert (_sent(made).text_vectors(texts) == made.text_vectors(texts)).all(), "the same in another process"


def _check_vectors(of: Callable[[Any], np.ndarray], things: Sequence[Any]) -> None:
    vectors = of(things)
    assert vectors.dtype == np.float32 and vectors.shape[0] == len(things), "float32, one row each"
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5, err_msg="unit vectors")
    assert (of(things) == vectors).all(), "the same input gives the same vectors"
    np.testing.assert_allclose(of(things[::-1]), vectors[::-1], atol=1e-5, err_msg="in the order given")
    np.testing.assert_allclose(of(things[2:3]), vectors[2:3], atol=1e-5, err_msg="whatever the other inputs")


# ---- what they share


def _check_identity(made: Any, again: Any, key: str, name: str) -> None:
    identity = made.identity()
    assert json.loads(json.dumps(identity)) == identity, "an identity is plain data"
    assert identity == again.identity(), "the same options give the same identity"
    assert identity.get(key) == name, f"its identity has its name under '{key}'"
    assert _sent(made).identity() == identity, "it has the same identity in another process"


def _check_options(kind: Kind, name: str, options: Mapping[str, Any] | None) -> None:
    try:
        plugins.make(kind, name, {**(options or {}), "no_such_option": 1})
    except BadInput as error:
        assert "no_such_option" in str(error), f"the error names the unknown option: {error}"
        return
    raise AssertionError("an unknown option is an error")


def _sent(made: Any) -> Any:
    """What arrives in another process."""
    return pickle.loads(pickle.dumps(made))
