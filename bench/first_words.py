"""Seconds until a run without a source says its first words, beside a Python that only imports what declares commands.

    python -m bench.first_words [--times 7]

Starts `iclora dataset storyboard` in an empty folder, waits for the first line, and stops it; in turns with the floor,
which imports typer and pydantic. Prints the medians by the clock and their ratio. Fails if the first words take more
than MOST seconds, the goal.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST = 2.0
FLOOR = [sys.executable, "-c", "import pydantic, typer; print('here', flush=True)"]
COMMAND = [str(Path(sys.executable).parent / "iclora"), "dataset", "storyboard"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="of each (default: %(default)s)")
    times = parser.parse_args().times
    pairs = [(first_line(FLOOR), first_line(COMMAND)) for _ in range(times)]
    floor, ours = (statistics.median(took) for took in zip(*pairs, strict=True))
    print(f"first words after {ours:.2f} s, {ours / floor:.1f} times {floor:.2f} s for typer and pydantic alone")
    if ours > MOST:
        sys.exit(f"the first words took {ours:.2f} s, at most {MOST:g} are allowed")


def first_line(command: list[str]) -> float:
    """Seconds from the start of a command to its first line."""
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        assert process.stdout
        said = process.stdout.readline()
        took = time.perf_counter() - started
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # with the processes that draw
        process.communicate()
        if not said:
            sys.exit(f"{' '.join(command)} said nothing")
        return took


if __name__ == "__main__":
    main()
