"""What the page's script requests to change all rows at once. It asks again about what takes longer than a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query
from pydantic import Field

from iclora.page import views
from iclora.page.access import Body
from iclora.page.bulk import Bulk, Replacement, Search, Searches, Undo
from iclora.page.jobs import Jobs
from iclora.page.session import ReviewSession

T = TypeVar("T")
PATIENCE = 0.03
"""Seconds that a request waits for what it has begun, or what it asks about."""

Text = Annotated[str, Field(max_length=100_000)]


class Sought(Body):
    old: Text
    new: Text
    inside_words: bool = False


class Replaced(Body):
    search: int
    """Number of the search that the reviewer has seen the end of."""


class Undone(Body):
    step: int


class Running:
    """Work that takes longer than a request may: one begins it, and others ask about it."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def result(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """What the work of this key gives, or raises; None if it goes on. It is begun if it has not been."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(begin())
            task.add_done_callback(lambda task: task.cancelled() or task.exception())  # perhaps nobody asks again
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done:
            return None
        self._tasks.pop(key, None)
        found: T = task.result()
        return found

    def forget(self, key: Hashable) -> None:
        """Nobody asks about the work of this key any more."""
        self._tasks.pop(key, None)


def add(app: FastAPI, session: ReviewSession, jobs: Jobs) -> None:
    """Adds the routes to the application of the review page."""
    running, searches = Running(), Searches(session)
    _search(app, session, jobs, running, searches)
    _change(app, session, jobs, running, searches)


def _search(app: FastAPI, session: ReviewSession, jobs: Jobs, running: Running, searches: Searches) -> None:
    async def found(search: Search, known: int) -> dict[str, Any]:
        """How far a search is, with the replacements to be shown of which the page does not know yet."""
        if not search.is_done:
            await running.result(search, lambda: jobs.aside(search.run))
        return await jobs.aside(views.searched, search, session.task, known)

    @app.post("/replacements")
    async def begin(said: Sought) -> dict[str, Any]:
        if searches.latest:
            running.forget(searches.latest)
        search = await jobs.in_turn(lambda: searches.begin(said.old, said.new, inside_words=said.inside_words))
        return await found(search, 0)

    @app.get("/replacements/{number}")
    async def go_on(number: int, known: Annotated[int, Query(ge=0)]) -> dict[str, Any]:
        return await found(searches.of(number), known)


def _change(app: FastAPI, session: ReviewSession, jobs: Jobs, running: Running, searches: Searches) -> None:
    async def carried_out(make: Callable[[], Bulk]) -> dict[str, Any]:
        bulk, written = await jobs.in_turn(make), False
        while not written:
            rows, grids = await jobs.in_turn(lambda: (bulk.rows(), session.read().made.grids))
            await jobs.aside(bulk.prepare, rows, grids)
            written = await jobs.in_turn(bulk.write)
        while await jobs.in_turn(session.settle_some):
            pass
        await jobs.in_turn(bulk.settled)
        return await jobs.in_turn(views.changed, session, bulk.step, bulk.grids)

    async def outcome(key: Hashable, make: Callable[[], Bulk]) -> dict[str, Any]:
        """What has come of changes, which are begun if they have not been."""
        found = await running.result(key, lambda: carried_out(make))
        return {"done": found is not None, **(found or {})}

    @app.post("/replace")
    async def replace(said: Replaced) -> dict[str, Any]:
        return await outcome(("replace", said.search), lambda: Replacement(session, searches.of(said.search)))

    @app.post("/undo")
    async def undo(said: Undone) -> dict[str, Any]:
        return await outcome(("undo", said.step), lambda: Undo(session, session.step(said.step)))
