"""What people prefer: pairs of pictures from the same prompt and noise, their marks, and what these come to.

`marks.jsonl` beside the evaluation is append-only, a line per mark, and says left or right; which candidate that was is
in `marks-key.json`. A pair is known by its pictures, so that marks outlive a repeated evaluation, and none counts for
pictures that were drawn anew.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from iclora.evaluation.results import BASE
from pipeline import files
from pipeline.cache import key_of
from pipeline.errors import BadInput
from pipeline.wording import counted
from training.evaluation import statistics
from training.evaluation.statistics import Estimate

if TYPE_CHECKING:
    import pandas as pd

MARKS, KEY = "marks.jsonl", "marks-key.json"
Side = Literal["left", "right", "tie"]


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt and noise."""

    id: str
    prompt: str
    seed: int
    left: str
    """The candidate that is on the left."""
    right: str
    pictures: tuple[Path, Path]
    """Left and right."""


class Mark(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True)

    at: str
    """When, in UTC as ISO 8601."""
    by: str
    """Who, as they call themselves; may be empty."""
    pair: str
    mark: Side
    """Which is better."""


@dataclass(frozen=True)
class Preference:
    """Which of two candidates people prefer. Every pair counts once, by the majority of those who marked it."""

    one: str
    other: str
    wins: int
    """Pairs in which `one` is better."""
    losses: int
    ties: int
    pairs: int
    """Marked or not."""
    among: Estimate | None = None
    """How far people agree on pairs that several have marked: Krippendorff's alpha, 1 fully, 0 as by chance."""
    with_judge: Estimate | None = None
    """How far people and the judge agree, in the same way."""

    @property
    def share(self) -> tuple[float, float, float]:
        """Of the pairs that are no ties, those in which `one` is better, with the 95 % interval (Wilson)."""
        decided = self.wins + self.losses
        return (self.wins / decided if decided else 0.5, *statistics.wilson(self.wins, decided))

    @property
    def p(self) -> float:
        """Of no difference: exact sign test, which is McNemar's for pairs."""
        return statistics.sign_test(self.wins, self.losses)

    def __str__(self) -> str:
        decided = self.wins + self.losses
        found = "nothing is decided yet"
        if decided:
            share, low, high = self.share
            found = (
                f"{self.one} is preferred to {self.other} in {self.wins} of {counted(decided, 'pair')}, "
                f"{share:.0%} ({low:.0%} to {high:.0%}), p {self.p:.3f}"
            )
        found += f"; {counted(self.ties, 'tie')}, {decided + self.ties} of {self.pairs} pairs marked"
        for whom, alpha in (("each other", self.among), ("the judge", self.with_judge)):
            found += f"; agreement with {whom}: alpha {alpha}" if alpha else ""
        return f"People: {found}."


def read_pairs(folder: Path, one: str, other: str) -> list[Pair]:
    """All pairs of two candidates of an evaluation.

    Raises:
        BadInput: there is no evaluation, or it has no such candidate.
    """
    files_of = _drawn(folder)
    if unknown := [name for name in (one, other) if name not in files_of]:
        raise BadInput(f"the evaluation has no '{unknown[0]}'; it compared {', '.join(files_of)}.")
    found = []
    for (prompt, seed), file in files_of[one].items():
        # By content, so that neither order nor names tell which is which.
        ends = sorted(
            (files.digest(folder / path), name, path)
            for name, path in ((one, file), (other, files_of[other][prompt, seed]))
        )
        pair = key_of(prompt=prompt, pictures=[digest for digest, _, _ in ends])[:16]
        if random.Random(f"sides {pair}").random() < 0.5:  # noqa: PLR2004  (a coin)
            ends.reverse()
        (_, left, first), (_, right, second) = ends
        found.append(Pair(pair, prompt, seed, left, right, (folder / first, folder / second)))
    return found


def _drawn(folder: Path) -> dict[str, dict[tuple[str, int], Path]]:
    """The pictures of an evaluation, by candidate, then by prompt and seed."""
    table, found = _table(folder), dict[str, dict[tuple[str, int], Path]]()
    for name, prompt, seed, file in table[["candidate", "prompt", "seed", "file"]].itertuples(index=False):
        found.setdefault(name, {})[prompt, int(seed)] = Path(file)
    return found


def _table(folder: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(folder / "evaluation.csv", dtype={"candidate": str, "prompt": str, "file": str})
    except FileNotFoundError as error:
        raise BadInput(f"there is no evaluation in {folder}; 'iclora evaluate' makes one.") from error


def usual_pair(folder: Path) -> tuple[str, str]:
    """The chosen LoRA of an evaluation, or the one with the best score, and the base.

    Raises:
        BadInput: there is no evaluation.
    """
    try:
        told = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"there is no evaluation in {folder}; 'iclora evaluate' makes one.") from error
    tuned = [one for one in told["candidates"] if one["candidate"] != BASE]
    return told["chosen"] or max(tuned, key=lambda one: one["score"]["value"])["candidate"], BASE


