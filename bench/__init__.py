"""Reproducible measurements, one script per figure in docs, and what writes pages of docs; `python -m bench.NAME`."""

import os

# Before torch is imported, whose waiting threads would take the cores from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
