"""Lists of addresses: what is fetched, what never is, and what is said of it."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio
import numpy as np
import pytest
import website
from PIL import Image
from website import cuts, endless, hangs, leads_to, sends, serving, trickles

from miniature.film import encode
from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources import fetching
from pipeline.sources.containers import urls
from pipeline.stages import collect
from pipeline.task import Task, UrlsSection

Draw = Callable[..., Image.Image]
Gather = Callable[..., tuple[list[Record], list[Rejected]]]

EAGER = {"urls.allow_private": True, "urls.pause": 0, "urls.attempts": 2, "urls.seconds": 5}


def with_settings(**settings: object) -> Task:
    return task.load("storyboard", EAGER | {f"urls.{name}": value for name, value in settings.items()})


@pytest.fixture
def own() -> Task:
    return with_settings()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a second attempt, and no proxy of the developer's is used."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    real = anyio.sleep_until
    monkeypatch.setattr("anyio.sleep_until", lambda when: real(min(when, anyio.current_time() + 0.05)))


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def written(home: Path, lines: Iterable[str]) -> Path:
    path = home / "list.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def reasons(rejected: Iterable[Rejected]) -> dict[str, str]:
    """Reasons by the last part of what was rejected."""
    return {row.what.rpartition("/")[2]: row.reason for row in rejected}


# ---- lists


@pytest.mark.parametrize(
    "content",
    [
        b"https://a.example/1.jpg\n",
        b"# mine\n\n  http://a.example/1.jpg  \r\nhttp://a.example/2.jpg",
        b"\xef\xbb\xbfHTTPS://a.example/1.jpg",
        "https://a.example/1.jpg\r\n".encode("utf-16"),
        b'"https://a.example/1.jpg"\n',
        b"<https://a.example/1.jpg>\n",
    ],
)
def test_a_list_of_addresses_is_known_by_its_first_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "anything.dat").write_bytes(content)
    assert urls.claims(tmp_path / "anything.dat")
    assert next(urls.items(tmp_path / "anything.dat")).facts.of("url").lower().startswith("http")


@pytest.mark.parametrize(
    "content", [b"", b"a caption with https://a.example in it", b"ftp://a.example/1", b"\x89PNG", b"url\nhttp://a/1"]
)
def test_other_texts_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert not urls.claims(tmp_path / "a.txt")
    assert not urls.claims(tmp_path)


def test_items_have_the_names_and_folders_of_their_site(tmp_path: Path) -> None:
    lines = [
        "https://a.example/shop/chair%20front.jpg",
        "https://a.example:8443/get.php?id=3/4&v=front",
        "http://a.example/../.hidden/notes.txt",
        "https://a.example",
        "https://a.example/folder/",
        "https://münchen.example/größe.png",
    ]
    items = list(urls.items(written(tmp_path, lines)))
    assert [item.name for item in items] == [
        "a.example/shop/chair front.jpg",
        "a.example 8443/get id=3%2F4&v=front.php",
        "a.example/.hidden/notes.txt",
        "a.example/index",
        "a.example/folder",
        "münchen.example/größe.png",
    ]
    assert [item.facts.row for item in items] == list(range(6))
    assert items[0].facts.of("url") == lines[0]
    assert items[0].stem == "chair front" and items[0].folder.endswith("list.txt/a.example/shop")
    assert pickle.loads(pickle.dumps(items)) == items


def test_lines_that_are_no_address_are_rows_that_name_them(tmp_path: Path, own: Task, gather: Gather) -> None:
    lines = ["http://[", "www.a.example/1.jpg", "file:///etc/passwd", "http://a.example/1.jpg a caption", "http:///x"]
    records, rejected = gather(written(tmp_path, ["# c", "http://127.0.0.1:9/a.png", *lines]), own)
    assert not records and len(rejected) == 6
    told = [row.detail for row in rejected if row.reason == "address"]
    assert len(told) == 5 and all(one.endswith(".") for one in told)
    assert any("line 5 of" in one and "file:///etc/passwd" in one for one in told)
    assert any("columns url and text" in one for one in told)


def test_a_list_in_an_unknown_encoding_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("http://a.example/коробка\n".encode("cp1251"))
    (item,) = urls.items(tmp_path / "list.txt")
    assert item.fault and item.fault.reason == "encoding"


# ---- fetching


def test_pictures_and_films_are_known_by_their_bytes(tmp_path: Path, own: Task, draw: Draw, gather: Gather) -> None:
    encode(tmp_path / "a.mp4", iter([np.asarray(draw(3, (320, 180)))] * 14), size=(320, 180), fps=12)
    pages = {
        "/x/a.php": sends(png(draw(1)), Content_Type="text/html"),
        "/x/b.txt": png(draw(2)),
        "/.well-known/c": sends((tmp_path / "a.mp4").read_bytes(), Content_Type="image/png"),
        "/moved.jpg": leads_to("x/there"),
        "/x/there": png(draw(4)),
        "/page.jpg": sends(b"<html>log in, please</html>", Content_Type="text/html; charset=utf-8"),
        "/json.json": b"{}",
        "/empty.png": b"",
        "/noise.png": bytes(range(256)) * 8,
    }
    with serving(pages) as site:
        names = [path for path in pages if path != "/x/there"] + ["/missing.png"]
        records, rejected = gather(written(tmp_path, [f"{site.url}{name}" for name in names]), own)
    assert {record.position.stem.partition(" shot")[0] for record in records} == {"a", "b", "c", "moved"}
    assert all(record.url.startswith(site.url) for record in records if not record.position.film)
    assert reasons(rejected) == {
        "page.jpg": "type",
        "json.json": "type",
        "empty.png": "empty",
        "noise.png": "unsupported",
        "missing.png": "refused",
    }
    told = {row.reason: row.detail for row in rejected}
    assert told["refused"] == f"{site.url}/missing.png answers 404 Not Found."
    assert "text (text/html)" in next(row.detail for row in rejected if "page" in row.what)
    assert all(agent.startswith("iclora/") for agent in site.agents)


def test_a_second_run_fetches_nothing_again_and_says_the_same(
    tmp_path: Path, own: Task, draw: Draw, gather: Gather
) -> None:
    with serving({f"/{number}.png": png(draw(number)) for number in range(4)} | {"/t.png": b"text"}) as site:
        path = written(tmp_path, [f"{site.url}/{name}.png" for name in (0, 1, 2, 3, "t", "no")])
        first = gather(path, own)
        assert len(first[0]) == 4 and len(first[1]) == 2
        (tmp_path / "run" / "run.db").unlink()
        assert gather(path, own) == first
        assert set(site.asked.values()) == {1}
        written(tmp_path, [f"{site.url}/{name}.png" for name in (3, 2, "no")])  # another list: files and failures hold
        assert len(gather(path, own)[0]) == 2
        assert set(site.asked.values()) == {1}


def test_only_what_may_have_changed_is_asked_again(tmp_path: Path, own: Task, draw: Draw, gather: Gather) -> None:
    pages = {"/a.png": png(draw(1)), "/gone.png": sends(b"", 410), "/busy.png": [sends(b"", 503)] * 2 + [png(draw(2))]}
    with serving(pages) as site:
        path = written(tmp_path, [f"{site.url}{name}" for name in pages])
        records, rejected = gather(path, own)
        assert reasons(rejected) == {"gone.png": "refused", "busy.png": "busy"}
        assert any(row.detail.endswith("answers 503 Service Unavailable; the next run asks again.") for row in rejected)
        records, rejected = gather(path, own)
        assert len(records) == 2 and reasons(rejected) == {"gone.png": "refused"}
        assert site.asked == {"/a.png": 1, "/gone.png": 1, "/busy.png": 3}


def test_a_run_that_is_cut_off_keeps_what_it_has(tmp_path: Path, own: Task, draw: Draw, gather: Gather) -> None:
    pages = {f"/{number}.png": png(draw(number)) for number in range(6)}
    with serving(pages) as site:
        path = written(tmp_path, [f"{site.url}{name}" for name in pages])
        addresses = fetching.addresses_of(collect.find([path]))

        def stop(_: str, done: int, __: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetching.fetch(addresses, tmp_path / "run", with_settings(at_once=1).urls, stop)
        there = [each for each in addresses if (tmp_path / "run" / each.file).is_file()]
        assert 3 <= len(there) < 6 and not list((tmp_path / "run").rglob("*.part"))
        assert len(gather(path, own)[0]) == 6
        assert sum(site.asked.values()) <= 7


# ---- bounds


@pytest.mark.parametrize(
    ("answer", "reason", "said", "times"),
    [
        (endless, "too large", "has more than 1 MB", 1),
        (sends(b"", Content_Length="5000000"), "too large", "has more than 1 MB", 1),
        (hangs, "unreachable", "is not complete after 0.5 s; the next run asks again", 2),
        (trickles, "unreachable", "is not complete after 0.5 s; the next run asks again", 2),
        (cuts, "unreachable", "can't be fetched (", 2),
        (sends(b"", 429, Retry_After="1"), "busy", "answers 429 Too Many Requests", 2),
        (sends(b"", 429, Retry_After="3600"), "busy", "answers 429 Too Many Requests", 1),
        (sends(b"", 503, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT"), "busy", "answers 503", 1),
        (sends(b"", 403), "refused", "answers 403 Forbidden", 1),
        (sends(b"", 799), "refused", "answers 799.", 1),
        (leads_to("/"), "redirects", "leads on more than 5 times", 6),
        (leads_to("file:///etc/passwd"), "address", "leads to what is not an http or https address", 1),
        (leads_to("http://a.example:99999/"), "address", "leads to what is not an http or https address", 1),
        (leads_to("http://me:secret@127.0.0.1/"), "address", "has a user and a password in it", 1),
        (sends(b"\x89PNG", X_Robots_Tag="noai"), "not allowed", "X-Robots-Tag says noai", 1),
        (sends(b"\x89PNG", X_Robots_Tag="max-snippet: 3, NoImageAI"), "not allowed", "says noimageai", 1),
        (sends(b"\x89PNG", X_Robots_Tag="iclora: noindex, noai"), "not allowed", "says noai", 1),
        (sends(b"\x1f\x8b", Content_Encoding="gzip"), "type", "is sent packed as 'gzip'", 1),
    ],
)
def test_every_bad_answer_is_a_row_with_its_reason(
    answer: website.Answer, reason: str, said: str, times: int, tmp_path: Path, gather: Gather
) -> None:
    with serving({"/": answer}) as site:
        records, (row,) = gather(written(tmp_path, [f"{site.url}/"]), with_settings(largest=1, seconds=0.5))
        assert not records and row.reason == reason and said in row.detail and row.detail.endswith(".")
        assert site.asked["/"] == times


def test_what_a_site_says_to_other_robots_is_not_meant_for_us(tmp_path: Path, own: Task, draw: Draw, gather: Gather):
    with serving({"/a.png": sends(png(draw(1)), X_Robots_Tag="otherbot: noai, noimageai")}) as site:
        assert len(gather(written(tmp_path, [f"{site.url}/a.png"]), own)[0]) == 1


def test_a_host_gets_few_requests_at_once_and_pauses_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, real = [], anyio.sleep_until
    monkeypatch.setattr("anyio.sleep_until", lambda when: (begins.append(when), real(when))[1])

    def slow(handler: website.Handler) -> None:
        handler.server.over.wait(0.05)
        handler.reply(b"\x89PNG\r\n\x1a\n" + handler.path.encode())

    with serving({f"/{number}": slow for number in range(8)}) as site:
        addresses = [fetching.Address(f"{site.url}/{number}") for number in range(8)]
        fetching.fetch(addresses, tmp_path, with_settings(per_host=2, at_once=8, pause=0.02).urls)
        assert all((tmp_path / each.file).is_file() for each in addresses)
        assert site.busiest <= 2
    assert all(later - one > 0.0199 for one, later in itertools.pairwise(begins)) and len(begins) == 8


def test_nothing_is_left_of_what_was_too_large(tmp_path: Path) -> None:
    with serving({"/": endless}) as site:
        fetching.fetch([fetching.Address(f"{site.url}/")], tmp_path, with_settings(largest=1).urls)
    (note,) = (tmp_path / fetching.HOME).iterdir()
    assert json.loads(note.read_text())["reason"] == "too large"


def test_a_machine_without_a_network_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr("anyio.getaddrinfo", unknown)
    addresses = [fetching.Address(f"http://{number}.example/a.png") for number in range(60)]
    with pytest.raises(BadInput, match=r"none of \d+ hosts can be reached \(Temporary failure in name resolution\)"):
        fetching.fetch(addresses, tmp_path, with_settings(attempts=1).urls)


# ---- private addresses


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.1.nip.example"]
)
def test_no_private_address_is_asked_under_any_name(
    host: str, tmp_path: Path, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, {"127.0.0.1.nip.example": ["127.0.0.1"]})
    with serving({"/a.png": b"\x89PNG"}) as site:
        port = site.server_port
        records, (row,) = gather(written(tmp_path, [f"http://{host}:{port}/a.png"]))
        assert not records and not site.asked
        assert row.reason == "private address" and "set urls.allow_private=true" in row.detail


def resolved(monkeypatch: pytest.MonkeyPatch, known: dict[str, list[str]]) -> list[str]:
    """Has names lead to addresses, one list after the other; returns the names that are asked for."""
    asked, real = [], anyio.getaddrinfo

    async def resolve(host: str, port: int, **more: int):
        asked.append(host)
        if host not in known:
            return await real(host, port, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr("anyio.getaddrinfo", resolve)
    return asked


@pytest.fixture
def open_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public here, so that a site of the test's own may be one."""
    monkeypatch.setattr("pipeline.sources.downloads.is_public", lambda address: address == "127.0.0.1")


