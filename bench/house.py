"""Code statistics from syntax trees: the table in docs/architecture.md.

    python -m bench.house

Lines are physical lines. An import points upwards if it names a top-level folder that comes before the file's own in
HOUSE.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
HOUSE = ("iclora", "miniature", "training", "captioners", "pipeline")
"""The product's folders, from the roof down."""
OURS = (*HOUSE, "bench", "tests")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class File:
    """One file of the product."""

    path: Path
    lines: int
    tree: ast.Module

    @property
    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    @property
    def imports(self) -> set[str]:
        """The project's top-level folders that it imports anywhere."""
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
        return found & set(OURS)


def read(root: Path, *folders: str) -> list[File]:
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return [File(path, text.count("\n"), ast.parse(text)) for path, text in zip(paths, texts, strict=True)]


def length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def hints(function: Function) -> list[bool]:
    """By argument, whether it has a type hint; `self` and `cls` don't count."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    others = [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
    return [bool(one.annotation) for one in (*named, *others) if one.arg not in ("self", "cls")]


def upward(files: list[File], root: Path) -> list[str]:
    """Upward imports, as "FILE imports FOLDER"."""
    found = []
    for file in files:
        home = file.path.relative_to(root).parts[0]
        above = {*HOUSE[: HOUSE.index(home)], "bench", "tests"}
        found += [f"{file.path.relative_to(root)} imports {name}" for name in sorted(file.imports & above)]
    return found


def counts(root: Path) -> dict[str, str]:
    """The values of the page's table by row."""
    files, tests = read(root, *HOUSE), read(root, "tests")
    functions = [(length(one), f"{file.path.stem}.{one.name}") for file in files for one in file.functions]
    typed = [hint for file in files for one in file.functions for hint in hints(one)]
    longest_file = max(files, key=lambda file: file.lines)
    longest, name = max(functions)
    lines, tested = sum(file.lines for file in files), sum(file.lines for file in tests)
    top = [path for path in (root / "pipeline").glob("*.py") if path.name != "__init__.py"]
    folders = {file.path.parent for file in files}
    return {
        "upward arrows between the top-level folders": str(len(upward(files, root))),
        "modules at the top of pipeline/": str(len(top)),
        "files / folders": f"{len(files)} / {len(folders)}",
        "lines; file median / max": (
            f"{lines / 1000:.1f}k; {median(file.lines for file in files):.0f} / {longest_file.lines} "
            f"({longest_file.path.relative_to(root)})"
        ),
        "function median / max": f"{median(found[0] for found in functions):.0f} / {longest} ({name})",
        "arguments with type hints": f"{sum(typed) / len(typed):.1%}",
        "test lines / code lines": f"{tested / lines:.2f}",
    }


def main() -> None:
    for name, value in counts(ROOT).items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
