# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.llama_json import LlamaJson
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        LlamaJson(),
        '{"name": "get_weather", "parameters": {"city": "Bern"}}',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        LlamaJson(),
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Bern"}}',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        LlamaJson(),
        '{"name": "get_weather", "parameters": {"city": "Bern"}}; {"name": "get_weather", "parameters": {"city": "Bern"}}',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (LlamaJson(), "Sure: <|python_tag|>print(1)", "Sure: <|python_tag|>print(1)", []),
    (
        LlamaJson(),
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Bern"}}',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)
