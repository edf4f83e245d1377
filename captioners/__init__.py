"""Captioners, one module each, found by name. The protocol is in `pipeline.captioning.protocol`."""
