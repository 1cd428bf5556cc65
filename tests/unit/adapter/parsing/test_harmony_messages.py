"""Prompts of gpt-oss: its own chat template, against what openai-harmony renders of the same conversation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from adapter.generation.prompt import Conversation, chat_prompt
from adapter.parsing.harmony_messages import harmony_messages
from adapter.parsing.tool_prompt import TemplateAbilities, abilities
from tests.unit.adapter.served import served_model, tokenizer_folder
from tokentext import ChatTemplate, TextTokenizer

DATA = Path(__file__).parents[3] / "data" / "harmony"
SOURCE = (DATA / "gpt_oss.jinja").read_text(encoding="utf-8")
TEMPLATE = ChatTemplate(SOURCE)
RENDERED: str = json.loads((DATA / "recorded.json").read_text(encoding="utf-8"))["rendered"]


def function(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [
    function(
        "get_weather",
        "Weather of a place",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where"},
                "days": {"type": "integer"},
                "unit": {"type": "string", "enum": ["C", "F"]},
            },
            "required": ["city"],
        },
    ),
    function("now", "What time it is", {"type": "object", "properties": {"zone": {"type": "string"}}}),
]
WEATHER = call("a", "get_weather", '{"city": "Bern"}')
NOW = call("b", "now", '{"zone": "CET"}')
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi.", "reasoning_content": "A greeting."},
    {"role": "user", "content": "Rain in Bern, and when is it?"},
    {"role": "assistant", "content": "", "reasoning_content": "Two things.", "tool_calls": [WEATHER, NOW]},
    {"role": "tool", "tool_call_id": "b", "content": "12:00"},
    {"role": "tool", "tool_call_id": "a", "content": '{"sky": "grün"}'},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tokenizer_folder(tmp_path_factory.mktemp("gpt-oss") / "t", template=SOURCE)
    return served_model(TextTokenizer(folder))


async def prompt(model: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    _, text = await chat_prompt(model, Conversation(messages, **options))
    return re.sub(r"Current date: [0-9-]+", "Current date: 2026-01-02", text)


async def test_a_conversation_as_the_library_renders_it(model: Any) -> None:
    """The old reasoning is dropped, the one of the turn that goes on is kept, every call has its result."""
    assert await prompt(model, CONVERSATION, tools=TOOLS, variables={"reasoning_effort": "low"}) == RENDERED


def test_the_template_writes_tools_itself() -> None:
    assert abilities(TEMPLATE) == TemplateAbilities(tools=True, calls=True, results=True, system=True)


async def test_nothing_that_was_said_is_left_out(model: Any) -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "system", "content": "second"},
        {"role": "assistant", "content": "third", "reasoning_content": "fourth", "tool_calls": [WEATHER, NOW]},
        {"role": "tool", "tool_call_id": "a", "content": "fifth"},
        {"role": "tool", "tool_call_id": "unknown", "content": "sixth"},
    ]
    text = await prompt(model, messages)
    assert all(word in text for word in ("first", "second", "third", "fourth", "fifth", "sixth", "Bern", "CET"))
    # Results of calls that are not known stand after the last one.
    assert [text.index(word) for word in ("Bern", "fifth", "CET", "sixth")] == sorted(
        text.index(word) for word in ("Bern", "fifth", "CET", "sixth")
    )


async def test_an_answer_that_goes_on(model: Any) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Once", "reasoning_content": "Tell."},
    ]
    text = await prompt(model, messages, continue_final=True)
    assert text.endswith(
        "<|start|>assistant<|channel|>analysis<|message|>Tell.<|end|><|start|>assistant<|channel|>final<|message|>Once"
    )


def test_the_messages_stay_as_they_are() -> None:
    before = json.dumps(CONVERSATION)
    harmony_messages(CONVERSATION)
    assert json.dumps(CONVERSATION) == before


def test_calls_of_one_id_have_their_results_in_order() -> None:
    """Old functions have their name for an id."""
    calls = [call("now", "now", "{}"), call("now", "now", "{}")]
    results = [{"role": "tool", "tool_call_id": "now", "content": text} for text in ("1", "2")]
    written = harmony_messages([{"role": "assistant", "content": "", "tool_calls": calls}, *results])
    assert [message["content"] for message in written] == ["", "1", "", "2"]
    assert [len(message.get("tool_calls", [])) for message in written] == [1, 0, 1, 0]
