"""Bad requests to the Responses API: an error object that names the field, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.support.adapter_process import AdapterProcess
from tests.support.response_client import ENDLESS, SHORT, create, follow, post, resumed, stream, wait_for
from tests.support.response_client import events as events_of

REQUEST = {"model": SHORT["model"], "input": "Hi", "max_output_tokens": 2}
UNKNOWN = "resp_" + "0" * 32


def refused(answer: httpx.Response, status: int, param: str | None, code: str | None = None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    if code is not None:
        assert error["code"] == code, error
    assert error["type"] and error["message"]
    message: str = error["message"]
    return message


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "message", "role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "no_such_item"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "function", "name": "none_such"}}, "tool_choice"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": -1}, "max_tool_calls"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"include": ["everything"]}, "include[0]"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
        ({"background": True, "store": False}, "background"),
        ({"messages": []}, "messages"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"prompt": {"id": "none_such"}}, "prompt"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
    ],
)
def test_a_field_is_named(adapter_url: str, more: dict[str, Any], param: str) -> None:
    answer = post(adapter_url, {**REQUEST, **more})
    assert answer.status_code in (400, 404), answer.text
    refused(answer, answer.status_code, answer.json()["error"]["param"])
    told = answer.json()["error"]["param"]
    assert told is not None and (told == param or told.startswith((param + ".", param + "["))), answer.text


def test_an_unknown_model(adapter_url: str) -> None:
    refused(post(adapter_url, {**REQUEST, "model": "none/such"}), 404, "model", "model_not_found")


@pytest.mark.parametrize("previous", [UNKNOWN, "nonsense", "resp_" + "x" * 500])
def test_an_unknown_previous_response(adapter_url: str, previous: str) -> None:
    answer = post(adapter_url, {**REQUEST, "previous_response_id": previous})
    if len(previous) > 100:  # refused before it is looked for, or not found
        assert answer.status_code in (400, 404)
        assert answer.json()["error"]["param"] == "previous_response_id"
        return
    message = refused(answer, 404, "previous_response_id", "previous_response_not_found")
    assert previous in message


def test_an_unknown_item(adapter_url: str) -> None:
    item = {"type": "item_reference", "id": "msg_none"}
    answer = post(adapter_url, {**REQUEST, "input": [{"role": "user", "content": "Hi"}, item]})
    assert "msg_none" in refused(answer, 404, "input[1].id")


def test_an_unknown_conversation(adapter_url: str) -> None:
    refused(post(adapter_url, {**REQUEST, "conversation": "conv_none"}), 404, "conversation")


def test_deleted_history(openai_client: openai.OpenAI, adapter_url: str) -> None:
    first = create(openai_client, **SHORT)
    second = create(openai_client, **SHORT, previous_response_id=first["id"])
    openai_client.responses.delete(first["id"])
    answer = post(adapter_url, {**REQUEST, "previous_response_id": second["id"]})
    message = refused(answer, 400, "previous_response_id")
    assert first["id"] in message and second["id"] in message
    assert openai_client.responses.retrieve(second["id"]).id == second["id"]


def test_a_previous_response_that_is_not_finished(openai_client: openai.OpenAI, adapter_url: str) -> None:
    running = create(openai_client, **ENDLESS, background=True)
    try:
        answer = post(adapter_url, {**REQUEST, "previous_response_id": running["id"]})
        assert running["id"] in refused(answer, 400, "previous_response_id", "previous_response_not_completed")
    finally:
        openai_client.responses.cancel(running["id"])
    answer = post(adapter_url, {**REQUEST, "previous_response_id": running["id"]})
    assert "cancelled" in refused(answer, 400, "previous_response_id", "previous_response_not_completed")


def test_a_conversation_in_which_a_response_runs(openai_client: openai.OpenAI, adapter_url: str) -> None:
    conversation = openai_client.conversations.create()
    running = create(openai_client, **ENDLESS, background=True, conversation=conversation.id)
    try:
        answer = post(adapter_url, {**REQUEST, "conversation": conversation.id})
        refused(answer, 400, "conversation", "conversation_locked")
    finally:
        openai_client.responses.cancel(running["id"])
    assert post(adapter_url, {**REQUEST, "conversation": conversation.id}).status_code == 200


def test_a_refused_request_leaves_its_conversation_free(openai_client: openai.OpenAI, adapter_url: str) -> None:
    conversation = openai_client.conversations.create()
    for more in (
        {"input": "word " * 30000},
        {"tool_choice": {"type": "function", "name": "f"}},
        {"input": [{"type": "item_reference", "id": "msg_none"}]},
        {"input": "word " * 30000, "background": True},
    ):
        answer = post(adapter_url, {**REQUEST, "conversation": conversation.id, **more})
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["error"]["code"] != "conversation_locked"
    assert post(adapter_url, {**REQUEST, "conversation": conversation.id}).status_code == 200


def test_one_that_does_not_run_in_the_background_is_not_cancelled(openai_client: openai.OpenAI) -> None:
    response = create(openai_client, **SHORT)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        openai_client.responses.cancel(response["id"])


def test_unknown_responses(adapter_url: str) -> None:
    for method, path in (
        ("GET", ""),
        ("GET", "?stream=true"),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/input_items"),
    ):
        answer = httpx.request(method, f"{adapter_url}/v1/responses/{UNKNOWN}{path}", timeout=30, trust_env=False)
        assert UNKNOWN in refused(answer, 404, None)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?stream=perhaps", "stream"),
        ("?stream=true&starting_after=-7", "starting_after"),
        ("?stream=true&starting_after=x", "starting_after"),
        ("?starting_after=1", "starting_after"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?limit=101", "limit"),
        ("/input_items?limit=x", "limit"),
        ("/input_items?order=up", "order"),
        ("/input_items?after=msg_none", "after"),
        ("?stream=true", "stream"),
    ],
)
def test_bad_query_parameters(openai_client: openai.OpenAI, adapter_url: str, query: str, param: str) -> None:
    response = create(openai_client, **SHORT)
    answer = httpx.get(f"{adapter_url}/v1/responses/{response['id']}{query}", timeout=30, trust_env=False)
    assert refused(answer, 400, param)


def test_a_stream_taken_up_after_its_end_is_empty(openai_client: openai.OpenAI) -> None:
    told, response = stream(openai_client, **SHORT)
    assert list(resumed(openai_client, response["id"], told[-1]["sequence_number"])) == []
    assert [one["sequence_number"] for one in resumed(openai_client, response["id"], 3)] == [
        one["sequence_number"] for one in told[4:]
    ]


def test_deleted_while_it_runs_it_ends(openai_client: openai.OpenAI, adapter: AdapterProcess) -> None:
    followed = follow(lambda: events_of(openai_client, **ENDLESS, background=True))
    response_id = followed.events[0]["response"]["id"]
    openai_client.responses.delete(response_id)
    followed.join(15)
    with pytest.raises(openai.NotFoundError):
        wait_for(openai_client, response_id)
