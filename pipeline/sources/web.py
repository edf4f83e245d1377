"""What addresses and answers of the web say: which may be asked, when to ask again, and what a site objects to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx2

from pipeline.sources.formats import TEXT, format_of

OBJECTIONS = ("noai", "noimageai")
"""Directives of X-Robots-Tag by which a site says that its files are not for training."""
VALUED = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
"""Directives of X-Robots-Tag with a value behind a colon, where others have the name of a robot before it."""


@dataclass(eq=False)
class Failed(Exception):
    """Why a file was not downloaded."""

    reason: str
    what: str
    """What follows the address in a sentence."""
    again: bool = False
    """Whether repetition may cure it."""
    wait: float = 0.0
    """Seconds after which the host asks to be asked again; 0 if it doesn't say."""

    def detail(self, url: str) -> str:
        return f"{url} {self.what}{'; the next run asks again' if self.again else ''}."


def checked(url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """An address that may be asked.

    Args:
        base: what it is relative to.

    Raises:
        Failed: it is none.
    """
    leads = "leads to what" if base else ""
    try:
        found = base.join(url) if base else httpx2.URL(url)
        port_is_right = found.port is None or 0 < found.port < 2**16
    except (httpx2.InvalidURL, ValueError) as error:
        raise Failed("address", f"{leads} is not a valid address".strip()) from error
    if found.scheme not in ("http", "https") or not found.host or not port_is_right:
        raise Failed("address", f"{leads} is not an http or https address".strip())
    if found.userinfo:
        raise Failed("address", f"{leads} has a user and a password in it, which would be passed on".strip())
    return found


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def wait(after: str) -> float:
    """Seconds that `Retry-After` tells, in seconds or as a date; 0 if it tells none."""
    if after.strip().isdecimal():
        return float(after)
    try:
        then = parsedate_to_datetime(after)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def objection(values: Iterable[str]) -> str:
    """The directive of X-Robots-Tag that keeps everybody, or this toolkit, from training on a file; or empty."""
    for value in values:
        robot = "*"
        for part in value.lower().split(","):
            name, colon, rest = (word.strip() for word in part.partition(":"))
            if colon and name not in VALUED:
                robot, name = name, rest
            if name in OBJECTIONS and robot in ("*", "iclora"):
                return name
    return ""


def check_kind(head: bytes, kind: str) -> None:
    """
    Args:
        head: the first bytes, which decide; servers call pictures all sorts of things.
        kind: what the server calls it.

    Raises:
        Failed: it is empty or a text.
    """
    if not head:
        raise Failed("empty", "answers with an empty file")
    if format_of(head) is TEXT:
        called = f" ({kind[:60]})" if kind else ""
        raise Failed("type", f"is a text{called.encode('ascii', 'replace').decode()}, not a picture or film")
