"""The review page as a web application: one static page, and what its script requests.

`access` says who may use it. Images are requested by id, never by path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import Field

from iclora.page import access, bulk_routes, crop_routes, keys, others, rejected_routes, views
from iclora.page.access import Body
from iclora.page.errors import Unknown
from iclora.page.jobs import Jobs
from iclora.page.judging import Typed
from iclora.page.session import ReviewSession
from iclora.page.steps import Stale, Step
from pipeline.records import Corrections, Decision, Row
from pipeline.review import thumbnails

THUMBNAIL, LARGE = 320, 2048
"""Longest side in pixels of a small image, and of one that is looked at closely."""
BATCH = 40
"""Rows that are decided in one request at most, so that it takes no longer than others; the page sends several."""
COMPARING = "/compare/"
"""Where people compare pictures of the run's last evaluation."""

Text = Annotated[str, Field(max_length=100_000)]


class Decided(Body):
    base: str
    decision: Decision
    note: Text | None = None


class Swapped(Body):
    base: str
    first: int
    second: int


class Replaced(Body):
    base: str
    panel: int
    record: str


class Noted(Body):
    base: str
    note: Text


class AllDecided(Body):
    rows: Annotated[dict[str, str], Field(min_length=1, max_length=BATCH)]
    """By grid, the base that the reviewer saw."""
    decision: Decision
    note: Text | None = None


class Sought(Body):
    text: Text


class Some(Body):
    grids: Annotated[list[str], Field(max_length=views.AT_ONCE)]


class Draft(Body):
    text: Text
    people: dict[str, Text] = Field(default_factory=dict)
    """Looks of people, by name."""
    changes: dict[str, Text] = Field(default_factory=dict)
    """What changes about people, by name."""
    corrections: Corrections | None = None

    @property
    def typed(self) -> Typed:
        return Typed(self.text, self.people, self.changes, self.corrections)

    @property
    def is_text(self) -> bool:
        """Whether nothing but the text was edited."""
        return not (self.people or self.changes or self.corrections)


class Edited(Draft):
    base: str
    decision: Decision | None = None


