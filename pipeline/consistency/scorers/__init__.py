"""Image-text scorers, one module each, discovered by name. The protocol is in `base`."""
