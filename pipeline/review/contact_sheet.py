"""The contact sheet: an HTML page on disk that shows every grid with its caption and scores, and what was rejected.

The riskiest rows come first: rows dropped by their scores, worst first, then undecided rows, then kept rows, starting
with those that barely passed. Rows dropped by a person are collapsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipeline import files
from pipeline.consistency.thresholds import NO_LIMIT, is_ceiling
from pipeline.records import Rejected, Row, Score
from pipeline.review import rejections, reviews
from pipeline.review.coverage import Aspect
from pipeline.review.markup import document, plain
from pipeline.review.risk import riskiest_first
from pipeline.task import Task
from pipeline.wording import counted

STYLE = """
body { max-width: 1500px; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; } p { margin: .4rem 0; }
code { font-size: .85em; }
.grids { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; }
article { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
article img { display: block; width: 100%; height: auto; background: var(--line); }
article > div { padding: .75rem 1rem 1rem; overflow-wrap: anywhere; }
.tag { color: var(--mark); font-weight: 600; font-size: .8rem; }
.chips { display: flex; flex-wrap: wrap; gap: .25rem; padding: 0; list-style: none; }
.chips li { border: 1px solid var(--line); border-radius: 99px; padding: 0 .45rem; font-size: .72rem; }
.chips .bad { border-color: var(--bad); color: var(--bad); } .chips .good { color: var(--good); }
.bar { width: 12rem; } .bar div { height: .7rem; background: var(--mark); border-radius: 2px; }
.why { color: var(--bad); } details { margin: .75rem 0; } summary { cursor: pointer; }
table { border-collapse: collapse; font-size: .85rem; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
"""  # noqa: E501
MOST_BARS = 30
"""Values of an aspect that the page shows; `report.json` has all."""


@dataclass(frozen=True)
class Sheet:
    """What the page shows."""

    rows: Sequence[Row]
    rejected: Mapping[str, Sequence[Rejected]]
    """What each stage rejected, by stage, except the filter, whose grids are among the rows."""
    task: Task
    command: str
    """The command that applies an edited `captions.csv`."""
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    """By record id, the paths of thumbnails of rejected pictures, relative to the page."""
    coverage: Sequence[Aspect] = ()


def write(sheet: Sheet, path: Path) -> None:
    """Writes the page."""
    task, ordered = sheet.task, riskiest_first(sheet.rows)
    keep, unsure, drop = ([row for row in ordered if row.decision == word] for word in ("keep", "unsure", "drop"))
    ours, theirs = [row for row in drop if not row.decided], [row for row in drop if row.decided]
    dropped = f"{counted(theirs, 'grid')} dropped by you"
    rejected = [f"<details><summary>{dropped}</summary>{_cards(theirs, task)}</details>"] if theirs else []
    rejected += rejections.section(sheet.rejected, sheet.thumbnails)
    parts = [
        f"<h1>{plain(task.title)}</h1>",
        f"<p>{len(keep)} kept, {len(unsure)} undecided, {len(drop)} dropped, riskiest grids first. Scores are shown "
        "with their floor or ceiling. To change a decision or a text, edit "
        f"<code>captions.csv</code> next to this page, then run <code>{plain(sheet.command)}</code>.</p>",
        *_coverage(sheet.coverage),
        *(_section("Dropped by their scores", ours, task) if ours else []),
        *(_section("Undecided", unsure, task) if unsure else []),
        *_section("Kept", keep, task),
        "<h2>Rejected</h2>",
        *(rejected or ["<p>Nothing was rejected.</p>"]),
    ]
    style = f"{STYLE}{rejections.STYLE}"
    page = document(task.title, "'self' file:", style, parts)
    files.write(path, page)


def _coverage(aspects: Sequence[Aspect]) -> list[str]:
    """What the kept grids have much of and what they lack, above the figures behind it."""
    if not aspects:
        return []
    remarks = [f"<p>{plain(remark[0].upper() + remark[1:])}.</p>" for aspect in aspects for remark in aspect.remarks]
    tables = [_bars(aspect) for aspect in aspects]
    names = plain(", ".join(aspect.name for aspect in aspects))
    return [
        "<h2>What the kept grids cover</h2>",
        *remarks,
        f"<details><summary>by {names}</summary>{''.join(tables)}</details>",
    ]


def _bars(aspect: Aspect) -> str:
    total = max(1, sum(aspect.counts.values()))
    lines = "".join(
        f"<tr><td>{plain(value)}</td><td>{count:,}</td>"
        f'<td class="bar"><div style="width:{count / total:.1%}"></div></td></tr>'
        for value, count in list(aspect.counts.items())[:MOST_BARS]
    )
    return f"<table><tr><th>{plain(aspect.name)}</th><th>{plain(aspect.unit)}</th><th></th></tr>{lines}</table>"


def _section(title: str, rows: Sequence[Row], task: Task) -> list[str]:
    return [f"<h2>{plain(title)} ({len(rows)})</h2>", _cards(rows, task)]


def _cards(rows: Sequence[Row], task: Task) -> str:
    return f'<div class="grids">{"".join(_card(row, task) for row in rows)}</div>'


def _card(row: Row, task: Task) -> str:
    width, height = row.grid.layout.canvas
    faults = [*row.reasons, *row.caption.problems]
    by = "person" if row.decided else "toolkit"
    name, picture = plain(row.id), quote(row.grid.path)
    return (
        f'<article id="{name}"><a href="{picture}"><img src="{picture}" loading="lazy" '
        f'width="{width}" height="{height}" alt="grid {name}"></a><div>'
        f'<p class="soft">{name} · {row.decision} by {by} · {plain(row.grid.group.formed)}</p>'
        f"<p>{_marked(row.caption.text, task)}</p>{_word(row)}"
        f'<ul class="chips">{"".join(_chip(score) for score in row.scores)}</ul>'
        f"{''.join(f'<p class=why>{plain(fault)}</p>' for fault in faults)}"
        f"{_note(row)}</div></article>"
    )


def _note(row: Row) -> str:
    return f'<p class="soft">Note: {plain(row.review.note)}</p>' if row.review and row.review.note else ""


def _word(row: Row) -> str:
    said, notes = reviews.captioners_word(row.caption.parts), reviews.picture_notes(row)
    captioner = f'<p class="soft">The captioner: {plain(said)}.</p>' if said else ""
    return f'{captioner}<p class="soft">The pictures: {plain(notes)}.</p>' if notes else captioner


def _marked(text: str, task: Task) -> str:
    """The caption with its prefix and markers highlighted."""
    tags = sorted(filter(None, (task.prefix, *task.markers)), key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, tags))})", text)
    return "".join(f'<span class="tag">{plain(one)}</span>' if one in tags else plain(one) for one in pieces)


def _chip(score: Score) -> str:
    kind, sign = ("good", "✓") if score.passed else ("bad", "✕")
    limit = "≤" if is_ceiling(score.name) else "≥"
    limited = f" {limit} {score.threshold:.3f}" if score.threshold != NO_LIMIT else ""
    told = f"{sign} {plain(score.name)} {score.value:.3f}{limited}"
    return f'<li class="{kind}" title="{plain(score.reason)}">{told}</li>'
