"""From items to records: who reads what, exact copies, where records come from, and the same in any process."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miniature.film import encode
from pipeline.engines import base, local
from pipeline.records import Position, Record, Rejected
from pipeline.sources import gathering, readers
from pipeline.sources.base import Item
from pipeline.stages import collect
from pipeline.store import Store

JOINT = "[MOVIE-SHOTS] A day, [SCENE-1] <Mia> wakes up early, [SCENE-2] she walks away, [SCENE-3] night falls."


def save(picture: Image.Image, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


# ---- content decides which reader is used


def test_a_file_name_decides_nothing(tmp_path, draw, gather):
    home = tmp_path / "in"
    home.mkdir()
    draw(1).save(home / "jpeg.png", "JPEG")
    draw(2).save(home / "no ending", "WEBP")
    encode(home / "film.mp4", iter([np.asarray(draw(3, (320, 180)))] * 14), size=(320, 180), fps=12)
    (home / "film.mp4").rename(home / "film.bin")
    (home / "text.jpg").write_text("not a picture")
    records, rejected = gather(home)
    assert [(r.position.stem, r.position.film) for r in records] == [
        ("film shot 0", "film.bin"),
        ("jpeg", ""),
        ("no ending", ""),
    ]
    assert [(row.reason, row.detail) for row in rejected] == [
        ("unsupported", f"{home}/text.jpg is a text file, neither a film nor a picture.")
    ]


def folder_of_everything(home: Path, draw) -> None:
    """Sidecars of every kind, listings, copies, grids, masks and files that can't be read."""
    texts = {
        "a/0001.txt": JOINT,
        "b/caption.txt": JOINT,
        "c.txt": JOINT,
        "d/grid.txt": JOINT,
        "e/metadata.jsonl": json.dumps(
            {"file_name": "1.png", "text": "one", "license": "CC0", "author": "Ada", "url": "http://x", "group": "g"}
        ),
        "f/metadata.csv": "file_name,text\ntrain/1.png,two\n",
        "g/own.txt": "an own text",
        "notes.docx": "PK",
    }
    pictures = ("a/0001-1.png", "a/0001-2.png", "a/0001-10.png", "b/1.jpg", "b/2.jpg", "c/x.webp", "e/1.png")
    pictures += ("f/train/1.png", "g/own.png", "g/own-masklabel.png", "masks/own.png", "shot 10.bmp", "shot 2.gif")
    for seed, name in enumerate(pictures):
        save(draw(seed), home / name)
    save(draw(50, (400, 600)), home / "d" / "grid.png")
    save(draw(0), home / "g" / "again.png")
    for name, text in texts.items():
        (home / name).write_text(text)
    (home / "nowhere.png").symlink_to(home / "gone.png")


def test_collected_records_are_the_same_as_before_there_were_containers(tmp_path, draw, gather):
    """As the code of 2026-11-26 collected them, before items and readers."""
    home = tmp_path / "in"
    folder_of_everything(home, draw)
    records, rejected = gather(home)
    summary = [
        (str(Path(r.source).relative_to(home)), r.position.stem, r.position.set, r.position.page, r.text[:8])
        for r in records
    ]
    assert summary == [
        ("a/0001-1.png", "0001-1", "a/0001", 1, "[MOVIE-S"),
        ("a/0001-2.png", "0001-2", "a/0001", 2, "[MOVIE-S"),
        ("a/0001-10.png", "0001-10", "a/0001", 10, "[MOVIE-S"),
        ("b/1.jpg", "1", "b", 1, "[MOVIE-S"),
        ("b/2.jpg", "2", "b", 2, "[MOVIE-S"),
        ("c/x.webp", "x", "c", 0, "[MOVIE-S"),
        *(("d/grid.png", "grid", "d/grid.png", page, "[MOVIE-S") for page in range(3)),
        ("e/1.png", "1", "", 1, "one"),
        ("f/train/1.png", "1", "", 1, "two"),
        ("g/own.png", "own", "", 0, "an own t"),
        ("shot 2.gif", "shot 2", "", 2, ""),
        ("shot 10.bmp", "shot 10", "", 10, ""),
    ]
    assert all(r.position.folder == str(Path(r.source).parent) for r in records)
    assert [(r.path == r.source) for r in records] == [True] * 6 + [False] * 3 + [True] * 5
    assert [(r.licence, r.author, r.url, r.position.group) for r in records if r.licence] == [
        ("CC0", "Ada", "http://x", "g")
    ]
    assert [(Path(row.what).name, row.reason, row.id.partition("#")[2]) for row in rejected] == [
        ("again.png", "exact copy", "0"),
        ("own-masklabel.png", "mask", "0"),
        ("own.png", "mask", "0"),
        ("notes.docx", "unsupported", ""),
        ("nowhere.png", "unreadable", "0"),
    ]
    assert rejected[-1].detail == f"{home}/nowhere.png can't be read: No such file or directory."


