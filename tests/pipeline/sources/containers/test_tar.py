"""A tar archive as a container: compression, damage, links, size, and the samples of a WebDataset."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.records import Rejected
from pipeline.sources import archives
from pipeline.sources.containers import tar
from pipeline.stages import collect

TIMES = itertools.count(1_000_000_000)
"""For archives that are written again at the same path within one tick of the clock."""


def pack(files: Mapping[str, bytes], home: Path, ending: str = ".tar.gz") -> Path:
    """For the contract of containers."""
    path = home / f"packed{ending}"
    with tarfile.open(path, "w:" + ending.removeprefix(".tar").removeprefix(".")) as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **more: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def png(draw, seed: int) -> bytes:
    buffer = io.BytesIO()
    draw(seed, (640, 360)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_archives_are_read_whatever_they_are_compressed_with(ending, tmp_path, draw, gather):
    packed = pack({"./b/1.png": png(draw, 1), "./b/1.txt": b"a text", "2.png": png(draw, 2)}, tmp_path, ending)
    packed.rename(tmp_path / "without an ending")
    records, rejected = gather(tmp_path / "without an ending")
    assert [(record.position.stem, record.text) for record in records] == [("2", ""), ("1", "a text")]
    assert rejected == []


def test_zstandard_is_read_by_the_package_that_tables_need(tmp_path, draw, gather, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    packed = pack({"1.png": png(draw, 1)}, tmp_path, ".tar")
    with pyarrow.CompressedOutputStream(str(tmp_path / "p.tar.zst"), "zstd") as out:
        out.write(packed.read_bytes())
    records, _ = gather(tmp_path / "p.tar.zst")
    assert [record.position.stem for record in records] == ["1"]
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: ["pyarrow"] * (extra == "tables"))
    with pytest.raises(BadInput, match=r"the archive p.tar.zst needs pyarrow, .*'iclora\[tables\]'"):
        collect.find([tmp_path / "p.tar.zst"])


def test_nothing_leads_out_of_an_archive(tmp_path, draw, gather):
    (tmp_path / "secret.png").write_bytes(png(draw, 1))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("../out.png", "/abs.png", "a/../../b.png"):
            add(archive, name, png(draw, 2))
        add(archive, "link.png", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.png"))
        add(archive, "hard.png", type=tarfile.LNKTYPE, linkname="good.png")
        add(archive, "pipe.png", type=tarfile.FIFOTYPE)
        add(archive, "zero.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)
        add(archive, "folder.png", type=tarfile.DIRTYPE)
        add(archive, "good.png", png(draw, 3))
    records, rejected = gather(tmp_path / "a.tar")
    assert [record.position.stem for record in records] == ["good"]
    assert {Path(row.what).name: row.reason for row in rejected} == {
        "out.png": "name", "abs.png": "name", "b.png": "name",
        "link.png": "link", "hard.png": "link", "pipe.png": "unreadable", "zero.png": "unreadable",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"secret.png", "a.tar", "run"}


def test_of_members_with_one_name_the_last_counts(tmp_path, draw, gather):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for seed in (1, 2):
            add(archive, "a.png", png(draw, seed))
    (record,), (row,) = gather(tmp_path / "a.tar")
    assert (tmp_path / "run" / record.path).read_bytes() == png(draw, 2)
    assert (row.reason, row.detail.partition(" is in ")[2]) == (
        "name",
        f"{tmp_path}/a.tar once more; the last one counts.",
    )


def test_archives_that_were_joined_are_read_to_the_end(tmp_path, draw, gather):
    one, other = (pack({f"{seed}.png": png(draw, seed)}, tmp_path, ".tar").read_bytes() for seed in (1, 2))
    (tmp_path / "a.tar").write_bytes(one + other)
    records, rejected = gather(tmp_path / "a.tar")
    assert ([record.position.stem for record in records], rejected) == (["1", "2"], [])


def test_a_damaged_header_costs_only_its_member(tmp_path, draw, gather):
    content = bytearray(pack({f"{seed}.png": png(draw, seed) for seed in (1, 2, 3)}, tmp_path, ".tar").read_bytes())
    start = content.index(b"2.png\0")
    content[start : start + 300] = b"\xff" * 300
    (tmp_path / "a.tar").write_bytes(content)
    records, (row,) = gather(tmp_path / "a.tar")
    assert [record.position.stem for record in records] == ["1", "3"]
    assert row.reason == "unreadable" and f"is damaged from its byte {start:,} on, and can be read again" in row.detail


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz"])
def test_of_an_archive_that_was_cut_off_the_beginning_is_read(ending, tmp_path, gather):
    noise = {f"{seed}.png": b"\x89PNG\r\n\x1a\n" + os.urandom(200_000) for seed in range(6)}
    packed = pack(noise, tmp_path, ending)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    records, rejected = gather(packed)
    assert 1 <= len(records) <= 3
    assert {row.reason for row in rejected} == {"unreadable"}
    assert any("is cut off" in row.detail or "only its beginning is read" in row.detail for row in rejected)


def test_a_bomb_and_too_many_members_become_rows(tmp_path, draw, gather, monkeypatch):
    monkeypatch.setattr(archives, "BOMB_BYTES", 1_000_000)
    packed = pack({"a.png": png(draw, 1), "bomb.mp4": bytes(60_000_000)}, tmp_path)
    records, rejected = gather(packed)
    assert len(records) == 1 and "too large" in {row.reason for row in rejected}
    assert any("unpacks to more than" in row.detail for row in rejected)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    os.utime(packed, (1, 1))
    records, rejected = gather(packed)
    assert (records, "has 2 members, more than 1; split it." in " ".join(row.detail for row in rejected)) == ([], True)


def test_a_header_of_gigabytes_is_not_read(tmp_path, draw, gather):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    packed = pack({"a.png": png(draw, 1)}, tmp_path, ".tar")
    with packed.open("r+b") as file:
        end = len(png(draw, 1)) + 512
        file.seek(end + -end % 512)
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 33)
    records, _ = gather(packed)
    assert [record.position.stem for record in records] == ["a"]


def test_samples_with_several_pictures_are_groups(tmp_path):
    files = {}
    for key in range(3):
        files |= {f"{key:06d}.left.png": b"", f"{key:06d}.right.png": b"", f"{key:06d}.cls": b"3"}
    files |= {
        "000000.txt": b"of both",
        "000001.json": b'{"caption": "of both too", "license": "CC0", "url": "http://x/y"}',
    }
    found = {item.name: item for item in collect.find([pack(files, tmp_path, ".tar").rename(tmp_path / "s-00.tar")])}
    assert len(found) == 6
    facts = found["000001.right.png"].facts
    assert (facts.group, facts.panel, facts.order) == ("s-00/000001", "right", 1.0)
    assert (facts.of("licence"), facts.of("url")) == ("CC0", "http://x/y")
    assert [text for text, _ in found["000000.left.png"].shared] == ["of both"]
    assert [text for text, _ in found["000001.left.png"].shared] == ["of both too"]


def test_dots_in_other_names_make_no_groups(tmp_path):
    files = dict.fromkeys(["Screenshot 2024.01.02.png", "Screenshot 2024.03.04.png", "a.v1.png"], b"")
    assert [item.facts.group for item in collect.find([pack(files, tmp_path)])] == ["", "", ""]


def test_a_sample_with_one_picture_has_its_text_and_facts(tmp_path):
    files = {"0/1.jpg": b"", "0/1.txt": b"a cat", "0/1.json": b'{"caption": "no", "author": "Ann"}', "0/1.cls": b"7"}
    (item,) = collect.find([pack(files, tmp_path)])
    assert (item.text, item.facts.of("author"), item.facts.group) == ("a cat", "Ann", "")


def test_a_gzip_file_that_is_no_archive_is_not_claimed(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"file_name,text\n" * 100))
    assert not tar.claims(tmp_path / "a.csv.gz")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 4000), st.integers(0, 255), max_size=6), st.integers(600, 6000))
def test_any_damage_becomes_rows(tmp_path, storyboard, flips, length):
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(2):
            add(
                archive, f"{number}.png", b"\x89PNG\r\n\x1a\n" + bytes(range(50)), pax_headers={"comment": "x" * number}
            )
            add(archive, f"{number}.txt", b"a text")
    content = bytearray(packed.read_bytes())
    for place, value in flips.items():
        content[place] = value
    packed.write_bytes(content[:length])
    os.utime(packed, ns=(1, next(TIMES)))
    try:
        items = collect.find([packed])
    except BadInput:  # every member has become hidden or a text
        items = []
    stage = collect.stage(storyboard, items, tmp_path / "run", [])
    for item in items:
        results = list(stage.run([item]))
        assert {row.origin if isinstance(row, Rejected) else collect.origin(row)[0] for row in results} == {item.id}
