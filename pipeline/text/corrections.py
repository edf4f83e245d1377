"""What a person says of a caption's parts, applied to them: ties, strangers, and who is in a panel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.records import Appearance, Corrections, Parts, Tie
from pipeline.text.markers import NAME

NOTHING = "nothing ties them"
"""Why no panels belong together, if a person says so and the captioner has given no reason."""


def corrected(parts: Parts, said: Corrections | None) -> Parts:
    """The parts as a person has corrected them. Applied a second time, a correction changes nothing.

    What people look like in one panel who look the same in all is left out. A panel that doesn't belong is in no tie,
    and if nothing ties the panels, there is none.
    """
    if said is None:
        return parts
    shown = said.shown or (None,) * len(parts.panels)
    panels = tuple(
        panel if people is None else replace(panel, people=tuple(_seen(parts, people)))
        for panel, people in zip(parts.panels, shown, strict=True)
    )
    ties = parts.ties if said.ties is None else said.ties
    strangers, unrelated = parts.strangers, parts.unrelated
    if said.strangers is not None:
        ties = _without(ties, said.strangers)
        none_belongs = len(said.strangers) == len(panels)
        strangers = () if none_belongs else said.strangers
        unrelated = (unrelated or NOTHING) if none_belongs else ""
    elif said.ties:
        unrelated = ""
    return replace(parts, panels=panels, ties=ties, strangers=strangers, unrelated=unrelated, corrections=said)


def _seen(parts: Parts, people: Iterable[Appearance]) -> Iterator[Appearance]:
    """The people, who look as everywhere unless something about them changes."""
    same = {person.name for person in parts.people if not person.changes}
    return (Appearance(one.name) if one.name in same else one for one in people)


def _without(ties: Iterable[Tie], strangers: Sequence[int]) -> tuple[Tie, ...]:
    return _still_ties(
        replace(tie, panels=tuple(panel for panel in tie.panels if panel not in strangers)) for tie in ties
    )


def _still_ties(ties: Iterable[Tie]) -> tuple[Tie, ...]:
    """Those that are left with two panels or more."""
    return tuple(tie for tie in ties if len(tie.panels) > 1)


def is_said(parts: Parts, panel: int) -> bool:
    """Whether a person has said who is in a panel."""
    said = parts.corrections.shown if parts.corrections else ()
    return bool(said) and said[panel] is not None


def shown_in(parts: Parts, panel: int) -> tuple[str, ...]:
    """Names of the people whom a panel shows: those that a person says, as far as the caption has them; else those that
    its text names."""
    if not is_said(parts, panel):
        return tuple(dict.fromkeys(NAME.findall(parts.panels[panel].text)))
    known = {person.name for person in parts.people}
    return tuple(dict.fromkeys(one.name for one in parts.panels[panel].people if one.name in known))


def fit(said: Corrections, count: int) -> bool:
    """Whether corrections can be of a grid with so many panels."""
    named = [*(said.strangers or ()), *(panel for tie in said.ties or () for panel in tie.panels)]
    return len(said.shown) in (0, count) and all(0 <= panel < count for panel in named)


# ---- panels that change places


def followed(panels: Iterable[int], places: Sequence[int | None]) -> tuple[int, ...]:
    """Where panels are after an exchange; those whose pictures have gone are left out.

    Args:
        places: for each panel, the place from 0 where its picture was before; None if it was not in the grid.
    """
    new = {place: panel for panel, place in enumerate(places) if place is not None}
    return tuple(sorted(new[panel] for panel in panels if panel in new))


def ties_followed(ties: Iterable[Tie], places: Sequence[int | None]) -> tuple[Tie, ...]:
    """The ties after an exchange of panels; one that is left with a single panel ties nothing.

    Args:
        places: as in `followed`.
    """
    return _still_ties(replace(tie, panels=followed(tie.panels, places)) for tie in ties)


def rearranged(said: Corrections, places: Sequence[int | None]) -> Corrections:
    """The corrections after an exchange of panels; of a new picture, nothing has been said yet.

    Args:
        places: as in `followed`.
    """
    strangers = said.strangers
    if strangers is not None:
        of_others = (
            len(strangers) == len(places) and None in places
        )  # that nothing ties them was said of other pictures
        strangers = None if of_others else followed(strangers, places)
    shown = tuple(None if place is None else said.shown[place] for place in places) if said.shown else ()
    return Corrections(
        ties=None if said.ties is None else ties_followed(said.ties, places),
        strangers=strangers,
        shown=shown if any(people is not None for people in shown) else (),
    )
