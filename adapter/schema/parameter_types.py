"""A field's JSON schema in words, for tables of markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


def describe(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """Type and limits, such as `number, 0 to 2`; null is left out.

    Args:
        schema: as pydantic makes it of a field.
        definitions: the `$defs` that its references are to.
    """
    if "$ref" in schema:
        return _object(definitions[schema["$ref"].rpartition("/")[2]])
    if "discriminator" in schema:
        chosen = schema["discriminator"]
        return f"object, by `{chosen['propertyName']}`: " + ", ".join(f"`{name}`" for name in chosen["mapping"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            alternatives = [option for option in schema[several] if option.get("type") != "null"]
            return "; or ".join(describe(option, definitions) for option in alternatives)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        number = _range(schema, "minItems", "maxItems")
        items = describe(schema["items"], definitions)
        return f"array of {number}: {items}" if number else f"array of {items}"
    if kind == "string":
        if schema.get("minLength") == 1 and "maxLength" not in schema:
            return "string, not empty"
        length = _range(schema, "minLength", "maxLength")
        return _phrase("string", length and f"{length} characters")
    if kind in ("number", "integer"):
        return _phrase(kind, _range(schema, "minimum", "maximum", "exclusiveMinimum"))
    if kind == "object":
        return _object(schema, definitions)
    return str(kind or "any JSON")


def _object(schema: Schema, definitions: Mapping[str, Schema] | None = None) -> str:
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        return f"object of {describe(values, definitions or {})}"
    types = schema.get("properties", {}).get("type", {}).get("enum", ())
    if len(types) > 1 and len(schema["properties"]) == 1:
        return "object, by `type`: " + ", ".join(f"`{name}`" for name in types)
    names = ", ".join(f"`{name}`" for name in schema.get("properties", {}))
    return f"object with {names}" if names else "object"


def _phrase(kind: str, limits: str) -> str:
    return f"{kind}, {limits}" if limits else kind


def _range(schema: Schema, least: str, most: str, over: str = "") -> str:
    low, high = schema.get(least), schema.get(most)
    above = schema.get(over) if over else None
    if above is not None:
        return f"over {_number(above)}" + ("" if high is None else f", up to {_number(high)}")
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    if low is not None:
        return f"at least {_number(low)}"
    return "" if high is None else f"up to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"
