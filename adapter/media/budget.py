"""How much media one request may bring."""

from __future__ import annotations

import asyncio

from adapter.errors import invalid_request

_CONCURRENT_FETCHES = 4  # of one request, so that no request takes up all that the server does at a time


class MediaBudget:
    """What a request has left. Made for each request, by `MediaLoader.budget`.

    fetching: held while one of the request's URLs is being fetched.
    """

    def __init__(self, parts: int, total: int) -> None:
        self._parts = parts
        self._total = total
        self._parts_left = parts
        self._bytes_left = total
        self.fetching = asyncio.Semaphore(_CONCURRENT_FETCHES)

    def take_part(self, place: str) -> None:
        """Counts one image or clip. Raises APIError, 400."""
        if not self._parts_left:
            message = f"A request may hold {self._parts} images and audio clips; '{place}' is one more."
            raise invalid_request(message, place, "too_many_media")
        self._parts_left -= 1

    def take_bytes(self, count: int, place: str) -> None:
        """Counts what an engine is to be given. Raises APIError, 400."""
        if count > self._bytes_left:
            message = (
                f"The images and audio of a request may take {self._total:,} bytes together (images as decoded "
                f"and written anew); '{place}' goes beyond."
            )
            raise invalid_request(message, place, "media_too_large")
        self._bytes_left -= count
