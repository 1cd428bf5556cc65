"""Tool calls as plain JSON: what a JSON schema can enforce where the family's own form cannot be.

`{"name": "f", "arguments": {...}}`, or an array of such objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapter.parsing.json_calls import bare_calls
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import Tool, ToolFormat

_SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"const", "enum", "default", "examples"})


class GuidedCalls(ToolFormat):
    """Reads exactly what `calls_schema` allows."""

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, bare_calls, (), bare_calls, "{[")


def calls_schema(schemas: Mapping[str, Mapping[str, Any]], several: bool) -> dict[str, Any]:
    """The JSON Schema of one call, or of an array of one or more.

    Args:
        schemas: of the arguments, by the tool's name. Their `$ref`s are local.
        several: an array.
    """
    calls = []
    definitions = {}
    for index, (name, schema) in enumerate(schemas.items()):
        # References within the tool's schema start at its root, which is a definition here.
        place = f"#/$defs/tool_{index}"
        definitions[f"tool_{index}"] = _moved(schema, place)
        # The engines write properties in this order: the name has to come first for arguments to be streamed.
        properties = {"name": {"const": name}, "arguments": {"$ref": place}}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    call: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    whole = {"type": "array", "items": call, "minItems": 1} if several else call
    return {**whole, "$defs": definitions}


def call_text(name: str, arguments: str) -> str:
    """One call as `calls_schema` has it."""
    return f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'


def _moved(schema: Any, place: str) -> Any:
    """The schema with its local references for its new root."""
    if not isinstance(schema, Mapping):
        return schema
    moved: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
            moved[key] = place + value[1:]
        elif key == "$id":
            continue  # it would be the base of the references
        elif key in _DATA:
            moved[key] = value
        elif key in _SCHEMA_MAPS and isinstance(value, Mapping):
            moved[key] = {name: _moved(inner, place) for name, inner in value.items()}
        elif isinstance(value, list):
            moved[key] = [_moved(inner, place) for inner in value]
        else:
            moved[key] = _moved(value, place)
    return moved
