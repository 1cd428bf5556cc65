"""Filters on the attributes of files: comparisons, and `and` or `or` of filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel
from adapter.schema.typed_objects import check_typed

_DEEPEST = 8
_MOST_FILTERS = 128  # of one request
_MOST_VALUES = 256

_Key = Annotated[str, Field(min_length=1, max_length=64)]
_Text = Annotated[str, Field(max_length=512)]
Scalar = str | float | bool


class _Comparison(RequestModel):
    type: Literal["eq", "ne", "gt", "gte", "lt", "lte"]
    key: _Key
    value: bool | float | _Text


class _Membership(RequestModel):
    type: Literal["in", "nin"]
    key: _Key
    value: Annotated[list[bool | float | _Text], Field(min_length=1, max_length=_MOST_VALUES, fail_fast=True)]


class _Compound(RequestModel):
    type: Literal["and", "or"]
    filters: Annotated[list[Any], Field(min_length=1, max_length=_MOST_FILTERS)]


_KINDS: dict[str, type[RequestModel]] = {
    **dict.fromkeys(("eq", "ne", "gt", "gte", "lt", "lte"), _Comparison),
    **dict.fromkeys(("in", "nin"), _Membership),
    **dict.fromkeys(("and", "or"), _Compound),
}


@dataclass(frozen=True)
class Comparison:
    """operator: eq, ne, gt, gte, lt, lte; or in, nin, with a tuple of values."""

    operator: str
    key: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Compound:
    """operator: and, or."""

    operator: str
    filters: tuple[Filter, ...]


Filter = Comparison | Compound


def attribute_filter(value: Any, place: str) -> Filter | None:
    """The filter; None for null.

    Args:
        place: where it stands in the body, such as `tools[0].filters`.

    Raises:
        APIError: 400, naming the field.
    """
    if value is None:
        return None
    return _filter(value, place, place, 1, [0])


def _filter(value: Any, place: str, whole: str, depth: int, count: list[int]) -> Filter:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST_FILTERS:
        raise invalid_request(
            f"Invalid '{whole}': at most {_MOST_FILTERS} filters, nested {_DEEPEST} levels deep, are taken.",
            whole,
            "invalid_value",
        )
    node = check_typed(value, place, _KINDS, {})
    if isinstance(node, _Compound):
        inner = (
            _filter(item, f"{place}.filters[{index}]", whole, depth + 1, count)
            for index, item in enumerate(node.filters)
        )
        return Compound(node.type, tuple(inner))
    if isinstance(node, _Membership):
        return Comparison(node.type, node.key, tuple(node.value))
    assert isinstance(node, _Comparison)
    return Comparison(node.type, node.key, node.value)
