"""A vision-language model judges grids over a real HTTP server, or is refused before anything is drawn."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from endpoint import Endpoint, Handler, completion, pictures, serving
from PIL import Image

import iclora
from iclora.evaluation import judge
from iclora.evaluation.judge import Consistency, Following
from iclora.offline import MINIATURE
from iclora.run import Run
from pipeline import pixels
from pipeline.errors import BadInput, BadReply
from training import generate
from training.generator import GenerationRequest, Generator

DOCS = Path(__file__).parents[2] / "docs" / "evaluating.md"


def is_blank(data_url: str) -> bool:
    with Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2]))) as image:
        return bool(np.ptp(np.asarray(image.convert("L"))) < 8)


def judges(handler: Handler) -> None:
    """Gives blank panels 1 of 10 and abstains on whether they are alike; others get 8 and 6. The first reply about the
    texts of a blank grid has a fault."""
    body = handler.body
    blank = is_blank(pictures(body)[0])
    schema = body["response_format"]["json_schema"]
    assert (
        schema["schema"]["properties"].keys() == {"panels"}
        if schema["name"] == "prompt_following"
        else {"why", "score"}
    )
    if schema["name"] == "consistency":
        reply: object = {"why": "the same", "score": None if blank else 6}
    else:
        score = 11 if blank and len(body["messages"]) == 1 else 1 if blank else 8
        reply = {"panels": [{"image": number, "why": "so", "score": score} for number in (1, 2, 3)]}
    handler.reply(completion(f"Let me see. ```json\n{json.dumps(reply)}\n```"))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving(default=judges) as server:
        yield server


@pytest.fixture
def run(evaluable: Path, tmp_path: Path) -> Iterator[Run]:
    with iclora.open_run("storyboard", folder=shutil.copytree(evaluable, tmp_path / "run")) as opened:
        yield opened


@pytest.fixture
def real_when_tuned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the diffusion model: the LoRA draws real grids, the base blank ones."""
    known = {file.read_text(encoding="utf-8"): file.with_suffix(".png") for file in run.dataset.glob("*/*.txt")}

    def drawn(generator: Generator, requests: list[GenerationRequest], *_: object) -> list[Image.Image]:
        size = generator.layout.canvas
        return [
            pixels.open_image(known[one.prompt]).resize(size) if generator.loras else Image.new("RGB", size, "white")
            for one in requests
        ]

    monkeypatch.setattr(generate, "sample", drawn)


@pytest.mark.usefixtures("real_when_tuned")
def test_the_judge_is_asked_twice_about_every_grid_and_its_figures_are_reported(
    run: Run, lora: Path, tiny_flux: Path, endpoint: Endpoint
) -> None:
    def evaluated() -> iclora.Evaluation:
        settings = {"judge.url": endpoint.url, "judge.concurrency": 4}
        return iclora.evaluate(run, lora, model=str(tiny_flux), steps=1, judge="server", settings=settings)

    evaluation = evaluated()
    base, tuned = evaluation.judged["base"], evaluation.judged["storyboard"]
    assert base.follows and tuned.follows and tuned.consistent
    assert (base.follows.value, tuned.follows.value, tuned.consistent.value) == pytest.approx((0.1, 0.8, 0.6))
    assert base.consistent is None
    assert (base.abstained, tuned.abstained) == (len(evaluation.grids) // 2, 0)

    # What it was asked: both questions with every panel's picture, and a reply with faults once more.
    texts = [body["messages"][0]["content"][-1]["text"] for body in endpoint.bodies]
    assert all(len(pictures(body)) == 3 for body in endpoint.bodies)
    panels = [grid.prompt.partition("[SCENE-2] ")[2].partition(", [SCENE-3]")[0] for grid in evaluation.grids]
    for text in panels:
        assert any(f'2. Does image 2 show: "{text}"?' in asked for asked in texts)
    again = [body["messages"][2]["content"][0]["text"] for body in endpoint.bodies if len(body["messages"]) > 1]
    assert again and all("less than or equal to 10" in text for text in again)
    assert any("Is it the same person or thing in all images" in asked for asked in texts)
    assert not any("Does image" in asked and "same person" in asked for asked in texts)

    # Where it stands.
    told = json.loads((evaluation.folder / "evaluation.json").read_text(encoding="utf-8"))["judge"]
    assert told["by"]["url"] == endpoint.url
    assert told["candidates"]["storyboard"]["consistent"]["value"] == pytest.approx(0.6)
    table = evaluation.table()
    assert set(table[table["candidate"] == "storyboard"]["judge_follows"]) == {0.8}
    assert table[table["candidate"] == "base"]["judge_consistent"].isna().all()
    line = "Judge, storyboard: follows its texts 0.80, consistent 0.60; 0 of "  # one prompt has no interval
    assert any(one.startswith(line) for one in evaluation.lines())
    assert line in (evaluation.folder / "evaluation.html").read_text(encoding="utf-8")

    # Answers are kept: the same grids are not asked about again.
    asked = len(endpoint.bodies)
    assert evaluated().judged == evaluation.judged
    assert len(endpoint.bodies) == asked


@pytest.mark.usefixtures("real_when_tuned")
def test_the_command_in_the_docs_works(
    run: Run, lora: Path, tiny_flux: Path, endpoint: Endpoint, iclora: Callable[..., tuple[int, str, str]]
) -> None:
    (command,) = re.findall(r"^iclora evaluate .*--judge.*$", DOCS.read_text(encoding="utf-8"), re.M)
    _, *words = shlex.split(command.replace("http://localhost:8000/v1", endpoint.url))
    options = ("--out", str(run.folder), "--lora", str(lora), "--model", str(tiny_flux), "--steps", "1", "--seeds", "1")
    code, out, errors = iclora(*words, *options)
    assert code == 0, errors
    assert "Judge, base: follows its texts 0.10" in out


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("sidecar", {}, "the captioner 'sidecar' hands on texts that people wrote and can't judge"),
        (
            "local",
            {"judge.model": str(MINIATURE / "vlm")},
            "this captioner can't judge: asked about a grid of the data",
        ),
        (
            "server",
            {"captioner.url": "x"},
            "an evaluation has the settings vectors.*, detector.*, judge.*, got c",
        ),
        ("nobody", {}, "nobody"),
    ],
)
def test_who_can_t_judge_is_refused_before_anything_is_drawn(
    name: str, settings: dict[str, str], sentence: str, run: Run, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "encode", lambda *_: pytest.fail("something was drawn"))
    with pytest.raises(BadInput, match=re.escape(sentence)):
        iclora.evaluate(run, lora, judge=name, settings=settings)


