"""Captions as text: their grammar, faults and length, and the names and looks of the people in them."""
