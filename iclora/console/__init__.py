"""All that the commands print: progress, what each stage let through, tables, what an edit changes, and errors.

Captions, paths, LoRA headers and servers' messages come from outside, so hidden characters (escape codes, changes of
direction) are escaped in everything that is printed. `output` alone prints; the other files are named after the
commands, as in `iclora.cli`, and `working` after what is shown while any of them works.
"""

from iclora.console.about import counts, machine, table, tasks, version
from iclora.console.dataset import begun, configs, packed, shards, summary
from iclora.console.output import error, line, lines, prepare, refusal, text, warn
from iclora.console.review import diff, exported, judged, learning, replaced, review_ways, stay, to_replace
from iclora.console.training import evaluated, handed_over, plan, to_try, trained
from iclora.console.working import finished, logged, progress, stopped, volume

__all__ = [
    "begun",
    "configs",
    "counts",
    "diff",
    "error",
    "evaluated",
    "exported",
    "finished",
    "handed_over",
    "judged",
    "learning",
    "line",
    "lines",
    "logged",
    "machine",
    "packed",
    "plan",
    "prepare",
    "progress",
    "refusal",
    "replaced",
    "review_ways",
    "shards",
    "stay",
    "stopped",
    "summary",
    "table",
    "tasks",
    "text",
    "to_replace",
    "to_try",
    "trained",
    "version",
    "volume",
    "warn",
]
