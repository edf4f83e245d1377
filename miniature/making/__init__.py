"""How the miniature's models are made and measured; left out of the wheel, since nothing else needs it."""
