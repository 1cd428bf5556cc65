# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.hermes import Hermes
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        Hermes(),
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "Let me see.\n",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        '<tool_call>\n{"arguments": {"city": "Bern"}, "name": "get_weather"}\n</tool_call>',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        '<tool_call>\n{"name": "get_weather", "arguments": "{\\"city\\": \\"Bern\\"}"}\n</tool_call>',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (Hermes(), '{"name": "get_weather", "arguments": {"city": "Bern"}}', "", [Call("get_weather", '{"city": "Bern"}')]),
    (
        Hermes(),
        '[{"name": "get_weather", "arguments": {"city": "Bern"}}]',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        '```json\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n```',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        '\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n{"name": "get_weather", "arguments": {"city": "Bern"}}',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        '{"name": "get_weather", "arguments": {"city": "Bern"}}\n\nThat is it.',
        "That is it.",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Hermes(),
        'Like this: {"name": "get_weather", "arguments": {"city": "Bern"}}',
        'Like this: {"name": "get_weather", "arguments": {"city": "Bern"}}',
        [],
    ),
    (Hermes(), '{"name": "Bern", "age": 3}', '{"name": "Bern", "age": 3}', []),
    (Hermes(), '{"name": "now", "age": 3}', '{"name": "now", "age": 3}', []),
    (
        Hermes(),
        '<tool_call><tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "<tool_call>",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (Hermes(), '<tool_call>\n{"name": "now", "arguments": null}\n</tool_call>', "", [Call("now", "{}")]),
    (Hermes(), '<tool_call>\n{"name": "now"}\n</tool_call>', "", [Call("now", "{}")]),
    (Hermes(), '<tool_call>\n{"name": "now", "arguments": ""}\n</tool_call>', "", [Call("now", "{}")]),
    (
        Hermes(),
        '<tool_call>{"name": "now", "arguments": {"a": "</tool_call>"}}</tool_call>',
        "",
        [Call("now", '{"a": "</tool_call>"}')],
    ),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)
