"""The part of the contact sheet about what was rejected: by stage and reason, with thumbnails and a filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from pipeline.records import Record, Rejected

SHOWN = 48
"""Thumbnails per reason; the table has all rows."""
STYLE = """
.reasons { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: .75rem 0; }
.reasons label { cursor: pointer; }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; margin: .75rem 0; }
figure { margin: 0; width: 192px; font-size: .8rem; }
figure img { display: block; max-width: 192px; height: auto; border-radius: 4px; background: var(--line); }
figcaption { margin-top: .25rem; }
"""


def pictured(rejected: Mapping[str, Sequence[Rejected]], pool: Sequence[Record]) -> list[Record]:
    """The pictures of which the page shows thumbnails: the first of each reason."""
    known = {record.id: record for record in pool}
    found: dict[str, list[Record]] = {}
    for row in (row for rows in rejected.values() for row in rows):
        of_reason = found.setdefault(row.reason, [])
        if row.origin in known and len(of_reason) < SHOWN:
            of_reason.append(known[row.origin])
    return [record for records in found.values() for record in records]


def section(rejected: Mapping[str, Sequence[Rejected]], pictures: Mapping[str, str]) -> list[str]:
    """The HTML of the part.

    Args:
        rejected: what each stage rejected, by stage.
        pictures: by record id, the path of its thumbnail; some rows have a picture of their own.
    """
    everything = [row for rows in rejected.values() for row in rows]
    reasons = [reason for reason, _ in Counter(row.reason for row in everything).most_common()]
    parts = [_filter(reasons, everything)] if len(reasons) > 1 else []
    for number, reason in enumerate(reasons):
        parts.append(_thumbnails(number, [row for row in everything if row.reason == reason], pictures))
    parts += [_table(stage, rows, reasons) for stage, rows in rejected.items() if rows]
    return parts


def _filter(reasons: Sequence[str], rows: Sequence[Rejected]) -> str:
    """Radio buttons and the rules that hide all other reasons; the page runs no scripts."""
    count = Counter(row.reason for row in rows)
    labels = ['<label><input type="radio" name="reason" checked> all</label>']
    rules = []
    for number, reason in enumerate(reasons):
        button = f'<input type="radio" name="reason" id="reason-{number}">'
        labels.append(f"<label>{button} {escape(reason)} ({count[reason]:,})</label>")
        rules.append(f"body:has(#reason-{number}:checked) [data-reason]:not([data-reason='{number}'])")
    hidden = f"<style>{','.join(rules)}{{display:none}}</style>"
    return f'{hidden}<div class="reasons" role="radiogroup" aria-label="Reason">{"".join(labels)}</div>'


def _thumbnails(number: int, rows: Sequence[Rejected], pictures: Mapping[str, str]) -> str:
    """The pictures that were rejected for one reason, as far as there are thumbnails."""
    found = [(row, row.picture or pictures.get(row.origin, "")) for row in rows]
    shown = [(row, picture) for row, picture in found if picture][:SHOWN]
    if not shown:
        return ""
    figures = "".join(
        f'<figure><img src="{quote(picture)}" loading="lazy" alt="">'
        f'<figcaption title="{escape(row.detail)}">{escape(_short(row))}</figcaption></figure>'
        for row, picture in shown
    )
    title = f"{rows[0].reason}: {len(shown):,} of {len(rows):,}" if len(shown) < len(rows) else rows[0].reason
    return (
        f'<details data-reason="{number}" open><summary>{escape(title)}</summary>'
        f'<div class="pictures">{figures}</div></details>'
    )


def _short(row: Rejected) -> str:
    """Why a picture was rejected, with its name alone in place of its address."""
    return row.detail.replace(row.what, row.what.rpartition("/")[2])


def _table(stage: str, rows: Sequence[Rejected], reasons: Sequence[str]) -> str:
    """All rows of a stage."""
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in rows).most_common())
    number = {reason: place for place, reason in enumerate(reasons)}
    lines = "".join(
        f'<tr data-reason="{number[row.reason]}">'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in (row.what, row.reason, row.detail))}</tr>"
        for row in rows
    )
    head = "<tr><th>image or grid</th><th>reason</th><th>details</th></tr>"
    return f"<details><summary>{escape(stage)}: {escape(counts)}</summary><table>{head}{lines}</table></details>"
