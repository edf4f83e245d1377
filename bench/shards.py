"""CPU seconds of `iclora merge` after four parts, compared with what the merge saves: the run over everything at once.

    python -m bench.shards [--images 250 1000]

Draws 250 and 1,000 JPEGs (or as many as are asked for) of 0.3 megapixels in folders of 50. For each number one run over
everything comes to `inspect`, then four parts do and are merged, in the same process. Prints both sides, their ratio,
and the exponent of the merge between the first and the last number. Fails if a table of the merged run differs in a
row, or if the merge takes more than a third of the run; films, whose decoding takes seconds each and merging as long as
a picture's, would only help.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import iclora
from bench import ingest

COUNTS, PARTS, FOLDER, SIZE = [250, 1_000], 4, 50, (640, 480)
MOST = 1 / 3
ASKED: dict[str, Any] = {
    "captioner": "sidecar",
    "scorer": "none",
    "settings": {"layout.panel_width": 256, "layout.panel_height": 192},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=COUNTS)
    counts = parser.parse_args().images
    merges = []
    for count in counts:
        with tempfile.TemporaryDirectory() as home:
            whole, parts, merge = measure(Path(home), count)
        merges.append(merge)
        print(
            f"{count:,} images: one run {whole:.1f} s, {PARTS} parts {parts:.1f} s, merging them {merge:.2f} s "
            f"({merge / whole:.3f} of one run)",
            flush=True,
        )
        if merge > MOST * whole:
            sys.exit(f"merging took {merge / whole:.2f} of one run, at most {MOST:.2f} is allowed")
    print(f"exponent of merging: {math.log(merges[-1] / merges[0]) / math.log(counts[-1] / counts[0]):.2f}")


def measure(home: Path, count: int) -> tuple[float, float, float]:
    """CPU seconds of one run, of all parts, and of their merge."""
    sources = home / "sources"
    for number, path in enumerate(ingest.draw(home / "drawn", SIZE, count)):
        folder = sources / f"{number // FOLDER:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    clock = time.process_time()
    with iclora.open_run("storyboard", sources, folder=home / "whole", **ASKED) as run:
        run.advance("inspect")
        expected = [run.table(name) for name in ("collected", "records", "rejected")]
    whole, clock = time.process_time() - clock, time.process_time()
    shards = iclora.shard("storyboard", sources, PARTS, folder=home / "parts", **ASKED)
    for one in shards:
        with iclora.open_run("storyboard", folder=one.folder) as run:
            run.advance("inspect")
    parts, clock = time.process_time() - clock, time.process_time()
    with iclora.merge("storyboard", [one.folder for one in shards], folder=home / "merged") as run:
        merge = time.process_time() - clock
        if expected != [run.table(name) for name in ("collected", "records", "rejected")]:
            sys.exit("the merged run differs from the one over everything")
    return whole, parts, merge


if __name__ == "__main__":
    main()
