"""From a spreadsheet of products to a data set, without a line of code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Command = Callable[..., tuple[int, str, str]]

VIEWS = ("back", "front")
SMALL = ("layout.panel_width=128", "layout.panel_height=128", "group.floor=0", "export.held_out=0")
BARE = ("--captioner", "sidecar", "--scorer", "none", *(word for setting in SMALL for word in ("--set", setting)))
TASK = "couple-profile"


@pytest.fixture
def shop(tmp_path: Path, draw: Callable[..., Image.Image]) -> Path:
    """Pictures of four products from two sides, and a table of them in which the back stands first."""
    home = tmp_path / "shop"
    (home / "photos").mkdir(parents=True)
    rows = ["sku;view;description;license;photographer;date;link;price"]
    for number in range(4):
        for side, view in enumerate(VIEWS):
            draw(number * 2 + side, (160, 160)).save(home / "photos" / f"A{number}_{view}.jpg", quality=95)
            text = f"the {view} of a chair that has the number {number}, on white"
            rows.append(f"A{number};{view};{text};CC0-1.0;Ada;2024-05-0{number + 1};https://example.org/{number};3,50")
    (home / "products.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    return home


def test_a_spreadsheet_gives_groups_panels_captions_and_rights(shop: Path, iclora: Command, tmp_path: Path) -> None:
    (shop / "photos" / "A3_front.jpg").unlink()
    code, printed, errors = iclora(
        "dataset", TASK, "--source", str(shop / "products.csv"), "--set", "group.by=columns", *BARE, "--out", "run"
    )
    assert code == 0, errors
    assert (
        "note: products.csv: 8 rows; pictures from files named by sku and view, group from sku, panel from view (back, "
        "front), text from description, licence from license, author from photographer, url from link, date from date; "
        "not used: price."
    ) in printed
    data = tmp_path / "run" / "dataset"
    entries = [
        json.loads(line) for line in (data / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(entry["group"] for entry in entries) == ["A0", "A1", "A2"]
    first = next(entry for entry in entries if entry["group"] == "A1")
    assert first["panels"] == [f"the {view} of a chair that has the number 1, on white" for view in ("front", "back")]
    assert first["sources"][0] == first["sources"][0] | {
        "name": "A1_front.jpg", "licence": "CC0-1.0", "author": "Ada", "url": "https://example.org/1",
        "date": "2024-05-02", "group": "A1", "panel": "front", "row": 3,
    }  # fmt: skip
    card = (data / "README.md").read_text(encoding="utf-8")
    assert "license: cc0-1.0" in card
    assert "| A1 | CC0-1.0 | Ada | https://example.org/1 | 2024-05-02 | rows 3, 4 | 2 |" in card
    _, rejected, _ = iclora("show", TASK, "rejected", "--out", "run")
    assert "row 9 of" in rejected and "'A3 front', and there is no such file" in rejected
    assert "in the group A3, 1 usable image is too few" in rejected


def test_a_task_that_does_not_look_at_groups_is_told_how_to(shop: Path, iclora: Command) -> None:
    _, printed, _ = iclora("collect", TASK, "--source", str(shop / "products.csv"), *BARE, "--out", "run")
    assert "all 8 images have a group from their source (4 groups), which group.by=names does not look at" in printed
    assert "group by it with --set group.by=columns." in printed


def test_several_sources_are_named_and_a_file_of_two_is_taken_once(shop: Path, iclora: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(shop / "photos", tmp_path / "more" / "@eaDir" / "photos")
    (tmp_path / "more" / "x.jpg").write_bytes((shop / "photos" / "A0_back.jpg").read_bytes()[:-100])
    sources = [shop / "photos", shop / "products.csv", tmp_path / "empty", tmp_path / "more"]
    words = [word for source in sources for word in ("--source", str(source))]
    code, printed, errors = iclora("collect", TASK, *words, *BARE, "--out", "run")
    assert code == 0, errors
    assert f"{tmp_path}/empty adds no film and no picture." in printed
    assert f"{tmp_path}/more passed over: 1 folder of programs (@eaDir)." in printed
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["settings"]["sources"] == [*map(str, sources)]
    assert report["stages"]["collect"]["sources"] == dict(zip(map(str, sources), (8, 0, 0, 1), strict=True))
    assert report["stages"]["collect"]["kept"] == 9
    _, table, _ = iclora("show", TASK, "collected", "--out", "run", "--json")
    assert sum("of a chair that has the number" in row["text"] for row in json.loads(table)) == 8
    code, _, errors = iclora("collect", TASK, "--source", "nowhere", "--source", "no/where", *BARE, "--out", "new")
    assert code == 2 and f"sources {tmp_path}/nowhere, {tmp_path}/no/where do not exist; give a film" in errors
