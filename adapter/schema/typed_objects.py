"""Objects in lists of a request that are told apart by their `type`: items, tools.

They are checked one by one rather than as a union of models, as the types that this server refuses have to be told from
those that do not exist, and the first error ends it: a list full of errors costs no more than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import WithJsonSchema

from adapter.errors import APIError, invalid_request
from adapter.schema.body import RequestModel, check
from adapter.schema.violations import missing, not_supported, wrong_type


def object_of(types: Iterable[str]) -> WithJsonSchema:
    """What the list's element, a plain object until it is checked, is documented as."""
    return WithJsonSchema({"type": "object", "properties": {"type": {"type": "string", "enum": list(types)}}})


def check_typed(
    value: Any, place: str, kinds: Mapping[str, type[RequestModel]], refused: Mapping[str, str]
) -> RequestModel:
    """The object, as the model of its type.

    Args:
        place: where it stands in the body, such as `tools[0]`.
        kinds: by type.
        refused: types that OpenAI has and this server has not -> what to do instead.

    Raises:
        APIError: 400, naming the field.
    """
    if not isinstance(value, dict):
        raise wrong_type(place, "an object", value)
    if "type" not in value:
        raise missing(f"{place}.type")
    kind = value["type"]
    if not isinstance(kind, str) or kind not in kinds:
        raise _unknown_type(kind, place, kinds, refused)
    return check(kinds[kind], value, place)


def _unknown_type(
    kind: Any, place: str, kinds: Mapping[str, type[RequestModel]], refused: Mapping[str, str]
) -> APIError:
    """400: no model for this type."""
    if isinstance(kind, str) and kind in refused:
        message = f"Unsupported value: '{place}.type' cannot be '{kind}' on this server. {refused[kind]}"
        return invalid_request(message, f"{place}.type", "unsupported_parameter")
    return not_supported(f"{place}.type", kind, list(kinds))
