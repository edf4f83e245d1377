"""A training seen from outside: what its folder says about it, for a page that shows it while it runs and afterwards.

Reads only what the training writes, so that it may run in another process or on another machine, or be over.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import charts
from pipeline.errors import BadInput, ToolkitError
from pipeline.plugins import extras
from training.monitoring import journal, loss_plot, sample_files
from training.monitoring.status import FILE, Status

if TYPE_CHECKING:
    import pandas as pd

POINTS = 400
"""The most points of a line that are sent."""
QUIET, STEPS_QUIET = 120.0, 30
"""Seconds, or times a step takes, without a new step after which that is said of a training elsewhere."""
OPEN, LAST_LOOK = 10.0, 3.0
"""Seconds: a page that has asked within so many is open, and is given so many to see how the training ended."""
INSIDE_RUN = "training"
"""The folder of a run's own training."""
RESUMES = "the same command resumes from its last checkpoint"


def find(folder: str | Path) -> Path:
    """The folder of a training: this one, or that of the run in it.

    Raises:
        BadInput: there is no training in it.
    """
    home = Path(folder)
    if not home.is_dir():
        raise BadInput(f"{home} is not a folder; give the one of a training, which 'iclora train' prints.")
    for one in (home, home / INSIDE_RUN):
        if (one / FILE).is_file() or (one / journal.STEPS).is_file():
            return one
    raise BadInput(
        f"{home} holds no training: it has neither {FILE} nor {journal.STEPS}; give the folder of a training, or of a "
        "run that has been trained on."
    )


