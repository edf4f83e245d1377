"""The command `iclora`, also as `python -m iclora`."""

import os
import sys

FIRST_FREE = 3
"""Number of the first file behind the standard streams."""


def main() -> None:
    """Runs the command; Ctrl-C while it is still being loaded ends it without a traceback too."""
    _open_standard_streams()
    try:
        from iclora.cli import main as run

        run()
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        raise SystemExit(130) from None


def _open_standard_streams() -> None:
    """Opens the null device for streams that were closed (`iclora ... >&-`, some schedulers): otherwise the next file
    that is opened takes such a stream's number, and whatever a library prints goes into it."""
    while (opened := os.open(os.devnull, os.O_RDWR)) < FIRST_FREE:
        pass
    os.close(opened)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    main()
