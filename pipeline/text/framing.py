"""Shot sizes, as captions tell them."""

from __future__ import annotations

import re

SIZES: dict[str, re.Pattern[str]] = {
    "close-up": re.compile(
        r"\b(?:close[- ]?ups?|tight (?:shot|framing)|head[- ]and[- ]shoulders|macro|detail shot)\b", re.I
    ),
    "medium shot": re.compile(
        r"\b(?:(?:medium|mid|cowboy|american)(?:[- ]close)?[- ](?:shot|framing|view)|mid[- ]?shot"
        r"|waist[- ]up|half[- ]length|from the waist|knee[- ]up)\b",
        re.I,
    ),
    "wide shot": re.compile(
        r"\b(?:(?:wide|long|full|establishing|aerial|panoramic|overhead|drone)(?:[- ]angle)?[- ](?:shot|framing|view)"
        r"|full[- ]length|full[- ]body|seen from (?:afar|far away)|in the distance)\b",
        re.I,
    ),
}
"""From near to far, with the words by which captions tell them."""


def size_of(text: str) -> str:
    """The shot size that a panel's text tells first; empty if it tells none."""
    places = {size: found.start() for size, pattern in SIZES.items() if (found := pattern.search(text))}
    return min(places, key=lambda size: places[size], default="")