# ---- exact copies, and resuming after a stop


def test_an_exact_copy_is_dropped_and_the_first_is_named(tmp_path, draw, gather):
    save(draw(1), tmp_path / "in" / "a.png", tmp_path / "in" / "b" / "again.png")
    records, rejected = gather(tmp_path / "in")
    assert ([record.position.stem for record in records], [row.reason for row in rejected]) == (["a"], ["exact copy"])
    assert rejected[0].detail.endswith(f"again.png has the same bytes as {tmp_path / 'in' / 'a.png'}.")


def test_a_changed_source_does_not_turn_earlier_records_into_copies(tmp_path, draw, gather):
    save(draw(1), tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    assert [record.position.stem for record in gather(tmp_path / "in")[0]] == ["a"]
    (tmp_path / "in" / "a.png").unlink()
    records, rejected = gather(tmp_path / "in")
    assert ([record.position.stem for record in records], rejected) == (["b"], [])


def test_a_run_that_was_interrupted_still_knows_the_copies_of_what_it_had_collected(tmp_path, draw, gather, storyboard):
    for number in range(6):
        save(draw(number // 2), tmp_path / "in" / f"{number}.png")
    items = collect.find([tmp_path / "in"])

    def stop(_: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with Store(tmp_path / "run") as store, pytest.raises(KeyboardInterrupt):
        local.run(collect.stage(storyboard, items, store.folder, []), items, store, upstream="", progress=stop)
    records, rejected = gather(tmp_path / "in")
    assert [record.position.stem for record in records] == ["0", "2", "4"]
    assert [(Path(row.what).stem, row.reason) for row in rejected] == [(n, "exact copy") for n in "135"]


def test_every_copy_has_its_own_row_and_the_first_in_order_stays():
    def record(source: str, content: str) -> Record:
        return Record(content, "", source, Position())

    made = [record("x", "1"), record("x", "2"), record("x", "2"), record("y", "1"), record("y", "2")]
    results = list(collect.exact_copies(made, {"1": record("w", "1")}))
    assert [item.source for item in results if isinstance(item, Record)] == ["x"]
    rows = [item for item in results if isinstance(item, Rejected)]
    assert [row.detail for row in rows] == [
        f"{one} has the same bytes as {two}." for one, two in ("xw", "xx", "yw", "yx")
    ]
    assert len({row.id for row in rows}) == 4 and {row.origin for row in rows} == {
        *collect.origin(made[0]),
        *collect.origin(made[3]),
    }


# ---- where records come from, and what the stage depends on


class Rogue:
    """A reader that fills in whatever it likes."""

    PRIORITY = -1

    def __init__(self, results: list[Record | Rejected]) -> None:
        self.results = results

    def claims(self, *_: object) -> bool:
        return True

    def read(self, *_: object) -> Iterator[Record | Rejected]:
        yield from self.results


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (Record("1", "a.png", "elsewhere", Position()), "a.png"),
        (Rejected("made up", "it", "odd", "It is odd."), "odd"),
        (None, "empty"),
    ],
)
def test_no_reader_can_change_where_records_come_from(result, outcome, tmp_path, draw, gather, monkeypatch):
    save(draw(1), tmp_path / "in" / "a.png")
    rogue, real = Rogue([result] if result else []), gathering.ordered
    monkeypatch.setattr(gathering, "ordered", lambda package: (rogue,) if package is readers else real(package))
    records, rejected = gather(tmp_path / "in")  # the engine itself ensures that nothing is lost or made up
    assert [Path(record.source).name for record in records] + [row.reason for row in rejected] == [outcome]


def test_collect_depends_on_every_text_that_belongs_to_a_file(tmp_path, draw, storyboard):
    save(draw(1), tmp_path / "in" / "0001-1.png")
    seen, keys = set(), set()
    for text in (None, "0001-1.txt", "0001.txt", "caption.txt", "in.txt", "../in.txt", "metadata.csv"):
        if text:
            (tmp_path / "in" / text).write_text("file_name,licence\n0001-1.png,CC0\n" if "csv" in text else JOINT)
        items = collect.find([tmp_path / "in"])
        stage = collect.stage(storyboard, items, tmp_path, [])
        seen.add(base.fingerprint(stage, ""))
        keys.add(stage.alone.seen(items[0]))
    assert (len(seen), len(keys)) == (7, 7)


def test_collect_gives_the_same_result_in_another_process(tmp_path, draw, storyboard):
    folder_of_everything(tmp_path / "in", draw)
    items = collect.find([tmp_path / "in"])
    run = collect.stage(storyboard, items, tmp_path / "run", []).run
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(whole, pickle.dumps(run), items).result() == list(run(items))


def whole(run: bytes, batch: list[Item]) -> list[Record | Rejected]:
    return list(pickle.loads(run)(batch))


def test_films_are_read_in_processes_as_many_as_there_are_films(tmp_path, storyboard):
    items = [Item("/in", name) for name in ("a.mp4", "b.MKV", "c.png")]
    assert collect.stage(storyboard, items, tmp_path, [], 64).processes
    assert [collect.stage(storyboard, items, tmp_path, [], most).workers for most in (1, 2, 64)] == [1, 2, 2]
    assert collect.stage(storyboard, items[2:], tmp_path, [], 64).workers == 1


def test_processes_change_nothing(tmp_path, draw, storyboard):
    folder_of_everything(tmp_path / "in", draw)
    items = collect.find([tmp_path / "in"])
    outcomes = []
    for workers in (1, 2):
        with Store(tmp_path / f"run {workers}") as store:
            stage = replace(collect.stage(storyboard, items, store.folder, []), workers=workers)
            local.run(stage, items, store, upstream="", progress=lambda *_: None)
            outcomes.append((store.digest("collected"), store.rejected("collect")))
    assert outcomes[0] == outcomes[1]


def test_an_image_of_an_archive_that_was_deleted_from_the_run_is_extracted_again(tmp_path, draw, gather):
    import zipfile

    buffer = io.BytesIO()
    draw(1).save(buffer, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", buffer.getvalue())
    (record,), _ = gather(tmp_path / "a.zip")
    kept = tmp_path / "run" / record.path
    kept.unlink()
    assert gather(tmp_path / "a.zip")[0] == [record] and kept.read_bytes() == buffer.getvalue()


def test_shots_that_still_show_burnt_in_text_are_told_with_the_option(tmp_path, storyboard):
    notes = ("bars cut away: 8 px at the top", "burnt-in text at the bottom")
    shots = [Record(str(n), "", "/a.mp4", Position(film="a.mp4", shot=n), notes=notes[: n % 2 + 1]) for n in range(4)]
    cropped = replace(shots[0], notes=("burnt-in text cut away: 9 px at the bottom",))
    (remark,) = collect.stage(storyboard, [], tmp_path, []).facts([*shots, cropped])["remarks"]
    assert remark.startswith(
        "2 shots show burnt-in text or a logo in the frame that stands for them: a.mp4 shot 1, a.mp4 shot 3;"
    )
