"""Requests that cannot be served: OpenAI's status and error object, streamed or not, and never a 500."""

from __future__ import annotations

import re
from typing import Any

import httpx
import openai
import pytest

from tests.support import models
from tests.support.answers import user

CONTEXT = 8192  # tokens, of the catalog's entry


@pytest.mark.parametrize("stream", [False, True])
def test_answer_longer_than_the_context(openai_client: openai.OpenAI, stream: bool) -> None:
    prompt = openai_client.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1).usage
    assert prompt is not None
    wanted = CONTEXT - prompt.prompt_tokens + 1
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(  # type: ignore[call-overload]
            model=models.CHAT, messages=user("Hi"), max_tokens=wanted, stream=stream
        )
    error = caught.value
    assert error.code == "context_length_exceeded"
    assert error.type == "invalid_request_error"
    assert isinstance(error.body, dict)
    counts = [int(number) for number in re.findall(r"\d+", error.body["message"])]
    assert counts == [CONTEXT, CONTEXT + 1, prompt.prompt_tokens, wanted]


def test_prompt_longer_than_the_context(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model=models.CHAT, messages=user("word " * CONTEXT))
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert str(CONTEXT) in caught.value.message


def test_exactly_what_fits_is_taken(openai_client: openai.OpenAI) -> None:
    prompt = openai_client.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1).usage
    assert prompt is not None
    answer = openai_client.chat.completions.create(
        model=models.CHAT,
        messages=user("Hi"),
        max_tokens=CONTEXT - prompt.prompt_tokens,
        logit_bias={"2": 100},  # the end token: nobody waits for 8,000 tokens
    )
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_model(openai_client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.chat.completions.create(model="nobody/nothing:1b", messages=user("Hi"), stream=stream)  # type: ignore[call-overload]
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "nobody/nothing:1b" in caught.value.message


def test_embedding_model(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model=models.EMBEDDING, messages=user("Hi"))
    assert caught.value.param == "model"
    assert "embedding" in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"stop": [""]}, "stop[0]"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"n": 0}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f g"}}]}, "tools[0].function.name"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_k": -2}, "top_k"),
        ({"top_a": 5}, "top_a"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ],
)
def test_wrong_parameter(openai_client: openai.OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model=models.CHAT, messages=user("Hi"), extra_body=wrong)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_missing_parameters(openai_client: openai.OpenAI, adapter_url: str) -> None:
    for body, param in (({"messages": user("Hi")}, "model"), ({"model": models.CHAT}, "messages")):
        response = httpx.post(f"{adapter_url}/v1/chat/completions", json=body, timeout=30.0)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
        assert response.json()["error"]["code"] == "missing_required_parameter"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"a":' * 5000])
def test_a_body_that_is_no_json_object(adapter_url: str, body: bytes) -> None:
    response = httpx.post(
        f"{adapter_url}/v1/chat/completions",
        content=body,
        headers={"content-type": "application/json"},
        timeout=30.0,
    )
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error" and "JSON" in error["message"]


def test_half_of_a_surrogate_pair(adapter_url: str) -> None:
    """JSON can hold it, UTF-8 cannot: a client's error, not the server's."""
    response = httpx.post(
        f"{adapter_url}/v1/chat/completions",
        content=b'{"model":"%s","messages":[{"role":"user","content":"\\ud800"}],"max_tokens":1}'
        % models.CHAT.encode(),
        headers={"content-type": "application/json"},
        timeout=30.0,
    )
    assert response.status_code == 400
