"""A run's state on disk: what a batch leaves, who may open it, and the cache beside it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline import task
from pipeline.cache import Cache, key_of
from pipeline.errors import BadInput
from pipeline.records import Caption, Grid, Group, Layout, Position, Record, Rejected
from pipeline.review import reviews
from pipeline.store import HOLDER, Store, is_current, locked, read_settings, write_settings


def record(name: str, **more: object) -> Record:
    return Record(name, f"{name}.png", f"/films/{name}.png", Position(stem=name), **more)  # type: ignore[arg-type]


def caption(grid: str, text: str = "a caption") -> Caption:
    return Caption(text, "", "", (text,), grid=grid)


def refusal(name: str) -> Rejected:
    return Rejected(name, f"{name}.png", "unreadable", "It is cut off.")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "run") as opened:
        yield opened


# ---- rows


def test_rows_come_back_as_they_were_put_in(store: Store) -> None:
    full = record("a", text='<Ngozi> says "ünï" 🎬\n', width=640, sharpness=0.1 + 0.2, histogram="ff00")
    store.add("inspect", "records", [full, record("b")], [refusal("c")], 0.5)
    assert store.items(Record, "records") == [full, record("b")]
    assert store.rejected("inspect") == [refusal("c")]
    assert store.table("records")[0]["text"] == full.text
    assert store.counts()["records"] == 2


def test_a_row_written_again_keeps_its_place(store: Store) -> None:
    for name in "abc":
        store.add("inspect", "records", [record(name)], [], 0)
    store.add("inspect", "records", [record("a", width=9)], [], 0)
    assert [(row.id, row.width) for row in store.items(Record, "records")] == [("a", 9), ("b", 0), ("c", 0)]


def test_the_digest_tells_content_and_order(store: Store, tmp_path: Path) -> None:
    store.add("inspect", "records", [record("a"), record("b")], [], 0)
    with Store(tmp_path / "other") as other:
        other.add("inspect", "records", [record("b"), record("a")], [], 0)
        assert store.digest("records") != other.digest("records") != other.digest("collected")
        other.begin("inspect", "records", "again", anew=False)
        other.add("inspect", "records", [record("a")], [], 0)
        other.add("inspect", "records", [record("b")], [], 0)
        assert store.digest("records") == other.digest("records")


def grouped(store: Store, *records: Record) -> Grid:
    """A grid of one group of these records, all of them in the store."""
    layout = Layout(1, len(records), 64, 64)
    group = Group("s-g", "couple", records, "named alike", 0.5)
    grid = Grid("g-g", group, layout, "grids/g-g.png")
    for stage, table, items in (("inspect", "records", records), ("group", "groups", [group])):
        store.add(stage, table, items, [], 0)
    store.add("compose", "grids", [grid], [], 0)
    return grid


def test_groups_and_grids_are_stored_with_ids_and_read_with_what_these_stand_for(store: Store) -> None:
    grid = grouped(store, record("a", text="ünï"), record("b", width=9))
    assert store.items(Grid, "grids") == [grid]
    assert store.items(Group, "groups") == [grid.group]
    (row,), (group,) = store.table("grids"), store.table("groups")
    assert row["group"] == "s-g" and group["records"] == ["a", "b"]
    assert len(json.dumps(row)) < 200


def test_a_digest_changes_with_whatever_its_rows_refer_to(store: Store) -> None:
    first, second = record("a"), record("b")
    grouped(store, first, second)
    before = {table: store.digest(table) for table in ("records", "groups", "grids")}
    store.add("inspect", "records", [record("c")], [], 0)  # in no group
    assert {table for table in before if store.digest(table) != before[table]} == {"records"}
    store.add("inspect", "records", [record("b", text="another text")], [], 0)
    assert {table for table in before if store.digest(table) != before[table]} == {"records", "groups", "grids"}


def test_a_row_whose_pictures_an_earlier_stage_is_making_anew_is_left_out_until_they_are_back(store: Store) -> None:
    grid = grouped(store, record("a"), record("b"))
    store.begin("inspect", "records", "anew", anew=True)
    store.add("inspect", "records", [record("a")], [], 0)
    assert store.items(Grid, "grids") == store.items(Group, "groups") == []
    with pytest.raises(BadInput, match=r"cut off while it measured .* \(no decision is lost\)"):
        reviews.grids(store, task.load("couple-profile"))
    store.add("inspect", "records", [record("b")], [], 0)
    assert reviews.grids(store, task.load("couple-profile")) == [grid]


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    def refusals() -> Iterator[Rejected]:
        yield refusal("c")
        raise ZeroDivisionError  # while the transaction is under way

    with pytest.raises(ZeroDivisionError):
        store.add("inspect", "records", [record("a")], refusals(), 1)
    assert store.items(Record, "records") == [] and store.rejected("inspect") == []
    store.add("inspect", "records", [record("a")], [], 0)  # and the store is fit for the next


def test_an_unknown_table_is_told_with_the_known_ones(store: Store) -> None:
    with pytest.raises(BadInput, match=r"no table named 'caption', did you mean 'captions'\? \(known: collected, "):
        store.table("caption")
    with pytest.raises(BadInput, match="no table named 'settings'"):
        store.table("settings")


def test_settings_are_kept_beside_the_database_and_replaced(tmp_path: Path) -> None:
    assert read_settings(tmp_path) is None
    write_settings(tmp_path / "run", {"task": "storyboard", "sources": ["ä"]})
    write_settings(tmp_path / "run", {"task": "sandstorm"})
    assert read_settings(tmp_path / "run") == {"task": "sandstorm"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.settings.json"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_settings_that_can_t_be_read_are_told_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.settings.json").write_text(content)
    with pytest.raises(
        BadInput, match=r"run\.settings\.json (can't be read|holds no settings).* give the options again"
    ):
        read_settings(tmp_path)
    assert (tmp_path / "run.settings.json").read_text() == content


# ---- stages


def test_a_stage_begun_with_another_fingerprint_loses_its_old_rows_and_no_others(store: Store) -> None:
    store.begin("inspect", "records", "one", anew=False)
    store.add("inspect", "records", [record("a")], [refusal("b")], 2)
    store.add("collect", "collected", [record("a")], [refusal("b")], 2)
    store.begin("inspect", "records", "one", anew=False)
    assert store.count("records") == 1
    store.begin("inspect", "records", "two", anew=False)
    assert store.count("records") == 0 and store.rejected("inspect") == []
    assert store.count("collected") == 1 and store.rejected("collect") == [refusal("b")]


def test_a_finished_stage_tells_what_it_did(store: Store) -> None:
    store.begin("inspect", "records", "one", anew=False)
    store.add("inspect", "records", [record("a")], [], 1.5)
    mark = store.mark("inspect")
    assert mark and not mark.done and mark.seconds == 1.5
    store.finish("inspect", entered=3, kept=1, facts={"floor": 0.25, "scorer": {"model": "x"}})
    mark = store.mark("inspect")
    assert mark and mark.done and (mark.entered, mark.kept, mark.facts["floor"]) == (3, 1, 0.25)
    assert store.mark("group") is None


# ---- the file


def test_the_file_is_in_wal_mode_and_knows_its_version(store: Store, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "run" / "run.db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA user_version").fetchone()[0] > 0
    db.close()


def test_a_run_is_opened_again_with_all_that_is_in_it(store: Store, tmp_path: Path) -> None:
    store.add("inspect", "records", [record("a")], [], 0)
    with Store(tmp_path / "run") as again:
        assert again.items(Record, "records") == [record("a")]


def test_a_run_of_another_version_is_refused_and_left_alone(store: Store, tmp_path: Path) -> None:
    store.add("inspect", "records", [record("a")], [], 0)
    with store:
        store._db.execute("PRAGMA user_version=1")
    assert not is_current(tmp_path / "run")
    with pytest.raises(BadInput, match=r"run\.db is not a run of this version.* 'iclora dataset' derives it again"):
        Store(tmp_path / "run")
    db = sqlite3.connect(tmp_path / "run" / "run.db")
    assert db.execute("SELECT count(*) FROM records").fetchone() == (1,)
    db.close()


def test_a_stranger_s_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "run.db")
    db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(BadInput, match="is not a run of this version"):
        Store(tmp_path)
    assert (tmp_path / "run.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 50, b"SQLite format 3\0half"])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.db").write_bytes(content)
    with pytest.raises(BadInput, match=r"can't be read or written \(.*\); .* another folder with --out"):
        Store(tmp_path)
    assert (tmp_path / "run.db").read_bytes() == content


def test_a_database_damaged_in_a_run_may_be_deleted(tmp_path: Path) -> None:
    write_settings(tmp_path, {"task": "storyboard"})
    with Store(tmp_path) as store:
        store.add("inspect", "records", [record(f"{number:04d}") for number in range(500)], [], 0)
    file = tmp_path / "run.db"
    content = file.read_bytes()
    file.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with Store(tmp_path) as store, pytest.raises(BadInput, match=r"malformed\); delete run\.db .* no decision is lost"):
        store.items(Record, "records")


def test_a_folder_that_can_t_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="can't be read or written"):
        Store(tmp_path / "file" / "run")
    (tmp_path / "run" / "run.db").mkdir(parents=True)
    with pytest.raises(BadInput, match="unable to open database file"):
        Store(tmp_path / "run")


def test_a_database_that_another_program_holds_is_told(store: Store, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "run" / "run.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store._db.execute("PRAGMA busy_timeout=50")
    with pytest.raises(BadInput, match="database is locked"):
        store.add("inspect", "records", [record("a")], [], 0)
    with Store(tmp_path / "run") as reader:  # looking is no trouble
        assert reader.count("records") == 0
    holder.execute("ROLLBACK")
    holder.close()
    store.add("inspect", "records", [record("a")], [], 0)


@contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at work in a run's folder until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from pipeline.store import Store\n"
        "with Store(Path(sys.argv[1])) as store, store.working():\n    print('at work', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout and other.stdout.readline() == "at work\n"
            yield other
        finally:
            other.kill()


def test_only_one_process_works_at_a_run_and_its_death_frees_it(tmp_path: Path) -> None:
    with worker(tmp_path) as other, Store(tmp_path) as store:
        told = rf"at work in {tmp_path}: '-c {tmp_path}', process {other.pid} on .+, since 20.+ UTC; wait for it"
        with pytest.raises(BadInput, match=told), store.working():
            pass
        assert store.counts()["records"] == 0
        other.kill()
        other.wait()
        assert (tmp_path / HOLDER).exists()  # nobody was left to take it away, and it holds up nobody
        with store.working():
            store.add("inspect", "records", [record("a")], [], 0)
            assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()
    assert not (tmp_path / HOLDER).exists()


def test_a_dead_holder_is_not_named_for_another_who_has_not_said_yet_who_it_is(tmp_path: Path) -> None:
    with worker(tmp_path) as other:
        other.kill()
        other.wait()
        with Store(tmp_path) as store, locked(tmp_path / "working.lock", 0):
            with pytest.raises(BadInput, match=f"at work in {tmp_path}; wait"), store.working():
                pass
            holder = json.loads((tmp_path / HOLDER).read_text())
            (tmp_path / HOLDER).write_text(
                json.dumps(holder | {"host": "elsewhere"})
            )  # of whose processes we know nothing
            with pytest.raises(BadInput, match=f"process {other.pid} on elsewhere, since"), store.working():
                pass


@pytest.mark.parametrize("content", ["", "[]", "{}", "\0"])
def test_a_holder_that_can_not_be_read_is_not_named(tmp_path: Path, content: str) -> None:
    (tmp_path / HOLDER).write_text(content)
    held = locked(tmp_path / "working.lock", 0)
    with Store(tmp_path) as store, held, pytest.raises(BadInput) as refused, store.working():
        pass
    assert str(refused.value).startswith(f"another process is at work in {tmp_path}; wait for it")


def test_where_nothing_can_be_locked_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "working.lock").mkdir()
    with (
        Store(tmp_path) as store,
        pytest.raises(BadInput, match=r"working.lock can't be locked .*--out"),
        store.working(),
    ):
        pass


def test_work_within_work_keeps_the_lock_to_the_end_of_the_outer_one(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        with store.working():
            with store.working():
                pass
            with pytest.raises(BadInput, match="at work"), other.working():
                pass
        with other.working():
            pass


def test_two_processes_may_open_a_new_run_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from pipeline.store import Store; Store(Path(sys.argv[1])).counts()"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == [b"", b""]


# ---- the cache


def test_replies_and_vectors_come_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    key = key_of(model="a", panels=(1, 2))
    assert cache.get_reply(key) is None and cache.get_vector(key) is None
    cache.put_reply(key, {"text": "schön 🎬"})
    cache.put_vector(key, np.array([0.5, -1.0, 1 / 3], np.float64))
    assert cache.get_reply(key) == {"text": "schön 🎬"}
    vector = cache.get_vector(key)
    assert vector is not None
    np.testing.assert_array_equal(vector, np.array([0.5, -1.0, 1 / 3], np.float32))


def test_a_key_depends_on_every_name_and_value_and_on_nothing_else() -> None:
    keys = [key_of(a=1, b=2), key_of(b=2, a=1), key_of(a=2, b=1), key_of(a=1), key_of(a=1, b="2"), key_of(a=1, b=None)]
    assert keys[0] == keys[1] and len(set(keys)) == 5
    with pytest.raises(TypeError):
        key_of(model=object())  # it would be told by its address


@pytest.mark.parametrize("content", [b"", b'{"text": "half', b"\xff\xfe", b"[1, 2]", b"null", b"\0" * 100])
def test_a_reply_that_can_t_be_read_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    cache = Cache(tmp_path)
    cache.put_reply("ab12", {"text": "good"})
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(content)
    assert cache.get_reply("ab12") is None
    cache.put_reply("ab12", {"text": "good"})
    assert cache.get_reply("ab12") == {"text": "good"}


@pytest.mark.parametrize("left", [0, 3, 8, 20, -1])
def test_a_vector_of_which_a_part_is_lost_counts_as_absent(tmp_path: Path, left: int) -> None:
    cache = Cache(tmp_path)
    cache.put_vector("ab12", np.ones(4))
    (file,) = tmp_path.rglob("*.f32")
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    assert cache.get_vector("ab12") is None


def test_a_vector_that_is_not_finite_counts_as_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put_vector("ab12", np.array([0.5, np.nan]))
    assert cache.get_vector("ab12") is None


WRITER = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pipeline.cache import Cache
cache = Cache(Path(sys.argv[1]))
print("writing", flush=True)
while True:
    for letter in "xy":
        cache.put_reply("ab12", {"text": letter * 2_000_000})
"""


def test_a_reader_never_sees_half_a_reply_not_even_of_a_killed_writer(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout and writer.stdout.readline()
        cache = Cache(tmp_path)
        cache.put_reply("ab12", {"text": "x" * 2_000_000})
        seen = {json.dumps(cache.get_reply("ab12"))[:12] for _ in range(30)}
        writer.kill()
    seen.add(json.dumps(cache.get_reply("ab12"))[:12])
    assert seen <= {'{"text": "xx', '{"text": "yy'}


def test_a_cache_that_can_t_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "replies").write_text("a file in the folder's place")
    with pytest.raises(BadInput, match=r"can't be written to .*--out"):
        Cache(tmp_path).put_reply("ab12", {})
