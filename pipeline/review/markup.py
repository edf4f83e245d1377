"""What pages on disk have in common: colours in light and dark, and a head under which nothing of others is run, and
nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from pipeline.wording import escaped

COLOURS = """
:root { color-scheme: light dark;
  --paper: light-dark(#fff, #16181c); --ink: light-dark(#1a1c20, #e6e8eb); --soft: light-dark(#5d6570, #9aa3ad);
  --line: light-dark(#d9dde2, #2c3036); --good: light-dark(#15703a, #4ade80); --bad: light-dark(#b43a09, #fb923c);
  --mark: light-dark(#2563eb, #60a5fa); }
"""
PAGE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } .soft { color: var(--soft); font-size: .85rem; }
"""


def plain(text: str) -> str:
    """Text from outside as HTML that shows it, with its control characters spelt out."""
    return escape(escaped(text))


def document(title: str, images: str, style: str, parts: Iterable[str], script: str = "") -> str:
    """A page of HTML.

    Args:
        title: plain text.
        images: where pictures may come from, in the words of a Content-Security-Policy.
        style: rules of CSS, which come after PAGE and may use COLOURS.
        parts: of its content, as HTML.
        script: of our own, run when all of it is there; no other one may run.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"; script-src 'sha256-{digest}'" if script else ""
    policy = f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'{scripts}"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    )
    style = f"<style>{COLOURS}{PAGE}{style}</style>"
    body = f"<main>{''.join(parts)}</main>" + (f"<script>{script}</script>" if script else "")
    return f'<!doctype html><html lang="en">{head}{style}<body>{body}</body></html>\n'
