"""The fetcher against real servers, over real sockets; only names resolve as the test says."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path

import pytest

from adapter.errors import APIError
from adapter.security.fetcher import ContentTooLarge, Fetcher, FetchFailed, FetchPolicy, RefusedURL
from adapter.security.resolver import SystemResolver
from tests.support.web_server import Names, answering, fetcher, ok, redirect, serving

TLS = Path(__file__).parents[1] / "data" / "tls"


async def test_what_is_sent_and_what_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    answer = ok(b"content", "content-type: Image/PNG; x=y", "set-cookie: a=b")
    async with serving(answering(answer)) as server:
        fetch = fetcher(server.port)
        for _ in range(2):
            fetched = await fetch.fetch(f"http://good.example:{server.port}/%2Fa%20b?q=%41&r#part", 7, "image/png")
            assert (fetched.content, fetched.media_type) == (b"content", "image/png")
    for head in server.heads:
        lines = head.decode().lower().split("\r\n")
        assert head.startswith(b"GET /%2Fa%20b?q=%41&r HTTP/1.1\r\n")
        assert f"host: good.example:{server.port}" in lines
        assert "user-agent: tritongate" in lines and "accept: image/png" in lines
        assert "accept-encoding: identity" in lines
        assert not any(line.startswith(("cookie", "authorization")) for line in lines)


async def test_a_name_that_changes_is_looked_up_once() -> None:
    """DNS rebinding: the second answer would lead to another server."""
    async with serving(answering(ok(b"public"))) as server:
        names = Names(rebinds=[["127.0.0.1"], ["127.0.0.2"]])
        fetched = await fetcher(server.port, names=names).fetch(f"http://rebinds.example:{server.port}/", 100)
    assert fetched.content == b"public"
    assert names.asked == ["rebinds.example"]


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["8.8.8.8", "::1"], ["fe80::1"], ["169.254.169.254"], []]
)
async def test_one_bad_address_is_enough(addresses: list[str]) -> None:
    async with serving(answering(ok(b"x"))) as server:
        with pytest.raises(RefusedURL) as refused:
            await fetcher(server.port, names=Names(bad=[addresses])).fetch(f"http://bad.example:{server.port}/", 100)
        with pytest.raises(RefusedURL) as unknown:
            await fetcher(server.port).fetch(f"http://unknown.example:{server.port}/", 100)
    assert not server.heads
    assert str(refused.value) == str(unknown.value), "the message tells whether an internal name exists"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "0177.0.0.1", "0", "localhost", "localhost."),
        *("[::1]", "[::ffff:127.0.0.1]", "[::]", "10.0.0.1", "[fe80::1%25lo]", "[::7f00:1]", "[64:ff9b::7f00:1]"),
    ],
)
async def test_every_spelling_of_this_machine(host: str) -> None:
    """With the system's own resolver, which reads the old spellings of IPv4."""
    async with serving(answering(ok(b"secret"))) as server:
        fetch = Fetcher(FetchPolicy(ports=frozenset({server.port})), SystemResolver())
        with pytest.raises(RefusedURL):
            await fetch.fetch(f"http://{host}:{server.port}/", 100)
        await fetch.aclose()
    assert not server.heads


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://good.example/x", "kind"),
        ("file:///etc/passwd", "kind"),
        ("gopher://good.example/", "kind"),
        ("/etc/passwd", "kind"),
        ("", "kind"),
        ("http:///x", "no host"),
        ("http://user:secret@good.example/", "credentials"),
        ("http://user@good.example/", "credentials"),
        ("http://127.0.0.1\\@good.example/", "credentials"),
        ("http://good.example:22/", "port"),
        ("http://good.example:0/", "port"),
        ("http://good.example/\r\nx: y", "valid"),
        ("http://good.example:port/", "valid"),
        ("http://good.example/" + "x" * 9000, "longer"),
    ],
)
async def test_urls_that_are_not_fetched(url: str, words: str) -> None:
    with pytest.raises(RefusedURL, match=words):
        await fetcher(80, 443).fetch(url, 100)


async def test_redirects_are_followed_and_looked_at() -> None:
    steps = {b"/1": redirect("/2", 301), b"/2": redirect("//other.example:{port}/3", 307), b"/3": ok(b"there")}

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(steps[head.split()[1]].replace(b"{port}", str(server.port).encode()))

    async with serving(handler) as server:
        names = Names(good=[["127.0.0.1"]], other=[["127.0.0.1"]])
        fetched = await fetcher(server.port, names=names).fetch(f"http://good.example:{server.port}/1", 100)
    assert fetched.content == b"there"
    assert names.asked == ["good.example", "good.example", "other.example"]


@pytest.mark.parametrize(
    "location",
    [
        *("http://10.0.0.1:{port}/", "http://internal.example:{port}/", "file:///etc/passwd", "ftp://good.example/"),
        *("http://a:b@good.example:{port}/", "http://good.example:22/", "http://[::1]:{port}/", "http://[bad"),
    ],
)
async def test_a_redirect_to_a_place_that_is_not_fetched(location: str) -> None:
    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(redirect(location.replace("{port}", str(server.port))))

    async with serving(handler) as server:
        names = Names(good=[["127.0.0.1"]], internal=[["10.0.0.1"]])
        with pytest.raises(RefusedURL, match="redirects to a place") as caught:
            await fetcher(server.port, names=names).fetch(f"http://good.example:{server.port}/", 100)
    assert "internal" not in str(caught.value) and len(server.heads) == 1


