"""Rerank and score with cross-encoders, through the adapter, against a forward pass in numpy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc

from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.cross_encoder_oracle import Oracle, sigmoid
from tests.support.metrics import wait_until_idle
from tests.support.own_models import triton_name
from tests.support.tiny_cross_encoder import BERT, CONTEXT, XLM, reranker_repository

QUERY = "Where do penguins live?"
DOCUMENTS = [
    "The stock market fell.",
    "Penguins live in the south.",
    "A recipe for bread.",
    "The birds swim.",
    " ",
]
LONG = "word " * 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross-encoder")
    reranker_repository(folder, {"max_batch_size": 8})  # so that one call is many batches
    return folder


@pytest.fixture(scope="module")
def triton(folder: Path) -> Iterator[TritonServer]:
    state = folder / "state"
    with StateLock(state), TritonServer([folder / "repository"], state) as server:
        yield server


@pytest.fixture(scope="module")
def adapter(triton: TritonServer, folder: Path) -> Iterator[AdapterProcess]:
    with AdapterProcess(triton.grpc_url, folder / "adapter.log") as process:
        yield process


@pytest.fixture(scope="module")
def bert(folder: Path) -> Oracle:
    return Oracle(folder / "bert")


@pytest.fixture(scope="module")
def xlm(folder: Path) -> Oracle:
    return Oracle(folder / "xlm-roberta")


def rerank(adapter: AdapterProcess, path: str = "/v1/rerank", **change: Any) -> dict[str, Any]:
    body = {"model": BERT, "query": QUERY, "documents": DOCUMENTS, **change}
    answer: dict[str, Any] = httpx.post(adapter.url + path, json=body, timeout=60.0).json()
    return answer


def score(adapter: AdapterProcess, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(f"{adapter.url}/v1/score", json={"model": BERT, **body}, timeout=60.0).json()
    return answer


def by_document(answer: dict[str, Any]) -> np.ndarray:
    """The scores in the order of the documents."""
    found = {result["index"]: result["relevance_score"] for result in answer["results"]}
    assert sorted(found) == list(range(len(found)))
    return np.array([found[index] for index in range(len(found))])


def test_both_are_listed(adapter: AdapterProcess) -> None:
    listed = httpx.get(f"{adapter.url}/v1/models").json()["data"]
    assert [model["id"] for model in listed] == [BERT, XLM]
    assert httpx.get(f"{adapter.url}/v1/models/{BERT}").json()["owned_by"] == "test"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_order_and_scores_are_those_of_the_oracle(adapter: AdapterProcess, bert: Oracle, path: str) -> None:
    wanted = sigmoid(bert.logits(QUERY, DOCUMENTS))
    assert np.diff(np.sort(wanted)).min() > 1e-3, "the order does not hang on rounding"
    answer = rerank(adapter, path)
    assert answer["model"] == BERT and answer["id"].startswith("rerank-")
    assert [result["index"] for result in answer["results"]] == np.argsort(-wanted).tolist()
    np.testing.assert_allclose(by_document(answer), wanted, atol=1e-4)
    assert all(result["document"] == {"text": DOCUMENTS[result["index"]]} for result in answer["results"])
    tokens = bert.tokens(QUERY, DOCUMENTS)
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_the_logit_is_what_a_client_gets_who_wants_no_activation(adapter: AdapterProcess, bert: Oracle) -> None:
    logits = bert.logits(QUERY, DOCUMENTS)
    assert logits.min() < 0
    np.testing.assert_allclose(by_document(rerank(adapter, use_activation=False)), logits, atol=1e-4)
    np.testing.assert_allclose(by_document(rerank(adapter, use_activation=True)), sigmoid(logits), atol=1e-4)
    answer = score(adapter, text_1=QUERY, text_2=DOCUMENTS, use_activation=False)
    np.testing.assert_allclose([entry["score"] for entry in answer["data"]], logits, atol=1e-4)


def test_a_model_without_an_activation_scores_with_its_logits(adapter: AdapterProcess, xlm: Oracle) -> None:
    wanted = xlm.logits(QUERY, DOCUMENTS)
    answer = rerank(adapter, model=XLM)
    np.testing.assert_allclose(by_document(answer), wanted, atol=1e-4)
    assert [result["index"] for result in answer["results"]] == np.argsort(-wanted).tolist()
    assert answer["usage"]["prompt_tokens"] == xlm.tokens(QUERY, DOCUMENTS)


def test_top_n_and_documents_as_objects(adapter: AdapterProcess, bert: Oracle) -> None:
    best = np.argsort(-bert.logits(QUERY, DOCUMENTS))[:2].tolist()
    documents = [{"text": text} for text in DOCUMENTS]
    results = rerank(adapter, documents=documents, top_n=2, return_documents=False)["results"]
    assert [result["index"] for result in results] == best
    assert all("document" not in result for result in results)


def test_the_most_documents_keep_their_places(adapter: AdapterProcess, bert: Oracle) -> None:
    words = ["penguin", "ice", "the south sea", "a boat", "seven", "bread and butter", "north"]
    documents = [words[index % 7] for index in range(2048)]
    wanted = sigmoid(bert.logits(QUERY, words))
    np.testing.assert_allclose(by_document(rerank(adapter, documents=documents)), np.resize(wanted, 2048), atol=1e-4)


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents")])
def test_pairs(adapter: AdapterProcess, bert: Oracle, names: tuple[str, str]) -> None:
    queries = [QUERY, "What is bread?", "Who swims?", "Why?", "Rain"]
    wanted = [bert.logits(query, [document])[0] for query, document in zip(queries, DOCUMENTS, strict=True)]
    answer = score(adapter, **{names[0]: queries, names[1]: DOCUMENTS})
    assert [entry["index"] for entry in answer["data"]] == list(range(5))
    np.testing.assert_allclose([entry["score"] for entry in answer["data"]], sigmoid(np.array(wanted)), atol=1e-4)
    one = score(adapter, **{names[0]: QUERY, names[1]: DOCUMENTS})
    found = [entry["score"] for entry in one["data"]]
    np.testing.assert_allclose(found, sigmoid(bert.logits(QUERY, DOCUMENTS)), atol=1e-4)
    assert one["usage"]["total_tokens"] == bert.tokens(QUERY, DOCUMENTS)
    turned = score(adapter, **{names[0]: DOCUMENTS[1], names[1]: QUERY})["data"][0]["score"]
    assert turned == pytest.approx(sigmoid(bert.logits(DOCUMENTS[1], [QUERY]))[0], abs=1e-4) != found[1]


@pytest.mark.parametrize(
    ("change", "longest"), [({"truncate_prompt_tokens": -1}, CONTEXT), ({"truncate_prompt_tokens": 20}, 20)], ids=str
)
def test_a_document_is_cut_off_if_asked_for(
    adapter: AdapterProcess, bert: Oracle, change: dict[str, Any], longest: int
) -> None:
    documents = ["short", "birds of the cold sea " * 20]
    wanted = sigmoid(bert.logits(QUERY, documents, longest))
    answer = rerank(adapter, documents=documents, **change)
    np.testing.assert_allclose(by_document(answer), wanted, atol=1e-4)
    assert answer["usage"]["prompt_tokens"] == len(bert.encode(QUERY, "short")[0]) + longest


def test_a_limit_for_documents_counts_their_tokens_alone(adapter: AdapterProcess, bert: Oracle) -> None:
    around = len(bert.encode(QUERY, "")[0])
    documents = ["birds of the cold sea " * 20]
    wanted = sigmoid(bert.logits(QUERY, documents, around + 7))
    answer = rerank(adapter, documents=documents, max_tokens_per_doc=7)
    np.testing.assert_allclose(by_document(answer), wanted, atol=1e-4)
    assert answer["usage"]["prompt_tokens"] == around + 7


def test_too_long_a_pair_is_refused_with_the_counts(adapter: AdapterProcess, bert: Oracle) -> None:
    error = rerank(adapter, documents=["a", LONG])["error"]
    assert (error["param"], error["code"]) == ("documents[1]", "context_length_exceeded")
    tokens = len(bert.encode(QUERY, LONG)[0])
    assert f"{CONTEXT} tokens" in error["message"] and f"{tokens} tokens" in error["message"]
    fits = CONTEXT - len(bert.encode(QUERY, "")[0])
    assert len(rerank(adapter, documents=["word " * fits])["results"]) == 1
    error = score(adapter, text_1=["a", QUERY], text_2=["b", LONG])["error"]
    assert (error["param"], error["code"]) == ("text_2[1]", "context_length_exceeded")


def test_a_query_is_never_cut_off(adapter: AdapterProcess) -> None:
    for change in ({}, {"truncate_prompt_tokens": -1}, {"truncate_prompt_tokens": 30, "query": "word " * 27}):
        error = rerank(adapter, **{"query": LONG, "documents": ["a"], **change})["error"]
        assert (error["param"], error["code"]) == ("query", "context_length_exceeded"), change
    answer = rerank(adapter, query="word " * 26, documents=["a b"], truncate_prompt_tokens=30)
    assert answer["usage"]["prompt_tokens"] == 30
    error = score(adapter, text_1=["a", LONG], text_2=["b", "c"])["error"]
    assert error["param"] == "text_1[1]"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": []}, "documents"),
        ({"query": ""}, "query"),
        ({"use_activation": "yes"}, "use_activation"),
    ],
    ids=str,
)
def test_wrong_bodies(adapter: AdapterProcess, change: dict[str, Any], param: str) -> None:
    assert rerank(adapter, **change)["error"]["param"] == param


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("embeddings", {"input": "a"}),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("completions", {"prompt": "a"}),
    ],
)
def test_other_endpoints_refuse_a_reranker(adapter: AdapterProcess, path: str, body: dict[str, Any]) -> None:
    response = httpx.post(f"{adapter.base_url}/{path}", json={"model": BERT, **body}, timeout=60.0)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, "model", "model_not_supported")
    assert "`reranker`" in error["message"]


async def test_requests_at_the_same_time_share_batches(
    adapter: AdapterProcess, triton: TritonServer, bert: Oracle
) -> None:
    wanted = sigmoid(bert.logits(QUERY, DOCUMENTS))

    async def one(client: httpx.AsyncClient, index: int) -> float:
        body = {"model": BERT, "text_1": QUERY, "text_2": DOCUMENTS[index % 5]}
        return float((await client.post("/v1/score", json=body)).json()["data"][0]["score"])

    rows, runs = encoder_counts(triton)
    async with httpx.AsyncClient(base_url=adapter.url, timeout=60.0) as client:
        found = await asyncio.gather(*(one(client, index) for index in range(80)))
    np.testing.assert_allclose(found, np.resize(wanted, 80), atol=1e-4)
    more_rows, more_runs = encoder_counts(triton)
    assert more_rows - rows == 80 and more_runs - runs < 80, "no two requests were computed together"


async def test_a_client_that_leaves_ends_the_work(adapter: AdapterProcess, triton: TritonServer) -> None:
    rows, _ = encoder_counts(triton)
    body = {"model": BERT, "query": "word " * 40, "documents": ["word " * 20] * 2048}
    async with httpx.AsyncClient(base_url=adapter.url, timeout=60.0) as client:
        task = asyncio.create_task(client.post("/v1/rerank", json=body))
        while encoder_counts(triton, settled=False)[0] == rows:
            assert not task.done(), "the whole work was done before a part of it was seen"
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
    await asyncio.to_thread(wait_until_idle, adapter.url)
    assert 0 < encoder_counts(triton)[0] - rows < 2048
    assert len(rerank(adapter)["results"]) == len(DOCUMENTS)


def encoder_counts(triton: TritonServer, *, settled: bool = True) -> tuple[int, int]:
    """Rows and executions of the encoder so far; Triton counts a request a moment after it has answered it."""
    client = grpc.InferenceServerClient(triton.grpc_url.removeprefix("grpc://"))
    before = None
    try:
        while True:
            statistics = client.get_inference_statistics(f"{triton_name(BERT)}_encoder").model_stats[0]
            counts = (statistics.inference_count, statistics.execution_count)
            if not settled or counts == before:
                return counts
            before = counts
            time.sleep(0.2)
    finally:
        client.close()
