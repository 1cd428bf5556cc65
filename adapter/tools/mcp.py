"""The tools of an MCP server, for one response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from adapter.encoding.output_items import new_id
from adapter.encoding.response_writer import CallForm, PendingCall
from adapter.parsing.tool_format import Tool
from adapter.schema.mcp_tools import McpServer
from adapter.schema.tool_choice import HostedTool
from adapter.tools.mcp_listing import known_tools, list_tools, read_only
from adapter.tools.mcp_result import result_text
from adapter.tools.mcp_session import McpConnector, McpFailed
from adapter.tools.tool_names import ToolNames
from adapter.tools.toolbox import CallOutcome, Item, Offer, ToolboxUnavailable

_INVALID_PARAMS = -32602  # JSON-RPC's


class McpToolbox:
    """A Toolbox. It connects when it has to: for the list, or for the first call where the context has the list.

    Args:
        names: of the whole request; the same for all of its toolboxes.
    """

    def __init__(self, server: McpServer, connector: McpConnector, names: ToolNames) -> None:
        self._server = server
        self._names = names
        self._listed: list[Item] | None = None
        self._offers: list[Offer] = []
        headers = dict(server.headers)
        if server.authorization:
            headers["authorization"] = f"Bearer {server.authorization}"
        self._session = connector.session(server.url, headers)

    def announcement(self, known: Sequence[Item]) -> Item | None:
        self._listed = known_tools(self._server, known)
        if self._listed is not None:
            return None
        return {
            "type": "mcp_list_tools",
            "id": new_id("mcpl_"),
            "server_label": self._server.label,
            "tools": [],
            "error": None,
        }

    async def open(self, announcement: Item | None) -> Item | None:
        """Raises ToolboxUnavailable."""
        if self._listed is None:
            try:
                self._listed = await list_tools(self._server, self._session.tool_pages())
            except McpFailed as failed:
                raise ToolboxUnavailable(self._message(failed)) from failed
        self._offers = [self._offer(listed) for listed in self._listed]
        return None if announcement is None else {**announcement, "tools": self._listed}

    def offers(self) -> Sequence[Offer]:
        return self._offers

    async def call(self, call: PendingCall) -> CallOutcome:
        name = next(offer.hosted.name for offer in self._offers if offer.tool.name == call.name)
        try:
            arguments = orjson.loads(call.arguments) if call.arguments.strip() else {}
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            message = "The arguments are no JSON object."
            return _failed(call, {"type": "mcp_protocol_error", "code": _INVALID_PARAMS, "message": message}, message)
        try:
            result = await self._session.call_tool(name, arguments)
        except McpFailed as failed:
            message = self._message(failed)
            kind = {"type": "mcp_protocol_error", "code": failed.code}
            if failed.status is not None:
                kind = {"type": "http_error", "code": failed.status}
            return _failed(call, {**kind, "message": message}, message)
        text = result_text(result)
        if result.is_error:
            error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text}]}
            return _failed(call, error, text or "The tool failed.")
        item = {**call.item, "status": "completed", "output": text, "error": None}
        return CallOutcome(item, {**item, "name": call.name})

    def citations(self, text: str) -> list[Item]:
        return []

    async def aclose(self) -> None:
        await self._session.aclose()

    def _offer(self, listed: Item) -> Offer:
        server, name = self._server, listed["name"]
        description = listed.get("description") or ""
        if server.description:
            description = f"{description}\n\nOf the server {server.label}: {server.description}".strip()
        tool = Tool(self._names.take(server.label, name), description, listed["input_schema"])
        asks = server.needs_approval(name, read_only=read_only(listed))
        form = CallForm("mcp_approval" if asks else "mcp", name, server.label)
        return Offer(tool, server.place, form, HostedTool("mcp", server.label, name))

    def _message(self, failed: McpFailed) -> str:
        return f"The MCP server '{self._server.label}' {failed}."


def _failed(call: PendingCall, error: dict[str, Any], told: str) -> CallOutcome:
    item = {**call.item, "status": "failed", "output": None, "error": error}
    return CallOutcome(item, {**item, "name": call.name, "error": told}, failed=True)
