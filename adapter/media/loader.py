"""Images and audio of content parts, loaded within the limits that are set."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from adapter.errors import invalid_request
from adapter.media.audio import AudioFormat, decode_audio
from adapter.media.budget import MediaBudget
from adapter.media.data_url import is_data_url, parse_data_url
from adapter.media.images import IMAGE_TYPES, Detail, check_declared, normalized_image
from adapter.media.medium import MediaError, Medium
from adapter.security.addresses import AllowedHosts
from adapter.security.fetcher import ContentTooLarge, Fetcher, FetchError, FetchPolicy, RefusedURL
from adapter.settings import Settings

_Loaded = TypeVar("_Loaded")
_ACCEPT = ", ".join(IMAGE_TYPES)
_MOST_THREADS = 4  # each may hold a decoded image


class MediaLoader:
    """Made once a process, within a running event loop.

    Args:
        fetcher: what fetches images; one made from the settings if None. It is closed with the loader.
    """

    def __init__(self, settings: Settings, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher or Fetcher(fetch_policy(settings))
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
            raise invalid_request(f"The URL of '{place}' {error}.", place, _fetch_code(error)) from error
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


def _fetch_code(error: FetchError) -> str:
    if isinstance(error, RefusedURL):
        return "invalid_image_url"
    return "image_file_too_large" if isinstance(error, ContentTooLarge) else "failed_to_download_image"