async def test_a_rebinding_redirect() -> None:
    """The same name, looked at anew for the second hop, now resolves to what is not public."""
    async with serving(answering(redirect("/again"))) as server:
        names = Names(good=[["127.0.0.1"], ["10.0.0.1"]])
        with pytest.raises(RefusedURL, match="redirects to a place"):
            await fetcher(server.port, names=names).fetch(f"http://good.example:{server.port}/", 100)
    assert len(server.heads) == 1


async def test_redirects_without_end() -> None:
    async with serving(answering(redirect("/again"))) as server:
        with pytest.raises(FetchFailed, match="more than 5"):
            await fetcher(server.port).fetch(f"http://good.example:{server.port}/", 100)
    assert len(server.heads) == 6


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n"],
        [CHUNKED, *[b"32\r\n" + b"x" * 50 + b"\r\n"] * 1000],
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 60] * 1000],
    ],
    ids=["announced", "chunked", "until-close"],
)
async def test_more_than_is_taken(parts: list[bytes]) -> None:
    async with serving(answering(*parts)) as server:
        with pytest.raises(ContentTooLarge, match="100 bytes"):
            await fetcher(server.port).fetch(f"http://good.example:{server.port}/", 100)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 206 Partial\r\ncontent-length: 0\r\n\r\n", "status 206"),
        (b"HTTP/1.1 304 Same\r\n\r\n", "status 304"),
        (b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "no place"),
        (ok(gzip.compress(b"x" * 50_000_000, 1)[:90], "content-encoding: gzip"), "encoding"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort", "HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 500_000 + b"\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "HTTP"),
        (b"", "HTTP"),
    ],
    ids=["404", "206", "304", "no-location", "gzip", "cut-off", "huge-header", "ssh", "silent"],
)
async def test_answers_that_are_none(answer: bytes, words: str) -> None:
    async with serving(answering(answer)) as server:
        with pytest.raises(FetchFailed, match=words):
            await fetcher(server.port).fetch(f"http://good.example:{server.port}/", 100)


async def test_a_server_that_trickles() -> None:
    gone = asyncio.Event()

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.transport.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            gone.set()

    async with serving(handler) as server:
        with pytest.raises(FetchFailed, match=r"within 0.3 seconds"):
            await fetcher(server.port, timeout=0.3).fetch(f"http://good.example:{server.port}/", 1 << 20)
        await asyncio.wait_for(gone.wait(), 10)


async def test_a_client_that_leaves_ends_the_fetch() -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        came.set()
        while not writer.transport.is_closing():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.02)
        gone.set()

    async with serving(handler) as server:
        fetch = fetcher(server.port, concurrent=1)
        task = asyncio.create_task(fetch.fetch(f"http://good.example:{server.port}/", 100))
        await asyncio.wait_for(came.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 10)
        server.handler = answering(ok(b"next"))
        assert (await fetch.fetch(f"http://good.example:{server.port}/", 100)).content == b"next"  # its slot is free


async def test_fetches_beyond_the_slots_wait_and_are_told_so() -> None:
    release, running, most = asyncio.Event(), 0, 0

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        writer.write(ok(b"x"))
        running -= 1

    async with serving(handler) as server:
        url = f"http://good.example:{server.port}/"
        fetch = fetcher(server.port, concurrent=2)
        tasks = [asyncio.create_task(fetch.fetch(url, 100)) for _ in range(6)]
        await asyncio.sleep(0.3)
        release.set()
        await asyncio.gather(*tasks)
        assert most == 2
        release.clear()
        fetch = fetcher(server.port, concurrent=1, timeout=0.5)
        blocked = asyncio.create_task(fetch.fetch(url, 100))
        await asyncio.sleep(0.05)
        fetch._policy.__dict__["timeout"] = 0.1  # those who wait give up before the one who fetches does
        with pytest.raises(APIError) as caught:
            await fetch.fetch(url, 100)
        assert (caught.value.status, caught.value.code) == (503, "overloaded")
        release.set()
        await blocked


async def test_the_next_address_is_tried_when_one_cannot_be_connected_to() -> None:
    async with serving(answering(ok(b"x"))) as server:
        names = Names(two=[["127.0.0.9", "127.0.0.1"]], none=[["127.0.0.9"]])
        fetch = fetcher(server.port, names=names)
        assert (await fetch.fetch(f"http://two.example:{server.port}/", 100)).content == b"x"
        with pytest.raises(FetchFailed, match="cannot be connected to"):
            await fetch.fetch(f"http://none.example:{server.port}/", 100)


async def test_tls_is_for_the_name_and_goes_to_the_address() -> None:
    asked: list[str | None] = []
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    offered.sni_callback = lambda socket, name, context: asked.append(name)
    trusted = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    names = Names(localhost=[["127.0.0.1"]], good=[["127.0.0.1"]])
    async with serving(answering(ok(b"private")), offered) as server:
        fetch = fetcher(server.port, names=names, tls=trusted)
        assert (await fetch.fetch(f"https://localhost:{server.port}/", 100)).content == b"private"
        assert (await fetch.fetch(f"https://127.0.0.1:{server.port}/", 100)).content == b"private"
        for url, trust in [("https://good.example", trusted), ("https://localhost", None)]:
            with pytest.raises(FetchFailed, match="certificate"):
                await fetcher(server.port, names=names, tls=trust).fetch(f"{url}:{server.port}/", 100)
    assert asked == ["localhost", None, "good.example", "localhost"]
    assert len(server.heads) == 2
