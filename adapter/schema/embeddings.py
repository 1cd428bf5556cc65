"""The body of `POST /v1/embeddings`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel, check
from adapter.schema.token_ids import LARGEST_ID, MOST_TOKENS, check_flat_ids, check_token_ids, check_total
from adapter.schema.violations import empty_array, too_long, wrong_type

MOST_INPUTS = 2048

_TOKENS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": LARGEST_ID}}
_INPUT = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS, "items": {"type": "string", "minLength": 1}},
        {**_TOKENS, "maxItems": MOST_TOKENS},
        {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS, "items": _TOKENS},
    ]
}


class EmbeddingsRequest(RequestModel):
    """`input`: a text, texts, the token ids of a text, or those of several.

    pydantic hands `input` through as it is: `parse_embeddings_request` checks it, without an object for every id.
    """

    model: str
    input: Annotated[Any, WithJsonSchema(_INPUT)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @property
    def single(self) -> bool:
        """Whether `input` is one text or the token ids of one, not a list of inputs."""
        return isinstance(self.input, str) or isinstance(self.input[0], int)

    def inputs(self) -> list[str] | list[list[int]]:
        """One entry per embedding."""
        return [self.input] if self.single else self.input


def parse_embeddings_request(body: dict[str, Any]) -> EmbeddingsRequest:
    """Raises APIError, 400, naming the field."""
    request = check(EmbeddingsRequest, body)
    _check_input(request.input)
    return request


def _check_input(value: Any) -> None:
    """The type of the first element says which of the forms is meant."""
    if isinstance(value, str):
        _check_texts([value], single=True)
        return
    if not isinstance(value, list):
        raise wrong_type("input", "one of a string or array", value)
    if not value:
        raise empty_array("input")
    first = value[0]
    if type(first) is int:
        check_flat_ids(value, "input")
    elif isinstance(first, str):
        _check_number(value)
        _check_texts(value, single=False)
    elif isinstance(first, list):
        _check_number(value)
        _check_rows(value)
    else:
        raise wrong_type("input[0]", "one of a string, integer or array", first)


def _check_number(value: list[Any]) -> None:
    if len(value) > MOST_INPUTS:
        raise too_long("input", "array", len(value), MOST_INPUTS)


def _check_texts(texts: list[Any], *, single: bool) -> None:
    for index, text in enumerate(texts):
        param = "input" if single else f"input[{index}]"
        if not isinstance(text, str):
            raise wrong_type(param, "a string", text)
        if not text:
            raise invalid_request(f"Invalid '{param}': input cannot be an empty string.", param, "invalid_value")


def _check_rows(rows: list[Any]) -> None:
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise wrong_type(f"input[{index}]", "an array", row)
        if not row:
            raise empty_array(f"input[{index}]")
    check_total("input", sum(map(len, rows)))
    for index, row in enumerate(rows):
        check_token_ids(row, f"input[{index}]")
