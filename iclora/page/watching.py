"""The page that shows a training as a web application: one static page, and what its script requests.

It changes nothing.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from iclora.page import access
from iclora.page.errors import Unknown
from iclora.page.jobs import Jobs
from iclora.watching import Watched


def make(watched: Watched, jobs: Jobs, address: str, token: str) -> FastAPI:
    """The application.

    Args:
        jobs: in whose threads the training's files are read.
        address: host and port where it is served.
        token: what every request but that for the page must carry.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = access.read("watching.html")
    access.guard(app, address, token, {"/": page})
    access.explain(app)

    @app.get("/")
    async def page_() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/state")
    async def state(seen: str = "") -> dict[str, Any]:
        return await jobs.aside(watched.state, seen)

    @app.get("/samples/{step}/{number}")
    async def sample(step: int, number: int) -> Response:
        try:
            content = await jobs.aside(watched.sample, step, number)
        except OSError as error:
            raise Unknown(f"there is no sample {number} of step {step:,} any more.") from error
        return Response(content, media_type="image/png")

    return app
