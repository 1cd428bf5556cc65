"""SmolLM2 of the catalog behind the adapter: from its CPU engine, and from the engine over TensorRT-LLM's LLM API,
whose LLM is a stand-in. What a client can count on is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.stand_in_model import MODEL, stand_in_triton, tokenizer_folder
from tokentext import TextTokenizer

JSON = '{"city": "Paris"}'


@pytest.fixture(scope="module", params=["llama_cpp", "tensorrt_llm_api"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The adapter's base URL, and the model's id."""
    if request.param == "llama_cpp":
        adapter: AdapterProcess = request.getfixturevalue("adapter")
        yield adapter.base_url, models.CHAT
        return
    folder: Path = tmp_path_factory.mktemp("alike")
    answer = TextTokenizer(tokenizer_folder()).encode(JSON)
    with (
        stand_in_triton(folder, {"answer": answer}, max_batch_size=8) as running,
        AdapterProcess(running.server.grpc_url, folder / "adapter.log") as adapter,
    ):
        yield adapter.base_url, MODEL


@pytest.fixture
def client(served: tuple[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served[0], api_key="any", max_retries=0, timeout=60.0) as client:
        yield client


@pytest.fixture
def model(served: tuple[str, str]) -> str:
    return served[1]


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


def ask(client: openai.OpenAI, model: str, **request: Any) -> Any:
    wanted: dict[str, Any] = {"temperature": 0, "max_tokens": 40, "seed": 5, "response_format": FORM}
    return client.chat.completions.create(model=model, messages=user("Name a city."), **(wanted | request))


def test_the_model_is_listed(client: openai.OpenAI, model: str) -> None:
    assert model in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(model).id == model


def test_streamed_equals_final_within_the_schema(client: openai.OpenAI, model: str) -> None:
    final = ask(client, model)
    assert json.loads(final.choices[0].message.content)["city"] in ("Paris", "Rome")
    assert final.choices[0].finish_reason == "stop"
    chunks = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == final.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == final.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == final.usage.prompt_tokens > 5
    assert final.system_fingerprint == chunks[0].system_fingerprint


def test_length_ends_it(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, max_tokens=2)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)


def test_choices_with_log_probabilities(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        shown = choice.logprobs.content
        assert b"".join(bytes(entry.bytes) for entry in shown).decode().startswith(choice.message.content)
        assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in shown)


def test_a_stop_string(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, stop=["city"])
    assert answer.choices[0].finish_reason == "stop" and "city" not in answer.choices[0].message.content


@pytest.mark.parametrize(
    ("changed", "param"), [({"temperature": 3}, "temperature"), ({"max_tokens": 10**6}, "messages")], ids=str
)
def test_bad_requests_name_the_field(client: openai.OpenAI, model: str, changed: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, model, **changed)
    assert caught.value.param == param


def test_responses_go_on(client: openai.OpenAI, model: str) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA}}
    first = client.responses.create(model=model, input="Name a city.", text=form, temperature=0)
    assert json.loads(first.output_text)["city"] in ("Paris", "Rome")
    second = client.responses.create(
        model=model, input="Another one.", previous_response_id=first.id, text=form, temperature=0
    )
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text
