"""From source paths to items: what is found, in which order, with which texts and facts."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from pipeline import files
from pipeline.errors import BadInput
from pipeline.records import Record
from pipeline.sources.base import Item
from pipeline.sources.texts import text_of
from pipeline.stages import collect

JOINT = "[MOVIE-SHOTS] A day, [SCENE-1] <Mia> wakes up early, [SCENE-2] she walks away, [SCENE-3] night falls."


def stems(records: Iterable[Record]) -> list[str]:
    return [record.position.stem for record in records]


def save(picture: Image.Image, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def item_of(path: Path) -> Item:
    """The item of a file, which need not be an image."""
    path.touch()
    return collect.find([path])[0]


# ---- which files, in which order


def test_files_come_in_natural_order_without_sidecars_and_hidden_files(tmp_path):
    names = ("shot 10.png", "shot 2.PNG", "shot 1.jpg", "²/1²3.png", "a/x.jpg", "a b/x.jpg")
    beside = (".hidden.png", ".git/a.png", "shot 1.txt", "list.CSV", "run/run.db", "run/grids/a.png")
    for name in names + beside:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listed = [item.name for item in collect.find([tmp_path])]
    assert sorted(listed) == sorted(names)
    assert [name for name in listed if name.startswith("shot")] == ["shot 1.jpg", "shot 2.PNG", "shot 10.png"]


def test_folders_and_files_of_programs_are_no_sources(tmp_path, draw, gather):
    for number in range(2):
        name = f"IMG_{number}.jpg"
        save(draw(number), tmp_path / "in" / name, tmp_path / "in" / "@eaDir" / name / "SYNOPHOTO_THUMB_XL.jpg")
    folders = (
        "#recycle",
        "$RECYCLE.BIN",
        "lost+found",
        "System Volume Information",
        "__MACOSX",
        ".@__thumb",
        "x/@eaDir",
    )
    save(draw(2), *(tmp_path / "in" / folder / "a.png" for folder in folders))
    for name in ("Thumbs.db", "desktop.ini", "@eaDir/IMG_0.txt"):
        (tmp_path / "in" / name).write_bytes(b"\xd0\xcf\x11\xe0")
    records, rejected = gather(tmp_path / "in")
    assert (stems(records), rejected) == (["IMG_0", "IMG_1"], [])


def test_links_are_followed_once_and_keep_their_own_names(tmp_path, draw, gather):
    save(draw(1), tmp_path / "store" / "blob.png")
    (tmp_path / "store" / "blob.png").rename(tmp_path / "store" / "blob")
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "named.png").symlink_to(tmp_path / "store" / "blob")
    (source / "named.txt").write_text("a cat on a mat")
    (source / "deep" / "back").symlink_to(source)
    (source / "outside").symlink_to(tmp_path / "more")
    save(draw(2), tmp_path / "more" / "b.png")
    records, rejected = gather(source)
    assert (stems(records), records[0].text, rejected) == (["named", "b"], "a cat on a mat", [])


def test_a_source_that_is_missing_or_empty_is_reported(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere does not exist; give a film"):
        collect.find([tmp_path / "nowhere"])
    (tmp_path / "a.txt").write_text("only text")
    with pytest.raises(BadInput, match="no films and no pictures in"):
        collect.find([tmp_path])


def test_a_name_that_no_table_can_hold_becomes_a_rejected_row(tmp_path, draw, gather):
    save(draw(1), tmp_path / "in" / "a.png")
    os.rename(tmp_path / "in" / "a.png", os.fsencode(tmp_path / "in") + b"/caf\xe9.png")
    _, rejected = gather(tmp_path / "in")
    assert [row.reason for row in rejected] == ["name"]
    assert rejected[0].what.encode().endswith(b"caf?.png")


# ---- texts


@pytest.mark.parametrize(
    ("texts", "pictures"),
    [
        ({"0001.txt": JOINT}, ("0001-1", "0001-2", "0001-3")),
        ({"0001.txt": JOINT, "0001 (1).txt": "her own text"}, ("0001 (1)", "0001 (2)", "0001 (3)")),
        ({"0001_1.txt": JOINT, "0001_2.txt": JOINT, "0001_3.txt": JOINT}, ("0001_1", "0001_2", "0001_3")),
        ({"1.txt": JOINT, "2.txt": JOINT, "3.txt": JOINT}, ("1", "2", "3")),
        ({"caption.txt": JOINT}, ("first", "second", "third")),
        ({"caption.txt": JOINT}, ("1", "2", "3")),
    ],
)
def test_a_joint_caption_makes_one_set_in_whatever_form_it_is_stored(texts, pictures, tmp_path, storyboard):
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
    read = [text_of(item_of(tmp_path / f"{name}.png"), storyboard) for name in pictures]
    assert {text.text for text in read} == {JOINT}
    assert len({text.set for text in read}) == 1 and read[0].set
    assert [text.page for text in read] in ([1, 2, 3], [0, 0, 0])


def test_numbers_that_continue_across_two_captions_make_two_sets(tmp_path, storyboard):
    for number in range(1, 7):
        (tmp_path / f"film_{number:02d}.txt").write_text(JOINT if number < 4 else JOINT.replace("day", "week"))
    sets = [text_of(item_of(tmp_path / f"film_{number:02d}.png"), storyboard).set for number in range(1, 7)]
    assert sets == [sets[0]] * 3 + [sets[3]] * 3 and sets[0] != sets[3]


def test_a_text_of_an_images_own_makes_no_set(tmp_path, storyboard):
    (tmp_path / "a-1.txt").write_text("a  cat\non a mat ")
    (tmp_path / "caption.txt").write_text("pictures of cats")
    assert text_of(item_of(tmp_path / "a-1.png"), storyboard).text == "a cat on a mat"
    assert [text_of(item_of(tmp_path / name), storyboard).set for name in ("a-1.png", "²-x.png", "²")] == ["", "", ""]


# ---- listings


def test_half_a_character_in_a_listing_costs_only_what_it_is_in(tmp_path, draw, gather):
    (tmp_path / "in").mkdir()
    draw(1).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a cat", "author": "\\udfff"}')
    (record,), _ = gather(tmp_path / "in")
    assert (record.text, record.author) == ("a cat", "?")


@pytest.mark.parametrize(
    "broken", ['{"file_name": "a.png", "boxes": [[0, 0, 1e999, 9]]}', "[" * 100_000, '{"file_name"']
)
def test_an_unreadable_listing_ends_the_command_before_any_work(broken, tmp_path, draw):
    draw(1).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(broken)
    with pytest.raises(BadInput, match=r"metadata.jsonl can't be read as a listing of pictures"):
        collect.find([tmp_path])


def test_a_text_too_long_for_a_caption_becomes_a_row(tmp_path, draw, gather):
    (tmp_path / "in").mkdir()
    draw(1).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.txt").write_text("word " * 100_000)
    records, rejected = gather(tmp_path / "in")
    assert [record.text for record in records] == [""]
    assert [(Path(row.what).name, row.reason) for row in rejected] == [("a.txt", "unreadable")]


def test_many_images_with_one_text_are_distinguished_from_grids_in_linear_time(tmp_path, monkeypatch):
    """Each text is opened once, and no folder is listed once per image."""
    for number in range(200):
        (tmp_path / f"{number:03d}.png").touch()
        (tmp_path / f"{number:03d}.txt").write_text(JOINT if number % 2 else f"{JOINT} {number}")
    opened = []
    real = files.open_regular
    monkeypatch.setattr(files, "open_regular", lambda path, *most: opened.append(path) or real(path, *most))
    assert sum(item.twin for item in collect.find([tmp_path])) == 100
    assert len([path for path in opened if path.suffix == ".txt"]) == 200


# ---- folders and files of programs


def test_what_programs_keep_for_themselves_is_passed_over_and_counted(tmp_path, draw, gather):
    home = tmp_path / "in"
    kept = ("IMG_1.jpg", "Photos Library.photoslibrary/originals/0/a.jpg", "[Originals]/b.jpg")
    made = (
        "@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_M.jpg", "Lightroom Previews.lrdata/0/p.jpg", ".picasaoriginals/IMG_1.jpg",
        "Photos Library.photoslibrary/resources/derivatives/a.jpg", "x/.thumbnails/1.jpg", ".Trash-1000/files/a.jpg",
        "Film.trickplay/320/0.jpg", "IMG_1.jpg@SynoEAStream", "IMG_1.AAE", "IMG_1.jpg.xmp", "IMG_1.jpg.pp3",
        "Thumbs.db", "GOPR1.THM", "CaptureOne/Cache/Proxies/IMG_1.jpg.cop",
    )  # fmt: skip
    for number, name in enumerate(kept):
        save(draw(number), home / name)
    for name in made:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes((home / "IMG_1.jpg").read_bytes())
    records, rejected = gather(home)
    assert (sorted(stems(records)), rejected) == (["IMG_1", "a", "b"], [])
    (remark,) = collect.find([home]).remarks
    assert remark.startswith(f"{home} passed over: 8 folders of programs (")
    assert remark.endswith(" and 6 files of programs (.AAE, .THM, .jpg@SynoEAStream, .pp3, .xmp and 1 more).")


def test_folders_of_programs_in_an_archive_are_counted_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.png", "__MACOSX/._a.png", "__MACOSX/x/._b.png", "Thumbs.db", "x/desktop.ini"):
            archive.writestr(name, b"x")
    assert collect.find([tmp_path / "a.zip"]).remarks == [
        f"{tmp_path}/a.zip passed over: 1 folder of programs (__MACOSX) and 2 files of programs (Thumbs.db, "
        "desktop.ini)."
    ]


def test_a_file_that_was_named_itself_is_not_passed_over(tmp_path, draw):
    save(draw(1), tmp_path / "@eaDir" / ".a.png")
    assert [item.name for item in collect.find([tmp_path / "@eaDir" / ".a.png"])] == [".a.png"]


# ---- several sources


def test_patterns_stand_for_what_they_match(tmp_path):
    for number in (0, 1, 2, 10):
        (tmp_path / f"s{number:02d}.png").touch()
    found = [item.name for item in collect.find([tmp_path / "s{00..02}.png"])]
    assert found == ["s00.png", "s01.png", "s02.png"]
    assert [item.name for item in collect.find([tmp_path / "s*.png"])] == ["s00.png", "s01.png", "s02.png", "s10.png"]
    assert [item.name for item in collect.find([tmp_path / "{s10,s00}.png"])] == ["s10.png", "s00.png"]
    (tmp_path / "odd[1]{a,b}.png").touch()
    assert [item.name for item in collect.find([tmp_path / "odd[1]{a,b}.png"])] == ["odd[1]{a,b}.png"]
    with pytest.raises(BadInput, match=r"sources .*x\*\.png, .*s03.png do not exist; give a film"):
        collect.find([tmp_path / "x*.png", tmp_path / "s{02..03}.png"])
    with pytest.raises(BadInput, match=r"stands for more than 100,000 files"):
        collect.find([tmp_path / "{0..999999999}.png"])


# ---- tables beside pictures


def test_a_table_of_another_name_is_a_listing_if_it_names_pictures(tmp_path):
    save(Image.new("RGB", (8, 8)), tmp_path / "images" / "a.png")
    (tmp_path / "products.csv").write_text("picture;description;sku\nimages/a.png;a chair;A1\n")
    (tmp_path / "prices.csv").write_text("sku,price\nA1,3\n")
    items = collect.find([tmp_path])
    assert [(item.name, item.text, item.facts.group) for item in items] == [("images/a.png", "a chair", "A1")]
    assert items.remarks == [
        f"{tmp_path}/prices.csv is not used, since it names none of the pictures beside it; if its rows say which of "
        f"them belong together, give it as a source: --source {tmp_path}/prices.csv.",
        f"{tmp_path}/products.csv names 1 picture and is used as their listing.",
    ]


def test_a_json_file_of_another_name_is_a_listing_if_it_names_pictures(tmp_path):
    save(Image.new("RGB", (8, 8)), tmp_path / "a.png")
    (tmp_path / "meta_lat.json").write_text('{"a": {"caption": "a chair", "tags": "b"}}')
    for number, content in enumerate(("{", '{"version": 3}', "[7]", '{"images": [{"file_name": "b.png"}]}')):
        (tmp_path / f"settings-{number}.json").write_text(content)
    items = collect.find([tmp_path])
    assert [(item.name, item.text) for item in items] == [("a.png", "a chair")]
    assert items.remarks == [f"{tmp_path}/meta_lat.json names 1 picture and is used as their listing."]


@pytest.mark.parametrize("name", ["a.json", "a.png.json", "A.JSON"])
def test_a_json_file_of_a_pictures_own_has_its_text_and_rights(name, tmp_path):
    save(Image.new("RGB", (8, 8)), tmp_path / "a.png")
    (tmp_path / name).write_text(
        '{"caption": "a cat", "license": "CC0", "url": "http://x", "date": "2024", "width": 8}'
    )
    (item,) = collect.find([tmp_path])
    assert (item.text, *map(item.facts.of, ("licence", "url", "date"))) == ("a cat", "CC0", "http://x", "2024")


def test_a_json_file_that_says_nothing_of_a_picture_does_no_harm(tmp_path):
    save(Image.new("RGB", (8, 8)), tmp_path / "a.png")
    for content in ("[1, 2]", "{", '{"prompt": {"3": {"inputs": {}}}}', "[" * 90_000):
        (tmp_path / "a.json").write_text(content)
        assert [(item.text, item.fault) for item in collect.find([tmp_path])] == [("", None)]
