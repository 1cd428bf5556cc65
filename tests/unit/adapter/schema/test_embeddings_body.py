"""Bodies of embeddings."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.schema.embeddings import parse_embeddings_request


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (["x"] * 2048, ["x"] * 2048),
        ([0], [[0]]),
    ],
)
def test_inputs(value: Any, inputs: Any) -> None:
    assert parse_embeddings_request({"model": "m", "input": value}).inputs() == inputs


@pytest.mark.parametrize(
    ("change", "param", "code", "message"),
    [
        ({"input": ...}, "input", "missing_required_parameter", "Missing required parameter: 'input'."),
        ({"model": ...}, "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        ({"zzz": 1}, "zzz", "unknown_parameter", "Unknown parameter: 'zzz'."),
        ({"input": None}, "input", "invalid_type", "one of a string or array, but got null"),
        ({"input": 7}, "input", "invalid_type", "one of a string or array, but got an integer"),
        ({"input": {"a": 1}}, "input", "invalid_type", "but got an object"),
        ({"input": []}, "input", "empty_array", "empty array"),
        ({"input": ""}, "input", "invalid_value", "empty string"),
        ({"input": ["a", ""]}, "input[1]", "invalid_value", "empty string"),
        ({"input": ["a", 1]}, "input[1]", "invalid_type", "expected a string, but got an integer"),
        ({"input": [1, "a"]}, "input[1]", "invalid_type", "expected an integer, but got a string"),
        ({"input": [1, 1.5]}, "input[1]", "invalid_type", "expected an integer, but got a decimal number"),
        ({"input": [None]}, "input[0]", "invalid_type", "but got null"),
        ({"input": [[1], []]}, "input[1]", "empty_array", "empty array"),
        ({"input": [[1], ["a"]]}, "input[1][0]", "invalid_type", "expected an integer, but got a string"),
        ({"input": [[1], [2, -1]]}, "input[1][1]", "integer_below_min_value", ">= 0, but got -1"),
        ({"input": [2**31]}, "input[0]", "integer_above_max_value", "<= 2147483647"),
        (
            {"input": ["x"] * 2049},
            "input",
            "array_above_max_length",
            "maximum length 2048, but got an array with length 2049",
        ),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value", "are: 'float' and 'base64'."),
        ({"encoding_format": 1}, "encoding_format", "invalid_type", "one of 'float' or 'base64', but got an integer"),
        ({"dimensions": 0}, "dimensions", "integer_below_min_value", ">= 1, but got 0"),
        ({"dimensions": "5"}, "dimensions", "invalid_type", "an integer, but got a string"),
        ({"user": 1}, "user", "invalid_type", "a string, but got an integer"),
    ],
)
def test_bad_bodies(change: dict[str, Any], param: str, code: str, message: str) -> None:
    body = {"model": "m", "input": "x", **change}
    with pytest.raises(APIError) as caught:
        parse_embeddings_request({key: value for key, value in body.items() if value is not ...})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert message in caught.value.message


def test_null_is_the_default() -> None:
    body = {"model": "m", "input": "x"}
    nulls: dict[str, Any] = dict.fromkeys(("encoding_format", "dimensions", "user"))
    assert parse_embeddings_request({**body, **nulls}) == parse_embeddings_request(body)


COUNT = 200_000


@pytest.mark.parametrize(
    "value", [[1] * COUNT + ["x"], ["x"] * COUNT, [[]] * COUNT, [None] * COUNT, [["x"] * COUNT], [[1] * COUNT + [None]]]
)
def test_a_body_full_of_errors_costs_no_more_than_one_error(value: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(APIError):
        parse_embeddings_request({"model": "m", "input": value})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB
