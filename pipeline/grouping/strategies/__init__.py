"""Grouping strategies, one module each, found by name. The protocol is in `base`."""
