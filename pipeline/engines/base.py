"""What a stage is to the engine that runs it: a function over a batch, its parameters, and how to keep its books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from pipeline.progress import Progress
from pipeline.records import Rejected
from pipeline.store import Item, Keyed

In = TypeVar("In", bound=Keyed)


@dataclass(frozen=True)
class Facts:
    """What a stage says about a batch beyond its outputs, for the report.

    Over the batches of a run whole numbers add up; of anything else, the last batch's value counts.
    """

    found: Mapping[str, Any]


@dataclass(frozen=True)
class Stage(Generic[In]):
    """One stretch of the line, as data.

    `run` takes a batch of inputs and gives outputs and rejections, and facts if it likes; every input must end as the
    origin of an output or as a rejection. It is a module-level function bound to frozen parameters with
    `functools.partial`, so that it can be pickled and run in another process: it keeps no state between batches, and
    what it depends on besides its inputs and parameters is nothing. Everything else here stays with the engine.
    """

    name: str
    table: str
    run: Callable[[Sequence[In]], Iterable[Item | Rejected | Facts]]
    config: Mapping[str, Any]
    """What the results depend on besides the inputs; part of the stage's fingerprint."""
    batch: int | None = None
    """Inputs per call and per transaction; None gives all at once, for stages that must see everything."""
    streams: bool = False
    """Whether `run` may be given all inputs at once, since it takes one after the other and gives one result per input,
    in their order, as soon as it has it; then `batch` says how many results are stored in one transaction."""
    workers: int = 1
    """Batches that may be under way at once, in threads or processes as the engine is told."""
    origin: Callable[[Any], tuple[str, ...]] = attrgetter("origin")
    """Ids of the inputs that an output comes from."""
    expands: bool = False
    """One input may become many (a film its shots); then outputs are counted as kept, not inputs."""
    repeated: Callable[[Sequence[Any], Mapping[str, Any]], Iterable[Item | Rejected]] | None = None
    """Given a batch's outputs and rejections, and all earlier outputs by id, replaces the outputs whose ids are among
    the earlier ones. Called in the order of the inputs, wherever they are worked on. None if ids can't repeat."""
    prepare: Callable[[Sequence[In], Progress], None] = lambda inputs, progress: None
    """Called before the first batch with all inputs that have no result yet, for what is slow one by one. Results don't
    depend on whether it was."""
    intact: Callable[[], bool] = lambda: True
    """Whether the files that it wrote are still there, and no failure is to be tried again; if not, it is not done."""
    facts: Callable[[Sequence[Any]], dict[str, Any]] = lambda _: {}
    """What the report says about all outputs, those of an earlier, cut-off run included; `Facts` override it."""
