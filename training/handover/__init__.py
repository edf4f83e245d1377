"""A LoRA as other people and programs take it: a folder with the file, a card, workflows and a script."""
