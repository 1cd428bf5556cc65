"""What holds for every family whose arguments are JSON."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.deepseek import DeepSeekV3, DeepSeekV31
from adapter.parsing.granite import Granite, Granite4
from adapter.parsing.hermes import Hermes
from adapter.parsing.kimi_k2 import KimiK2
from adapter.parsing.llama_json import LlamaJson
from adapter.parsing.mistral import Mistral, MistralNamed
from adapter.parsing.phi4_mini import Phi4Mini
from adapter.parsing.tool_format import ToolFormat
from tests.unit.adapter.parsing import json_families as shared

# Each family with what garbage for it is made of, besides its special tokens.
FAMILIES: list[tuple[ToolFormat, list[str]]] = [
    (Hermes(), ["```json\n", "```"]),
    (LlamaJson(), [";", '"parameters": {}']),
    (Mistral(), []),
    (MistralNamed(), []),
    (Granite(), []),
    (Granite4(), []),
    (Phi4Mini(), ["functools"]),
    (DeepSeekV3(), ["function", "```json\n", "```"]),
    (DeepSeekV31(), ["function", "```json\n", "```"]),
    (KimiK2(), ["functions.now:0"]),
]
PIECES = [
    '{"name": "now", ',
    '"arguments": {}',
    '"arguments": "{}"',
    '"name": "x"',
    '"id": "abc"',
    "now",
    "get_weather",
]
PIECES += ["{", "}", "[", "]", ",", " ", "\n"]

each_family = pytest.mark.parametrize(
    ("family", "pieces"), FAMILIES, ids=[type(family).__name__ for family, _ in FAMILIES]
)


@each_family
@pytest.mark.parametrize(
    "demand", [shared.syntax_holds, shared.unfinished_holds, shared.broken_holds, shared.unknown_holds]
)
def test_what_holds_for_every_family(
    family: ToolFormat, pieces: list[str], demand: Callable[[ToolFormat], None]
) -> None:
    demand(family)


@each_family
@settings(max_examples=60, deadline=None)
@given(calls=shared.made_calls, ascii=st.booleans(), seed=st.integers(0, 2**32))
def test_rendered_calls_are_read_back(
    family: ToolFormat, pieces: list[str], calls: list[tuple[str, dict[str, object]]], ascii: bool, seed: int
) -> None:
    shared.round_trip(family, calls, ascii, seed)


@each_family
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_garbage_is_content(family: ToolFormat, pieces: list[str], data: st.DataObject) -> None:
    piece = st.sampled_from([*PIECES, *pieces, *sorted(family.special_tokens)]) | st.text(max_size=4)
    shared.garbage_holds(family, data.draw(st.lists(piece, max_size=14).map("".join)))
