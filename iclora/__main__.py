"""The command `iclora`, also as `python -m iclora`."""

import sys


def main() -> None:
    """Runs the command; Ctrl-C while it is still being loaded ends it without a traceback too."""
    try:
        from iclora.cli import main as run

        run()
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
