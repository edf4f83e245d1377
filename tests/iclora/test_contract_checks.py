"""The contract tests refuse what would fail in a run, and name the rule that is broken."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endpoint import GOOD
from installed import installed

from iclora import testing
from pipeline import families
from pipeline.errors import BadInput, BrokenPlugin
from training import job

CAPTIONER = """
from pipeline import plugins
from pipeline.captioning.protocol import Answer

class Options(plugins.Options):
    pass

class Mine:
    batch, verbatim = 4, False
    def identity(self):
        return {"captioner": "mine"}
    def ask(self, questions):
        for place, question in enumerate(questions):
            yield place, ANSWER

def make(options):
    plugins.parse_options(Options, "the captioner mine", options)
    return Mine()
"""
SCORER = """
import numpy as np
from pipeline import plugins

class Options(plugins.Options):
    pass

class Mine:
    def identity(self):
        return {"scorer": "mine", "kind": "clip"}
    def image_vectors(self, images):
        return IMAGES
    def text_vectors(self, texts):
        return TEXTS

def make(options):
    plugins.parse_options(Options, "the scorer mine", options)
    return Mine()
"""
STRATEGY = """
from pipeline.grouping.strategies.base import Formed
COPIES = True
def form(records, task, vetoes):
"""
ONES = "np.ones((len({0}), 1), np.float32)"


def mine(folder: Path, code: str) -> str:
    path = folder / "mine.py"
    path.write_text(code, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("'a text'", "every question must get an Answer, got a str"),
        ("Answer('a cat')", "at least one answer must be a caption, got: the answer is neither"),
        ("Answer(failure='timeout: none in 5 s')", "at least one answer must be a caption, got: timeout: none in 5 s"),
        ("Answer(failure='timeout')", "a failure must have the form \"kind: detail\", got 'timeout'"),
        ("Answer(failure=ValueError('x'))", "a failure must be a str, got ValueError"),
        ("Answer(question.panels[0].getpixel((0, 0)))", "an answer's text must be a str"),
    ],
)
def test_answers_that_no_run_can_use_are_refused(tmp_path: Path, answer: str, rule: str) -> None:
    with pytest.raises(AssertionError) as caught:
        testing.check_captioner(mine(tmp_path, CAPTIONER.replace("ANSWER", answer)))
    assert rule in str(caught.value)


@pytest.mark.parametrize("caption", [GOOD, "A day, [SCENE-1] a cat, [SCENE-2] a dog, [SCENE-3] a hen"])
def test_a_caption_is_json_or_plain_text(tmp_path: Path, caption: str) -> None:
    testing.check_captioner(mine(tmp_path, CAPTIONER.replace("ANSWER", f"Answer({caption!r})")))


def test_a_captioner_that_looks_texts_up_is_given_texts_that_it_knows(tmp_path: Path) -> None:
    found = f"Answer({GOOD!r}) if question.texts[0] == 'k1' else Answer(failure='unknown: no such key')"
    path = mine(tmp_path, CAPTIONER.replace("ANSWER", found))
    testing.check_captioner(path, texts=["k1", "k2", "k3"])
    with pytest.raises(AssertionError, match="at least one answer must be a caption, got: unknown: no such key"):
        testing.check_captioner(path)
    with pytest.raises(AssertionError, match="texts must be those of 3 panels, got 1"):
        testing.check_captioner(path, texts=["k1"])


def test_a_verbatim_captioner_gets_no_pictures_as_in_a_run(tmp_path: Path) -> None:
    code = CAPTIONER.replace("verbatim = 4, False", "verbatim = 4, True")
    with pytest.raises(IndexError):
        testing.check_captioner(mine(tmp_path, code.replace("ANSWER", "Answer(str(question.panels[0]))")))


@pytest.mark.parametrize(
    ("images", "texts", "rule"),
    [
        (f"3.2 * {ONES.format('images')}", ONES.format("texts"), "image vectors must have unit length, got 3.2"),
        (f"{ONES.format('images')}.astype(float)", ONES.format("texts"), "image vectors must be float32, got float64"),
        (ONES.format("images"), f"{ONES.format('texts')}[1:]", "text vectors must be one row for each of 5"),
        (ONES.format("images"), "np.eye(2, dtype=np.float32)[[0] * len(texts)]", "must be of one space, got 1 and 2"),
    ],
)
def test_vectors_that_are_no_unit_vectors_of_one_space_are_refused(
    tmp_path: Path, images: str, texts: str, rule: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        testing.check_scorer(mine(tmp_path, SCORER.replace("IMAGES", images).replace("TEXTS", texts)))
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("yield Formed(list(records[:3]), 'three')", "they must be a tuple of 3"),
        ("yield Formed(tuple(records[:2]), 'two')", "they must be a tuple of 3"),
        ("return iter(())", "each must end in one group"),
    ],
)
def test_groups_of_another_form_are_refused(tmp_path: Path, body: str, rule: str) -> None:
    body = body if body.startswith("return") else f"if records: {body}"
    with pytest.raises(AssertionError, match=rule):
        testing.check_grouping(mine(tmp_path, f"{STRATEGY}    {body}\n"))


BY_FIRST_LETTER = """
from pipeline.grouping.explain import reject
from pipeline.grouping.strategies.base import Formed, by_key
from pipeline.grouping.vetoes import Veto
COPIES = True
def form(records, task, vetoes):
    for letter, found in by_key(records, lambda record: record.position.stem[:1]).items():
        chosen = tuple(found) if letter == "LETTER" and len(found) == 3 else ()
        if chosen and VETOED:
            chosen = ()
        if chosen:
            yield Formed(chosen, "one letter")
        yield from (reject(record, "no letter", "is alone") for record in found if record not in chosen)
