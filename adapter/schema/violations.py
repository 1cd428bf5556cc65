"""What is wrong with a field of a request, in the words and codes of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from adapter.errors import APIError, invalid_request
from adapter.schema.unsupported import UNSUPPORTED_FIELD, unsupported_parameter

# pydantic's kinds of error that say "of another type", and what was expected.
TYPE_KINDS = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}
UNKNOWN_FIELD = "unknown_field"  # our own kind; its context has the `key`

_LONGEST_ECHO = 80  # characters of what the client sent that come back in a message
_QUOTED = re.compile(r"'([^']*)'")


def render(path: Sequence[str | int]) -> str:
    """A place in the body as OpenAI writes it: `messages[1].content[0].type`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{shortened(step)}" if text else shortened(step))
    return text


def violation(param: str, error: ErrorDetails, same: Sequence[ErrorDetails]) -> APIError:
    """The client's error for one of pydantic's.

    Args:
        param: where, rendered.
        same: all errors of this place, one for each alternative that was tried.
    """
    kind, context, value = error["type"], error.get("ctx") or {}, error["input"]
    if kind == "missing":
        return missing(param)
    if kind == UNKNOWN_FIELD:
        return _unknown(render([param, context["key"]] if param else [context["key"]]))
    if kind == "extra_forbidden":
        return _unknown(param)
    if kind == UNSUPPORTED_FIELD:
        return unsupported_parameter(param, context["advice"])
    if kind in TYPE_KINDS:
        expected = list(dict.fromkeys(TYPE_KINDS[other["type"]] for other in same if other["type"] in TYPE_KINDS))
        return wrong_type(param, _alternatives(expected), value)
    if kind in ("literal_error", "enum"):
        return not_supported(param, value, _QUOTED.findall(context["expected"]))
    if kind == "union_tag_not_found":
        return missing(f"{param}.{_tag(context)}")
    if kind == "union_tag_invalid":
        tag = _tag(context)
        return not_supported(f"{param}.{tag}", value[tag], _QUOTED.findall(context["expected_tags"]))
    if kind in ("greater_than_equal", "less_than_equal"):
        below = kind == "greater_than_equal"
        return out_of_range(param, value, context["ge" if below else "le"], below=below)
    if kind in ("too_short", "too_long"):
        limit = context["min_length" if kind == "too_short" else "max_length"]
        return _wrong_length(param, "array", len(value), limit)
    if kind in ("string_too_short", "string_too_long"):
        limit = context["min_length" if kind == "string_too_short" else "max_length"]
        return _wrong_length(param, "string", len(value), limit)
    if kind == "string_pattern_mismatch":
        wanted = f"Expected a string that matches the pattern '{context['pattern']}'."
        return invalid_request(f"Invalid '{param}': string does not match pattern. {wanted}", param, "invalid_value")
    return invalid_request(f"Invalid '{param}': {error['msg']}", param, "invalid_value")


def wrong_type(param: str, expected: str, value: Any) -> APIError:
    """`expected` with its article: `a string`."""
    message = f"Invalid type for '{param}': expected {expected}, but got {_type_of(value)} instead."
    return invalid_request(message, param, "invalid_type")


def out_of_range(param: str, value: float, limit: float, *, below: bool) -> APIError:
    noun = "integer" if isinstance(limit, int) and isinstance(value, int) else "decimal"
    side, sign, code = ("below minimum", ">=", "below_min") if below else ("above maximum", "<=", "above_max")
    bound = int(limit) if limit == int(limit) else limit  # OpenAI writes 2, not 2.0
    message = f"Invalid '{param}': {noun} {side} value. Expected a value {sign} {bound}, but got {value} instead."
    return invalid_request(message, param, f"{noun}_{code}_value")


def too_many_properties(param: str, found: int, most: int) -> APIError:
    """400: an object has more entries than are allowed."""
    return invalid_request(
        f"Invalid '{param}': too many properties. Expected an object with at most {most} properties, but got an object "
        f"with {found} properties instead.",
        param,
        "object_above_max_properties",
    )


def too_long(param: str, noun: str, length: int, limit: int) -> APIError:
    """`noun`: `string` or `array`."""
    return _wrong_length(param, noun, length, limit)


def empty_array(param: str) -> APIError:
    return _wrong_length(param, "array", 0, 1)


def missing(param: str) -> APIError:
    return invalid_request(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _unknown(param: str) -> APIError:
    return invalid_request(f"Unknown parameter: '{param}'.", param, "unknown_parameter")


def not_supported(param: str, value: Any, supported: list[str]) -> APIError:
    quoted = [f"'{name}'" for name in supported]
    if not isinstance(value, str):
        return wrong_type(param, _alternatives(quoted), value)
    message = f"Invalid value: '{shortened(value)}'. Supported values are: {_listed(quoted, 'and')}."
    return invalid_request(message, param, "invalid_value")


def _wrong_length(param: str, noun: str, length: int, limit: int) -> APIError:
    if length > limit:
        side, bound, code = "too long", "maximum", f"{noun}_above_max_length"
    elif length:
        side, bound, code = "too short", "minimum", f"{noun}_below_min_length"
    else:
        side, bound, code = "", "minimum", f"empty_{noun}"
    article = "an" if noun == "array" else "a"
    wanted = f"Expected {article} {noun} with {bound} length {limit}"
    if not length:
        message = f"Invalid '{param}': empty {noun}. {wanted}, but got an empty {noun} instead."
    else:
        message = f"Invalid '{param}': {noun} {side}. {wanted}, but got {article} {noun} with length {length} instead."
    return invalid_request(message, param, code)


def _alternatives(names: list[str]) -> str:
    """`a string`, or `one of a string or array`."""
    if len(names) == 1:
        return names[0]
    return "one of " + _listed([names[0], *(re.sub("^an? ", "", name) for name in names[1:])], "or")


def _listed(names: list[str], word: str) -> str:
    if len(names) < 3:
        return f" {word} ".join(names)
    return f"{', '.join(names[:-1])}, {word} {names[-1]}"


def _tag(context: dict[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _type_of(value: Any) -> str:
    """A JSON value's type, as OpenAI's errors name it."""
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names[type(value)]


def shortened(text: str) -> str:
    """What the client sent, at a length that may come back in a message."""
    return text if len(text) <= _LONGEST_ECHO else text[:_LONGEST_ECHO] + "..."
