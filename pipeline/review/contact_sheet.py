"""The contact sheet: an HTML page on disk that shows every grid with its caption and scores, and what was rejected.

The riskiest rows come first: rows dropped by their scores, worst first, then undecided rows, then kept rows, starting
with those that barely passed. Rows dropped by a person are collapsed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from pipeline import files
from pipeline.consistency.thresholds import NO_LIMIT, is_ceiling
from pipeline.records import Rejected, Row, Score
from pipeline.review import reviews
from pipeline.review.risk import riskiest_first
from pipeline.task import Task
from pipeline.wording import counted

STYLE = """
:root { color-scheme: light dark;
  --paper: light-dark(#fff, #16181c); --ink: light-dark(#1a1c20, #e6e8eb); --soft: light-dark(#5d6570, #9aa3ad);
  --line: light-dark(#d9dde2, #2c3036); --good: light-dark(#15703a, #4ade80); --bad: light-dark(#b43a09, #fb923c);
  --mark: light-dark(#2563eb, #60a5fa); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1.5rem; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; } p { margin: .4rem 0; }
.soft { color: var(--soft); font-size: .85rem; } code { font-size: .85em; }
.grids { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; }
article { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
article img { display: block; width: 100%; height: auto; background: var(--line); }
article > div { padding: .75rem 1rem 1rem; overflow-wrap: anywhere; }
.tag { color: var(--mark); font-weight: 600; font-size: .8rem; }
.chips { display: flex; flex-wrap: wrap; gap: .35rem; padding: 0; list-style: none; }
.chips li { border: 1px solid var(--line); border-radius: 99px; padding: 0 .6rem; font-size: .8rem; }
.chips .bad { border-color: var(--bad); color: var(--bad); } .chips .good { color: var(--good); }
.why { color: var(--bad); } details { margin: .75rem 0; } summary { cursor: pointer; }
table { border-collapse: collapse; font-size: .85rem; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
"""  # noqa: E501
POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
"""Nothing on the page may run or be fetched from elsewhere, whatever a caption or a path contains."""


def write(
    found: Sequence[Row], rejected: Mapping[str, Sequence[Rejected]], task: Task, path: Path, command: str
) -> None:
    """Writes the page.

    Args:
        rejected: what each stage rejected, by stage, except the filter, whose grids are among the rows.
        command: the command that applies an edited `captions.csv`.
    """
    ordered = riskiest_first(found)
    keep, unsure, drop = ([row for row in ordered if row.decision == word] for word in ("keep", "unsure", "drop"))
    ours, theirs = [row for row in drop if not row.decided], [row for row in drop if row.decided]
    dropped = f"{counted(theirs, 'grid')} dropped by you"
    folded = [_folded(dropped, _cards(theirs, task))] if theirs else []
    folded += [_folded(_counts(stage, rows), _table(rows)) for stage, rows in rejected.items() if rows]
    parts = [
        f"<h1>{escape(task.title)}</h1>",
        f"<p>{len(keep)} kept, {len(unsure)} undecided, {len(drop)} dropped, riskiest grids first. Scores are shown "
        "with their floor or ceiling. To change a decision or a text, edit "
        f"<code>captions.csv</code> next to this page, then run <code>{escape(command)}</code>.</p>",
        *(_section("Dropped by their scores", ours, task) if ours else []),
        *(_section("Undecided", unsure, task) if unsure else []),
        *_section("Kept", keep, task),
        "<h2>Rejected</h2>",
        *(folded or ["<p>Nothing was rejected.</p>"]),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(task.title)}</title>'
    )
    page = f'<!doctype html><html lang="en">{head}<style>{STYLE}</style><body>{"".join(parts)}</body></html>\n'
    files.write(path, page)


def _section(title: str, rows: Sequence[Row], task: Task) -> list[str]:
    return [f"<h2>{escape(title)} ({len(rows)})</h2>", _cards(rows, task)]


def _cards(rows: Sequence[Row], task: Task) -> str:
    return f'<div class="grids">{"".join(_card(row, task) for row in rows)}</div>'


def _card(row: Row, task: Task) -> str:
    width, height = row.grid.layout.canvas
    faults = [*row.reasons, *row.caption.problems]
    by = "person" if row.decided else "toolkit"
    name, picture = escape(row.id), quote(row.grid.path)
    return (
        f'<article id="{name}"><a href="{picture}"><img src="{picture}" loading="lazy" '
        f'width="{width}" height="{height}" alt="grid {name}"></a><div>'
        f'<p class="soft">{name} · {row.decision} by {by} · {escape(row.grid.group.formed)}</p>'
        f"<p>{_marked(row.caption.text, task)}</p>{_word(row)}"
        f'<ul class="chips">{"".join(_chip(score) for score in row.scores)}</ul>'
        f"{''.join(f'<p class=why>{escape(fault)}</p>' for fault in faults)}"
        f"{_note(row)}</div></article>"
    )


def _note(row: Row) -> str:
    return f'<p class="soft">Note: {escape(row.review.note)}</p>' if row.review and row.review.note else ""


def _word(row: Row) -> str:
    said = reviews.captioners_word(row.caption.parts)
    return f'<p class="soft">The captioner: {escape(said)}.</p>' if said else ""


def _marked(text: str, task: Task) -> str:
    """The caption with its prefix and markers highlighted."""
    tags = sorted(filter(None, (task.prefix, *task.markers)), key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, tags))})", text)
    return "".join(f'<span class="tag">{escape(one)}</span>' if one in tags else escape(one) for one in pieces)


def _chip(score: Score) -> str:
    kind, sign = ("good", "✓") if score.passed else ("bad", "✕")
    limit = "ceiling" if is_ceiling(score.name) else "floor"
    limited = f", {limit} {score.threshold:.3f}" if score.threshold != NO_LIMIT else ""
    told = f"{sign} {escape(score.name)} {score.value:.3f}{limited}"
    return f'<li class="{kind}" title="{escape(score.reason)}">{told}</li>'


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _counts(stage: str, rows: Sequence[Rejected]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in rows).most_common())
    return f"{stage}: {reasons}"


def _table(rows: Sequence[Rejected]) -> str:
    cells = ((row.what, row.reason, row.detail) for row in rows)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in cells)
    return f"<table><tr><th>image or grid</th><th>reason</th><th>details</th></tr>{lines}</table>"
