"""McpToolbox against a real MCP server, in both of the protocol's eras, with answers as events and as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai.types.responses.response_output_item import McpCall, McpListTools

from adapter.encoding.response_writer import CallForm, PendingCall
from adapter.schema.mcp_tools import ApprovalFilters, McpServer, ToolFilter
from adapter.schema.tool_choice import HostedTool
from adapter.security.addresses import AllowedHosts
from adapter.tools.mcp import McpToolbox
from adapter.tools.mcp_result import LONGEST_OUTPUT
from adapter.tools.mcp_session import McpConnector
from adapter.tools.tool_names import ToolNames
from adapter.tools.toolbox import CallOutcome, ToolboxUnavailable
from tests.support.mcp_server import HUGE, RunningMCP, mcp_server

LOOPBACK = AllowedHosts.parse("127.0.0.0/8")
ALL = ["temperature", "calibrate", "forecast", "flood", "photo", "reading", "load", "reset"]


@pytest.fixture(scope="module", params=["events", "json", "legacy events", "legacy json"])
def any_server(request: pytest.FixtureRequest) -> Iterator[RunningMCP]:
    with mcp_server(json_response="json" in request.param, legacy="legacy" in request.param) as running:
        yield running


@asynccontextmanager
async def toolbox(
    server: RunningMCP, *, names: ToolNames | None = None, known: list[Any] | None = None, **request: Any
) -> AsyncIterator[McpToolbox]:
    """Opened. `request`: of McpServer."""
    connector = McpConnector(LOOPBACK, frozenset({server.port}))
    asked = McpServer(**{"place": "tools[0]", "label": "weather", "url": server.url, "approval": "never", **request})
    box = McpToolbox(asked, connector, names or ToolNames())
    try:
        await box.open(box.announcement(known or []))
        yield box
    finally:
        await box.aclose()
        connector.close()


async def listing_of(server: RunningMCP) -> dict[str, Any]:
    """The item that lists the server's tools."""
    connector = McpConnector(LOOPBACK, frozenset({server.port}))
    box = McpToolbox(McpServer("tools[0]", "weather", server.url), connector, ToolNames())
    listing = await box.open(box.announcement([]))
    await box.aclose()
    connector.close()
    assert listing is not None
    return listing


async def call(box: McpToolbox, name: str, arguments: str | dict[str, Any] = "{}") -> CallOutcome:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    offer = next(offer for offer in box.offers() if offer.tool.name == name)
    item = {
        "type": "mcp_call",
        "id": "mcp_1",
        "server_label": offer.form.server_label,
        "name": offer.form.name,
        "arguments": text,
        "output": None,
        "error": None,
        "approval_request_id": None,
        "status": "in_progress",
    }
    outcome = await box.call(PendingCall(item, "mcp", name, text))
    McpCall.model_validate(outcome.item, strict=True)
    assert outcome.failed == (outcome.item["status"] == "failed") == (outcome.item["error"] is not None)
    return outcome


async def wait_for(condition: Callable[[], Any]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 20)


async def test_lists_and_calls(any_server: RunningMCP) -> None:
    connector = McpConnector(LOOPBACK, frozenset({any_server.port}))
    box = McpToolbox(McpServer("tools[3]", "weather", any_server.url), connector, ToolNames())
    announcement = box.announcement([])
    assert announcement is not None and announcement["tools"] == []
    listed = await box.open(announcement)
    assert listed is not None and listed["id"] == announcement["id"]
    McpListTools.model_validate(listed, strict=True)
    assert [tool["name"] for tool in listed["tools"]] == ALL
    first = listed["tools"][0]
    assert first["description"] == "How warm it is in a city."
    assert first["input_schema"]["required"] == ["city"]
    assert first["annotations"] == {"readOnlyHint": True} and listed["tools"][1]["annotations"] is None
    offer = box.offers()[0]
    assert (offer.tool.name, offer.tool.parameters, offer.place) == ("temperature", first["input_schema"], "tools[3]")
    assert offer.form == CallForm("mcp_approval", "temperature", "weather")  # what is not said has to be asked for
    assert offer.hosted == HostedTool("mcp", "weather", "temperature")
    outcome = await call(box, "temperature", {"city": "Ulm"})
    assert outcome.item["output"] == outcome.told["output"] == "It is 21 degrees in Ulm."
    await box.aclose()
    connector.close()


