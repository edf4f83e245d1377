"""Image encoders, by whose vectors panels are compared with each other, found by name. The protocol is in `base`."""
