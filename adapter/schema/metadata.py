"""`metadata`: up to 16 strings that a client attaches to an object."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator

from adapter.errors import invalid_request
from adapter.schema.violations import render, too_long, too_many_properties, wrong_type

_MOST_PAIRS = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


def _metadata(value: Any) -> dict[str, str] | None:
    """Raises APIError, 400, naming the entry."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    if len(value) > _MOST_PAIRS:
        raise too_many_properties("metadata", len(value), _MOST_PAIRS)
    for key, text in value.items():
        entry = render(["metadata", key])
        if len(key) > _LONGEST_KEY:
            raise invalid_request(
                f"Invalid property name in 'metadata': '{key[:20]}...' is too long. Expected a string with maximum "
                f"length {_LONGEST_KEY}, but got a string with length {len(key)} instead.",
                entry,
                "property_name_above_max_length",
            )
        if not isinstance(text, str):
            raise wrong_type(entry, "a string", text)
        if len(text) > _LONGEST_VALUE:
            raise too_long(entry, "string", len(text), _LONGEST_VALUE)
    return value


Metadata = Annotated[dict[str, str] | None, PlainValidator(_metadata, json_schema_input_type=dict[str, str] | None)]
