"""What searches the web: a SearXNG, or whatever speaks its JSON API.

    GET URL?q=QUERY&format=json  ->  {"results": [{"title", "url", "content", ...}, ...], ...}

Source: SearXNG's Search API. `json` has to be among `search.formats` of its settings.yml.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import httpx
import orjson

_LARGEST_ANSWER = 4 << 20  # bytes
_CONNECT_TIMEOUT = 5.0  # seconds
_LONGEST_URL = 2048  # characters
_LONGEST_TITLE = 512
_LONGEST_TEXT = 8192

logger = logging.getLogger("tritongate.tools")


class SearchFailed(Exception):
    """The message is for the model and the client: it does not tell where the provider is."""


class Page(NamedTuple):
    """text: what the provider shows of it."""

    title: str
    url: str
    text: str


class SearchProvider:
    """One for the process.

    Args:
        url: of the search page, such as http://127.0.0.1:8888/search.
        key: a bearer token, for a provider behind a door; "" for none.
        timeout: seconds for one search.
    """

    def __init__(self, url: str, key: str = "", timeout: float = 20.0) -> None:
        self._url = httpx.URL(url)
        self._timeout = timeout
        headers = {"accept": "application/json", "user-agent": "tritongate"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        limits = httpx.Limits(max_connections=32)
        seconds = httpx.Timeout(timeout, connect=_CONNECT_TIMEOUT)
        self._client = httpx.AsyncClient(headers=headers, timeout=seconds, limits=limits, trust_env=False)

    async def search(self, query: str) -> list[Page]:
        """Best first; no address comes twice.

        Raises:
            SearchFailed
        """
        try:
            answer = await asyncio.wait_for(self._answer(query), self._timeout)
        except (httpx.TimeoutException, asyncio.TimeoutError) as error:
            raise SearchFailed("The web search did not answer in time.") from error
        except httpx.HTTPError as error:
            logger.warning("web search failed", extra={"fields": {"exception": type(error).__name__}})
            raise SearchFailed("The web search cannot be reached.") from error
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise SearchFailed("The web search gave an answer that cannot be read.")
        pages = {page.url: page for page in map(_page, reversed(results)) if page is not None}
        return list(reversed(pages.values()))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _answer(self, query: str) -> Any:
        url = self._url.copy_merge_params({"q": query, "format": "json"})
        async with self._client.stream("GET", url) as response:
            if response.status_code != 200:
                logger.warning("web search failed", extra={"fields": {"status": response.status_code}})
                raise SearchFailed(f"The web search answered with status {response.status_code}.")
            content = bytearray()
            async for part in response.aiter_bytes(65_536):
                content += part
                if len(content) > _LARGEST_ANSWER:
                    raise SearchFailed(f"The web search answered with more than {_LARGEST_ANSWER:,} bytes.")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise SearchFailed("The web search gave an answer that cannot be read.") from error


def _page(result: Any) -> Page | None:
    """None: it is nothing that could be cited."""
    if not isinstance(result, dict):
        return None
    url = result.get("url")
    if not isinstance(url, str) or len(url) > _LONGEST_URL or not url.startswith(("http://", "https://")):
        return None
    title, text = (value if isinstance(value, str) else "" for value in (result.get("title"), result.get("content")))
    return Page(" ".join(title.split())[:_LONGEST_TITLE], url, " ".join(text.split())[:_LONGEST_TEXT])