@pytest.mark.usefixtures("open_to_one")
@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:PORT/in", "http://169.254.169.254/latest", "http://inner.example/"]
)
def test_a_redirect_to_a_private_address_is_not_followed(
    target: str, tmp_path: Path, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, {"inner.example": ["10.0.0.1"]})
    pages = {"/a.png": lambda handler: leads_to(target.replace("PORT", str(handler.server.server_port)))(handler)}
    with serving(pages | {"/in": b"\x89PNG"}) as site:
        records, (row,) = gather(written(tmp_path, [f"{site.url}/a.png"]))
        assert not records and row.reason == "private address"
        assert site.asked == {"/a.png": 1}


@pytest.mark.usefixtures("open_to_one")
def test_the_connection_goes_to_the_address_that_was_checked(
    tmp_path: Path, draw: Draw, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that has a private address a moment after its public one was checked gains nothing by it."""
    asked = resolved(monkeypatch, {"two-faced.example": ["10.0.0.1", "127.0.0.1"]})
    with serving({"/a.png": png(draw(1))}) as site:
        records, _ = gather(written(tmp_path, [f"http://two-faced.example:{site.server_port}/a.png"]))
        assert len(records) == 1 and asked == ["two-faced.example"]


def test_a_proxy_is_not_asked_for_private_addresses(
    tmp_path: Path, draw: Draw, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolved(monkeypatch, {"inner.example": ["10.0.0.1"], "outer.example": []})
    with serving({"http://outer.example/a.png": png(draw(1))}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        path = written(tmp_path, ["http://inner.example/a.png", "http://outer.example/a.png"])
        records, (row,) = gather(path)
        assert len(records) == 1 and row.reason == "private address"
        assert set(proxy.asked) == {"http://outer.example/a.png"} and set(asked) == {"inner.example", "outer.example"}


def test_a_proxy_of_an_unknown_kind_ends_the_command(tmp_path: Path, gather: Gather, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("all_proxy", "nonsense://x")
    with pytest.raises(BadInput, match="all_proxy=nonsense://x names no proxy of a known kind"):
        gather(written(tmp_path, ["http://a.example/a.png"]))


def test_settings_of_fetching_are_those_of_the_task() -> None:
    assert UrlsSection() == task.load("storyboard").urls and not UrlsSection().allow_private
