"""What the page's script requests about the pictures that were rejected."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from iclora.page.access import Body
from iclora.page.jobs import Jobs
from iclora.page.rejected import RejectedPictures
from iclora.page.session import ReviewSession
from iclora.page.steps import WHO
from pipeline.review import thumbnails

THUMBNAIL = 320
"""Longest side in pixels."""


class TakenIn(Body):
    stage: str
    id: str
    wanted: bool


def add(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    """Adds the routes to the application of the review page."""
    pictures = RejectedPictures(session.run)

    @app.get("/rejected")
    async def rejected(reason: str = "", start: int = 0) -> dict[str, Any]:
        return await jobs.in_turn(pictures.page, reason, max(0, start))

    @app.get("/rejected/{stage}/{name}/picture")
    async def picture(stage: str, name: str) -> Response:
        path = await jobs.in_turn(pictures.picture, stage, name)
        content = await jobs.aside(thumbnails.encode, path, THUMBNAIL)
        return Response(content, media_type="image/jpeg")

    @app.post("/rejected")
    async def take(said: TakenIn) -> dict[str, Any]:
        who, reviewer = WHO, session.reviewer
        return await jobs.in_turn(lambda: pictures.take(said.stage, said.id, who, reviewer, wanted=said.wanted))
