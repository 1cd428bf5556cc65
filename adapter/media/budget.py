"""How much media one request may bring."""

from __future__ import annotations

import asyncio

from adapter.errors import invalid_request

MOST_CHARACTERS = 4_000_000
"""Of the text of all files of a request: as much as fills a context of a million tokens."""

_CONCURRENT_FETCHES = 4  # of one request, so that no request takes up all that the server does at a time


class MediaBudget:
    """What a request has left. Made for each request, by `MediaLoader.budget`.

    fetching: held while one of the request's URLs is being fetched.
    reading: held while one of its files is being read, so that it does not wait for a place that it holds itself.
    """

    def __init__(self, parts: int, total: int, characters: int = MOST_CHARACTERS) -> None:
        self._parts = parts
        self._total = total
        self._parts_left = parts
        self._bytes_left = total
        self._characters = self._characters_left = characters
        self.fetching = asyncio.Semaphore(_CONCURRENT_FETCHES)
        self.reading = asyncio.Lock()

    def foresee(self, parts: int, size: int, place: str) -> None:
        """Refuses what could not be taken later; counts nothing. Raises APIError, 400.

        Args:
            parts: images, clips and files. size: their bytes.
        """
        if parts > self._parts_left:
            message = f"A request may hold {self._parts} images, audio clips and files; '{place}' is one more."
            raise invalid_request(message, place, "too_many_media")
        if size > self._bytes_left:
            message = (
                f"The images, audio and files of a request may take {self._total:,} bytes together (images as decoded "
                f"and written anew); '{place}' goes beyond."
            )
            raise invalid_request(message, place, "media_too_large")

    def take_part(self, place: str) -> None:
        """Counts one image, clip or file. Raises APIError, 400."""
        self.foresee(1, 0, place)
        self._parts_left -= 1

    def take_bytes(self, count: int, place: str) -> None:
        """Counts what an engine is to be given, or text is taken from. Raises APIError, 400."""
        self.foresee(0, count, place)
        self._bytes_left -= count

    def take_characters(self, count: int, place: str) -> None:
        """Counts the text of a file. Raises APIError, 400."""
        if count > self._characters_left:
            message = (
                f"The files of a request may hold {self._characters:,} characters of text together; '{place}' goes "
                "beyond."
            )
            raise invalid_request(message, place, "file_too_large")
        self._characters_left -= count