def make(session: ReviewSession, jobs: Jobs, address: str, token: str) -> FastAPI:
    """The application.

    Args:
        jobs: where it does its work.
        address: host and port where it is served.
        token: what every request but that for the page must carry.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page, compare = access.read("page.html"), access.read(access.COMPARING)
    access.guard(app, address, token, {"/": page, COMPARING: compare})
    access.explain(app)
    _explain(app, session, jobs)
    _look(app, session, jobs, page)
    _change(app, session, jobs)
    _change_many(app, session, jobs)
    _judge(app, session, jobs)
    keys.REVIEW.add(app, session.run.folder, jobs)
    for routes in (bulk_routes, crop_routes, rejected_routes):
        routes.add(app, session, jobs)
    app.mount(COMPARING, Later(partial(_comparing, session, jobs, compare), jobs))
    return app


class Later:
    """An application that is made when something is first asked of it, since what it imports takes seconds."""

    def __init__(self, make: Callable[[], FastAPI], jobs: Jobs) -> None:
        self._make, self._jobs, self._making = make, jobs, asyncio.Lock()
        self._app: FastAPI | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._making:
            if self._app is None:
                self._app = await self._jobs.aside(self._make)
        await self._app(scope, receive, send)


def _comparing(session: ReviewSession, jobs: Jobs, page: str) -> FastAPI:
    from iclora.evaluation.comparison import Comparison
    from iclora.page import comparing

    return comparing.routes(Comparison(session.run.evaluation, by=session.reviewer), jobs, page)


def _explain(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    """A stale change is answered with the row as it is now."""

    @app.exception_handler(Stale)
    async def stale(_: Request, error: Stale) -> JSONResponse:
        row = await jobs.in_turn(views.one, session, error.row.id)
        return JSONResponse({"error": str(error), "row": row}, 409)


# ---- requests. What touches the run's state goes through `jobs.in_turn`, what else takes time through `jobs.aside`.


def _look(app: FastAPI, session: ReviewSession, jobs: Jobs, page: str) -> None:
    @app.get("/")
    async def page_() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/rows")
    async def rows() -> Response:
        return Response(await jobs.in_turn(views.state, session), media_type="application/json")

    @app.get("/rows/{grid}")
    async def row(grid: str) -> dict[str, Any]:
        return await jobs.in_turn(views.one, session, grid)

    @app.get("/rows/{grid}/picture")
    async def picture(grid: str) -> FileResponse:
        (row,) = await jobs.in_turn(session.outlines, [grid])
        path = session.run.folder / row.grid.path
        if not await jobs.aside(path.is_file):
            raise Unknown(
                f"{path} is gone; stop the page and run '{session.run.command('dataset')}', which draws it again."
            )
        return FileResponse(path, media_type="image/png")

    @app.get("/rows/{grid}/thumbnail")
    async def small(grid: str) -> Response:
        (row,) = await jobs.in_turn(session.outlines, [grid])
        content = await jobs.aside(thumbnails.of_file, session.run.folder, row.grid.path, THUMBNAIL)
        return Response(content, media_type="image/jpeg")

    @app.get("/checked/{after}")
    async def checked(after: Annotated[int, Path(ge=0)]) -> dict[str, Any]:
        return await jobs.in_turn(views.checked, session, after)

    @app.get("/agreement")
    async def agreement() -> dict[str, Any]:
        return await jobs.in_turn(lambda: others.agreed(session.rows(), session.reviewer))

    @app.post("/search")
    async def search(said: Sought) -> list[str]:
        return await jobs.in_turn(views.found, session, said.text)

    @app.get("/rows/{grid}/offers/{panel}")
    async def offers(grid: str, panel: int) -> list[dict[str, Any]]:
        return await jobs.in_turn(views.offers, session, grid, panel)

    @app.get("/records/{record}/picture")
    async def thumbnail(record: str) -> Response:
        return await _pictured(session, jobs, record, THUMBNAIL)

    @app.get("/records/{record}/large")
    async def large(record: str) -> Response:
        return await _pictured(session, jobs, record, LARGE)


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
        return await made(grid, session.edit, said.base, said.typed, said.decision)

    @app.post("/rows/{grid}/swap")
    async def swap(grid: str, said: Swapped) -> dict[str, Any]:
        return await made(grid, session.swap, said.base, said.first, said.second)

    @app.post("/rows/{grid}/replace")
    async def replace(grid: str, said: Replaced) -> dict[str, Any]:
        return await made(grid, session.replace, said.base, said.panel, said.record)

    @app.post("/rows/{grid}/note")
    async def note(grid: str, said: Noted) -> dict[str, Any]:
        return await made(grid, session.note, said.base, said.note)


def _change_many(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    @app.post("/rows")
    async def some(said: Some) -> Response:
        return Response(await jobs.in_turn(views.some, session, said.grids), media_type="application/json")

    @app.post("/decide")
    async def decide(said: AllDecided) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            step = session.decide_all(said.rows, said.decision, said.note)
            return views.changed(session, step, [part.grid for part in step.parts] if step else [])

        return await jobs.in_turn(work)


def _judge(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    checking, scoring, asking = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()  # a model answers one request at a time

    @app.post("/rows/{grid}/check")
    async def check(grid: str, said: Draft) -> dict[str, Any]:
        row = await jobs.in_turn(session.row, grid)
        async with checking:
            return await jobs.aside(_checked, session, row, said)

    @app.post("/rows/{grid}/score")
    async def score(grid: str, said: Draft) -> list[dict[str, Any]]:
        row, facts = await jobs.in_turn(lambda: (session.row(grid), session.facts()))
        async with scoring:
            return views.scores_of(await jobs.aside(session.score, row, said.typed, facts))

    @app.post("/rows/{grid}/ask")
    async def ask(grid: str) -> dict[str, Any]:
        row, machine, place = await jobs.in_turn(
            lambda: (session.row(grid), session.caption(grid), session.place(grid))
        )
        async with asking:
            return await jobs.aside(_asked, session, row, machine.text if machine else "", place)


def _checked(session: ReviewSession, row: Row, said: Draft) -> dict[str, Any]:
    caption = session.check(row, said.typed)
    return views.text_of(caption, session.task, said.text if said.is_text else None)


def _asked(session: ReviewSession, row: Row, machine: str, place: int) -> dict[str, Any]:
    caption = session.ask(row, machine, place)
    return {**views.compared(caption, row.caption.text), "problems": caption.problems}


async def _pictured(session: ReviewSession, jobs: Jobs, record: str, side: int) -> Response:
    """A record's picture as a JPEG."""
    found = await jobs.in_turn(session.record, record)
    content = await jobs.aside(thumbnails.encode, session.run.folder / found.path, side)
    return Response(content, media_type="image/jpeg")
