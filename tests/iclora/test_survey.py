"""A survey tells what is there and what each task would make of it, without making a run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import installed
from PIL import Image

import iclora
from pipeline.errors import BadInput, EmptyResult

Draw = Callable[..., Image.Image]
Typed = Callable[..., tuple[int, str, str]]
SIZE = (352, 200)


@pytest.fixture
def pairs(tmp_path: Path, draw: Draw) -> Path:
    """Four pairs for `sandstorm`, in folders, a damaged file and a copy in another size."""
    home = tmp_path / "in & <b>out</b>"
    for number in range(4):
        for role in ("sand", "normal"):
            (home / role).mkdir(parents=True, exist_ok=True)
            picture = draw(number, SIZE)
            (picture if role == "normal" else picture.convert("L").convert("RGB")).save(home / role / f"{number}.png")
    (home / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    return home


def test_the_task_whose_words_are_in_the_names_fits_best(pairs: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    found = iclora.survey(pairs, progress=lambda *told: seen.append(told))
    assert found.best is not None and found.best.task == "sandstorm"
    assert len(found.best.groups) == 4
    assert [record.position.folder.rpartition("/")[2] for record in found.best.groups[0].records] == ["normal", "sand"]
    assert found.next.startswith("iclora dataset sandstorm --source '") and str(pairs) in found.next
    assert found.kinds == {"picture": 9} and found.rejected == {"unreadable": 1}
    assert {fit.task for fit in found.fits} == {task.name for task in iclora.list_tasks()}
    assert {stage for stage, _, _ in seen} == {"collect", "inspect", "group"}
    text = "\n".join(found.lines())
    assert "names: {role}/{set}, 'normal' for [TOP], 'sand' for [BOTTOM]: 4 sets" in text
    assert "can't be used: 1 unreadable, such as " in text
    assert not list(pairs.glob("**/run.db"))


READER = """
import hashlib
from pipeline.records import Record
PRIORITY = 0
def claims(item, head, task, folder):
    return head.startswith(b"TOLD")
def read(item, task, folder):
    picture = b"".join(item.chunks()).removeprefix(b"TOLD")
    name = hashlib.sha256(picture).hexdigest()
    (folder / f"{name}.png").write_bytes(picture)
    yield Record(name, f"{name}.png", item.source, item.position(), "a hen")
