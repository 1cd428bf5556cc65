"""Whether a file's attributes pass a filter."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from adapter.schema.attribute_filters import Comparison, Filter, Scalar

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def passes(attributes: Mapping[str, Scalar], wanted: Filter) -> bool:
    """A file without the attribute passes `ne` and `nin` only. Values of different kinds are never equal."""
    if not isinstance(wanted, Comparison):
        inner = (passes(attributes, one) for one in wanted.filters)
        return all(inner) if wanted.operator == "and" else any(inner)
    found, value = attributes.get(wanted.key), wanted.value
    if isinstance(value, tuple):
        return any(_equal(found, one) for one in value) == (wanted.operator == "in")
    if wanted.operator in ("eq", "ne"):
        return _equal(found, value) == (wanted.operator == "eq")
    return found is not None and _kind(found) is _kind(value) and _ORDERS[wanted.operator](found, value)


def _equal(found: Scalar | None, value: Scalar) -> bool:
    return found is not None and _kind(found) is _kind(value) and found == value


def _kind(value: Scalar) -> type:
    """JSON's: to Python, True is a number."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
