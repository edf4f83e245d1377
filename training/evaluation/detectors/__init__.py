"""Detectors, which find people and things in panels, found by name. The protocol is in `base`."""
