"""Contract tests of plug-ins, one function per kind, for the tests of any package that has some.

    from iclora import testing

    def test_haiku_keeps_the_contract_of_a_captioner():
        testing.check_captioner("haiku")

Each takes the plug-in's name, or the path of its file, as a user would give it. A broken rule raises an AssertionError
that names it; a plug-in that can't be found or loaded raises BadInput.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from miniature.draw import draw
from miniature.world import Scene, describe, draw_character, draw_scene
from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.captioning import instructions
from pipeline.captioning.protocol import Answer, Captioner, Question
from pipeline.consistency.scorers.base import Scorer
from pipeline.dataset.samples import Config, Dataset, Sample
from pipeline.dataset.split import Split
from pipeline.errors import BadInput
from pipeline.exporters import imagefolder
from pipeline.plugins import Kind
from pipeline.records import Grid, Group, Position, Record, Row
from pipeline.stages.group import stage as group_stage
from pipeline.text import grammar

SMALL = ("layout.panel_width=128", "layout.panel_height=64")
GRIDS = 6
"""Of the data set that exporters are given; the last one is held out."""


# ---- tasks


def check_task(name: str) -> None:
    """A task loads, and its captioner is told what belongs to every marker."""
    loaded = task.load(name)
    assert loaded.title.strip(), f"{name} has no title"
    told = instructions.write(loaded)
    assert all(marker in told for marker in loaded.markers), "the instructions name every marker"
    plugins.find(plugins.GROUPING, loaded.group.by).load()


# ---- grouping strategies


def check_grouping(name: str, settings: Sequence[str] = ()) -> None:
    """Every record is in exactly one group or rejected, with a reason; the same records give the same groups.

    Args:
        settings: of the task, as for `--set`.
    """
    plugin = plugins.find(plugins.GROUPING, name)
    target = json.dumps(plugin.target if plugin.content else plugin.name)
    of = task.load("storyboard", [*SMALL, "grids=[1,100]", *settings, f"group.by={target}"])
    run = group_stage(of, plugin, None, Path(), Cache(Path())).run
    assert not list(run([])), "no records give no groups"
    for records in (_films(), _folder(), _films() + _folder()):
        results = list(run(records))  # it raises BadInput if a record was lost or used twice
        assert list(run(records)) == results, "the same records give the same groups"
        for result in results:
            why = result.formed if isinstance(result, Group) else result.detail
            assert why.strip() and "\n" not in why, f"{result.id} says in one line why"


# ---- captioners


def check_captioner(name: str, options: Mapping[str, Any] | None = None) -> None:
    """One answer per question, the same alone, among others and in another process; a stable identity."""
    made: Captioner = plugins.make(plugins.CAPTIONERS, name, dict(options or {}))
    again: Captioner = plugins.make(plugins.CAPTIONERS, name, dict(options or {}))
    _check_identity(made, again, "captioner", plugins.find(plugins.CAPTIONERS, name).name)
    _check_options(plugins.CAPTIONERS, name, options)
    assert made.batch >= 1, "it takes at least one question at once"
    assert isinstance(made.verbatim, bool), "it says whether its texts were written by people"
    questions = [_question(1), _question(2)]
    answers = _answers(made, questions)
    assert all(isinstance(answer, Answer) for answer in answers), "every question gets an Answer"
    assert _answers(made, questions) == answers, "the same questions get the same answers"
    assert _answers(made, questions[1:]) == answers[1:], "an answer doesn't depend on the other questions"
    assert _answers(_sent(made), questions) == answers, "it answers alike in another process"


def _answers(captioner: Captioner, questions: Sequence[Question]) -> list[Answer]:
    came = list(captioner.ask(questions))
    assert sorted(place for place, _ in came) == list(range(len(questions))), "every question gets one answer"
    return [answer for _, answer in sorted(came, key=lambda pair: pair[0])]


def _question(seed: int) -> Question:
    rng = random.Random(seed)
    of = task.load("storyboard", SMALL)
    scenes = [draw_scene(rng) for _ in of.markers]
    panels = tuple(_picture(scene, of) for scene in scenes)
    grid = Image.new("RGB", of.grid_layout.canvas)
    for panel, box in zip(panels, of.grid_layout.boxes, strict=True):
        grid.paste(panel, box[:2])
    return Question(panels, tuple(map(describe, scenes)), of.markers, instructions.write(of), grid=grid)


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


# ---- exporters


def check_exporter(name: str, folder: Path, settings: Sequence[str] = ()) -> None:
    """It writes the files that it lists and no others, leaves the data alone, and writes the same again.

    Args:
        folder: an empty folder to work in.
        settings: of the task, as for `--set`.
    """
    data = _dataset(folder, settings)
    module = plugins.load(plugins.EXPORTERS, name)
    written = []
    for home in (folder / "one", folder / "other"):
        home.mkdir()
        if module is not imagefolder:
            imagefolder.write(data, home)
        before = _contents(home)
        config = module.write(data, home)
        after = _contents(home)
        assert isinstance(config, Config) and config.trainer.strip(), "it returns a Config that names the trainer"
        assert {file: after.get(file) for file in before} == before, "the data is as it was"
        new = {file: content for file, content in after.items() if file not in before}
        if module is not imagefolder:
            assert new.keys() == set(config.files), f"it lists what it wrote: {sorted(new.keys() ^ set(config.files))}"
        assert not config.command or str(data.home) in config.command, "the command names the data set"
        assert all(note.strip() and "\n" not in note for note in config.notes), "a note is one sentence"
        written.append((config, new))
    assert written[0] == written[1], "the same data gives the same files"


def _dataset(folder: Path, settings: Sequence[str]) -> Dataset:
    """Six storyboards, one of them held out, and their pictures below the folder."""
    of, rng = task.load("storyboard", [*SMALL, *settings]), random.Random(0)
    layout, samples = of.grid_layout, []
    for number in range(1, GRIDS + 1):
        scenes = [draw_scene(rng, draw_character(rng)) for _ in of.markers]
        picture = Image.new("RGB", layout.canvas)
        for scene, box in zip(scenes, layout.boxes, strict=True):
            picture.paste(_picture(scene, of), box[:2])
        picture.save(folder / f"{number}.png")
        records = tuple(Record(f"r{number}-{panel}", "", f"/films/{number}.mp4", Position()) for panel in range(3))
        text = grammar.render("A day out", [describe(scene) for scene in scenes], [], of)
        grid = Grid(f"g{number}", Group(f"s{number}", of.name, records, "drawn", 1), layout, f"{number}.png")
        side = "train" if number < GRIDS else "validation"
        samples.append(Sample(Row(grid, grammar.parse(text, of)), f"{number:04d}", side, f"film {number}"))
    return Dataset(of, folder, folder / "dataset", tuple(samples), Split({}, frozenset(), ""))


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


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


def _picture(scene: Scene, of: task.Task) -> Image.Image:
    return Image.fromarray(draw(scene, size=(of.layout.panel_width, of.layout.panel_height)))


def _films() -> list[Record]:
    """Three films of seven shots each."""
    return [
        replace(one, position=Position("/films", f"{film}{shot}", film, shot, 2.0 * shot))
        for film in "abc"
        for shot in range(7)
        for one in [_record(f"{film}{shot}", ord(film))]
    ]


def _folder() -> list[Record]:
    """Two folders of pictures, some of whose names differ in their last word only, and one with facts of a listing."""
    names = [f"{folder}/{number}_{role}" for folder in "xy" for number in range(3) for role in ("1", "2", "3")]
    made = [_record(name, ord(name[0])) for name in [*names, "z/alone", "z/b", "z/c", "z/d"]]
    return [
        replace(one, position=Position(f"/{one.id[0]}", one.id[2:], group="g" if one.id[0] == "z" else ""))
        for one in made
    ]


def _record(name: str, seed: int) -> Record:
    """A measured picture; those of one seed have much the same colours."""
    own, shared = random.Random(name), random.Random(seed)
    colours = bytes(min(255, shared.randrange(200) + own.randrange(40)) for _ in range(128))
    return Record(
        name, f"/{name}.png", f"/{name}.png", Position(), width=640, height=360,
        phash=f"{own.getrandbits(64):016x}", histogram=colours.hex(),
    )  # fmt: skip
