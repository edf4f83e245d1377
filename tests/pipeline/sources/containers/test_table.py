"""A table as a container: what its columns mean, which files its rows name, and what is told of those that fail."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline import task
from pipeline.errors import BadInput
from pipeline.sources.base import Item
from pipeline.stages import collect

Draw = Callable[..., Image.Image]

SHOTS = [("A-1", "front"), ("A-1", "back"), ("B 2", "front"), ("B 2", "back")]
"""What the pictures of the folder `img` show."""


@pytest.fixture
def shop(tmp_path: Path, draw: Draw) -> Path:
    """A folder of products with a picture from either side."""
    (tmp_path / "img").mkdir()
    for number, (sku, view) in enumerate(SHOTS):
        draw(number, (64, 32)).save(tmp_path / "img" / f"{sku}_{view}.png")
    return tmp_path


def csv(rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    return "".join(f"{delimiter.join(row)}\r\n" for row in rows)


def rows_of(items: Sequence[Item]) -> list[tuple[str, str, str, int, str]]:
    """Name, group, panel, row and text of each picture."""
    return [
        (item.name, item.facts.group, item.facts.panel, item.facts.row, item.text) for item in items if not item.fault
    ]


def faults_of(items: Sequence[Item]) -> list[tuple[str, str, str]]:
    return [(item.name, item.fault.reason, item.fault.detail) for item in items if item.fault]


EXPECTED = [
    (f"img/{sku}_{view}.png", sku, view, number, f"the {view} of {sku}") for number, (sku, view) in enumerate(SHOTS)
]
ROWS = [
    ["sku", "view", "description", "file"],
    *([sku, view, f"the {view} of {sku}", f"img/{sku}_{view}.png"] for sku, view in SHOTS),
]
UNDERSTOOD = "4 rows; pictures from file, group from sku, panel from view (front, back), text from description."
OBJECTS = [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]


# ---- files of every kind


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", csv(ROWS).encode()),
        ("p.csv", csv(ROWS, ";").encode("utf-8-sig")),
        ("p.CSV", ("sep=;\r\n" + csv(ROWS, ";")).encode("utf-16")),
        ("p.tsv", csv(ROWS, "\t").encode("utf-16-le")),
        ("p.csv", ("\r\n,,,\r\n" + csv(ROWS) + ",,,\r\n").encode()),
        ("p.csv", csv(ROWS).replace("\r\n", "\n").replace("sku,view", " SKU ,View").encode()),
        ("p.jsonl", "\n".join(map(json.dumps, OBJECTS)).encode()),
        ("p.json", json.dumps(OBJECTS).encode()),
        ("p.json", json.dumps({"version": 2, "rows": OBJECTS}).encode()),
        ("p.json", json.dumps({name: [row[name] for row in OBJECTS] for name in ROWS[0]}).encode()),
    ],
)
def test_a_table_of_pictures_is_understood_in_every_dialect(name: str, content: bytes, shop: Path) -> None:
    (shop / name).write_bytes(content)
    items = collect.find([shop / name])
    assert (rows_of(items), faults_of(items)) == (EXPECTED, [])
    (remark,) = items.remarks
    assert remark.casefold() == f"{name}: {UNDERSTOOD}".casefold()
    assert pickle.loads(pickle.dumps([*items])) == [*items]


def test_a_workbook_is_read_or_the_sentence_names_what_to_do(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [[], *ROWS]:
        book.active.append(row)
    book.active["XFD1048576"] = " "  # a forgotten cell at the far end
    book.create_sheet("prices").append(["sku", "price"])
    book.save(shop / "p.xlsx")
    items = collect.find([shop / "p.xlsx"])
    assert rows_of(items) == EXPECTED
    assert items.remarks[0].endswith("; only the sheet Sheet is read, not prices.")
    (shop / "broken.xlsx").write_bytes((shop / "p.xlsx").read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"broken.xlsx can't be read .*save it as CSV"):
        collect.find([shop / "broken.xlsx"])
    with pytest.raises(BadInput, match=r"p.ods can't be read; save it as CSV"):
        (shop / "p.xlsx").rename(shop / "p.ods")
        collect.find([shop / "p.ods"])
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: ["openpyxl"] * (extra == "tables"))
    (shop / "p.ods").rename(shop / "p.xlsx")
    with pytest.raises(BadInput, match=r"needs openpyxl.*pip install 'iclora\[tables\]', or save it as CSV\."):
        collect.find([shop / "p.xlsx"])


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], group: int = 2) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist([*rows]), path, row_group_size=group)
    return path


def test_pictures_in_a_parquet_table_are_panels_in_the_order_of_their_columns(shop: Path) -> None:
    content = {shot: (shop / "img" / f"{shot[0]}_{shot[1]}.png").read_bytes() for shot in SHOTS}
    rows = [
        {
            "target": {"bytes": content[sku, "front"], "path": None},
            "source": {"bytes": content[sku, "back"], "path": "photo.png"},
            "prompt": f"about {sku}", "license": "CC0", "vector": [0.5, 0.25],
        }
        for sku in ("A-1", "B 2", "A-1")
    ]  # fmt: skip
    items = collect.find([write_parquet(shop / "p.bin", rows)])
    assert [(item.name, item.facts.panel, item.facts.order) for item in items[:2]] == [
        ("000001_target", "target", 0.0),
        ("000001_source.png", "source", 1.0),
    ]
    assert len({item.facts.group for item in items}) == 3
    assert [b"".join(item.chunks()) for item in items] == [content[sku, view] for sku, view in (*SHOTS, *SHOTS[:2])]
    assert b"".join(items[0].chunks()) == content[SHOTS[0]]  # backwards too
    assert [text for text, _ in items[3].shared] == ["about B 2"] and items[3].facts.of("licence") == "CC0"
    assert items.remarks == [
        "p.bin: 3 rows; pictures from target and source, text from prompt, licence from license; not used: vector."
    ]


def test_other_forms_of_pictures_in_parquet(shop: Path) -> None:
    one, other = ((shop / "img" / f"A-1_{view}.png").read_bytes() for view in ("front", "back"))
    items = collect.find(
        [write_parquet(shop / "a.parquet", [{"image": one, "text": "a"}, {"image": other, "text": "b"}])]
    )
    assert [(item.name, item.text, b"".join(item.chunks())) for item in items] == [
        ("000001", "a", one),
        ("000002", "b", other),
    ]
    lists = [{"images": [{"bytes": one, "path": "x.png"}, {"bytes": other, "path": "y.png"}]}, {"images": []}]
    items = collect.find([write_parquet(shop / "b.parquet", lists)])
    assert [b"".join(item.chunks()) for item in items if not item.fault] == [one, other]
    assert [(name, reason) for name, reason, _ in faults_of(items)] == [("row 2", "no picture")]
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    named = [{"image": {"bytes": None, "path": "img/A-1_front.png"}}]
    parquet.write_table(arrow.Table.from_pylist(named, schema=arrow.schema([("image", kind)])), shop / "c.parquet")
    assert [item.name for item in collect.find([shop / "c.parquet"])] == ["img/A-1_front.png"]


def test_a_folder_of_parquet_shards_is_all_of_them_in_order(shop: Path) -> None:
    pictures = sorted((shop / "img").iterdir())
    data, read = shop / "set" / "data", [picture.read_bytes() for picture in pictures[:4]]
    data.mkdir(parents=True)
    (shop / "set" / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    (shop / "set" / ".gitattributes").write_text("*.parquet filter=lfs")
    for number in (1, 0):
        rows = [{"image": {"bytes": one, "path": None}, "text": "a"} for one in read[2 * number : 2 * number + 2]]
        write_parquet(data / f"train-0000{number}-of-00002.parquet", rows)
    items = collect.find([shop / "set"])
    assert [b"".join(item.chunks()) for item in items] == read
    assert [item.home.rpartition("/")[2] for item in items[1:3]] == [f"train-0000{n}-of-00002.parquet" for n in (0, 1)]
    (shop / "set" / "more").symlink_to(shop / "img")  # of which sources read what is there
    assert len(collect.find([shop / "set"])) > len(items)
    (shop / "set" / "more").unlink()
    (shop / "set" / "cover.png").write_bytes(read[0])  # pictures of its own: the tables accompany them, or don't
    assert [item.name for item in collect.find([shop / "set"]) if not item.name.startswith("data/")] == ["cover.png"]


def test_a_damaged_parquet_table_costs_what_is_damaged(shop: Path, gather: Callable[..., Any]) -> None:
    pictures = [(shop / "img" / f"{sku}_{view}.png").read_bytes() for sku, view in SHOTS]
    path = write_parquet(
        shop / "a.parquet", [{"image": one, "text": str(n)} for n, one in enumerate(pictures)], group=1
    )
    content = path.read_bytes()
    start = content.index(pictures[1][:40]) - 20
    path.write_bytes(content[:start] + b"\xff" * 20 + content[start + 20 :])
    records, rejected = gather(path)
    assert len(records) == 3 and {row.reason for row in rejected} == {"unreadable"}
    path.write_bytes(content[:-20])
    records, (row,) = gather(path)
    assert (records, row.reason) == ([], "unreadable") and "is a damaged Parquet table" in row.detail


def test_a_parquet_table_without_its_package_is_one_sentence(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(shop / "a.parquet", [{"image": b"x"}])
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: ["pyarrow"] * (extra == "tables"))
    with pytest.raises(BadInput, match=r"the Parquet table a.parquet needs pyarrow, .*'iclora\[tables\]'"):
        collect.find([path])


def test_only_the_rows_that_are_asked_for_are_read(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.sources.tables import parquet

    picture = (shop / "img" / "A-1_front.png").read_bytes()
    path = write_parquet(shop / "a.parquet", [{"image": picture, "text": str(n)} for n in range(300)], group=100)
    asked: list[int] = []
    real = parquet._Reader._from
    monkeypatch.setattr(
        parquet._Reader, "_from", lambda self, group, column: asked.append(group) or real(self, group, column)
    )
    items = collect.find([path])
    assert len(items) == 300 and set(asked) <= {0}  # the first rows, to see whether they hold pictures
    asked.clear()
    for item in items:
        assert item.head() and b"".join(item.chunks()) == picture
    assert asked.count(1) == asked.count(2) == 1


# ---- which columns, which files


def test_pictures_may_be_named_by_the_columns_alone(shop: Path) -> None:
    (shop / "p.csv").write_text(csv([row[:3] for row in ROWS]))
    items = collect.find([shop / "p.csv"])
    assert rows_of(items) == EXPECTED
    assert items.remarks[0].startswith("p.csv: 4 rows; pictures from files named by sku and view, group from sku")
    (shop / "more").mkdir()
    (shop / "img" / "A-1_front.png").rename(shop / "more" / "A-1 Front.PNG")
    (shop / "img" / "B 2_back.png").unlink()
    (shop / "img" / "a-1-back.jpg").write_bytes(b"another")
    items = collect.find([shop / "p.csv"])
    assert [item.name for item in items if not item.fault] == ["more/A-1 Front.PNG", "img/B 2_front.png"]
    assert [
        (reason, detail.partition(" names ")[2].replace(str(shop), "")) for _, reason, detail in faults_of(items)
    ] == [
        ("missing", "'A-1 back', and 2 files may be meant: /img/A-1_back.png, /img/a-1-back.jpg."),
        ("missing", "'B 2 back', and there is no such file."),
    ]


def test_a_table_without_pictures_says_what_is_needed(shop: Path) -> None:
    (shop / "p.csv").write_text("sku,price\nX,3\n")
    with pytest.raises(
        BadInput,
        match=r"p.csv has no column of pictures.*--set table.group=COLUMN --set table.panel=COLUMN \(columns: s",
    ):
        collect.find([shop / "p.csv"])


@pytest.mark.parametrize(
    "cell",
    ["img/A-1_front.png", "./img/A-1_front.png", "img\\A-1_front.png", "HOME/img/A-1_front.png",
     "file://HOME/img/A-1_front.png", "IMG/a-1_FRONT.png", "img/A-1_front", "A-1_front.png",
     "C:\\shop\\img\\A-1_front.png", "/another/machine/img/A-1_front.png"],
)  # fmt: skip
def test_a_file_is_found_however_its_path_is_written(cell: str, shop: Path) -> None:
    (shop / "p.csv").write_text(f"image,text\n{cell.replace('HOME', str(shop))},a\n")
    (item,) = collect.find([shop / "p.csv"])
    assert (item.source, item.text) == (f"{shop}/img/A-1_front.png", "a")


def test_files_outside_of_the_tables_folder_are_found_too(shop: Path) -> None:
    (shop / "tables").mkdir()
    (shop / "tables" / "p.csv").write_text("image\n../img/A-1_front.png\n../img/A-1_back.png\n")
    items = collect.find([shop / "tables" / "p.csv"])
    assert [item.source for item in items] == [f"{shop}/img/A-1_front.png", f"{shop}/img/A-1_back.png"]


def test_several_columns_of_one_row_are_panels_of_a_group(shop: Path) -> None:
    (shop / "p.csv").write_text(
        "id,front,back,front text,back text\nA,img/A-1_front.png,img/A-1_back.png,f,b\nA,img/B 2_front.png,,g,\n"
    )
    items = collect.find([shop / "p.csv"])
    assert rows_of(items) == [
        ("img/A-1_front.png", "A", "front", 0, "f"),
        ("img/A-1_back.png", "A", "back", 0, "b"),
        ("img/B 2_front.png", "A (row 3)", "front", 1, "g"),
    ]
    assert items.remarks[0] == (
        "p.csv: 2 rows; pictures from front and back, group from id, text from front text and back text."
    )


def test_lists_and_objects_in_a_cell_are_the_pictures_of_a_row(shop: Path) -> None:
    rows = [
        {
            "sku": "A",
            "images": [{"file": "img/A-1_back.png", "view": "back", "text": "b"}, {"file": "img/A-1_front.png"}],
        },
        {"sku": "B", "images": ["img/B 2_front.png", "img/B 2_back.png"]},
    ]
    (shop / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = collect.find([shop / "p.jsonl"])
    assert [(item.name, item.facts.group, item.facts.panel, item.facts.order, item.text) for item in items] == [
        ("img/A-1_back.png", "A", "back", 0.0, "b"),
        ("img/A-1_front.png", "A", "", 1.0, ""),
        ("img/B 2_front.png", "B", "", 0.0, ""),
        ("img/B 2_back.png", "B", "", 1.0, ""),
    ]
    (shop / "p.csv").write_text(
        "sku;images\nA;img/A-1_front.png|img/A-1_back.png\nB;img/B 2_front.png, img/B 2_back.png\n"
    )
    assert [item.facts.order for item in collect.find([shop / "p.csv"])] == [0.0, 1.0, 0.0, 1.0]


def test_settings_name_columns_whose_names_do_not_say_it(shop: Path) -> None:
    (shop / "p.csv").write_text(
        "Bild,Artikel,Ansicht,Nr,Beschreibung,Recht\n"
        "img/A-1_front.png,A,vorn,2,von vorn,CC0\n"
        'img/A-1_back.png,A,hinten,"1,5",von hinten,CC0\n'
    )
    columns = {
        "image": "Bild",
        "group": "Artikel",
        "panel": "Ansicht",
        "order": "Nr",
        "text": "Beschreibung",
        "licence": "Recht",
    }
    of = task.load("storyboard", {"table": columns})
    items = collect.find([shop / "p.csv"], of)
    assert [(i.facts.group, i.facts.panel, i.facts.order, i.text, i.facts.of("licence")) for i in items] == [
        ("A", "vorn", 2.0, "von vorn", "CC0"),
        ("A", "hinten", 1.5, "von hinten", "CC0"),
    ]
    with pytest.raises(
        BadInput, match=r"p.csv has no column 'Ansichten', which table.panel names, did you mean 'Ansicht'"
    ):
        collect.find([shop / "p.csv"], task.load("storyboard", ["table.panel=Ansichten"]))


# ---- rows that fail


def test_rows_that_fail_are_told_one_by_one(shop: Path, gather: Callable[..., Any]) -> None:
    (shop / "p.csv").write_bytes(
        b"image,text,sku\n"
        b"img/A-1_front.png,good,A\n"
        b"img/nowhere.png,b,A\n"
        b",c,A\n"
        b"img/A-1_back.png,too,many,cells\n"
        b"img/A-1_front.png,again,A\n"
        b"ftp://example.org/a.png,web,A\n"
        b"img/B 2_back.png,lost \xef\xbf\xbd letters,A\n"
        b"img,folder,A\n"
    )
    items = collect.find([shop / "p.csv"])
    assert [(name, reason) for name, reason, _ in faults_of(items)] == [
        ("row 3", "missing"), ("row 4", "no picture"), ("row 5", "row"), ("row 6", "named twice"), ("row 7", "address"),
        ("row 9", "missing"),
    ]  # fmt: skip
    assert [(item.name, item.text) for item in items if not item.fault] == [
        ("img/A-1_front.png", "good"),
        ("img/B 2_back.png", ""),
    ]
    assert items.remarks[0].endswith("; the texts of row 8 have lost letters and are not used.")
    records, rejected = gather(shop / "p.csv")
    assert (len(records), len(rejected)) == (2, 6)
    assert rejected[0].detail == f"row 3 of {shop}/p.csv names 'img/nowhere.png', and there is no such file."


def test_a_line_that_is_no_json_costs_only_itself(shop: Path) -> None:
    (shop / "p.jsonl").write_text('{"image": "img/A-1_front.png"}\n{"image": \n[1]\n{"image": "img/A-1_back.png"}\n')
    items = collect.find([shop / "p.jsonl"])
    assert [item.facts.row for item in items if not item.fault] == [0, 3]
    assert [name for name, _, _ in faults_of(items)] == ["line 2", "line 3"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe\x00", b"{", b"[" * 100_000, "image,текст\n".encode("cp1251") * 2]
)
def test_a_table_that_cannot_be_read_is_one_row_or_one_error(
    content: bytes, shop: Path, gather: Callable[..., Any]
) -> None:
    (shop / "p.json").write_bytes(content)
    try:
        records, rejected = gather(shop / "p.json")
    except BadInput as error:
        assert str(error).endswith(".")
    else:
        assert not records and [row.reason for row in rejected] in (["unreadable"], ["empty"])


def test_cells_below_an_empty_one_belong_to_the_group_above(shop: Path) -> None:
    (shop / "p.csv").write_text("sku,view,image\nA,front,img/A-1_front.png\n,back,img/A-1_back.png\n")
    items = collect.find([shop / "p.csv"])
    assert [item.facts.group for item in items] == ["A", "A"]
    assert items.remarks[0].endswith("; row 3 belongs to the sku above.")


def test_a_text_beside_a_picture_counts_where_the_table_has_none(shop: Path) -> None:
    (shop / "img" / "A-1_front.txt").write_text("beside")
    (shop / "p.csv").write_text("image,text\nimg/A-1_front.png,\nimg/A-1_back.png,own\n")
    assert [item.text for item in collect.find([shop / "p.csv"])] == ["beside", "own"]


def test_hidden_pictures_that_a_table_names_are_wanted(shop: Path) -> None:
    (shop / "img").rename(shop / ".img")
    (shop / "p.csv").write_text("image\n.img/A-1_front.png\n")
    assert [item.name for item in collect.find([shop / "p.csv"])] == [".img/A-1_front.png"]