async def test_results(any_server: RunningMCP) -> None:
    async with toolbox(any_server) as box:
        photo = await call(box, "photo")
        text, picture = photo.item["output"].split("\n")
        assert text == "The sky:"
        assert json.loads(picture) == {
            "type": "image",
            "data": "[92 characters of base64 left out]",
            "mimeType": "image/png",
        }
        reading = await call(box, "reading", {"sensor": 4})
        assert json.loads(reading.item["output"]) == {"sensor": 4, "value": 7}
        flood = await call(box, "flood")
        note = f"\n[{HUGE - LONGEST_OUTPUT:,} more characters were cut off]"
        assert flood.item["output"] == "é" * LONGEST_OUTPUT + note


async def test_failures_of_tools(any_server: RunningMCP) -> None:
    async with toolbox(any_server) as box:
        failed = await call(box, "calibrate", {"sensor": 3})
        assert failed.item["error"]["type"] == "mcp_tool_execution_error"
        [content] = failed.item["error"]["content"]
        assert "calibrate" in content["text"] and failed.told["error"] == content["text"]
        assert (await call(box, "temperature", {})).failed  # its argument is missing
        unreadable = await call(box, "temperature", '["Ulm"]')
        assert unreadable.item["error"] == {
            "type": "mcp_protocol_error",
            "code": -32602,
            "message": "The arguments are no JSON object.",
        }
        too_much = await call(box, "flood", {"size": 5_000_000})
        assert "the answer has more than 4,194,304 bytes" in too_much.told["error"]
        assert not (await call(box, "temperature", {"city": "Ulm"})).failed


async def test_a_server_that_asks_a_person(any_server: RunningMCP) -> None:
    async with toolbox(any_server) as box:
        asked = await asyncio.wait_for(call(box, "reset"), 20)
        assert asked.failed and asked.item["error"]["type"] in ("mcp_tool_execution_error", "mcp_protocol_error")


async def test_arguments_in_headers_where_the_protocol_has_them(
    any_server: RunningMCP, request: pytest.FixtureRequest
) -> None:
    async with toolbox(any_server, known=[await listing_of(any_server)]) as box:
        output = (await call(box, "load", {"region": "north"})).item["output"]
    assert output == f"north is at 40 %, by {None if 'legacy' in request.node.callspec.id else 'north'}."


