"""Web search as a tool that this server runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from adapter.encoding.response_writer import CallForm, PendingCall
from adapter.parsing.tool_format import Tool
from adapter.schema.response_tools import WebSearch
from adapter.schema.tool_choice import HostedTool
from adapter.schema.unsupported import unsupported_parameter
from adapter.tools.citations import SourceNumbers, markers
from adapter.tools.search_provider import Page, SearchFailed, SearchProvider
from adapter.tools.toolbox import CallOutcome, Item, Offer

NAME = "web_search"
SOURCES = "web_search_call.action.sources"
"""What `include` names to have the addresses of all results in the item."""
_RESULTS = {"low": 3, "medium": 6, "high": 12}  # by `search_context_size`
_TEXT = {"low": 500, "medium": 1000, "high": 2000}  # characters of each result's text
_LONGEST_QUERY = 1024  # characters
_MOST_SITES = 10  # that fit into a query; all are looked at in the results
_PARAMETERS = {
    "type": "object",
    "properties": {"query": {"type": "string", "description": "What to look for, in a few words."}},
    "required": ["query"],
    "additionalProperties": False,
}


class WebSearchToolbox:
    """A Toolbox with one tool.

    Args:
        numbers: of the response; the same for all of its toolboxes.
        show_sources: the client asked for `SOURCES`.
    """

    def __init__(
        self, asked: WebSearch, provider: SearchProvider, numbers: SourceNumbers, *, show_sources: bool
    ) -> None:
        self._asked = asked
        self._provider = provider
        self._numbers = numbers
        self._show_sources = show_sources
        self._pages: dict[int, Page] = {}  # by number

    def announcement(self, known: Sequence[Item]) -> Item | None:
        return None

    async def open(self, announcement: Item | None) -> Item | None:
        return None

    def offers(self) -> Sequence[Offer]:
        tool = Tool(NAME, _description(self._asked.user_location), _PARAMETERS)
        return [Offer(tool, self._asked.place, CallForm("web_search", NAME), HostedTool("web_search"))]

    async def call(self, call: PendingCall) -> CallOutcome:
        query = _query(call.arguments)
        if query is None:
            message = f"The arguments have to be a JSON object with a 'query' of 1 to {_LONGEST_QUERY} characters."
            return _failed(call, {"type": "search", "queries": []}, message)
        action: dict[str, Any] = {"type": "search", "query": query, "queries": [query]}
        try:
            found = await self._provider.search(self._limited(query))
        except SearchFailed as failed:
            return _failed(call, action, str(failed))
        size = self._asked.context_size
        pages = [page for page in found if self._allows(page.url)][: _RESULTS[size]]
        if self._show_sources:
            action["sources"] = [{"type": "url", "url": page.url} for page in pages]
        item = {**call.item, "status": "completed", "action": action}
        results = [
            {"number": self._number(page), "title": page.title, "url": page.url, "text": page.text[: _TEXT[size]]}
            for page in pages
        ]
        return CallOutcome(item, {**item, "results": results})

    def citations(self, text: str) -> list[Item]:
        """The `url_citation` of each `[number]` in the text; indices are of characters."""
        cited = []
        for marker in markers(text):
            page = self._pages.get(marker.number)
            if page is not None:
                place = {"start_index": marker.start, "end_index": marker.end}
                cited.append({"type": "url_citation", **place, "url": page.url, "title": page.title})
        return cited

    async def aclose(self) -> None:
        pass

    def _number(self, page: Page) -> int:
        number = self._numbers.number(page.url)
        self._pages.setdefault(number, page)
        return number

    def _limited(self, query: str) -> str:
        """With the domains that alone are to be searched, as engines understand it."""
        domains = self._asked.allowed_domains
        if not domains or len(domains) > _MOST_SITES:
            return query
        return f"{query} " + " OR ".join(f"site:{domain}" for domain in domains)

    def _allows(self, url: str) -> bool:
        domains = self._asked.allowed_domains
        if not domains:
            return True
        try:
            host = httpx.URL(url).host.lower().rstrip(".")
        except httpx.InvalidURL:
            return False
        return any(host == domain or host.endswith(f".{domain}") for domain in map(str.lower, domains))


def check_configured(asked: WebSearch, provider: SearchProvider | None) -> SearchProvider:
    """Raises APIError, 400, that says what there has to be."""
    if provider is None:
        raise unsupported_parameter(
            f"{asked.place}.type",
            "It has no web search: TRITONGATE_WEB_SEARCH_URL names the SearXNG that it is to ask.",
        )
    return provider


def _description(location: Mapping[str, str]) -> str:
    text = (
        "Searches the web. Results come with numbers: after each statement that is from a result, cite it by its "
        "number in brackets, such as [1]."
    )
    if not location:
        return text
    places = [location[key] for key in ("city", "region", "country") if location.get(key)]
    zone = f" (time zone {location['timezone']})" if location.get("timezone") else ""
    return f"{text} The user is in {', '.join(places) or 'an unnamed place'}{zone}."


def _query(arguments: str) -> str | None:
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    query = given.get("query") if isinstance(given, dict) else None
    if not isinstance(query, str) or not query.strip() or len(query) > _LONGEST_QUERY:
        return None
    return query.strip()


def _failed(call: PendingCall, action: dict[str, Any], message: str) -> CallOutcome:
    item = {**call.item, "status": "failed", "action": action}
    return CallOutcome(item, {**item, "error": message}, failed=True)
