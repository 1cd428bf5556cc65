"""Calls of tools as output items: what the client runs, and what this server runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from adapter.encoding.output_items import Item, OutputItems, new_id
from adapter.encoding.wire_event import Deltas, WireEvent
from adapter.generation.events import ToolCallDelta, ToolCallStart

CallKind = Literal["function", "custom", "mcp", "mcp_approval", "file_search", "web_search"]


@dataclass(frozen=True)
class CallForm:
    """What a call of a tool is shown as.

    name: the tool's, as the item shows it.
    server_label: of the MCP server that the tool belongs to.
    """

    kind: CallKind
    name: str
    server_label: str = ""


@dataclass(frozen=True)
class PendingCall:
    """A call that the model has made.

    item: the output item as it stands, arguments complete.
    name: as the model called it.
    arguments: JSON text, or a custom tool's input.
    """

    item: Item
    kind: CallKind
    name: str
    arguments: str


@dataclass(frozen=True)
class _Shown:
    """Kinds whose arguments the client sees as they come.

    events: the name of their events up to `.delta` and `.done`.
    field: of the item, and of the `.done` event.
    """

    events: str
    field: str


_SHOWN = {
    "function": _Shown("response.function_call_arguments", "arguments"),
    "custom": _Shown("response.custom_tool_call_input", "input"),
    "mcp": _Shown("response.mcp_call_arguments", "arguments"),
}
_BEGUN = {  # events that say that this server takes care of a call
    "mcp": "response.mcp_call.in_progress",
    "file_search": "response.file_search_call.in_progress",
    "web_search": "response.web_search_call.in_progress",
}


class CallItem:
    """A call under way. `opening` is to be sent before anything else."""

    def __init__(self, output: OutputItems, start: ToolCallStart, form: CallForm) -> None:
        self._output = output
        self._start = start
        self._form = form
        self._item = _item(start, form)
        self._pieces: list[str] = []
        self._shown = _SHOWN.get(form.kind)
        self._deltas: Deltas | None = None
        self.opening: list[WireEvent] = []
        if form.kind == "mcp_approval":  # shown when it is complete: there is nothing to approve before
            return
        self.opening.append(output.add(self._item))
        self._place = {"item_id": self._item["id"], "output_index": output.place(self._item["id"])}
        if form.kind in _BEGUN:
            self.opening.append(output.events.event(_BEGUN[form.kind], **self._place))
        if self._shown is not None:
            self._deltas = Deltas(output.events, self._shown.events + ".delta", self._place)

    def delta(self, delta: ToolCallDelta) -> list[WireEvent]:
        self._pieces.append(delta.text)
        return [] if self._deltas is None else [self._deltas.event(delta.text)]

    def settle(self) -> None:
        """Brings the item up to date: its arguments are put together when somebody looks."""
        if self._shown is not None:
            self._item[self._shown.field] = "".join(self._pieces)

    def close(self, status: str) -> list[WireEvent]:
        """The call is complete, or cut off: `incomplete`. What this server runs is not done by that."""
        kind, events = self._form.kind, []
        arguments = "".join(self._pieces)
        if kind == "mcp_approval":
            if status == "incomplete":
                return []
            self._item["arguments"] = arguments
            return [self._output.add(self._item), self._output.done(self._item)]
        if self._shown is not None:
            self.settle()
            event = self._output.events.event
            events.append(event(self._shown.events + ".done", **self._place, **{self._shown.field: arguments}))
        if kind in ("function", "custom"):
            self._item["status"] = status
            events.append(self._output.done(self._item))
        return events

    def pending(self) -> PendingCall:
        return PendingCall(dict(self._item), self._form.kind, self._start.name, "".join(self._pieces))


def _item(start: ToolCallStart, form: CallForm) -> Item:
    if form.kind == "function":
        called = {"call_id": start.id, "name": form.name, "arguments": ""}
        return {"type": "function_call", "id": new_id("fc_"), **called, "status": "in_progress"}
    if form.kind == "custom":
        called = {"call_id": start.id, "name": form.name, "input": ""}
        return {"type": "custom_tool_call", "id": new_id("ctc_"), **called, "status": "in_progress"}
    if form.kind == "mcp":
        return {
            "type": "mcp_call",
            "id": new_id("mcp_"),
            "server_label": form.server_label,
            "name": form.name,
            "arguments": "",
            "output": None,
            "error": None,
            "approval_request_id": None,
            "status": "in_progress",
        }
    if form.kind == "mcp_approval":
        called = {"server_label": form.server_label, "name": form.name, "arguments": ""}
        return {"type": "mcp_approval_request", "id": new_id("mcpr_"), **called}
    if form.kind == "file_search":
        searched: dict[str, Any] = {"queries": [], "results": None}
        return {"type": "file_search_call", "id": new_id("fs_"), "status": "in_progress", **searched}
    action = {"type": "search", "queries": []}
    return {"type": "web_search_call", "id": new_id("ws_"), "status": "in_progress", "action": action}
