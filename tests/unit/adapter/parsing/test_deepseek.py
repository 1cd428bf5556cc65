# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.deepseek import DeepSeekV3, DeepSeekV31
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        DeepSeekV3(),
        'Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Bern"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Bern"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "Ok.",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        DeepSeekV31(),
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Bern"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Bern"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        DeepSeekV31(),
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜><｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        [Call("get_weather", "{}")],
    ),
    (
        DeepSeekV3(),
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Bern"}\n```<｜tool▁call▁end｜>',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)
