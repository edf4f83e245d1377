"""Reproducible measurements, one script per figure in README; `python -m bench.NAME`."""
