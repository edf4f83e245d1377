"""Running a stage over its inputs: in order, every input accounted for, and the same after a kill as without one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.engines import _capacity, base, local
from pipeline.engines.base import Alone, Facts, Stage
from pipeline.errors import BadInput, Stopped
from pipeline.records import Group, Position, Record, Rejected
from pipeline.store import TABLES, Item, Mark, Store

Results = Iterator[Item | Rejected]


@dataclass(frozen=True)
class Film:
    """An input of the small pipeline below: a film with three shots, the last of which can't be used."""

    id: str


FILMS = [Film(f"f{number}") for number in range(7)]


def record(name: str) -> Record:
    return Record(name, f"{name}.png", name.partition("-")[0], Position(stem=name))


def collect(films: Sequence[Film]) -> Results:
    for film in films:
        yield from (record(f"{film.id}-{shot}") for shot in range(3))
        yield Rejected(f"{film.id}#3", film.id, "too dark", "It is black.")


def inspect(records: Sequence[Record]) -> Results:
    for item in records:
        if item.id.endswith("-1"):
            yield Rejected(item.id, item.path, "unreadable", "It is cut off.")
        else:
            time.sleep(0.002 if item.id < "f3" else 0)  # with threads later batches overtake
            yield replace(item, width=len(item.id))


def group(records: Sequence[Record]) -> Results:
    for start in range(0, len(records), 4):
        part = tuple(records[start : start + 4])
        yield Group(f"g{start}", "test", part, "four in a row", 1.0)


def stages(threads: int = 1, **config: object) -> list[Stage]:  # type: ignore[type-arg]
    def origin(item: Record) -> tuple[str, ...]:
        return (item.source,)

    return [
        Stage("collect", "collected", collect, {}, batch=2, origin=origin, expands=True),
        Stage("inspect", "records", inspect, config, batch=3, workers=threads),
        Stage("group", "groups", group, {"size": 4}),
    ]


def walk(folder: Path, line: Sequence[Stage], fatal: int = 0) -> list[Mark]:  # type: ignore[type-arg]
    """Sends the films through the pipeline. With `fatal`, the process kills itself at that database statement."""
    with Store(folder) as store:
        statements = iter(range(1, 1_000_000))

        def count(_: str) -> None:
            if next(statements) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        store._db.set_trace_callback(count)
        marks, inputs, upstream = [], list[object](FILMS), ""
        for stage in line:
            marks.append(local.run(stage, inputs, store, upstream=upstream, progress=lambda *_: None))
            inputs, upstream = store.items(TABLES[stage.table], stage.table), store.digest(stage.table)
        store._db.set_trace_callback(None)
        return marks


