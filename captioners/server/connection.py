"""How the captioner `server` reaches its endpoint: one deadline per request, and bounded responses."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx2
import openai

from pipeline.errors import BadInput, BadReply
from pipeline.network import Proxy

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name the certificates that are trusted."""
FRAMING = ("content-encoding", "content-length", "transfer-encoding")
"""Headers about how a response was sent, which no longer apply when it has been read and decoded."""


class Client(openai.DefaultAsyncHttpxClient):
    """Reads every response as a whole, headers included, within one deadline."""

    def __init__(self, proxy: Proxy | None, *, seconds: float, largest: int, **more: Any) -> None:
        """
        Args:
            seconds: for a whole request, redirects included.
            largest: most bytes of a response, decoded.

        Raises:
            BadInput: the environment names certificates that can't be loaded.
        """
        try:
            inner = httpx2.AsyncHTTPTransport(
                proxy=httpx2.Proxy(proxy.address) if proxy else None, limits=httpx2.Limits(max_connections=None)
            )
        except OSError as error:
            named = [f"{name}={os.environ[name]}" for name in CERTIFICATES if os.environ.get(name)]
            which = " and ".join(named) or "this system"
            raise BadInput(
                f"the certificates of {which} can't be loaded ({error.strerror or error}); correct or unset it."
            ) from error
        super().__init__(transport=_Bounded(inner, largest), **more)
        self._seconds = seconds

    async def send(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._seconds):
                return await super().send(request, **more)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the response is not complete in time", request=request) from error


class _Bounded(httpx2.AsyncBaseTransport):
    """Responses that are read to their end, but no further than a number of decoded bytes."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, largest: int) -> None:
        self._inner, self._largest = inner, largest

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """
        Raises:
            BadReply: the response is too long.
        """
        response = await self._inner.handle_async_request(request)
        content = bytearray()
        try:
            unpacked = _unpacking(response.headers.get("content-encoding", ""))
            async with aclosing(response.aiter_raw()) as pieces:
                async for piece in pieces:
                    content += unpacked(piece, self._largest + 1 - len(content))
                    if len(content) > self._largest:
                        raise BadReply(
                            f"the response is longer than {self._largest:,} bytes and was not read to the end"
                        )
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in FRAMING]
        return httpx2.Response(
            response.status_code, headers=headers, content=bytes(content), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def _unpacking(packed: str) -> Callable[[bytes, int], bytes]:
    """Gives the decoded content of a piece of a response, but no more than a number of bytes of it.

    No encoding is asked for. httpx2 up to 2.11 decodes a piece as a whole, and that may be gigabytes.

    Raises:
        BadReply: the response can't be decoded.
    """
    name = packed.strip().lower()
    if name in ("", "identity"):
        return lambda piece, most: piece[:most]
    if name not in ("gzip", "x-gzip", "deflate"):
        raise BadReply(f"the response is packed as {name[:40]!r}, which was not asked for")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out which of them it is

    def unpack(piece: bytes, most: int) -> bytes:
        try:
            return unpacking.decompress(piece, most)
        except zlib.error as error:
            raise BadReply(f"the response can't be unpacked: {error}") from error

    return unpack
