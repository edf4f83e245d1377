"""What the product imports is declared, what is declared is imported, and each install has what it needs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.plugins import extras

ROOT = Path(__file__).parent.parent
PRODUCT = ("iclora", "pipeline", "captioners", "training", "miniature")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OFFERED = sorted(set(EXTRAS) - {"all", "dev"})
NEED_A_GPU = {"bitsandbytes"}

OWNERS: Mapping[str, tuple[str, ...]] = {
    "captioners/local.py": ("local",),
    "captioners/server/": ("server",),
    "iclora/lora.py": ("train",),
    "iclora/generation.py": ("train",),
    "iclora/evaluation/": ("train",),
    "iclora/page/": ("page",),
    "iclora/testing/backends.py": ("train",),
    "iclora/testing/models.py": ("local", "open-clip"),
    "miniature/": tuple(OFFERED),
    "pipeline/charts.py": ("plots", "train"),
    "pipeline/pixels/faces.py": ("faces",),
    "pipeline/pixels/raw.py": ("pictures",),
    "pipeline/consistency/scorers/open_clip.py": ("open-clip",),
    "pipeline/dataset/parquet.py": ("hub",),
    "pipeline/engines/ray.py": ("ray",),
    "pipeline/films/lettering.py": ("rapidocr",),
    "pipeline/sources/containers/hub.py": ("hub",),
    "pipeline/sources/downloads.py": ("urls",),
    "pipeline/sources/hub_rows.py": ("hub",),
    "pipeline/sources/readers/pdf.py": ("pdf",),
    "pipeline/sources/containers/tar.py": ("tables",),
    "pipeline/sources/tables/": ("tables",),
    "pipeline/films/transnet.py": ("transnetv2",),
    "pipeline/sources/web.py": ("urls",),
    "training/evaluation/detectors/transformers.py": ("transformers",),
    "training/evaluation/image_encoders/dino.py": ("dino",),
    "training/machine.py": ("train", "bitsandbytes"),
    "training/": ("train",),
}
"""By file, or by the beginning of its path, the extras whose packages it may import."""
SHARED: Mapping[tuple[str, str], str] = {
    ("iclora/machine.py", "torch"): "asks first whether it is installed",
    ("pipeline/cache.py", "torch"): "keeps the tensors of scorers and trainings",
    ("pipeline/text/counters.py", "transformers"): "without it, tokens are estimated",
    ("pipeline/weights.py", "torch"): "serves captioners, scorers and trainings",
    ("pipeline/weights.py", "transformers"): "serves captioners and trainings",
}
"""What files of the base install import of an extra, and why that does no harm where it is missing."""
BROUGHT_ALONG = {"fsspec": "datasets", "httpcore2": "httpx2", "tokenizers": "transformers"}
"""Packages that are imported and come with another one, which is declared."""
NOT_IMPORTED = {
    "pillow-heif": "imported by name in pipeline/pixels/formats.py",
    "pillow-jxl-plugin": "imported by name in pipeline/pixels/formats.py",
    "num2words": "transformers needs it for SmolVLM",
    "onnxruntime": "rapidocr runs its detector with it",
    "tensorboard": "torch.utils.tensorboard needs it",
    "torchvision": "transformers' image processors need it",
}
"""Declared, and imported by another package or not yet."""


def name_of(line: str) -> str:
    return canonicalize_name(Requirement(line).name)


BASE = {name_of(line) for line in PROJECT["dependencies"]}
DECLARED = {extra: {name_of(line) for line in EXTRAS[extra]} for extra in OFFERED}


@cache
def distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def foreign_imports(path: Path) -> Iterator[str]:
    """Names of the distributions that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        else:
            continue
        for module in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {*PRODUCT}:
            name = canonicalize_name(distributions().get(module, [module])[0])
            yield BROUGHT_ALONG.get(name, name)


@cache
def product_imports() -> Mapping[str, set[str]]:
    """By file of the product, the distributions that it imports."""
    paths = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): set(foreign_imports(path)) for path in paths}


def test_every_import_is_declared_where_it_is_used() -> None:
    undeclared = []
    for file, names in product_imports().items():
        owners = next((those for start, those in OWNERS.items() if file.startswith(start)), ())
        allowed = BASE.union(*(DECLARED[extra] for extra in owners))
        undeclared += [f"{file} imports {name}" for name in names - allowed if (file, name) not in SHARED]
    assert undeclared == []


