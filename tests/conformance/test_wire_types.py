"""Every JSON object on the wire, held against the `openai` package's own types: nothing missing, nothing of our own.

The client's models take unknown fields and do not look for missing ones, so that newer servers work with older clients.
Here both are looked for.
"""

from __future__ import annotations

import json
from typing import Any, Union, get_args, get_origin

import httpx
import pydantic
import pytest
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject

from tests.support import models
from tests.support.answers import user

CHAT = "/v1/chat/completions"
REQUEST: dict[str, Any] = {"model": models.CHAT, "messages": user("Hi"), "max_tokens": 3, "seed": 1}


def check(kind: Any, value: Any, where: str) -> None:
    """Fails unless `value` is a `kind`, with all required fields and no unknown ones, all the way down."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        assert isinstance(value, list), where
        for index, item in enumerate(value):
            check(arguments[0], item, f"{where}[{index}]")
    elif origin is Union or type(kind).__name__ == "UnionType":
        if value is None:
            assert type(None) in arguments, f"{where} may not be null"
            return
        failures = []
        for one in arguments:
            if one is type(None):
                continue
            try:
                return check(one, value, where)
            except (AssertionError, pydantic.ValidationError) as error:
                failures.append(str(error))
        raise AssertionError(f"{where}: {failures}")
    elif isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        assert isinstance(value, dict), where
        unknown = set(value) - set(kind.model_fields)
        assert not unknown, f"{where} has fields that {kind.__name__} does not know: {unknown}"
        for name, field in kind.model_fields.items():
            if name in value:
                check(field.annotation, value[name], f"{where}.{name}")
            else:
                assert not field.is_required(), f"{where} lacks {name}"
    else:
        pydantic.TypeAdapter(kind).validate_python(value, strict=True)


def post(adapter_url: str, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(adapter_url + path, json=body, timeout=60.0, trust_env=False)


def test_the_check_finds_what_it_looks_for() -> None:
    good = {"id": "x", "object": "model", "created": 1, "owned_by": "y"}
    check(Model, good, "model")
    for bad in ({**good, "extra": 1}, {**good, "created": "1"}, {**good, "object": "thing"}, {"id": "x"}):
        with pytest.raises((AssertionError, pydantic.ValidationError)):
            check(Model, bad, "model")


@pytest.mark.parametrize(
    "options",
    [{}, {"logprobs": True, "top_logprobs": 2}, {"stop": "e"}, {"response_format": {"type": "json_object"}}],
    ids=["plain", "logprobs", "stop", "json"],
)
class TestChat:
    def test_completion(self, adapter_url: str, options: dict[str, Any]) -> None:
        body = post(adapter_url, CHAT, {**REQUEST, **options}).json()
        check(ChatCompletion, body, "completion")
        # What OpenAI's service sends though the types do not ask for it.
        assert {"system_fingerprint", "usage"} <= set(body)
        assert {"index", "message", "logprobs", "finish_reason"} == set(body["choices"][0])
        assert {"role", "content", "refusal"} <= set(body["choices"][0]["message"])

    @pytest.mark.parametrize("stream_options", [None, {"include_usage": True}, {"include_usage": False}])
    def test_chunks(self, adapter_url: str, options: dict[str, Any], stream_options: Any) -> None:
        request = {**REQUEST, **options, "stream": True}
        if stream_options is not None:
            request["stream_options"] = stream_options
        *events, done = post(adapter_url, CHAT, request).text.strip().split("\n\n")
        assert done == "data: [DONE]"
        assert len(events) >= 2
        for index, event in enumerate(events):
            check(ChatCompletionChunk, json.loads(event.removeprefix("data: ")), f"chunk {index}")


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_embeddings(adapter_url: str, encoding_format: str) -> None:
    body = {"model": models.EMBEDDING, "input": ["a", "b"], "encoding_format": encoding_format}
    answer = post(adapter_url, "/v1/embeddings", body).json()
    if encoding_format == "base64":  # the types describe what the client has made of it
        for entry in answer["data"]:
            assert isinstance(entry["embedding"], str)
            entry["embedding"] = [0.0]
    check(CreateEmbeddingResponse, answer, "embeddings")


def test_models(adapter_url: str) -> None:
    page = httpx.get(f"{adapter_url}/v1/models", trust_env=False).json()
    assert set(page) == {"object", "data"} and page["object"] == "list"
    for index, model in enumerate(page["data"]):
        check(Model, model, f"model {index}")
        check(Model, httpx.get(f"{adapter_url}/v1/models/{model['id']}", trust_env=False).json(), model["id"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {}),
        (CHAT, {**REQUEST, "temperature": 3}),
        (CHAT, {**REQUEST, "model": "nothing"}),
        (CHAT, {**REQUEST, "max_tokens": 100_000}),
        ("/v1/embeddings", {"model": models.EMBEDDING, "input": ""}),
        ("/nowhere", {}),
    ],
)
def test_errors(adapter_url: str, path: str, body: dict[str, Any]) -> None:
    answer = post(adapter_url, path, body)
    assert 400 <= answer.status_code < 500
    assert set(answer.json()) == {"error"}
    check(ErrorObject, answer.json()["error"], "error")