async def test_calls_side_by_side_and_one_cancelled(any_server: RunningMCP, request: pytest.FixtureRequest) -> None:
    any_server.release.clear()
    any_server.cancelled.clear()
    any_server.calls.clear()
    async with toolbox(any_server) as box:
        slow = [asyncio.create_task(call(box, "forecast", {"city": city})) for city in ("Ulm", "Bonn")]
        await wait_for(lambda: any_server.calls.count("forecast") == 2)
        assert not (await call(box, "temperature", {"city": "Ulm"})).failed
        slow[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow[0]
        if request.node.callspec.id != "json":  # there, the server does not look whether its client is still there
            await wait_for(any_server.cancelled.is_set)
        assert not slow[1].done()
        any_server.release.set()
        assert (await slow[1]).item["output"] == "Rain in Bonn."


async def test_closing_in_the_middle_of_a_call(any_server: RunningMCP) -> None:
    any_server.release.clear()
    any_server.calls.clear()
    async with toolbox(any_server) as box:
        slow = asyncio.create_task(call(box, "forecast", {"city": "Ulm"}))
        await wait_for(lambda: any_server.calls)
        await box.aclose()
        outcome = await asyncio.wait_for(slow, 10)
        assert "closed the connection" in outcome.told["error"]
    any_server.release.set()


async def test_allowed_tools(any_server: RunningMCP) -> None:
    async def offered(allowed: ToolFilter) -> list[str]:
        async with toolbox(any_server, allowed=allowed) as box:
            return [offer.tool.name for offer in box.offers()]

    assert await offered(ToolFilter(tool_names=["flood", "photo", "none_such"])) == ["flood", "photo"]
    assert await offered(ToolFilter(read_only=True)) == ["temperature"]
    assert await offered(ToolFilter(read_only=False)) == ALL[1:]
    assert await offered(ToolFilter(tool_names=["photo"], read_only=True)) == []


async def test_approval(any_server: RunningMCP) -> None:
    rules = ApprovalFilters(always=ToolFilter(tool_names=["flood"]), never=ToolFilter(read_only=True))
    async with toolbox(any_server, approval=rules) as box:
        kinds = {offer.tool.name: offer.form.kind for offer in box.offers()}
    assert kinds == {**dict.fromkeys(ALL, "mcp_approval"), "temperature": "mcp"}


async def test_names_of_two_servers_and_of_the_client() -> None:
    names = ToolNames(["photo"])
    with mcp_server() as one, mcp_server() as other:
        async with toolbox(one, names=names) as first, toolbox(other, names=names, label="second") as second:
            renamed = {"photo": "weather_photo"}
            assert [offer.tool.name for offer in first.offers()] == [renamed.get(name, name) for name in ALL]
            assert [offer.tool.name for offer in second.offers()] == [f"second_{name}" for name in ALL]
            assert [offer.form.name for offer in second.offers()] == ALL
            outcome = await call(second, "second_temperature", {"city": "Ulm"})
            assert outcome.item["name"] == "temperature" and outcome.item["server_label"] == "second"
            assert outcome.told["name"] == "second_temperature"  # the name that the model knows
            assert (one.calls, other.calls) == ([], ["temperature"])


async def test_a_known_listing_is_not_asked_for_again() -> None:
    with mcp_server() as server:
        listing = await listing_of(server)
        asked = len(server.methods)
        assert asked
        known = [{"type": "mcp_list_tools", "id": "mcpl_0", "server_label": "other", "tools": []}, listing]
        async with toolbox(server, known=known, approval="never") as box:
            assert box.announcement(known) is None
            assert [offer.tool.name for offer in box.offers()] == ALL
            assert len(server.methods) == asked
            assert (await call(box, "temperature", {"city": "Ulm"})).item["output"] == "It is 21 degrees in Ulm."
        async with toolbox(server, known=known, allowed=ToolFilter(tool_names=["photo"])) as box:
            assert [offer.tool.name for offer in box.offers()] == ["photo"]
        for stale in (
            [],
            [{**listing, "error": "it failed"}],
            [{**listing, "tools": []}],
            [{**listing, "tools": [{"name": "temperature"}]}],
            [listing, {**listing, "error": "the newest counts"}],
        ):
            async with toolbox(server) as box:
                assert box.announcement(stale) is not None
        async with toolbox(server, allowed=ToolFilter(tool_names=["photo", "new_one"])) as box:
            assert box.announcement(known) is not None


async def test_the_server_goes_and_comes_back() -> None:
    with mcp_server() as server:
        port = server.port
        listing = await listing_of(server)
    async with toolbox(server, known=[listing]) as box:
        gone = await call(box, "temperature", {"city": "Ulm"})
        assert gone.told["error"] == "The MCP server 'weather' cannot be connected to."
        with mcp_server(port=port):
            assert not (await call(box, "temperature", {"city": "Ulm"})).failed
    with pytest.raises(ToolboxUnavailable, match=r"^The MCP server 'weather' cannot be connected to\.$"):
        async with toolbox(server):
            pass


async def test_too_many_tools() -> None:
    with mcp_server(extra=121) as server:
        with pytest.raises(ToolboxUnavailable, match="lists more than 128 tools: choose some with 'allowed_tools'"):
            async with toolbox(server):
                pass
        async with toolbox(server, allowed=ToolFilter(tool_names=["extra_120"])) as box:
            assert [offer.tool.name for offer in box.offers()] == ["extra_120"]


async def test_the_description_of_the_server_is_for_the_model() -> None:
    with mcp_server() as server:
        async with toolbox(server, description="Run by the airport.") as box:
            text = box.offers()[0].tool.description
        assert text == "How warm it is in a city.\n\nOf the server weather: Run by the airport."
