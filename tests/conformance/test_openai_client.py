"""The `openai` package's own conveniences, unmodified: helpers, raw responses, retries, timeouts, cancellation."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import openai
import pydantic
import pytest
from openai.lib.streaming.chat import ContentDeltaEvent, ContentDoneEvent

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user

REQUEST: dict[str, Any] = {
    "model": models.CHAT,
    "messages": user("Name three colors and describe each."),
    "temperature": 0,
    "seed": 1,
    "max_tokens": 12,
}
# The client's helpers take an answer that was cut by its length for a failure.
COMPLETE = {**REQUEST, "max_tokens": 40, "stop": " associated"}


def test_stream_helper_accumulates_what_create_returns(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(**COMPLETE)
    with openai_client.chat.completions.stream(**COMPLETE) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event.delta for event in events if isinstance(event, ContentDeltaEvent)]
    (done,) = [event for event in events if isinstance(event, ContentDoneEvent)]
    assert "".join(deltas) == done.content == whole.choices[0].message.content
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert final.usage is not None and whole.usage is not None
    assert final.usage.total_tokens == whole.usage.total_tokens
    assert final.system_fingerprint == whole.system_fingerprint


def test_stream_helper_with_log_probabilities(openai_client: openai.OpenAI) -> None:
    request = {**COMPLETE, "logprobs": True, "top_logprobs": 2}
    whole = openai_client.chat.completions.create(**request)
    with openai_client.chat.completions.stream(**request) as stream:
        final = stream.get_final_completion()
    accumulated, expected = final.choices[0].logprobs, whole.choices[0].logprobs
    assert accumulated is not None and expected is not None
    assert [one.token for one in accumulated.content or []] == [one.token for one in expected.content or []]


def test_stream_helper_with_include_usage(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(**COMPLETE, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()
    assert final.usage is not None and final.usage.completion_tokens > 5


async def test_asynchronous_stream_helper(async_openai_client: openai.AsyncOpenAI) -> None:
    async with async_openai_client.chat.completions.stream(**COMPLETE) as stream:
        deltas = [event.delta async for event in stream if isinstance(event, ContentDeltaEvent)]
        final = await stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content


def test_parse_raises_for_an_answer_that_was_cut(openai_client: openai.OpenAI) -> None:
    """The client's own error for `finish_reason: length`."""

    class Story(pydantic.BaseModel):
        text: str

    with pytest.raises(openai.LengthFinishReasonError):
        openai_client.chat.completions.parse(
            model=models.CHAT, messages=user("Tell me a story."), response_format=Story, max_tokens=3, temperature=0
        )


def test_raw_response(openai_client: openai.OpenAI) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(**REQUEST)
    assert raw.status_code == 200
    assert raw.headers["content-type"] == "application/json"
    assert raw.request_id
    assert int(raw.headers["content-length"]) == len(raw.content)
    assert raw.parse().choices[0].message.content == json.loads(raw.content)["choices"][0]["message"]["content"]


def test_streaming_response(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.with_streaming_response.create(**REQUEST, stream=True) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: {") for line in lines[:-1])


async def test_asynchronous_raw_response(async_openai_client: openai.AsyncOpenAI) -> None:
    raw = await async_openai_client.embeddings.with_raw_response.create(model=models.EMBEDDING, input="x")
    assert len(raw.parse().data[0].embedding) == 384


def test_the_clients_timeout(openai_client: openai.OpenAI) -> None:
    """The client gives up; the next request on the same client is served."""
    endless = {**REQUEST, "max_tokens": 4000, "logit_bias": {"2": -100}}
    with pytest.raises(openai.APITimeoutError):
        openai_client.with_options(timeout=0.3).chat.completions.create(**endless)
    assert openai_client.chat.completions.create(**REQUEST).choices


def test_the_client_does_not_retry_what_cannot_succeed(adapter: AdapterProcess) -> None:
    """400, 404 and 413 are final; the client retries only what may pass (408, 409, 429, 5xx)."""
    sent = []
    with httpx.Client(event_hooks={"request": [sent.append]}) as http:
        client = openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=2, http_client=http)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**REQUEST, "temperature": 9})
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**{**REQUEST, "model": "nothing"})
    assert len(sent) == 2


def test_organization_project_and_extra_headers_are_taken(adapter: AdapterProcess) -> None:
    with openai.OpenAI(
        base_url=adapter.base_url,
        api_key="any",
        organization="org-1",
        project="proj-1",
        default_headers={"X-Stainless-Helper": "x"},
        max_retries=0,
    ) as client:
        assert client.chat.completions.create(**REQUEST, extra_headers={"x-own": "1"}).choices
        assert client.with_options(default_query={"api-version": "1"}).models.list().data


def test_base_url_with_a_slash_at_its_end(adapter: AdapterProcess) -> None:
    with openai.OpenAI(base_url=adapter.base_url + "/", api_key="any", max_retries=0) as client:
        assert client.models.list().data
        assert client.chat.completions.create(**REQUEST).choices


def test_what_is_not_there_yet_is_a_404_of_openais_form(openai_client: openai.OpenAI) -> None:
    for call in (
        lambda: openai_client.batches.list(),
        lambda: openai_client.images.generate(prompt="x", model="y"),
        lambda: openai_client.moderations.create(input="x"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.type == "invalid_request_error"


async def test_one_client_for_many_requests(async_openai_client: openai.AsyncOpenAI) -> None:
    """Connections are used again: sequential and parallel requests of one client, streams among them."""
    create = async_openai_client.chat.completions.create
    expected = (await create(**REQUEST)).choices[0].message.content

    async def streamed() -> str:
        stream = await create(**REQUEST, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    for _ in range(2):
        assert await asyncio.gather(*(streamed() for _ in range(4))) == [expected] * 4
    assert (await create(**REQUEST)).choices[0].message.content == expected


def test_an_abandoned_stream_does_not_spoil_the_client(openai_client: openai.OpenAI) -> None:
    for _ in range(5):
        with openai_client.chat.completions.create(**{**REQUEST, "max_tokens": 500}, stream=True) as stream:
            next(iter(stream))
    assert openai_client.chat.completions.create(**REQUEST).choices
