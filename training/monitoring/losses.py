"""Held-out losses: by kind of condition, noise level and panel."""

from __future__ import annotations

from statistics import fmean

Losses = dict[tuple[str, float, int], float]
"""Mean loss by the name of a kind of condition, noise level and panel (from 1)."""


def mean(losses: Losses) -> float:
    """The mean over all noise levels and panels, and over the kinds of conditions, which count alike."""
    return fmean(fmean(one.values()) for one in by_kind(losses).values())


def by_kind(losses: Losses) -> dict[str, dict[tuple[float, int], float]]:
    """The losses by noise level and panel, for each kind of condition."""
    found: dict[str, dict[tuple[float, int], float]] = {}
    for (kind, sigma, panel), loss in losses.items():
        found.setdefault(kind, {})[sigma, panel] = loss
    return found
