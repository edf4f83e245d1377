"""The shape of the code: which way imports point, what starting up costs, and that plug-ins are found."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from bench.house import HOUSE, ROOT, length, read
from pipeline import plugins

PIPELINE = (
    {"stages"},
    {"exporters"},
    {"review", "dataset"},
    {"sources", "grouping", "captioning"},
    {"consistency", "films", "duplicates"},
    {"engines", "text"},
    {"task", "store"},
    {"families"},
    {"cache", "charts", "pixels", "rows", "weights"},
    {"plugins"},
    {"records", "files", "network"},
    {"errors", "garbage", "progress", "wording"},
)
"""Packages and modules of `pipeline` by floor, top down: a file imports its own package and the floors below."""
GROUND = {
    *("cache", "charts", "errors", "files", "garbage", "network", "progress", "records", "rows", "store", "task"),
    *("weights", "wording"),
}
LONGEST_FUNCTION = 60
PLUG_INS = tuple(kind.package.replace(".", "/") for kind in plugins.KINDS if kind.suffix == ".py")
FILES = sorted(path for folder in HOUSE for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of our own modules that a file imports, anywhere in the file."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in modules if name.split(".")[0] in {*HOUSE, "tests", "bench"}}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    home = path.relative_to(ROOT).parts[0]
    below = HOUSE[HOUSE.index(home) :]
    for name in imports(path):
        assert name.split(".")[0] in below, f"{path} imports {name}, which lies above it"


def floor_of(name: str) -> int:
    """The floor of `pipeline.text.grammar` is that of `text`."""
    room = name.split(".")[1]
    return next(number for number, rooms in enumerate(PIPELINE) if room in rooms)


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path).startswith("pipeline.")], ids=name_of)
def test_imports_point_downwards_within_the_pipeline_too(path: Path) -> None:
    mine = name_of(path)
    for name in imports(path):
        same = name.split(".")[1] == mine.split(".")[1]
        assert same or floor_of(mine) < floor_of(name), f"{path} imports {name}, which does not lie below it"


def test_only_the_ground_is_at_the_top_of_the_pipeline() -> None:
    assert {path.stem for path in (ROOT / "pipeline").glob("*.py")} - {"__init__"} == GROUND


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [
        (length(one), f"{file.path.name}: {one.name}") for file in read(ROOT, *HOUSE) for one in file.functions
    ]
    assert max(functions)[0] <= LONGEST_FUNCTION, max(functions)


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline/stages").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_no_stage_imports_another(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("pipeline.stages.")]


@pytest.mark.parametrize("folder", PLUG_INS)
def test_no_plug_in_imports_another_of_its_kind(folder: str) -> None:
    home = folder.replace("/", ".")
    for path in (ROOT / folder).glob("[a-z]*.py"):
        for name in imports(path):
            shared = (f"{home}.base", f"{home}._")  # neither is a plug-in
            assert not name.startswith(home) or name.startswith(shared), f"{path} imports {name}"


def test_records_and_errors_need_only_the_standard_library() -> None:
    for name in ("records", "errors"):
        tree = ast.parse((ROOT / "pipeline" / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_asking_for_help_loads_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "from iclora import cli\n"
        "for words in (['--help'], ['tasks'], ['dataset', '--help'], ['train', '--help']):\n"
        "    sys.argv = ['iclora', *words]\n"
        "    try:\n        cli.main()\n    except SystemExit:\n        pass\n"
        "    heavy = {'torch', 'transformers', 'open_clip', 'pandas', 'cv2', 'av', 'numpy', 'PIL'} & set(sys.modules)\n"
        "    print('heavy:', words, sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = [line for line in ran.stdout.splitlines() if line.startswith("heavy:")]
    assert len(heavy) == 4 and all(line.endswith("[]") for line in heavy), heavy


def test_every_package_is_listed_for_installation() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    present = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for top in HOUSE
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed) == present - {"miniature.making"}  # only making the miniature's models needs it


def test_every_make_target_has_a_line_of_help() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    helped = {line.split(":")[0] for line in lines if ":" in line and "## " in line}
    assert set(phony) <= helped
