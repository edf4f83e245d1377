"""`python -m iclora` is the command `iclora`."""

from iclora.cli import main

main()
