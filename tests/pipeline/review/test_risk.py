"""Which rows come first in review, and how margins of different measures compare."""

import math

import pytest

from pipeline.records import Caption, Grid, Group, Layout, Row, Score
from pipeline.review import risk


def row(name: str, *scores: Score, problems: tuple[str, ...] = ()) -> Row:
    """A row that is rejected for its failed scores."""
    grid = Grid(name, Group(name, "storyboard", (), "by hand", 1.0), Layout(3, 1, 64, 64), f"{name}.png")
    caption = Caption("", "", "", (), grid=name, problems=problems)
    return Row(grid, caption, scores, reasons=tuple(score.reason for score in scores if not score.passed))


def text(value: float) -> Score:
    return Score("text 1", value, 0.4, value >= 0.4, "why", usual=0.5)


def alike(value: float) -> Score:
    return Score("most alike", value, 0.98, value <= 0.98, "why", usual=0.58)


def test_rejected_rows_come_first_with_the_worst_on_top_and_then_problems_and_then_borderline_rows() -> None:
    rows = [
        row("good", text(0.5)),
        row("borderline", text(0.41)),
        row("faulty", text(0.5), problems=("a marker is missing",)),
        row("bad", text(0.38)),
        row("unscored"),
        row("worst", text(-0.2)),
    ]
    order = [each.id for each in risk.riskiest_first(rows)]
    assert order == ["worst", "bad", "faulty", "borderline", "good", "unscored"]


def test_a_margin_is_in_units_of_the_usual_spread_whatever_the_measure() -> None:
    assert risk.margin(row("a", text(0.5))) == pytest.approx(1)
    assert risk.margin(row("b", alike(0.58))) == pytest.approx(1)
    assert risk.margin(row("c", text(0.4))) == 0
    assert risk.margin(row("d", text(0.3))) == pytest.approx(-1)
    assert risk.margin(row("e", alike(1.0))) == pytest.approx(-0.05)


def test_the_worst_score_of_a_row_counts() -> None:
    """0.95 against a ceiling of 0.98 is nearer than 0.45 against a floor of 0.40, by the usual spreads."""
    assert risk.margin(row("a", text(0.45), alike(0.95))) == pytest.approx(0.03 / 0.4)


@pytest.mark.parametrize("usual", [None, 0.4])
def test_if_the_usual_spread_is_unknown_the_plain_distance_counts(usual: float | None) -> None:
    assert risk.margin(row("a", Score("text 1", 0.3, 0.4, False, "why", usual))) == pytest.approx(-0.1)


def test_a_row_without_scores_has_no_known_risk() -> None:
    assert risk.margin(row("a")) == math.inf
