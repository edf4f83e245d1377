"""Sources that strangers made, through `collect` and `inspect`: each is a record, a row or one sentence."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzzed
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from miniature.film import encode
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources import archives, formats, listings
from pipeline.sources.tables.nearby import Nearby
from pipeline.stages import collect, inspect
from pipeline.task import Task

Draw = Callable[..., Image.Image]
Gather = Callable[..., tuple[list[Record], list[Rejected]]]


# ---- links, pipes, devices


@pytest.mark.timeout(60)
def test_pipes_and_devices_of_every_name_are_a_row_each_or_one_sentence(
    tmp_path: Path, draw: Draw, gather: Gather
) -> None:
    home = tmp_path / "in"
    home.mkdir()
    draw(1).save(home / "good.png")
    names = ("a.png", "b.mp4", "c.zip", "d", "e.tif", "good.txt")
    for name in names:
        os.mkfifo(home / name)
    for name, device in (("random.jpg", "urandom"), ("zero.mkv", "zero")):
        (home / name).symlink_to(f"/dev/{device}")
    records, rejected = gather(home)
    assert [record.position.stem for record in records] == ["good"]
    assert {Path(row.what).name for row in rejected} == {*names, "random.jpg", "zero.mkv"}
    assert all(row.detail.endswith("can't be read: it is not a regular file.") for row in rejected)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["a.png", "a.zip", "a.mp4", "metadata.jsonl", "metadata.csv", "captions.json"])
def test_a_pipe_as_the_source_itself_or_as_a_listing_is_not_waited_for(
    name: str, tmp_path: Path, draw: Draw, gather: Gather
) -> None:
    (tmp_path / "in").mkdir()
    draw(1).save(tmp_path / "in" / "good.png")
    os.mkfifo(tmp_path / "in" / name)
    told = outcome(gather, tmp_path / "in" if Path(name).suffix[:3] in (".js", ".cs") else tmp_path / "in" / name)
    assert any("it is not a regular file" in one for one in told)


def outcome(gather: Gather, path: Path) -> list[str]:
    """What is told about a source: a row each, or one sentence for all of it."""
    try:
        return [row.detail for row in gather(path)[1]]
    except BadInput as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return [str(error)]


def test_folders_a_thousand_levels_deep_are_walked(tmp_path: Path, draw: Draw) -> None:
    home, depth = os.getcwd(), 1_200
    os.chdir(tmp_path)
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        draw(1, (64, 48)).save("a.png")
        (item,) = collect.find([tmp_path])
        assert item.name == "d/" * depth + "a.png"
        assert Nearby(str(tmp_path)).names == [item.name]  # what the cells of a table there could mean
    finally:
        Path("a.png").unlink(missing_ok=True)
        for _ in range(depth):  # before Python 3.12 shutil.rmtree calls itself for every level
            os.chdir("..")
            os.rmdir("d")
        os.chdir(home)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "head", [b"\x89PNG\r\n\x1a\n", b"II*\0", b"\x1aE\xdf\xa3", b"\0\0\0\x18ftypisom", b"\0\0\1\xba"]
)
def test_terabytes_of_nothing_behind_a_head_are_not_read(head: bytes, tmp_path: Path, gather: Gather) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "a").open("wb") as file:
        file.write(head)
        file.truncate(1 << 40)
    records, (row,) = gather(tmp_path / "in")
    assert not records and row.reason == "unreadable" and row.detail.startswith(f"{tmp_path}/in/a ")


# ---- listings


@pytest.mark.parametrize(
    "line",
    [
        '{"file_name": "a.png", "text": "\\ud800 half a letter"}',
        '{"file_name": "\\ud800.png", "text": "a"}',
        '{"file_name": "a\\u0000.png", "text": "a"}',
        '{"file_name": "a.png", "text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"file_name": "a.png", "boxes": [[0, 0, 1e999, 10]]}',
        '{"file_name": "a.png", "boxes": [[0, 0, NaN, 10], [1]]}',
        '{"file_name": "a.png", "boxes": [[0, 0, "x", 10]]}',
        '{"file_name": "a.png", "text": {"a": 1}, "sources": [1, null]}',
        '{"file_name": "a.png", "text": [], "group": [[]]}',
        '{"file_name": "a.png", "text": 5, "licence": 1e999}',
        '{"file_name": ["a.png"]}',
        '{"file_name": "a.png", "boxes": [[0, 0, ' + "9" * 5_000 + ", 10]]}",
        '"a.png"',
        "[1, 2]",
        "5",
        "\0",
    ],
)
def test_any_listing_is_read_or_told_in_one_sentence(line: str, tmp_path: Path, draw: Draw, gather: Gather) -> None:
    (tmp_path / "in").mkdir()
    draw(1).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "metadata.jsonl").write_text(line)
    told = outcome(gather, tmp_path / "in")
    assert all(one.encode() for one in told)  # no half letters, which no table can hold


def test_a_listing_of_more_entries_than_memory_holds_is_one_sentence(
    tmp_path: Path, draw: Draw, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three bytes of JSON are an entry of a thousand bytes."""
    monkeypatch.setattr(listings, "MOST_ENTRIES", 1_000)
    (tmp_path / "in").mkdir()
    draw(1).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "metadata.jsonl").write_text("{}\n" * 1_001)
    (told,) = outcome(gather, tmp_path / "in")
    assert "it has more than 1,000 entries" in told