"""


def test_texts_that_a_reader_finds_within_a_file_are_counted(tmp_path: Path, draw: Draw) -> None:
    draw(1, SIZE).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a cat", encoding="utf-8")
    draw(2, SIZE).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes(b"TOLD" + (tmp_path / "b.png").read_bytes())
    with installed(tmp_path / "site", "told", {"told.py": READER}, {"iclora.readers told": "told.told"}):
        found = iclora.survey([tmp_path / "a.png", tmp_path / "b.png"])
    assert (len(found.records), found.texts) == (2, 2)


def test_the_page_needs_no_other_file_and_reads_no_name_as_markup(pairs: Path, tmp_path: Path) -> None:
    page = iclora.survey(pairs).write(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;out" in page
    assert all(address.startswith("data:image/jpeg;base64,") for address in re.findall(r'src="([^"]*)"', page))
    assert page.count("<img") >= 8 and "iclora dataset sandstorm" in page


def test_the_command_prints_the_survey_and_writes_its_page(pairs: Path, tmp_path: Path, iclora: Typed) -> None:
    code, out, _ = iclora("survey", str(pairs), "--page", str(tmp_path / "page.html"))
    assert code == 0 and (tmp_path / "page.html").is_file()
    assert "sandstorm: 4 groups (the task asks for 20)" in out
    assert "next: iclora dataset sandstorm --source" in out


def test_the_next_command_leaves_out_sources_in_which_nothing_can_be_used(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.odt").write_bytes(b"PK\x03\x04 a letter")
    found = iclora.survey([pairs, tmp_path / "letters"])
    assert shlex.split(found.next) == ["iclora", "dataset", "sandstorm", "--source", str(pairs)]


def test_unrelated_photographs_get_the_ways_on(tmp_path: Path, draw: Draw) -> None:
    draw(1, SIZE).save(tmp_path / "IMG_1.png")
    found = iclora.survey([tmp_path])
    assert found.best is None and found.next == ""
    assert list(found.lines())[-1].startswith("no task finds groups here: put what belongs together into a folder")
    assert "No task finds groups" in (found.write(tmp_path / "page.html")).read_text(encoding="utf-8")


def test_a_pair_or_two_among_many_photographs_is_an_accident(tmp_path: Path, draw: Draw) -> None:
    for number in range(40):
        draw(number, SIZE).save(tmp_path / f"DSC{1000 + 37 * number}.png")
    for number, name in enumerate(("oak_before", "oak_after", "elm_before", "elm_after")):
        draw(100 + number, SIZE).save(tmp_path / f"{name}.png")
    found = iclora.survey(tmp_path)
    assert any(len(fit.groups) for fit in found.fits), "the test needs a pair"
    assert found.best is None and found.next == ""


def test_names_without_an_order_of_the_panels_get_the_option(tmp_path: Path, draw: Draw) -> None:
    for number, view in enumerate(("front", "back", "side") * 2):
        draw(number, (400, 500)).save(tmp_path / f"{'mug' if number < 3 else 'lamp'}_{view}.png")
    lines = list(iclora.survey(tmp_path).lines())
    assert lines[-1].startswith("no task knows the order of the panels")
    assert any("--set group.roles=" in line for line in lines)


def test_how_tables_are_read_is_told_and_their_groups_are_offered_by_the_next_command(
    tmp_path: Path, draw: Draw
) -> None:
    for table in range(5):
        rows = ["image,sku,view"]
        for number, view in enumerate(("front", "back", "side")):
            draw(10 * table + number, (640, 320)).save(tmp_path / f"{table}-{number}.png")
            rows.append(f"{table}-{number}.png,{table},{view}")
        (tmp_path / f"{table}.csv").write_text("\n".join(rows), encoding="utf-8")
    survey = iclora.survey(sorted(tmp_path.glob("*.csv")))
    lines = list(survey.lines())
    assert lines[2] == "note: 0.csv: 3 rows; pictures from image, group from sku, panel from view (front, back, side)."
    assert lines[5] == "note: a run prints 2 more notes of this kind."
    assert "storyboard: 5 groups with --set group.by=columns (the task asks for 20)" in lines
    with iclora.open_run(
        "storyboard",
        sorted(tmp_path.glob("*.csv")),
        settings=survey.fits[0].settings,
        scorer="none",
        folder=tmp_path / "run",
    ) as run:
        assert run.advance("group")[-1].kept == 5 * 3
    assert lines[-1] == f"next: {survey.next}"
    assert survey.next.endswith(" --set group.by=columns")


def test_groups_of_a_table_that_are_no_sets_are_not_offered(tmp_path: Path, draw: Draw) -> None:
    """Albums of many pictures: what the task itself finds in the pictures counts."""
    rows = ["image,album"]
    for number in range(24):
        draw(number, (640, 320)).save(tmp_path / f"still_{number:03}.png")
        rows.append(f"still_{number:03}.png,{number // 12}")
    (tmp_path / "stills.csv").write_text("\n".join(rows), encoding="utf-8")
    fits = {fit.task: fit for fit in iclora.survey(tmp_path / "stills.csv").fits}
    assert fits["storyboard"].settings == ()


def test_a_source_with_nothing_in_it_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there are no films and no pictures in"):
        iclora.survey(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        iclora.survey(tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(EmptyResult, match=r"nothing in .* can be used: 1 unreadable; "):
        iclora.survey(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_can_t_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(BadInput, match="can't be read"):
        iclora.survey(tmp_path / "shut")
