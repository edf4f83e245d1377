"""What the page's script requests to shift and resize a panel's crop."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field

from iclora.page import views
from iclora.page.access import Body
from iclora.page.jobs import Jobs
from iclora.page.session import ReviewSession
from pipeline.review import cropping

Share = Annotated[float, Field(allow_inf_nan=False)]


class Cropped(Body):
    base: str
    panel: int
    box: tuple[Share, Share, Share, Share] | None
    """Left, top, right and bottom as shares of the picture; None for what was drawn at first."""


def add(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    """Adds the routes to the application of the review page."""

    @app.get("/rows/{grid}/crops/{panel}")
    async def crop(grid: str, panel: int) -> dict[str, Any]:
        return await jobs.in_turn(_crop, session, grid, panel)

    @app.post("/rows/{grid}/crop")
    async def change(grid: str, said: Cropped) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            step = session.crop(grid, said.base, said.panel, said.box)
            return {"row": views.one(session, grid), "step": step.number if step else None}

        return await jobs.in_turn(work)


def _crop(session: ReviewSession, grid: str, panel: int) -> dict[str, Any]:
    """What a panel shows of its picture, and how far that can be changed, in shares of the picture."""
    row, layout = session.row(grid), session.task.layout
    record = row.grid.group.records[session.panel(row, panel)]
    return {
        "box": cropping.in_force(row.grid, panel, layout),
        "usual": cropping.usual(record, layout),
        "largest": cropping.largest(record, layout),
        "least": cropping.least(record, layout),
        "enlarged": layout.panel_width / record.width,
    }