def test_what_was_given_is_told_to_the_judge_and_does_not_count_as_drawn(
    run: Run, endpoint: Endpoint, tmp_path: Path
) -> None:
    """The first panel has 1 of 10 and the others 8."""

    def replies(handler: Handler) -> None:
        scores = [{"image": number, "why": "so", "score": 1 if number == 1 else 8} for number in (1, 2, 3)]
        asked = handler.body["response_format"]["json_schema"]["name"]
        reply = {"why": "so", "score": 5} if asked == "consistency" else {"panels": scores}
        handler.reply(completion(json.dumps(reply)))

    endpoint.default = replies
    caption, grid = next((file.read_text(encoding="utf-8"), file) for file in run.dataset.glob("train/*.txt"))
    asked = judge.open_judge("server", {"url": endpoint.url}, run.task)
    layout = run.task.grid_layout
    for given, follows in (((), 17 / 30), ((0,), 0.8), ((0, 2), 0.8)):
        ((found),) = asked.judge([(grid.with_suffix(".png"), caption)], layout, given)
        assert (found.follows, found.consistent) == (pytest.approx(follows), 0.5)
    texts = [body["messages"][0]["content"][-1]["text"] for body in endpoint.bodies]
    consistency = [text for text in texts if "same person" in text]
    lines = ["Image 1 was given, and the others were made to go with it", "Images 1, 3 were given, and the others were"]
    assert [[line in text for line in lines] for text in consistency] == [[False, False], [True, False], [False, True]]


def test_replies_are_read_whatever_surrounds_them_and_their_faults_are_named() -> None:
    whole = {"panels": [{"image": 2, "why": "", "score": None}, {"image": 1, "why": "", "score": 10}]}
    for text in (json.dumps(whole), f"<think>hm</think>```json\n{json.dumps(whole)}```"):
        assert [one.score for one in judge.read(text, Following, 2).panels] == [None, 10]
    assert judge.read('{"why": "x", "score": 0}', Consistency, 2).score == 0
    for text, fault in (
        ("I can't say.", 'no JSON object with "score"'),
        ('{"why": "x", "score": 1} {"why": "x", "score": 2}', "several different JSON objects"),
        ('{"why": "x", "score": 7.5}', "score"),
        ('{"why": "x", "score": -1}', "greater than or equal to 0"),
    ):
        with pytest.raises(BadReply, match=fault):
            judge.read(text, Consistency, 2)
    with pytest.raises(BadReply, match='"image" numbers are not 1 to 3, each once'):
        judge.read(json.dumps(whole), Following, 3)
