"""How people look, put into texts that call them by name, and taken out again.

Looks stand behind a name as an apposition: `<Mara>, a red rabbit with a top hat, flying a kite`. A comma closes it, so
`<Mara> flying a kite` comes back as `<Mara>, flying a kite`: what is put in twice stands as it did the first time.
"""

from __future__ import annotations

import re

POSSESSIVE = r"(?!['’](?:s\b|\s|$))"  # noqa: RUF001  (both apostrophes)
ENDS = ",;:.!?)–—"  # noqa: RUF001  (dashes close it too)
"""Signs that close an apposition themselves."""
EMPTY = frozenset(("a", "an", "the", "and", "with", "in", "of", "on"))
"""Words that say nothing of anybody's looks."""
FEWEST = 2
"""Words that a description must have to be found again: "a man" says too little."""
MOST = 0.7
"""Share of a description's words that a text must hold to tell it."""


def put(text: str, name: str, looks: str) -> str:
    """The text with the looks behind the first mention of the name, at the end where it stands in the possessive only.

    A text without the name stays as it is.
    """
    if f"<{name}>" not in text:
        return text
    found = re.search(re.escape(f"<{name}>") + POSSESSIVE, text)
    if found is None:
        return f"{text}, <{name}> being {looks}"
    before, after = text[: found.end()], text[found.end() :]
    close = "" if not after.strip() or after.lstrip()[0] in ENDS else ","
    return f"{before}, {looks}{close}{after}"


def take_out(text: str, name: str, looks: str) -> str:
    """The text without these looks behind the name, wherever they stand; the inverse of `put` but for a comma."""
    own = re.escape(f"<{name}>")
    text = re.sub(rf",\s*{own} being {re.escape(looks)}(?!\w)", "", text)
    return re.sub(rf"({own})(?:,\s*{re.escape(looks)}(?!\w))+", r"\1", text)


def instead(text: str, name: str, looks: str) -> str:
    """The text with the looks in place of the first mention of the name, for a reader who knows nobody by name.

    Further mentions keep the name.
    """
    return text.replace(f"<{name}>", looks, 1)


def rewritten(text: str, name: str, looks: str) -> str:
    """Other looks that stand behind a name where these stood; empty where these do, or nothing like them."""
    if not looks or f"<{name}>, {looks}" in text:
        return ""
    known = words(looks)
    found = re.findall(rf"{re.escape(f'<{name}>')},\s*([^,;:.<>\[\]]+)", text)
    alike = (said.strip() for said in found if 2 * len(known & words(said)) >= len(known))
    return next(alike, "")


def words(text: str) -> set[str]:
    """The words of a description that say something."""
    return set(re.findall(r"\w+", text.casefold())) - EMPTY


def tells(text: str, looks: str) -> bool:
    """Whether a text says most of what somebody looks like, in whatever order."""
    wanted = words(looks)
    return len(wanted) >= FEWEST and len(wanted & words(text)) > MOST * len(wanted)
