"""Captioners, one module each, discovered by name. The protocol is in `pipeline.captioning.protocol`."""
