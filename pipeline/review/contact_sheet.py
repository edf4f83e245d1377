"""The contact sheet: an HTML page on disk that shows every grid with its caption and scores, and what was rejected.

The riskiest rows come first: rows dropped by their scores, worst first, then undecided rows, then kept rows, starting
with those that barely passed. Rows dropped by a person are collapsed. A small script of the page's own filters and
sorts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipeline import files
from pipeline.consistency.thresholds import NO_LIMIT, is_ceiling
from pipeline.records import Rejected, Row, Score
from pipeline.review import rejections
from pipeline.review.coverage import Aspect
from pipeline.review.markup import document, plain
from pipeline.review.notes import captioners_word, persons_word, picture_notes
from pipeline.review.risk import riskiest_first
from pipeline.task import Task
from pipeline.wording import counted

STYLE = """
body { max-width: 1500px; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; } p { margin: .4rem 0; }
code { font-size: .85em; } a { color: var(--mark); }
.grids { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; }
article { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
article img { display: block; width: 100%; height: auto; background: var(--line); }
article > div { padding: .75rem 1rem 1rem; }
.tag { color: var(--mark); font-weight: 600; font-size: .8rem; }
.chips { display: flex; flex-wrap: wrap; gap: .25rem; padding: 0; list-style: none; }
.chips li { border: 1px solid var(--line); border-radius: 99px; padding: 0 .45rem; font-size: .72rem; }
.chips .bad { border-color: var(--bad); color: var(--bad); } .chips .good { color: var(--good); }
.bar { width: 12rem; } .bar div { height: .7rem; background: var(--mark); border-radius: 2px; }
.why { color: var(--bad); } details { margin: .75rem 0; } summary { cursor: pointer; }
[hidden] { display: none !important; }
#tools { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: .75rem 0; position: sticky; top: 0;
  background: var(--paper); padding: .5rem 0; border-bottom: 1px solid var(--line); z-index: 1; }
#tools input, #tools select { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--soft);
  border-radius: 6px; padding: .2rem .4rem; max-width: 100%; min-height: 1.9rem; }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .85rem; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; } th { overflow-wrap: normal; }
"""  # noqa: E501
SCRIPT = Path(__file__).with_suffix(".js")
KINDS = {
    "all": "all grids",
    "keep": "kept",
    "unsure": "undecided",
    "drop": "dropped",
    "toolkit": "not decided by a person",
    "problems": "with problems in the text",
}
"""What can be shown alone."""
PAGE = "review-page.html"
"""Beside the contact sheet: leads to the review page while that is served, and else tells how to serve it. The address
is known only then, and holds a secret, so the contact sheet can't name it."""
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
    page_command: str
    """The command that serves the review page."""
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    """By record id, the paths of thumbnails of rejected pictures, relative to the page."""
    coverage: Sequence[Aspect] = ()


def write(sheet: Sheet, path: Path) -> None:
    """Writes the contact sheet, and `PAGE` beside it as it is at rest."""
    task, ordered = sheet.task, riskiest_first(sheet.rows)
    keep, unsure, drop = ([row for row in ordered if row.decision == word] for word in ("keep", "unsure", "drop"))
    ours, theirs = [row for row in drop if not row.decided], [row for row in drop if row.decided]
    cards = _Cards(task, ordered)
    rejected = [f"<details data-grids>{_dropped(theirs)}{cards.of(theirs)}</details>"] if theirs else []
    rejected += rejections.section(sheet.rejected, sheet.thumbnails)
    parts = [
        f"<h1>{plain(task.title)}</h1>",
        f"<p>{len(keep)} kept, {len(unsure)} undecided, {len(drop)} dropped, riskiest grids first. Scores are shown "
        "with their floor or ceiling. To change a decision or a text, edit "
        f"<code>captions.csv</code> next to this page, then run <code>{plain(sheet.command)}</code>. To do so in a "
        f"browser, run <code>{plain(sheet.page_command)}</code>; while it runs, the links of the grids lead to their "
        f'places on <a href="{PAGE}">the review page</a>.</p>',
        cards.tools(),
        *_coverage(sheet.coverage),
        *(_section("Dropped by their scores", ours, cards) if ours else []),
        *(_section("Undecided", unsure, cards) if unsure else []),
        *_section("Kept", keep, cards),
        "<h2>Rejected</h2>",
        *(rejected or ["<p>Nothing was rejected.</p>"]),
    ]
    style, script = f"{STYLE}{rejections.STYLE}", SCRIPT.read_text(encoding="utf-8")
    files.write(path, document(task.title, "'self' file:", style, parts, script))
    files.write(path.with_name(PAGE), at_rest(task, sheet.page_command))