# ---- anything at all


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """A small one of every format."""
    found, drawn = [], Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    for kind, more in (
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {}),
        ("BMP", {}),
        ("AVIF", {}),
    ):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[274] = 6
        drawn.save(buffer, kind, **more, **({} if kind in ("GIF", "BMP") else {"exif": exif}))
        found.append(buffer.getvalue())
    return found


def through(content: bytes, home: Path, task: Task) -> Iterator[Record | Rejected]:
    """What collect and inspect make of a file."""
    (home / "a.png").write_bytes(content)
    (item,) = collect.find([home / "a.png"])
    for found in collect.collect([item], parameters=collect.Parameters(task, home / "run")):
        if isinstance(found, Record):
            yield from inspect.inspect([found], parameters=inspect.Parameters(task.layout, home / "run"))
        else:
            yield found


@fuzzed
@given(
    kind=st.integers(0, 8),
    flips=st.dictionaries(st.integers(0, 3_000), st.integers(0, 255), max_size=8),
    length=st.integers(0, 4_000),
)
@example(kind=1, flips={2: 0, 128: 68}, length=956)  # to libav, a motion JPEG of one picture that breaks off
def test_any_damage_to_a_picture_is_a_row(
    kind: int, flips: dict[int, int], length: int, pictures: list[bytes], tmp_path: Path, storyboard: Task
) -> None:
    content = bytearray(pictures[kind])
    for place, value in flips.items():
        content[place % len(content)] = value
    (row,) = through(bytes(content[: max(length, 60)]), tmp_path, storyboard)
    assert not isinstance(row, Rejected) or (row.detail.endswith(".") and "\n" not in row.detail)


@fuzzed
@given(head=st.sampled_from([*(mark for _, marks in formats.MARKS for mark in marks.values())]), rest=st.binary())
def test_anything_that_begins_like_a_known_format_is_rows(
    head: bytes, rest: bytes, tmp_path: Path, storyboard: Task
) -> None:
    assert all(isinstance(row, Rejected) for row in through(head + rest, tmp_path, storyboard))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of two shots."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    shots = [np.full((48, 64, 3), 40 + 150 * shot, np.uint8) for shot in range(2) for _ in range(14)]
    encode(path, iter(shots), size=(64, 48), fps=12)
    return path.read_bytes()


@fuzzed
@given(flips=st.dictionaries(st.integers(0, 5_000), st.integers(0, 255), max_size=8), length=st.integers(0, 6_000))
def test_any_damage_to_a_film_is_rows(
    flips: dict[int, int], length: int, film: bytes, tmp_path: Path, storyboard: Task
) -> None:
    content = bytearray(film)
    for place, value in flips.items():
        content[place % len(content)] = value
    rows = [*through(bytes(content[: max(length, 12)]), tmp_path, storyboard)]
    assert rows and all("\n" not in row.detail for row in rows if isinstance(row, Rejected))


# ---- archives


def test_members_that_have_their_packed_bytes_in_common_are_no_way_to_fill_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb of one layer: many entries for the same bytes, each small enough by itself."""
    monkeypatch.setattr(archives, "BOMB_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\x89PNG\r\n\x1a\n" + bytes(1 << 19))
    content = (tmp_path / "a.zip").read_bytes()
    start = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    entry, count = content[start:end], 300
    entries = b"".join(entry.replace(b"a.png", b"%05d" % number) for number in range(count))
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), start, 0)
    (tmp_path / "a.zip").write_bytes(content[:start] + entries + tail)
    items = collect.find([tmp_path / "a.zip"])
    kept = [item for item in items if not item.fault]
    assert len(items) == count and 1 <= len(kept) <= 10
    assert all(item.fault.reason == "too large" for item in items if item.fault)


def test_a_table_of_contents_of_gigabytes_is_not_read(tmp_path: Path, gather: Gather) -> None:
    with (tmp_path / "a.zip").open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(1 << 31)
        file.seek(0, 2)
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65_535, 65_535, (1 << 31) - 4, 4, 0))
    records, (row,) = gather(tmp_path / "a.zip")
    assert not records and "its table of contents has 2,147,483,644 bytes" in row.detail


@fuzzed
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_anything_that_begins_like_an_archive_is_rows(tmp_path_factory, storyboard: Task, body: bytes, tail: bytes):
    home = tmp_path_factory.mktemp("archive")
    (home / "a.zip").write_bytes(b"PK\3\4" + body + b"PK\5\6" + tail)
    try:
        items = collect.find([home / "a.zip"])
    except BadInput:  # there is nothing in it
        return
    assert [*collect.stage(storyboard, items, home / "run", []).run(items)]


def test_a_listing_in_an_archive_is_bounded(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    buffer = io.BytesIO()
    draw(1).save(buffer, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", buffer.getvalue())
        archive.writestr("a.txt", bytes(1 << 20))
        archive.writestr("metadata.jsonl", json.dumps({"file_name": "a.png", "licence": "CC0"}))
    records, (row,) = gather(tmp_path / "a.zip")
    assert [record.licence for record in records] == ["CC0"]
    assert "a.txt has more than 100,000 bytes, too many for captions" in row.detail
