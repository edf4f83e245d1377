"""Python's search for garbage that refers to itself, which the making of many objects sets off again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No search in this process meanwhile, for reading many rows: they hold no cycles, and walking through all
    that were read takes a third of the time (LOG.md). May be nested; if threads overlap, the first to end resumes it.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
