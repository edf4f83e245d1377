"""Texts and listings beside pictures: under which names they are found, and which belong to no picture."""

from __future__ import annotations

import json
import sys
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image

from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources import gathering
from pipeline.sources.containers import folder
from pipeline.sources.readers import grid
from pipeline.stages import collect
from pipeline.task import Task
from pipeline.text import grammar

Draw = Callable[..., Image.Image]
Gather = Callable[..., tuple[list[Record], list[Rejected]]]


def filled(home: Path, files: dict[str, str]) -> Path:
    """A folder with these files; those without a text are empty."""
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")
    return home


def texts_of(path: Path) -> dict[str, str]:
    return {item.name: item.text for item in collect.find([path]) if not item.fault}


def rows_of(path: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail of what is told, by name."""
    return {item.name: (item.fault.reason, item.fault.detail) for item in collect.find([path]) if item.fault}


def zipped(home: Path) -> Path:
    packed = home.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(home.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(home)))
    return packed


# ---- names of texts

NFC, NFD = (unicodedata.normalize(form, "Café 1") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("taken", ["folder", "zip", "file"])
@pytest.mark.parametrize(
    ("picture", "text"),
    [
        ("p0.png", "p0.txt"),
        ("p0.png", "p0.caption"),
        ("p0.png", "p0.TXT"),
        ("p0.PNG", "p0.CAPTION"),
        ("p0.png", "p0.png.txt"),
        ("p0.png", "p0.png.caption"),
        (f"{NFC}.png", f"{NFD}.txt"),
        (f"{NFD}.png", f"{NFC}.txt"),
        ("v1.0. final...png", "v1.0. final...txt"),
        ("blob", "blob.txt"),
    ],
)
def test_a_pictures_text_is_found_under_every_usual_name(picture: str, text: str, taken: str, tmp_path: Path) -> None:
    home = filled(tmp_path / "in", {picture: "", text: "a red box"})
    source = {"folder": home, "zip": zipped(home), "file": home / picture}[taken]
    assert texts_of(source) == {picture: "a red box"}
    assert rows_of(source) == {}


def test_names_in_another_case_are_found_unless_they_are_those_of_another_picture(tmp_path: Path) -> None:
    home = filled(tmp_path, {"IMG_1.JPG": "", "img_1.txt": "one", "a.png": "", "A.png": "", "A.txt": "capital"})
    assert texts_of(home) == {"IMG_1.JPG": "one", "a.png": "", "A.png": "capital"}


def test_a_joint_caption_of_a_set_is_found_under_these_names_too(tmp_path: Path) -> None:
    home = filled(tmp_path, {"0001-1.png": "", "0001-2.png": "", "0001.CAPTION": "joint", "b/1.png": "", "b.TXT": "b"})
    shared = {item.name: [text for text, _ in item.shared] for item in collect.find([home])}
    assert shared == {"0001-1.png": ["joint"], "0001-2.png": ["joint"], "b/1.png": ["b"]}


def test_texts_that_belong_to_no_picture_are_counted_and_named(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    home = filled(tmp_path / "in", {"b.txt": "b", "c/d.caption": "d", "notes.md": "", "lost.srt": "", "a.txt": "a"})
    draw(1).save(home / "a.png")
    records, rejected = gather(home)
    assert [record.text for record in records] == ["a"]
    assert [(row.reason, row.what, row.detail) for row in rejected] == [
        (
            "stray text",
            f"{home}/{name}",
            f"{home}/{name} belongs to no picture: there is none of its name in its folder.",
        )
        for name in ("b.txt", "c/d.caption")
    ]
    assert gathering.remarks(collect.find([home])) == ["2 text files belong to no picture: b.txt, c/d.caption."]
    (home / "c/d.caption").unlink()
    assert gathering.remarks(collect.find([home])) == ["1 text file belongs to no picture: b.txt."]


def test_two_texts_of_one_picture_that_differ_are_told(tmp_path: Path) -> None:
    listing = (
        json.dumps({"file_name": "b.png", "text": "listed"}) + "\n" + json.dumps({"file_name": "c.png", "text": "c"})
    )
    home = filled(
        tmp_path,
        {
            "a.png": "",
            "a.txt": "first",
            "a.caption": "second",
            "b.png": "",
            "b.txt": "beside",
            "c.png": "",
            "c.txt": "c",
        }
        | {"d.png": "", "d.txt": "the same", "d.caption": "the\nsame\n", "metadata.jsonl": listing},
    )
    assert texts_of(home) == {"a.png": "first", "b.png": "beside", "c.png": "c", "d.png": "the same"}
    assert rows_of(home) == {
        "a.caption": (
            "second text",
            f"{home}/a.txt and a.caption have different texts for a.png; remove one, the first counts.",
        ),
        "b.txt": (
            "second text",
            f"{home}/b.txt and metadata.jsonl have different texts for b.png; remove one, the first counts.",
        ),
    }


def test_a_text_in_doubt_is_a_row_that_names_it_and_the_picture_stays(
    tmp_path: Path, draw: Draw, gather: Gather
) -> None:
    home = tmp_path / "in"
    home.mkdir()
    for number, encoding in enumerate(("gbk", "utf-8", "utf-16-le")):
        draw(number).save(home / f"{number}.png")
        (home / f"{number}.txt").write_bytes("一个红色的盒子放在桌子上".encode(encoding))
    records, rejected = gather(home)
    assert [record.text for record in records] == ["", "一个红色的盒子放在桌子上", "一个红色的盒子放在桌子上"]
    assert not any({"\ufffd", "\0"} & set(record.text) for record in records)
    assert [(Path(row.what).name, row.reason) for row in rejected] == [("0.txt", "encoding")]
    assert "gbk" in rejected[0].detail


def test_a_text_for_a_set_that_is_no_joint_caption_is_told(tmp_path: Path, storyboard: Task) -> None:
    home = filled(tmp_path / "in", {"0001-1.png": "", "0001-2.png": "", "0001.txt": "[SCENE-1] a, [SCENE-2] b"})
    items = collect.find([home])
    assert collect.stage(storyboard, items, tmp_path, []).facts([])["remarks"] == [
        "the texts of in/0001 are not used: not all of [SCENE-1] [SCENE-2] [SCENE-3] are in them, in this order."
    ]


# ---- listings


def jsonl(*files: str) -> str:
    return "\n".join(json.dumps({"file_name": file, "text": f"text of {file}"}) for file in files)


@pytest.mark.parametrize(
    ("listing", "content"),
    [
        ("metadata.jsonl", jsonl("a/b/c/1.png")),
        ("METADATA.JSONL", jsonl("./a/b/c/1.png")),
        ("a/metadata.jsonl", jsonl("b/c/1.png")),
        ("a/b/c/metadata.jsonl", jsonl("1.png")),
        ("lists/metadata.jsonl", jsonl("../a/b/c/1.png")),
        ("../metadata.jsonl", jsonl("in/a/b/c/1.png", "elsewhere/1.png")),
        ("metadata.jsonl", jsonl("a\\b\\c\\1.png")),
        ("metadata.jsonl", jsonl("HOME/a/b/c/1.png")),
        ("metadata.jsonl", jsonl("C:\\data\\set\\a\\b\\c\\1.png")),
        ("metadata.jsonl", jsonl("/another/machine/a/b/c/1.png")),
        ("a/metadata.jsonl", jsonl("/another/machine/b/c/1.png")),
        ("metadata.jsonl", jsonl("A/b/c/1.PNG")),
        ("metadata.csv", "file_name,text\na/b/c/1.png,text of it\n"),
        ("metadata.csv", "File_Name;Text\r\na/b/c/1.png;text of it, and more\r\n"),
        ("metadata.csv", 'sep=;\n"image";"prompt"\n"a/b/c/1.png";"text of it"\n'),
        ("metadata.tsv", "file_name\ttext\na/b/c/1.png\ttext of it\n"),
        ("metadata.json", json.dumps([{"image": "a/b/c/1.png", "prompt": "text of it"}])),
        ("metadata.json", json.dumps({"a/b/c/1": {"caption": "text of it", "tags": "box"}})),
        ("meta_cap.json", json.dumps({"HOME/a/b/c/1.png": {"caption": "text of it"}})),
        ("captions.json", json.dumps({"a/b/c/1.png": ["text of it", "another"]})),
        ("metadata.jsonl", "\ufeff" + jsonl("a/b/c/1.png").replace("text of", "text of\u2028").replace("\n", "\r\n")),
    ],
)
def test_the_pictures_of_a_listing_are_found(listing: str, content: str, tmp_path: Path) -> None:
    home = filled(tmp_path / "in", {"a/b/c/1.png": "", "a/2.png": ""})
    (home / listing).parent.mkdir(exist_ok=True)
    (home / listing).write_text(content.replace("HOME", str(home)), encoding="utf-8", newline="")
    (text,) = [item.text for item in collect.find([home]) if item.name == "a/b/c/1.png"]
    assert text.startswith("text of ") and rows_of(home) == {}
    assert texts_of(home)["a/2.png"] == ""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le"])
def test_a_listing_is_read_in_the_encodings_of_texts(encoding: str, tmp_path: Path) -> None:
    filled(tmp_path, {"a.png": ""})
    (tmp_path / "metadata.csv").write_bytes("file_name;text\r\na.png;机の上の赤い箱\r\n".encode(encoding))
    assert texts_of(tmp_path) == {"a.png": "机の上の赤い箱"}


def test_pictures_of_a_listing_that_are_not_there_are_counted_and_named(tmp_path: Path) -> None:
    files = [f"{number}.png" for number in range(40)]
    home = filled(tmp_path, dict.fromkeys(files[2:], "") | {"metadata.jsonl": jsonl(*files)})
    detail = f"{home}/metadata.jsonl lists 40 pictures, 38 were found; 0.png, 1.png are missing."
    assert rows_of(home) == {"metadata.jsonl": ("listing", detail)}
    assert gathering.remarks(collect.find([home])) == [detail]
    assert rows_of(home / "2.png") == {
        "metadata.jsonl": ("listing", detail)
    }  # all others are there, though not asked for


def test_a_path_below_a_folder_that_is_gone_is_not_that_of_another_picture(tmp_path: Path) -> None:
    home = filled(tmp_path, {"1.png": "", "a/1.png": "", "metadata.jsonl": jsonl("a/1.png", "b/1.png")})
    assert texts_of(home) == {"1.png": "", "a/1.png": "text of a/1.png"}
    assert "b/1.png is missing" in rows_of(home)["metadata.jsonl"][1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metadata.csv", "city,people\nRome,3\n", "names no pictures; every entry of a listing has one of file_name, "),
        ("metadata.json", '["a.png", 7]', "names no pictures"),
        ("metadata.jsonl", jsonl("a.png") + '\n{"text": "whose?"}', "1 was found; entry 2 names no picture."),
        (
            "metadata.jsonl",
            jsonl("a.png") + '\n{"file_name": "a.png", "text": "b"}',
            "with another text counts for a.png",
        ),
        (
            "metadata.jsonl",
            '{"image": "a.png", "conversations": [{"from": "gpt", "value": "b"}]}',
            "lists 1 picture, 1 was found; its entries say nothing that is read: a text is looked for under text, ",
        ),
        ("metadata.json", '[{"image": "a.png", "text": {"en": "b"}}]', "got text."),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a\\u0000b"}', "lost letters (the character U+0000)"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a \\ufffd b"}', "lost letters (the character U+FFFD)"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a \\ud800 b"}', "lost letters (the character U+D800)"),
    ],
)
def test_what_a_listing_says_in_vain_is_told(name: str, content: str, said: str, tmp_path: Path) -> None:
    home = filled(tmp_path, {"a.png": "", name: content})
    reason, detail = rows_of(home)[name]
    assert reason == "listing" and said in detail
    assert texts_of(home)["a.png"] in ("", "text of a.png")


def test_a_table_above_the_source_that_names_none_of_its_pictures_is_not_ours(tmp_path: Path) -> None:
    """A run's own captions.csv lies above its data set."""
    home = filled(tmp_path / "in", {"a.png": "", "../captions.csv": "id,caption\ng-1,a text\n"})
    (tmp_path / "metadata.jsonl").write_text(jsonl("other/a.png"))
    assert (texts_of(home), rows_of(home)) == ({"a.png": ""}, {})


def test_a_text_that_a_delimiter_cuts_in_two_ends_the_command(tmp_path: Path) -> None:
    filled(tmp_path, {"a.png": "", "metadata.csv": "file_name,text\na.png,a box, on a table\n"})
    with pytest.raises(BadInput, match=r"metadata.csv can't be read .* \(row 2 has 3 cells, the header 2: quote"):
        collect.find([tmp_path])


def test_a_listing_in_doubt_ends_the_command_before_any_work(tmp_path: Path) -> None:
    filled(tmp_path, {"a.png": ""})
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "a.png", "text": "机の上の赤い箱"}'.encode("shift_jis"))
    with pytest.raises(BadInput, match=r"metadata.jsonl is not UTF-8 text .*shift_jis"):
        collect.find([tmp_path])