"""
REMARK = """
def remarks(records, task):
    yield f"{len(records)} pictures were read."
"""


@pytest.mark.parametrize(
    ("letter", "vetoed", "more", "rule"),
    [
        ("?", "False", "", "it must form at least one group; give check_grouping a source whose pictures it groups"),
        ("q", "False", "", "it must ask vetoes before it forms a group"),
        ("q", "isinstance(vetoes.first([chosen]), Veto)", REMARK, "no remarks, got {'remarks': ['0 pictures were"),
        ("q", "isinstance(vetoes.first([chosen]), Veto)", "", ""),
    ],
)
def test_a_strategy_must_form_groups_of_something_and_ask_the_vetoes(
    tmp_path: Path, letter: str, vetoed: str, more: str, rule: str
) -> None:
    pictures = testing.write_pictures(tmp_path / "pictures")
    for path in [*pictures.glob("*.png")]:
        path.rename(path.with_stem(f"q{path.stem}"))
    path = mine(tmp_path, BY_FIRST_LETTER.replace("LETTER", letter).replace("VETOED", vetoed) + more)
    with pytest.raises(AssertionError, match=re.escape(rule)) if rule else nullcontext():
        testing.check_grouping(path, ["group.floor=0"], source=pictures)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"recipe": {"learning_rat": 1}}, "recipe must have keys and values of Recipe: unknown key 'learning_rat'"),
        ({"trainers": {"koyha": {}}}, "trainers must be named as exporters are"),
        ({"template": 600}, "template must leave room for a caption, got template=600 of limit=512"),
        ({"encoder": ""}, "encoder must not be empty"),
    ],
)
def test_facts_of_a_family_that_nothing_knows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], rule: str
) -> None:
    made = replace(families.load("flux-1"), **changes)
    monkeypatch.setattr(families, "load", lambda name: made)
    with pytest.raises(AssertionError) as caught:
        testing.check_family("flux-1", tmp_path)
    assert rule in str(caught.value)


BACKEND = """
from training.backends.flux import Flux
class Mine(Flux):
    BASE = "OF"
def make(model, revision=None):
    return Mine(model, revision)
"""


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ("recipe={'warmpu': 77}", r"unknown key 'warmpu', did you mean 'warmup'\?"),
        ("recipe={'rank': 0}", "rank: .* got 0"),
        ("trainers={'ai-toolkit': {}}", r"trainers must be named as exporters are \(ai_toolkit, .*, got ai-toolkit\."),
    ],
)
def test_a_mistyped_fact_of_an_installed_family_is_an_error_wherever_it_is_used(
    tmp_path: Path, facts: str, rule: str
) -> None:
    code = f"""
