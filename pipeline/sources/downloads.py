"""Downloads of many files: several at once, few from one host, each within bounds, and only from public addresses.

A host's name is looked up once per connection, and the connection goes to the very address that was checked: a name
that has another address a moment later, or a redirect into the own network, leads nowhere.
"""

from __future__ import annotations

import itertools
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import anyio
import httpcore2
import httpx2
from anyio.from_thread import start_blocking_portal

from pipeline import files
from pipeline.errors import BadInput, ToolkitError
from pipeline.network import find_proxy, is_public, why
from pipeline.plugins import extras
from pipeline.sources.base import HEAD
from pipeline.sources.web import Failed, check_kind, checked, objection, phrase, wait
from pipeline.task import UrlsSection

AGENT = f"iclora/{extras.version('iclora') or '0'} (collects images for training; honours X-Robots-Tag: noai)"
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that repetition may cure."""
LONGEST_WAIT = 120.0
"""Seconds; a host that asks to be left alone for longer is left to the next run."""
CONNECT_SECONDS, SILENT_SECONDS = 15.0, 30.0
MOST_IN_VAIN = 20
"""Hosts that can't be reached, before any answer, until the network itself is taken to be at fault."""
MOST_TRIED = 4
"""Addresses of a host that a connection is tried to."""


class Named(Hashable, Protocol):
    """What has an address."""

    @property
    def url(self) -> str: ...


Source = TypeVar("Source", bound=Named)


def download(wanted: Mapping[Source, Path], limits: UrlsSection) -> Iterator[tuple[Source, Failed | None]]:
    """Downloads files, whole or not at all.

    Args:
        wanted: where each one goes.

    Yields:
        Each one as it is done, in any order, and why it is not there if it is not.

    Raises:
        BadInput: a proxy of the environment can't be used, or nothing at all can be reached.
    """
    results: SimpleQueue[tuple[Source, Failed | None] | None] = SimpleQueue()

    async def work() -> None:
        try:
            await _Downloads(limits).run(wanted, results.put)
        finally:
            results.put(None)

    with start_blocking_portal() as portal:  # a thread of its own: the caller may have an event loop
        working = portal.start_task_soon(work)
        try:
            yield from iter(results.get, None)
        finally:
            working.cancel()
    if not working.cancelled():
        working.result()


