"""`python -m miniature clip|vlm|flux|measure`: trains the three models from scratch, and measures them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    for act, words in (("clip", "train the mini CLIP"), ("vlm", "train the mini VLM"), ("flux", "train the mini FLUX")):
        train = acts.add_parser(act, help=f"{words} from scratch (the model card gives the time on 2 cores)")
        train.add_argument("--out", type=Path, default=HERE / act, help="folder of the weights (default: %(default)s)")
        train.add_argument("--threads", type=int, default=2, help="processor cores to use (default: %(default)s)")
    measure = acts.add_parser(
        "measure", help="measure CLIP and VLM on held-out films and write the figures into the model card"
    )
    measure.add_argument("--films", type=int, default=16, help="films of 24 shots each (default: %(default)s)")
    measure.add_argument("--threads", type=int, default=2, help="processor cores to use (default: %(default)s)")
    options = parser.parse_args()

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads would take the cores from the others
    # Each of these imports torch or transformers, which --help need not wait for.
    import torch

    torch.set_num_threads(options.threads)
    if options.act == "clip":
        from miniature import train_clip

        train_clip.train(options.out)
    elif options.act == "vlm":
        from miniature import train_vlm

        train_vlm.train(options.out)
    elif options.act == "flux":
        from miniature import train_flux

        train_flux.train(options.out)
    else:
        from miniature import measure as measuring

        measuring.write_card(options.films)


if __name__ == "__main__":
    main()
