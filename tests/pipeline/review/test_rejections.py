"""What was rejected, on the contact sheet: thumbnails by reason, and a filter that needs no script."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pipeline.records import Position, Record, Rejected
from pipeline.review import rejections, thumbnails


def record(name: str) -> Record:
    return Record(name * 40, f"{name}.png", f"/pictures/{name}.png", Position())


def rejected(name: str, reason: str) -> Rejected:
    return Rejected(name * 40, f"/pictures/{name}.png", reason, f"/pictures/{name}.png is {reason}.")


def test_thumbnails_are_small_upright_and_made_once(tmp_path: Path):
    Image.new("RGB", (1200, 800), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    made = thumbnails.make([record("a"), record("b")], tmp_path)
    assert list(made) == ["a" * 40]
    with Image.open(tmp_path / made["a" * 40]) as picture:
        assert picture.size == (192, 128)
    (tmp_path / "a.png").unlink()
    assert thumbnails.make([record("a")], tmp_path) == made


def test_small_copies_that_no_page_shows_any_more_are_deleted(tmp_path: Path):
    (tmp_path / "grids").mkdir()
    for name in ("a.png", "b.png", "grids/g-one.png", "grids/g-two.png"):
        Image.new("RGB", (40, 20), "red").save(tmp_path / name)
    made = thumbnails.make([record("a"), record("b")], tmp_path)
    shown = ["grids/g-one.png", "grids/g-two.png"]
    for path in shown:
        thumbnails.of_file(tmp_path, path, 16)
    before = set((tmp_path / "thumbnails").iterdir())
    thumbnails.sweep(tmp_path, made.values(), shown)
    assert set((tmp_path / "thumbnails").iterdir()) == before and len(before) == 4

    Image.new("RGB", (40, 22), "blue").save(tmp_path / "grids" / "g-one.png")  # drawn again
    thumbnails.of_file(tmp_path, shown[0], 16)
    (tmp_path / shown[1]).unlink()
    thumbnails.sweep(tmp_path, [made["a" * 40]], shown)
    left = {path.name for path in (tmp_path / "thumbnails").iterdir()}
    assert len(left) == 2 and {Path(made["a" * 40]).name} < left
    (of_grid,) = left - {Path(made["a" * 40]).name}
    with Image.open(tmp_path / "thumbnails" / of_grid) as picture:
        assert picture.size == (16, 9)


def test_the_first_pictures_of_each_reason_are_shown(monkeypatch):
    monkeypatch.setattr(rejections, "SHOWN", 2)
    rows = {"inspect": [rejected(name, "too small") for name in "abc"], "group": [rejected("d", "strangers")]}
    pool = [record(name) for name in "abcd"]
    assert rejections.pictured(rows, pool) == [pool[0], pool[1], pool[3]]
    page = "".join(rejections.section(rows, {one.id: f"{one.path}" for one in rejections.pictured(rows, pool)}))
    assert "too small: 2 of 3" in page
    assert page.count("<figure>") == 3
    assert page.count("<tr data-reason") == 4


def test_a_row_may_bring_its_own_picture():
    shots = [
        Rejected(f"s-film#{n}", f"film shot {n}", "blank", "It is black.", f"collected/a b/{n}.jpg") for n in (1, 2)
    ]
    page = "".join(rejections.section({"collect": shots}, {}))
    assert page.count("<figure>") == 2 and 'src="collected/a%20b/2.jpg"' in page


def test_a_reason_can_be_chosen_where_there_are_several():
    rows = {"inspect": [rejected("a", "too small"), rejected("b", "blank")]}
    page = "".join(rejections.section(rows, {}))
    assert page.count('type="radio"') == 3
    assert "body:has(#reason-1:checked) [data-reason]:not([data-reason='1'])" in page
    assert 'type="radio"' not in "".join(rejections.section({"inspect": [rejected("a", "blank")]}, {}))


def test_a_thumbnail_is_named_by_its_file_and_not_by_its_address():
    rows = {"inspect": [rejected("a", "too small")]}
    page = "".join(rejections.section(rows, {"a" * 40: "thumbnails/a.jpg"}))
    assert '<figcaption title="/pictures/a.png is too small.">a.png is too small.<' in page
