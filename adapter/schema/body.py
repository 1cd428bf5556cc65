"""From the bytes of a request to a checked object; every failure is an OpenAI error that names the field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from adapter.errors import APIError, invalid_request
from adapter.schema.body_extent import check_extent
from adapter.schema.violations import TYPE_KINDS, UNKNOWN_FIELD, render, violation

Path = tuple[str | int, ...]


class RequestModel(BaseModel):
    """Base of all request bodies: no unknown fields, no conversions (the string "1" is no number).

    pydantic keeps every error it finds, at a kilobyte each: a body of nothing but errors would take a thousand times
    its size. So lists stop at the first (`Field(fail_fast=True)`), and objects are looked at before.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_no_more_keys_than_fields(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > len(cls.model_fields):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            unknown = next(key for key in value if key not in known)
            raise PydanticCustomError(UNKNOWN_FIELD, "unknown field", {"key": unknown})
        return value


Body = TypeVar("Body", bound=RequestModel)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request body. Of a key that occurs twice the last value counts, as in most parsers.

    Raises:
        APIError: 400, it is no JSON, or no object, or of more parts than are parsed at once.
    """
    check_extent(raw)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(body, dict):
        raise invalid_request("The body of your request has to be a JSON object.")
    return body


def check(kind: type[Body], body: Any, place: str = "") -> Body:
    """The request object, or an object within a request.

    Args:
        place: where the object stands in the body, such as `input[2]`; "": it is the body.

    Raises:
        APIError: 400 with `param` and `code` as OpenAI gives them.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _to_api_error(error.errors(include_url=False), body, (place,) if place else ()) from None


def _to_api_error(errors: list[ErrorDetails], body: Any, before: Path) -> APIError:
    """One error for the client: OpenAI tells of missing fields first, then of unknown ones, then of the rest."""
    placed = [(before + _place(error, body), error) for error in errors]
    for kinds in (("missing",), ("extra_forbidden", UNKNOWN_FIELD)):
        for path, error in placed:
            if error["type"] in kinds and len(error["loc"]) <= 1:
                return violation(render(path), error, [])
    # Of alternatives (string or array) the one that got furthest was meant.
    furthest = max((_distance(path) for path, _ in placed))
    path = next(path for path, _ in placed if _distance(path) == furthest)
    same = [error for other, error in placed if other == path]
    # Where one alternative has the right type, that of the others is not what is wrong.
    typed = next((error for error in same if error["type"] not in TYPE_KINDS), same[0])
    return violation(render(path), typed, same)


def _distance(path: Path) -> tuple[int, int]:
    last = path[-1] if path else 0
    return len(path), last if isinstance(last, int) else 0


def _place(error: ErrorDetails, body: Any) -> Path:
    """Where in the body: pydantic's location without the names of union members, which may look like keys.

    Of all readings of the location the one is right that leads to the value which the error is about.
    """
    location: Path = error["loc"]
    missing: Path = ()
    if error["type"] == "missing":
        location, missing = location[:-1], location[-1:]
    readings = list(_readings(body, location))
    found = next((path for path, value in readings if value is error["input"]), readings[0][0])
    return found + missing


def _readings(value: Any, location: Path) -> Iterator[tuple[Path, Any]]:
    """Every way to follow a location, and the value it ends at. As deep as the request model, so there are few."""
    if not location:
        yield (), value
        return
    step, rest = location[0], location[1:]
    if _holds(value, step):
        for path, end in _readings(value[step], rest):
            yield (step, *path), end
    yield from _readings(value, rest)


def _holds(value: Any, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value