class _Downloads:
    def __init__(self, limits: UrlsSection) -> None:
        self.limits = limits
        self.rooms: dict[str, anyio.CapacityLimiter] = {}
        self.free: dict[str, float] = defaultdict(float)
        """By host, when the next request to it may begin."""
        self.pools: dict[str, httpcore2.AsyncConnectionPool] = {}
        """By the address of a proxy; "" without one."""
        self.answered, self.silent = False, set[str]()
        self.stop: ToolkitError | OSError | None = None

    async def run(self, wanted: Mapping[Source, Path], report: Any) -> None:
        """Reports each file as it is done."""
        left = deque(_interleaved(wanted))

        async def work() -> None:
            while left and not self.stop:
                one = left.popleft()
                try:
                    failed = await self._settle(one.url, wanted[one])
                except (ToolkitError, OSError) as error:  # a full disk, say
                    self.stop = error
                    return
                report((one, failed))

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(self.limits.at_once, len(left))):
                    group.start_soon(work)
        finally:
            with anyio.CancelScope(shield=True):
                for pool in self.pools.values():
                    await pool.aclose()
        if self.stop:
            raise self.stop

    async def _settle(self, url: str, path: Path) -> Failed | None:
        """Downloads a file, several times where that may help."""
        for attempt in itertools.count(1):
            try:
                await self._follow(url, path)
                return None
            except Failed as failed:
                if not failed.again:
                    return failed
                wait = failed.wait or 2.0 ** (attempt - 1)
                if attempt == self.limits.attempts or wait > LONGEST_WAIT:
                    return failed
                host = httpx2.URL(url).host
                self.free[host] = max(self.free[host], anyio.current_time() + wait)
        raise AssertionError

    async def _follow(self, url: str, path: Path) -> None:
        """Downloads a file from where an address leads.

        Raises:
            Failed: it can't be had.
            BadInput: the command must end.
        """
        where = checked(url)
        for _ in range(MOST_REDIRECTS + 1):
            async with self._turn(where.host):
                leads = await self._ask(where, path)
            if leads is None:
                return
            where = checked(leads, where)
        raise Failed("redirects", f"leads on more than {MOST_REDIRECTS} times")

    @asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[None]:
        """Waits until another request to a host is polite."""
        async with self.rooms.setdefault(host, anyio.CapacityLimiter(self.limits.per_host)):
            begin = max(self.free[host], anyio.current_time())
            self.free[host] = begin + self.limits.pause
            await anyio.sleep_until(begin)
            yield

    async def _ask(self, url: httpx2.URL, path: Path) -> str | None:
        """Downloads a file; or tells where the address leads on to."""
        pool = await self._pool(url)
        address = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers: dict[bytes | str, bytes | str] = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        times = {"connect": CONNECT_SECONDS, "read": SILENT_SECONDS, "write": SILENT_SECONDS}
        try:
            with anyio.fail_after(self.limits.seconds):
                async with pool.stream("GET", address, headers=headers, extensions={"timeout": times}) as answer:
                    self.answered = True
                    return await self._take(answer, path)
        except TimeoutError as error:
            raise Failed("unreachable", f"is not complete after {self.limits.seconds:g} s", again=True) from error
        except httpcore2.TimeoutException as error:
            raise self._unreachable(url, "it doesn't answer", again=True) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError, ssl.SSLError) as error:
            said = str(why(error)).strip().rstrip(".")
            raise self._unreachable(url, said, again="certificate" not in said.lower()) from error

    def _unreachable(self, url: httpx2.URL, said: str, *, again: bool) -> Failed | BadInput:
        """The failure; or the end of all, where no host has ever answered."""
        self.silent.add(url.host)
        if not self.answered and len(self.silent) >= MOST_IN_VAIN:
            return BadInput(
                f"none of {len(self.silent)} hosts can be reached ({said}); connect this machine to the network and "
                "run the same command again."
            )
        return Failed("unreachable", f"can't be fetched ({said})", again=again)

    async def _take(self, answer: httpcore2.Response, path: Path) -> str | None:
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.headers]
        first = dict(reversed(headers))
        status = answer.status
        if status in REDIRECTS and "location" in first:
            return first["location"]
        if status not in (HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION):
            again = status in PASSING
            said = f"{status} {phrase(status)}".strip()
            raise Failed("busy" if again else "refused", f"answers {said}", again, wait(first.get("retry-after", "")))
        if said_no := objection(value for name, value in headers if name == "x-robots-tag"):
            raise Failed("not allowed", f"is not for training: its X-Robots-Tag says {said_no}")
        packed = first.get("content-encoding", "identity").strip().lower()
        if packed not in ("", "identity"):
            raise Failed("type", f"is sent packed as {packed!a}, which was not asked for")
        length = first.get("content-length", "")
        self._check_size(int(length) if length.isdecimal() else 0)
        await self._keep(answer, path, first.get("content-type", "").partition(";")[0].strip())
        return None

    async def _keep(self, answer: httpcore2.Response, path: Path, kind: str) -> None:
        """Writes the body of an answer, unless it begins like a text or is too large."""
        part, head, size = path.with_suffix(".part"), b"", 0
        try:
            with part.open("wb") as out:
                async for chunk in answer.aiter_stream():
                    size += len(chunk)
                    self._check_size(size)
                    if len(head) < HEAD:
                        head += chunk[: HEAD - len(head)]
                        if len(head) == HEAD:
                            check_kind(head, kind)
                    out.write(chunk)
            check_kind(head, kind)
            files.settle(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _check_size(self, size: int) -> None:
        if size > self.limits.largest * 1_000_000:
            raise Failed(
                "too large", f"has more than {self.limits.largest:,} MB; allow more with urls.largest if it is wanted"
            )

    # ---- connections

    async def _pool(self, url: httpx2.URL) -> httpcore2.AsyncConnectionPool:
        """The connections for an address.

        Raises:
            Failed: a proxy would connect to a private address.
            BadInput: the proxy of the environment can't be used.
        """
        proxy = find_proxy(str(url))
        if proxy and not self.limits.allow_private:
            with suppress(OSError):  # the proxy may know hosts that this machine doesn't
                await _addresses(url.host, url.port or 0, allow_private=False)
        found = self.pools.get(key := proxy.address if proxy else "")
        if found is None:
            through = httpx2.Proxy(proxy.address) if proxy else None
            found = self.pools[key] = httpcore2.AsyncConnectionPool(
                ssl_context=self._trusted,
                proxy=httpcore2.Proxy(str(through.url), auth=through.raw_auth) if through else None,
                max_connections=self.limits.at_once,
                keepalive_expiry=10.0,
                network_backend=None if proxy else _Guarded(self.limits.allow_private),
            )
        return found

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return httpx2.create_ssl_context()


class _Guarded(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that it has checked."""

    def __init__(self, allow_private: bool) -> None:
        self.inner, self.allow_private = httpcore2.AnyIOBackend(), allow_private

    async def connect_tcp(self, host: str, port: int, *args: Any, **more: Any) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await _addresses(host, port, self.allow_private)
        except OSError as error:
            raise httpcore2.ConnectError(f"the host {host} is not found") from error
        for address in addresses[:-1]:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return await self.inner.connect_tcp(address, port, *args, **more)
        return await self.inner.connect_tcp(addresses[-1], port, *args, **more)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """The IP addresses of a host that may be connected to.

    Raises:
        OSError: it has none.
        Failed: none of them is public.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long
        raise OSError(str(error)) from error
    addresses = [str(place[0]) for *_, place in found]
    usable = [address for address in dict.fromkeys(addresses) if allow_private or is_public(address)]
    if not usable and addresses:
        raise Failed(
            "private address",
            f"leads to {addresses[0]}, which is not public; set urls.allow_private=true if it is meant to be fetched",
        )
    if not usable:
        raise OSError(f"{host} has no address")
    return usable[:MOST_TRIED]


def _interleaved(wanted: Iterable[Source]) -> list[Source]:
    """One of each host in turn, so that nobody waits for a slow host while another is idle."""
    by_host: dict[str, list[Source]] = defaultdict(list)
    for one in wanted:
        by_host[one.url.split("/")[2].lower() if one.url.count("/") > 1 else ""].append(one)
    return [one for turn in itertools.zip_longest(*by_host.values()) for one in turn if one is not None]
