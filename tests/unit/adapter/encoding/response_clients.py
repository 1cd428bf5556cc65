"""A client beside the writer of a response, and what happens between them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from adapter.encoding.response_writer import CallForm, PendingCall, ResponseWriter
from adapter.encoding.wire_event import WireEvent
from adapter.generation.events import (
    Event,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from tests.support.response_fold import ResponseFold
from tests.support.response_models import check_event
from tests.unit.adapter.encoding.response_bodies import response_body
from tokentext import TextTokenizer

PROMPT = 11
CALLS = {
    "get_weather": CallForm("function", "get_weather"),
    "run_sql": CallForm("custom", "run_sql"),
    "wiki_read": CallForm("mcp", "read", "wiki"),
    "shop_buy": CallForm("mcp_approval", "buy", "shop"),
    "file_search": CallForm("file_search", "file_search"),
    "web_search": CallForm("web_search", "web_search"),
}


def parsed(wires: list[WireEvent]) -> list[dict[str, Any]]:
    """The JSON objects; what is told beside them has to agree."""
    events = []
    for wire in wires:
        event = json.loads(wire.data)
        assert (event["type"], event["sequence_number"]) == (wire.type, wire.sequence_number)
        assert b"\n" not in wire.data and b"\r" not in wire.data
        events.append(event)
    return events


@dataclass
class Client:
    """Receives the events one by one, and compares what it knows with the server's object at every moment."""

    writer: ResponseWriter
    events: list[dict[str, Any]] = field(default_factory=list)
    folded: ResponseFold = field(default_factory=ResponseFold)

    def take(self, wires: list[WireEvent]) -> None:
        for event in parsed(wires):
            check_event(event)
            assert event["sequence_number"] == len(self.events)
            self.events.append(event)
            self.folded.add(event)
        assert self.folded.response == self.writer.body

    @property
    def types(self) -> list[str]:
        return [event["type"].removeprefix("response.") for event in self.events]


def new_writer(tokenizer: TextTokenizer, **options: Any) -> ResponseWriter:
    return ResponseWriter(response_body(), tokenizer, CALLS, **{"logprobs": False, **options})


def begun(tokenizer: TextTokenizer, **options: Any) -> Client:
    client = Client(new_writer(tokenizer, **options))
    client.take(client.writer.started())
    client.writer.begin_turn(PROMPT)
    return client


def call(name: str, *pieces: str, index: int = 0) -> list[Event]:
    start = ToolCallStart(index, f"call_{index}", name, name == "run_sql", 1)
    return [start, *(ToolCallDelta(index, piece, 1) for piece in pieces), ToolCallEnd(index)]


def said(client: Client, *events: Event) -> list[PendingCall]:
    for event in events:
        client.take(client.writer.encode(event))
    return client.writer.end_turn()


def served(client: Client, pending: PendingCall) -> None:
    """What the server does with a call of its own."""
    writer, item = client.writer, pending.item
    if pending.kind == "mcp":
        client.take([writer.item_event(item["id"], "response.mcp_call.completed")])
        client.take(writer.finish_item({**item, "status": "completed", "output": "found"}))
    elif pending.kind in ("file_search", "web_search"):
        for state in ("searching", "completed"):
            client.take([writer.item_event(item["id"], f"response.{pending.kind}_call.{state}")])
        action = {"type": "search", "queries": ["q"]}
        found = {"queries": ["q"]} if pending.kind == "file_search" else {"action": action}
        client.take(writer.finish_item({**item, "status": "completed", **found}))
