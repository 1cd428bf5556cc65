"""Bodies of /v1/tokenize and /v1/detokenize, and arrays of token ids, that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.errors import APIError
from adapter.schema.token_ids import LARGEST_ID, MOST_TOKENS, check_flat_ids
from adapter.schema.tokenize import parse_detokenize_request, parse_tokenize_request


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        (
            {"prompt": "a", "messages": [{"role": "user", "content": "b"}]},
            "messages",
            "invalid_parameter_combination",
        ),
        ({"prompt": 7}, "prompt", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"prompt": "a", "colour": 1}, "colour", "unknown_parameter"),
    ],
    ids=str,
)
def test_bad_tokenize(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        parse_tokenize_request({"model": "m", **body})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_the_largest_id_is_taken() -> None:
    assert parse_detokenize_request({"model": "m", "tokens": [0, LARGEST_ID]}).tokens == [0, LARGEST_ID]


@pytest.mark.parametrize(
    ("tokens", "param", "code"),
    [
        ("1", "tokens", "invalid_type"),
        ([], "tokens", "empty_array"),
        ([1, True], "tokens[1]", "invalid_type"),
        ([1, 2.0], "tokens[1]", "invalid_type"),
        ([1, -1], "tokens[1]", "integer_below_min_value"),
        ([LARGEST_ID + 1], "tokens[0]", "integer_above_max_value"),
    ],
    ids=str,
)
def test_bad_token_ids(tokens: Any, param: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        parse_detokenize_request({"model": "m", "tokens": tokens})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_the_most_tokens() -> None:
    check_flat_ids([1] * MOST_TOKENS, "tokens")
    with pytest.raises(APIError) as caught:
        check_flat_ids([1] * (MOST_TOKENS + 1), "tokens")
    assert (caught.value.param, caught.value.code) == ("tokens", "max_tokens_per_request")