from dataclasses import replace
from pipeline.families.flux_1 import FAMILY as FLUX
FAMILY = replace(FLUX, {facts})
"""
    with installed(tmp_path, "stranger", {"mine.py": code}, {"iclora.families mine": "stranger.mine"}):
        with pytest.raises(BadInput, match=rf"the model family 'mine' \(stranger\.mine\): .*{rule}"):
            families.load("mine")
        with pytest.warns(BrokenPlugin, match=r"left out: the model family 'mine' \(stranger\.mine\): "):
            assert "mine" not in dict(families.usable())


@pytest.mark.parametrize("entry", ["sd-3.5", "sd-3-5"])
def test_a_family_does_not_replace_one_whose_file_is_spelt_otherwise(tmp_path: Path, entry: str) -> None:
    code = "from pipeline.families.flux_1 import FAMILY"
    with (
        installed(tmp_path, "stranger", {"mine.py": code}, {f"iclora.families {entry}": "stranger.mine"}),
        pytest.raises(BadInput, match=r"more than one model family is named .*pipeline\.families\.sd_3_5.*"),
    ):
        families.load("sd-3.5")


def test_an_exporter_lists_exactly_the_files_that_it_wrote(tmp_path: Path) -> None:
    code = (
        "from pipeline.dataset.samples import Config\ndef write(data, folder):\n    return Config('x', ('no.json',))\n"
    )
    with pytest.raises(AssertionError, match=r"it must list exactly the files that it wrote, \[\], got \['no\.json'\]"):
        testing.check_exporter(mine(tmp_path, code), tmp_path)


def test_a_backend_of_an_unknown_family_is_refused_and_does_not_stop_the_others(tmp_path: Path) -> None:
    code = BACKEND.replace("OF", "flux-nobody")
    with installed(tmp_path, "stranger", {"mine.py": code}, {"iclora.backends mine": "stranger.mine"}):
        with pytest.raises(BadInput, match="no base model named 'flux-nobody'"):
            testing.check_backend("mine", testing.MODELS / "flux")
        with pytest.warns(BrokenPlugin, match="left out: no base model named 'flux-nobody'"):
            assert job.find_backend("flux-1", str(testing.MODELS / "flux"), None).BASE == "flux-1"


def test_a_backend_does_not_replace_that_of_another_family_and_an_error_names_both(tmp_path: Path) -> None:
    model, code = testing.MODELS / "flux", BACKEND.replace("OF", "flux-1")
    both = r"base=flux-1 is trained by the training backend 'flux' and .* 'mine' \(stranger\.mine\); uninstall all but"
    with installed(tmp_path, "stranger", {"mine.py": code}, {"iclora.backends mine": "stranger.mine"}):
        with pytest.raises(BadInput, match=both):
            job.find_backend("flux-1", str(model), None)
        with pytest.raises(AssertionError, match=f"BASE must be a family that no other backend trains: {both}"):
            testing.check_backend("mine", model)
        assert job.find_backend("z-image", None, None).BASE == "z-image"


INSTRUMENT = """
import numpy as np
from pipeline import plugins
from training.evaluation.detectors.base import Detection

class Options(plugins.Options):
    pass

class Mine:
    def identity(self):
        return {"KIND": "mine"}
    def image_vectors(self, images):
        return RESULT
    def detect(self, images):
        return RESULT

def make(options):
    plugins.parse_options(Options, "the KIND mine", options)
    return Mine()
"""


@pytest.mark.parametrize(
    ("kind", "result", "rule"),
    [
        ("image encoder", "np.ones((len(images), 1), np.float32)", ""),
        ("image encoder", "np.ones((len(images), 2), np.float32)", "image vectors must have unit length, got 1.41"),
        ("image encoder", "np.ones((1, 1), np.float32)", "image vectors must be one row for each of 5"),
        ("detector", "[[Detection((0, 0, 9, 9), 'person', 0.5)] for _ in images]", ""),
        (
            "detector",
            "[[Detection((0, 0, 900, 9), 'person', 0.5)] for _ in images]",
            r"within its image of \(256, 128\)",
        ),
        ("detector", "[[Detection((9, 0, 9, 9), 'person', 0.5)] for _ in images]", "a box must have an area"),
        (
            "detector",
            "[[Detection((0, 0, 9, 9), 'person', 50)] for _ in images]",
            "a score must be from 0 to 1, got 50",
        ),
        ("detector", "[[] for _ in images[1:]]", "each of 5 images must get a list, got 4"),
    ],
)
def test_image_encoders_and_detectors_of_another_form_are_refused(
    tmp_path: Path, kind: str, result: str, rule: str
) -> None:
    path = mine(tmp_path, INSTRUMENT.replace("KIND", kind).replace("RESULT", result))
    check = testing.check_detector if kind == "detector" else testing.check_image_encoder
    if not rule:
        check(path)
        return
    with pytest.raises(AssertionError, match=rule):
        check(path)
