"""Tools over the real engine, with the real client: what is demanded is enforced, streamed equals final."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.support import models

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city"],
    "additionalProperties": False,
}
ZONE = {
    "type": "object",
    "properties": {"zone": {"enum": ["CET", "UTC"]}},
    "required": ["zone"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": CITY, "get_time": ZONE}


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"parameters": SCHEMAS[name], **more, "name": name}}


TOOLS: list[Any] = [function("get_weather", description="The weather of a city"), function("get_time")]
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


def calls_of(message: Any) -> list[tuple[str, Any]]:
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    for name, arguments in calls:
        jsonschema.validate(arguments, SCHEMAS[name])
    return calls


def streamed(client: openai.OpenAI, **request: Any) -> list[dict[str, Any]]:
    """Per choice: content, reasoning, calls and finish_reason, as a client puts them together."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in client.chat.completions.create(stream=True, **request):
        for choice in chunk.choices:
            into = choices.setdefault(choice.index, {"content": "", "calls": [], "reason": None, "logprobs": []})
            into["content"] += choice.delta.content or ""
            into["reason"] = choice.finish_reason or into["reason"]
            if choice.logprobs is not None:
                into["logprobs"] += [item.token for item in choice.logprobs.content or []]
            for call in choice.delta.tool_calls or []:
                if call.id is not None:
                    assert call.index == len(into["calls"])
                    assert call.id.startswith("call_") and call.type == "function"
                    into["calls"].append([call.function.name, ""])
                into["calls"][call.index][1] += call.function.arguments or ""
    return [choices[index] for index in sorted(choices)]


def whole(completion: ChatCompletion) -> list[dict[str, Any]]:
    return [
        {
            "content": choice.message.content or "",
            "calls": [[call.function.name, call.function.arguments] for call in choice.message.tool_calls or []],
            "reason": choice.finish_reason,
            "logprobs": [item.token for item in (choice.logprobs.content or [])] if choice.logprobs else [],
        }
        for choice in completion.choices
    ]


@pytest.mark.parametrize("model", [models.CHAT, models.GOOD_CHAT])
@pytest.mark.parametrize("seed", range(3))
def test_required_returns_a_valid_call_every_time(openai_client: openai.OpenAI, model: str, seed: int) -> None:
    request: dict[str, Any] = {
        "model": model,
        "messages": QUESTION,
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 1.0,
        "seed": seed,
    }
    completion = openai_client.chat.completions.create(**request)
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert len(calls_of(choice.message)) == 1
    assert streamed(openai_client, **request) == whole(completion)


def test_a_named_tool_is_called_once(openai_client: openai.OpenAI) -> None:
    completion = openai_client.chat.completions.create(
        model=models.CHAT,
        messages=QUESTION,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_time"}},
        temperature=1,
        seed=1,
    )
    assert [name for name, _ in calls_of(completion.choices[0].message)] == ["get_time"]
    assert completion.choices[0].finish_reason == "tool_calls"


def test_allowed_tools_are_the_only_ones(openai_client: openai.OpenAI) -> None:
    allowed: Any = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_time"}}]},
    }
    completion = openai_client.chat.completions.create(
        model=models.CHAT, messages=QUESTION, tools=TOOLS, tool_choice=allowed, seed=1, max_tokens=200
    )
    assert {name for name, _ in calls_of_complete(completion)} <= {"get_time"}
    assert completion.choices[0].message.tool_calls


def calls_of_complete(completion: ChatCompletion) -> list[tuple[str, Any]]:
    """Without the last call of an answer that ended for its length."""
    calls = completion.choices[0].message.tool_calls or []
    if completion.choices[0].finish_reason == "length":
        calls = calls[:-1]
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"]


def test_auto_calls_and_streams_the_arguments(openai_client: openai.OpenAI) -> None:
    """The default model leaves the tags out; its call is found all the same."""
    request: dict[str, Any] = {"model": models.GOOD_CHAT, "messages": QUESTION, "tools": TOOLS, "temperature": 0}
    completion = openai_client.chat.completions.create(**request)
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert [(name, arguments["city"]) for name, arguments in calls_of(choice.message)] == [("get_weather", "Paris")]
    assert streamed(openai_client, **request) == whole(completion)
    pieces = [
        call.function.arguments
        for chunk in openai_client.chat.completions.create(stream=True, **request)
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
    ]
    assert len(pieces) > 5


def test_auto_without_a_call_is_text(openai_client: openai.OpenAI) -> None:
    request: dict[str, Any] = {
        "model": models.CHAT,
        "messages": [{"role": "user", "content": "Say hello"}],
        "tools": TOOLS,
        "tool_choice": "none",
        "temperature": 0,
        "max_tokens": 8,
    }
    with_none = openai_client.chat.completions.create(**request)
    del request["tools"], request["tool_choice"]
    assert whole(with_none) == whole(openai_client.chat.completions.create(**request))


