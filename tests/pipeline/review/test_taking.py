"""A person takes in pictures that were rejected: the word is kept by content, and the stages heed it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from measured import record
from PIL import Image

from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.engines import base
from pipeline.files import digest
from pipeline.records import Group, Position, Record, Rejected, Review
from pipeline.review import decisions, taking
from pipeline.review.decisions import Line, Taken
from pipeline.stages import collect, group, inspect
from pipeline.store import Store
from pipeline.task import Task

SMALL = Taken("abc", True, "inspect", "too small", "/pictures/a.png")


def words(folder: Path) -> set[str]:
    return set(taking.Words(folder).now())


# ---- what is kept


def test_what_was_said_last_of_a_picture_counts_and_every_word_stays_in_the_file(tmp_path: Path) -> None:
    seen = taking.Words(tmp_path)
    assert seen.now() == {}
    taking.say(tmp_path, SMALL, "page")
    taking.say(tmp_path, replace(SMALL, picture="other"), "page")
    assert seen.now() == {"abc": SMALL, "other": replace(SMALL, picture="other")}
    taking.say(tmp_path, replace(SMALL, wanted=False), "page")
    assert set(seen.now()) == words(tmp_path) == {"other"}
    log = decisions.read(tmp_path)
    assert len(log.lines) == 3
    assert log.unreadable == ()
    assert [(event["who"], event["was"], event["becomes"]) for event in log.events()][::2] == [
        ("page", "rejected: too small", "taken in: /pictures/a.png"),
        ("page", "taken in: /pictures/a.png", "rejected: too small"),
    ]


def test_a_word_on_a_picture_decides_nothing_on_grids(tmp_path: Path) -> None:
    decided = Line("2026-11-28T00:00:00+00:00", "page", "g-1", ("a",), "p", Review("g-1", "keep"))
    decisions.append(tmp_path, [decided])
    before = (tmp_path / decisions.FILE).read_bytes()
    taking.say(tmp_path, SMALL, "page")
    content = (tmp_path / decisions.FILE).read_bytes()
    assert content.startswith(before)
    assert decisions.read(tmp_path).latest() == [decided]
    line = json.loads(content.removeprefix(before))
    assert "decided" not in line  # so that an earlier version passes over it
    assert line["grid"] == ""


def test_only_what_can_be_looked_at_and_stands_alone_can_be_taken_in() -> None:
    def can(stage: str, reason: str, picture: str = "") -> bool:
        return taking.can_be_taken(stage, Rejected("x", "a.png", reason, "", picture))

    assert [can("inspect", reason) for reason in ("too small", "shape", "blank")] == [True] * 3
    assert can("group", "near copy")
    assert can("collect", "text card", "collected/a/rejected-0001.jpg")
    assert not can("collect", "blank")  # no frame of it was kept
    assert not any(can("inspect", reason) for reason in ("unreadable", "anything"))
    assert not any(can("group", reason) for reason in ("strangers", "left over", "not needed"))
    assert not any(can("collect", reason, "p") for reason in ("exact copy", "damaged", "short shot"))


def test_what_is_taken_in_and_is_no_picture_of_the_run_is_a_decision_that_fits_nothing(tmp_path: Path) -> None:
    pictures = [replace(record("/p/1"), id="there"), replace(record("/p/2"), id="shot", taken="small")]
    shot = Rejected("s-x#1", "a.mp4 shot 1", "blank", "It is black.", "dark.jpg")
    (tmp_path / "dark.jpg").write_bytes(b"a picture")
    with Store(tmp_path) as store:
        assert taking.unmatched(store) == []
        store.add("collect", "collected", pictures, [shot], 0)
        for picture in ("there", "gone", "back"):
            taking.say(tmp_path, replace(SMALL, picture=picture), "page", "Ann")
        taking.say(tmp_path, replace(SMALL, picture="back", wanted=False), "page")
        for picture in ("small", digest(tmp_path / "dark.jpg"), "gone too"):
            taking.say(tmp_path, replace(SMALL, picture=picture, stage="collect"), "page")
        assert [decisions.row_of(one.line)["panels"] for one in taking.unmatched(store)] == ["gone", "gone too"]
        (first, _) = taking.unmatched(store)
    assert first.why == "no picture of this run has this content"
    row = decisions.row_of(first.line)
    assert (row["decision"], row["grid"], row["reviewer"]) == ("taken in", "", "Ann")


# ---- what the stages make of it


@pytest.mark.parametrize(
    ("size", "blank", "reason"),
    [((40, 20), False, "too small"), ((400, 400), False, "shape"), ((640, 320), True, "blank")],
)
def test_a_picture_that_is_taken_in_is_measured_and_its_note_says_why_it_was_rejected(
    size: tuple[int, int], blank: bool, reason: str, tmp_path: Path, draw, storyboard: Task
) -> None:
    path = tmp_path / "a.png"
    (Image.new("RGB", size) if blank else draw(1, size)).save(path)
    one = Record(digest(path), str(path), str(path), Position("/", "a"))
    assert _measured(inspect.stage(storyboard, tmp_path, 1), one).reason == reason
    stage = inspect.stage(storyboard, tmp_path, 1, {one.id})
    found = _measured(stage, one)
    assert (found.width, found.height, found.notes[-1]) == (*size, f"taken in though {reason}")
    plain = inspect.stage(storyboard, tmp_path, 1)
    assert stage.config == plain.config
    assert base.fingerprint(stage, "") != base.fingerprint(plain, "")
    path.write_bytes(b"no picture")
    assert _measured(stage, one).reason == "unreadable"


def _measured(stage, one: Record):
    (found,) = stage.run([one])
    return found


def test_without_a_word_nothing_is_said_of_words_in_a_fingerprint(tmp_path: Path, storyboard: Task) -> None:
    for stage in (inspect.stage(storyboard, tmp_path, 1), collect.stage(storyboard, [], tmp_path, [])):
        assert taking.CONFIG not in {*stage.config, *stage.also}


def test_a_near_copy_that_is_taken_in_joins_groups_like_any_picture() -> None:
    of = task.load("storyboard", ["group.by=folders", "group.floor=0", "grids=[1,9]"])
    strategy = plugins.find(plugins.GROUPING, "folders")
    pictures = [record(f"/f/{number}") for number in range(5)]
    pictures.append(replace(record("/f/5"), phash=pictures[0].phash))

    def run(*taken: str) -> tuple[int, list[str]]:
        parameters = group.Parameters(of, strategy, None, Path(), Cache(Path()), taken=frozenset(taken))
        found = list(group.stage(parameters).run(pictures))
        copies = [row.id for row in found if isinstance(row, Rejected) and row.reason == "near copy"]
        return sum(isinstance(one, Group) for one in found), copies

    assert run() == (1, ["/f/5"])
    assert run("/f/5") == (2, [])