def test_every_declared_package_is_imported() -> None:
    imported = set().union(*product_imports().values())
    assert BASE.union(*DECLARED.values()) - imported == set(NOT_IMPORTED)


def test_no_exception_outlives_its_reason() -> None:
    found = product_imports()
    assert [pair for pair in SHARED if pair[1] not in found[pair[0]]] == []
    assert [start for start in OWNERS if not any(file.startswith(start) for file in found)] == []


def test_all_installs_every_extra_that_does_not_need_a_gpu() -> None:
    (everything,) = (Requirement(line) for line in EXTRAS["all"])
    assert (everything.name, everything.extras) == ("iclora", {*OFFERED} - NEED_A_GPU)


def test_a_package_has_one_floor_in_all_extras() -> None:
    floors = defaultdict(set)
    for line in (*PROJECT["dependencies"], *(line for extra in OFFERED for line in EXTRAS[extra])):
        floors[name_of(line)].add(str(Requirement(line).specifier))
    assert {name: found for name, found in floors.items() if len(found) > 1} == {}
    assert all(re.fullmatch(r">=[\d.]+", floor) for (floor,) in floors.values())


# ---- installs that lack something


def closure(names: Iterable[str]) -> set[str]:
    """The distributions and all that they need."""
    found: set[str] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": extra}):
                continue
            name_ = canonicalize_name(needed.name)
            waiting += [(name_, "")] if name_ not in found else []
            waiting += [(name_, more) for more in needed.extras if name_ not in found]
    return found


@cache
def places(name: str) -> set[Path]:
    """What a distribution has laid into the environment's folder of packages."""
    found = metadata.distribution(name)
    tops = {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}
    return {Path(str(found.locate_file(top))) for top in tops}


def install(folder: Path, *wanted: str) -> Path:
    """A folder of packages as `pip install iclora[...]` would fill it: links to those of this environment."""
    folder.mkdir()
    names = BASE.union(*(DECLARED[extra] for extra in wanted))
    for place in {place for name in closure(names) for place in places(name)}:
        (folder / place.name).symlink_to(place)
    about = folder / "iclora-0.1.0.dist-info"
    about.mkdir()
    lines = [f"Requires-Dist: {line}" for line in PROJECT["dependencies"]]
    lines += [f'Requires-Dist: {line}; extra == "{extra}"' for extra in EXTRAS for line in EXTRAS[extra]]
    text = "\n".join(["Metadata-Version: 2.4", "Name: iclora", "Version: 0.1.0", *lines])
    (about / "METADATA").write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("base") / "packages")


def surroundings(packages: Path) -> dict[str, str]:
    """The environment of a Python that sees only these packages and the product."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "HF_HUB_OFFLINE": "1"}


def python(packages: Path, *words: str, home: Path | None = None) -> tuple[int, str]:
    """Exit code and output of Python that sees only these packages and the product."""
    done = subprocess.run(
        [sys.executable, "-S", *words],
        env=surroundings(packages),
        cwd=home or packages.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize("words", [("-c", "import iclora"), ("-m", "iclora", "--help"), ("-m", "iclora", "tasks")])
def test_the_base_install_needs_no_extra(base: Path, words: tuple[str, ...]) -> None:
    code, printed = python(base, *words)
    assert code == 0, printed


def test_the_base_install_makes_a_data_set_of_what_has_captions(base: Path, grids: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(grids / "train", source)
    for file in (*source.glob("*.txt"), *source.glob("*.jsonl")):  # texts of two words would not pass
        told = re.sub(r"\b(close|medium|wide)\b", r"in a \1 shot", file.read_text(encoding="utf-8"))
        file.write_text(told, encoding="utf-8")
    small = ("--set", "layout.panel_width=256", "--set", "layout.panel_height=128")
    words = ("dataset", "storyboard", "--source", str(source), "--captioner", "sidecar", "--scorer", "none", *small)
    code, printed = python(base, "-m", "iclora", *words, home=tmp_path)
    assert code == 0, printed
    assert list((tmp_path / "runs").rglob("dataset/train/*.png")), printed
    again, printed = python(base, "-m", "iclora", *words, home=tmp_path)
    assert again == 0, printed


def test_the_base_install_reports_what_the_machine_has(base: Path) -> None:
    code, printed = python(base, "-m", "iclora", "doctor")
    assert code == 0, printed
    assert "not installed" in printed


MISSING = {
    "iclora.open_training('x', task='storyboard', into='y')": "training .*accelerate, .* not .*'iclora\\[train\\]'",
    "iclora.open_generation('x.safetensors', [])": "drawing .*diffusers, .* are not installed: .*'iclora\\[train\\]'",
    "iclora.run.Run.serve(None, print)": "the review page needs fastapi and uvicorn, which are .*'iclora\\[page\\]'",
    "plugins.make(plugins.CAPTIONERS, 'server', {})": "the captioner 'server' needs .*openai, .*'iclora\\[server\\]'",
    "plugins.make(plugins.CAPTIONERS, 'local', {})": "the captioner 'local' needs .*torch, .*'iclora\\[local\\]'",
    "plugins.make(plugins.SCORERS, 'open_clip', {})": "the scorer 'open_clip' .*open.clip.*'iclora\\[open-clip\\]'",
}
"""What the base install refuses, and the error."""
REFUSED = """
import sys
import iclora, iclora.run
from pipeline import plugins
from pipeline.errors import BadInput
for statement in sys.argv[1:]:
    try:
        exec(statement)
    except BadInput as error:
        print(str(error).replace("\\n", " "))
    else:
        print("done")
