"""Panels that are made ready to be sent while a grid is drawn: the same requests, without opening the grid again."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import make, opened
from endpoint import GOOD, completion, pictures, serving
from PIL import Image
from plain import small

import iclora
from captioners import server
from iclora import stages
from pipeline.cache import Cache
from pipeline.captioning import jpegs
from pipeline.captioning.jpegs import Form, Jpegs, Ready, Unopened
from pipeline.captioning.protocol import Question
from pipeline.engines import local
from pipeline.progress import silent
from pipeline.records import Caption, Grid, Group, Position, Record
from pipeline.stages import caption, compose
from pipeline.store import Store
from pipeline.text.counters import ESTIMATE

FORM = Form(server.MEGAPIXEL, server.QUALITY)


def composed(folder: Path, form: Form | None) -> list[Grid]:
    folder.mkdir()
    records = []
    for number in range(3):
        image = Image.linear_gradient("L").convert("RGB").rotate(90 * number)
        image.save(folder / f"{number}.png")
        records.append(Record(f"r{number}", f"{number}.png", f"{number}.png", Position()))
    ready = Ready(Cache(folder / "cache"), form) if form else None
    group = Group("s1", "storyboard", tuple(records), "for a test", 1.0)
    return [one for one in compose.stage(small(), folder, 1, [], ready).run([group]) if isinstance(one, Grid)]


def captioned(folder: Path, grids: list[Grid], captioner: server.Server) -> list[str]:
    """Names of the kept answers, which are those of the questions."""
    with Store(folder) as store:
        assert store.cache.folder == folder / "cache"
        given = caption.Parameters(small(), captioner, folder, store.cache, ESTIMATE, caption.places(grids))
        local.run(caption.stage(given), grids, store, upstream="", progress=silent)
        assert [one.problems for one in store.items(Caption, "captions")] == [()]
    return [file.name for file in (folder / "cache" / "replies").rglob("*.json")]


def kept(folder: Path) -> list[Path]:
    return list(folder.rglob("*.jpegs"))


def test_the_requests_are_those_of_opened_grids_and_nothing_is_left_after_the_answer(tmp_path: Path) -> None:
    with serving(default=lambda handler: handler.reply(completion(GOOD))) as endpoint:
        captioner = make(endpoint)
        one, other = tmp_path / "ready", tmp_path / "opened"
        grids = composed(one, captioner.sends)
        assert len(kept(one)) == 1
        (one / grids[0].path).unlink()  # so that nobody can open it
        names = captioned(one, grids, captioner)
        assert names == captioned(other, composed(other, None), captioner)
    assert endpoint.bodies[0] == endpoint.bodies[1] and len(endpoint.bodies) == 2
    assert not kept(one) and not kept(other)


def test_where_the_server_wants_smaller_pictures_the_grid_is_opened(tmp_path: Path) -> None:
    panels = [Image.effect_noise((600, 600), 90).convert("RGB") for _ in range(3)]
    made = Jpegs(FORM, tuple(map(jpegs.look, panels)), tuple(map(FORM.encode, panels)))
    looked: list[int] = []
    unopened = Unopened(lambda: looked.append(1) or panels, 3)  # type: ignore[func-returns-value]
    question = Question(unopened, ("",) * 3, ("[A]", "[B]", "[C]"), "Look.", jpegs=made)

    def react(handler) -> None:  # type: ignore[no-untyped-def]
        whole = opened(pictures(handler.body)[0]).width == 600
        handler.reply(completion(GOOD), 413 if whole else 200)

    with serving(default=react) as endpoint:
        ((_, answer),) = make(endpoint).ask([question])
    assert answer.text == GOOD and looked == [1]
    assert [opened(pictures(body)[0]).width < 600 for body in endpoint.bodies] == [False, True]


def test_panels_kept_in_another_form_or_of_another_picture_are_not_taken(tmp_path: Path) -> None:
    (grid,) = composed(tmp_path / "run", FORM)
    cache = Cache(tmp_path / "run" / "cache")
    assert Ready(cache, FORM).find(grid) and not Ready(cache, Form(4096, server.QUALITY)).find(grid)
    (file,) = kept(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    assert Ready(cache, FORM).find(grid) is None


@pytest.mark.parametrize(
    ("captioner", "settings", "form"),
    [
        ("server", ["captioner.model=m", "captioner.quality=80"], Form(server.MEGAPIXEL, 80)),
        ("server", ["captioner.model=m", "captioner.images=both"], None),
        ("server", ["captioner.model=m", "captioner.url=nowhere"], None),  # which is the caption stage's to say
        ("sidecar", [], None),
    ],
)
def test_composing_keeps_what_the_captioner_of_the_run_sends(
    tmp_path: Path, captioner: str, settings: list[str], form: Form | None
) -> None:
    with iclora.open_run("storyboard", captioner=captioner, settings=settings, folder=tmp_path) as run:
        ready = stages.work(run, "compose", [], silent).stage.run.keywords["parameters"].ready  # type: ignore[attr-defined]
        assert (ready.form if ready else None) == form
