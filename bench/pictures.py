"""Makes the pictures of README and docs anew.

    python -m bench.pictures [NAME ...] [--run runs/storyboard] [--into docs] [--long]

Without names, all that a first run and its training show, which are made where they are missing: about eight minutes
on 2 cores. Pages are seen by a real Chromium. With --long also the pictures of `bench.chain`, `bench.claim` and
`bench.references`, which are run first if their folders in runs/ are missing: that takes hours. What is there already
is not made again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from bench.evaluated import run_command
from bench.stories import TASK

QUALITY = 85
WIDEST = 1600
"""Pixels; larger ones are reduced."""
WINDOW = {"width": 1360, "height": 860}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Picture:
    make: Callable[[Path, Path], None]
    """From the folder of a run, or of a benchmark, into a file."""
    benchmark: str = ""
    """The folder in runs/ with what it shows, below that of the module which makes it in hours; empty for what the
    first run shows."""
    words: tuple[str, ...] = ()
    """What that module is told."""


# ---- pages


@contextmanager
def visiting(address: str) -> Iterator[Page]:
    """A page in Chromium.

    Raises:
        SystemExit: there is no Chromium.
    """
    if CHROMIUM is None:
        sys.exit("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        page.goto(address)
        page.wait_for_load_state("networkidle")
        yield page
        browser.close()


@contextmanager
def serving(*words: object) -> Iterator[str]:
    """The address at which a command serves its page, until Ctrl-C."""
    command = [sys.executable, "-m", "iclora", *map(str, words)]
    headless = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}  # opens no other browser
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=headless) as process:
        assert process.stdout
        yield next(line for line in process.stdout if "http://127.0.0.1" in line).split()[-1]
        process.send_signal(signal.SIGINT)
        process.communicate()


def shoot(page: Page, file: Path) -> None:
    page.wait_for_timeout(500)  # pictures of lists are loaded when they come into view
    page.screenshot(path=file, type="jpeg", quality=QUALITY)


def contact_sheet(run: Path, file: Path) -> None:
    with visiting((run / "review.html").resolve().as_uri()) as page:
        shoot(page, file)


def review_wall(run: Path, file: Path) -> None:
    with serving("review", TASK, "--out", run, "--serve") as address, visiting(address) as page:
        page.locator("[role=gridcell] img[src]").first.wait_for()
        page.keyboard.press("Shift+ArrowRight")  # two are selected
        shoot(page, file)


def review_page(run: Path, file: Path) -> None:
    with serving("review", TASK, "--out", run, "--serve") as address, visiting(address) as page:
        page.locator("[role=gridcell]:focus").press("Enter")
        page.locator("#picture:not(.waiting) #grid[src]").wait_for()
        page.locator(".segment").last.hover()
        shoot(page, file)


def training_page(run: Path, file: Path) -> None:
    with serving("watch", run) as address, visiting(address) as page:
        page.locator("#samples img").first.wait_for()
        page.set_viewport_size({"width": WINDOW["width"], "height": 1320})
        shoot(page, file)


# ---- pictures that a command has drawn


def copied(name: str) -> Callable[[Path, Path], None]:
    """What lies in the folder under a name, as JPEG or as it is."""

    def copy(folder: Path, file: Path) -> None:
        with Image.open(folder / name) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((WIDEST, 10 * WIDEST))
        picture.save(file, quality=QUALITY)

    return copy


PICTURES: Mapping[str, Picture] = {
    "contact-sheet.jpg": Picture(contact_sheet),
    "review-wall.jpg": Picture(review_wall),
    "review-page.jpg": Picture(review_page),
    "training-page.jpg": Picture(training_page),
    "base-and-lora.jpg": Picture(copied("training/base-and-lora.png")),
    "chain.jpg": Picture(copied("pages.png"), "chain"),
    "claim.png": Picture(copied("claim.png"), "claim"),
    "claim-pages.jpg": Picture(copied("pages.png"), "claim"),
    "claim-references.jpg": Picture(copied("base.png"), "references/taught", ("--taught",)),
}


def make(name: str, run: Path, into: Path) -> Path:
    """Makes one picture, and before that what it shows where it is missing."""
    picture = PICTURES[name]
    folder = Path("runs") / picture.benchmark if picture.benchmark else run
    if picture.benchmark and not folder.exists():
        module = Path(picture.benchmark).parts[0]
        subprocess.run([sys.executable, "-m", f"bench.{module}", *picture.words], check=True)
    if not picture.benchmark and not (run / "review.html").exists():
        run_command("dataset", TASK, "--out", run)
    if not picture.benchmark and not (run / "training" / "base-and-lora.png").exists():
        run_command("train", TASK, "--out", run)
    into.mkdir(parents=True, exist_ok=True)
    picture.make(folder, into / name)
    return into / name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    short = [name for name, picture in PICTURES.items() if not picture.benchmark]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: {', '.join(short)})")
    parser.add_argument(
        "--run", type=Path, default=Path("runs") / TASK, help="the first run's folder (default: %(default)s)"
    )
    parser.add_argument("--into", type=Path, default=Path("docs"), help="where they go (default: %(default)s)")
    parser.add_argument(
        "--long",
        action="store_true",
        help="also those of benchmarks, which take hours if they have not been run yet",
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(PICTURES):
        parser.error(f"no picture is called {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    names = options.names or (list(PICTURES) if options.long else short)
    if not options.long and (hours := [name for name in names if PICTURES[name].benchmark]):
        parser.error(f"{', '.join(hours)} may take hours; add --long")
    for name in names:
        print(make(name, options.run, options.into), flush=True)


if __name__ == "__main__":
    main()
