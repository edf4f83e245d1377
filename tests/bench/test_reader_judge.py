"""The miniature's reader tells of drawn grids, whose scenes are known, what they show."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import reader_judge
from bench.stories import TASK, Story, stories
from iclora.evaluation.judge import Judge, Judgement
from miniature.world import Scene
from pipeline import task as tasks
from pipeline.cache import Cache
from training import config

PAGES = stories(8, test=True)
OTHERS = random.Random(0).sample([scene for page in stories(40, test=True) for scene in page.scenes], len(PAGES))
MIXED = [replace(page, scenes=(*page.scenes[:2], other)) for page, other in zip(PAGES, OTHERS, strict=True)]
"""The same pages with a panel of another character."""


def judged(
    drawn: Sequence[Story],
    told: Sequence[Story],
    home: Path,
    *,
    looks: str = "both",
    given: Sequence[int] = (),
    described: bool = True,
) -> list[Judgement]:
    """What the judge says of the grids of some pages under the captions of others."""
    judge = Judge(reader_judge.make({"looks": looks}), tasks.load(TASK), Cache(home / "cache"))
    layout = config.scaled(tasks.load(TASK).grid_layout, 0.125, 64, 16)
    asked = []
    for number, (page, words) in enumerate(zip(drawn, told, strict=True)):
        page.grid().save(file := home / f"{number}.png")
        asked.append((file, words.caption(described=described)))
    return list(judge.judge(asked, layout, given))


def same(one: Scene, other: Scene, looks: str = "both") -> bool:
    kinds, colours = (getattr(one.character, key) == getattr(other.character, key) for key in ("kind", "colour"))
    return {"both": kinds and colours, "kind": kinds, "colour": colours}[looks]


def test_all_panels_must_show_the_described_character(tmp_path: Path) -> None:
    """Pages of one character, the same with a panel of another, and the pages under the captions of others."""
    drawn, told = [*PAGES, *MIXED, *PAGES[::-1]], [*PAGES, *PAGES, *PAGES]
    for described in (True, False):
        found = judged(drawn, told, tmp_path, described=described)
        wanted = [words if described else page for page, words in zip(drawn, told, strict=True)]
        true = [all(same(one, by.scenes[0]) for one in page.scenes) for page, by in zip(drawn, wanted, strict=True)]
        assert [one.consistent for one in found] == true
        assert {0, 1} == set(true)


@pytest.mark.parametrize("looks", ["both", "kind", "colour"])
def test_with_a_given_panel_the_share_of_the_others_with_its_character_counts(looks: str, tmp_path: Path) -> None:
    found = judged(MIXED, MIXED, tmp_path, looks=looks, given=[0], described=False)
    true = [(1 + same(page.scenes[0], page.scenes[2], looks)) / 2 for page in MIXED]
    assert [one.consistent for one in found] == true
    assert 0.5 in true


def test_places_and_actions_are_compared_with_the_texts_of_the_drawn_panels(tmp_path: Path) -> None:
    for given in ((), (0,)):
        found = judged(MIXED, PAGES, tmp_path, given=given)
        true = []
        for page, words in zip(MIXED, PAGES, strict=True):
            pairs = [*zip(page.scenes, words.scenes, strict=True)][len(given) :]
            true.append(sum((a.place == b.place) + (a.action == b.action) for a, b in pairs) / len(pairs) / 2)
        assert [one.follows for one in found] == pytest.approx(true)
        assert min(true) < 1
