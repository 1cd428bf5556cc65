# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.kimi_k2 import KimiK2
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        KimiK2(),
        'Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Bern"}<|tool_call_end|><|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>{"city": "Bern"}<|tool_call_end|><|tool_calls_section_end|>',
        "Ok.",
        [
            Call("get_weather", '{"city": "Bern"}', "functions.get_weather:0"),
            Call("get_weather", '{"city": "Bern"}', "functions.get_weather:1"),
        ],
    ),
    (
        KimiK2(),
        '<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Bern"}<|tool_call_end|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Bern"}<|tool_call_end|><|tool_calls_section_end|>',
        "",
        [
            Call("get_weather", '{"city": "Bern"}', "functions.get_weather:0"),
            Call("get_weather", '{"city": "Bern"}', None),
        ],
    ),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)
