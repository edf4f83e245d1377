"""Sphinx's settings: `make docs` builds the site from the same Markdown that a code host shows."""

from __future__ import annotations

import re
from typing import Any

project = "iclora"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "iclora"
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # the anchors that code hosts give headings
suppress_warnings = ["myst.header"]


def adapt(_app: Any, name: str, source: list[str]) -> None:
    """Gives the index a table of contents for the side bar, made of its own lists of links; elsewhere, Markdown of the
    repository that is no page of the site is linked to as a file."""
    source[0] = re.sub(r"\]\((\.\./[\w./-]+\.md)\)", r"](<path:\1>)", source[0])
    if name == "index":
        for heading, links in re.findall(r"^(\w.*):\n\n((?:- .*\n)+)", source[0], re.MULTILINE):
            pages = "\n".join(re.findall(r"^- \[[^\]]*\]\(([\w-]+)\.md\)", links, re.MULTILINE))
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```\n"


def level(_app: Any, _name: str, _template: str, context: dict[str, Any], _document: Any) -> None:
    """Gives the headings of the side bar a level, without which screen readers don't know what they are."""
    if tree := context.get("furo_navigation_tree"):
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app: Any) -> None:
    app.connect("source-read", adapt)
    app.connect("html-page-context", level, priority=900)  # after the theme, which makes the side bar
