"""What the commands from sources to a data set print: what each stage let through, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from iclora.console import output
from iclora.console.output import line, lines
from pipeline.wording import command, counted, escaped

if TYPE_CHECKING:
    from pathlib import Path

    from iclora.advancing import StageResult
    from iclora.run import Run
    from iclora.sharding import Shard


def begun(run: Run) -> None:
    """What a first run without a source does, at once: drawing takes a while."""
    if run.settings.drawn and not run.exists:
        line(f"no source given: material to try {run.task.name} with is drawn first; --source takes your own")


def summary(run: Run, results: Sequence[StageResult]) -> None:
    """What every stage let through, which captions are missing, how the filter was calibrated, and the next command."""
    from pipeline.consistency import thresholds, verdict
    from pipeline.stages import caption

    table = Table(box=None, pad_edge=False)
    for name in ("stage", "in", "kept", "rejected", "seconds"):
        table.add_column(name, overflow="fold")
    for result in results:
        reasons = sorted(result.rejected.items(), key=lambda reason: -reason[1])
        why = ", ".join(f"{count} {reason}" for reason, count in reasons) or "-"
        table.add_row(result.name, str(result.entered), str(result.kept), escaped(why), f"{result.seconds:.1f}")
    output.console.print(table)
    for facts in (result.facts for result in results if result.name == "caption"):
        lines(caption.lines(facts))
    for facts in (result.facts for result in results if result.name == "filter"):
        lines((*thresholds.lines(facts), *verdict.lines(facts.get("belonging", {}))))
        lines(filter(None, [facts.get("no plot")]))
    last = results[-1]
    remarks(run, last)
    if last.name != "export":
        line(f"next: {run.command_to_show(last.name)}")
        return
    if not run.counts()["captions"]:
        return  # nothing to review; the error that follows says why, and where to read more
    fewest, grids = run.task.grids[0], last.facts.get("grids", last.kept)
    if 0 < grids < fewest:
        line(f"{counted(grids, 'grid')} may be too few: {run.task.name} is meant to be trained on {fewest} or more.")
    lines(f"coverage: {remark}." for aspect in run.coverage() for remark in aspect.remarks)
    there = f"The data set is in {run.dataset}; look" if last.kept else "Look"
    line(f"{there} at {run.folder / 'review.html'}.")
    line(f"next: edit {run.folder / 'captions.csv'}, then type")
    line(f"  {run.command_to_apply}")
    line(f"or review in a browser: {run.command('review', '--serve')}")
    if last.kept:
        line(f"then train: {run.command('train')}")


def remarks(run: Run, last: StageResult) -> None:
    """What a person should know of their decisions, and of files that they changed and that were written anew.

    Args:
        last: the last stage's result.
    """
    lines(run.remarks())
    if last.worked and last.kept and (kept := last.facts.get("set aside")):
        line(f"Files of the data set had been changed by hand; before it was written anew they were copied to {kept}.")
    if last.worked and (kept := last.facts.get("grids set aside")):
        line(f"Grids had been changed by hand and are drawn again as the sources have them; copies are in {kept}.")


def packed(archive: Path, run: Run, service: str | None = None) -> None:
    """An archive, and what to type where it arrives, if it is not for a service that trains."""
    name, size = command([run.task.name]), f"{archive.stat().st_size / 1e6:,.0f} MB"
    if service:
        line(f"{archive} ({size}), to be uploaded to {service}")
        return
    line(f"{archive} ({size}); on the other machine type")
    line(f"  {command(['tar', 'xf', archive.name])} && cd {name} && sha256sum -c --quiet SHA256SUMS && cat TRAINERS.md")


def configs(folder: Path, names: Sequence[str]) -> None:
    line(f"{counted(names, 'file')} written in {folder}: {', '.join(names)}")


def shards(task: str, found: Sequence[Shard]) -> None:
    """What each part of the sources has, and what to type on the machines and at the end."""
    for one in found:
        size = f"about {one.size / 1e6:,.1f} MB, " if one.size > one.items else ""
        line(f"{one.part}: {counted(one.items, 'item')}, {size}{one.part.first} to {one.last}")
    home = command([str(found[0].folder.parent)])
    line(f"next: for N from 1 to {len(found)}, each on a machine of its own (docs/many-machines.md), type")
    line(f"  {command(['iclora', 'group', task, '--out'])} {home}/N")
    line("then")
    line(f"  {command(['iclora', 'merge', task])} {home}/*")
    line(f"  {command(['iclora', 'dataset', task])}")
