"""Text completions through the real client, held strictly against its own types."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion, CompletionUsage
from openai.types.completion_choice import Logprobs
from pydantic import TypeAdapter

from tests.support import models

REQUEST: dict[str, Any] = {"model": models.CHAT, "prompt": "Once upon a time", "temperature": 0, "max_tokens": 4}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"logprobs": 2},
    {"logprobs": 1, "echo": True},
    {"echo": True},
    {"n": 2, "seed": 1, "temperature": 1},
    {"prompt": ["a", "b"], "max_tokens": 0, "echo": True},
    {"stop": "e"},
]


def check(body: dict[str, Any], *, chunk: bool) -> None:
    """Fails unless all fields are there, none is unknown, and each has its type.

    Two nulls that OpenAI's service sends are not in the types: the finish reason of a chunk that is not the last, and
    the log probability of a prompt's first token.
    """
    assert set(body) - {"usage"} == set(Completion.model_fields) - {"usage"}
    assert "usage" in body or chunk
    if body.get("usage") is not None:
        assert set(body["usage"]) <= set(CompletionUsage.model_fields)
    for choice in body["choices"]:
        assert set(choice) == {"index", "text", "logprobs", "finish_reason"}
        if chunk and choice["finish_reason"] is None:
            choice["finish_reason"] = "stop"
        logprobs = choice["logprobs"]
        if logprobs is None:
            continue
        assert set(logprobs) == set(Logprobs.model_fields)
        assert len({len(values) for values in logprobs.values()}) == 1
        if logprobs["token_logprobs"][:1] == [None]:
            assert logprobs["top_logprobs"][0] is None and logprobs["text_offset"][0] == 0
            logprobs["token_logprobs"][0], logprobs["top_logprobs"][0] = 0.0, {}
    TypeAdapter(Completion).validate_python(body, strict=True)


def post(adapter_url: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{adapter_url}/v1/completions", json=body, timeout=60.0, trust_env=False)


@pytest.mark.parametrize("options", OPTIONS, ids=json.dumps)
def test_completion(adapter_url: str, options: dict[str, Any]) -> None:
    answer = post(adapter_url, {**REQUEST, **options})
    assert answer.headers["content-type"] == "application/json"
    check(answer.json(), chunk=False)


@pytest.mark.parametrize("stream_options", [None, {"include_usage": True}, {"include_usage": False}])
@pytest.mark.parametrize("options", OPTIONS, ids=json.dumps)
def test_chunks(adapter_url: str, options: dict[str, Any], stream_options: dict[str, bool] | None) -> None:
    request = {**REQUEST, **options, "stream": True}
    if stream_options is not None:
        request["stream_options"] = stream_options
    *events, done = post(adapter_url, request).text.strip().split("\n\n")
    assert done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert len([reason for reason in reasons if reason]) == (2 if "n" in options or "prompt" in options else 1)
    for chunk in chunks:
        assert ("usage" in chunk) == (stream_options != {"include_usage": False})
        check(chunk, chunk=True)
    last = chunks[-1]
    if stream_options is None:
        assert last["choices"] and last["usage"]["total_tokens"] > 0
    elif stream_options["include_usage"]:
        assert last["choices"] == [] and last["usage"]["total_tokens"] > 0


def test_the_clients_stream(openai_client: openai.OpenAI) -> None:
    whole = openai_client.completions.create(**REQUEST, seed=1)
    stream = openai_client.completions.create(**REQUEST, seed=1, stream=True)
    assert "".join(choice.text for chunk in stream for choice in chunk.choices) == whole.choices[0].text


async def test_the_asynchronous_client(async_openai_client: openai.AsyncOpenAI) -> None:
    whole = await async_openai_client.completions.create(**REQUEST, seed=1)
    stream = await async_openai_client.completions.create(**REQUEST, seed=1, stream=True)
    assert "".join([choice.text async for chunk in stream for choice in chunk.choices]) == whole.choices[0].text


def test_padding(openai_client: openai.OpenAI) -> None:
    request: dict[str, Any] = {**REQUEST, "seed": 1, "stream": True}
    padded = openai_client.completions.create(**request, stream_options={"include_obfuscation": True})
    chunks = [chunk.to_dict() for chunk in padded]
    assert all(chunk["obfuscation"] for chunk in chunks if chunk["choices"])


def test_errors(adapter_url: str) -> None:
    for changes in ({"best_of": 0}, {"prompt": 1}, {"max_tokens": 100_000}, {"other": 1}):
        answer = post(adapter_url, {**REQUEST, **changes})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"] == ("prompt" if "max_tokens" in changes else next(iter(changes)))
