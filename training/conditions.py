"""Conditions: what is given when a grid is learnt or drawn, and how the model sees it.

A training has a list of them, each with its share of the examples; what the shares leave over is joint mode, in which
nothing is given. So the list is empty for the paper's own training.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline import plugins
from pipeline.families.base import Share

Seen = Literal["clean", "noised", "reference"]
"""How the model sees what is given: in the canvas without noise; in the canvas with the noise of all the rest; or
beside the canvas, as tokens of its own, in families whose models take reference images."""


class Condition(plugins.Options):
    """Panels that are given in a share of the examples."""

    seen: Seen
    """clean and noised panels carry no loss; of a grid with references, all panels do."""
    panels: Literal["task", "first", "any"] | Annotated[tuple[int, ...], Field(min_length=1)] = "any"
    """Which: those that the task names (`condition`), the first, any drawn at random, or by number, from 1. Samples
    with reference images of their own are shown those instead."""
    share: Share = 1.0
    """Of all examples."""

    def __str__(self) -> str:
        which = " ".join(map(str, self.panels)) if isinstance(self.panels, tuple) else self.panels
        return f"{self.seen} {which}"


@dataclass(frozen=True)
class Given:
    """What is given of one example."""

    panels: tuple[int, ...] = ()
    """Places, from 0."""
    seen: Seen | None = None
    """None in joint mode."""

    @property
    def in_canvas(self) -> tuple[int, ...]:
        """Places whose panels are not drawn."""
        return () if self.seen == "reference" else self.panels


JOINT = Given()
"""Nothing is given."""
SEEN: Mapping[Seen, str] = {
    "clean": "without noise",
    "noised": "with the noise of the rest",
    "reference": "as reference images",
}
"""What is said of given panels."""
SLACK = 1e-9
"""By which shares may miss 1 for want of digits."""


def of_share(share: float, *, named: bool) -> tuple[Condition, ...]:
    """The conditions that `train.conditional` stands for.

    Args:
        named: whether the task names the given panels.
    """
    return (Condition(seen="clean", panels="task" if named else "any", share=share),) if share else ()


def upgraded(recipe: Mapping[str, Any], *, named: bool) -> dict[str, Any]:
    """A recipe as this version writes it; until 0.1 it had a share of given panels in place of conditions."""
    if "conditions" in recipe or "conditional" not in recipe:
        return dict(recipe)
    listed = [one.model_dump(mode="json") for one in of_share(recipe["conditional"], named=named)]
    return {key: value for key, value in recipe.items() if key != "conditional"} | {"conditions": listed}


def faults(conditions: Sequence[Condition], panels: int, named: Sequence[int]) -> Iterator[str]:
    """What is wrong with a list of conditions for a task, as half sentences.

    Args:
        panels: of a grid.
        named: the task's own given panels, from 1.
    """
    if (total := sum(one.share for one in conditions)) > 1 + SLACK:
        yield f"their shares add up to {total:g}, more than 1"
    for one in conditions:
        if one.panels == "task" and not named:
            yield f"'{one}' means panels that the task gives, and it names none (condition)"
        numbers = one.panels if isinstance(one.panels, tuple) else ()
        if foreign := [number for number in numbers if not 1 <= number <= panels]:
            yield f"'{one}' names panel {foreign[0]}, and grids have panels 1 to {panels}"
        elif one.seen != "reference" and len({*numbers}) == panels:
            yield f"'{one}' leaves no panel to learn"
        elif one.seen != "reference" and panels == 1:
            yield f"'{one}' gives panels of grids that have only one"


def joint_share(conditions: Sequence[Condition]) -> float:
    """The share of examples in which nothing is given."""
    left = 1 - sum(one.share for one in conditions)
    return left if left > SLACK else 0.0


def share_of(conditions: Sequence[Condition], seen: Seen) -> float:
    """The share of examples in which something is given and seen so."""
    return sum(one.share for one in conditions if one.seen == seen)


def kinds(conditions: Sequence[Condition]) -> tuple[Condition | None, ...]:
    """Everything that an example may be drawn for, None for joint mode."""
    joint = (None,) if joint_share(conditions) else ()
    return (*joint, *(one for one in conditions if one.share))


def never_drawn(conditions: Sequence[Condition], named: Sequence[int]) -> tuple[int, ...]:
    """Panels, from 0, that are given in the canvas whatever an example is drawn for.

    Args:
        named: the task's own given panels, from 1.
    """
    given = [
        set(numbers_of(kind, named)) if kind is not None and kind.seen != "reference" else set()
        for kind in kinds(conditions)
    ]
    return tuple(number - 1 for number in sorted(set.intersection(*given)))


def name_of(kind: Condition | None) -> str:
    return "joint" if kind is None else str(kind)


def which(condition: Condition, named: Sequence[int]) -> str:
    """The panels that a condition gives, in words.

    Args:
        named: the task's own given panels, from 1.
    """
    several = numbers_of(condition, named)
    return f"panel{'s' * (len(several) > 1)} {', '.join(map(str, several))}" if several else "randomly drawn panels"


def numbers_of(condition: Condition, named: Sequence[int]) -> tuple[int, ...]:
    """The panels that a condition gives, from 1; empty if they are drawn.

    Args:
        named: the task's own given panels, from 1.
    """
    if isinstance(condition.panels, tuple):
        return condition.panels
    return {"task": tuple(named), "first": (1,), "any": ()}[condition.panels]


def draw(conditions: Sequence[Condition], rng: random.Random, panels: int, named: Sequence[int], most: int) -> Given:
    """What is given in an example.

    Args:
        panels: of a grid.
        named: the task's own given panels, from 0.
        most: reference images that the model takes.
    """
    at = rng.random()
    for one in conditions:
        if at < one.share:
            return pick(one, rng, panels, named, most)
        at -= one.share
    # Shares that add up to 1 may miss it by their last digits, and in such a training nothing is joint.
    return JOINT if joint_share(conditions) else pick(kinds(conditions)[-1], rng, panels, named, most)


def pick(condition: Condition | None, rng: random.Random, panels: int, named: Sequence[int], most: int) -> Given:
    """What is given under a condition; arguments as for `draw`."""
    if condition is None:
        return JOINT
    if condition.panels == "any":
        upto = _upto(condition, panels, most)
        places = tuple(sorted(rng.sample(range(panels), rng.randrange(1, upto + 1)))) if upto else ()
    else:
        (places,) = choices(condition, panels, named, most)
    return Given(places, condition.seen)


def choices(condition: Condition, panels: int, named: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Every set of places that may be given under a condition; arguments as for `draw`."""
    if condition.panels == "any":
        sizes = range(1, _upto(condition, panels, most) + 1)
        return [places for size in sizes for places in itertools.combinations(range(panels), size)] or [()]
    numbers = numbers_of(condition, [place + 1 for place in named])
    return [tuple(number - 1 for number in numbers)]


def _upto(condition: Condition, panels: int, most: int) -> int:
    """How many panels may be given at once: never all, and no more references than the model takes."""
    return min(panels - 1, most) if condition.seen == "reference" else panels - 1
