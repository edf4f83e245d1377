"""The documentation as a whole: links, pages that come from the code, commands, messages, and the site."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from bench import reference
from captioners.server import connection
from iclora.settings import Settings, in_force
from miniature.film import picture
from miniature.world import draw_scene
from pipeline.dataset import hub

ROOT = Path(__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
TEXTS = {"README.md": (ROOT / "README.md").read_text(encoding="utf-8")} | {f"docs/{p}": t for p, t in PAGES.items()}
TYPED = {
    "captioners.md": "iclora/test_captioners_page.py",
    "captioning.md": "test_guide.py",
    "dataset.md": "test_guide.py",
    "evaluating.md": "iclora/test_evaluate.py",
    "first-run.md": "test_guide.py",
    "generating.md": "iclora/test_generation.py",
    "handover.md": "training/test_handover.py",
    "many-machines.md": "iclora/test_many_machines.py",
    "own-films.md": "test_guide.py",
    "references.md": "iclora/test_references_page.py",
    "review.md": "test_guide.py",
    "runs.md": "test_guide.py",
    "tasks.md": "test_docs.py",
    "training-memory.md": "iclora/test_training_memory_page.py",
    "training.md": "test_guide.py",
}
"""By page with commands, the test that types them."""


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that code hosts give the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links() -> list[tuple[str, str]]:
    """Page and target of every link and picture that leads to a file or a heading."""
    found = []
    for page, text in TEXTS.items():
        found += [(page, target) for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text))]
    return [(page, target) for page, target in found if not re.match(r"https?:", target)]


def test_every_link_leads_to_a_file_and_to_a_heading_of_it() -> None:
    broken = []
    for page, target in links():
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        if not file.is_file() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(f"{page}: {target}")
    assert broken == []
    assert len(links()) > 100  # a pattern that finds none would find none broken


def test_every_column_of_a_table_has_a_head() -> None:
    heads = [head for text in PAGES.values() for head in re.findall(r"^\|(.*)\|\n\|[-: |]+\|$", text, re.MULTILINE)]
    assert len(heads) > 60
    assert [head for head in heads if not all(map(str.strip, head.split("|")))] == []


def test_make_bench_runs_every_benchmark_that_the_page_of_figures_quotes() -> None:
    quoted = set(re.findall(r"bench\.(\w+)", PAGES["benchmarks.md"]))
    assert len(quoted) > 10
    dry = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = re.search(r"for words in (.*?); do", dry, re.DOTALL)
    assert words and quoted <= {one.partition(" ")[0] for one in shlex.split(words[1])}


def test_every_page_is_in_the_index() -> None:
    listed = re.findall(r"^- \[[^\]]*\]\(([^)]*)\)", PAGES["index.md"], re.MULTILINE)
    assert sorted(listed) == sorted(set(PAGES) - {"index.md"})


def test_the_pictures_are_large_enough_to_be_read() -> None:
    pictures = {
        ((ROOT / page).parent / target).resolve() for page, target in links() if re.search(r"\.(jpg|png)$", target)
    }
    assert len(pictures) > 4
    for path in pictures:
        with Image.open(path) as opened:
            assert opened.width >= 800


@pytest.mark.parametrize("page", sorted(reference.PAGES))
def test_a_page_from_the_code_is_what_the_code_gives(page: str) -> None:
    assert PAGES[page] == reference.PAGES[page](), f"docs/{page} is out of date; run python -m bench.reference"


def test_every_setting_in_force_is_on_the_page_and_described() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]*) \|$", PAGES["settings.md"], re.MULTILINE))
    keys = {setting.key for setting in in_force(Settings(task="storyboard"))}
    assert keys - set(rows) == {"source", "against", "captioner", "scorer", "engine"}  # of the command line
    assert [key for key, told in rows.items() if not told.strip()] == []


def test_every_variable_of_the_environment_that_is_read_is_on_the_page() -> None:
    sources = [
        file.read_text(encoding="utf-8")
        for folder in ("iclora", "pipeline", "captioners", "training")
        for file in (ROOT / folder).rglob("*.py")
    ]
    read = {name for text in sources for name in re.findall(r'environ(?:\.get\(|\[)"(\w+)"', text)}
    read |= {hub.TOKEN, *connection.CERTIFICATES}
    assert len(read) > 8
    assert read - {name for names in reference.ENVIRONMENT for name in names.split(", ")} == {"RANK"}  # by accelerate


def test_every_command_is_on_the_page_with_a_description() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "iclora", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    told = dict(re.findall(r"^## iclora ([\w-]+)\n\n(.*)$", PAGES["commands.md"], re.MULTILINE))
    assert len(told) > 20 and all(told.values())
    assert all(name in ran.stdout for name in told)


def test_every_page_with_commands_is_typed_by_a_test() -> None:
    assert sorted(page for page, text in PAGES.items() if "```sh" in text) == sorted(TYPED)
    for page, test in TYPED.items():
        assert page.removesuffix(".md") in (ROOT / "tests" / test).read_text(encoding="utf-8")


def test_the_commands_of_the_page_on_tasks_work(tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGES["tasks.md"], re.DOTALL)
    (typed,) = re.findall(r"```sh\n(.*?)```", PAGES["tasks.md"], re.DOTALL)
    (tmp_path / "mira.toml").write_text(block, encoding="utf-8")
    rng = Random(5)
    for number in range(6):
        picture(draw_scene(rng), tmp_path / "films" / f"{number // 3}" / f"{number % 3 + 1}.png", (384, 192))
    outcomes = [iclora(*command.split()[1:]) for command in typed.splitlines()]
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert "All three show Mira" in outcomes[1][1]


def test_the_traits_of_the_page_on_captioning_are_those_of_its_task() -> None:
    (whole,) = re.findall(r"```toml\n(.*?)```", PAGES["tasks.md"], re.DOTALL)
    (part,) = re.findall(r"```toml\n(.*?)```", PAGES["captioning.md"], re.DOTALL)
    assert tomllib.loads(part)["caption"]["exclude"] == tomllib.loads(whole)["caption"]["exclude"]


@pytest.mark.skipif(not find_spec("sphinx"), reason="Sphinx is not installed")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(tmp_path / "doctrees")]
    ran = subprocess.run(
        [*words, "docs", str(tmp_path / "site")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {path.stem for path in (tmp_path / "site").glob("*.html")} >= {page.removesuffix(".md") for page in PAGES}
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert index.count('role="heading" aria-level="2"') == index.count('role="heading"') > 0