def test_several_answers_with_tools_and_logprobs(openai_client: openai.OpenAI) -> None:
    request: dict[str, Any] = {
        "model": models.GOOD_CHAT,
        "messages": [{"role": "user", "content": "Say hello, or call a tool if you like."}],
        "tools": TOOLS,
        "n": 3,
        "seed": 7,
        "temperature": 1.2,
        "max_tokens": 40,
        "logprobs": True,
    }
    completion = openai_client.chat.completions.create(**request)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert streamed(openai_client, **request) == whole(completion)
    alone = openai_client.chat.completions.create(**{**request, "n": 1, "seed": 8})
    assert whole(alone)[0] == whole(completion)[1]
    assert completion.usage is not None and alone.usage is not None
    assert completion.usage.prompt_tokens == alone.usage.prompt_tokens
    for choice in completion.choices:
        assert choice.logprobs is not None
        text = b"".join(bytes(item.bytes or []) for item in choice.logprobs.content or []).decode("utf-8", "replace")
        assert text.startswith(choice.message.content or "")


def test_a_custom_tool_gets_text(openai_client: openai.OpenAI) -> None:
    tool: Any = {"type": "custom", "custom": {"name": "run_code", "description": "Runs Python code"}}
    completion = openai_client.chat.completions.create(
        model=models.GOOD_CHAT,
        messages=[{"role": "user", "content": "Run Python code that prints hello"}],
        tools=[tool],
        tool_choice={"type": "custom", "custom": {"name": "run_code"}},
        temperature=0,
    )
    (call,) = completion.choices[0].message.tool_calls or []
    assert call.type == "custom" and call.custom.name == "run_code"
    assert "print" in call.custom.input and not call.custom.input.startswith("{")


@pytest.mark.parametrize("choice", ["required", "auto"])
def test_the_grammar_of_a_custom_tool_is_enforced(openai_client: openai.OpenAI, choice: str) -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "SELECT [a-z]{1,8} FROM [a-z]{1,8};"}}
    tool: Any = {"type": "custom", "custom": {"name": "query", "description": "Runs SQL", "format": grammar}}
    for seed in range(3):
        completion = openai_client.chat.completions.create(
            model=models.GOOD_CHAT,
            messages=[{"role": "user", "content": "Query the names of all users"}],
            tools=[tool],
            tool_choice=choice,  # type: ignore[arg-type]
            parallel_tool_calls=False,
            temperature=0.5,
            seed=seed,
            max_tokens=200,
        )
        for call in completion.choices[0].message.tool_calls or []:
            assert call.type == "custom" and re.fullmatch("SELECT [a-z]{1,8} FROM [a-z]{1,8};", call.custom.input)
        assert choice == "auto" or completion.choices[0].message.tool_calls


def test_the_older_form(openai_client: openai.OpenAI) -> None:
    completion = openai_client.chat.completions.create(
        model=models.GOOD_CHAT,
        messages=QUESTION,
        functions=[{"name": "get_weather", "parameters": CITY}],
        function_call={"name": "get_weather"},
        temperature=0,
    )
    (choice,) = completion.choices
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert choice.message.function_call is not None
    jsonschema.validate(json.loads(choice.message.function_call.arguments), CITY)


def test_results_reach_the_model(openai_client: openai.OpenAI) -> None:
    history: list[Any] = [
        *QUESTION,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "It is 31 degrees and foggy."},
    ]
    completion = openai_client.chat.completions.create(
        model=models.GOOD_CHAT, messages=history, tools=TOOLS, tool_choice="none", temperature=0, max_tokens=60
    )
    assert "31" in (completion.choices[0].message.content or "")


def test_either_a_call_or_an_answer_by_the_schema(openai_client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string", "maxLength": 60}}, "required": ["answer"]}
    for seed in range(3):
        completion = openai_client.chat.completions.create(
            model=models.GOOD_CHAT,
            messages=QUESTION,
            tools=TOOLS,
            parallel_tool_calls=False,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
            temperature=1,
            seed=seed,
            max_tokens=200,
        )
        message = completion.choices[0].message
        if message.tool_calls:
            assert len(calls_of(message)) == 1
        elif completion.choices[0].finish_reason == "stop":
            jsonschema.validate(json.loads(message.content or ""), schema)


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools", "invalid_value"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
        (
            {"tools": [function("get_weather", strict=True, parameters={"type": "object", "uniqueItems": True})]},
            "tools[0].function.parameters.uniqueItems",
            "unsupported_json_schema",
        ),
        (
            {
                "tools": [
                    {
                        "type": "custom",
                        "custom": {
                            "name": "a",
                            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                        },
                    }
                ]
            },
            "tools[0].custom.format.grammar.syntax",
            "unsupported_parameter",
        ),
        ({"reasoning_effort": "high"}, "reasoning_effort", "unsupported_parameter"),
        ({"n": 129}, "n", "integer_above_max_value"),
    ],
)
def test_what_cannot_be_is_refused(
    openai_client: openai.OpenAI, request_: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model=models.GOOD_CHAT, messages=QUESTION, **request_)
    assert (caught.value.param, caught.value.code) == (param, code)
