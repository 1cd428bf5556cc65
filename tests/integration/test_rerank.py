"""Reranking with an embedding model: against the vectors that the same server gives."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.support import models

QUERY = "Where do penguins live?"
DOCUMENTS = [
    "The stock market fell on Tuesday.",
    "Penguins live in the southern hemisphere.",
    "A recipe for bread.",
    "Birds of Antarctica swim well.",
]


def post(url: str, path: str = "/v1/rerank", **change: Any) -> httpx.Response:
    body = {"model": models.EMBEDDING, "query": QUERY, "documents": DOCUMENTS, **change}
    return httpx.post(url + path, json=body, timeout=60.0)


def cosines(client: openai.OpenAI, query: str, documents: list[str]) -> np.ndarray:
    answer = client.embeddings.create(model=models.EMBEDDING, input=[query, *documents])
    vectors = np.array([entry.embedding for entry in answer.data])
    return vectors[1:] @ vectors[0]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_the_order_is_that_of_the_cosines(adapter_url: str, openai_client: openai.OpenAI, path: str) -> None:
    wanted = cosines(openai_client, QUERY, DOCUMENTS)
    answer = post(adapter_url, path).json()
    assert answer["model"] == models.EMBEDDING and answer["id"].startswith("rerank-")
    assert [result["index"] for result in answer["results"]] == np.argsort(-wanted).tolist()
    assert answer["results"][0]["index"] == 1
    for result in answer["results"]:
        assert result["relevance_score"] == pytest.approx(wanted[result["index"]], abs=1e-5)
        assert result["document"] == {"text": DOCUMENTS[result["index"]]}
    usage = openai_client.embeddings.create(model=models.EMBEDDING, input=[QUERY, *DOCUMENTS]).usage
    assert answer["usage"] == {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}


def test_top_n_and_documents_as_objects(adapter_url: str) -> None:
    documents = [{"text": text} for text in DOCUMENTS]
    results = post(adapter_url, documents=documents, top_n=2, return_documents=False).json()["results"]
    assert [result["index"] for result in results] == [1, 3]
    assert all("document" not in result for result in results)
    assert len(post(adapter_url, top_n=9).json()["results"]) == 4


def test_too_long_is_refused_unless_cutting_is_asked_for(adapter_url: str, openai_client: openai.OpenAI) -> None:
    long = [*DOCUMENTS[:2], "word " * 300]
    error = post(adapter_url, documents=long).json()["error"]
    assert (error["param"], error["code"]) == ("documents[2]", "context_length_exceeded")
    error = post(adapter_url, query="word " * 300).json()["error"]
    assert error["param"] == "query"
    wanted = cosines(openai_client, QUERY, ["word " * 254])[0]
    for change in ({"truncate_prompt_tokens": -1}, {"max_tokens_per_doc": 256}):
        answer = post(adapter_url, documents=long, **change).json()
        (score,) = [result["relevance_score"] for result in answer["results"] if result["index"] == 2]
        assert score == pytest.approx(wanted, abs=1e-5)


def test_the_most_documents(adapter_url: str) -> None:
    assert len(post(adapter_url, documents=["a"] * 2048).json()["results"]) == 2048
    error = post(adapter_url, documents=["a"] * 2049).json()["error"]
    assert (error["param"], error["code"]) == ("documents", "array_above_max_length")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": [{"text": ""}]}, "documents[0].text"),
        ({"documents": [{"text": "a", "title": "b"}]}, "documents[0].title"),
        ({"documents": "a"}, "documents"),
        ({"query": ""}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"use_activation": False}, "use_activation"),
        ({"colour": 1}, "colour"),
        ({"model": models.CHAT}, "model"),
    ],
    ids=str,
)
def test_wrong_bodies(adapter_url: str, change: dict[str, Any], param: str) -> None:
    response = post(adapter_url, **change)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
