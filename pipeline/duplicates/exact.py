"""The same bytes, whatever the names; and the same pixels in files of other bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from pipeline.duplicates.base import Copy, Limits, Looks
from pipeline.records import Record, Rejected


def bytes_once(
    results: Sequence[Record | Rejected],
    known: Mapping[str, Record],
    reject: Callable[[Record, Record, int], Rejected],
    origin: Callable[[Record], str],
) -> Iterator[Record | Rejected]:
    """The results, with a rejection in place of each record that has the same bytes as an earlier one.

    Args:
        results: everything that was made of some items, in order.
        known: records of the items before them, by id.
        reject: the row for a copy, given the copy, the first, and the copy's number among the results of its item.
        origin: the item that a record comes from.
    """
    new: dict[str, Record] = {}
    parts: dict[str, int] = {}
    for found in results:
        item = found.origin if isinstance(found, Rejected) else origin(found)
        part, parts[item] = parts.get(item, 0), parts.get(item, 0) + 1
        if isinstance(found, Rejected):
            yield found
        elif first := known.get(found.id) or new.get(found.id):
            yield reject(found, first, part)
        else:
            new[found.id] = found
            yield found


def pixel_copies(looks: Looks, order: np.ndarray, limits: Limits, fixed: int) -> Iterator[Copy]:
    """Pictures of the same bytes or the same pixels; `finding` says what the arguments are."""
    first: dict[str, int] = {}
    for row in order.tolist():
        record = looks.records[row]
        keys = [record.id, *([record.pixels] if record.pixels else [])]
        known = next((first[key] for key in keys if key in first), None)
        if known is not None and row >= fixed:
            same = "same bytes" if looks.records[known].id == record.id else "same pixels in another file"
            yield Copy(row, known, same)
        elif row < fixed or not fixed:
            for key in keys:
                first.setdefault(key, row)
