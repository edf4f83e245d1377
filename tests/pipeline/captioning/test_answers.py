"""Kept answers: a file that says something else counts as none."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioners import scripted
from pipeline.cache import Cache
from pipeline.captioning.answers import Answers
from pipeline.captioning.protocol import Question

QUESTION = Question((Image.new("RGB", (8, 8)),), ("",), ("[A]",), "Look.")


@pytest.mark.parametrize(
    "kept",
    [
        {"text": 5, "finished": True},
        {"text": "said", "finished": "yes"},
        {"failures": [1, None, {}], "tokens": "many", "cost": None},
        {"failures": "all", "seconds": float("inf")},
        {"tokens": []},
    ],
)
def test_a_kept_answer_of_another_shape_is_asked_for_again(tmp_path: Path, kept: dict[str, Any]) -> None:
    captioner = scripted.make({"answers": ["an answer"]})
    answers = Answers(captioner, Cache(tmp_path), "prompt")
    list(answers.to([QUESTION]))
    (file,) = tmp_path.rglob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"text": None} | kept))
    (told,) = answers.to([QUESTION])
    assert told.asked and told.answer.text == "an answer"
    assert answers.spent()["answers"] == 1
