"""Do the panels of a grid belong together, and does each text fit its panel? Measures, thresholds and error rates."""
