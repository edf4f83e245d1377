"""Questions to an endpoint, and what comes of them: for tests of the captioner `server`."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from endpoint import Endpoint, Reaction, serving
from PIL import Image
from plain import LAYOUT, painted, small

from captioners import server
from captioners.server import requests
from pipeline.captioning import protocol
from pipeline.captioning.jpegs import Form
from pipeline.captioning.protocol import Answer, Question
from pipeline.engines import local
from pipeline.records import Caption, Grid
from pipeline.stages import caption
from pipeline.store import Store
from pipeline.text.counters import ESTIMATE


def colour(number: int) -> tuple[int, int, int]:
    """A picture that stays distinguishable from all others as JPEG."""
    return number % 8 * 30, number // 8 * 30, 99


def panel(number: int) -> Image.Image:
    return Image.new("RGB", (64, 64), colour(number))


def picture(number: int) -> str:
    """The endpoint's key of a grid: its first panel."""
    return requests.data_url(panel(number), Form(server.MEGAPIXEL, server.QUALITY))


def ask(number: int = 0, **more: Any) -> Question:
    grid = Image.new("RGB", LAYOUT.canvas, colour(number))
    panels = tuple(grid.crop(box) for box in LAYOUT.boxes)
    return Question(panels, ("", "", ""), ("[A]", "[B]", "[C]"), "Say what you see.", grid=grid, **more)


def make(endpoint: Endpoint, **options: Any) -> server.Server:
    return server.make({"url": endpoint.url, "timeout": 5.0, **options})


def answers_of(captioner: protocol.Captioner, questions: Sequence[Question]) -> list[Answer]:
    came = dict(captioner.ask(questions))
    return [came[place] for place in range(len(questions))]


def answer_to(reaction: Reaction, **options: Any) -> Answer:
    with serving(default=reaction) as endpoint:
        (answer,) = answers_of(make(endpoint, **options), [ask()])
    return answer


def grids(folder: Path, count: int) -> list[Grid]:
    return painted(folder, (colour(number) for number in range(count)))


def run(folder: Path, captioner: protocol.Captioner, count: int, **overrides: object) -> list[Caption]:
    inputs = grids(folder, count)
    with Store(folder) as store:
        earlier = store.items(Caption, "captions")
        places = caption.places(inputs)
        parameters = caption.Parameters(small(**overrides), captioner, folder, store.cache, ESTIMATE, places)
        local.run(caption.stage(parameters, earlier), inputs, store, upstream="grids", progress=lambda *_: None)
        return store.items(Caption, "captions")


def opened(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))