class Watched:
    """A training's folder, which may be empty yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looked = -math.inf
        """When somebody looked at it last, by the monotonic clock."""

    def state(self, seen: str = "") -> dict[str, Any]:
        """How the training stands, as plain values.

        Args:
            seen: the `version` that is known already; what can't have changed since is left out.
        """
        self.looked = time.monotonic()
        status, version = Status.read(self.folder), self._version()
        steps = self._steps()
        found = {"version": version, **self._standing(status, steps)}
        if version != seen:
            validation, scores = self._validation(), self._scores()
            found |= {
                "facts": list(_facts(status, steps, validation)),
                "charts": list(_charts(steps, validation, scores)),
                "samples": self._samples(int(steps["step"].max()) if len(steps) else 0),
            }
        return found

    def sample(self, step: int, number: int) -> bytes:
        """A sample as PNG.

        Raises:
            FileNotFoundError: there is none.
        """
        return (self.folder / sample_files.FOLDER / sample_files.name_of(step, number)).read_bytes()

    def _version(self) -> str:
        """Differs whenever the training has written something that is shown."""
        files = [*(FILE, journal.STEPS, journal.VALIDATION, journal.EVALUATION), sample_files.FOLDER]
        found = []
        for name in files:
            with suppress(OSError):
                known = (self.folder / name).stat()
                found.append(f"{name}-{known.st_mtime_ns}-{known.st_size}")
        return " ".join(found)

    def _steps(self) -> pd.DataFrame:
        return _or_empty(journal.read_steps, self.folder)

    def _validation(self) -> pd.DataFrame:
        return _or_empty(journal.read_validation, self.folder).dropna()

    def _scores(self) -> pd.DataFrame:
        return _or_empty(journal.read_evaluation, self.folder)

    def _standing(self, status: Status | None, steps: pd.DataFrame) -> dict[str, Any]:
        done = int(steps["step"].max()) if len(steps) else 0
        age, pace = self._age(), self._pace(status, steps, done)
        stands, message = _stands(status, age, pace, done)
        total = status.steps if status else None
        left = pace * (status.steps - done) if status and pace and stands == "running" else None
        name = status.title if status else self.folder.name
        return {
            "title": name,
            "folder": str(self.folder),
            "stands": stands,
            "message": message,
            "step": done,
            "steps": total,
            "seconds_left": left,
            "pace": pace,
            "age": age,
        }

    def _age(self) -> float:
        """Seconds since the training wrote something."""
        times = [_modified(self.folder / name) for name in (FILE, journal.STEPS)]
        return max(0.0, time.time() - max(filter(None, times), default=time.time()))

    def _pace(self, status: Status | None, steps: pd.DataFrame, done: int) -> float | None:
        """Seconds per step, with all that is measured and drawn between steps; None before the first.

        Both files' times are of the machine that writes them, whose clock may differ from this one's.
        """
        if status is None or status.from_step is None or done <= status.from_step:
            return None
        begun, last = (_modified(self.folder / name) for name in (FILE, journal.STEPS))
        if status.stands == "running" and begun and last and last > begun:
            return (last - begun) / (done - status.from_step)
        return _number(steps["seconds"].iloc[-100:].mean()) if "seconds" in steps else None

    def _samples(self, done: int) -> dict[str, Any]:
        """The steps at which samples were drawn, and their captions; those of a longer training before it are left
        out."""
        found = {step: numbers for step, numbers in sample_files.find(self.folder).items() if step <= done}
        if not found:
            return {"steps": [], "captions": []}
        numbers, last = found[max(found)], max(found)
        paths = [self.folder / sample_files.FOLDER / sample_files.name_of(last, number) for number in numbers]
        captions = [
            {"number": number, "prompt": drawn.prompt, "given": drawn.given}
            for number, drawn in zip(numbers, map(sample_files.read_drawn, paths), strict=True)
        ]
        return {"steps": sorted(found), "captions": captions}


def _or_empty(read: Callable[[Path], pd.DataFrame], folder: Path) -> pd.DataFrame:
    """A table of the log; an empty one before it is begun."""
    import pandas as pd

    try:
        return read(folder)
    except (BadInput, OSError):
        return pd.DataFrame({"step": []})


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _stands(status: Status | None, age: float, pace: float | None, done: int) -> tuple[str, str]:
    """In a word, and in a sentence where there is more to say."""
    if status is None:
        unknown = f"There is no {FILE}, so an earlier version has trained here: whether it is at work can't be told."
        return ("unknown", unknown) if done else ("preparing", "It has written nothing yet.")
    if status.is_orphaned or status.stands == "interrupted":
        why = "The process that trained is gone without a word" if status.is_orphaned else "It was stopped"
        return "interrupted", f"{why}; {RESUMES}."
    if status.stands != "running":
        return status.stands, status.message
    if status.from_step is None:
        return "preparing", "Texts and grids are encoded, and the base alone is measured, before the first step."
    if status.is_elsewhere and age > max(QUIET, STEPS_QUIET * (pace or 0)):
        silent = f"It has written nothing for {age / 60:,.0f} minutes"
        return "running", f"{silent}; whether it is still at work on {status.host} can't be told from here."
    return "running", ""


# ---- what is shown


def _facts(status: Status | None, steps: pd.DataFrame, validation: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """What there is to say in a word each: names and values."""
    if len(steps):
        yield "loss, smoothed", f"{loss_plot.smoothed(steps['loss']).iloc[-1]:.4f}"
    if len(validation):
        held_out = journal.held_out(validation)
        yield "held-out loss", f"{held_out.iloc[-1]:.4f}"
        lowest = int(held_out.argmin())
        yield "lowest held-out", f"{held_out.iloc[lowest]:.4f} at step {held_out.index[lowest]:,}"
    for name, label, unit in (("learning_rate", "learning rate", ""), ("memory", "memory", " GiB")):
        if name in steps and len(known := steps[name].dropna()):
            value = known.iloc[-1]
            yield label, f"{value:.2f}{unit}" if unit else f"{value:.3g}"
    if status:
        yield "grids", f"{status.grids:,}, {status.held_out:,} held out"
        yield "base", status.base


def _charts(steps: pd.DataFrame, validation: pd.DataFrame, scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The charts, those of `loss.png` first."""
    whole, _, panels = loss_plot.CHARTS
    if len(steps):
        yield _chart(whole, _of_grids(steps, validation))
        yield _chart(panels, _of_panels(steps, validation))
    if len(scores):
        yield _chart(loss_plot.SCORES, _of_scores(scores))
    for name, chart in PLAIN.items():
        if name in steps and steps[name].notna().any():
            line = _line(name.replace("_", " "), charts.BLUE, steps["step"], steps[name])
            yield _chart(chart, [line]) | {"floor": 0}


PLAIN = {
    "learning_rate": charts.Chart("learning rate", "step", "learning rate"),
    "memory": charts.Chart("memory that the training holds", "step", "GiB"),
    "seconds": charts.Chart("time per step", "step", "seconds"),
}
"""Charts of a single column each, from 0 on."""


