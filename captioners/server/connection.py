"""How the captioner `server` reaches its endpoint: one deadline per request, bounded responses, no needless proxy."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

from pipeline.errors import BadInput, BadReply

SCHEMES = ("http", "https", "socks5", "socks5h")
"""Of proxies."""
FRAMING = ("content-encoding", "content-length", "transfer-encoding")
"""Headers about how a response was sent, which no longer apply when it has been read and decoded."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that the environment names."""

    variable: str
    """The variable that names it, or a word for the system's settings."""
    address: str
    """With user and password, if it has them."""

    @property
    def shown(self) -> str:
        """The address without user and password."""
        return re.sub(r"//[^/]*@", "//", self.address)

    def __str__(self) -> str:
        return f"the proxy {self.shown} of {self.variable}"


def find_proxy(url: str) -> Proxy | None:
    """The proxy that the environment names for an address. This machine's own addresses are reached without one.

    Raises:
        BadInput: the proxy can't be used.
    """
    parts = httpx2.URL(url)
    named = getproxies()
    address = named.get(parts.scheme) or named.get("all") or ""
    if not address or _is_direct(parts.host, named.get("no", "")):
        return None
    names = [spelt for name in (f"{parts.scheme}_proxy", "all_proxy") for spelt in (name, name.upper())]
    variable = next((name for name in names if os.environ.get(name) == address), "the system's settings")
    proxy = Proxy(variable, address if "://" in address else f"http://{address}")
    way = f"correct or unset it, or set NO_PROXY={parts.host} to reach {url} without a proxy"
    try:
        scheme = httpx2.Proxy(proxy.address).url.scheme
    except (httpx2.InvalidURL, ValueError):
        scheme = ""
    if scheme not in SCHEMES:
        raise BadInput(f"{variable}={proxy.shown} names no proxy of a known kind ({', '.join(SCHEMES)}); {way}.")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise BadInput(f"{variable}={proxy.shown} needs the package socksio: pip install socksio; or {way}.")
    return proxy


def _is_direct(host: str, exempt: str) -> bool:
    """Whether a host is this machine, or exempt from proxies."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost") or bool(proxy_bypass(host))
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified or proxy_bypass(host):
        return True
    return any(address in network for network in map(_network, exempt.split(",")) if network)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        return None


def why(error: openai.APIConnectionError) -> str:
    """Why a server can't be reached, in the system's words where there are any."""
    found: BaseException = error
    while (
        inner := found.exceptions[0] if isinstance(found, BaseExceptionGroup) else found.__cause__ or found.__context__
    ):
        found = inner
        if isinstance(found, OSError) and found.strerror:
            return os.strerror(found.errno) if found.errno and found.errno > 0 else found.strerror
    return str(error.__cause__ or error) or type(found).__name__


class Client(openai.DefaultAsyncHttpxClient):
    """Reads every response as a whole, headers included, within one deadline."""

    def __init__(self, proxy: Proxy | None, *, seconds: float, largest: int, **more: Any) -> None:
        """
        Args:
            seconds: for a whole request, redirects included.
            largest: most bytes of a response, decoded.
        """
        inner = httpx2.AsyncHTTPTransport(
            proxy=httpx2.Proxy(proxy.address) if proxy else None, limits=httpx2.Limits(max_connections=None)
        )
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
            async with aclosing(response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    content += piece
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
