"""One file per family of diffusion transformers, found by its name."""
