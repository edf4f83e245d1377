"""How well image sets follow their texts and keep together, as numbers between those of real and of shuffled grids."""