"""
"""Tries statements, and prints a line on each: the error that refuses it."""


def test_what_is_missing_is_named_with_its_extra(base: Path) -> None:
    environment = surroundings(base)
    command = [sys.executable, "-S", "-c", REFUSED, *MISSING]
    lines = subprocess.check_output(command, env=environment, cwd=base.parent, text=True).splitlines()
    for line, said in zip(lines, MISSING.values(), strict=True):
        assert re.search(said, line), line


@pytest.mark.parametrize(
    ("extra", "module"),
    [("page", "iclora.page.app"), ("server", "captioners.server"), ("plots", "matplotlib.figure")],
)
def test_an_extra_brings_all_that_its_part_imports(tmp_path: Path, extra: str, module: str) -> None:
    code, printed = python(install(tmp_path / "packages", extra), "-c", f"import {module}")
    assert code == 0, printed


def test_a_plug_in_of_ones_own_has_no_extra() -> None:
    extras.require("the captioner 'haiku'", "haiku")
    assert extras.missing("haiku") == []


def test_one_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2", 'nowhere-to-be-had>=1.0; extra == "page"', "pytest; extra == 'page'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: lines)
    with pytest.raises(BadInput) as refused:
        extras.require("the review page", "page")
    assert str(refused.value) == (
        "the review page needs nowhere-to-be-had, which is not installed: pip install 'iclora[page]'."
    )


def test_every_extra_of_a_plug_in_has_the_name_of_one() -> None:
    known = {name.replace("_", "-") for kind in (*plugins.KINDS, plugins.ENGINES) for name in plugins.names(kind)}
    assert set(OFFERED) - known == {
        "bitsandbytes", "faces", "page", "pictures", "plots", "rapidocr", "tables", "train", "transnetv2",
    }  # fmt: skip


# ---- waiting threads, and tests that hang

AT_TORCH = """
import os, sys
def at_import(event, arguments):
    if event == "import" and arguments[0] == "torch":
        print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
        os._exit(0)
sys.addaudithook(at_import)
"""
"""Prints how threads of torch would wait as soon as it is imported, and ends there."""


@pytest.mark.parametrize(
    "entry",
    [
        "import conftest, torch",
        "import bench.claim",
        "import bench.gpu_models",
        "import runpy; sys.argv = ['making', 'measure']; runpy.run_module('miniature.making', run_name='__main__')",
        "import iclora.cli; sys.argv = ['iclora', 'doctor']; iclora.cli.main()",
    ],
)
def test_waiting_threads_leave_the_cores_to_others(entry: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    command = [sys.executable, "-c", AT_TORCH + entry]
    assert subprocess.check_output(command, env=environment, text=True) == "PASSIVE\n"


def test_a_test_that_hangs_fails_alone(tmp_path: Path) -> None:
    file = tmp_path / "test_two.py"
    file.write_text(
        "import time\n\ndef test_hangs():\n    time.sleep(600)\n\ndef test_passes():\n    pass\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "-o", "timeout=1", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "Timeout" in done.stdout
