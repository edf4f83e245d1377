"""The page on which people compare pictures as a web application: one static page, and what its script requests.

It gets pictures by pair and side, and no name of a candidate or file.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from iclora.evaluation.people import Marking, Pair, Side
from iclora.page import access, keys
from iclora.page.access import Body
from iclora.page.errors import Unknown
from iclora.page.jobs import Jobs


class Marked(Body):
    mark: Side


def make(marking: Marking, jobs: Jobs, address: str, token: str) -> FastAPI:
    """The application.

    Args:
        jobs: where marks are written, one after another.
        address: host and port where it is served.
        token: what every request but that for the page must carry.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = access.read("comparing.html")
    access.guard(app, address, token, page)
    access.explain(app)
    keys.COMPARING.add(app, marking.folder, jobs)

    def find(pair: str) -> Pair:
        if pair not in marking.pairs:
            raise Unknown(f"this evaluation has no pair '{pair}'.")
        return marking.pairs[pair]

    @app.get("/")
    async def page_() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/pairs")
    async def pairs() -> list[dict[str, Any]]:
        return [
            {"id": pair.id, "prompt": pair.prompt, "mark": marking.marks.get(pair.id)}
            for pair in marking.pairs.values()
        ]

    @app.get("/pairs/{pair}/{side}")
    async def picture(pair: str, side: Literal["left", "right"]) -> Response:
        path = find(pair).pictures[side == "right"]
        try:
            content = await jobs.aside(path.read_bytes)  # no file's date, which tells when it was drawn
        except FileNotFoundError as error:
            raise Unknown("this picture is gone; stop the page and run 'iclora evaluate' again.") from error
        return Response(content, media_type="image/png")

    @app.post("/pairs/{pair}")
    async def mark(pair: str, said: Marked) -> dict[str, Any]:
        found = find(pair)
        await jobs.in_turn(marking.mark, found, said.mark)
        return {"mark": said.mark}

    return app
