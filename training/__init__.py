"""The training stretch of the line, from a reviewed data set to a LoRA. Nothing is built here yet."""
