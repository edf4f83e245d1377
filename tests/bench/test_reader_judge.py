"""The miniature's reader judges drawn grids as `bench.claim` counts them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from bench import claim, reader_judge
from iclora.evaluation.judge import Judge
from pipeline import task as tasks
from pipeline.cache import Cache
from training import config


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(reader_judge.make({}), tasks.load(claim.TASK), Cache(tmp_path / "cache"))


def test_the_judge_says_what_the_benchmark_counts(judge: Judge, tmp_path: Path) -> None:
    """Pages of one character, the same with a panel of another, and the same under the texts of others."""
    layout = config.scaled(tasks.load(claim.TASK).grid_layout, 0.125, 64, 16)
    own = claim.stories(8, test=True)
    others = random.Random(0).sample(
        [scene for page in claim.stories(40, test=True) for scene in page.scenes], len(own)
    )
    mixed = [replace(page, scenes=(*page.scenes[:2], other)) for page, other in zip(own, others, strict=True)]
    pages, grids = own * 3, [page.grid() for page in [*own, *mixed, *reversed(own)]]
    asked = []
    for number, (page, grid) in enumerate(zip(pages, grids, strict=True)):
        grid.save(file := tmp_path / f"{number}.png")
        asked.append((file, page.caption(described=True)))
    judgements = list(judge.judge(asked, layout))
    counts = claim.count(pages, grids)
    assert counts["same"] == sum(one.consistent == 1 for one in judgements)
    assert {one.consistent for one in judgements} == {0, 1}
    follows = [3 * one.follows for one in judgements if one.follows is not None]
    assert sum(follows) == pytest.approx((counts["place"] + counts["action"]) / 2)
    assert counts["place"] < counts["panels"]
