"""Items of the Responses API as chat messages: what folds together, what is told apart, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.generation.item_messages import item_messages
from adapter.generation.media_parts import MediaParts

Item = dict[str, Any]


def said(role: str, *texts: str) -> Item:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "id": "msg_1", "role": role, "content": [{"type": kind, "text": text} for text in texts]}


def thought(*texts: str, summary: str | None = None) -> Item:
    content = [{"type": "reasoning_text", "text": text} for text in texts]
    summaries = [] if summary is None else [{"type": "summary_text", "text": summary}]
    return {"type": "reasoning", "id": "rs_1", "summary": summaries, "content": content}


def called(call_id: str, name: str = "f", arguments: str = "{}") -> Item:
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, "arguments": arguments}


def returned(call_id: str, output: Any = "done") -> Item:
    return {"type": "function_call_output", "id": "fco_1", "call_id": call_id, "output": output}


def mcp(number: int, **fields: Any) -> Item:
    base = {"type": "mcp_call", "id": f"mcp_{number:032x}", "server_label": "s", "name": "m", "arguments": '{"a": 1}'}
    return {**base, "output": None, "error": None, **fields}


def messages(*items: Item, instructions: str | None = None, kinds: frozenset[str] = frozenset()) -> list[Item]:
    return item_messages(items, instructions, MediaParts(kinds))


def refused(*items: Item, **more: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        item_messages(items, None, MediaParts(frozenset()), **more)
    assert caught.value.status == 400
    return caught.value


def call(call_id: str, name: str = "f", arguments: str = "{}") -> Item:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(call_id: str, content: str = "done") -> Item:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def test_a_plain_conversation() -> None:
    assert messages(said("user", "a", "b"), said("assistant", "c"), said("user", "d"), instructions="Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]


def test_system_messages_at_the_beginning_are_one() -> None:
    items = [
        said("developer", "b"),
        said("system", "c"),
        said("user", "d"),
        said("developer", "e"),
        said("system", "f"),
    ]
    assert messages(*items, instructions="a") == [
        {"role": "system", "content": "a\n\nb\n\nc"},
        {"role": "user", "content": "d"},
        {"role": "system", "content": "e"},
        {"role": "system", "content": "f"},
    ]
    assert messages(said("user", "a"), said("system", "b"))[1] == {"role": "system", "content": "b"}


def test_what_the_assistant_did_in_one_go_is_one_message() -> None:
    assert messages(
        said("user", "q"),
        thought("x", "y"),
        said("assistant", "t"),
        called("1"),
        called("2"),
        returned("1", "r1"),
        returned("2", "r2"),
        said("assistant", "end"),
    ) == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "t", "reasoning_content": "x\ny", "tool_calls": [call("1"), call("2")]},
        tool("1", "r1"),
        tool("2", "r2"),
        {"role": "assistant", "content": "end"},
    ]


def test_text_after_a_call_belongs_to_the_same_message() -> None:
    assert messages(called("1"), said("assistant", "wait"), returned("1")) == [
        {"role": "assistant", "content": "wait", "tool_calls": [call("1")]},
        tool("1"),
    ]


def test_outputs_follow_their_calls() -> None:
    assert messages(called("1"), called("2"), returned("2", "r2"), said("user", "q"), returned("1", "r1")) == [
        {"role": "assistant", "content": "", "tool_calls": [call("1"), call("2")]},
        tool("1", "r1"),
        tool("2", "r2"),
        {"role": "user", "content": "q"},
    ]


def test_calls_one_after_another_are_told_apart() -> None:
    assert messages(called("1"), returned("1"), called("2"), returned("2")) == [
        {"role": "assistant", "content": "", "tool_calls": [call("1")]},
        tool("1"),
        {"role": "assistant", "content": "", "tool_calls": [call("2")]},
        tool("2"),
    ]
    assert [m["role"] for m in messages(called("1"), thought("x"), called("2"), returned("1"), returned("2"))] == [
        *("assistant", "tool"),
        *("assistant", "tool"),
    ]


def test_an_id_may_come_again() -> None:
    items = [called("1"), returned("1", "first"), said("user", "q"), called("1"), returned("1", "second")]
    assert [m["content"] for m in messages(*items) if m["role"] == "tool"] == ["first", "second"]


def test_reasoning() -> None:
    assert messages(thought(summary="short"), said("assistant", "a")) == [
        {"role": "assistant", "content": "a", "reasoning_content": "short"}
    ]
    assert messages(thought("long", summary="short"), said("assistant", "a"))[0]["reasoning_content"] == "long"
    assert messages({"type": "reasoning", "id": "rs_1", "summary": []}, said("assistant", "a")) == [
        {"role": "assistant", "content": "a"}
    ]
    # The answer was cut off: all there is is the reasoning.
    assert messages(said("user", "q"), thought("x"), said("user", "go on"))[1] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "x",
    }


def test_custom_calls() -> None:
    items = [
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "1", "name": "sh", "input": 'echo "ü"\n'},
        {"type": "custom_tool_call_output", "id": "ctco_1", "call_id": "1", "output": "ü"},
    ]
    assistant, output = messages(*items)
    assert output == tool("1", "ü")
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"input": 'echo "ü"\n'}


def test_calls_that_the_server_ran() -> None:
    first, second, third = mcp(1, output="r1"), mcp(2, error="broke"), mcp(3)
    assert messages(said("user", "q"), thought("x"), first, second, thought("y"), third, said("assistant", "a")) == [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "x",
            "tool_calls": [call("000000001", "m", '{"a": 1}'), call("000000002", "m", '{"a": 1}')],
        },
        tool("000000001", "r1"),
        tool("000000002", "broke"),
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "y",
            "tool_calls": [call("000000003", "m", '{"a": 1}')],
        },
        tool("000000003", "The call was not completed."),
        {"role": "assistant", "content": "a"},
    ]


def test_a_call_of_the_server_beside_one_of_the_client() -> None:
    assert messages(mcp(1, output="r1"), called("2"), returned("2", "r2")) == [
        {"role": "assistant", "content": "", "tool_calls": [call("000000001", "m", '{"a": 1}'), call("2")]},
        tool("000000001", "r1"),
        tool("2", "r2"),
    ]


def test_searches() -> None:
    results = [{"filename": "a.txt", "text": "Alpha"}, {"filename": "b.txt", "text": "Beta"}]
    files = {"type": "file_search_call", "id": "fs_" + "a" * 32, "queries": ["x"], "results": results}
    pages = {
        "type": "web_search_call",
        "id": "ws_" + "b" * 32,
        "action": {"type": "search", "query": "y", "sources": []},
        "results": [{"title": "T", "url": "https://u.example/", "text": "Gamma"}],
    }
    assistant, *outputs = messages(files, pages)
    assert assistant["tool_calls"] == [
        call("a" * 9, "file_search", '{"queries": ["x"]}'),
        call("b" * 9, "web_search", '{"query": "y"}'),
    ]
    assert outputs == [
        tool("a" * 9, "[1] a.txt: Alpha\n\n[2] b.txt: Beta"),
        tool("b" * 9, "[1] T https://u.example/: Gamma"),
    ]
    assert messages({**files, "results": []})[1]["content"] == "Nothing was found."
    assert messages({**files, "results": None, "error": "down"})[1]["content"] == "down"
    assert messages({**pages, "results": None, "output": "as told"})[1]["content"] == "as told"
    assert messages({**files, "results": None}, said("assistant", "a")) == [{"role": "assistant", "content": "a"}]


def test_book_keeping_is_not_shown() -> None:
    kinds = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response")
    assert messages(said("assistant", "a"), *({"type": kind, "id": "x"} for kind in kinds), said("assistant", "b")) == [
        {"role": "assistant", "content": "a\nb"}
    ]


def test_refusals_and_text_as_it_is() -> None:
    item = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert messages(item, {"type": "message", "id": "m", "role": "user", "content": "plain"}) == [
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "plain"},
    ]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([called("call_a")], "No tool output found for function call call_a."),
        ([returned("call_a")], "No tool call found for function call output with call_id call_a."),
        ([returned("call_a"), called("call_a")], "No tool call found for function call output with call_id call_a."),
        (
            [called("call_a"), returned("call_a"), returned("call_a")],
            "No tool call found for function call output with call_id call_a.",
        ),
        (
            [called("call_a"), {"type": "custom_tool_call_output", "id": "c", "call_id": "call_a", "output": ""}],
            "No tool call found for custom tool call output with call_id call_a.",
        ),
        (
            [{"type": "custom_tool_call", "id": "c", "call_id": "call_a", "name": "f", "input": ""}],
            "No tool output found for custom tool call call_a.",
        ),
    ],
)
def test_calls_and_outputs_come_in_pairs(items: list[Item], message: str) -> None:
    error = refused(*items)
    assert (error.message, error.param) == (message, "input")


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "original"}
CLIP = {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}


def shown(*parts: Item) -> Item:
    return {"type": "message", "id": "msg_9", "role": "user", "content": list(parts)}


def test_media_are_marked_in_the_order_of_the_messages() -> None:
    media = MediaParts(frozenset({"image", "audio"}))
    text = {"type": "input_text", "text": "see"}
    low = {**IMAGE, "image_url": "https://u.example/low", "detail": "low"}
    made = item_messages([called("1"), shown(text, IMAGE, CLIP), returned("1", [low, text])], None, media)
    assert [message["content"] for message in made] == [
        "",
        f"{media.marker}\nsee",
        f"see\n{media.marker}\n{media.marker}",
    ]
    assert [(part.kind, part.source, part.form, part.place) for part in media.parts] == [
        ("image", "https://u.example/low", "low", "input[2].output[0].image_url"),
        ("image", "data:image/png;base64,QQ==", "high", "input[1].content[1].image_url"),
        ("audio", "QQ==", "wav", "input[1].content[2].input_audio.data"),
    ]


def test_parts_that_the_model_does_not_take() -> None:
    error = refused(said("user", "a"), shown(CLIP))
    assert (error.param, error.code) == ("input[1].content[0]", "unsupported_content_type")
    assert "text only" in error.message
    assert refused(called("1"), returned("1", [IMAGE])).param == "input[1].output[0]"


def test_places_are_those_of_the_request() -> None:
    assert refused(said("user", "a"), shown(CLIP), places={"msg_9": "input[7]"}).param == "input[7].content[0]"
    assert refused(shown(CLIP), places={"msg_1": "input[0]"}).param == "input"


def test_items_that_nothing_is_known_of_are_refused() -> None:
    error = refused({"type": "computer_call", "id": "x"})
    assert (error.param, error.code) == ("input[0]", "unsupported_content_type")
    assert "computer_call" in error.message
