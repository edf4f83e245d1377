"""Whether the panels of a grid belong together: measures, a rule found from the run's own groups, and how it errs."""
