"""The adapter in front of the engine over TensorRT-LLM's LLM API. Only the LLM is a stand-in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.stand_in_model import ENGINE, MODEL, StandIn, stand_in_triton, tokenizer_folder
from tokentext import TextTokenizer

TEXT = "The capital of France is Paris."


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    answer = TextTokenizer(tokenizer_folder()).encode(TEXT)
    with stand_in_triton(tmp_path_factory.mktemp("llm-api"), {"answer": answer}, max_batch_size=8) as running:
        yield running


@pytest.fixture(scope="module")
def adapter(stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    log = tmp_path_factory.mktemp("llm-api") / "adapter.log"
    with AdapterProcess(stand_in.server.grpc_url, log) as process:
        yield process


@pytest.fixture(scope="module")
def client(adapter: AdapterProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
        yield client


def ask(client: openai.OpenAI, **request: Any) -> Any:
    defaults = {"messages": user("What is the capital of France?"), "max_tokens": 50}
    return client.chat.completions.create(model=MODEL, **(defaults | request))


def told(stand_in: StandIn) -> dict[str, Any]:
    params: dict[str, Any] = stand_in.events("request")[-1]["params"]
    return params


def test_it_is_a_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_whole(client: openai.OpenAI) -> None:
    answer = ask(client)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 8  # the end token counts
    assert answer.usage.prompt_tokens > 10
    again = ask(client)
    assert again.usage.prompt_tokens_details.cached_tokens >= 8
    assert ask(client, max_tokens=3).choices[0].finish_reason == "length"


def test_streamed(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == TEXT
    assert len([text for text in texts if text]) > 4
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].usage.completion_tokens == 8


def test_several_choices_and_logprobs(client: openai.OpenAI) -> None:
    answer = ask(client, n=3, logprobs=True, top_logprobs=2, temperature=0.9)
    assert [choice.message.content for choice in answer.choices] == [TEXT] * 3
    for choice in answer.choices:
        content = choice.logprobs.content
        assert "".join(entry.token for entry in content if not entry.token.startswith("<|")) == TEXT
        assert content[0].logprob == -0.25
        assert [len(entry.top_logprobs) for entry in content] == [2] * len(content)


def test_parameters_arrive(client: openai.OpenAI, stand_in: StandIn) -> None:
    ask(client, temperature=0.5, top_p=0.75, seed=11, presence_penalty=0.5, frequency_penalty=-0.5, logit_bias={"9": 3})
    params = told(stand_in)
    names = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
    assert [params[name] for name in names] == [0.5, 0.75, 11, 0.5, -0.5]
    assert params["embedding_bias"]["values"] == {"9": 3.0}
    ask(client, temperature=0)
    assert told(stand_in)["top_k"] == 1


def test_stop_string(client: openai.OpenAI) -> None:
    answer = ask(client, stop=[" is"])
    assert answer.choices[0].message.content == "The capital of France"
    assert answer.choices[0].finish_reason == "stop"


def test_schema_becomes_a_guide(client: openai.OpenAI, stand_in: StandIn) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    ask(client, response_format=wanted)
    assert json.loads(told(stand_in)["guided_decoding"]["json"])["required"] == ["city"]


def test_the_engines_complaint_names_the_field(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "pattern": "[(((]"}}}
    with pytest.raises(openai.BadRequestError, match="Grammar parser error") as error:
        ask(client, response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
    assert error.value.param == "response_format"


def test_images_for_a_model_without(client: openai.OpenAI, stand_in: StandIn) -> None:
    before = len(stand_in.events("request"))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with pytest.raises(openai.BadRequestError, match="image") as error:
        ask(client, messages=[{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}])
    assert error.value.param == "messages[0].content[1]"
    assert len(stand_in.events("request")) == before


def test_a_client_that_leaves(client: openai.OpenAI, stand_in: StandIn) -> None:
    before = len(stand_in.events("abort"))
    stream = ask(client, stream=True, max_tokens=1500, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 10
    while len(stand_in.events("abort")) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_text_ensemble(stand_in: StandIn) -> None:
    """Text in, text out, for any Triton client."""
    body = {"text_input": "Hello", "max_tokens": 50, "stream": True}
    url = f"{stand_in.server.http_url}/v2/models/{ENGINE.removesuffix('_engine')}/generate_stream"
    response = httpx.post(url, json=body, timeout=30.0, trust_env=False)
    assert response.status_code == 200, response.text
    events = [json.loads(line.removeprefix("data:")) for line in response.text.splitlines() if line.startswith("data:")]
    assert "".join(event["text_output"] for event in events) == TEXT
