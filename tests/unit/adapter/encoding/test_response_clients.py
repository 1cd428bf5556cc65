"""Streams of responses as the openai SDK's own client reads them, and by the schema of Open Responses itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import llm_comply
import openai
import pytest
from llm_comply.schema import SpecLoader
from pydantic import BaseModel

from adapter.encoding.event_stream import DONE
from adapter.encoding.response_writer import CallForm, ResponseWriter
from adapter.encoding.wire_event import WireEvent
from adapter.generation.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from tests.unit.adapter.encoding.response_bodies import response_body
from tokentext import TextTokenizer

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
CALL: list[Event] = [ToolCallStart(0, "call_0", "f", False, 5), ToolCallDelta(0, '{"a":1}', 6), ToolCallEnd(0)]
TEXT: list[Event] = [ReasoningDelta("so ", 1), ReasoningDelta("…", 2), TextDelta('{"n":', 3), TextDelta("7}", 4)]


class Number(BaseModel):
    n: int


def told(
    tokenizer: TextTokenizer, events: list[Event], end: str = "complete"
) -> tuple[ResponseWriter, list[WireEvent]]:
    body = response_body(tools=[FUNCTION])
    writer = ResponseWriter(body, tokenizer, {"f": CallForm("function", "f")}, logprobs=False)
    wires = writer.started()
    writer.begin_turn(3)
    for event in events:
        wires += writer.encode(event)
    ends = {
        "complete": writer.complete,
        "incomplete": lambda: writer.incomplete("max_output_tokens"),
        "fail": lambda: writer.fail("server_error", "It broke."),
        "cancel": writer.cancel,
    }
    return writer, wires + ends[end]()


def client_of(wires: list[WireEvent]) -> openai.OpenAI:
    """A client whose server answers with these events, and with the end that Open Responses asks for."""
    frames = [b"event: " + wire.type.encode() + b"\ndata: " + wire.data + b"\n\n" for wire in wires]
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers=headers, content=b"".join([*frames, DONE]))
    )
    return openai.OpenAI(api_key="k", base_url="http://server.test/v1", http_client=httpx.Client(transport=transport))


def test_the_sdk_s_stream_comes_to_the_same_response(tokenizer: TextTokenizer) -> None:
    writer, wires = told(tokenizer, [*TEXT, *CALL, Finish("tool_calls", 3, 7)])
    with (
        client_of(wires) as client,
        client.responses.stream(model="m", input="hi", text_format=Number, store=False) as stream,
    ):
        events = list(stream)
        final = stream.get_final_response()
    assert [event.type for event in events] == [wire.type for wire in wires]
    assert final.output_parsed == Number(n=7)
    assert final.output_text == '{"n":7}'
    assert final.id == writer.body["id"]
    assert [item.id for item in final.output] == [item["id"] for item in writer.body["output"]]
    assert final.output[2].type == "function_call" and final.output[2].arguments == '{"a":1}'


@pytest.mark.parametrize(
    ("end", "type_", "status"),
    [
        ("complete", "response.completed", "completed"),
        ("incomplete", "response.incomplete", "incomplete"),
        ("fail", "response.failed", "failed"),
        ("cancel", "response.incomplete", "cancelled"),
    ],
)
@pytest.mark.parametrize("cut", range(1, 8))
def test_the_sdk_sees_every_end_wherever_it_comes(
    tokenizer: TextTokenizer, end: str, type_: str, status: str, cut: int
) -> None:
    writer, wires = told(tokenizer, [*TEXT, *CALL][:cut], end)
    with client_of(wires) as client, client.responses.create(model="m", input="hi", stream=True) as stream:
        *_, last = list(stream)
    assert last.type == type_
    assert last.response.status == status
    assert [item.id for item in last.response.output] == [item["id"] for item in writer.body["output"]]


@pytest.fixture(scope="module")
def specification() -> SpecLoader:
    """The schema that llm-comply brings, stricter than the types made of it: what is optional may not be null."""
    assert llm_comply.__file__ is not None
    return SpecLoader(str(Path(llm_comply.__file__).parent / "specs" / "openresponses.json"))


@pytest.mark.parametrize("end", ["complete", "incomplete", "fail", "cancel"])
def test_events_hold_to_the_schema_of_open_responses(
    tokenizer: TextTokenizer, specification: SpecLoader, end: str
) -> None:
    writer, wires = told(tokenizer, [*TEXT, *CALL, TextDelta("x", 9)], end)
    for wire in wires:
        event: dict[str, Any] = json.loads(wire.data)
        event["type"] = event["type"].replace("reasoning_text", "reasoning")  # the SDK's name for the same event
        assert specification.validate_sse_event(event["type"], event) == [], event
    assert specification.validate(writer.body, "ResponseResource") == []
