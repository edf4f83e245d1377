"""What every container and every reader must do, whichever there are.

A container `x` has `tests/pipeline/sources/containers/test_x.py`; one of files has `pack(files, home)` there, which
makes one of named bytes and returns its path. A reader `x` has `tests/pipeline/sources/readers/test_x_reader.py` with
`sample(folder, draw)`, which writes something that it claims and returns the path.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import pickle
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from miniature.film import encode
from pipeline import plugins
from pipeline.records import Record, Rejected
from pipeline.sources import containers, gathering, readers
from pipeline.sources.base import Container, Reader
from pipeline.stages import collect

JOINT = "[MOVIE-SHOTS] A day, [SCENE-1] <Mia> wakes up early, [SCENE-2] she walks away, [SCENE-3] night falls."
LISTED = {"file_name": "listed.png", "text": "a listed text", "licence": "CC0", "group": "g"}


def helper(name: str) -> Any:
    """The helper in a plug-in's own test file."""
    path = Path(__file__).parent / f"{name}.py"
    assert path.exists(), f"{path} is missing; this file's docstring says what it needs."
    spec = importlib.util.spec_from_file_location(f"helper_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PACKED = [name for name in plugins.names(containers) if hasattr(helper(f"containers/test_{name}"), "pack")]
"""Containers of files."""


@pytest.fixture
def files(tmp_path, draw) -> dict[str, bytes]:
    """One of each: images with and without texts, a set, a grid, a mask, a film, and files of no known kind."""

    def png(seed: int, size: tuple[int, int] = (640, 360)) -> bytes:
        buffer = io.BytesIO()
        draw(seed, size).save(buffer, "PNG")
        return buffer.getvalue()

    encode(tmp_path / "a.mp4", iter([np.asarray(draw(3, (320, 180)))] * 14), size=(320, 180), fps=12)
    return {
        "own.png": png(1),
        "own.txt": b"its own text",
        "listed.png": png(2),
        "metadata.jsonl": json.dumps(LISTED).encode(),
        "set/0001-1.png": png(3),
        "set/0001-2.png": png(4),
        "set/0001.txt": JOINT.encode(),
        "ready/grid.png": png(5, (400, 600)),
        "ready/grid.txt": JOINT.encode(),
        "masks/own.png": png(6, (64, 64)),
        "film.bin": (tmp_path / "a.mp4").read_bytes(),
        "copy.png": png(1),
        "text.jpg": b"a text",
        "empty.png": b"",
        ".hidden/a.png": png(7),
    }


def results_of(rows: tuple[list[Record], list[Rejected]], home: str, run: Path) -> tuple[list[Any], list[Any]]:
    """Records and rejections without the location of the container."""
    records, rejected = rows

    def short(text: str) -> str:
        return text.replace(home, "HOME")

    return (
        [
            (
                short(r.source),
                r.id,
                replace(
                    r.position, folder=short(r.position.folder), set=r.position.set.replace(Path(home).name, "HOME")
                ),
                r.text,
                r.licence,
                (run / r.path).read_bytes(),
            )
            for r in records
        ],
        [(short(row.what), row.reason, short(row.detail)) for row in rejected],
    )


@pytest.mark.parametrize("name", PACKED)
def test_every_container_gives_its_readers_all_that_a_folder_gives(name, files, tmp_path, gather):
    folder, packed = (helper(f"containers/test_{kind}").pack(files, tmp_path) for kind in ("folder", name))
    expected = results_of(gather(folder), str(folder), tmp_path / "run")
    assert len(expected[0]) == 8 and len(expected[1]) == 4
    assert results_of(gather(packed), str(packed), tmp_path / "run") == expected


@pytest.mark.parametrize("name", PACKED)
def test_every_container_gives_plain_items(name, files, tmp_path):
    module: Container = plugins.load(containers, name)  # type: ignore[assignment]
    packed = helper(f"containers/test_{name}").pack(files, tmp_path)
    assert module.claims(packed) and isinstance(module.PRIORITY, int)
    items = list(module.items(packed))
    again = pickle.loads(pickle.dumps(items))
    assert again == items == list(module.items(packed)) and repr(again) == repr(items) and " at 0x" not in repr(items)
    read = {item.name: b"".join(item.chunks()) for item in again}
    hidden = {key for key in files if key.startswith(".")}
    assert {key: read.get(key) for key in files.keys() - hidden} == {key: files[key] for key in files.keys() - hidden}
    text = module.beside(items[0].home, "set/0001.txt")
    assert text and b"".join(text.chunks()) == JOINT.encode()
    assert module.beside(items[0].home, "nowhere.txt") is None is module.beside(items[0].home, "../nowhere.txt")


def test_the_example_container_in_the_docstring_of_the_protocol_is_complete(files, tmp_path, gather, monkeypatch):
    code = (Container.__doc__ or "").partition("        import")
    written = ModuleType("written")
    monkeypatch.setitem(sys.modules, "written", written)
    exec(textwrap.dedent("".join(code[1:])), vars(written))
    real = gathering.ordered
    monkeypatch.setattr(gathering, "ordered", lambda package: (*[written] * (package is containers), *real(package)))
    packed = tmp_path / "packed.json"
    packed.write_text(json.dumps({name: base64.b64encode(content).decode() for name, content in files.items()}))
    folder = helper("containers/test_folder").pack(files, tmp_path)
    expected = results_of(gather(folder), str(folder), tmp_path / "run")
    assert results_of(gather(packed), str(packed), tmp_path / "run") == expected


@pytest.mark.parametrize("name", plugins.names(readers))
def test_every_reader_reads_its_own_items_and_nothing_else(name, tmp_path, draw, storyboard):
    reader: Reader = plugins.load(readers, name)  # type: ignore[assignment]
    (tmp_path / "in").mkdir()
    (tmp_path / "junk").write_bytes(b"\1\2\3" * 300)
    (junk,) = collect.find([tmp_path / "junk"])
    assert not reader.claims(junk, junk.head(), storyboard, tmp_path) and isinstance(reader.PRIORITY, int)
    items = collect.find([helper(f"readers/test_{name}_reader").sample(tmp_path / "in", draw)])
    claimed = [item for item in items if reader.claims(item, item.head(), storyboard, tmp_path / "run")]
    assert claimed
    results = [list(reader.read(item, storyboard, tmp_path / "run")) for item in claimed]
    assert all(results) and results == [list(reader.read(item, storyboard, tmp_path / "run")) for item in claimed]
    for result in (one for some in results for one in some):
        assert isinstance(result, Record | Rejected)
        if isinstance(result, Record):
            assert (tmp_path / "run" / result.path).is_file() and len(result.id) == 64
        else:
            assert result.detail.endswith(".")


@pytest.mark.parametrize("package", [containers, readers])
def test_every_plug_in_for_sources_describes_itself(package: ModuleType) -> None:
    assert all(plugins.load(package, name).__doc__ for name in plugins.names(package))
