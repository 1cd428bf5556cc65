"""Scores of pairs with an embedding model."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.support import models

ONES = ["A cat sits here.", "Rain falls.", "He reads."]
OTHERS = ["A kitten is sitting.", "The weather is wet.", "Stones are hard."]


def post(url: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/score", json={"model": models.EMBEDDING, **body}, timeout=60.0)


def vectors(client: openai.OpenAI, texts: list[str]) -> np.ndarray:
    return np.array([e.embedding for e in client.embeddings.create(model=models.EMBEDDING, input=texts).data])


def scores(answer: dict[str, Any]) -> list[float]:
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    return [entry["score"] for entry in answer["data"]]


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents")])
def test_pairs(adapter_url: str, openai_client: openai.OpenAI, names: tuple[str, str]) -> None:
    first, second = vectors(openai_client, ONES), vectors(openai_client, OTHERS)
    many = post(adapter_url, **{names[0]: ONES, names[1]: OTHERS}).json()
    assert many["object"] == "list" and many["data"][0]["object"] == "score"
    np.testing.assert_allclose(scores(many), (first * second).sum(1), atol=1e-5)
    one = post(adapter_url, **{names[0]: ONES[0], names[1]: OTHERS}).json()
    np.testing.assert_allclose(scores(one), second @ first[0], atol=1e-5)
    single = post(adapter_url, **{names[0]: ONES[1], names[1]: OTHERS[1]}).json()
    np.testing.assert_allclose(scores(single), [first[1] @ second[1]], atol=1e-5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text_1": "a"}, "text_2"),
        ({"text_2": "a"}, "text_1"),
        ({"text_1": ["a", "b"], "text_2": "c"}, "text_2"),
        ({"text_1": "a", "text_2": ["b", ""]}, "text_2[1]"),
        ({"text_1": "a", "text_2": ["b", 1]}, "text_2[1]"),
        ({"text_1": "a", "text_2": ["b", "word " * 300]}, "text_2[1]"),
        ({"queries": "a", "text_2": "b", "documents": "c"}, "text_2"),
        ({"text_1": "a", "text_2": ["b"] * 2049}, "text_2"),
        ({"text_1": "a", "text_2": "b", "top_n": 1}, "top_n"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_bodies(adapter_url: str, body: dict[str, Any], param: str) -> None:
    response = post(adapter_url, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
