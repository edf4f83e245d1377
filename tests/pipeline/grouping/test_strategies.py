"""Each strategy, whatever records it is given, and what happens to one that breaks its contract."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured import film, of_set, record

from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.plugins import Plugin
from pipeline.records import Group, Position, Record, Rejected
from pipeline.stages import group

BOARD = task.load("storyboard", ["grids=[1,100]"])


def results_of(strategy: Plugin, records: Sequence[Record]) -> tuple[list[Group], list[Rejected]]:
    results = list(group.stage(group.Parameters(BOARD, strategy, None, Path(), Cache(Path()))).run(records))
    return [one for one in results if isinstance(one, Group)], [one for one in results if isinstance(one, Rejected)]


POSITIONS = st.builds(
    Position,
    folder=st.sampled_from(["", "/x", "/y"]),
    stem=st.sampled_from(["1", "1_before", "1_after", "2-a", "b", "2 left", "2 middle", "2 right"]),
    film=st.sampled_from(["", "", "a.mp4"]),
    shot=st.integers(-1, 5),
    time=st.floats(0, 200),
    set=st.sampled_from(["", "", "s"]),
    page=st.integers(0, 3),
    group=st.sampled_from(["", "g"]),
)


@pytest.mark.parametrize("name", plugins.names(plugins.GROUPING))
@given(positions=st.lists(POSITIONS, max_size=12))
def test_every_record_ends_in_one_group_of_the_right_size_or_is_rejected(name: str, positions: list[Position]) -> None:
    records = [replace(record(f"r{number}"), position=one) for number, one in enumerate(positions)]
    groups, rejected = results_of(plugins.find(plugins.GROUPING, name), records)
    ends = [one.id for each in groups for one in each.records] + [one.id for one in rejected]
    assert sorted(ends) == sorted(one.id for one in records)
    assert all(len(one.records) == 3 for one in groups)


def test_the_strategy_sets_uses_only_ready_made_sets() -> None:
    groups, rejected = results_of(
        plugins.find(plugins.GROUPING, "sets"), [*(of_set(f"x/{page}", page) for page in range(3)), *film("a", 3)]
    )
    assert [one.formed for one in groups] == ["came as one set, s"]
    assert {one.reason for one in rejected} == {"no set"}
    assert rejected[0].detail == "a shot 0: did not come as part of a set."


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return iter(())", "got 4 records and accounted for 0"),
        ("yield Formed(tuple(records[:2]), 'two')", r"a tuple of 2; they must be a tuple of 3"),
        ("yield from [Formed(tuple(records[:3]), 'a'), Formed(tuple(records[1:]), 'b')]", "accounted for 6"),
        ("yield Formed(list(records[:3]), 'three')", "a list of 3; they must be a tuple of 3"),
    ],
)
def test_a_strategy_that_loses_or_repeats_records_is_reported_in_one_sentence(
    tmp_path: Path, body: str, said: str
) -> None:
    code = "from pipeline.grouping.strategies.base import Formed\nCOPIES = True\ndef form(records, task, vetoes):\n    "
    (tmp_path / "mine.py").write_text(code + body)
    mine = plugins.find(plugins.GROUPING, str(tmp_path / "mine.py"))
    with pytest.raises(BadInput, match=rf"^the grouping strategy 'mine' \(.*mine.py\) .*{said}.*docs/extending.md"):
        results_of(mine, film("a", 4))


def test_a_task_names_a_strategy_that_exists(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"group\.by: no grouping strategy named 'name', did you mean 'names'"):
        task.load("storyboard", ["group.by=name"])
    with pytest.raises(BadInput, match=r"group\.by: the strategy 'pairs' has become 'names', which also reads folders"):
        task.load("sandstorm", ["group.by=pairs"])
    with pytest.raises(BadInput, match=r"group\.by: the grouping strategy no/such.py can't be read"):
        task.load("storyboard", ["group.by=no/such.py"])
    (tmp_path / "mine.py").write_text("")
    assert task.load("storyboard", [f"group.by={tmp_path / 'mine.py'}"]).group.by == str(tmp_path / "mine.py")


def test_a_veto_states_what_the_images_lack() -> None:
    records = [record("x/1", red=1), record("x/2", blue=1), record("x/3", red=1)]
    vetoes = Vetoes(BOARD, Pictures.of(BOARD, records, None))
    vetoed = vetoes.first([records])
    assert isinstance(vetoed, Veto) and str(vetoed) == "are alike by 0.00, under the floor 0.2"
    assert str(replace(vetoed, likenesses="colours 0.1")) == "do not belong together (colours 0.1)"
    assert vetoes.first([records, [records[0], records[2], records[0]]]) == (records[0], records[2], records[0])


def test_the_parameters_of_the_stage_can_be_sent_to_another_process() -> None:
    strategy = plugins.find(plugins.GROUPING, "shots")
    parameters = group.Parameters(BOARD, strategy, None, Path(), Cache(Path()))
    sent = pickle.loads(pickle.dumps(partial(group.group, parameters=parameters)))
    assert sent.keywords["parameters"].strategy == strategy
