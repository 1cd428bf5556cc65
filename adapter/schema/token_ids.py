"""Token ids in a request body: checked whole rows at a time, for there may be a million of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapter.errors import invalid_request
from adapter.schema.violations import empty_array, out_of_range, wrong_type

MOST_TOKENS = 1 << 20  # of one request, over all its inputs; to check them takes some 30 ms
LARGEST_ID = 2**31 - 1  # ids travel as INT32 to some engines

TOKENS = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_TOKENS,
    "items": {"type": "integer", "minimum": 0, "maximum": LARGEST_ID},
}
"""One array of token ids, as a JSON schema."""


def check_token_ids(row: Sequence[Any], param: str) -> None:
    """Whether every element is an integer from 0 to LARGEST_ID.

    pydantic would take a millisecond for some 20,000 ids, and as long for what is refused; sets and minima of the
    interpreter take a fraction of it.

    Raises:
        APIError: 400, naming the first element that is none.
    """
    if set(map(type, row)) - {int}:
        place = next(place for place, value in enumerate(row) if type(value) is not int)
        raise wrong_type(f"{param}[{place}]", "an integer", row[place])
    for worst, limit, below in ((min(row), 0, True), (max(row), LARGEST_ID, False)):
        if worst < limit if below else worst > limit:
            raise out_of_range(f"{param}[{row.index(worst)}]", worst, limit, below=below)


def check_total(param: str, tokens: int) -> None:
    """Raises APIError, 400: more tokens than one request may have."""
    if tokens > MOST_TOKENS:
        message = f"Requested {tokens} tokens, max {MOST_TOKENS} tokens per request"  # in OpenAI's words
        raise invalid_request(message, param, "max_tokens_per_request")


def check_flat_ids(row: list[Any], param: str) -> None:
    """One array of token ids, at least one.

    Raises:
        APIError: 400.
    """
    check_total(param, len(row))
    if not row:
        raise empty_array(param)
    check_token_ids(row, param)