def at_rest(task: Task, command: str) -> str:
    """What `PAGE` holds when nothing is served.

    Args:
        command: the one that serves the review page.
    """
    told = (
        f"<p>The review page is not open on this computer. Run <code>{plain(command)}</code>, then follow the link "
        "again.</p>"
    )
    return document(task.title, "'none'", "", [f"<h1>{plain(task.title)}</h1>", told])


def _dropped(rows: Sequence[Row]) -> str:
    return f"<summary>{counted(rows, 'grid')} dropped by you</summary>"


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
    return f"<table><tr><th>{plain(aspect.name)}</th><th>{plain(aspect.unit)}</th><td></td></tr>{lines}</table>"


def _section(title: str, rows: Sequence[Row], cards: _Cards) -> list[str]:
    return [f"<section data-grids><h2>{plain(title)} ({len(rows)})</h2>{cards.of(rows)}</section>"]


class _Cards:
    """Grids as cards, and what they can be filtered and sorted by.

    Args:
        rows: all of them, riskiest first.
    """

    def __init__(self, task: Task, rows: Sequence[Row]) -> None:
        self._task = task
        self._risk = {row.id: place for place, row in enumerate(rows)}
        self._scores = list(dict.fromkeys(score.name for row in rows for score in row.scores))

    def tools(self) -> str:
        """The tools, which the page's script shows and follows."""
        orders = {"risk": "riskiest first", "name": "by name"}
        orders |= {str(number): f"worst {name} first" for number, name in enumerate(self._scores)}
        return (
            f'<div id="tools" role="search" hidden><label>show {_select("kind", KINDS)}</label>'
            '<label>with the words <input id="words" type="search"></label>'
            f'<label>sorted {_select("order", orders)}</label><span id="shown" class="soft" role="status"></span></div>'
        )

    def of(self, rows: Sequence[Row]) -> str:
        return f'<div class="grids">{"".join(map(self._card, rows))}</div>'

    def _card(self, row: Row) -> str:
        width, height = row.grid.layout.canvas
        faults = [*row.reasons, *row.caption.problems]
        by = "person" if row.decided else "toolkit"
        known, picture = plain(row.id), quote(row.grid.path)
        values = {score.name: score.value for score in row.scores if math.isfinite(score.value)}
        scores = " ".join(
            f"{-values[name] if is_ceiling(name) else values[name]:.6g}" if name in values else ""
            for name in self._scores
        )  # the lower, the worse
        kinds = [row.decision, *(["problems"] if row.caption.problems else []), *([] if row.decided else ["toolkit"])]
        return (
            f'<article id="{known}" data-risk="{self._risk[row.id]}" data-kinds="{" ".join(kinds)}" '
            f'data-scores="{scores}"><a href="{picture}"><img src="{picture}" loading="lazy" '
            f'width="{width}" height="{height}" alt="grid {known}"></a><div>'
            f'<p class="soft"><a href="{PAGE}#{quote(row.id, safe="")}">Review {known}</a> · '
            f"{row.decision} by {by} · {plain(row.grid.group.formed)}</p>"
            f"<p>{_marked(row.caption.text, self._task)}</p>{_word(row)}"
            f'<ul class="chips">{"".join(_chip(score) for score in row.scores)}</ul>'
            f"{''.join(f'<p class=why>{plain(fault)}</p>' for fault in faults)}"
            f"{_note(row)}</div></article>"
        )


def _select(name: str, options: Mapping[str, str]) -> str:
    told = "".join(f'<option value="{value}">{plain(label)}</option>' for value, label in options.items())
    return f'<select id="{name}">{told}</select>'


def _note(row: Row) -> str:
    return f'<p class="soft">Note: {plain(row.review.note)}</p>' if row.review and row.review.note else ""


def _word(row: Row) -> str:
    parts = row.caption.parts
    said = {
        "The captioner": captioners_word(parts),
        "A person": persons_word(parts),
        "The pictures": picture_notes(row),
    }
    return "".join(f'<p class="soft">{who}: {plain(word)}.</p>' for who, word in said.items() if word)


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
