"""Writes docs/settings.md and docs/commands.md from the code, so that both have every key and every option there is.

    python -m bench.reference

Types and defaults are those of the pydantic models; descriptions are the docstrings below their fields. Commands and
options are those of typer.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from iclora.cli import app
from pipeline import plugins, task
from training import config
from training.conditions import Condition

DOCS = Path(__file__).parent.parent / "docs"
WRITTEN = "This page is written from the code by `python -m bench.reference`; edit the code instead."

KINDS = {plugins.CAPTIONERS: "captioner", plugins.SCORERS: "scorer", plugins.ENGINES: "engine"}
"""Kinds of plug-ins with a section of the task file for their options, and its name."""
OF_COMMANDS = (plugins.IMAGE_ENCODERS, plugins.DETECTORS)
"""Kinds whose options are given to a command."""
FREE = 1e6
"""A limit as large as this is no guidance for a user."""
UNSEEN = {"name"}
"""Fields of a task that nobody sets."""
ENVIRONMENT = {
    "ICLORA_CACHE": "Folder of the texts and grids that trainings have encoded and share; the user's cache folder if "
    "not set (`~/.cache/iclora` on Linux).",
    "OPENAI_API_KEY": "Key of the captioner and judge `server`; it is never stored.",
    "OPENAI_BASE_URL": "Address of that server where no setting gives one.",
    "HF_TOKEN": "Token of the Hugging Face hub, for models that need one and for `iclora push`.",
    "HF_HOME": "Folder of what is downloaded from the hub; `~/.cache/huggingface` if not set.",
    "HF_HUB_OFFLINE": "1 asks the hub for nothing: what is not on this machine is named as missing at once.",
    "HF_ENDPOINT": "Address of another hub than https://huggingface.co.",
    "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY": "Proxies, and hosts that are reached without one; also in small "
    "letters.",
    "SSL_CERT_FILE, SSL_CERT_DIR": "Certificates that are trusted when a server is asked.",
    "SLURM_JOB_ID, SLURM_ARRAY_JOB_ID, SLURM_ARRAY_TASK_ID": "Set by Slurm: the job's number in `log.jsonl`.",
    "DISPLAY, WAYLAND_DISPLAY": "On Linux, one of them has to be set if pages are to open in a browser by themselves.",
    "CUDA_VISIBLE_DEVICES": "GPUs that PyTorch uses, such as `0`; all if not set.",
}
"""What variables of the environment mean, those of the packages that people are most likely to need among them."""


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """By field, the docstring below it, on one line; a base's field has that of the base."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base.__module__.startswith("pydantic"):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def one_line(text: str) -> str:
    """Text for a cell of a table: on one line, as it stands instead of as markup, but for code in backticks."""
    parts = " ".join(text.split()).split("`")  # every other one is code, in which only a bar would end the cell
    escaped = [re.sub(r"\|" if at % 2 else r"[<|*\[\]]", r"\\\g<0>", part) for at, part in enumerate(parts)]
    return "`".join(escaped)


def kind_of(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """What a value may be, from its JSON schema, such as "whole number, at least 1" or "list of text"."""
    if "$ref" in schema:
        return kind_of(shared[schema["$ref"].rpartition("/")[2]], shared)
    if "anyOf" in schema:
        kinds = [kind_of(each, shared) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        inner = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
        return f"list of {kind_of(inner, shared)}" if inner else "list"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    name = names.get(str(schema.get("type")), "table")
    return name + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "multipleOf": "a multiple of",
    }
    found = [f"{word} {schema[key]:,}" for key, word in limits.items() if abs(schema.get(key, FREE)) < FREE]
    return f", {', '.join(found)}" if found else ""


def shown(field: FieldInfo) -> str:
    """A default, as a user would type it."""
    if field.is_required():
        return "required"
    if field.default_factory is not None and field.default_factory is not dict:
        return "from the environment"
    value = {} if field.default_factory else field.default
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return "empty" if value in ("", {}) else f"`{value}`"


def table(model: type[BaseModel], prefix: str, skip: frozenset[str] = frozenset()) -> list[str]:
    """The keys of a section as a Markdown table."""
    told, schema = docstrings(model), model.model_json_schema(by_alias=False)
    shared = schema.get("$defs", {})
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        key = ".".join(filter(None, (prefix, field.alias or name)))
        kind = kind_of(schema["properties"][name], shared)
        lines.append(f"| `{key}` | {kind} | {shown(field)} | {one_line(told.get(name, ''))} |")
    return lines if len(lines) > 2 else ["It has no options."]  # noqa: PLR2004  (the table's head)


def options(kind: plugins.Kind) -> Iterator[tuple[str, type[BaseModel]]]:
    """The toolkit's own plug-ins of a kind, by name, and their options."""
    package = importlib.import_module(kind.package)
    for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        if name != "base" and not name.startswith("_"):
            yield name, importlib.import_module(f"{kind.package}.{name}").Options


def sections() -> Iterator[tuple[str, list[str]]]:
    """Headings of docs/settings.md, each with its table."""
    inner = {
        name: field.annotation
        for name, field in task.Task.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    opened = {"train", *KINDS.values()}
    yield "Top of the file", table(task.Task, "", frozenset(inner) | opened | UNSEEN)
    for name, model in inner.items():
        yield f"[{name}]", table(model, name)
    yield "[train]", table(config.Config, "train")
    yield "One of train.conditions", table(Condition, "")
    for kind in (*KINDS, *OF_COMMANDS):
        section = KINDS.get(kind, "")
        for name, model in options(kind):
            where = f"[{section}] with" if section else "Options of"
            yield f"{where} the {kind.word} {name}", table(model, section)


def settings_page() -> str:
    """docs/settings.md."""
    lead = (
        "Every key of a task file. In the file, a key `group.near` is `near` in the section `[group]`; on the command "
        "line it is `--set group.near=6`. `iclora show TASK settings` lists the values that a run works by. "
        "[Tasks](tasks.md) explains how a file of your own is written."
    )
    parts = [f"# Settings\n\n{lead}\n\n{WRITTEN}\n"]
    for heading, lines in sections():
        title = re.sub(r"\[(\w+)\]", r"`[\1]`", heading)
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    rows = [f"| `{'`, `'.join(names.split(', '))}` | {told} |" for names, told in ENVIRONMENT.items()]
    parts.append("## Environment variables\n\n" + "\n".join(["| variable | meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def commands_page() -> str:
    """docs/commands.md."""
    lead = "Every command and option of `iclora`. `make help` lists the make targets, which call these."
    parts = [f"# Commands\n\n{lead}\n\n{WRITTEN}\n"]
    group: Any = typer.main.get_command(app)
    for name, command in sorted(group.commands.items()):
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join(["iclora", name, *map(_argument, arguments), "[OPTIONS]"])
        told = "\n\n".join(one_line(part) for part in (command.help or "").split("\n\n"))
        rows = [_option(one) for one in command.params if one.param_type_name == "option"]
        listed = "\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) if rows else "It has no options."
        parts.append(f"## iclora {name}\n\n{told}\n\n```text\n{usage}\n```\n\n{listed}\n")
    return "\n".join(parts)


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper() + ("..." if argument.nargs < 0 else "")
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = option.default
    kept = isinstance(default, str | int | float | Path) and default is not False and default != ""
    return f"| {names} | {f'`{default}`' if kept else ''} | {one_line(option.help or '')} |"


PAGES = {"settings.md": settings_page, "commands.md": commands_page}
"""By file in docs/, what writes its text."""


def main() -> None:
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
        sys.stdout.write(f"docs/{name} is written\n")


if __name__ == "__main__":
    main()
