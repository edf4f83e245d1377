"""Proxies of the environment: not used for this machine's own addresses, and named where they are at fault."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from asking import answers_of, ask, make
from endpoint import GOOD, serving
from running import LocalServer, running

from captioners import server
from pipeline.errors import BadInput
from pipeline.network import find_proxy

REMOTE = "http://vlm.example.org:8000/v1"
BAD = ("socks5://127.0.0.1:1080", "socks://127.0.0.1:1080", "http://127.0.0.1:9", "nonsense://x", "http://[bad")


def dead() -> str:
    """The address of a proxy that does not run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("address", BAD)
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_server_on_this_machine_is_asked_without_a_proxy(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    with serving() as endpoint:
        for host in ("127.0.0.1", "localhost"):
            captioner = make(endpoint, url=endpoint.url.replace("127.0.0.1", host))
            assert answers_of(captioner, [ask()])[0].text == GOOD


LOOPBACK = ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "localhost.", "vlm.localhost", "[::1]", "0.0.0.0"]


@pytest.mark.parametrize("host", [*LOOPBACK, "[::ffff:127.0.0.1]"])
def test_no_address_of_this_machine_has_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080")
    assert find_proxy(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize("exempt", ["vlm.example.org", ".example.org", "other, example.org", "*"])
def test_exempt_hosts_have_no_proxy(exempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert str(find_proxy(REMOTE)) == "the proxy http://proxy:3128 of http_proxy"
    monkeypatch.setenv("no_proxy", exempt)
    assert find_proxy(REMOTE) is None


@pytest.mark.parametrize(("exempt", "used"), [("10.0.0.0/8", False), ("10.1.2.3", False), ("192.168.0.0/16", True)])
def test_exempt_networks_have_no_proxy(exempt: str, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert (find_proxy("http://10.1.2.3:8000/v1") is not None) is used


@pytest.mark.parametrize(
    ("variable", "address", "told"),
    [
        (
            "ALL_PROXY",
            "socks5://me:pass-word@127.0.0.1:1080",
            "ALL_PROXY=socks5://127.0.0.1:1080 needs the package socksio",
        ),
        (
            "all_proxy",
            "socks://127.0.0.1:1080",
            r"all_proxy=socks://127.0.0.1:1080 names no proxy of a known kind \(http,",
        ),
        ("http_proxy", "http://proxy:port", "http_proxy=http://proxy:port names no proxy of a known kind"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_one_sentence_that_names_its_variable(
    variable: str, address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.network.find_spec", lambda name: None)
    monkeypatch.setenv(variable, address)
    captioner = server.make({"url": REMOTE, "model": "m"})
    for asking in (captioner.identity, lambda: answers_of(captioner, [ask()])):
        with pytest.raises(BadInput, match=rf"{told}.*NO_PROXY=vlm\.example\.org to reach") as caught:
            asking()
        assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_run_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioners.server.endpoint.LIST_RETRIES", 0)
    monkeypatch.setenv("ALL_PROXY", proxy := dead())
    with pytest.raises(
        BadInput, match=rf"through the proxy {proxy} of ALL_PROXY \(.*\); correct or unset ALL_PROXY, set NO_"
    ):
        server.make({"url": REMOTE.replace("http", scheme)}).identity()


class Demanding(BaseHTTPRequestHandler):
    """A proxy that wants to know who asks."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(407, "Proxy Authentication Required")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_CONNECT = do_GET


@pytest.fixture
def demanding() -> Iterator[str]:
    with running(LocalServer(Demanding)) as proxy:
        yield proxy.url


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_named(scheme: str, demanding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioners.server.endpoint.LIST_RETRIES", 0)
    monkeypatch.setenv("all_proxy", demanding)
    captioner = server.make({"url": REMOTE.replace("http", scheme), "model": "m", "retries": 0})
    with pytest.raises(
        BadInput, match=rf"407.*the proxy {demanding} of all_proxy|the proxy {demanding} of all_proxy.*407"
    ):
        answers_of(captioner, [ask()])


def test_certificates_that_can_not_be_loaded_are_one_sentence_that_names_their_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(
        BadInput, match=r"^the certificates of SSL_CERT_FILE=.*none\.pem can't be loaded .*No such file"
    ):
        server.make({"url": "https://127.0.0.1:9/v1"}).identity()
