"""A folder as a container: what is opened in it, and what is not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.stages import collect


def pack(files: Mapping[str, bytes], home: Path) -> Path:
    """For the contract of containers."""
    for name, content in files.items():
        (home / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "folder" / name).write_bytes(content)
    return home / "folder"


def test_only_regular_files_are_opened_whatever_leads_to_them(tmp_path, draw, gather):
    home = tmp_path / "in"
    home.mkdir()
    draw(1).save(home / "good.png")
    (home / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(home / "pipe.mp4")
    (home / "linked.png").symlink_to(home / "pipe.mp4")
    os.mkfifo(home / "good.txt")
    records, rejected = gather(home)
    assert [record.position.stem for record in records] == ["good"]
    reasons = {Path(row.what).name: row.reason for row in rejected}
    assert reasons == dict.fromkeys(("endless.png", "linked.png", "good.txt"), "unreadable")
    assert all("is not a regular file" in row.detail for row in rejected)


def test_an_unreadable_folder_costs_no_other(tmp_path, draw, gather, monkeypatch):
    (tmp_path / "in" / "lost+found").mkdir(parents=True)
    draw(1).save(tmp_path / "in" / "a.png")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("lost+found"):  # what a user other than root gets
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    records, rejected = gather(tmp_path / "in")
    assert (len(records), [row.reason for row in rejected]) == (1, ["unreadable"])
    assert rejected[0].detail == f"folder {tmp_path}/in/lost+found can't be read: Permission denied."


def test_a_single_file_has_the_texts_beside_it(tmp_path, draw):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        draw(1).save(tmp_path / "in" / name)
    (tmp_path / "in" / "a.txt").write_text("a cat")
    (tmp_path / "metadata.csv").write_text("file_name,text,licence\nin/a.png,none,CC0\nin/b.png,a dog,MIT\n")
    items = collect.find([tmp_path / "in" / "b.png", tmp_path / "in" / "a.png"])
    assert [(item.name, item.text, item.facts.of("licence")) for item in items] == [
        ("b.png", "a dog", "MIT"),
        ("a.png", "a cat", "CC0"),
        ("a.txt", "", ""),  # a row: it says something else than the listing
    ]
