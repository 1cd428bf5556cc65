"""Which JSON types a property may have, by the schema of a tool's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

ANY_TYPE = frozenset({"string", "number", "boolean", "null", "object", "array"})

_MAX_DEPTH = 64
_BEGINS = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}


class SchemaTypes:
    """The types that a JSON Schema's properties allow; integers are numbers.

    Follows `type`, `enum`, `const`, `anyOf`, `oneOf`, `allOf` and local `$ref`s. What it does not know, or what is
    nested deeper than 64 levels, allows any type.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._root = parameters
        self._known: dict[int, frozenset[str]] = {}

    def of_property(self, key: str) -> frozenset[str]:
        """The types of the argument `key`."""
        return self._of(self._property(self._root, key, 0), 0)

    def _property(self, schema: Any, key: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and key in properties:
            return properties[key]
        return self._property(self._target(schema["$ref"]), key, depth + 1) if "$ref" in schema else None

    def _of(self, schema: Any, depth: int) -> frozenset[str]:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return ANY_TYPE
        if id(schema) in self._known:
            return self._known[id(schema)]
        self._known[id(schema)] = ANY_TYPE  # a schema that refers to itself says nothing new by that
        types = ANY_TYPE
        if "type" in schema:
            names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            types &= frozenset("number" if name == "integer" else name for name in names if isinstance(name, str))
        if isinstance(schema.get("enum"), list):
            types &= frozenset(map(_type_of, schema["enum"]))
        if "const" in schema:
            types &= {_type_of(schema["const"])}
        if "$ref" in schema:
            types &= self._of(self._target(schema["$ref"]), depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if isinstance(schema.get(keyword), list):
                types &= frozenset().union(*(self._of(option, depth + 1) for option in schema[keyword]))
        for part in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
            types &= self._of(part, depth + 1)
        self._known[id(schema)] = types
        return types

    def _target(self, reference: Any) -> Any:
        """What a local reference points to; None if it is none."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        node: Any = self._root
        for part in unquote(reference[1:]).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                return None
        return node


def json_type(text: str) -> str:
    """The type of a JSON text without space before it."""
    return _BEGINS.get(text[0], "number")


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = ((str, "string"), (int | float, "number"), (Mapping, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "array")
