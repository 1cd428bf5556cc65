"""Chat completions that are kept (`store: true`), with the real client."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.support import models
from tests.support.answers import user

REQUEST: dict[str, Any] = {"model": models.CHAT, "messages": user("Hi"), "max_tokens": 2, "seed": 1}


def stored(client: openai.OpenAI, **more: Any) -> dict[str, Any]:
    answer = client.chat.completions.with_raw_response.create(**{**REQUEST, **more}, store=True)
    body: dict[str, Any] = answer.http_response.json()
    return body


def kept(client: openai.OpenAI, completion_id: str) -> dict[str, Any]:
    body: dict[str, Any] = client.chat.completions.with_raw_response.retrieve(completion_id).http_response.json()
    return body


def test_kept_as_it_was_told(openai_client: openai.OpenAI) -> None:
    told = stored(openai_client, metadata={"run": "kept"})
    found = kept(openai_client, told["id"])
    assert {name: found[name] for name in told if name != "metadata"} == {
        name: value for name, value in told.items() if name != "metadata"
    }
    assert found["metadata"] == {"run": "kept"}


def test_a_streamed_one_too(openai_client: openai.OpenAI) -> None:
    text, completion_id = "", ""
    for chunk in openai_client.chat.completions.create(**REQUEST, store=True, stream=True):
        completion_id = chunk.id
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    found = openai_client.chat.completions.retrieve(completion_id)
    assert found.choices[0].message.content == text and found.object == "chat.completion"


@pytest.mark.parametrize("store", [False, None])
def test_not_kept_where_it_is_not_asked_for(openai_client: openai.OpenAI, store: bool | None) -> None:
    told = openai_client.chat.completions.create(**REQUEST, store=store)
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.chat.completions.retrieve(told.id)
    assert told.id in caught.value.message


def test_listed_by_metadata_and_model(openai_client: openai.OpenAI) -> None:
    made = [stored(openai_client, metadata={"run": "listed", "number": str(number)})["id"] for number in range(3)]
    listed = openai_client.chat.completions.list(metadata={"run": "listed"})
    assert [one.id for one in listed] == made
    newest = openai_client.chat.completions.list(metadata={"run": "listed"}, order="desc", limit=2)
    assert [one.id for one in newest.data] == made[:0:-1] and newest.has_more
    assert [one.id for one in newest] == made[::-1]
    assert [one.id for one in openai_client.chat.completions.list(metadata={"number": "1", "run": "listed"})] == [
        made[1]
    ]
    assert not list(openai_client.chat.completions.list(metadata={"run": "listed"}, model="none/such"))
    assert len(list(openai_client.chat.completions.list(metadata={"run": "listed"}, model=models.CHAT))) == 3


def test_changed_and_deleted(openai_client: openai.OpenAI) -> None:
    told = stored(openai_client, metadata={"run": "changed"})
    changed = openai_client.chat.completions.update(told["id"], metadata={"run": "again"})
    assert changed.metadata == {"run": "again"}
    assert kept(openai_client, told["id"])["metadata"] == {"run": "again"}
    gone = openai_client.chat.completions.delete(told["id"])
    assert gone.deleted and gone.id == told["id"] and gone.object == "chat.completion.deleted"
    for ask in (
        openai_client.chat.completions.retrieve,
        openai_client.chat.completions.delete,
        openai_client.chat.completions.messages.list,
        lambda id: openai_client.chat.completions.update(id, metadata={}),
    ):
        with pytest.raises(openai.NotFoundError):
            ask(told["id"])  # type: ignore[operator]


def test_its_messages(openai_client: openai.OpenAI) -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        *user("one"),
        {"role": "assistant", "content": "two"},
        *user("3"),
    ]
    told = stored(openai_client, messages=said)
    listed = openai_client.chat.completions.messages.list(told["id"], limit=3)
    assert [(one.role, one.content) for one in listed.data] == [(one["role"], one["content"]) for one in said[:3]]
    assert listed.has_more
    assert [one.content for one in listed] == [one["content"] for one in said]
    backwards = openai_client.chat.completions.messages.list(told["id"], order="desc")
    assert [one.content for one in backwards] == [one["content"] for one in said[::-1]]


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("order=up", "order"), ("after=chatcmpl-none", "after")]
)
def test_bad_query_parameters(adapter_url: str, query: str, param: str) -> None:
    answer = httpx.get(f"{adapter_url}/v1/chat/completions?{query}", timeout=30, trust_env=False)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text


def test_bad_metadata(openai_client: openai.OpenAI, adapter_url: str) -> None:
    told = stored(openai_client)
    url = f"{adapter_url}/v1/chat/completions/{told['id']}"
    answer = httpx.post(url, json={"metadata": {"a": 1}}, timeout=30, trust_env=False)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "metadata.a", answer.text