def content(folder: Path) -> dict[str, object]:
    """All tables and marks, without the seconds."""
    with Store(folder) as store:
        tables: dict[str, object] = {name: store.table(name) for name in store.counts() if name != "stages"}
        return tables | {row["name"]: row | {"seconds": 0} for row in store.table("stages")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    walk(folder, stages())
    return content(folder)


def test_every_input_is_kept_or_rejected(tmp_path: Path, uninterrupted: dict[str, object]) -> None:
    marks = walk(tmp_path, stages())
    assert [(mark.entered, mark.kept) for mark in marks] == [(28, 21), (21, 14), (14, 14)]
    assert all(mark.done for mark in marks)
    with Store(tmp_path) as store:
        assert [len(store.rejected(mark.name)) for mark in marks] == [7, 7, 0]
        assert [item.id for item in store.items(Record, "collected")] == [
            f"f{n}-{s}" for n in range(7) for s in range(3)
        ]
    assert content(tmp_path) == uninterrupted


KILL = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/pipeline/engines"]
import test_local_engine as test_engine
from pathlib import Path
test_engine.walk(Path(sys.argv[2]), test_engine.stages(threads=int(sys.argv[3])), fatal=int(sys.argv[4]))
"""


def doomed(folder: Path, fatal: int, threads: int = 1) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", KILL, str(Path(__file__).parents[2]), str(folder), str(threads), str(fatal)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_run_that_is_killed_again_and_again_ends_like_an_uninterrupted_one(
    tmp_path: Path, uninterrupted: dict[str, object]
) -> None:
    """Killed at a later database statement each time, in steps of 7, until it ends."""
    fatal, kills = 12, 0
    while (ran := doomed(tmp_path, fatal, threads=1 + kills % 2)).returncode:
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        fatal, kills = fatal + 7, kills + 1
    assert kills >= 5
    assert content(tmp_path) == uninterrupted


@pytest.mark.parametrize("threads", [2, 5])
def test_several_threads_give_the_same_tables_as_one(
    tmp_path: Path, uninterrupted: dict[str, object], threads: int
) -> None:
    walk(tmp_path, stages(threads))
    assert content(tmp_path) == uninterrupted


# ---- one stage


class Watched:
    """The inspect stage, which records its inputs and can fail at a chosen batch."""

    def __init__(self, fails_at: str = "", threads: int = 1, batch: int | None = 2, **config: object) -> None:
        self.seen: list[str] = []
        self.fails_at = fails_at
        self.stage = Stage("inspect", "records", self.run, config, batch=batch, workers=threads)

    def run(self, records: Sequence[Record]) -> Results:
        if self.fails_at in [item.id for item in records]:
            raise OSError("the disk has gone")
        self.seen += [item.id for item in records]
        yield from inspect(records)


INPUTS = [record(f"f{number}-0") for number in range(10)]
NAMES = [item.id for item in INPUTS]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "run") as opened:
        yield opened


def run(watched: Watched, store: Store, inputs: Sequence[Record] = INPUTS, upstream: str = "films") -> Mark:
    return local.run(watched.stage, inputs, store, upstream=upstream, progress=lambda *_: None)


def rows(store: Store) -> list[str]:
    return [item.id for item in store.items(Record, "records")]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failing_batch_leaves_the_earlier_ones_and_only_the_rest_is_done_again(store: Store, threads: int) -> None:
    with pytest.raises(OSError, match="the disk has gone"):
        run(Watched("f5-0", threads), store)
    assert rows(store) == NAMES[:4]
    mark = store.mark("inspect")
    assert mark and not mark.done
    again = Watched(threads=threads)
    assert run(again, store).kept == 10
    assert sorted(again.seen) == NAMES[4:] and rows(store) == NAMES


def test_after_a_failure_no_further_batch_starts(store: Store) -> None:
    watched, before = Watched("f0-0", threads=2, batch=1), threading.active_count()
    with pytest.raises(OSError, match="gone"):
        run(watched, store)
    assert len(watched.seen) <= 3  # at most twice as many batches as threads are in progress
    assert threading.active_count() == before


def test_finished_work_is_not_repeated(store: Store) -> None:
    first = run(Watched(), store)
    again = Watched()
    assert run(again, store) == first and again.seen == []


@pytest.mark.parametrize(("config", "upstream"), [({"sharp": 2}, "films"), ({}, "other films")])
def test_a_changed_config_or_input_starts_afresh(store: Store, config: dict[str, object], upstream: str) -> None:
    run(Watched(), store)
    again = Watched(**config)  # type: ignore[arg-type]
    run(again, store, INPUTS[::-1], upstream)
    assert again.seen == rows(store) == NAMES[::-1]


def test_the_order_of_a_config_s_keys_is_no_change(store: Store) -> None:
    run(Watched(one=1, two={"three": 3, "four": 4}), store)
    again = Watched(two={"four": 4, "three": 3}, one=1)
    run(again, store)
    assert again.seen == []


def test_a_config_of_objects_is_refused_since_they_differ_in_every_process(store: Store) -> None:
    with pytest.raises(TypeError):
        run(Watched(model=object()), store)


def test_a_stage_that_needs_all_inputs_at_once_never_resumes_with_old_rows(store: Store) -> None:
    whole = Watched(batch=None)
    fingerprint = base.fingerprint(whole.stage, "films")
    store.begin("inspect", "records", fingerprint, anew=False)
    store.add("inspect", "records", [record("left-over")], [], 1)  # killed between its rows and its mark
    run(whole, store)
    assert whole.seen == rows(store) == NAMES


@pytest.mark.parametrize("threads", [1, 3])
def test_what_each_input_comes_to_by_itself_is_taken_over_in_the_order_of_the_inputs(
    store: Store, threads: int
) -> None:
    inputs = [record(f"f{number}-{shot}") for number in range(5) for shot in range(2)]  # of which "-1" are rejected

    def alone(*anew: str, said: object = None, **config: object) -> Watched:
        watched = Watched(threads=threads, **config)  # type: ignore[arg-type]
        holds = Alone[Record](repr, lambda item, made: len(made) == 1 and item.id not in anew)
        watched.stage = replace(watched.stage, also={"said": said}, alone=holds)
        return watched

    def worked_on(watched: Watched, inputs: Sequence[Record]) -> list[str]:
        mark = run(watched, store, inputs, upstream=repr(inputs))
        assert (mark.done, mark.entered, mark.kept) == (True, len(inputs), len(rows(store)))
        assert rows(store) == [item.id for item in inputs if item.id.endswith("-0")]
        assert [row.id for row in store.rejected("inspect")] == [one.id for one in inputs if one.id.endswith("-1")]
        return sorted(watched.seen)

    assert worked_on(alone(), inputs) == [item.id for item in inputs]
    assert worked_on(alone("f1-1", "f3-0", said="a word"), inputs) == ["f1-1", "f3-0"]
    assert worked_on(alone(said="a word"), inputs[::-1]) == []
    changed = [replace(inputs[0], text="new"), *inputs[1:4], record("f9-0"), *inputs[5:]]
    assert worked_on(alone(), changed) == ["f0-0", "f9-0"]
    assert worked_on(alone(sharp=2), changed) == sorted(item.id for item in changed)
    plain = Watched(threads=threads, sharp=2)
    assert worked_on(plain, inputs) == [item.id for item in inputs]


def test_a_stage_whose_files_are_missing_is_done_again(store: Store) -> None:
    run(Watched(), store)
    again = Watched()
    again.stage = replace(again.stage, intact=lambda: False)
    run(again, store)
    assert again.seen == rows(store) == NAMES


@pytest.mark.parametrize("workers", [1, 2])
def test_facts_of_batches_are_merged_and_kept_apart_from_the_facts_of_the_whole_stage(
    store: Store, workers: int
) -> None:
    def run_(records: Sequence[Record]) -> Iterator[Item | Rejected | Facts]:
        yield from records
        yield Facts({"asked": len(records), "sure": True, "limits": {"last": records[-1].id}})

    stage = Stage("inspect", "records", run_, {}, 3, workers, facts=lambda rows: {"rows": len(rows), "asked": 0})
    mark = local.run(stage, INPUTS, store, upstream="films", progress=lambda *_: None)
    assert mark.facts == {"rows": 10, "asked": 10, "sure": True, "limits": {"last": "f9-0"}}
    assert rows(store) == NAMES


def test_a_stage_without_inputs_succeeds(store: Store) -> None:
    assert (run(Watched(), store, []).entered, run(Watched(batch=None), store, []).kept) == (0, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda records: records[1:], r"lost \['f0-0'\]"),
        (lambda records: [*records, record("nobody")], r"invented \['nobody'\]"),
    ],
)
def test_a_stage_that_loses_or_invents_rows_is_stopped(
    store: Store, spoil: Callable[[Sequence[Record]], list[Record]], message: str
) -> None:
    stage = Stage("inspect", "records", spoil, {}, batch=4)
    with pytest.raises(RuntimeError, match=message):
        local.run(stage, INPUTS, store, upstream="", progress=lambda *_: None)
    assert rows(store) == []


def test_progress_starts_from_the_finished_inputs_and_reaches_all(store: Store) -> None:
    with pytest.raises(OSError, match="gone"):
        run(Watched("f7-0"), store)
    reports: list[tuple[str, int, int]] = []
    local.run(Watched().stage, INPUTS, store, upstream="films", progress=lambda *words: reports.append(words))
    assert reports == [("inspect", 6, 10), ("inspect", 8, 10), ("inspect", 10, 10)]


def test_a_second_process_is_refused(store: Store, tmp_path: Path) -> None:
    class Meanwhile(Watched):
        def run(self, records: Sequence[Record]) -> Results:
            with Store(tmp_path / "run") as other, pytest.raises(BadInput, match="another process is at work"):
                run(Watched(), other)
            yield from super().run(records)

    assert run(Meanwhile(), store).kept == 10
    assert run(Watched(), store).done


# ---- several stages


def test_a_change_reruns_stages_from_the_first_one_affected_until_an_output_is_the_same(tmp_path: Path) -> None:
    walk(tmp_path, stages())
    seen: list[str] = []

    def watch(stage: Stage) -> Stage:  # type: ignore[type-arg]
        def look(batch: Sequence[object]) -> Iterator[Item | Rejected]:
            seen.append(stage.name)
            return iter(stage.run(batch))  # type: ignore[arg-type]

        return replace(stage, run=look)

    walk(tmp_path, [watch(stage) for stage in stages()])
    assert seen == []
    walk(tmp_path, [watch(stage) for stage in stages(limit=3)])
    assert set(seen) == {"inspect"}  # its output is the same, so grouping has nothing to do
    seen.clear()
    FILMS.append(Film("f7"))
    try:
        first, *others = (watch(stage) for stage in stages(limit=3))
        walk(tmp_path, [replace(first, config={"films": 8}), *others])
    finally:
        FILMS.pop()
    assert set(seen) == {"collect", "inspect", "group"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_that_ends_early_keeps_what_it_gave_and_resumes(store: Store, workers: int) -> None:
    def run_(records: Sequence[Record]) -> Iterator[Item | Rejected | Facts]:
        for item in records:
            if item.id == stops:
                raise Stopped("enough.")
            yield item

    stops = NAMES[4]
    stage = Stage("inspect", "records", run_, {}, 3, workers)
    with pytest.raises(Stopped, match="enough"):
        local.run(stage, INPUTS, store, upstream="films", progress=lambda *_: None)
    assert rows(store) == NAMES[:4]
    stops = ""
    assert local.run(stage, INPUTS, store, upstream="films", progress=lambda *_: None).kept == len(NAMES)
    assert rows(store) == NAMES


# ---- a stage that takes its inputs one by one


def streaming(stops: str = "", error: BaseException | None = None, skips: str = "") -> Stage:  # type: ignore[type-arg]
    def run_(records: Sequence[Record]) -> Iterator[Item | Rejected | Facts]:
        for item in records:
            if item.id == stops and error:
                raise error
            if item.id != skips:
                yield Rejected(item.id, "", "odd", "") if item.id == NAMES[3] else item
        yield Facts({"seen": len(records)})

    return Stage("inspect", "records", run_, {}, batch=4, streams=True)


def test_a_streaming_stage_gets_all_inputs_at_once_and_is_stored_in_batches(store: Store) -> None:
    reports: list[int] = []
    mark = local.run(streaming(), INPUTS, store, upstream="films", progress=lambda _, done, of: reports.append(done))
    assert reports == [0, 4, 8, 10] and mark.facts == {"seen": 10} and (mark.entered, mark.kept) == (10, 9)
    assert rows(store) == [name for name in NAMES if name != NAMES[3]]
    assert local.run(streaming(), [], store, upstream="none", progress=lambda *_: None).entered == 0


@pytest.mark.parametrize("error", [Stopped("enough."), OSError("enough."), KeyboardInterrupt("enough.")])
def test_whatever_ends_a_streaming_stage_early_its_results_are_kept_and_it_resumes(
    store: Store, error: BaseException
) -> None:
    with pytest.raises(type(error), match="enough"):
        local.run(streaming(NAMES[6], error), INPUTS, store, upstream="films", progress=lambda *_: None)
    assert rows(store) == [*NAMES[:3], *NAMES[4:6]]
    mark = local.run(streaming(), INPUTS, store, upstream="films", progress=lambda *_: None)
    assert mark.facts == {"seen": 4} and len(rows(store)) == 9


@pytest.mark.parametrize("skipped", [NAMES[1], NAMES[9]])
def test_a_streaming_stage_that_loses_an_input_is_stopped(store: Store, skipped: str) -> None:
    with pytest.raises(RuntimeError, match=rf"lost \['{skipped}'\]"):
        local.run(streaming(skips=skipped), INPUTS, store, upstream="films", progress=lambda *_: None)


# ---- how many workers


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"proc/self/cgroup": "0::/job/step\n"}, 64, None),
        ({"proc/self/cgroup": "0::/job/step\n", "job/step/cpu.max": "250000 100000"}, 2, None),
        ({"proc/self/cgroup": "0::/job/step\n", "job/step/cpu.max": "max 100000", "job/cpu.max": "400000 100000"},
         4, None),
        ({"proc/self/cgroup": "0::/job/step\n", "job/step/cpu.max": "50000 100000"}, 1, None),
        ({"proc/self/cgroup": "0::/\n", "cpu.max": "300000 100000"}, 3, None),  # in a container with a view of its own
        ({"proc/self/cgroup": "4:memory:/job\n", "job/cpu.max": "300000 100000"}, 64, None),  # version 1 alone
        ({"proc/self/cgroup": "0::/job/step\n", "job/step/memory.max": "900", "job/step/memory.current": "200",
          "job/memory.max": "500", "job/memory.current": "400"}, 64, 100),
        ({"proc/self/cgroup": "0::/job\n", "job/memory.max": "max", "job/memory.current": "200"}, 64, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 2 kB\n", "proc/self/cgroup": "0::/job\n",
          "job/memory.max": "9000", "job/memory.current": "1000"}, 64, 2048),
        ({}, 64, None),
    ],
)  # fmt: skip
def test_the_limits_of_a_container_and_of_all_it_is_in_bound_the_workers(
    files: dict[str, str], cores: int, memory: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        file = tmp_path / (name if name.startswith("proc") else f"sys/fs/cgroup/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setattr(_capacity, "SYSTEM", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert (_capacity._cores(), _capacity._free_memory()) == (cores, memory)
