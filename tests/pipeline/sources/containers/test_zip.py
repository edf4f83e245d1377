"""A ZIP archive as a container: damage, encryption, size and hostile names."""

from __future__ import annotations

import io
import itertools
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.records import Rejected
from pipeline.sources import archives
from pipeline.stages import collect

TIMES = itertools.count(1_000_000_000)
"""For archives that are written again at the same path within one tick of the clock."""


def pack(files: Mapping[str, bytes], home: Path) -> Path:
    """For the contract of containers."""
    with zipfile.ZipFile(home / "packed.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return home / "packed.zip"


def png(draw, seed: int) -> bytes:
    buffer = io.BytesIO()
    draw(seed, (640, 360)).save(buffer, "PNG")
    return buffer.getvalue()


def test_names_that_lead_out_of_an_archive_become_rows_and_write_nothing(tmp_path, draw, gather):
    hostile = ("../out.png", "/abs.png", "a/../../b.png", "in/./c.png")
    pack({name: png(draw, number) for number, name in enumerate((*hostile, "good.png"))}, tmp_path)
    before = {*tmp_path.iterdir()}
    records, rejected = gather(tmp_path / "packed.zip")
    assert [record.position.stem for record in records] == ["good"]
    assert [row.reason for row in rejected] == ["name"] * 4 and "leads out of it or nowhere" in rejected[0].detail
    written = [path for path in (tmp_path / "run").rglob("*.png") if path.is_file()]
    assert {*tmp_path.iterdir()} == before | {tmp_path / "run"} and len(written) == 1


def test_a_hostile_name_does_not_hide_a_file_beside_the_archive(tmp_path, draw, gather):
    home = tmp_path / "in"
    home.mkdir()
    pack({"../x.png": png(draw, 1)}, home)
    draw(2).save(home / "x.png")
    names = [item.source for item in collect.find([home / "packed.zip", home])]
    assert names == [f"{home}/packed.zip/../x.png", f"{home}/packed.zip", f"{home}/x.png"]


def test_members_with_the_same_name_become_one_item_and_a_row(tmp_path, draw, gather):
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for seed in (1, 2):
            archive.writestr("a.png", png(draw, seed))
    records, rejected = gather(tmp_path / "packed.zip")
    assert (len(records), [row.reason for row in rejected]) == (1, ["name"])
    assert (tmp_path / "run" / records[0].path).read_bytes() == png(draw, 1)


def test_a_damaged_member_costs_no_other(tmp_path, draw, gather):
    whole = pack({"a.png": png(draw, 1), "b.png": png(draw, 2), "b.txt": b"a good text"}, tmp_path)
    content = whole.read_bytes()
    for part, count in ((png(draw, 1)[60:80], 1), (b"a good text", 1)):
        assert content.count(part) == count
        content = content.replace(part, bytes(len(part)))
    whole.write_bytes(content)
    records, rejected = gather(whole)
    assert [(record.position.stem, record.text) for record in records] == [("b", "")]
    assert {Path(row.what).name: row.reason for row in rejected} == dict.fromkeys(("a.png", "b.txt"), "unreadable")
    assert all("is damaged: Bad CRC-32" in row.detail for row in rejected)
    assert not list((tmp_path / "run").rglob("*.part"))


def test_a_damaged_archive_becomes_one_row(tmp_path, draw, gather):
    whole = pack({"a.png": png(draw, 1)}, tmp_path)
    whole.write_bytes(whole.read_bytes()[:-30])
    records, rejected = gather(whole)
    assert (records, [row.reason for row in rejected]) == ([], ["unreadable"])
    assert rejected[0].what == str(whole) and "is a damaged ZIP archive" in rejected[0].detail


def test_an_encrypted_member_becomes_a_row_and_the_others_are_read(tmp_path, draw, gather):
    whole = pack({"a.png": png(draw, 1), "b.png": png(draw, 2), "metadata.jsonl": b"{}"}, tmp_path)
    content = bytearray(whole.read_bytes())
    for mark, place in (
        (b"PK\x03\x04", 6),
        (b"PK\x01\x02", 8),
    ):  # flags in the header of the member and of the directory
        for start in [at for at in range(len(content)) if content[at : at + 4] == mark]:
            name = content[start + (30 if place == 6 else 46) :][:8]
            if not name.startswith(b"b.png"):
                content[start + place] |= 1
    whole.write_bytes(content)
    records, rejected = gather(whole)
    assert [record.position.stem for record in records] == ["b"]
    assert {Path(row.what).name: row.reason for row in rejected} == dict.fromkeys(
        ("a.png", "metadata.jsonl"), "encrypted"
    )


def test_a_zip_bomb_and_too_many_members_become_rows(tmp_path, draw, gather, monkeypatch):
    monkeypatch.setattr(archives, "BOMB_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", b"\0\0\0\x18ftypisom" + bytes(2_000_000))
        archive.writestr("a.png", png(draw, 1))
    records, rejected = gather(tmp_path / "packed.zip")
    assert (len(records), [row.reason for row in rejected]) == (1, ["too large"])
    assert "unpacks to 2,000,012 bytes, " in rejected[0].detail
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    os.utime(tmp_path / "packed.zip", (1, 1))
    records, rejected = gather(tmp_path / "packed.zip")
    assert (records, [row.reason for row in rejected]) == ([], ["too large"])


def test_an_archive_inside_an_archive_or_a_folder_is_unsupported_with_a_way_to_proceed(tmp_path, draw, gather):
    home = tmp_path / "in"
    home.mkdir()
    inner = pack({"a.png": png(draw, 1)}, tmp_path).read_bytes()
    outer = pack({"inner.zip": inner, "b.png": png(draw, 2)}, home)
    for source in (outer, home):
        records, rejected = gather(source)
        assert len(records) == (source == outer)
        assert [row.reason for row in rejected] == ["unsupported"]
        assert "a ZIP archive" in rejected[0].detail and "name it as a source of its own" in rejected[0].detail


@given(st.lists(st.text("ab./\\~ \u00e9\U0001f3ac", min_size=1, max_size=8), min_size=1, max_size=6))
def test_members_of_any_name_become_one_item_each_with_its_own_id(tmp_path, names):
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, bytes([number]))
    os.utime(tmp_path / "packed.zip", ns=(1, next(TIMES)))
    members = [info.filename.replace("\\", "/") for info in zipfile.ZipFile(tmp_path / "packed.zip").infolist()]
    hidden = [any(part[:1] == "." and part not in (".", "..") for part in name.split("/")) for name in members]
    expected = sum(not name.endswith("/") and not out for name, out in zip(members, hidden, strict=True))
    try:
        items = collect.find([tmp_path / "packed.zip"])
    except BadInput:  # empty
        items = []
    assert len(items) == len({item.id for item in items}) == expected


@given(st.dictionaries(st.integers(4, 500), st.integers(0, 255), max_size=6), st.integers(100, 1000))
def test_any_damage_becomes_rows(tmp_path, storyboard, flips, length):
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for number, method in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)):
            archive.writestr(f"{number}.png", b"\x89PNG\r\n\x1a\n" + bytes(range(50)), method)
            archive.writestr(f"{number}.txt", b"a text", method)
    content = bytearray((tmp_path / "packed.zip").read_bytes())
    for place, value in flips.items():
        content[place] = value
    (tmp_path / "packed.zip").write_bytes(content[:length])
    os.utime(tmp_path / "packed.zip", ns=(1, next(TIMES)))
    try:
        items = collect.find([tmp_path / "packed.zip"])
    except BadInput:  # every member has become hidden or a text
        items = []
    stage = collect.stage(storyboard, items, tmp_path / "run", [])
    for item in items:
        results = list(stage.run([item]))
        assert {row.origin if isinstance(row, Rejected) else collect.origin(row)[0] for row in results} == {item.id}
