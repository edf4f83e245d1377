"""Naming schemes of pairs and views: in how many are all groups found, with their panels in the right order?

    python -m bench.pairs [--before FOLDER] [--all]

Each scheme names four objects the way that a tool, a forum or a camera does; its own order of names is the truth. A
scheme is *right* if all four groups are formed in that order, *asked* if none is formed and the sentence that settles
it is given, *reversed* if a group has its panels in another order or mixes objects, *lost* otherwise. With `--before`,
a checkout of the code from before there was the strategy `names` reads the same names by its strategy `pairs`, in a
process of its own. `--all` prints every scheme, otherwise those that are not right.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import task
from pipeline.grouping.strategies import names as strategy
from pipeline.grouping.ways import Question
from pipeline.records import Position, Record
from pipeline.task import Task

OBJECTS = ("chair", "old lamp", "Vase", "tür")


@dataclass(frozen=True)
class Naming:
    """A way to name the pictures of groups."""

    habit: str
    """Who names pictures like this, or what is special about it."""
    names: tuple[str, ...]
    """Of one group in the order of its panels: `{n}` is a number from 1, `{o}` an object, `{d}` a day."""
    task: str = "sandstorm"
    asked: bool = False
    """Whether nobody could tell the order from the names alone."""
    extra: tuple[str, ...] = ()
    """Names of pictures of each object that are for no panel."""


NAMINGS = (
    Naming("plain", ("{n}_before", "{n}_after")),
    Naming("role first (ai-toolkit #737)", ("before_{n}", "after_{n}")),
    Naming("copies of Windows (musubi-tuner #677)", ("photo before ({n})", "photo after ({n})")),
    Naming("folders of kontext trainers (ai-toolkit #762)", ("control/00{n}", "target/00{n}")),
    Naming("folders before and after", ("before/{n}", "after/{n}")),
    Naming("folders of pix2pix", ("A/{n}", "B/{n}")),
    Naming("folders of CycleGAN", ("trainA/{n}", "trainB/{n}")),
    Naming("folders input and output", ("input/img_{n}", "output/img_{n}")),
    Naming("folders source and target, plural", ("sources/{o}", "targets/{o}")),
    Naming("folder of results beside the originals", ("{o}", "edited/{o}")),
    Naming("role in folder and name", ("before/{n}_before", "after/{n}_after")),
    Naming("folder for each object", ("{o}/before", "{o}/after")),
    Naming("folder for each object, numbered", ("{o}/1", "{o}/2")),
    Naming("stereo cameras", ("left0{n}", "right0{n}"), "couple-profile"),
    Naming("stereo pictures, letters", ("{o}_L", "{o}_R"), "couple-profile"),
    Naming("letters behind numbers", ("0{n}a", "0{n}b")),
    Naming("letters behind a space", ("{o} A", "{o} B")),
    Naming("numbers behind the object", ("{o}_1", "{o}_2")),
    Naming("numbers padded differently", ("{o}-01", "{o}-2")),
    Naming("numbers in brackets", ("{o} (1)", "{o} (2)")),
    Naming("edit beside the original (Lightroom)", ("IMG_000{n}", "IMG_000{n}_edit")),
    Naming("edit beside the original (iPhone)", ("IMG_000{n}", "IMG_000{n}-edited")),
    Naming("role behind a hyphen", ("{n}", "{n}-after")),
    Naming("camel case", ("{o}Before", "{o}After")),
    Naming("role first, camel case", ("before{o}", "after{o}")),
    Naming("upper case and lower case", ("{o}_BEFORE", "{o}_After")),
    Naming("dots", ("{o}.before", "{o}.after")),
    Naming("separators mixed", ("{o}-before", "{o}_after")),
    Naming("written in one", ("{o}before", "{o}after")),
    Naming("dates of the same day", ("2024-05-0{n}_before", "2024-05-0{n}_after")),
    Naming("dates of different days", ("{o}_before_2024-01-05", "{o}_after_2024-06-17")),
    Naming("time stamps of phones", ("20240105_12000{n}_before", "20240105_12000{n}_after")),
    Naming("different sizes", ("{o}_before_1920x1080", "{o}_after_800x600")),
    Naming("size and date", ("2024-05-0{n} before 4k", "2024-05-0{n} after 1080p")),
    Naming("role in the middle", ("shoot_before_{o}_final2", "shoot_after_{o}_final2")),
    Naming("words of a task", ("{o}_normal", "{o}_sand")),
    Naming("words of a task, with and without", ("{o}_without_sand", "{o}_with_sand")),
    Naming("words of a task, no", ("{o}_no_sand", "{o}_sand")),
    Naming("effect off and on", ("{o}_off", "{o}_on"), "sparklers"),
    Naming("photograph and sketch", ("{o}_photograph", "{o}_sketch"), "portrait-illustration"),
    Naming("photo and drawing, folders", ("photo/{n}", "drawing/{n}"), "portrait-illustration"),
    Naming("logo and product", ("{o}_logo", "{o}_product"), "visual-identity"),
    Naming("logo and what it is on", ("{o}_logo", "{o}_mug"), "visual-identity"),
    Naming("front and back", ("{o}_front", "{o}_back"), "couple-profile"),
    Naming("old and new", ("{o}_old", "{o}_new")),
    Naming("super resolution", ("{o}_LR", "{o}_HR")),
    Naming("super resolution, folders", ("lq/{n}", "gt/{n}")),
    Naming("raw and retouched", ("{o}_raw", "{o}_retouched")),
    Naming("original and another word", ("{o}_original", "{o}_dusty")),
    Naming("before and an unknown word", ("{o}_before", "{o}_xyz")),
    Naming("start and end frames", ("{o}_start", "{o}_end")),
    Naming("first and second", ("{o}_first", "{o}_second")),
    Naming("Roman numbers", ("{o}_i", "{o}_ii")),
    Naming("with a mask beside", ("{o}_before", "{o}_after"), extra=("{o}_mask",)),
    Naming("German", ("{o}_vorher", "{o}_nachher")),
    Naming("French", ("{o} avant", "{o} après")),
    Naming("Spanish", ("antes_{o}", "después_{o}")),
    Naming("Polish", ("{o}_przed", "{o}_po")),
    Naming("Russian", ("{o}_до", "{o}_после")),
    Naming("Chinese, written in one", ("{o}修改前", "{o}修改后")),
    Naming("Japanese", ("{o}_ビフォー", "{o}_アフター")),
    Naming("Korean, written in one", ("{o}전", "{o}후")),
    Naming("Arabic", ("{o} قبل", "{o} بعد")),
    Naming("unknown words", ("{n}_foo", "{n}_bar"), asked=True),
    Naming("words of another task", ("{o}_logo", "{o}_product"), "sparklers", asked=True),
    Naming("young and old", ("{o}_young", "{o}_old"), "sparklers", asked=True),
    Naming("her and him", ("{o}_her", "{o}_him"), "couple-profile", asked=True),
    Naming("day and night", ("day/{n}", "night/{n}"), asked=True),
    Naming("more numbers than panels", ("{o}_1", "{o}_2"), asked=True, extra=("{o}_3",)),
    Naming("views by their markers", ("{o}_front", "{o}_back", "{o}_left", "{o}_right"), "views"),
    Naming("views, folders of objects", ("{o}/Front", "{o}/Back", "{o}/Left", "{o}/Right"), "views"),
    Naming("views, letters", ("{o}_F", "{o}_B", "{o}_L", "{o}_R"), "views"),
    Naming("views with a word more", ("{o} front view", "{o} back view", "{o} left side", "{o} right side"), "views"),
    Naming("views, folders of views", ("front/{n}", "back/{n}", "left/{n}", "right/{n}"), "views"),
    Naming(
        "more views than panels",
        ("{o}_front", "{o}_back", "{o}_left", "{o}_right"),
        "views",
        extra=("{o}_top", "{o}_detail"),
    ),
    Naming("corners", ("{o}_tl", "{o}_tr", "{o}_bl", "{o}_br"), "font-design"),
    Naming("corners in words", ("{o}TopLeft", "{o}TopRight", "{o}BottomLeft", "{o}BottomRight"), "font-design"),
    Naming("turnaround", ("{o}_front", "{o}_three-quarter", "{o}_side", "{o}_back"), "font-design"),
    Naming("four numbers", ("{o}-1", "{o}-2", "{o}-3", "{o}-4"), "font-design"),
    Naming("degrees", ("{o}_0", "{o}_90", "{o}_180", "{o}_270"), "font-design"),
    Naming("views without an order", ("{o}_front", "{o}_back", "{o}_left", "{o}_right"), "font-design", asked=True),
    Naming("scenes", ("{o}_scene1", "{o}_scene2", "{o}_scene3"), "storyboard"),
    Naming("start, middle and end", ("{o}/start", "{o}/middle", "{o}/end"), "storyboard"),
)

OLD = """
import json, sys
from pipeline.grouping.strategies import pairs
from pipeline.grouping.strategies.base import Formed
from pipeline.records import Position, Record
from pipeline import task

