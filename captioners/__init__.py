"""Captioners, one module each, found by name. The protocol and the form of the answer are in `base`."""
