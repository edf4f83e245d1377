"""Kinds of content, one module each, found by file name. `pipeline.sources.base.Reader` says what it needs."""
