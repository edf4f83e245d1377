"""Kinds of containers, one module each, found by file name. `pipeline.sources.base.Container` says what it needs."""
