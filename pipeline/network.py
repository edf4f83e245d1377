"""How other machines are reached: the proxies that the environment names, and which addresses are public."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.errors import BadInput

SCHEMES = ("http", "https", "socks5", "socks5h")
"""Of proxies."""
PLAIN = dict.fromkeys(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"), "it does not speak https")
"""What OpenSSL's reasons mean where no encrypted answer comes."""
AZURE = ipaddress.ip_address("168.63.129.16")
"""Where every virtual machine of that cloud finds its host: public by its number alone."""
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses whose last 32 bits are an IPv4 address (RFC 6052)."""

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


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
        ValueError: the address is none.
    """
    parts = urlsplit(url)
    host, named = parts.hostname or "", getproxies()
    address = named.get(parts.scheme) or named.get("all") or ""
    if not address or _is_direct(host, named.get("no", "")):
        return None
    names = [spelt for name in (f"{parts.scheme}_proxy", "all_proxy") for spelt in (name, name.upper())]
    variable = next((name for name in names if os.environ.get(name) == address), "the system's settings")
    proxy = Proxy(variable, address if "://" in address else f"http://{address}")
    way = f"correct or unset it, or set NO_PROXY={host} to reach {url} without a proxy"
    scheme = _scheme(proxy.address)
    if scheme not in SCHEMES:
        raise BadInput(f"{variable}={proxy.shown} names no proxy of a known kind ({', '.join(SCHEMES)}); {way}.")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise BadInput(f"{variable}={proxy.shown} needs the package socksio: pip install socksio; or {way}.")
    return proxy


def _scheme(address: str) -> str:
    """The scheme of an address; empty if it is none."""
    try:
        parts = urlsplit(address)
        return parts.scheme if parts.hostname and parts.port != 0 else ""
    except ValueError:  # half an IPv6 address, a port that is no number
        return ""


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


def why(error: BaseException) -> str:
    """Why a server can't be reached, in the system's words where there are any."""
    found = error
    while (
        inner := found.exceptions[0] if isinstance(found, BaseExceptionGroup) else found.__cause__ or found.__context__
    ):
        found = inner
        if isinstance(found, ssl.SSLError) and found.reason:  # its number is none of the system's
            reason = found.reason.replace("_", " ").lower()
            return PLAIN.get(found.reason) or f"{reason}: {getattr(found, 'verify_message', '')}".removesuffix(": ")
        if isinstance(found, OSError) and found.strerror:
            return os.strerror(found.errno) if found.errno and found.errno > 0 else found.strerror
    return str(error.__cause__ or error) or type(found).__name__


def is_public(address: str) -> bool:
    """Whether anybody on the internet may reach an IP address: no private, loopback, link-local, shared or reserved
    one, and none at which a cloud tells its machines their secrets. IPv4 addresses within IPv6 ones count too.

    Raises:
        ValueError: it is no IP address.
    """
    return all(
        one.is_global and not one.is_multicast and one != AZURE
        for one in _meant(ipaddress.ip_address(address.partition("%")[0]))
    )


def _meant(address: Ip) -> list[Ip]:
    """The address, or the IPv4 addresses that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address in TRANSLATED:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    within = [address.ipv4_mapped or address.sixtofour, *(address.teredo or ())]
    return [one for one in within if one] or [address]
