# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.phi4_mini import Phi4Mini
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        Phi4Mini(),
        'functools[{"name": "get_weather", "arguments": {"city": "Bern"}}]',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Phi4Mini(),
        'functools[{"name": "get_weather", "arguments": {"city": "Bern"}}, {"name": "get_weather", "arguments": {"city": "Bern"}}]',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Phi4Mini(),
        '<|tool_call|>{"name": "get_weather", "arguments": {"city": "Bern"}}<|/tool_call|>',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (Phi4Mini(), "import functools[0]", "import functools[0]", []),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)
