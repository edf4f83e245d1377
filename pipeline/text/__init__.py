"""Captions as text: how people's looks stand in it."""
