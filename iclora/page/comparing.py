"""The page on which people compare pictures as a web application: one static page, and what its script requests.

It gets pictures by pair and side, and no name of a candidate or file until all pairs are marked. It is served alone, or
beside the review of a run.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from iclora.evaluation.comparison import Comparison
from iclora.evaluation.people import Marking, Pair, Side
from iclora.page import access, keys
from iclora.page.access import Body
from iclora.page.errors import Unknown
from iclora.page.jobs import Jobs


class Marked(Body):
    mark: Side


def make(comparison: Comparison, jobs: Jobs, address: str, token: str) -> FastAPI:
    """The application.

    Args:
        jobs: where marks are written, one after another.
        address: host and port where it is served.
        token: what every request but that for the page must carry.
    """
    page = access.read(access.COMPARING)
    app = routes(comparison, jobs, page)
    access.guard(app, address, token, {"/": page})
    return app


def routes(comparison: Comparison, jobs: Jobs, page: str) -> FastAPI:
    """What answers the page's requests, without a guard; the page as `access.read` returns it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    access.explain(app)
    keys.COMPARING.add(app, comparison.folder, jobs)
    read = list[Marking]()

    def find(pair: str) -> Pair:
        if not read or pair not in read[-1].pairs:
            raise Unknown(f"this evaluation has no pair '{pair}'; reload the page.")
        return read[-1].pairs[pair]

    @app.get("/")
    async def page_() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/pairs")
    async def pairs() -> list[dict[str, Any]]:
        marking = await jobs.aside(comparison.read)
        read[:] = [marking]
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
            raise Unknown("this picture is gone; run 'iclora evaluate' again and reload the page.") from error
        return Response(content, media_type="image/png")

    @app.post("/pairs/{pair}")
    async def mark(pair: str, said: Marked) -> dict[str, Any]:
        found = find(pair)
        await jobs.in_turn(read[-1].mark, found, said.mark)
        return {"mark": said.mark}

    @app.get("/result")
    async def result() -> dict[str, str]:
        """What people prefer, once this one has marked all pairs: until then, it would tell which is which."""
        if not read or len(read[-1].marks) < len(read[-1].pairs):
            return {"result": ""}
        return {"result": str(await jobs.in_turn(comparison.result))}

    return app
