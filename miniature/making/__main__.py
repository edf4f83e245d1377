"""`python -m miniature.making clip|vlm|flux|measure`: trains the three models from scratch, and measures them."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from pathlib import Path

HOME = Path(__file__).parent.parent
# glibc's mallopt(3): number and value of each parameter; larger blocks than the last are returned all the same.
MALLOC = {"trim threshold": (-1, 1 << 30), "top pad": (-2, 64 << 20), "mmap threshold": (-3, 32 << 20)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.making", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    for act, words in (("clip", "train the mini CLIP"), ("vlm", "train the mini VLM"), ("flux", "train the mini FLUX")):
        train = acts.add_parser(act, help=f"{words} from scratch (the model card gives the time on 2 cores)")
        train.add_argument("--out", type=Path, default=HOME / act, help="folder of the weights (default: %(default)s)")
        train.add_argument("--threads", type=int, default=2, help="processor cores to use (default: %(default)s)")
    measure = acts.add_parser(
        "measure", help="measure CLIP and VLM on held-out films and write the figures into the model card"
    )
    measure.add_argument("--films", type=int, default=16, help="films of 24 shots each (default: %(default)s)")
    measure.add_argument("--threads", type=int, default=2, help="processor cores to use (default: %(default)s)")
    options = parser.parse_args()

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads would take the cores from the others
    keep_freed_memory()
    # Each of these imports torch or transformers, which --help need not wait for.
    import torch

    torch.set_num_threads(options.threads)
    if options.act == "clip":
        from miniature.making import train_clip

        train_clip.train(options.out)
    elif options.act == "vlm":
        from miniature.making import train_vlm

        train_vlm.train(options.out)
    elif options.act == "flux":
        from miniature.making import train_flux

        train_flux.train(options.out)
    else:
        from miniature.making import measure as measuring

        measuring.write_card(options.films)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory: getting it back takes up to a sixth of a training step (LOG.md)."""
    if sys.platform == "linux":
        for parameter, value in MALLOC.values():
            ctypes.CDLL(None).mallopt(parameter, value)


if __name__ == "__main__":
    main()