# ---- marks


class Marking:
    """One person's marks on some pairs, in an order of their own."""

    def __init__(self, folder: Path, pairs: Sequence[Pair], by: str) -> None:
        self.folder, self.by = folder, by
        ordered = sorted(pairs, key=lambda pair: pair.id)
        random.Random(f"order {by}").shuffle(ordered)
        self.pairs = {pair.id: pair for pair in ordered}
        self.marks: dict[str, Side] = {
            mark.pair: mark.mark for mark in read_marks(folder) if mark.by == by and mark.pair in self.pairs
        }
        _keep_key(folder, pairs)

    def mark(self, pair: Pair, mark: Side) -> None:
        """Appends a mark; it is on disk when this returns. The last one on a pair counts."""
        line = Mark(at=datetime.now(UTC).isoformat(timespec="seconds"), by=self.by, pair=pair.id, mark=mark)
        with (self.folder / MARKS).open("ab+") as file:
            file.seek(max(0, file.tell() - 1))
            torn = file.read(1) not in (b"", b"\n")  # a power cut may have left half a line
            file.write((b"\n" if torn else b"") + line.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.marks[pair.id] = mark


def _keep_key(folder: Path, pairs: Sequence[Pair]) -> None:
    """Adds the pairs to the key, which says which candidate is on which side."""
    file = folder / KEY
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known |= {
        pair.id: {"left": pair.left, "right": pair.right, "prompt": pair.prompt, "seed": pair.seed} for pair in pairs
    }
    files.write(file, json.dumps(known, ensure_ascii=False, indent=1))


def read_marks(folder: Path) -> Iterator[Mark]:
    """All marks in their order, without lines that can't be read."""
    file = folder / MARKS
    for line in file.read_bytes().splitlines() if file.exists() else []:
        try:
            yield Mark.model_validate_json(line)
        except ValidationError:
            continue


def last_marks(folder: Path) -> dict[tuple[str, str], Side]:
    """The marks that count, by pair and person."""
    return {(mark.pair, mark.by): mark.mark for mark in read_marks(folder)}


# ---- what they come to


def preferences(folder: Path) -> list[Preference]:
    """What people prefer among all candidates of an evaluation of which pairs are marked."""
    if not last_marks(folder):
        return []
    names = [name for name in _drawn(folder) if name != BASE]
    found = (preference(folder, *two) for two in combinations([*names, BASE], 2))
    return [one for one in found if one.wins + one.losses + one.ties]


def preference(folder: Path, one: str, other: str) -> Preference:
    """What people prefer of two candidates.

    Raises:
        BadInput: there is no evaluation, or it has no such candidate.
    """
    pairs, marks, judged = read_pairs(folder, one, other), last_marks(folder), _judged(folder)
    who = sorted({by for _, by in marks})
    signs_RU = np.full((len(who), len(pairs)), np.nan)
    judge_U = np.full(len(pairs), np.nan)
    for place, pair in enumerate(pairs):
        left = 1 if pair.left == one else -1
        for row, by in enumerate(who):
            if (pair.id, by) in marks:
                signs_RU[row, place] = {"left": left, "right": -left, "tie": 0}[marks[pair.id, by]]
        judge_U[place] = np.sign(_points(judged, one, pair) - _points(judged, other, pair))
    marked_U = ~np.isnan(signs_RU).all(axis=0)
    balance_U = np.where(marked_U, np.sign(np.nansum(signs_RU, axis=0)), np.nan)
    return Preference(
        one,
        other,
        wins=int((balance_U > 0).sum()),
        losses=int((balance_U < 0).sum()),
        ties=int((balance_U == 0).sum()),
        pairs=len(pairs),
        among=statistics.agreement(signs_RU),
        with_judge=statistics.agreement(np.stack([balance_U, judge_U])),
    )


def _points(judged: Mapping[tuple[str, str, int], float], candidate: str, pair: Pair) -> float:
    return judged.get((candidate, pair.prompt, pair.seed), math.nan)


def _judged(folder: Path) -> dict[tuple[str, str, int], float]:
    """The judge's points of every grid, by candidate, prompt and seed: the mean of its two answers."""
    table = _table(folder)
    if "judge_follows" not in table:
        return {}
    points = (table["judge_follows"] + table["judge_consistent"]) / 2
    keys = zip(table["candidate"], table["prompt"], table["seed"], strict=True)
    return {(name, prompt, int(seed)): float(one) for (name, prompt, seed), one in zip(keys, points, strict=True)}
