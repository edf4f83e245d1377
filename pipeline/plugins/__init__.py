"""Plug-ins: how each kind of them is found, and how options are checked.

A plug-in is one module; a task is one TOML file. The toolkit finds its own by file name, those of installed packages by
entry point, and others by path (`--captioner ./mine.py`) where a user names one. Listing names never imports a plug-in.
"""

from pipeline.plugins.finding import (
    absolute,
    find,
    is_path,
    leave_out,
    load,
    make,
    names,
    usable,
)
from pipeline.plugins.kinds import (
    BACKENDS,
    CAPTIONERS,
    CONTAINERS,
    DETECTORS,
    ENGINES,
    EXPORTERS,
    FAMILIES,
    GROUPING,
    IMAGE_ENCODERS,
    KINDS,
    READERS,
    SCORERS,
    TASKS,
    Kind,
)
from pipeline.plugins.loading import Plugin
from pipeline.plugins.options import Options, faults_of, joined, list_faults, parse_options, sentence, suggest

__all__ = [
    "BACKENDS",
    "CAPTIONERS",
    "CONTAINERS",
    "DETECTORS",
    "ENGINES",
    "EXPORTERS",
    "FAMILIES",
    "GROUPING",
    "IMAGE_ENCODERS",
    "KINDS",
    "READERS",
    "SCORERS",
    "TASKS",
    "Kind",
    "Options",
    "Plugin",
    "absolute",
    "faults_of",
    "find",
    "is_path",
    "joined",
    "leave_out",
    "list_faults",
    "load",
    "make",
    "names",
    "parse_options",
    "sentence",
    "suggest",
    "usable",
]
