"""The reranker trio inside the real Triton against a forward pass in numpy: scores, batching, cutting off, errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support.cross_encoder_oracle import Oracle
from tests.support.own_models import triton_name
from tests.support.tiny_cross_encoder import BERT, CONTEXT, XLM, reranker_repository
from tokentext.files import tokenizer_digest

QUERY = "Where do penguins live?"
DOCUMENTS = [
    "Penguins live in the southern hemisphere.",
    "A recipe for bread.",
    "a",
    "The birds swim.",
    "",
    "In the sea.",
]
LONG = "word " * 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reranker")
    reranker_repository(folder)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[grpc.InferenceServerClient]:
    """A Triton with the rerankers alone: batches hold nothing but what these tests send."""
    state = folder / "state"
    with StateLock(state), TritonServer([folder / "repository"], state) as server:
        connection = grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
        yield connection
        connection.close()


@pytest.fixture(scope="module", params=[BERT, XLM])
def name(request: pytest.FixtureRequest) -> str:
    return triton_name(request.param)


@pytest.fixture(scope="module")
def oracle(folder: Path, name: str) -> Oracle:
    return Oracle(folder / ("bert" if name == triton_name(BERT) else "xlm-roberta"))


def tensor(name: str, values: np.ndarray, dtype: str) -> grpc.InferInput:
    found = grpc.InferInput(name, list(values.shape), dtype)
    found.set_data_from_numpy(values)
    return found


def strings(name: str, values: list[str]) -> grpc.InferInput:
    return tensor(name, np.array([value.encode() for value in values], np.object_).reshape(-1, 1), "BYTES")


def pairs(query: str, documents: list[str], truncate: list[bool] | None = None) -> list[grpc.InferInput]:
    inputs = [strings("query", [query] * len(documents)), strings("document", documents)]
    if truncate is not None:
        inputs.append(tensor("truncate", np.array(truncate).reshape(-1, 1), "BOOL"))
    return inputs


def scores(
    client: grpc.InferenceServerClient, name: str, documents: list[str], truncate: list[bool] | None = None
) -> np.ndarray:
    found = client.infer(name, pairs(QUERY, documents, truncate)).as_numpy("score")
    assert found.dtype == np.float32 and found.shape == (len(documents), 1)
    return found[:, 0]


def refused(client: grpc.InferenceServerClient, model: str, inputs: list[grpc.InferInput]) -> str:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs)
    assert "INVALID_ARGUMENT" in caught.value.status()
    return str(caught.value.message())


def test_scores_are_those_of_the_oracle(client: grpc.InferenceServerClient, name: str, oracle: Oracle) -> None:
    wanted = oracle.logits(QUERY, DOCUMENTS)
    assert np.ptp(wanted) > 0.3, "the model tells the documents apart"
    np.testing.assert_allclose(scores(client, name, DOCUMENTS), wanted, atol=1e-4)
    singles = np.concatenate([scores(client, name, [document]) for document in DOCUMENTS])
    np.testing.assert_allclose(singles, wanted, atol=1e-4)


def executions(client: grpc.InferenceServerClient, model: str) -> tuple[int, int]:
    """Rows and executions so far; Triton counts a request a moment after it has answered it."""
    before = None
    while True:
        statistics = client.get_inference_statistics(model).model_stats[0]
        counts = (statistics.inference_count, statistics.execution_count)
        if counts == before:
            return counts
        before = counts
        time.sleep(0.2)


def test_requests_of_different_lengths_share_a_batch(
    client: grpc.InferenceServerClient, name: str, oracle: Oracle
) -> None:
    rows, runs = executions(client, f"{name}_encoder")
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda document: scores(client, name, [document])[0], DOCUMENTS * 10))
    more_rows, more_runs = executions(client, f"{name}_encoder")
    assert more_rows - rows == len(DOCUMENTS) * 10
    assert more_runs - runs < more_rows - rows, "no two requests were computed together"
    np.testing.assert_allclose(found, np.tile(oracle.logits(QUERY, DOCUMENTS), 10), atol=1e-4)


def test_ids_and_segments_are_those_of_the_library(
    client: grpc.InferenceServerClient, name: str, oracle: Oracle
) -> None:
    names = ("input_ids", "attention_mask", "token_type_ids")
    outputs = [grpc.InferRequestedOutput(output) for output in names]
    result = client.infer(f"{name}_tokenizer", pairs(QUERY, DOCUMENTS), outputs=outputs)
    ids, mask, types = (result.as_numpy(output) for output in names)
    wanted = [oracle.encode(QUERY, document) for document in DOCUMENTS]
    for row, (wanted_ids, wanted_types) in enumerate(wanted):
        length = len(wanted_ids)
        assert mask[row].tolist() == [1] * length + [0] * (ids.shape[1] - length)
        assert (ids[row, :length].tolist(), types[row, :length].tolist()) == (wanted_ids, wanted_types)
        assert not ids[row, length:].any() and not types[row, length:].any()
    assert {value for _, row in wanted for value in row} == ({0, 1} if name == triton_name(BERT) else {0})


def test_a_document_is_cut_off_only_where_that_is_asked_for(
    client: grpc.InferenceServerClient, name: str, oracle: Oracle
) -> None:
    documents = [LONG, DOCUMENTS[0], LONG + "more"]
    wanted = oracle.logits(QUERY, documents, CONTEXT)
    found = scores(client, name, documents, [True, False, True])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    tokens = len(oracle.encode(QUERY, documents[2])[0])
    message = refused(client, name, pairs(QUERY, documents, [True, True, False]))
    assert f"input 2 has {tokens} tokens; the model takes {CONTEXT}" in message
    assert "input 0 has" in refused(client, name, pairs(QUERY, documents))
    assert "input 0 has" in refused(client, name, pairs(LONG, ["a"], [True])), "a query is never cut off"


def test_half_a_pair_is_refused(client: grpc.InferenceServerClient, name: str) -> None:
    message = refused(client, f"{name}_tokenizer", [strings("query", ["a"])])
    assert "either `query` and `document` or `file_name`" in message
    both = [*pairs("a", ["b"]), strings("file_name", ["tokenizer.json"])]
    assert "either" in refused(client, f"{name}_tokenizer", both)


def test_a_bad_row_is_refused_alone(client: grpc.InferenceServerClient, name: str, oracle: Oracle) -> None:
    ids, types = oracle.encode(QUERY, DOCUMENTS[0])

    def row(types: list[int], ids: list[int] = ids) -> list[grpc.InferInput]:
        columns = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        return [tensor(key, np.array([value], np.int64), "INT64") for key, value in columns.items()]

    assert "token_type_ids is [1, 1]" in refused(client, f"{name}_encoder", row([0]))
    assert "a token id outside" in refused(client, f"{name}_encoder", row(types, [*ids[:-1], 1 << 40]))
    if name == triton_name(BERT):
        assert "input 0 has a token type outside 0 to 1" in refused(client, f"{name}_encoder", row([*types[:-1], 2]))
    found = client.infer(f"{name}_encoder", row(types)).as_numpy("score")
    np.testing.assert_allclose(found, [[oracle.logit(ids, types)]], atol=1e-4)


def test_tokenizer_files_are_handed_out(client: grpc.InferenceServerClient, name: str, tmp_path: Path) -> None:
    outputs = [grpc.InferRequestedOutput("file_content")]
    result = client.infer(f"{name}_tokenizer", [strings("file_name", ["tokenizer.json"])], outputs=outputs)
    (tmp_path / "tokenizer.json").write_bytes(result.as_numpy("file_content")[0, 0])
    parameters = client.get_model_config(f"{name}_encoder").config.parameters
    assert tokenizer_digest(tmp_path) == parameters["tokenizer_sha256"].string_value


def test_the_configuration_says_what_belongs_over_the_logit(client: grpc.InferenceServerClient, name: str) -> None:
    parameters = client.get_model_config(f"{name}_encoder").config.parameters
    assert parameters["served_kind"].string_value == "reranker"
    assert parameters["score_activation"].string_value == ("sigmoid" if name == triton_name(BERT) else "none")
    assert "dimensions" not in parameters
