# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest

from adapter.parsing.mistral import Mistral, MistralNamed
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

SAMPLES: list[tuple[ToolFormat, str, str, list[Call]]] = [
    (
        Mistral(),
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Bern"}, "id": "AbCdEf123"}]',
        "",
        [Call("get_weather", '{"city": "Bern"}')],
    ),
    (
        Mistral(),
        'Hm. [TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Bern"}}, {"name": "get_weather", "arguments": {"city": "Bern"}}]',
        "Hm. ",
        [Call("get_weather", '{"city": "Bern"}'), Call("get_weather", '{"city": "Bern"}')],
    ),
    (MistralNamed(), '[TOOL_CALLS]get_weather{"city": "Bern"}', "", [Call("get_weather", '{"city": "Bern"}')]),
    (
        MistralNamed(),
        '[TOOL_CALLS]get_weather[CALL_ID]AbCdEf123[ARGS]{"city": "Bern"}',
        "",
        [Call("get_weather", '{"city": "Bern"}', "AbCdEf123")],
    ),
    (
        MistralNamed(),
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Bern"}[TOOL_CALLS]now[ARGS]{}',
        "",
        [Call("get_weather", '{"city": "Bern"}'), Call("now", "{}")],
    ),
    (
        Mistral(),
        '[TOOL_CALLS] [{"id": "AbCdEf123", "name": "get_weather", "arguments": {"city": "Bern"}}]',
        "",
        [Call("get_weather", '{"city": "Bern"}', "AbCdEf123")],
    ),
]


@pytest.mark.parametrize("family, raw, content, calls", SAMPLES)
def test_samples(family: ToolFormat, raw: str, content: str, calls: list[Call]) -> None:
    assert shared.read(family, raw) == (content, calls)


def test_ids_are_9_letters_and_digits() -> None:
    for _ in range(20):
        made = Mistral().new_id()
        assert len(made) == 9 and made.isascii() and made.isalnum()
