"""Bodies of /v1/rerank and /v1/score that are refused, and where the error points."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.errors import APIError
from adapter.schema.rerank import MOST_DOCUMENTS, parse_rerank_request, parse_score_request

RERANK = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}]}


def test_documents_are_texts_or_objects() -> None:
    assert parse_rerank_request(dict(RERANK)).texts() == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"query": ""}, "query", "invalid_value"),
        ({"documents": ["a", ""]}, "documents[1]", "invalid_value"),
        ({"documents": [{"text": ""}]}, "documents[0].text", "invalid_value"),
        ({"documents": ["a"] * (MOST_DOCUMENTS + 1)}, "documents", "array_above_max_length"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "invalid_value"),
        ({"use_activation": 1}, "use_activation", "invalid_type"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_rerank(change: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        parse_rerank_request({**RERANK, **change})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_sides_of_a_score() -> None:
    request = parse_score_request({"model": "m", "queries": "q", "documents": ["a", "b"]})
    assert request.sides() == [(["q"], ["queries"]), (["a", "b"], ["documents[0]", "documents[1]"])]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "text_1", "missing_required_parameter"),
        ({"text_1": "a"}, "text_2", "missing_required_parameter"),
        ({"queries": "a"}, "documents", "missing_required_parameter"),
        ({"text_1": "a", "text_2": ["b", ""]}, "text_2[1]", "invalid_value"),
        ({"text_1": ["a", "b"], "text_2": ["c"]}, "text_2", "invalid_value"),
        ({"text_1": "a", "text_2": ["b"] * (MOST_DOCUMENTS + 1)}, "text_2", "array_above_max_length"),
        ({"text_1": "a", "text_2": "b", "documents": "c"}, "documents", "invalid_parameter_combination"),
        ({"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "invalid_value"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_score(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        parse_score_request({"model": "m", **body})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
