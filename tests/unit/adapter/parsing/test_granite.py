# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.granite import Granite, Granite4
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        Granite(),
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Bern"}}]',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Granite(),
        '<tool_call>[{"name": "get_weather", "arguments": {"city": "Bern"}}, {"name": "get_weather", "arguments": {"city": "Bern"}}]',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Granite4(),
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Granite4(),
        'Hm.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "Hm.\n",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)
