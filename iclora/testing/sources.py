"""Contracts of sources: containers, which give items, and readers, which make records of them."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from miniature.draw import draw
from miniature.world import describe, draw_scene
from pipeline import plugins, task
from pipeline.records import Record, Rejected
from pipeline.sources import gathering
from pipeline.sources.base import HEAD, Item, Reader
from pipeline.stages import collect

ANY = "storyboard"
"""The task that sources are read for."""


def write_pictures(folder: Path) -> Path:
    """Three drawn pictures with a text beside each; returns the folder."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for number in range(3):
        scene = draw_scene(rng)
        Image.fromarray(draw(scene, size=(320, 160))).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(describe(scene), encoding="utf-8")
    return folder


def check_container(name: str, path: Path) -> None:
    """It claims a path, gives what is in it with the texts that came along, and its items can be sent and read again.

    Args:
        path: a container of this kind that holds what `write_pictures` has written, in a folder or not.
    """
    container = plugins.load(plugins.CONTAINERS, name)
    assert container.claims(path), f"it must claim {path}"
    assert not container.claims(path.parent) or name == "folder", (
        f"it must leave folders alone, but claims {path.parent}"
    )
    given = list(container.items(path))
    assert repr(list(container.items(path))) == repr(given), "the same container must give the same items"
    items = [one for one in given if isinstance(one, Item)]  # the others are remarks
    for item in items:
        assert item.home and (item.fault or item.content), f"{item.name} must have an address, and content or a fault"
        if item.content:
            assert container.beside(item.home, item.name) is not None, f"beside() must find {item.name} by its name"
            sent = pickle.loads(pickle.dumps(item))
            assert sent == item and b"".join(sent.chunks()) == b"".join(item.chunks()), (
                f"{item.name} must be the same in another process"
            )
    nothing = container.beside(items[0].home, "no/such/text.txt")
    assert nothing is None, f"beside() must return None for a name that is not there, got {nothing!r}"
    texts = [record.text for record in collected(path, path.parent / "run")]
    assert len(texts) == 3, f"its three pictures must become three records, got {len(texts)}"
    assert all(texts), f"the text beside a picture must come along, got {texts}"


def check_reader(name: str, path: Path) -> None:
    """It claims a file by its content, and makes the same records of it again; their pictures can be opened.

    Args:
        path: a file of this kind that is sound.
    """
    reader: Reader = plugins.load(plugins.READERS, name)
    (item,) = gathering.items_of([path])
    of, run = task.load(ANY), path.parent / "run"
    assert reader.claims(item, item.head(), of, run), f"it must claim {path}"
    for head in (b"", b"no such content".ljust(HEAD, b"-")):
        other = Item(str(path.parent), "other.bin")
        assert not reader.claims(other, head, of, run), (
            f"it must claim nothing that has other content, but claims {head[:16]!r}"
        )
    records = collected(path, run)
    assert records, f"{path} must give at least one record"
    assert list(reader.read(item, of, run)) == list(reader.read(item, of, run)), (
        "the same file must give the same records"
    )
    for record in records:
        with Image.open(run / record.path) as picture:
            picture.load()


def collected(path: Path, run: Path) -> Sequence[Record]:
    """The records that the collect stage makes of a path."""
    run.mkdir(exist_ok=True)
    items = collect.find([path])
    results = list(collect.stage(task.load(ANY), items, run, []).run(items))
    records = [result for result in results if isinstance(result, Record)]
    rejected = {result.origin for result in results if isinstance(result, Rejected)}
    settled = {collect.origin(record)[0] for record in records} | rejected
    assert settled == {item.id for item in items}, "every item must become a record or a rejected row"
    return records
