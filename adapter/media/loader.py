"""Images, audio and files of content parts, loaded within the limits that are set."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import httpx

from adapter.errors import invalid_request
from adapter.media.audio import AudioFormat, decode_audio
from adapter.media.base64_data import Base64Error, DecodedTooLarge, decode_base64
from adapter.media.budget import MediaBudget
from adapter.media.data_url import TOO_LARGE, Kind, is_data_url, parse_data_url
from adapter.media.documents import DocumentReader, shown
from adapter.media.file_source import FileContent, FileSource, kept_file
from adapter.media.images import IMAGE_TYPES, Detail, check_declared, normalized_image
from adapter.media.medium import MediaError, Medium
from adapter.security.addresses import AllowedHosts
from adapter.security.fetcher import ContentTooLarge, Fetcher, FetchError, FetchPolicy, RefusedURL
from adapter.settings import Settings

_Loaded = TypeVar("_Loaded")
_ACCEPT = ", ".join(IMAGE_TYPES)
_ACCEPT_FILE = "application/pdf, text/*, application/json, */*;q=0.5"
_FILES_SECONDS = 120.0  # for all files of a request
_MOST_THREADS = 4  # each may hold a decoded image


class MediaLoader:
    """Made once a process, within a running event loop.

    Args:
        fetcher: what fetches images; one made from the settings if None. It is closed with the loader.
    """

    def __init__(self, settings: Settings, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher or Fetcher(fetch_policy(settings))
        self.documents = DocumentReader()
        self._threads = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), "media")

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._fetcher.aclose()

    def budget(self) -> MediaBudget:
        """What one request may bring; all of its parts are loaded with the same one."""
        return MediaBudget(self._settings.max_media, self._settings.max_media_total_bytes)

    async def image(self, url: str, detail: Detail, place: str, budget: MediaBudget) -> Medium:
        """The image at an http(s) or data URL.

        Args:
            place: where the URL stands in the request, such as `messages[0].content[1].image_url.url`.

        Raises:
            APIError: 400, it is no image that can be used; `param` is `place`. 503, too many fetches are waiting.
        """
        budget.take_part(place)
        try:
            if is_data_url(url):
                written = await self._in_thread(lambda: self._from_data_url(url, detail))
            else:
                written = await self._from_network(url, detail, budget)
        except MediaError as error:
            raise invalid_request(f"The image of '{place}' {error.message}.", place, error.code) from error
        except FetchError as error:
            raise invalid_request(f"The URL of '{place}' {error}.", place, _fetch_code(error, "image")) from error
        budget.take_bytes(len(written), place)
        return Medium("image", written)

    async def audio(self, data: str, format: AudioFormat, place: str, budget: MediaBudget) -> Medium:
        """The clip that `data` (base64) holds.

        Raises:
            APIError: 400, it is no such clip; `param` is `place`.
        """
        budget.take_part(place)
        settings = self._settings
        try:
            content = await self._in_thread(
                lambda: decode_audio(data, format, settings.max_media_bytes, settings.max_audio_seconds)
            )
        except MediaError as error:
            raise invalid_request(f"The audio of '{place}' {error.message}.", place, error.code) from error
        budget.take_bytes(len(content), place)
        return Medium("audio", content)

    async def files(
        self, sources: Sequence[FileSource], budget: MediaBudget, file_content: FileContent | None = None
    ) -> list[str]:
        """What a prompt shows of each file: its name and its text.

        Args:
            file_content: files that are kept here, by their ids.

        Raises:
            APIError: 400, a file cannot be used; `param` is its place. 503, too many files are waiting.
        """
        tasks = [asyncio.ensure_future(self._file(source, budget, file_content)) for source in sources]
        try:
            return list(await asyncio.wait_for(asyncio.gather(*tasks), _FILES_SECONDS))
        except asyncio.TimeoutError:
            message = f"The files of the request take more than {_FILES_SECONDS:g} seconds to fetch and to read."
            raise invalid_request(message, sources[0].place, "file_too_large") from None
        finally:
            for task in tasks:
                task.cancel()
            # The processes that read for them have ended when this returns.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _file(self, source: FileSource, budget: MediaBudget, file_content: FileContent | None) -> str:
        place = source.place
        budget.take_part(place)
        try:
            name, content = await self._content(source, budget, file_content)
            budget.take_bytes(len(content), place)
            async with budget.reading:
                text = await self.documents.text(content)
        except MediaError as error:
            raise invalid_request(f"The file of '{place}' {error.message}.", place, error.code) from error
        except FetchError as error:
            raise invalid_request(f"The URL of '{place}' {error}.", place, _fetch_code(error, "file")) from error
        budget.take_characters(len(text), place)
        return shown(source.filename or name, text)

    async def _content(
        self, source: FileSource, budget: MediaBudget, file_content: FileContent | None
    ) -> tuple[str | None, bytes]:
        """Name, if there is one, and bytes."""
        most = self._settings.max_media_bytes
        value = source.value
        if source.field == "file_data":
            return None, await self._in_thread(lambda: _decoded(value, most))
        if source.field == "file_url":
            if is_data_url(value):
                return None, await self._in_thread(lambda: _decoded(value, most))
            async with budget.fetching:
                fetched = await self._fetcher.fetch(value, most, _ACCEPT_FILE)
            return _last_step(value), fetched.content
        name, content = await kept_file(value, source.place, file_content)
        if len(content) > most:
            raise MediaError(f"holds more than {most:,} bytes", TOO_LARGE["file"])
        return name, content

    def _from_data_url(self, url: str, detail: Detail) -> bytes:
        data = parse_data_url(url, self._settings.max_media_bytes)
        check_declared(data.media_type, data.content, by_server=False)
        return self._normalized(data.content, detail)

    async def _from_network(self, url: str, detail: Detail, budget: MediaBudget) -> bytes:
        async with budget.fetching:
            fetched = await self._fetcher.fetch(url, self._settings.max_media_bytes, _ACCEPT)
        check_declared(fetched.media_type, fetched.content, by_server=True)
        return await self._in_thread(lambda: self._normalized(fetched.content, detail))

    def _normalized(self, content: bytes, detail: Detail) -> bytes:
        return normalized_image(content, detail, self._settings.max_image_pixels, self._settings.max_image_edge)

    async def _in_thread(self, work: Callable[[], _Loaded]) -> _Loaded:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def fetch_policy(settings: Settings) -> FetchPolicy:
    """What the settings say of fetching."""
    return FetchPolicy(
        enabled=settings.media_remote,
        allowed=AllowedHosts.parse(settings.media_allowed_hosts),
        ports=frozenset(int(port) for port in settings.media_ports.split(",")),
        timeout=settings.media_timeout,
    )


def _decoded(data: str, most: int) -> bytes:
    """The bytes of a data URL, or of base64 alone."""
    if is_data_url(data):
        return parse_data_url(data, most, "file").content
    try:
        return decode_base64(data.encode("ascii", "replace"), most)
    except Base64Error as error:
        raise MediaError(f"is no valid base64: {error}", "invalid_base64_file") from error
    except DecodedTooLarge:
        raise MediaError(f"holds more than {most:,} bytes", TOO_LARGE["file"]) from None


def _last_step(url: str) -> str | None:
    """What a URL that was fetched calls its file."""
    return httpx.URL(url).path.rpartition("/")[2] or None


def _fetch_code(error: FetchError, kind: Kind) -> str:
    if isinstance(error, RefusedURL):
        return f"invalid_{kind}_url"
    return TOO_LARGE[kind] if isinstance(error, ContentTooLarge) else f"failed_to_download_{kind}"
