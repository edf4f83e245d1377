"""Who may use a page that is served on this machine, and what its answers look like.

Only this machine has access, and everything but the empty page only with the token, which the page's script takes from
the fragment of the address and sends as a header. Unlike a cookie, no other server on this machine gets to see it.
Every request is also checked for its Host (a foreign domain that points to 127.0.0.1 is refused) and its Origin
(another site's script is refused).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict

from iclora.page.errors import Unknown
from iclora.page.jobs import Stopped
from pipeline.errors import ToolkitError

HOME = Path(__file__).parent
TOKEN = "X-Iclora-Token"
"""The header that shows who may use the page. Another site's script can't set it without asking, and is refused."""
COMPARING = "comparing.html"
"""The page on which people compare pictures."""
NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
"""The policy of an answer that no browser should show by itself."""


class Body(BaseModel):
    """A request's content; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read(name: str) -> str:
    """A page with the style sheets, scripts and parts whose names stand in it as comments, `/* common.css */`."""

    def content(found: re.Match[str]) -> str:
        return (HOME / found[1]).read_text(encoding="utf-8")

    names = r"(?:/\*|<!--) ([\w/]+\.(?:css|js|html)) (?:\*/|-->)"
    return re.sub(names, content, (HOME / name).read_text(encoding="utf-8"))


def guard(app: FastAPI, address: str, token: str, pages: Mapping[str, str]) -> None:
    """Refuses requests from elsewhere or without the token, and tells browsers to be strict with the answers.

    Args:
        address: host and port where it is served.
        token: what every request but those for the pages must carry.
        pages: by path, as `read` returns them.
    """
    policies = {path: _policy(page) for path, page in pages.items()}
    headers = {
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
        if request.scope["path"] not in pages and not secrets.compare_digest(given.encode(), token.encode()):
            return "open the page with the whole address that iclora printed."
        return ""

    @app.middleware("http")
    async def check(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = refusal(request)
        response = PlainTextResponse(refused, status_code=403) if refused else await go_on(request)
        policy = policies.get(request.scope["path"], NO_PAGE)
        response.headers.update({**headers, "Content-Security-Policy": policy})
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


def explain(app: FastAPI) -> None:
    """Errors as sentences."""

    @app.exception_handler(ToolkitError)
    async def toolkit(_: Request, error: ToolkitError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Unknown)
    async def unknown(_: Request, error: Unknown) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(Stopped)
    async def stopped(_: Request, error: Stopped) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
        return JSONResponse({"error": f"the request can't be read: {faults}."}, 422)