class Any:
    def first(self, ways):
        return tuple(ways[0])

answers = []
for name, markers, names in json.load(sys.stdin):
    of = task.load(name)
    if markers:
        of = of.model_copy(update={"markers": tuple(markers)})
    records = [Record(one, one, one, Position(*one.rpartition("/")[::2])) for one in names]
    formed = [one for one in pairs.form(records, of, Any()) if isinstance(one, Formed)]
    answers.append([[record.id for record in one.records] for one in formed])
json.dump(answers, sys.stdout)
"""


class _NoVeto:
    """Speaks against no group: names alone are measured."""

    def each(self, questions: Sequence[Question]) -> list[tuple[Record, ...]]:
        return [question.group(0) for question in questions]


def task_of(naming: Naming) -> Task:
    if naming.task == "views":
        return task.load("font-design").model_copy(update={"markers": ("[FRONT]", "[BACK]", "[LEFT]", "[RIGHT]")})
    return task.load(naming.task)


def truth(naming: Naming) -> list[tuple[str, ...]]:
    """The paths of every group, in panel order."""
    return [tuple(_filled(name, n) for name in naming.names) for n in range(len(OBJECTS))]


def pool(naming: Naming) -> list[str]:
    """All paths, as a folder lists them."""
    return sorted(_filled(name, n) for n in range(len(OBJECTS)) for name in (*naming.names, *naming.extra))


def _filled(name: str, number: int) -> str:
    return "/data/set/" + name.format(n=number + 1, o=OBJECTS[number])


def formed(naming: Naming) -> tuple[list[tuple[str, ...]], list[str]]:
    """The groups that the strategy forms, and what it remarks."""
    own = task_of(naming)
    records = [Record(one, one, one, Position(*one.rpartition("/")[::2])) for one in pool(naming)]
    vetoes: Any = _NoVeto()
    groups = [
        tuple(record.id for record in one.records)
        for one in strategy.form(records, own, vetoes)
        if isinstance(one, strategy.Formed)
    ]
    return groups, strategy.remarks(records, own)


def verdict(naming: Naming, groups: Sequence[Sequence[str]], remarks: Sequence[str]) -> str:
    wanted = truth(naming)
    if set(map(tuple, groups)) - set(wanted):
        return "reversed"
    if len(groups) == len(wanted):
        return "right"
    return "asked" if not groups and any("--set group.roles=" in remark for remark in remarks) else "lost"


def before(folder: str) -> list[str]:
    """The verdicts on the old code."""
    asked = []
    for naming in NAMINGS:
        own = task_of(naming)
        asked.append(("font-design" if naming.task == "views" else naming.task, own.markers, pool(naming)))
    answer = subprocess.run(
        [sys.executable, "-c", OLD],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": folder},
    )
    return [verdict(naming, groups, ()) for naming, groups in zip(NAMINGS, json.loads(answer.stdout), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="FOLDER", help="a checkout of the code before the strategy `names`")
    parser.add_argument("--all", action="store_true", help="print every scheme")
    options = parser.parse_args()
    now = [verdict(naming, *formed(naming)) for naming in NAMINGS]
    old = before(options.before) if options.before else ["-"] * len(NAMINGS)
    for naming, new_verdict, old_verdict in zip(NAMINGS, now, old, strict=True):
        if options.all or new_verdict != "right":
            print(f"{new_verdict:9} {old_verdict:9} {naming.habit}: {', '.join(naming.names)}")
    print(f"\n{len(NAMINGS)} schemes   right  asked  reversed  lost")
    for side, verdicts in (("now", now), *([("before", old)] if options.before else [])):
        count = Counter(verdicts)
        print(f"{side:12} {count['right']:7} {count['asked']:6} {count['reversed']:9} {count['lost']:5}")


if __name__ == "__main__":
    main()
