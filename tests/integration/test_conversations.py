"""Conversations, with the real client: items of their own, and responses that go on from them and add to them."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai.types.conversations import Conversation, ConversationItemList

from tests.support.answers import user
from tests.support.response_client import SHORT, Body, create, stream, text_of

SAYS = "The password is swordfish."


def raw(answer: Any) -> Body:
    body: Body = answer.http_response.json()
    return body


def items_of(client: openai.OpenAI, conversation_id: str, **query: Any) -> Body:
    body = raw(client.conversations.items.with_raw_response.list(conversation_id, **query))
    if body["data"]:  # of an empty list OpenAI's ids are null, though its types say otherwise
        ConversationItemList.model_validate(body, strict=True)
    return body


def say(text: str) -> Any:
    return {"type": "message", "role": "user", "content": text}


def test_made_read_changed_and_deleted(openai_client: openai.OpenAI) -> None:
    made = raw(openai_client.conversations.with_raw_response.create(metadata={"topic": "fish"}))
    Conversation.model_validate(made, strict=True)
    assert made["object"] == "conversation" and made["metadata"] == {"topic": "fish"}
    assert raw(openai_client.conversations.with_raw_response.retrieve(made["id"])) == made
    changed = raw(openai_client.conversations.with_raw_response.update(made["id"], metadata={"topic": "birds"}))
    assert changed == {**made, "metadata": {"topic": "birds"}}
    assert raw(openai_client.conversations.with_raw_response.retrieve(made["id"])) == changed
    gone = raw(openai_client.conversations.with_raw_response.delete(made["id"]))
    assert gone == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    for ask in (
        openai_client.conversations.retrieve,
        openai_client.conversations.delete,
        lambda id: openai_client.conversations.update(id, metadata={}),
        openai_client.conversations.items.list,
        lambda id: openai_client.conversations.items.create(id, items=[say("x")]),
        lambda id: openai_client.conversations.items.retrieve("msg_1", conversation_id=id),
        lambda id: openai_client.conversations.items.delete("msg_1", conversation_id=id),
        lambda id: create(openai_client, **SHORT, conversation=id),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(made["id"])  # type: ignore[operator]
        assert made["id"] in caught.value.message


def test_its_items(openai_client: openai.OpenAI) -> None:
    conversation = openai_client.conversations.create(items=[say("one"), say("two")])
    added = raw(
        openai_client.conversations.items.with_raw_response.create(conversation.id, items=[say("three"), say("four")])
    )
    oldest = items_of(openai_client, conversation.id, order="asc")
    assert [item["content"][0]["text"] for item in oldest["data"]] == ["one", "two", "three", "four"]
    assert oldest["data"][2:] == added["data"]
    assert items_of(openai_client, conversation.id)["data"] == oldest["data"][::-1]
    page = items_of(openai_client, conversation.id, limit=3)
    assert page["has_more"] is True and page["last_id"] == oldest["data"][1]["id"]
    rest = items_of(openai_client, conversation.id, limit=3, after=page["last_id"])
    assert rest["data"] == oldest["data"][:1] and rest["has_more"] is False

    second = oldest["data"][1]
    got = raw(
        openai_client.conversations.items.with_raw_response.retrieve(second["id"], conversation_id=conversation.id)
    )
    assert got == second
    left = raw(
        openai_client.conversations.items.with_raw_response.delete(second["id"], conversation_id=conversation.id)
    )
    assert left["id"] == conversation.id and left["object"] == "conversation"
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.conversations.items.retrieve(second["id"], conversation_id=conversation.id)
    assert second["id"] in caught.value.message
    assert len(items_of(openai_client, conversation.id)["data"]) == 3


def test_responses_go_on_from_it_and_add_to_it(openai_client: openai.OpenAI) -> None:
    conversation = openai_client.conversations.create(items=[say(SAYS)])
    first = create(openai_client, **SHORT, conversation=conversation.id)
    assert first["conversation"] == {"id": conversation.id}
    said = [*user(SAYS), *user(SHORT["input"])]
    assert text_of(first) == text_of(create(openai_client, **{**SHORT, "input": said}))
    _, second = stream(openai_client, **SHORT, conversation={"id": conversation.id})
    third = create(openai_client, **SHORT, conversation=conversation.id, store=False)
    chained = [*said, {"role": "assistant", "content": text_of(first)}, *user(SHORT["input"])]
    assert text_of(second) == text_of(create(openai_client, **{**SHORT, "input": chained}))
    told = items_of(openai_client, conversation.id, order="asc")["data"]
    assert [item["role"] for item in told] == ["user", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert [told[2], told[4], told[6]] == [first["output"][0], second["output"][0], third["output"][0]]


def test_an_item_of_it_can_be_referred_to(openai_client: openai.OpenAI) -> None:
    conversation = openai_client.conversations.create(items=[say(SAYS)])
    (item,) = items_of(openai_client, conversation.id)["data"]
    reference: Any = {"type": "item_reference", "id": item["id"]}
    response = create(openai_client, **{**SHORT, "input": [reference, *user(SHORT["input"])]})
    said = [*user(SAYS), *user(SHORT["input"])]
    assert text_of(response) == text_of(create(openai_client, **{**SHORT, "input": said}))


def test_its_responses_outlive_it(openai_client: openai.OpenAI) -> None:
    conversation = openai_client.conversations.create()
    response = create(openai_client, **SHORT, conversation=conversation.id)
    openai_client.conversations.delete(conversation.id)
    assert openai_client.responses.retrieve(response["id"]).output_text == text_of(response)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"items": [{"type": "no_such"}]}, "items[0].type"),
        ("", {"items": [say("x")] * 21}, "items"),
        ("", {"metadata": {"a": 1}}, "metadata.a"),
        ("", {"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ("", {"topic": "x"}, "topic"),
        ("", {"items": [{"type": "item_reference", "id": "msg_none"}]}, "items[0].id"),
        ("/{}", {"metadata": {"a": []}}, "metadata.a"),
        ("/{}/items", {"items": []}, "items"),
        ("/{}/items", {}, "items"),
        ("/{}/items", {"items": [{"role": "user", "content": [{"type": "input_text"}]}]}, "items[0].content[0].text"),
    ],
)
def test_a_field_is_named(openai_client: openai.OpenAI, adapter_url: str, path: str, body: Body, param: str) -> None:
    conversation = openai_client.conversations.create()
    url = f"{adapter_url}/v1/conversations{path.format(conversation.id)}"
    answer = httpx.post(url, json=body, timeout=30, trust_env=False)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param, answer.text
    assert items_of(openai_client, conversation.id)["data"] == []


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=msg_1", "after")]
)
def test_bad_query_parameters(openai_client: openai.OpenAI, adapter_url: str, query: str, param: str) -> None:
    conversation = openai_client.conversations.create(items=[say("x")])
    url = f"{adapter_url}/v1/conversations/{conversation.id}/items?{query}"
    answer = httpx.get(url, timeout=30, trust_env=False)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
