"""The `openai` package's own conveniences for the Responses API, unmodified."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import openai
import pydantic
import pytest
from openai.types.responses import ParsedResponse

from tests.support import models
from tests.support.response_client import ENDLESS, SHORT


class Weather(pydantic.BaseModel):
    city: Literal["Paris", "Ulm"]
    degrees: int = pydantic.Field(ge=-9, le=40)


class GetTime(pydantic.BaseModel):
    """The time in a zone."""

    zone: Literal["CET", "UTC"]


QUESTION: dict[str, Any] = {**SHORT, "input": "How warm is it in Ulm?", "max_output_tokens": 80}


def test_parse(openai_client: openai.OpenAI) -> None:
    parsed = openai_client.responses.parse(**QUESTION, text_format=Weather)
    assert isinstance(parsed.output_parsed, Weather)
    assert Weather.model_validate_json(parsed.output_text) == parsed.output_parsed


def test_parse_reads_arguments_too(openai_client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(GetTime)["function"]
    parsed: ParsedResponse[None] = openai_client.responses.parse(
        **QUESTION, tools=[{"type": "function", **tool}], tool_choice="required", parallel_tool_calls=False
    )
    calls = [item for item in parsed.output if item.type == "function_call"]
    assert calls and all(call.parsed_arguments["zone"] in ("CET", "UTC") for call in calls)


def test_stream_puts_together_what_create_returns(openai_client: openai.OpenAI) -> None:
    text, snapshot = "", ""
    asked: dict[str, Any] = {**SHORT, "model": models.GOOD_CHAT, "input": "Say: Hi", "max_output_tokens": 40}
    with openai_client.responses.stream(**asked) as told:
        for event in told:
            if event.type == "response.output_text.delta":
                text += event.delta
                snapshot = event.snapshot
        final = told.get_final_response()
    assert final.output_text == text == snapshot == openai_client.responses.create(**asked).output_text


def test_stream_parses(openai_client: openai.OpenAI) -> None:
    with openai_client.responses.stream(**QUESTION, text_format=Weather) as told:
        done = [event for event in told if event.type == "response.output_text.done"]
        final = told.get_final_response()
    assert done[0].parsed == final.output_parsed and isinstance(final.output_parsed, Weather)


def test_stream_has_calls(openai_client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(GetTime)["function"]
    with openai_client.responses.stream(
        **QUESTION,
        tools=[{"type": "function", **tool}],
        tool_choice={"type": "function", "name": "GetTime"},
        parallel_tool_calls=False,
    ) as told:
        snapshots = [event.snapshot for event in told if event.type == "response.function_call_arguments.delta"]
        final = told.get_final_response()
    (call,) = final.output
    assert call.type == "function_call" and snapshots[-1] == call.arguments
    assert GetTime.model_validate_json(call.arguments)


async def test_many_at_once(async_openai_client: openai.AsyncOpenAI) -> None:
    responses = await asyncio.gather(
        *(
            async_openai_client.responses.create(**{**SHORT, "max_output_tokens": 2 + number % 4})
            for number in range(16)
        )
    )
    assert [one.usage.output_tokens for one in responses if one.usage] == [2 + number % 4 for number in range(16)]
    assert len({one.id for one in responses}) == 16
    texts = [one.output_text for one in responses]
    assert texts[3].startswith(texts[0])


async def test_a_stream_is_closed_half_way(async_openai_client: openai.AsyncOpenAI) -> None:
    stream = await async_openai_client.responses.create(**ENDLESS, stream=True)
    async with stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    assert (await async_openai_client.responses.create(**SHORT)).output_text


def test_tokens_of_an_input(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": models.CHAT, "input": SHORT["input"], "instructions": "Be brief."}
    counted = openai_client.responses.input_tokens.count(**asked)
    assert counted.object == "response.input_tokens"
    response = openai_client.responses.create(**asked, max_output_tokens=1)
    assert response.usage is not None and counted.input_tokens == response.usage.input_tokens
    more: dict[str, Any] = {"model": models.CHAT, "input": SHORT["input"], "previous_response_id": response.id}
    longer = openai_client.responses.input_tokens.count(**more)
    second = openai_client.responses.create(**more, max_output_tokens=1)
    assert second.usage is not None and longer.input_tokens == second.usage.input_tokens


def test_a_conversation_is_compacted(openai_client: openai.OpenAI) -> None:
    said: Any = [
        {"role": "user", "content": "My name is Ada and I live in Ulm."},
        {"role": "assistant", "content": "Nice to meet you, Ada! " + "Ulm is a town on the Danube. " * 20},
        {"role": "user", "content": "What is my name?"},
    ]
    compacted = openai_client.responses.compact(model=models.GOOD_CHAT, input=said)
    assert compacted.object == "response.compaction" and compacted.usage.output_tokens > 0
    kinds = [item.type for item in compacted.output]
    assert kinds == ["message", "message", "compaction"]
    assert compacted.output[-1].encrypted_content and "Ada" not in compacted.output[-1].encrypted_content
    as_told = openai_client.responses.with_raw_response.compact(model=models.GOOD_CHAT, input=said).http_response.json()
    on: Any = [*as_told["output"], {"role": "user", "content": "Go on."}]
    response = openai_client.responses.create(model=models.GOOD_CHAT, input=on, max_output_tokens=4)
    kept: Any = [said[0], said[2], {"role": "user", "content": "Go on."}]
    without = openai_client.responses.create(model=models.GOOD_CHAT, input=kept, max_output_tokens=4)
    assert response.usage is not None and without.usage is not None
    assert response.usage.input_tokens > without.usage.input_tokens, "the summary is not read"
    on[2]["encrypted_content"] = on[2]["encrypted_content"][:-6] + "AAAAAA"
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        openai_client.responses.create(model=models.GOOD_CHAT, input=on, max_output_tokens=4)


def test_errors_have_the_client_s_classes(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.responses.create(**SHORT, previous_response_id="resp_none")
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.create(**{**SHORT, "temperature": 5})
    assert refused.value.param == "temperature" and refused.value.request_id
