"""Responses over the real engine, with the real client: made, read again, listed, deleted, gone on from."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseCompletedEvent

from tests.support import models
from tests.support.answers import user
from tests.support.response_client import SHORT, create, retrieve, stream, text_of

SAYS = "The password is swordfish."


def items_of(client: openai.OpenAI, response_id: str, **query: Any) -> dict[str, Any]:
    answer = client.responses.input_items.with_raw_response.list(response_id, **query)
    body: dict[str, Any] = answer.http_response.json()
    return body


def test_a_text_is_answered_as_chat_answers_it(openai_client: openai.OpenAI) -> None:
    response = create(openai_client, **{**SHORT, "instructions": "Be brief."})
    messages = [{"role": "system", "content": "Be brief."}, *user(SHORT["input"])]
    completion = openai_client.chat.completions.create(
        model=models.CHAT,
        messages=messages,  # type: ignore[arg-type]
        temperature=0,
        seed=1,
        max_tokens=8,
    )
    assert text_of(response) == completion.choices[0].message.content
    assert response["status"] == "incomplete" and response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert completion.usage is not None
    assert response["usage"]["input_tokens"] == completion.usage.prompt_tokens
    assert response["usage"]["output_tokens"] == completion.usage.completion_tokens == 8


def test_a_later_get_says_the_same(openai_client: openai.OpenAI) -> None:
    response = create(openai_client, **SHORT, metadata={"kept": "yes"})
    assert response["metadata"] == {"kept": "yes"} and response["store"] is True
    assert retrieve(openai_client, response["id"]) == response


def test_what_is_not_stored_is_not_found(openai_client: openai.OpenAI) -> None:
    response = create(openai_client, **SHORT, store=False)
    assert response["store"] is False
    for ask in (openai_client.responses.retrieve, openai_client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            ask(response["id"])
    with pytest.raises(openai.NotFoundError) as caught:
        create(openai_client, **SHORT, previous_response_id=response["id"])
    assert caught.value.code == "previous_response_not_found"


def test_the_stream_has_the_same_text(openai_client: openai.OpenAI) -> None:
    whole = create(openai_client, **SHORT)
    told, response = stream(openai_client, **SHORT)
    assert text_of(response) == text_of(whole)
    assert response["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert "".join(one["delta"] for one in told if one["type"] == "response.output_text.delta") == text_of(whole)
    assert retrieve(openai_client, response["id"]) == response


def test_deleted_it_is_gone(openai_client: openai.OpenAI) -> None:
    response = create(openai_client, **SHORT)
    answer = openai_client.responses.with_raw_response.delete(response["id"]).http_response.json()
    assert answer == {"id": response["id"], "object": "response", "deleted": True}
    for ask in (
        openai_client.responses.retrieve,
        openai_client.responses.delete,
        openai_client.responses.cancel,
        openai_client.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(response["id"])
        assert response["id"] in caught.value.message


def test_what_was_said_before_is_read_again(openai_client: openai.OpenAI) -> None:
    """The model reads the whole chain, and not the earlier instructions."""
    first = create(openai_client, **{**SHORT, "input": SAYS, "instructions": "Answer in rhymes and at length."})
    second = create(openai_client, **SHORT, previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"] and second["instructions"] is None
    said = [*user(SAYS), {"role": "assistant", "content": text_of(first)}, *user(SHORT["input"])]
    as_items = create(openai_client, **{**SHORT, "input": said})
    assert text_of(as_items) == text_of(second)
    assert as_items["usage"]["input_tokens"] == second["usage"]["input_tokens"]
    third = create(openai_client, **SHORT, previous_response_id=second["id"])
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"] + second["usage"]["output_tokens"]


def test_input_items_come_in_pages(openai_client: openai.OpenAI) -> None:
    said = [{"role": "user", "content": f"Number {number}."} for number in range(5)]
    response = create(openai_client, **{**SHORT, "input": said})
    oldest = items_of(openai_client, response["id"], order="asc")
    assert [item["content"] for item in oldest["data"]] == [
        [{"type": "input_text", "text": f"Number {number}."}] for number in range(5)
    ]
    newest = items_of(openai_client, response["id"])
    assert newest["data"] == oldest["data"][::-1] and newest["has_more"] is False
    page = items_of(openai_client, response["id"], order="asc", limit=2)
    assert page["data"] == oldest["data"][:2] and page["has_more"] is True
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][1]["id"])
    rest = items_of(openai_client, response["id"], order="asc", after=page["last_id"])
    assert rest["data"] == oldest["data"][2:]
    listed = openai_client.responses.input_items.list(response["id"], limit=2)  # the client turns the pages
    assert [item.id for item in listed] == [item["id"] for item in newest["data"]]


def test_an_item_can_be_referred_to(openai_client: openai.OpenAI) -> None:
    first = create(openai_client, **{**SHORT, "input": SAYS})
    (item,) = items_of(openai_client, first["id"])["data"]
    (message,) = first["output"]
    refers = [{"type": "item_reference", "id": one["id"]} for one in (item, message)]
    second = create(openai_client, **{**SHORT, "input": [*refers, *user(SHORT["input"])]})
    chained = create(openai_client, **SHORT, previous_response_id=first["id"])
    assert text_of(second) == text_of(chained)
    listed = items_of(openai_client, second["id"], order="asc")["data"]
    assert listed[:2] == [item, message]


def test_text_that_is_looked_at_with_logprobs(openai_client: openai.OpenAI) -> None:
    asked = {**SHORT, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    response = create(openai_client, **asked)
    (part,) = response["output"][0]["content"]
    assert "".join(one["token"] for one in part["logprobs"]) == part["text"]
    assert all(len(one["top_logprobs"]) == 2 and one["logprob"] <= 0 for one in part["logprobs"])
    _, streamed = stream(openai_client, **asked)
    assert streamed["output"][0]["content"] == response["output"][0]["content"]
    assert create(openai_client, **SHORT)["output"][0]["content"][0]["logprobs"] == []


def test_an_answer_by_a_schema(openai_client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["color", "count"],
        "additionalProperties": False,
    }
    format_ = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    asked = {**SHORT, "max_output_tokens": 60, "text": {"format": format_}}
    response = create(openai_client, **asked)
    assert response["status"] == "completed"
    answer = json.loads(text_of(response))
    assert answer["color"] in ("red", "green") and 1 <= answer["count"] <= 9
    assert response["text"]["format"]["schema"] == schema
    _, streamed = stream(openai_client, **asked)
    assert text_of(streamed) == text_of(response)


def test_a_json_object_is_one(openai_client: openai.OpenAI) -> None:
    response = create(
        openai_client,
        **{
            **SHORT,
            "model": models.GOOD_CHAT,
            "input": "Give the capital of France as JSON.",
            "max_output_tokens": 60,
            "text": {"format": {"type": "json_object"}},
        },
    )
    assert response["status"] == "completed" and isinstance(json.loads(text_of(response)), dict)


def test_the_last_event_is_the_response(openai_client: openai.OpenAI) -> None:
    told, response = stream(openai_client, model=models.GOOD_CHAT, input="Say: Hi", temperature=0, max_output_tokens=40)
    assert told[-1]["type"] == "response.completed" and response["status"] == "completed"
    assert ResponseCompletedEvent.model_validate(told[-1]).response.output_text == text_of(response)
    assert response["completed_at"] >= response["created_at"]
