# ruff: noqa: E501  (a sample stays in one piece)

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.granite import Granite, Granite4
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import Call

FAMILIES = [Granite(), Granite4()]
PIECES = [
    '{"name": "now", ',
    '"arguments": {}',
    '"arguments": "{}"',
    "}",
    "{",
    "[",
    "]",
    ",",
    '"name": "x"',
    " ",
    "\n",
    '"id": "abc"',
    "now",
    "get_weather",
    "<|tool_call|>",
    "<tool_call>",
    "</tool_call>",
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
@pytest.mark.parametrize(
    "demand", [shared.syntax_holds, shared.unfinished_holds, shared.broken_holds, shared.unknown_holds]
)
def test_what_holds_for_every_family(family: ToolFormat, demand) -> None:
    demand(family)


@settings(max_examples=60, deadline=None)
@given(shared.made_calls, st.booleans(), st.integers(0, 2**32))
def test_rendered_calls_are_read_back(calls, ascii: bool, seed: int) -> None:
    for family in FAMILIES:
        shared.round_trip(family, calls, ascii, seed)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map("".join))
def test_garbage_is_content(text: str) -> None:
    for family in FAMILIES:
        shared.garbage_holds(family, text)


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
