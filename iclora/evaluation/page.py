"""The page of an evaluation: figures, then the pictures of every prompt side by side, the worst of the LoRA first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.review.markup import document, plain

if TYPE_CHECKING:
    from iclora.evaluation.results import Drawn, Evaluation, Result
    from training.evaluation.statistics import Estimate

COLUMNS: dict[str, Callable[[Result], str]] = {
    "": lambda one: one.candidate,
    "score": lambda one: str(one.score),
    "above the base": lambda one: str(one.better or "") + ("" if one.p is None else f", p {one.p:.3f}"),
    "follows its texts": lambda one: str(one.followed),
    "keeps together": lambda one: str(one.kept),
    "where every panel tells": lambda one: str(one.kept_each or ""),
    "subjects": lambda one: str(one.kept_subjects or ""),
    "nearest to its text": lambda one: str(one.retrieval),
    "diversity": lambda one: f"{one.diversity.value:.2f}",
    "copies": lambda one: _percent(one.copies),
    "memorised": lambda one: _percent(one.memorised),
    "malformed": lambda one: _percent(one.malformed),
    "people as told": lambda one: f"{one.people.value:.0f} of 100" if one.people else "",
    "like the given": lambda one: str(one.to_given or ""),
    "pasted": lambda one: str(one.pasted or ""),
}
"""Heads of the table, and the cells below them; a column without any is left out."""
STYLE = """
body { max-width: 1400px; } .soft { margin: .4rem 0; }
.table { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; }
table { font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
.row { display: flex; gap: .75rem; overflow-x: auto; } figure { margin: 0; flex: 0 0 auto; }
img { display: block; height: 320px; width: auto; } figcaption { font-size: .8rem; color: var(--soft); }
.bad { color: var(--bad); } img.plot { height: auto; max-width: 100%; }
"""


PLOT = "evaluation.png"
PEOPLE = re.compile(r'<div id="people">.*?</div>', re.DOTALL)


def _percent(share: Estimate) -> str:
    ends = f" ({share.interval[0]:.0%} to {share.interval[1]:.0%})" if share.interval else ""
    return f"{share.value:.0%}{ends}"


def page(found: Evaluation, about: str, people: Sequence[str]) -> str:
    """The evaluation as HTML; pictures are files beside it.

    Args:
        about: what was drawn, and how to read the figures.
        people: what they prefer, a sentence each.
    """
    rows = defaultdict[tuple[str, int], list["Drawn"]](list)
    for one in found.grids:
        rows[one.prompt, one.seed].append(one)
    shown = found.chosen or found.best.candidate
    worst = {(one.prompt, one.seed): min(one.followed, one.kept) for one in found.grids if one.candidate == shown}
    worst_first = sorted(rows, key=worst.__getitem__)
    heads = [head for head, cell in COLUMNS.items() if any(map(cell, found.results))]
    parts = [
        "<h1>Evaluation</h1>",
        f'<p class="soft">{plain(about)}</p>',
        f'<div class="table" {_scrolled("figures")}><table>',
        f"<tr><td></td>{''.join(f'<th>{head}</th>' for head in heads[1:])}</tr>",
        *(_result(one, heads) for one in found.results),
        f'</table></div><img class="plot" src="{PLOT}" alt="the figures with their intervals">',
        f"<p>{plain(' '.join((found.reason, found.remark)).strip())}</p>",
        *(f"<p>Judge, {plain(name)}: {plain(str(one))}</p>" for name, one in found.judged.items()),
        _people(people),
        *(_row(prompt, seed, rows[prompt, seed]) for prompt, seed in worst_first),
    ]
    return document("Evaluation", "'self'", STYLE, parts)


def _scrolled(name: str) -> str:
    """Attributes of what may be wider than the window, so that the keyboard can scroll it."""
    return f'tabindex="0" role="group" aria-label="{name}"'


def _result(one: Result, heads: Sequence[str]) -> str:
    name, *cells = (plain(COLUMNS[head](one)) for head in heads)
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def with_people(html: str, people: Sequence[str]) -> str:
    """The page with other sentences on what people prefer."""
    return PEOPLE.sub(lambda _: _people(people), html, count=1)


def _people(sentences: Sequence[str]) -> str:
    return f'<div id="people">{"".join(f"<p>{plain(one)}</p>" for one in sentences)}</div>'


def _row(prompt: str, seed: int, grids: list[Drawn]) -> str:
    return (
        f'<section><p>{plain(prompt)} <span class="soft">seed {seed}</span></p>'
        f'<div class="row" {_scrolled("grids of this prompt")}>{"".join(map(_figure, grids))}</div></section>'
    )


def _figure(one: Drawn) -> str:
    words = (("a panel twice", one.copy), ("memorised", one.memorised), (one.faults, one.malformed))
    faults = [word for word, is_so in words if is_so]
    told = f"follows {one.followed:.2f}, keeps together {one.kept:.2f}"
    more = f' <span class="bad">{plain(", ".join(faults))}</span>' if faults else ""
    name = plain(one.candidate)
    return (
        f'<figure><img src="{quote(one.file.as_posix())}" loading="lazy" alt="drawn by {name}">'
        f"<figcaption>{name}: {told}{more}</figcaption></figure>"
    )