# ---- costs


@pytest.mark.parametrize("kind", ["texts", "listing"])
def test_the_work_for_a_picture_does_not_grow_with_their_number(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = folder.beside
    monkeypatch.setattr(folder, "beside", lambda home, name: asked.append(name) or real(home, name))

    def calls(count: int) -> int:
        names = [f"{number:04d}.png" for number in range(count)]
        beside = {f"{name[:-4]}.txt": f"own {name}" for name in names} if kind == "texts" else {}
        listing = {"metadata.jsonl": jsonl(*names)} if kind == "listing" else {}
        home = filled(tmp_path / f"{kind}{count}", dict.fromkeys(names, "") | beside | listing)
        asked.clear()
        assert all(item.text for item in collect.find([home]))
        return len(asked)

    few, many = calls(100), calls(400)
    assert many <= 4 * few


def test_telling_ready_grids_from_panels_takes_no_more_work_for_a_picture_where_there_are_many(tmp_path: Path) -> None:
    """In a layout of as many rows as columns, it depends on whether another picture has the same caption."""
    square = task.load("font-design")

    def work(count: int) -> int:
        """Steps of the interpreter, which no other program on the machine can change."""
        names = [f"{number:04d}" for number in range(count)]
        captions = {f"{name}.txt": grammar.render(name, ["a"] * 4, [], square) for name in names}
        home = filled(tmp_path / f"grids{count}", captions)
        for name in names:
            Image.new("RGB", (8, 8)).save(home / f"{name}.png")
        steps = 0

        def step(frame: FrameType, event: str, _: object) -> object:
            nonlocal steps
            steps += event == "line"
            return step

        before = sys.gettrace()
        sys.settrace(step)
        try:
            items = list(collect.find([home]))
            claims = [grid.claims(item, (home / item.name).read_bytes(), square, home) for item in items]
        finally:
            sys.settrace(before)
        assert claims == [True] * count
        return steps

    _, few, many = work(1), work(20), work(160)  # the first also imports
    assert many <= 8 * 1.5 * few
