"""The media loader against real servers, over real sockets; only names resolve as the test says."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from adapter.errors import APIError
from adapter.media.file_source import FileSource
from adapter.media.loader import MediaLoader, fetch_policy
from adapter.security.fetcher import Fetcher
from adapter.settings import Settings
from tests.support.pdf import pdf
from tests.support.web_server import Names, Server, answering, ok, redirect, serving


def picture(format: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, format)
    return file.getvalue()


@asynccontextmanager
async def loading(server: Server, **given: object) -> AsyncIterator[MediaLoader]:
    settings = Settings(media_allowed_hosts="127.0.0.1", media_ports=str(server.port), **given)  # type: ignore[arg-type]
    loader = MediaLoader(settings, Fetcher(fetch_policy(settings), Names(good=[["127.0.0.1"]])))
    try:
        yield loader
    finally:
        await loader.aclose()


PLACE = "messages[0].content[1].image_url.url"


@pytest.mark.parametrize("declared", ["image/png", "image/jpeg", "application/octet-stream", None])
async def test_a_remote_image_is_what_its_content_is(declared: str | None) -> None:
    headers = [f"content-type: {declared}"] if declared else []
    async with serving(answering(ok(picture(), *headers))) as server, loading(server) as loader:
        medium = await loader.image(f"http://good.example:{server.port}/", "auto", PLACE, loader.budget())
    assert medium.kind == "image"
    assert Image.open(io.BytesIO(medium.data)).size == (40, 30)
    assert b"accept: image/png, image/jpeg, image/gif, image/webp, image/bmp\r\n" in server.heads[0].lower()


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (ok(b"<html>", "content-type: text/html"), "unsupported_image_media_type", "text/html"),
        (ok(b"", "content-type: image/png"), "empty_image_file", "empty"),
        (ok(b"x" * 2000), "image_file_too_large", "1,000 bytes"),
        (ok(b"nothing"), "invalid_image_format", "no image"),
        (b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", "failed_to_download_image", "403"),
        (redirect("http://10.0.0.1/"), "invalid_image_url", "redirects"),
    ],
)
async def test_a_remote_image_that_is_none(answer: bytes, code: str, words: str) -> None:
    async with serving(answering(answer)) as server, loading(server, max_media_bytes=1000) as loader:
        with pytest.raises(APIError) as caught:
            await loader.image(f"http://good.example:{server.port}/", "auto", PLACE, loader.budget())
    error = caught.value
    assert (error.status, error.type, error.param, error.code) == (400, "invalid_request_error", PLACE, code)
    assert words in error.message and PLACE in error.message


def remote_file(server: Server, path: str) -> FileSource:
    return FileSource("file_url", f"http://good.example:{server.port}/{path}", None, FILE_PLACE)


FILE_PLACE = "input[0].content[0].file_url"


@pytest.mark.parametrize(
    ("path", "content", "shown"),
    [
        (
            "a/annual%20report.pdf?v=2",
            pdf("Page one", "Page two"),
            '<file name="annual report.pdf">\nPage one\n\nPage two',
        ),
        ("", "h\xe9".encode(), '<file name="file">\nh\xe9'),
    ],
)
async def test_a_remote_file_is_what_its_content_is(path: str, content: bytes, shown: str) -> None:
    async with serving(answering(ok(content, "content-type: image/png"))) as server, loading(server) as loader:
        (text,) = await loader.files([remote_file(server, path)], loader.budget())
    assert text == shown + "\n</file>"
    assert b"accept: application/pdf, text/*" in server.heads[0].lower()


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (ok(b""), "empty_file", "empty"),
        (ok(b"x" * 2000), "file_too_large", "1,000 bytes"),
        (ok(b"\xff\0"), "unsupported_file", "neither a PDF file nor text"),
        (b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", "failed_to_download_file", "403"),
        (redirect("http://10.0.0.1/"), "invalid_file_url", "redirects"),
    ],
)
async def test_a_remote_file_that_is_none(answer: bytes, code: str, words: str) -> None:
    async with serving(answering(answer)) as server, loading(server, max_media_bytes=1000) as loader:
        with pytest.raises(APIError) as caught:
            await loader.files([remote_file(server, "x")], loader.budget())
    error = caught.value
    assert (error.status, error.type, error.param, error.code) == (400, "invalid_request_error", FILE_PLACE, code)
    assert words in error.message and FILE_PLACE in error.message


async def test_nothing_is_fetched_where_that_is_switched_off() -> None:
    async with serving(answering(ok(picture()))) as server, loading(server, media_remote=False) as loader:
        with pytest.raises(APIError, match="data URLs only") as caught:
            await loader.image(f"http://good.example:{server.port}/", "auto", PLACE, loader.budget())
    assert caught.value.code == "invalid_image_url" and not server.heads


async def test_a_request_fetches_four_at_a_time() -> None:
    running = most = 0

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        writer.write(ok(picture()))

    async with serving(handler) as server, loading(server) as loader:
        budget = loader.budget()
        url = f"http://good.example:{server.port}/"
        await asyncio.gather(*(loader.image(url, "auto", PLACE, budget) for _ in range(12)))
    assert (most, len(server.heads)) == (4, 12)
