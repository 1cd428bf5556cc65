"""`response_format`: even a model of 135 million parameters then answers with the JSON that was asked for."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import jsonschema
import openai
import pydantic
import pytest

from tests.support import models
from tests.support.answers import collect, user


class Color(str, Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Part(pydantic.BaseModel):
    color: Color
    count: int


class Inventory(pydantic.BaseModel):
    colors: list[Color] = pydantic.Field(min_length=2, max_length=2)
    part: Part
    complete: bool


def test_parse_gives_the_pydantic_model(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.parse(
        model=models.CHAT, messages=user("Make something up."), response_format=Inventory, max_tokens=120, seed=1
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert isinstance(choice.message.parsed, Inventory)
    assert len(choice.message.parsed.colors) == 2


async def test_parse_gives_the_pydantic_model_asynchronously(async_openai_client: openai.AsyncOpenAI) -> None:
    answer = await async_openai_client.chat.completions.parse(
        model=models.CHAT, messages=user("Make something up."), response_format=Inventory, max_tokens=120, seed=2
    )
    assert isinstance(answer.choices[0].message.parsed, Inventory)


def test_streamed_with_the_clients_own_parser(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(
        model=models.CHAT, messages=user("Make something up."), response_format=Inventory, max_tokens=120, seed=3
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Inventory)
    assert kinds.count("content.delta") > 5
    assert kinds.count("content.done") == 1


SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"}},
        "required": ["code"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {
            "n": {"$ref": "#/$defs/small"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["n", "tags"],
        "additionalProperties": False,
        "$defs": {"small": {"type": "integer", "minimum": 10, "maximum": 20}},
    },
    {
        "type": "object",
        "properties": {"shape": {"anyOf": [{"const": "circle"}, {"type": "null"}]}},
        "required": ["shape"],
        "additionalProperties": False,
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=["pattern", "reference", "any of"])
@pytest.mark.parametrize("stream", [False, True])
def test_json_schema(openai_client: openai.OpenAI, schema: dict[str, Any], stream: bool) -> None:
    request: dict[str, Any] = {
        "model": models.CHAT,
        "messages": user("Tell me a story."),
        "response_format": {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}},
        "max_tokens": 80,
        "temperature": 1.2,
        "seed": 6,
    }
    if stream:
        streamed = collect(openai_client.chat.completions.create(stream=True, **request))
        text, reason = streamed.text, streamed.finish_reason
    else:
        (choice,) = openai_client.chat.completions.create(**request).choices
        text, reason = choice.message.content or "", choice.finish_reason
    assert reason == "stop"
    jsonschema.validate(json.loads(text), schema)


def test_json_object(openai_client: openai.OpenAI) -> None:
    """Any object; a stop string makes a short one of what a small model never ends by itself."""
    answer = openai_client.chat.completions.create(
        model=models.GOOD_CHAT,
        messages=user('Answer in JSON: {"capital": name of the capital of France}'),
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=60,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_json_object_from_the_first_character(openai_client: openai.OpenAI) -> None:
    """Also against what the model would rather say."""
    answer = openai_client.chat.completions.create(
        model=models.CHAT, messages=user("Say hello, not JSON."), response_format={"type": "json_object"}, max_tokens=4
    )
    assert (answer.choices[0].message.content or "").startswith("{")


def test_text_is_plain_text(openai_client: openai.OpenAI) -> None:
    request: dict[str, Any] = {"model": models.CHAT, "messages": user("Hello"), "max_tokens": 6, "temperature": 0}
    plain = openai_client.chat.completions.create(**request, seed=1)
    text = openai_client.chat.completions.create(**request, seed=1, response_format={"type": "text"})
    assert text.choices[0].message.content == plain.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_is_none_is_refused(openai_client: openai.OpenAI, stream: bool) -> None:
    broken = {"name": "x", "schema": {"type": "nonsense"}}
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(  # type: ignore[call-overload]
            model=models.CHAT,
            messages=user("x"),
            response_format={"type": "json_schema", "json_schema": broken},
            stream=stream,
        )
    assert caught.value.param == "response_format"
    assert "nonsense" in caught.value.message
