"""Groups, ids, order, rejections and sentences for material of every structure, compared with a recorded result.

`same_groups.json` was written when one class formed all groups. After a deliberate change of policy, record it anew:
`PYTHONPATH=.:tests python tests/pipeline/grouping/test_same_groups.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from measured import coloured, film, of_set, record, reel

from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.records import Group, Record, Rejected
from pipeline.stages import group
from pipeline.task import Task

RECORDED = Path(__file__).with_suffix("").with_name("same_groups.json")


def films() -> list[Record]:
    """Ten films of nine shots; two have one stranger each, one has a copy."""
    reels = [reel(name, 9, seed) for seed, name in enumerate("abcdefghij")]
    reels[2][4] = replace(reels[2][4], histogram=coloured(77))
    reels[5][0] = replace(reels[5][0], histogram=coloured(78))
    reels[7][3] = replace(reels[7][2], id="h/003", width=320, position=replace(reels[7][3].position))
    return [shot for shots in reels for shot in shots]


def folder() -> list[Record]:
    """Four folders of eleven images each; one consists of strangers only."""
    made = []
    for seed, name in enumerate("pqrs"):
        for number in range(11):
            colours = coloured(300 + number) if name == "r" else coloured(seed, 100 * seed + number)
            made.append(replace(record(f"{name}/{number:02d}"), histogram=colours))
    return made


def pairs() -> list[Record]:
    """Twenty pairs, two of strangers, one incomplete, one with three images."""
    made = []
    for seed in range(20):
        other = 90 + seed if seed in (4, 11) else seed
        made += [replace(record(f"x/{seed}_after"), histogram=coloured(other, 2))]
        made += [replace(record(f"x/{seed}_before"), histogram=coloured(seed, 1))]
    return [
        *made,
        record("x/20_before"),
        *(record(f"y/1_{n}") for n in range(3)),
        record("z/before"),
        record("z/after"),
    ]


def sets() -> list[Record]:
    """Six whole sets, one incomplete, and the films beside them."""
    whole = [of_set(f"x/{number}-{page}", page, str(number)) for number in range(6) for page in (2, 0, 1)]
    return [*whole, of_set("x/7-0", 0, "7"), *film("k", 7), *films()]


CASES = {
    "films": (task.load("storyboard", ["grids=[1,15]"]), films()),
    "films, lower floor": (task.load("storyboard", ["grids=[1,100]", "group.floor=0.0", "group.window=4"]), films()),
    "folder": (task.load("storyboard", ["grids=[1,100]"]), folder()),
    "pairs": (task.load("sandstorm", ["grids=[1,100]"]), pairs()),
    "pairs, few wanted": (task.load("sandstorm", ["grids=[1,6]", "group.floor=0.0"]), pairs()),
    "sets": (task.load("storyboard", ["grids=[1,20]"]), sets()),
}


def run(of: Task, records: Sequence[Record]) -> list[object]:
    strategy = plugins.find(plugins.GROUPING, of.group.by)
    return plain(list(group.stage(group.Parameters(of, strategy, None, Path(), Cache(Path()))).run(records)))


def plain(results: Sequence[object]) -> list[object]:
    """What matters about groups and rejections, as JSON has it."""
    return [
        [row.id, row.what, row.reason, row.detail]
        if isinstance(row, Rejected)
        else [row.id, row.task, list(row.origin), row.formed, row.cohesion]
        for row in results
        if isinstance(row, Group | Rejected)
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_groups_of_a_structure_are_those_recorded(name: str) -> None:
    assert run(*CASES[name]) == json.loads(RECORDED.read_text(encoding="utf-8"))[name]


def write() -> None:
    lines = [f'"{name}": [\n' + ",\n".join(map(json.dumps, run(*case))) + "\n]" for name, case in CASES.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
