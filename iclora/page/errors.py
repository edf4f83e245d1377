"""What a page is told in place of an answer."""

from __future__ import annotations

from pipeline.errors import BadInput


class Unknown(BadInput):
    """There is nothing of that id."""
