"""Which part of its picture a panel shows by a person's decision: a box in the panel's shape."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import BadInput
from pipeline.pixels.fitting import CENTRE, crop_of, narrowed
from pipeline.records import Box, Crop, Grid, Record, lies_inside
from pipeline.task import LayoutSection

DIGITS = 5
"""Of a share; a tenth of a pixel of the largest pictures."""
TOLERANCE = 0.01
"""By how much the sides of a box may be off the panel's shape, as a share; what is drawn has that shape exactly."""


def in_force(grid: Grid, panel: int, layout: LayoutSection) -> Box:
    """The box that a panel of a grid shows."""
    record = grid.group.records[panel]
    chosen = grid.crops[panel] if grid.crops else None
    if chosen is None:
        return usual(record, layout)
    return narrowed(chosen, (record.width, record.height), (layout.panel_width, layout.panel_height))


def usual(record: Record, layout: LayoutSection) -> Box:
    """The box that is drawn where nobody has said anything; where panels are padded, the largest in the middle."""
    width, height = largest(record, layout)
    focus = record.focus if layout.fit == "crop" else CENTRE
    left, top = focus * (1 - width), focus * (1 - height)
    return left, top, left + width, top + height


def largest(record: Record, layout: LayoutSection) -> tuple[float, float]:
    """Width and height of the largest box in a picture, as shares."""
    upright, lost = crop_of(record.width, record.height, (layout.panel_width, layout.panel_height))
    return (1.0, 1 - lost) if upright else (1 - lost, 1.0)


def least(record: Record, layout: LayoutSection) -> float:
    """Width of the smallest box, as a share: it is enlarged as far as the task allows, and never more than the largest
    box has to be."""
    return min(largest(record, layout)[0], layout.panel_width / (layout.max_enlarge * record.width))


def checked(box: Sequence[float], record: Record, layout: LayoutSection) -> Box:
    """A box as it is kept.

    Raises:
        BadInput: it reaches out of the picture, has not the panel's shape, or would be enlarged too much.
    """
    left, top, right, bottom = box
    if not lies_inside((left, top, right, bottom)):
        raise BadInput(f"a crop must lie inside the picture, got {_told(box)}; shift it or make it smaller.")
    width, height = (right - left) * record.width, (bottom - top) * record.height
    size = f"{width:.0f} x {height:.0f} pixels"
    across, down = layout.panel_width / width, layout.panel_height / height
    if abs(across / down - 1) > TOLERANCE:
        raise BadInput(
            f"a crop of {size} has not the shape of a panel, {layout.panel_width} x {layout.panel_height}; keep it."
        )
    if right - left < least(record, layout) - 10**-DIGITS:
        raise BadInput(
            f"a crop of {size} would be enlarged {across:.1f} times for a panel of {layout.panel_width} x "
            f"{layout.panel_height} (limit layout.max_enlarge={layout.max_enlarge:g}); make it larger."
        )
    return round(left, DIGITS), round(top, DIGITS), round(right, DIGITS), round(bottom, DIGITS)


def with_crop(crops: Sequence[Crop], record: Record, box: Box | None, layout: LayoutSection) -> tuple[Crop, ...]:
    """The crops of a grid with another one of a record; none of it, if `box` is None or what is drawn anyway."""
    others = tuple(crop for crop in crops if crop.record != record.id)
    shown = tuple(round(share, DIGITS) for share in usual(record, layout))
    return others if box is None or (layout.fit == "crop" and box == shown) else (*others, Crop(record.id, box))


def told(crops: Sequence[Crop], panels: Sequence[str]) -> str:
    """The crops of a grid's panels, for people.

    Args:
        panels: ids of the records in them.
    """
    boxes = {crop.record: crop.box for crop in crops}
    return "; ".join(
        f"panel {number}: {_told(boxes[panel])}" for number, panel in enumerate(panels, start=1) if panel in boxes
    )


def _told(box: Sequence[float]) -> str:
    left, top, right, bottom = (f"{100 * share:.1f}" for share in box)
    return f"{left} to {right} % of the width, {top} to {bottom} % of the height"
