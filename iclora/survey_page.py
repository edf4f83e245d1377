"""The page of a survey: one HTML file with thumbnails that needs no other. What came from outside is never markup."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.records import Record
from pipeline.review.markup import document, plain
from pipeline.wording import counted, escaped

if TYPE_CHECKING:
    from iclora.surveys import Fit, Survey

STRIP = 24
"""Pictures that are shown of the whole source, evenly chosen."""
SHOWN = 3
"""Groups that are shown for each task."""
STYLE = """
body { max-width: 1200px; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } p { margin: .4rem 0; }
.strip { display: flex; flex-wrap: wrap; gap: .5rem; margin: .5rem 0; }
.group { display: flex; flex-wrap: wrap; gap: 2px; max-width: 100%; box-sizing: border-box;
  border: 1px solid var(--line); border-radius: 6px; padding: 4px; }
img { display: block; max-width: 100%; min-width: 0; max-height: 120px; object-fit: contain; }
section { border-top: 1px solid var(--line); padding-top: .25rem; } .best h2 { color: var(--mark); }
code { background: light-dark(#f2f4f6, #22262c); padding: .2rem .4rem; border-radius: 4px; }
"""


def page(found: Survey) -> str:
    """The survey as HTML."""
    title = f"Survey of {', '.join(found.sources)}"
    shown = [record for record in found.records if record.id in found.thumbnails]
    shown = shown[:: 1 + len(shown) // STRIP]
    parts = [
        f"<h1>{plain(title)}</h1>",
        *(f"<p>{plain(line)}</p>" for line in found.facts()),
        *([f"<p>Next: <code>{plain(found.next)}</code></p>"] if found.next else []),
        *([f"<p>{plain(found.ways_on[0].upper() + found.ways_on[1:])}</p>"] if found.ways_on else []),
        f'<div class="strip">{"".join(_picture(found, record) for record in shown)}</div>',
        *(_fit(found, fit) for fit in found.fits),
    ]
    return document(escaped(title), "data:", STYLE, parts)


def _fit(found: Survey, fit: Fit) -> str:
    groups = "".join(
        f'<div class="group">{"".join(_picture(found, record) for record in one.records)}</div>'
        for one in fit.groups[:SHOWN]
    )
    why = dict.fromkeys(one.formed for one in fit.groups[:SHOWN])
    unfit = f", {counted(fit.unfit, 'picture')} of another size or shape" if fit.unfit else ""
    return (
        f'<section class="{"best" if fit is found.best else ""}"><h2>{plain(fit.title)}</h2>'
        f'<p class="soft">{plain(fit.task)}: {plain(fit.found)}, asks for {fit.usual} or more{unfit}</p>'
        f"{_lines(fit.notes)}"
        f'<div class="strip">{groups}</div>{_lines(why)}</section>'
    )


def _picture(found: Survey, record: Record) -> str:
    name, content = plain(record.source), base64.b64encode(found.thumbnails[record.id]).decode()
    return f'<img src="data:image/jpeg;base64,{content}" alt="{name}" title="{name}">'


def _lines(texts: Iterable[str]) -> str:
    return "".join(f'<p class="soft">{plain(text)}</p>' for text in texts)
