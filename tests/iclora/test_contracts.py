"""The contract of every kind of plug-in, applied to all that are found, including those of other packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from endpoint import GOOD, serving

from iclora import testing
from pipeline import families, plugins

MINIATURE = Path(__file__).parents[2] / "miniature"
OPTIONS: dict[str, dict[str, Any]] = {
    "local": {"model": str(MINIATURE / "vlm"), "max_new_tokens": 96},
    "scripted": {"answers": [GOOD, "not a caption"]},
    "open_clip": {"model": f"local-dir:{MINIATURE / 'clip'}"},
}
"""What a plug-in that asks a model can't be made without; one that is not listed needs nothing."""


@pytest.fixture(scope="module", autouse=True)
def endpoint() -> Iterator[None]:
    """A server for the captioner `server`."""
    with serving() as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIONS, "server", {"url": endpoint.url})
        yield


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Small models at random for the image encoder `dino` and the detector `transformers`."""
    home = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIONS, "dino", {"model": f"local-dir:{tiny.vit(home / 'vit')}"})
        patch.setitem(OPTIONS, "transformers", {"model": str(tiny.rt_detr(home / "detr")), "threshold": 0.0})
        yield


@pytest.mark.parametrize("name", plugins.names(plugins.TASKS))
def test_every_task_keeps_its_contract(name: str) -> None:
    testing.check_task(name)


def pack_zip(folder: Path) -> Path:
    testing.write_pictures(folder / "in")
    return Path(shutil.make_archive(str(folder / "some"), "zip", folder / "in"))


def pack_tar(folder: Path) -> Path:
    testing.write_pictures(folder / "in")
    return Path(shutil.make_archive(str(folder / "some"), "tar", folder / "in"))


def list_in_table(folder: Path) -> Path:
    testing.write_pictures(folder / "in")
    rows = [f'in/{number}.png,"{(folder / f"in/{number}.txt").read_text(encoding="utf-8")}"' for number in range(3)]
    (folder / "some.csv").write_text("\n".join(["image,text", *rows]) + "\n", encoding="utf-8")
    return folder / "some.csv"


CONTAINERS: dict[str, Callable[[Path], Path]] = {
    "table": list_in_table,
    "tar": pack_tar,
    "folder": lambda folder: testing.write_pictures(folder / "in"),
    "zip": pack_zip,
}
"""How a container is made of three pictures."""
ELSEWHERE = {"hub", "urls"}
"""Need a saved data set and a server: test_hub.py and test_urls.py have them."""


@pytest.mark.parametrize("name", sorted({*plugins.names(plugins.CONTAINERS)} - ELSEWHERE))
def test_every_container_keeps_its_contract(name: str, tmp_path: Path) -> None:
    testing.check_container(name, CONTAINERS[name](tmp_path))


@pytest.mark.parametrize("name", sorted({*plugins.names(plugins.GROUPING)} - {"sets"}))  # a person has formed these
def test_every_grouping_strategy_keeps_its_contract(name: str) -> None:
    testing.check_grouping(name)


@pytest.mark.parametrize("name", plugins.names(plugins.CAPTIONERS))
def test_every_captioner_keeps_its_contract(name: str) -> None:
    testing.check_captioner(name, OPTIONS.get(name))


@pytest.mark.parametrize("name", plugins.names(plugins.SCORERS))
def test_every_scorer_keeps_its_contract(name: str) -> None:
    testing.check_scorer(name, OPTIONS.get(name))


@pytest.mark.parametrize("name", plugins.names(plugins.IMAGE_ENCODERS))
def test_every_image_encoder_keeps_its_contract(name: str) -> None:
    testing.check_image_encoder(name, OPTIONS.get(name))


@pytest.mark.parametrize("name", plugins.names(plugins.DETECTORS))
def test_every_detector_keeps_its_contract(name: str) -> None:
    testing.check_detector(name, OPTIONS.get(name))


@pytest.mark.parametrize("name", plugins.names(plugins.EXPORTERS))
def test_every_exporter_keeps_its_contract(name: str, tmp_path: Path) -> None:
    testing.check_exporter(name, tmp_path)


@pytest.mark.parametrize("name", families.names())
def test_every_family_keeps_its_contract(name: str, tmp_path: Path) -> None:
    testing.check_family(name, tmp_path)
