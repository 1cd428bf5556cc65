"""`attributes` of a file in a vector store: up to 16 values that a search can filter by."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator

from adapter.errors import invalid_request
from adapter.schema.violations import render, too_long, too_many_properties, wrong_type

_MOST_PAIRS = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512
_LARGEST = 1e308

Values = dict[str, str | float | bool]


def _attributes(value: Any) -> Values | None:
    """Raises APIError, 400, naming the entry."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("attributes", "an object", value)
    if len(value) > _MOST_PAIRS:
        raise too_many_properties("attributes", len(value), _MOST_PAIRS)
    for key, one in value.items():
        entry = render(["attributes", key])
        if len(key) > _LONGEST_KEY:
            raise invalid_request(
                f"Invalid property name in 'attributes': '{key[:20]}...' is too long. Expected a string with maximum "
                f"length {_LONGEST_KEY}, but got a string with length {len(key)} instead.",
                entry,
                "property_name_above_max_length",
            )
        if not isinstance(one, str | int | float) or (not isinstance(one, str) and abs(one) > _LARGEST):
            raise wrong_type(entry, "a string, a number or a boolean", one)
        if isinstance(one, str) and len(one) > _LONGEST_VALUE:
            raise too_long(entry, "string", len(one), _LONGEST_VALUE)
    return value


Attributes = Annotated[Values | None, PlainValidator(_attributes, json_schema_input_type=Values | None)]
