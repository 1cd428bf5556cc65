"""Calls as plain JSON."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from adapter.parsing.guided_calls import GuidedCalls, call_text, calls_schema
from adapter.parsing.parsed import CallArguments, CallStart
from adapter.parsing.tool_format import Tool
from tests.unit.adapter.parsing.splits import Call, calls_of, content_of, parse

TOOLS = [Tool("f"), Tool("g")]


def test_one_and_several() -> None:
    one = call_text("f", '{"a": "} é \\" 👩‍👧"}')
    events = parse(lambda: GuidedCalls().parser(TOOLS), one)
    assert calls_of(events) == [Call("f", '{"a": "} é \\" 👩‍👧"}')]
    events = parse(lambda: GuidedCalls().parser(TOOLS), f"[{one},\n {call_text('g', '{}')}]")
    assert [call.name for call in calls_of(events)] == ["f", "g"]
    assert content_of(events) == ""


def test_arguments_are_streamed() -> None:
    parser = GuidedCalls().parser(TOOLS)
    assert parser.push('{"name": "f", "arguments": {"a"') == [CallStart("f"), CallArguments('{"a"')]
    assert parser.push(": 1") == [CallArguments(": 1")]


def test_an_unfinished_call() -> None:
    events = parse(lambda: GuidedCalls().parser(TOOLS), '[{"name": "f", "arguments": {"a": ')
    assert calls_of(events) == [Call("f", '{"a": ', None, "unfinished")]


REFERENCES: dict[str, Any] = {
    "$id": "https://example.com/root",
    "properties": {
        "const": {"$ref": "#/$defs/n"},
        "below": {"$ref": "#"},
        "$ref": {"type": "string"},
        "list": {"type": "array", "items": {"anyOf": [{"$ref": "#/properties/const"}]}},
        "data": {"const": {"$ref": "#/$defs/n"}},
    },
    "additionalProperties": False,
    "$defs": {"n": {"type": "integer"}},
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ({"const": 1, "below": {"const": 2}, "list": [3], "$ref": "x"}, True),
        ({"data": {"$ref": "#/$defs/n"}}, True),
        ({"const": "a"}, False),
        ({"below": {"const": "a"}}, False),
        ({"below": {"name": "f"}}, False),
        ({"list": ["a"]}, False),
        ({"$ref": 1}, False),
    ],
)
def test_references_keep_their_meaning(several: bool, arguments: Any, valid: bool) -> None:
    schema = calls_schema({"f": {"type": "object"}, "g": REFERENCES}, several)
    call: Any = json.loads(call_text("g", json.dumps(arguments)))
    checker = jsonschema.Draft202012Validator(schema)
    assert checker.is_valid([call] if several else call) is valid
    assert not checker.is_valid([] if several else {"name": "h", "arguments": {}})
