"""Query parameters, checked one by one, so that errors have OpenAI's form and name the parameter."""

from __future__ import annotations

from typing import Literal, cast

from starlette.requests import Request

from adapter.errors import invalid_request

_FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}


def query_flag(request: Request, name: str) -> bool:
    """Raises APIError, 400."""
    value = request.query_params.get(name, "false").lower()
    if value not in _FLAGS:
        raise invalid_request(
            f"Invalid '{name}': expected true or false, but got '{value[:40]}'.", name, "invalid_type"
        )
    return _FLAGS[value]


def query_number(request: Request, name: str, *, default: int, least: int, most: int = 2**31 - 1) -> int:
    """Raises APIError, 400."""
    value = request.query_params.get(name)
    if value is None:
        return default
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        message = f"Invalid '{name}': expected a number from {least} to {most}, but got '{value[:40]}'."
        raise invalid_request(message, name, "invalid_value")
    return number


def query_order(request: Request, default: Literal["asc", "desc"] = "desc") -> Literal["asc", "desc"]:
    """`order`. Raises APIError, 400."""
    value = request.query_params.get("order", default)
    if value not in ("asc", "desc"):
        raise invalid_request(
            f"Invalid 'order': expected 'asc' or 'desc', but got '{value[:40]}'.", "order", "invalid_value"
        )
    return cast(Literal["asc", "desc"], value)
