"""What speaks against possible groups is the same whether they are asked about one by one or many together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured import coloured, film, record

from pipeline import task
from pipeline.consistency import belonging, evidence, verdict
from pipeline.consistency.belonging import FittedRule
from pipeline.consistency.likeness import SUMMARIES, features
from pipeline.grouping.pictures import Pictures
from pipeline.grouping.strategies.base import Formed, Walk, together
from pipeline.grouping.vetoes import Veto, Vetoes
from pipeline.grouping.ways import Question
from pipeline.records import Record, Rejected

BOARD = task.load("storyboard")
FILMS, SHOTS = 4, 6


def similarities(vetoes: Vetoes, group: Sequence[Record]) -> np.ndarray:
    rows = vetoes.pictures.compared_rows(group)
    found: np.ndarray = rows @ rows.T
    np.fill_diagonal(found, -1.0)
    return found


def one_by_one(vetoes: Vetoes, ways: Sequence[Sequence[Record]]) -> tuple[Record, ...] | str:
    """The first way that passes each test in turn, or why none does, as the docstrings say it."""
    pictures, filmed = vetoes.pictures, bool(ways[0][0].position.film)
    alike = [pictures.likeness(group)[0] for group in ways]
    ways = [group for group, value in zip(ways, alike, strict=True) if value >= vetoes.floor]
    if not ways:
        return str(Veto(max(alike), vetoes.floor))
    if vetoes.copies is not None and filmed:
        most = [similarities(vetoes, group).max() for group in ways]
        why = f"two of them show the same, {pictures.by} {min(most):.2f}, ceiling {vetoes.copies:g}"
        ways = [group for group, value in zip(ways, most, strict=True) if value < vetoes.copies]
        if not ways:
            return str(Veto(max(alike), vetoes.floor, why))
    least = vetoes.related if vetoes.task.group.related is None else vetoes.task.group.related
    if least is not None and (filmed or vetoes.task.group.related is not None):
        best = [similarities(vetoes, group).max(axis=1).min() for group in ways]
        why = f"{pictures.by} {max(best):.2f}, at least {least:.2f} is needed"
        ways = [group for group, value in zip(ways, best, strict=True) if value >= least]
        if not ways:
            return str(Veto(max(alike), vetoes.floor, why))
    if vetoes.found is None:
        return tuple(ways[0])
    read = features(pictures.measures, pictures.rows_of(ways))
    panels = [one for group in ways for one in group]
    prior = evidence.ADJACENT_SHOT * evidence.nearness(panels, np.arange(len(panels)).reshape(len(ways), -1))
    allowed = (vetoes.found.rule.scores(read) + prior).min(axis=1) >= vetoes.found.threshold
    if allowed.any():
        return tuple(ways[int(np.argmax(allowed))])
    nearest = read[np.argmax(np.nan_to_num(read[:, 0]).sum(axis=-1)), 0][:: len(SUMMARIES)]
    said = verdict.likenesses(list(pictures.measures), nearest, vetoes.found.usual)
    return str(Veto(max(alike), vetoes.floor, said))


def drawn(rng: np.random.Generator) -> tuple[list[Record], np.ndarray]:
    """Shots of films, of which some look alike, and pictures of a folder, with a vector each; one can't be read."""
    shots = [shot for name in "abcd"[:FILMS] for shot in film(name, SHOTS)]
    records = [*shots, *(record(f"folder/{number}") for number in range(SHOTS))]
    scenes = rng.integers(0, 3, len(records))
    records = [
        replace(one, histogram=coloured(int(scene), n))
        for n, (one, scene) in enumerate(zip(records, scenes, strict=True))
    ]
    vectors = rng.normal(size=(3, 8))[scenes] + 0.4 * rng.normal(size=(len(records), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.integers(len(records))] = np.nan
    return records, vectors.astype(np.float32)


def fitted(pictures: Pictures, records: Sequence[Record]) -> FittedRule:
    groups = np.arange(len(records)).reshape(-1, 3)
    return belonging.fit_run(pictures.measures, groups, [records[one[0]].position.film for one in groups], 1.0)


@given(
    seed=st.integers(0, 10_000),
    floor=st.sampled_from([None, 0.0, 0.6, 1.0]),
    copies=st.sampled_from([None, 0.5, 0.97]),
    related=st.sampled_from([None, 0.3, 0.9]),
    by_person=st.sampled_from([None, 0.5]),
    knows=st.booleans(),
    scored=st.booleans(),
)
def test_many_questions_have_the_answers_that_each_has_alone(  # noqa: PLR0913, PLR0917
    seed: int,
    floor: float | None,
    copies: float | None,
    related: float | None,
    by_person: float | None,
    knows: bool,
    scored: bool,
) -> None:
    rng = np.random.default_rng(seed)
    records, vectors = drawn(rng)
    own = BOARD.model_copy(update={"group": BOARD.group.model_copy(update={"floor": floor, "related": by_person})})
    pictures = Pictures.of(own, records, vectors if scored else None)
    vetoes = Vetoes(own, pictures, copies, fitted(pictures, records) if knows else None, related)
    asked = []
    for first in range(0, len(records), SHOTS):
        some = records[first : first + SHOTS]
        asked.append([[some[place] for place in rng.permutation(SHOTS)[:3]] for _ in range(rng.integers(1, 6))])
    answers = vetoes.each([Question.of(ways) for ways in asked])
    assert [str(one) if isinstance(one, Veto) else one for one in answers] == [one_by_one(vetoes, w) for w in asked]
    assert [vetoes.first(ways) for ways in asked] == answers


def test_no_questions_have_no_answers() -> None:
    assert Vetoes(BOARD, Pictures.of(BOARD, [], None)).each([]) == []


@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_walks_that_go_on_together_come_to_their_results_in_order(at_once: int) -> None:
    records = [shot for name in "abcde" for shot in film(name, 7)]
    vetoes, under_way, most = Vetoes(BOARD, Pictures.of(BOARD, records, None)), 0, 0

    def walk(number: int) -> Walk:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        made: list[Formed | Rejected] = []
        own = records[7 * number : 7 * number + 7]
        for start in range(number):  # the first asks nothing, the last most
            chosen = yield Question.of([own[start : start + 3]])
            assert chosen == tuple(own[start : start + 3])
            made.append(Formed(tuple(own[start : start + 3]), f"{number} {start}"))
        under_way -= 1
        return made

    found = list(together((walk(number) for number in range(5)), vetoes, at_once))
    assert [one.why for one in found] == [f"{number} {start}" for number in range(5) for start in range(number)]
    assert most == min(at_once, 4)  # one of the five has nothing to ask
