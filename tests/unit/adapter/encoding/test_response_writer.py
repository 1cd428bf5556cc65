"""What is told of a response, event by event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.generation.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallEnd,
    ToolCallStart,
)
from tests.unit.adapter.encoding.response_clients import PROMPT, Client, begun, call, new_writer, said, served
from tokentext import TextTokenizer


def test_every_event_of_a_turn_comes_in_order(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    pending = said(
        client,
        ReasoningDelta("let me ", 1),
        ReasoningDelta("see", 2),
        TextDelta("I ", 3),
        TextDelta("look.", 4),
        *call("get_weather", '{"city"', ': "Rome"}'),
        *call("run_sql", "select 1", index=1),
        Finish("tool_calls", PROMPT, 9, 8, 2),
    )
    client.take(client.writer.complete())
    text = ["output_item.added", "content_part.added", "{0}.delta", "{0}.delta", "{0}.done", "content_part.done"]
    calls = ["output_item.added", *["function_call_arguments.delta"] * 2, "function_call_arguments.done"]
    custom = ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert client.types == [
        "created",
        "in_progress",
        *(name.format("reasoning_text") for name in text),
        "output_item.done",
        *(name.format("output_text") for name in text),
        "output_item.done",
        *calls,
        "output_item.done",
        *custom,
        "output_item.done",
        "completed",
    ]
    body = client.writer.body
    reasoning, message, function, custom_call = body["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "let me see"}]
    assert message["content"][0]["text"] == "I look."
    assert (function["call_id"], function["arguments"]) == ("call_0", '{"city": "Rome"}')
    assert (custom_call["call_id"], custom_call["input"]) == ("call_1", "select 1")
    assert {item["status"] for item in body["output"]} == {"completed"}
    assert [item["id"].partition("_")[0] for item in body["output"]] == ["rs", "msg", "fc", "ctc"]
    assert all(len(item["id"].partition("_")[2]) == 32 for item in body["output"])
    assert [(one.kind, one.name, one.arguments) for one in pending] == [
        ("function", "get_weather", '{"city": "Rome"}'),
        ("custom", "run_sql", "select 1"),
    ]
    assert body["usage"] == {
        "input_tokens": PROMPT,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": PROMPT + 9,
    }
    assert body["status"] == "completed" and body["completed_at"] >= body["created_at"]


def test_a_call_that_the_server_runs_is_done_when_the_server_says_so(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    events = [*call("wiki_read", "{}"), *call("file_search", "{}", index=1), *call("web_search", "{}", index=2)]
    pending = said(client, *events, Finish("tool_calls", PROMPT, 5))
    assert client.types[2:] == [
        *("output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"),
        *("output_item.added", "file_search_call.in_progress"),
        *("output_item.added", "web_search_call.in_progress"),
    ]
    assert [one.kind for one in pending] == ["mcp", "file_search", "web_search"]
    assert [one.arguments for one in pending] == ["{}"] * 3
    assert pending[0].item == client.writer.body["output"][0]
    assert pending[0].item["arguments"] == "{}" and pending[0].item["server_label"] == "wiki"
    for one in reversed(pending):  # side by side: whichever is there first
        served(client, one)
    client.writer.begin_turn(PROMPT + 5)
    assert said(client, TextDelta("So.", 1), Finish("stop", PROMPT + 5, 2)) == []
    client.take(client.writer.complete())
    output = client.writer.body["output"]
    assert [item["type"] for item in output] == ["mcp_call", "file_search_call", "web_search_call", "message"]
    assert output[0]["output"] == "found"
    assert client.writer.body["usage"]["input_tokens"] == 2 * PROMPT + 5
    assert client.writer.body["usage"]["output_tokens"] == 7


def test_an_approval_is_asked_for_when_the_call_is_complete(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    pending = said(client, *call("shop_buy", '{"n":', "1}"), Finish("tool_calls", PROMPT, 5))
    assert client.types[2:] == ["output_item.added", "output_item.done"]
    (item,) = client.writer.body["output"]
    assert {**item, "id": ""} == {
        "type": "mcp_approval_request",
        "id": "",
        "server_label": "shop",
        "name": "buy",
        "arguments": '{"n":1}',
    }
    assert (pending[0].kind, pending[0].name, pending[0].item) == ("mcp_approval", "shop_buy", item)


@pytest.mark.parametrize(
    ("events", "types"),
    [
        ([TextDelta("par", 1)], ["message"]),
        ([ReasoningDelta("par", 1)], ["reasoning"]),
        (call("get_weather", '{"ci')[:-1], ["function_call"]),
        (call("run_sql", "sel")[:-1], ["custom_tool_call"]),
        (call("wiki_read", '{"ti')[:-1], ["mcp_call"]),
        (call("file_search", '{"q')[:-1], ["file_search_call"]),
        (call("shop_buy", '{"n')[:-1], []),
        ([], []),
    ],
)
def test_what_the_limit_cuts_off_is_incomplete(tokenizer: TextTokenizer, events: list[Event], types: list[str]) -> None:
    client = begun(tokenizer)
    assert said(client, *events, Finish("length", PROMPT, 3)) == []
    assert client.writer.incomplete_reason == "max_output_tokens"
    client.take(client.writer.incomplete("max_output_tokens"))
    body = client.writer.body
    assert [(item["type"], item["status"]) for item in body["output"]] == [(type_, "incomplete") for type_ in types]
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["completed_at"] is None and client.types[-1] == "incomplete"


def test_an_answer_without_text_is_an_empty_message(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    said(client, ReasoningDelta("nothing to say", 1), Finish("stop", PROMPT, 3))
    client.take(client.writer.complete())
    reasoning, message = client.writer.body["output"]
    assert reasoning["type"] == "reasoning"
    assert message["content"] == [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]


def test_every_turn_is_asked_for_an_answer(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    (pending,) = said(client, *call("wiki_read", "{}"), Finish("tool_calls", PROMPT, 3))
    served(client, pending)
    client.writer.begin_turn(PROMPT)
    assert said(client, Finish("stop", PROMPT, 1)) == []
    assert [item["type"] for item in client.writer.body["output"]] == ["mcp_call", "message"]


def test_a_tool_without_a_form_is_the_client_s(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    events = [ToolCallStart(0, "call_0", "a", True, 1), ToolCallEnd(0), ToolCallStart(1, "call_1", "b", False, 1)]
    pending = said(client, *events, ToolCallEnd(1), Finish("tool_calls", PROMPT, 3))
    assert [(one.kind, one.item["name"]) for one in pending] == [("custom", "a"), ("function", "b")]


def test_text_after_a_call_is_another_message(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    said(client, TextDelta("a", 1), *call("get_weather"), TextDelta("b", 1), Finish("tool_calls", PROMPT, 3))
    output = client.writer.body["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    assert [output[at]["content"][0]["text"] for at in (0, 2)] == ["a", "b"]


def test_a_failure_has_a_code_that_the_sdk_knows_and_says_the_rest(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    client.take(client.writer.encode(TextDelta("par", 4)))
    client.take(client.writer.fail("timeout", "Too long."))
    body = client.writer.body
    assert client.types[-1] == "failed" and body["status"] == "failed"
    assert body["error"] == {"code": "server_error", "message": "Too long.", "type": "timeout"}
    assert body["output"][0]["status"] == "incomplete"
    assert body["usage"]["output_tokens"] == 4  # they were made
    known = begun(tokenizer)
    known.take(known.writer.fail("rate_limit_exceeded", "Later."))
    assert known.writer.body["error"]["code"] == "rate_limit_exceeded"


def test_a_cancelled_response_ends_its_stream_and_says_cancelled(tokenizer: TextTokenizer) -> None:
    client = Client(new_writer(tokenizer))
    client.take(client.writer.queued())
    client.take(client.writer.cancel())
    assert client.types == ["created", "queued", "incomplete"]
    assert [event["response"]["status"] for event in client.events] == ["queued", "queued", "cancelled"]
    assert client.writer.body["usage"] is None


def test_queued_comes_before_in_progress_and_created_only_once(tokenizer: TextTokenizer) -> None:
    client = Client(new_writer(tokenizer))
    client.take(client.writer.queued())
    client.take(client.writer.started())
    assert client.types == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in client.events] == ["queued", "queued", "in_progress"]


def test_items_of_the_server_s_own(tokenizer: TextTokenizer) -> None:
    client = Client(new_writer(tokenizer))
    writer = client.writer
    client.take(writer.started())
    item = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "wiki", "tools": [], "error": None}
    client.take(writer.add_item(item))
    client.take([writer.item_event("mcpl_1", "response.mcp_list_tools.in_progress")])
    client.take([writer.item_event("mcpl_1", "response.mcp_list_tools.completed")])
    tools = [{"name": "read", "description": "Reads.", "input_schema": {"type": "object"}, "annotations": None}]
    client.take(writer.finish_item({**item, "tools": tools}))
    assert writer.body["output"][0]["tools"] == tools
    client.take(writer.add_item({**item, "id": "mcpl_2"}))
    client.take(writer.fail("server_error", "The server is gone."))  # an item without a status is done as it is
    assert client.types[-2:] == ["output_item.done", "failed"]


def test_log_probabilities_are_shown_where_their_text_is(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer, logprobs=True)
    one = TokenLogprob(65, -0.5, [(66, -1.5)])
    said(client, TextDelta("a", 1, [one]), TextDelta("b", 2), TextDelta("c", 3, [one, one]), Finish("stop", PROMPT, 3))
    deltas = [event["logprobs"] for event in client.events if event["type"].endswith("output_text.delta")]
    assert [len(delta) for delta in deltas] == [1, 0, 2]
    data = tokenizer.token_bytes(65)
    assert deltas[0][0]["bytes"] == list(data) and deltas[0][0]["token"] == data.decode("utf-8", "replace")
    assert deltas[0][0]["logprob"] == -0.5 and len(deltas[0][0]["top_logprobs"]) == 1
    assert client.writer.body["output"][0]["content"][0]["logprobs"] == [one for delta in deltas for one in delta]


def test_reasoning_is_sealed_whole_when_it_is_done(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer, seal=str.upper)
    said(client, ReasoningDelta("ab", 1), ReasoningDelta("c", 2), TextDelta("x", 3), Finish("stop", PROMPT, 3))
    assert client.writer.body["output"][0]["encrypted_content"] == "ABC"
    (added,) = [
        one for one in client.events if one["type"] == "response.output_item.added" and one["output_index"] == 0
    ]
    assert "encrypted_content" not in added["item"]


def test_reasoning_as_a_summary(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer, summary=True)
    said(client, ReasoningDelta("ab", 1), ReasoningDelta("c", 2), TextDelta("x", 3), Finish("stop", PROMPT, 3))
    client.take(client.writer.complete())
    item = client.writer.body["output"][0]
    assert (item["summary"], item["content"]) == ([{"type": "summary_text", "text": "abc"}], [])
    part = ["reasoning_summary_part.added", *["reasoning_summary_text.delta"] * 2]
    assert client.types[2:8] == [
        "output_item.added",
        *part,
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]


@pytest.mark.parametrize("event", [TextDelta, ReasoningDelta])
def test_obfuscated_deltas_do_not_tell_the_length_of_their_text(tokenizer: TextTokenizer, event: Any) -> None:
    client = begun(tokenizer, obfuscation=True)
    said(client, event("x", 1))
    sizes = [len(client.writer.encode(event("x" * length, 2))[0].data) for length in range(1, 25)]
    paddings = {json.loads(client.writer.encode(event("x", 2))[0].data)["obfuscation"] for _ in range(5)}
    assert len(set(sizes)) <= 3  # two blocks, and a number of one digit or of two
    assert len(paddings) == 5


def test_a_citation_is_told_before_its_text_is_done(tokenizer: TextTokenizer) -> None:
    client = begun(tokenizer)
    cited = {"type": "url_citation", "url": "http://a.test/", "title": "A", "start_index": 0, "end_index": 3}
    client.writer.citations = lambda text: [cited] if text == "see a" else []
    said(client, TextDelta("see", 1), TextDelta(" a", 2), Finish("stop", PROMPT, 3))
    at = client.types.index("output_text.annotation.added")
    assert client.types[at + 1] == "output_text.done"
    assert client.writer.body["output"][0]["content"][0]["annotations"] == [cited]
