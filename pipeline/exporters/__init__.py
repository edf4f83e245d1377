"""Forms of a finished data set, one module each, found by name."""
