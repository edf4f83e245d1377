"""The review page as a local server: one static page, and what its script requests.

Only this machine has access, and only with the token in the page's address. Every request is checked for its Host (a
foreign domain that points to 127.0.0.1 is refused), its Origin (another site's script is refused) and the token.
Images are requested by id, never by path.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from iclora.page import views
from iclora.page.session import ReviewSession, Stale, Step, Unknown
from iclora.run import Run
from pipeline import pixels
from pipeline.errors import ToolkitError
from pipeline.records import Decision

PAGE = Path(__file__).parent / "page.html"
THUMBNAIL = 320
"""Longest side in pixels of an image that is offered for a panel."""
PATIENCE = 3
"""Seconds that a running request is given when the server stops."""

Text = Annotated[str, Field(max_length=100_000)]


class Body(BaseModel):
    """A request's content; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Decided(Body):
    base: str
    decision: Decision
    note: Text | None = None


class Edited(Body):
    base: str
    text: Text
    decision: Decision | None = None
    people: dict[str, Text] = {}
    """Looks of people, by name."""


class Swapped(Body):
    base: str
    first: int
    second: int


class Replaced(Body):
    base: str
    panel: int
    record: str


class Undone(Body):
    step: int


class Typed(Body):
    text: Text
    people: dict[str, Text] = {}


def make(session: ReviewSession, address: str, token: str) -> FastAPI:
    """The application.

    Args:
        address: host and port where it is served.
        token: what a request must carry: in the address at first, and then as a cookie.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = PAGE.read_text(encoding="utf-8")
    _guard(app, address, token, _policy(page))
    _explain(app, session)
    _look(app, session, page)
    _change(app, session)
    _judge(app, session)
    return app


def serve(run: Run, opened: Callable[[str], None]) -> int:
    """Serves the page until it is interrupted; gives how many changes were made and not undone.

    Args:
        opened: called with the page's address as soon as the server listens.
    """
    session, token = ReviewSession(run), secrets.token_urlsafe(24)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        address = f"127.0.0.1:{door.getsockname()[1]}"
        server = uvicorn.Server(configuration(make(session, address, token)))
        # A request that is cut off because the reviewer has stopped the server needs no traceback.
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        opened(f"http://{address}/?token={token}")
        with suppress(KeyboardInterrupt):  # uvicorn shuts down properly and then raises it again
            server.run(sockets=[door])
    return len(session.steps)


def configuration(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )


# ---- access


def _guard(app: FastAPI, address: str, token: str, policy: str) -> None:
    """Refuses requests from elsewhere or without the token, and tells browsers to be strict with the answers."""
    cookie = f"iclora-{address.rpartition(':')[2]}"  # cookies ignore ports, so each run's page has a name of its own
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    def refusal(request: Request) -> str:
        if request.headers.get("host") != address:
            return f"this page is served only at {address}."
        origin = request.headers.get("origin")
        if origin != f"http://{address}" and (origin is not None or request.method not in ("GET", "HEAD")):
            return "this page accepts requests only from itself."
        given = request.cookies.get(cookie, "")
        if request.url.path == "/" and "token" in request.query_params:
            given = request.query_params["token"]
        if not secrets.compare_digest(given.encode(), token.encode()):
            return "open the page with the whole address that iclora printed."
        return ""

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = refusal(request)
        response = PlainTextResponse(refused, status_code=403) if refused else await go_on(request)
        response.headers.update(headers)
        if not refused and request.url.path == "/":
            response.set_cookie(cookie, token, httponly=True, samesite="strict")
        return response


def _policy(page: str) -> str:
    """Only the page's own script and style, known by their hashes, may run, and they may contact only this server."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _explain(app: FastAPI, session: ReviewSession) -> None:
    """Errors as sentences; a stale change is answered with the row as it is now."""

    @app.exception_handler(ToolkitError)
    async def toolkit(_: Request, error: ToolkitError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Unknown)
    async def unknown(_: Request, error: Unknown) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(Stale)
    async def stale(_: Request, error: Stale) -> JSONResponse:
        return JSONResponse({"error": str(error), "row": views.one(session, error.row.id)}, 409)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
        return JSONResponse({"error": f"the request can't be read: {faults}."}, 422)


# ---- requests. Functions that touch the run's state are `async`, so they run in the thread that opened it.


def _look(app: FastAPI, session: ReviewSession, page: str) -> None:
    @app.get("/")
    async def page_() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/rows")
    async def rows() -> dict[str, Any]:
        return views.state(session)

    @app.get("/rows/{grid}/picture")
    async def picture(grid: str) -> FileResponse:
        path = session.run.folder / session.row(grid).grid.path
        if not path.is_file():
            raise Unknown(
                f"{path} is gone; stop the page and run '{session.run.command('dataset')}', which draws it again."
            )
        return FileResponse(path, media_type="image/png")

    @app.get("/rows/{grid}/offers/{panel}")
    async def offers(grid: str, panel: int) -> list[dict[str, Any]]:
        return [views.offer_of(offer) for offer in session.offers(session.row(grid), panel)]

    @app.get("/records/{record}/picture")
    async def thumbnail(record: str) -> Response:
        found = session.run.folder / session.record(record).path
        return Response(await run_in_threadpool(_thumbnail, found), media_type="image/jpeg")


def _change(app: FastAPI, session: ReviewSession) -> None:
    def after(grid: str, step: Step | None) -> dict[str, Any]:
        return {"row": views.one(session, grid), "step": step.number if step else None}

    @app.post("/rows/{grid}/decide")
    async def decide(grid: str, said: Decided) -> dict[str, Any]:
        return after(grid, session.decide(grid, said.base, said.decision, said.note))

    @app.post("/rows/{grid}/edit")
    async def edit(grid: str, said: Edited) -> dict[str, Any]:
        return after(grid, session.edit(grid, said.base, said.text, said.decision, said.people))

    @app.post("/rows/{grid}/swap")
    async def swap(grid: str, said: Swapped) -> dict[str, Any]:
        return after(grid, session.swap(grid, said.base, said.first, said.second))

    @app.post("/rows/{grid}/replace")
    async def replace(grid: str, said: Replaced) -> dict[str, Any]:
        return after(grid, session.replace(grid, said.base, said.panel, said.record))

    @app.post("/undo")
    async def undo(said: Undone) -> dict[str, Any]:
        return {"row": views.one(session, session.undo(said.step)), "step": None}


def _judge(app: FastAPI, session: ReviewSession) -> None:
    scoring, asking = asyncio.Lock(), asyncio.Lock()  # a model answers one request at a time

    @app.post("/rows/{grid}/check")
    async def check(grid: str, said: Typed) -> dict[str, Any]:
        caption = session.check(session.row(grid), said.text, said.people)
        return views.text_of(caption, session.task, None if said.people else said.text)

    @app.post("/rows/{grid}/score")
    async def score(grid: str, said: Typed) -> list[dict[str, Any]]:
        row, facts = session.row(grid), session.facts()
        async with scoring:
            return views.scores_of(await run_in_threadpool(session.score, row, said.text, facts, said.people))

    @app.post("/rows/{grid}/ask")
    async def ask(grid: str) -> dict[str, Any]:
        row, place = session.row(grid), session.place(grid)
        machine = session.captions().get(grid)
        async with asking:
            caption = await run_in_threadpool(session.ask, row, machine.text if machine else "", place)
        return {**views.compared(caption, row.caption.text), "problems": caption.problems}


def _thumbnail(path: Path) -> bytes:
    picture = pixels.open_image(path, least_side=THUMBNAIL)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return content.getvalue()
