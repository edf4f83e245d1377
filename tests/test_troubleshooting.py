"""The page of messages: every sentence on it is what a command or a function says when that goes wrong."""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import model_hub
import pytest
from asking import answer_to
from endpoint import closed, fails
from PIL import Image

from iclora import advancing, open_run
from iclora.evaluation import instruments
from miniature import film
from miniature.world import draw_scene
from pipeline import weights
from pipeline.errors import ToolkitError
from pipeline.records import Grid, Layout
from pipeline.stages import compose
from pipeline.store import working

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^> (.*)$", PAGE, re.MULTILINE)
BARE = ("--captioner", "sidecar", "--scorer", "none", "--set", "group.floor=0")
Typed = Callable[..., tuple[int, str, str]]


class World:
    """What a message is provoked with; what is said is one error of a command or of a function."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed) -> None:
        self.folder, self.patch, self._typed = tmp_path, monkeypatch, typed
        rng = random.Random(3)
        for number in range(3):
            film.picture(draw_scene(rng), tmp_path / "films" / f"{number}.png", (320, 160))

    def types(self, *words: str) -> str:
        code, out, err = self._typed(*words)
        assert code or "--plan" in words
        return out + err


def raised(function: Callable[[], Any]) -> str:
    with pytest.raises((ToolkitError, LookupError)) as error:
        function()
    return str(error.value)


def lacks_a_package(world: World) -> str:
    world.patch.setattr("pipeline.plugins.extras.missing", lambda extra: ["openpyxl"] * (extra == "tables"))
    (world.folder / "a.xlsx").write_bytes(b"PK")
    return world.types("survey", "a.xlsx")


def broken_download(world: World) -> str:
    home = world.folder / "model"
    home.mkdir()
    (home / "model.safetensors").write_bytes(bytes(100))
    with model_hub.serving(home) as hub:
        model_hub.use(hub, world.folder / "cache", world.patch)
        hub.breaks = "model.safetensors"
        return raised(lambda: weights.fetch("the captioner X", model_hub.MODEL))


def at_chance(_: World) -> str:
    area = {"cleared": False, "value": 0.51, "low": 0.45, "high": 0.57, "line": 0.6}
    facts: Any = {"belonging": {"groups": 40, "area": area}}
    mark: Any = SimpleNamespace(name="group", facts=facts)
    run: Any = SimpleNamespace(
        store=SimpleNamespace(mark=lambda _: mark), task=SimpleNamespace(group=SimpleNamespace(prove=True))
    )
    return raised(lambda: advancing._stop_at_chance(run, mark))


def changed_source(world: World) -> str:
    assert world._typed("compose", "storyboard", "--source", "films", *BARE)[0] == 0
    with open_run("storyboard") as run:
        grid = run.store.items(Grid, "grids")[0]
        Image.new("RGB", (64, 64)).save(world.folder / "films" / "1.png")
        return raised(lambda: compose.redraw(grid, run.task.layout.fit, run.folder))


def broken_lora(world: World) -> str:
    (world.folder / "a.safetensors").write_bytes(b"{}")
    return world.types("generate", "a.safetensors", "a prompt")


def folder_without_captions(world: World) -> str:
    return world.types("train", "storyboard", "--data", "empty")


def locked_run(world: World) -> str:
    assert world._typed("collect", "storyboard", "--source", "films")[0] == 0
    with working(world.folder / "runs" / "storyboard"):
        return world.types("inspect", "storyboard")


def full_disk(world: World) -> str:
    full = OSError(errno.ENOSPC, "No space left on device", str(world.folder / "run.db"))
    world.patch.setattr("iclora.open_run", Mock(side_effect=full))
    return world.types("dataset", "storyboard")


def without_structure(world: World) -> str:
    for name in ("beach", "dog", "tree", "friends"):
        film.picture(draw_scene(random.Random(name)), world.folder / "photos" / f"{name}.png", (320, 160))
    return world.types("dataset", "storyboard", "--source", "photos", *BARE)


def two_pictures(world: World) -> str:
    (world.folder / "films" / "2.png").unlink()
    return world.types("dataset", "storyboard", "--source", "films", *BARE)


def without_faces(world: World) -> str:
    world.patch.setattr("pipeline.pixels.faces.can_be_found", lambda: False)
    film.picture(draw_scene(random.Random(1)), world.folder / "narrow" / "1.png", (288, 160))
    return world._typed("inspect", "storyboard", "--source", "narrow")[1]


def without_base(world: World) -> str:
    words = ("--data", "grids", "--into", "lora", "--set", "train.model=black-forest-labs/FLUX.1-dev")
    return world.types("train", "storyboard", *words)


def full_gpu(world: World) -> str:
    import torch

    from training import generate

    world.patch.setattr(generate, "_draw", Mock(side_effect=torch.OutOfMemoryError))
    backend = SimpleNamespace(model="a/base")
    made: Any = SimpleNamespace(
        backend=backend, device=torch.device("cpu"), weights="bf16", layout=Layout(3, 1, 1024, 512)
    )
    return raised(lambda: generate.sample(made, [], []))


def file_in_the_way(world: World) -> str:
    from iclora.generation import Generation

    (world.folder / "grid-2.png").touch()
    made: Any = SimpleNamespace(layout=Layout(3, 1, 1024, 512))
    requests: Any = [None]
    return raised(lambda: Generation(made, requests).check_files(world.folder / "grid.png"))


PROVOKED: dict[str, Callable[[World], str]] = {
    "which is not installed: pip install": lacks_a_package,
    "unknown key": lambda world: world.types("dataset", "storyboard", "--source", "films", "--set", "group.nera=1"),
    "another process is at work in": locked_run,
    "can't be written: No space left on device": full_disk,
    "set a valid key as OPENAI_API_KEY": lambda _: raised(lambda: answer_to(fails(401, "no such key"))),
    "form no group, since nothing says which belong together": without_structure,
    "no neighbours": two_pictures,
    "faces aren't looked for": without_faces,
    "there is no data set in": lambda world: world.types("train", "storyboard"),
    "is not on this machine and can't be fetched": without_base,
    "the GPU's memory is too small for": full_gpu,
    "exists and would be overwritten": file_in_the_way,
    "are not on this machine and can't be fetched": lambda world: world.types(
        *("caption", "storyboard", "--source", "films", "--captioner", "local", "--scorer", "none")
    ),
    "the download broke off at": broken_download,
    "must be a web address such as": lambda world: world.types(
        *("caption", "storyboard", "--source", "films", "--captioner", "server", "--scorer", "none"),
        *("--set", "captioner.url=localhost:8000"),
    ),
    "no server answers at": lambda world: world.types(
        *("caption", "storyboard", "--source", "films", "--captioner", "server", "--scorer", "none"),
        *("--set", f"captioner.url={closed()}"),
    ),
    "until it is set anew": lambda _: raised(lambda: answer_to(fails(404, "no such model"), model="m")),
    "there are no films and no pictures in": lambda world: world.types(
        "dataset", "storyboard", "--source", "empty", *BARE
    ),
    "so nothing was": at_chance,
    "no grid is left for a data set": lambda world: world.types("dataset", "storyboard", "--source", "films", *BARE),
    "has changed since it was collected": changed_source,
    "has no pictures with captions to train on": folder_without_captions,
    "is too small for this training": lambda world: world.types(
        *("train", "storyboard", "--plan", "--data", str(world.folder / "grids"), "--gpu", "1")
    ),
    "without a scorer nothing can be measured": lambda world: raised(
        lambda: instruments.open_instruments(open_run("storyboard", "films", scorer="none"), None, None, {})
    ),
    "can't be read as a LoRA file": broken_lora,
}


SLOW = {"is too small for this training"}
"""These take more than a few seconds."""


def test_every_message_of_the_page_is_provoked_here() -> None:
    assert sorted(PROVOKED) == sorted(MESSAGES)


@pytest.mark.parametrize(
    "message", [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in MESSAGES]
)
def test_a_message_of_the_page_is_what_is_said(
    message: str, iclora: Typed, grids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "grids").symlink_to(grids)
    said = " ".join(PROVOKED[message](World(tmp_path, monkeypatch, iclora)).split())
    assert message in said
