"""The shape of the code: which way imports point, what starting costs, and that plug-ins are found."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNEL = {
    "records",
    "errors",
    "discover",
    "task",
    "grammar",
    "cache",
    "store",
    "engine",
    "pixels",
    "names",
    "weights",
    "instructions",
    "replies",
    "answers",
    "reviews",
    "risk",
    "spreadsheet",
    "split",
    "samples",
    "card",
    "hub",
    "similarity",
    "thresholds",
    "plot",
    "bases",
    "markers",
    "lint",
    "budget",
    "consistency",
    "text",
}
PLUGGED = {
    "records",
    "errors",
    "task",
    "grammar",
    "discover",
    "pixels",
    "weights",
    "replies",
    "samples",
    "split",
    "bases",
}


def imports(path: Path) -> set[str]:
    """Dotted names of our own modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = ("pipeline", "captioners", "training", "miniature")
    return {name for name in found if name.split(".")[0] in ours}


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py")


def part(name: str) -> str:
    """`pipeline.stages.group.stage` is in the part `stages`, `pipeline.store.Store` in `store`."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("path", modules("pipeline/stages"), ids=lambda path: path.stem)
def test_a_stage_imports_the_kernel_and_no_other_stage(path: Path) -> None:
    for name in imports(path):
        protocols = name.startswith(("captioners.base", "pipeline.scorers.base", "pipeline.sources.base"))
        package = name in ("pipeline.sources", "pipeline.scorers", "pipeline.exporters")
        assert protocols or package or part(name) in KERNEL, f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", ["captioners", "pipeline/sources", "pipeline/scorers", "pipeline/exporters"])
def test_a_plug_in_imports_the_base_of_its_kind_and_the_types(folder: str) -> None:
    home = folder.replace("/", ".")
    for path in modules(folder):
        for name in imports(path):
            assert name.startswith(home) or part(name) in PLUGGED, f"{path} imports {name}"


@pytest.mark.parametrize("folder", ["pipeline/consistency", "pipeline/text"])
def test_what_stages_share_imports_no_stage_and_nothing_above_them(folder: str) -> None:
    """Nor a plug-in: what a scorer found comes in as vectors."""
    home = folder.replace("/", ".")
    below = KERNEL - {"consistency", "text", "plot", "reviews", "instructions", "replies", "answers", "spreadsheet"}
    below |= {"text"} if folder == "pipeline/consistency" else set()
    for path in modules(folder):
        for name in imports(path):
            assert name.startswith(home) or part(name) in below, f"{path} imports {name}"


TRAINING = PLUGGED - {"replies", "samples", "split"} | {"budget", "cache"}
"""What the training stretch knows of the pipeline: types, errors, tasks, texts and how long they are for a base model,
pictures, and where things are kept."""


def test_training_imports_itself_and_little_of_the_pipeline() -> None:
    for path in modules("training"):
        for name in imports(path):
            assert name.startswith("training") or part(name) in TRAINING, f"{path} imports {name}"


def test_a_back_end_imports_the_base_of_all_and_no_other() -> None:
    for path in modules("training/backends"):
        for name in imports(path):
            assert name.startswith("training.backends.base") or part(name) in TRAINING, f"{path} imports {name}"


def test_records_and_errors_need_the_standard_library_only() -> None:
    for name in ("records", "errors"):
        tree = ast.parse((ROOT / "pipeline" / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_nothing_imports_the_command_line() -> None:
    for folder in (
        "pipeline",
        "pipeline/stages",
        "pipeline/consistency",
        "pipeline/text",
        "pipeline/page",
        "captioners",
        "training",
        "training/backends",
        "miniature",
        "pipeline/sources",
        "pipeline/scorers",
    ):
        for path in modules(folder):
            assert not [name for name in imports(path) if name.startswith("pipeline.cli")], path


@pytest.mark.parametrize("words", [["--help"], ["tasks"], ["dataset", "--help"], ["train", "--help"]])
def test_asking_for_help_loads_no_heavy_package(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['iclora', *{words!r}]\n"
        "from pipeline import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'open_clip', 'pandas', 'cv2', 'av', 'numpy', 'PIL'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.endswith("heavy: []\n")


def test_every_package_is_listed_for_installation() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    tops = ("pipeline", "captioners", "training", "miniature")
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for top in tops
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed) == found


def test_every_make_target_has_a_line_of_help() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    helped = {line.split(":")[0] for line in lines if ":" in line and "## " in line}
    assert set(phony) <= helped
