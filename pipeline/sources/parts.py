"""Parts of sources, for several machines: stretches of the items in their order, of about the same number of bytes.

A part begins between two films or folders if it can: their pictures form groups with one another. What a merged run
comes to does not depend on where the parts begin.
"""

from __future__ import annotations

import mimetypes
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from statistics import median

from pipeline.errors import BadInput
from pipeline.sources.base import Item
from pipeline.sources.gathering import Items
from pipeline.wording import counted


def address(item: Item) -> str:
    """The item's address as a file of text can hold it."""
    return item.source.encode(errors="replace").decode()


def cut(items: Sequence[Item], count: int) -> list[int]:
    """Where each part begins, as places in the items; the first is 0. No part is empty.

    Args:
        count: of parts, at least 1.

    Raises:
        BadInput: there are fewer items than parts.
    """
    if not 1 <= count <= len(items):
        raise BadInput(f"{counted(items, 'film or picture', 'films and pictures')} can't be cut into {count} parts")
    before = [0, *accumulate(sizes(items))]
    borders = [place for place in range(1, len(items)) if _unit(items[place - 1]) != _unit(items[place])]
    starts = [0]
    for left in range(count - 1, 0, -1):
        first, last = starts[-1] + 1, len(items) - left
        share = (before[-1] - before[starts[-1]]) / (left + 1)
        wanted = before[starts[-1]] + share
        near = _nearest(borders[bisect_left(borders, first) : bisect_right(borders, last)], before, wanted)
        if near is None or abs(before[near] - wanted) >= share / 2:  # a folder that is larger than a part is cut
            near = _nearest(range(first, last + 1), before, wanted)
        assert near is not None
        starts.append(near)
    return starts


def sizes(items: Sequence[Item]) -> list[float]:
    """Bytes of each item; where a container doesn't know them, those of the item in the middle."""
    known = [0 if item.fault else getattr(item.content, "size", None) for item in items]
    usual = median([size for size in known if size] or [1])
    return [usual if size is None else size for size in known]


def _unit(item: Item) -> tuple[str, str]:
    """What an item forms groups within: a film within itself, a picture within its folder or its listed group."""
    kind = mimetypes.guess_type(item.name)[0] or ""
    return (item.source, "") if kind.startswith("video/") else (item.folder, item.facts.group)


def _nearest(places: Sequence[int], before: Sequence[float], wanted: float) -> int | None:
    """The place with nearest to so many bytes before it; the earlier of two."""
    next_ = bisect_left(places, wanted, key=before.__getitem__)
    return min(places[max(next_ - 1, 0) : next_ + 1], key=lambda place: abs(before[place] - wanted), default=None)


def between(items: Items, first: str, until: str) -> Items:
    """The items of a part, with what is to be said of their sources.

    Args:
        first: address of its first item.
        until: address of the next part's first item; empty for the last part.

    Raises:
        BadInput: there is no such item any more.
    """
    places = {address(item): place for place, item in enumerate(items)}
    if gone := next((one for one in (first, until) if one and one not in places), None):
        raise BadInput(f"{gone}, where a part of the sources begins, is not among them any more")
    found = Items(items[places[first] : places[until] if until else len(items)])
    found.remarks = items.remarks
    return found
