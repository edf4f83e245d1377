"""The review page as a web application: one static page, and what its script requests.

Only this machine has access, and everything but the empty page only with the token, which the page's script takes from
the fragment of the address and sends as a header. Unlike a cookie, no other server on this machine gets to see it.
Every request is also checked for its Host (a foreign domain that points to 127.0.0.1 is refused) and its Origin
(another site's script is refused). Images are requested by id, never by path.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from iclora.page import views
from iclora.page.jobs import Jobs, Stopped
from iclora.page.session import ReviewSession, Stale, Step, Unknown
from pipeline import pixels
from pipeline.errors import ToolkitError
from pipeline.records import Decision

PAGE = Path(__file__).parent / "page.html"
THUMBNAIL = 320
"""Longest side in pixels of an image that is offered for a panel."""
TOKEN = "X-Iclora-Token"
"""The header that shows who may use the page. Another site's script can't set it without asking, and is refused."""

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


def make(session: ReviewSession, jobs: Jobs, address: str, token: str) -> FastAPI:
    """The application.

    Args:
        jobs: where it does its work.
        address: host and port where it is served.
        token: what every request but that for the page must carry.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = PAGE.read_text(encoding="utf-8")
    _guard(app, address, token, _policy(page))
    _explain(app, session, jobs)
    _look(app, session, jobs, page)
    _change(app, session, jobs)
    _judge(app, session, jobs)
    return app


# ---- access


def _guard(app: FastAPI, address: str, token: str, policy: str) -> None:
    """Refuses requests from elsewhere or without the token, and tells browsers to be strict with the answers."""
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
        given = request.headers.get(TOKEN, "")
        if request.scope["path"] != "/" and not secrets.compare_digest(given.encode(), token.encode()):
            return "open the page with the whole address that iclora printed."
        return ""

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = refusal(request)
        response = PlainTextResponse(refused, status_code=403) if refused else await go_on(request)
        response.headers.update(headers)
        return response


def _policy(page: str) -> str:
    """Only the page's own script and style, known by their hashes, may run, and they may contact only this server."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _explain(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    """Errors as sentences; a stale change is answered with the row as it is now."""

    @app.exception_handler(ToolkitError)
    async def toolkit(_: Request, error: ToolkitError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Unknown)
    async def unknown(_: Request, error: Unknown) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(Stopped)
    async def stopped(_: Request, error: Stopped) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503)

    @app.exception_handler(Stale)
    async def stale(_: Request, error: Stale) -> JSONResponse:
        row = await jobs.in_turn(views.one, session, error.row.id)
        return JSONResponse({"error": str(error), "row": row}, 409)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
        return JSONResponse({"error": f"the request can't be read: {faults}."}, 422)


# ---- requests. What touches the run's state goes through `jobs.in_turn`, what else takes time through `jobs.aside`.


def _look(app: FastAPI, session: ReviewSession, jobs: Jobs, page: str) -> None:
    @app.get("/")
    async def page_() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/rows")
    async def rows() -> dict[str, Any]:
        return await jobs.in_turn(views.state, session)

    @app.get("/rows/{grid}/picture")
    async def picture(grid: str) -> FileResponse:
        path = session.run.folder / (await jobs.in_turn(session.row, grid)).grid.path
        if not path.is_file():
            raise Unknown(
                f"{path} is gone; stop the page and run '{session.run.command('dataset')}', which draws it again."
            )
        return FileResponse(path, media_type="image/png")

    @app.get("/rows/{grid}/offers/{panel}")
    async def offers(grid: str, panel: int) -> list[dict[str, Any]]:
        return await jobs.in_turn(views.offers, session, grid, panel)

    @app.get("/records/{record}/picture")
    async def thumbnail(record: str) -> Response:
        found = await jobs.in_turn(session.record, record)
        return Response(await jobs.aside(_thumbnail, session.run.folder / found.path), media_type="image/jpeg")


def _change(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    async def made(grid: str, change: Callable[..., Step | None], *said: object) -> dict[str, Any]:
        """Makes a change, and sends the row as it is then."""

        def work() -> dict[str, Any]:
            step = change(grid, *said)
            return {"row": views.one(session, grid), "step": step.number if step else None}

        return await jobs.in_turn(work)

    @app.post("/rows/{grid}/decide")
    async def decide(grid: str, said: Decided) -> dict[str, Any]:
        return await made(grid, session.decide, said.base, said.decision, said.note)

    @app.post("/rows/{grid}/edit")
    async def edit(grid: str, said: Edited) -> dict[str, Any]:
        return await made(grid, session.edit, said.base, said.text, said.decision, said.people)

    @app.post("/rows/{grid}/swap")
    async def swap(grid: str, said: Swapped) -> dict[str, Any]:
        return await made(grid, session.swap, said.base, said.first, said.second)

    @app.post("/rows/{grid}/replace")
    async def replace(grid: str, said: Replaced) -> dict[str, Any]:
        return await made(grid, session.replace, said.base, said.panel, said.record)

    @app.post("/undo")
    async def undo(said: Undone) -> dict[str, Any]:
        return {"row": await jobs.in_turn(lambda: views.one(session, session.undo(said.step))), "step": None}


def _judge(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    checking, scoring, asking = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()  # a model answers one request at a time

    @app.post("/rows/{grid}/check")
    async def check(grid: str, said: Typed) -> dict[str, Any]:
        row = await jobs.in_turn(session.row, grid)
        async with checking:
            caption = await jobs.aside(session.check, row, said.text, said.people)
        return views.text_of(caption, session.task, None if said.people else said.text)

    @app.post("/rows/{grid}/score")
    async def score(grid: str, said: Typed) -> list[dict[str, Any]]:
        row, facts = await jobs.in_turn(lambda: (session.row(grid), session.facts()))
        async with scoring:
            return views.scores_of(await jobs.aside(session.score, row, said.text, facts, said.people))

    @app.post("/rows/{grid}/ask")
    async def ask(grid: str) -> dict[str, Any]:
        row, machine, place = await jobs.in_turn(
            lambda: (session.row(grid), session.captions().get(grid), session.place(grid))
        )
        async with asking:
            caption = await jobs.aside(session.ask, row, machine.text if machine else "", place)
        return {**views.compared(caption, row.caption.text), "problems": caption.problems}


def _thumbnail(path: Path) -> bytes:
    picture = pixels.open_image(path, least_side=THUMBNAIL)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return content.getvalue()