def _chart(chart: charts.Chart, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"title": chart.title, "x": chart.x, "y": chart.y, "lines": lines}


def _of_grids(steps: pd.DataFrame, validation: pd.DataFrame) -> list[dict[str, Any]]:
    found = [
        _line("training, each step", charts.LORA, steps["step"], steps["loss"], "dots"),
        _line("training, smoothed", charts.LORA, steps["step"], loss_plot.smoothed(steps["loss"])),
    ]
    if len(validation):
        held_out = journal.held_out(validation)
        found.append(_line("held out", charts.HELD_OUT, held_out.index, held_out, "marks"))
    return found


def _of_panels(steps: pd.DataFrame, validation: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for panel in range(1, 1 + sum(str(name).startswith("loss_") for name in steps)):
        colour = charts.SERIES[(panel - 1) % len(charts.SERIES)]
        trained = steps[["step", f"loss_{panel}"]].dropna()
        if len(trained):  # it is not always given
            smooth = loss_plot.smoothed(trained[f"loss_{panel}"])
            found.append(_line(f"panel {panel}, smoothed", colour, trained["step"], smooth))
        if len(validation):
            held_out = validation[validation["panel"] == panel].groupby("step")["loss"].mean()
            if len(held_out):
                found.append(_line(f"panel {panel}, held out", colour, held_out.index, held_out, "dashes"))
    return found


def _of_scores(scores: pd.DataFrame) -> list[dict[str, Any]]:
    at = scores["step"]
    found = [_line("score, with its 95 % interval", charts.BLUE, at, scores["score"], "marks")]
    if scores["low"].notna().any():
        found[0]["band"] = [_points(at, scores["low"]), _points(at, scores["high"])]
    found.append(_line("follows its texts", charts.ORANGE, at, scores["followed"], "dashes"))
    found.append(_line("keeps together", charts.GREEN, at, scores["kept"], "dashes"))
    for name, colour in loss_plot.SHARES.items():
        if scores[name].any():
            found.append(_line(f"{name}, share of grids", colour, at, scores[name], "dashes"))
    return found


def _line(name: str, colour: str, x: Any, y: Any, style: str = "line") -> dict[str, Any]:
    return {"name": name, "colour": colour, "style": style, "points": _points(x, y)}


def _points(x: Any, y: Any) -> list[tuple[float, float]]:
    """At most about POINTS of a line, with the last; without what is no number."""
    pairs = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    every = max(1, math.ceil(len(pairs) / POINTS))
    return [*pairs[:-1:every], *pairs[-1:]]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# ---- the page


def watch(folder: str | Path, opened: Callable[[str], None]) -> None:
    """Serves a page on which a training is seen, while it runs and afterwards, until Ctrl-C.

    Args:
        folder: of the training, or of a run that has been trained on.
        opened: called with the page's address once it is served.

    Raises:
        BadInput: there is no training, or a package that the page needs is not installed.
    """
    watched = Watched(find(folder))
    extras.require("the page", "page")
    from iclora.page import watching
    from iclora.page.server import serve_page

    serve_page(partial(watching.make, watched), opened)


@contextmanager
def served(folder: Path, opened: Callable[[str], None], failed: Callable[[str], None]) -> Iterator[None]:
    """Serves the page beside a training in this process. The training goes on where that is impossible.

    Args:
        folder: of the training, which exists.
        opened: called with the page's address once it is served.
        failed: called with why it can't be.
    """
    watched = Watched(folder)
    with ExitStack() as serving:
        try:
            extras.require("the page", "page")
            from iclora.page import watching
            from iclora.page.server import page_served

            page = serving.enter_context(page_served(partial(watching.make, watched)))
            opened(page.url)
        except (ToolkitError, OSError) as error:
            failed(f"the page can't be served, and the training goes on without it: {error}")
        try:
            yield
        finally:
            if not isinstance(sys.exc_info()[1], KeyboardInterrupt):
                _wait_for_a_last_look(watched)


def _wait_for_a_last_look(watched: Watched) -> None:
    """Gives a page that somebody has open the time to show how it ended."""
    ended = time.monotonic()
    if ended - watched.looked > OPEN:
        return
    while watched.looked < ended and time.monotonic() < ended + LAST_LOOK:
        time.sleep(LAST_LOOK / 30)
