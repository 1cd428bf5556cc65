"""`prompt`: a template kept by the server, and what goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from adapter.schema.body import RequestModel
from adapter.schema.response_parts import InputFile, InputImage, InputText
from adapter.schema.typed_objects import check_typed
from adapter.schema.violations import render, too_many_properties, wrong_type

_MOST_VARIABLES = 128
_PARTS: Mapping[str, type[RequestModel]] = {
    "input_text": InputText,
    "input_image": InputImage,
    "input_file": InputFile,
}


def _variables(value: Any) -> dict[str, Any] | None:
    """Strings, or input parts. Raises APIError, 400, naming the variable."""
    param = "prompt.variables"
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    if len(value) > _MOST_VARIABLES:
        raise too_many_properties(param, len(value), _MOST_VARIABLES)
    for name, content in value.items():
        place = render([param, name])
        if isinstance(content, dict):
            check_typed(content, place, _PARTS, {})
        elif not isinstance(content, str):
            raise wrong_type(place, "one of a string or object", content)
    return value


class PromptReference(RequestModel):
    """variables: strings or input parts, by name."""

    id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
    version: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    variables: Annotated[
        dict[str, Any] | None,
        PlainValidator(_variables, json_schema_input_type=dict[str, str | dict[str, Any]] | None),
    ] = None
