"""WebSearchToolbox against a server that speaks SearXNG's JSON."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai.types.responses import ResponseFunctionWebSearch
from openai.types.responses.response_output_text import AnnotationURLCitation

from adapter.encoding.response_writer import CallForm, PendingCall
from adapter.errors import APIError
from adapter.generation.item_messages import item_messages
from adapter.generation.media_parts import MediaParts
from adapter.schema.response_tools import WebSearch
from adapter.schema.tool_choice import HostedTool
from adapter.tools.citations import SourceNumbers
from adapter.tools.search_provider import SearchProvider
from adapter.tools.toolbox import CallOutcome
from adapter.tools.web_search import WebSearchToolbox, check_configured
from tests.support.search_server import RunningSearch, search_server

ASKED = WebSearch("tools[1]", "web_search", "medium", {}, ())


@pytest.fixture
def server() -> Iterator[RunningSearch]:
    with search_server() as running:
        yield running


@asynccontextmanager
async def toolbox(
    server: RunningSearch, asked: WebSearch = ASKED, *, sources: bool = False, key: str = "", timeout: float = 20.0
) -> AsyncIterator[WebSearchToolbox]:
    provider = SearchProvider(server.url, key, timeout)
    box = WebSearchToolbox(asked, provider, SourceNumbers(), show_sources=sources)
    assert box.announcement([]) is None and await box.open(None) is None
    try:
        yield box
    finally:
        await box.aclose()
        await provider.aclose()


async def search(box: WebSearchToolbox, arguments: str | dict[str, Any]) -> CallOutcome:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    action = {"type": "search", "queries": []}
    item = {"type": "web_search_call", "id": "ws_" + "0" * 32, "status": "in_progress", "action": action}
    outcome = await box.call(PendingCall(item, "web_search", "web_search", text))
    ResponseFunctionWebSearch.model_validate(outcome.item, strict=True)
    assert outcome.failed == (outcome.item["status"] == "failed")
    return outcome


def read_by_model(outcome: CallOutcome) -> str:
    messages = item_messages([outcome.told], None, MediaParts(frozenset()))
    assert messages[-1]["role"] == "tool"
    text: str = messages[-1]["content"]
    return text


async def test_offer(server: RunningSearch) -> None:
    place = {"city": "Husum", "country": "DE", "timezone": "Europe/Berlin"}
    async with toolbox(server, WebSearch("tools[1]", "web_search", "low", place, ())) as box:
        [offer] = box.offers()
    assert (offer.place, offer.form, offer.hosted) == (
        "tools[1]",
        CallForm("web_search", "web_search"),
        HostedTool("web_search"),
    )
    assert offer.tool.name == "web_search" and offer.tool.parameters["required"] == ["query"]
    assert "The user is in Husum, DE (time zone Europe/Berlin)." in offer.tool.description


async def test_searches(server: RunningSearch) -> None:
    async with toolbox(server, key="s3cret") as box:
        outcome = await search(box, {"query": " tides at Husum "})
    assert server.queries == [{"q": "tides at Husum", "format": "json"}]
    assert server.heads[0]["authorization"] == "Bearer s3cret"
    assert outcome.item["action"] == {"type": "search", "query": "tides at Husum", "queries": ["tides at Husum"]}
    assert outcome.item["status"] == "completed" and "results" not in outcome.item
    assert read_by_model(outcome) == (
        "[1] Tide tables of the North Sea https://tides.example/north-sea: High water at Husum: 04:12 and 16:40.\n\n"
        "[2] Husum harbour https://www.harbour.example/husum: The harbour office.\n\n"
        "[3] https://notes.example/1:"
    )


async def test_sources_where_they_are_asked_for(server: RunningSearch) -> None:
    async with toolbox(server, sources=True) as box:
        outcome = await search(box, {"query": "tides"})
    assert outcome.item["action"]["sources"] == [
        {"type": "url", "url": "https://tides.example/north-sea"},
        {"type": "url", "url": "https://www.harbour.example/husum"},
        {"type": "url", "url": "https://notes.example/1"},
    ]


async def test_citations_through_two_searches(server: RunningSearch) -> None:
    async with toolbox(server) as box:
        await search(box, {"query": "tides"})
        one = {"title": "New", "url": "https://new.example/", "content": "new"}
        old = {"title": "Husum harbour", "url": "https://www.harbour.example/husum", "content": "again"}
        server.results = lambda query: [one, old]
        second = await search(box, {"query": "more"})
        assert [(result["number"], result["url"]) for result in second.told["results"]] == [
            (4, "https://new.example/"),
            (2, "https://www.harbour.example/husum"),
        ]
        assert read_by_model(second).startswith("[4] New https://new.example/: new\n\n[2] Husum harbour")
        text = "Höchststand 16:40 [1], neu【4】. Nicht [0], [5], [x] oder [1000]."
        cited = box.citations(text)
    for citation in cited:
        AnnotationURLCitation.model_validate(citation, strict=True)
    assert [(text[one["start_index"] : one["end_index"]], one["url"], one["title"]) for one in cited] == [
        ("[1]", "https://tides.example/north-sea", "Tide tables of the North Sea"),
        ("【4】", "https://new.example/", "New"),
    ]


async def test_domains(server: RunningSearch) -> None:
    asked = WebSearch("tools[1]", "web_search", "medium", {}, ("Harbour.example", "other.example"))
    async with toolbox(server, asked) as box:
        server.results = lambda query: [
            {"title": "in", "url": "https://www.harbour.example/husum"},
            {"title": "in", "url": "https://harbour.example:8443/"},
            {"title": "out", "url": "https://notharbour.example/"},
            {"title": "out", "url": "https://harbour.example.evil.example/"},
            {"title": "out", "url": "https://harbour.example@evil.example/"},
        ]
        outcome = await search(box, {"query": "office"})
    assert server.queries[0]["q"] == "office site:Harbour.example OR site:other.example"
    assert outcome.item["action"]["query"] == "office"
    assert [result["title"] for result in outcome.told["results"]] == ["in", "in"]


@pytest.mark.parametrize(("size", "results", "text"), [("low", 3, 500), ("medium", 6, 1000), ("high", 12, 2000)])
async def test_context_size(server: RunningSearch, size: str, results: int, text: int) -> None:
    server.results = lambda query: [
        {"title": f"page {number}", "url": f"https://a.example/{number}", "content": "x" * 3000} for number in range(20)
    ]
    async with toolbox(server, WebSearch("tools[1]", "web_search", size, {}, ())) as box:
        told = (await search(box, {"query": "x"})).told["results"]
    assert [result["title"] for result in told] == [f"page {number}" for number in range(results)]
    assert {len(result["text"]) for result in told} == {text}


async def test_results_that_cannot_be_cited(server: RunningSearch) -> None:
    server.results = lambda query: [
        "no object",  # type: ignore[list-item]
        {"title": "no address"},
        {"title": "no page", "url": "javascript:alert(1)"},
        {"title": "too long", "url": "https://a.example/" + "x" * 3000},
        {"title": ["no text"], "url": "https://a.example/", "content": 3},
        {"title": "again", "url": "https://a.example/", "content": "again"},
    ]
    async with toolbox(server) as box:
        outcome = await search(box, {"query": "x"})
        assert read_by_model(outcome) == "[1] https://a.example/:"
        server.results = lambda query: []
        assert read_by_model(await search(box, {"query": "x"})) == "Nothing was found."


@pytest.mark.parametrize("arguments", ["", "[]", "{}", '{"query": 1}', '{"query": " "}', "{", {"query": "x" * 1025}])
async def test_arguments_that_say_no_query(server: RunningSearch, arguments: str | dict[str, Any]) -> None:
    async with toolbox(server) as box:
        outcome = await search(box, arguments)
    assert outcome.failed and "'query' of 1 to 1024 characters" in read_by_model(outcome)
    assert not server.queries


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b"", "The web search answered with status 403."),
        (302, b"", "The web search answered with status 302."),
        (200, b"<html>", "The web search gave an answer that cannot be read."),
        (200, b"[]", "The web search gave an answer that cannot be read."),
        (200, b'{"results": {}}', "The web search gave an answer that cannot be read."),
        (200, b" " * (5 << 20), "The web search answered with more than 4,194,304 bytes."),
    ],
)
async def test_failures_are_for_the_model(server: RunningSearch, status: int, body: bytes, said: str) -> None:
    server.status, server.body = status, body
    async with toolbox(server) as box:
        outcome = await search(box, {"query": "x"})
    assert outcome.failed and read_by_model(outcome) == said
    assert outcome.item["action"]["query"] == "x" and "error" not in outcome.item


async def test_a_provider_that_is_silent_or_gone(server: RunningSearch) -> None:
    server.wait = threading.Event()
    async with toolbox(server, timeout=0.3) as box:
        assert read_by_model(await search(box, {"query": "x"})) == "The web search did not answer in time."
        slow = asyncio.create_task(search(box, {"query": "x"}))
        await asyncio.sleep(0)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    async with toolbox(RunningSearch(port=1)) as box:
        assert read_by_model(await search(box, {"query": "x"})) == "The web search cannot be reached."


def test_without_a_provider_the_tool_is_refused() -> None:
    with pytest.raises(APIError) as error:
        check_configured(ASKED, None)
    assert error.value.status == 400 and error.value.param == "tools[1].type"
    assert "TRITONGATE_WEB_SEARCH_URL" in error.value.message
