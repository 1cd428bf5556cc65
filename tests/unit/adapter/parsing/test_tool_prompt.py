"""Conversations with tools, for templates that know tools and for those that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapter.parsing.formats import TOOL_FORMATS, format_for
from adapter.parsing.tool_format import Tool
from adapter.parsing.tool_prompt import PLAIN, TemplateAbilities, abilities, with_tools
from tests.unit.adapter.parsing.splits import Call, calls_of, run
from tokentext import ChatTemplate

DATA = Path(__file__).parents[3] / "data" / "chat_templates"
QWEN = ChatTemplate((DATA / "qwen2.5.jinja").read_text(encoding="utf-8"))
SMOL = ChatTemplate((DATA / "smollm2.jinja").read_text(encoding="utf-8"))
# Roles of the user and the model in turn, as Gemma 2 has them.
TURNS = ChatTemplate(
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}"
    "{% endif %}<start_of_turn>{{ message['role'] }}\n{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather in Zürich",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Rain?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'}},
            {"id": "2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Basel"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": "dry"},
    {"role": "tool", "tool_call_id": "2", "content": "wet"},
    {"role": "assistant", "content": "In Basel."},
]


def test_what_templates_can() -> None:
    assert abilities(QWEN) == TemplateAbilities(tools=True, calls=True, results=True, system=True)
    assert abilities(SMOL) == TemplateAbilities(tools=False, calls=False, results=True, system=True)
    assert abilities(TURNS) == TemplateAbilities(tools=False, calls=False, results=False, system=False)


def test_a_template_with_tools_gets_the_messages_as_they_are() -> None:
    assert with_tools(QWEN, CONVERSATION, TOOLS) == CONVERSATION


@pytest.mark.parametrize("template", [SMOL, TURNS], ids=["smollm2", "turns"])
def test_a_template_without_tools(template: ChatTemplate) -> None:
    messages = CONVERSATION if template is SMOL else CONVERSATION[1:]
    before = [dict(message) for message in messages]
    made = with_tools(template, messages, TOOLS)
    assert messages == before
    text = template.render(made, tools=TOOLS)
    assert text.count('"name": "get_weather", "description": "Weather in Zürich"') == 1
    assert "Rain?" in text
    assert "dry" in text
    assert text.index("dry") < text.index("wet") < text.index("In Basel.")
    (answer,) = (message for message in made if "Bern" in message["content"])
    assert answer["content"].startswith("I look.\n")
    calls = calls_of(run(PLAIN.parser([Tool("get_weather")]), [answer["content"]]))
    assert calls == [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Basel"}')]


def test_where_the_tools_are_written() -> None:
    (system, user) = with_tools(SMOL, CONVERSATION[:2], TOOLS)
    assert system["content"].startswith("Be brief.\n\n")
    assert "<tool_call>" in system["content"]
    assert user == CONVERSATION[1]
    (made, user) = with_tools(SMOL, CONVERSATION[1:2], TOOLS)
    assert made["role"] == "system"
    (only,) = with_tools(TURNS, CONVERSATION[1:2], TOOLS)
    assert only["content"].endswith("\n\nRain?")
    (parts,) = with_tools(TURNS, [{"role": "user", "content": [{"type": "text", "text": "Rain?"}]}], TOOLS)
    assert [part["type"] for part in parts["content"]] == ["text", "text"]


def test_results_become_one_message_of_the_user() -> None:
    made = with_tools(TURNS, CONVERSATION[1:], [])
    assert [message["role"] for message in made] == ["user", "assistant", "user", "assistant"]
    response = "<tool_response>\ndry\n</tool_response>\n<tool_response>\nwet\n</tool_response>"
    assert made[2]["content"] == response


def test_without_tools_nothing_is_added() -> None:
    assert with_tools(SMOL, CONVERSATION[:2], []) == CONVERSATION[:2]


def test_calls_that_a_template_leaves_out_are_written_as_the_model_writes_them() -> None:
    template = ChatTemplate(
        "{% if tools %}List of tools: <|tool_list_start|>{{ tools | tojson }}<|tool_list_end|>{% endif %}"
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    )
    assert abilities(template) == TemplateAbilities(tools=True, calls=False, results=True, system=True)
    made = with_tools(template, CONVERSATION, TOOLS, format_for("", template))
    (answer,) = (message["content"] for message in made if "Bern" in message["content"])
    calls = "[get_weather(city='Bern'), get_weather(city='Basel')]"
    assert answer == f"I look.\n<|tool_call_start|>{calls}<|tool_call_end|>"
    # Where the model has to be told how to call, its calls so far have the same form.
    told = with_tools(SMOL, CONVERSATION, TOOLS, TOOL_FORMATS["lfm2"])
    assert "<tool_call>" in told[0]["content"]
    assert any('{"name": "get_weather", "arguments": {"city": "Bern"}}' in message["content"] for message in told[1:])
    # A form that cannot be written gives way to the plain one.
    assert "<tool_call>" in with_tools(template, CONVERSATION, TOOLS, TOOL_FORMATS["glm"])[2]["content"]
