"""A field that takes a text, texts, the token ids of a text, or those of several."""

from __future__ import annotations

from typing import Any

from adapter.errors import invalid_request
from adapter.schema.token_ids import TOKENS, check_flat_ids, check_token_ids, check_total
from adapter.schema.violations import empty_array, too_long, wrong_type


def text_inputs_schema(most: int, *, empty: bool) -> list[dict[str, Any]]:
    """The four forms, as alternatives of a JSON schema.

    Args:
        most: texts, or rows of ids.
        empty: whether a text may have no characters.
    """
    text = {"type": "string"} if empty else {"type": "string", "minLength": 1}
    several = {"type": "array", "minItems": 1, "maxItems": most}
    row = {name: rule for name, rule in TOKENS.items() if name != "maxItems"}  # the limit is of all rows together
    return [text, {**several, "items": text}, TOKENS, {**several, "items": row}]


def check_text_inputs(value: Any, param: str, most: int, *, empty: bool) -> None:
    """Looks at the type of the first element to know which of the forms is meant.

    Args:
        most, empty: as of `text_inputs_schema`.

    Raises:
        APIError: 400, naming the element that is wrong.
    """
    if isinstance(value, str):
        _check_not_empty(value, param, param, empty)
        return
    if not isinstance(value, list):
        raise wrong_type(param, "one of a string or array", value)
    if not value:
        raise empty_array(param)
    first = value[0]
    if type(first) is int:
        check_flat_ids(value, param)
        return
    if not isinstance(first, (str, list)):
        raise wrong_type(f"{param}[0]", "one of a string, integer or array", first)
    if len(value) > most:
        raise too_long(param, "array", len(value), most)
    if isinstance(first, str):
        for index, text in enumerate(value):
            if not isinstance(text, str):
                raise wrong_type(f"{param}[{index}]", "a string", text)
            _check_not_empty(text, param, f"{param}[{index}]", empty)
    else:
        _check_rows(value, param)


def _check_not_empty(text: str, param: str, place: str, empty: bool) -> None:
    if not text and not empty:
        raise invalid_request(f"Invalid '{place}': {param} cannot be an empty string.", place, "invalid_value")


def _check_rows(rows: list[Any], param: str) -> None:
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise wrong_type(f"{param}[{index}]", "an array", row)
        if not row:
            raise empty_array(f"{param}[{index}]")
    check_total(param, sum(map(len, rows)))
    for index, row in enumerate(rows):
        check_token_ids(row, f"{param}[{index}]")
