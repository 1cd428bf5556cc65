"""The embedding trio inside the real Triton: vectors, batching, errors, tokenizer files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from build.assemble import prepare
from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support import models
from tokentext.cache import cache_folder
from tokentext.files import TOKENIZER_FILES, tokenizer_digest

REFERENCE = Path(__file__).parent.parent / "data" / "embedding_reference"
TEXTS: list[str] = json.loads((REFERENCE / "texts.json").read_text(encoding="utf-8"))
NAME = "all-minilm-l6-v2"
CONTEXT_LENGTH = 256


@pytest.fixture(scope="module")
def embedding_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare([models.EMBEDDING], tmp_path_factory.mktemp("embedding") / "repository", cache_folder())


@pytest.fixture(scope="module")
def client(
    embedding_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[grpc.InferenceServerClient]:
    """A Triton with the embedding models alone: batches hold nothing but what these tests send."""
    state = tmp_path_factory.mktemp("state")
    with StateLock(state), TritonServer([embedding_repository], state) as server:
        connection = grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
        yield connection
        connection.close()


def tensor(name: str, values: np.ndarray, dtype: str) -> grpc.InferInput:
    found = grpc.InferInput(name, list(values.shape), dtype)
    found.set_data_from_numpy(values)
    return found


def strings(name: str, values: list[str | bytes]) -> grpc.InferInput:
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return tensor(name, np.array(encoded, np.object_).reshape(-1, 1), "BYTES")


def embed(client: grpc.InferenceServerClient, texts: list[str]) -> np.ndarray:
    return client.infer(NAME, [strings("text", list(texts))]).as_numpy("sentence_embedding")


def encode(client: grpc.InferenceServerClient, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    inputs = [tensor("input_ids", ids, "INT64"), tensor("attention_mask", mask, "INT64")]
    return client.infer(f"{NAME}_encoder", inputs).as_numpy("sentence_embedding")


def tokens(client: grpc.InferenceServerClient, texts: list[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    outputs = [grpc.InferRequestedOutput("input_ids"), grpc.InferRequestedOutput("attention_mask")]
    result = client.infer(f"{NAME}_tokenizer", [strings("text", texts)], outputs=outputs)
    return result.as_numpy("input_ids"), result.as_numpy("attention_mask")


def cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)


def test_vectors_are_those_of_sentence_transformers(client: grpc.InferenceServerClient) -> None:
    reference = np.load(REFERENCE / "vectors.npz")["vectors"]
    together = embed(client, TEXTS)
    assert together.dtype == np.float32 and together.shape == reference.shape
    assert cosines(together, reference).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_batch_of_ragged_texts_equals_one_at_a_time(client: grpc.InferenceServerClient) -> None:
    singles = np.concatenate([embed(client, [text]) for text in TEXTS])
    np.testing.assert_allclose(embed(client, TEXTS), singles, atol=1e-5)
    np.testing.assert_allclose(embed(client, TEXTS[::-1]), singles[::-1], atol=1e-5)


def executions(client: grpc.InferenceServerClient) -> tuple[int, int]:
    """Rows and executions of the encoder so far; Triton counts a request a moment after it has answered it."""
    before = None
    while True:
        statistics = client.get_inference_statistics(f"{NAME}_encoder").model_stats[0]
        counts = (statistics.inference_count, statistics.execution_count)
        if counts == before:
            return counts
        before = counts
        time.sleep(0.2)


def test_requests_of_different_lengths_share_a_batch(client: grpc.InferenceServerClient) -> None:
    singles = [embed(client, [text])[0] for text in TEXTS]
    rows, runs = executions(client)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda text: embed(client, [text])[0], TEXTS * 4))
    more_rows, more_runs = executions(client)
    assert more_rows - rows == len(TEXTS) * 4
    assert more_runs - runs < more_rows - rows, "no two requests were computed together"
    np.testing.assert_allclose(np.stack(found), np.stack(singles * 4), atol=1e-5)


def test_padding_of_any_amount_changes_nothing(client: grpc.InferenceServerClient) -> None:
    ids, mask = tokens(client, [TEXTS[5]])
    plain = encode(client, ids, mask)
    for extra in (1, 17, 300):
        wide = ((0, 0), (0, extra))
        np.testing.assert_allclose(encode(client, np.pad(ids, wide), np.pad(mask, wide)), plain, atol=1e-5)


def test_a_bad_request_fails_alone(client: grpc.InferenceServerClient) -> None:
    good_ids, good_mask = tokens(client, [TEXTS[5]])
    wanted = encode(client, good_ids, good_mask)
    bad_ids = good_ids.copy()
    bad_ids[0, 1] = 1 << 40

    def one(index: int) -> np.ndarray | str:
        try:
            return encode(client, bad_ids if index % 4 == 0 else good_ids, good_mask)
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(64)))
    for index, result in enumerate(found):
        if index % 4 == 0:
            assert isinstance(result, str) and "INVALID_ARGUMENT" in result and "token id outside" in result
        else:
            assert not isinstance(result, str), result
            np.testing.assert_allclose(result, wanted, atol=1e-5)


def refused(client: grpc.InferenceServerClient, ids: list[list[int]], mask: list[list[int]]) -> str:
    with pytest.raises(InferenceServerException) as caught:
        encode(client, np.array(ids, np.int64), np.array(mask, np.int64))
    assert "INVALID_ARGUMENT" in caught.value.status()
    return str(caught.value.message())


def test_wrong_rows_are_refused_with_their_index(client: grpc.InferenceServerClient) -> None:
    assert "input 1 has no tokens" in refused(client, [[101, 102], [101, 102]], [[1, 1], [0, 0]])
    assert "input 0 holds other numbers" in refused(client, [[101, 102]], [[1, 2]])
    assert "input 1 has a token id outside 0 to 30521" in refused(client, [[1, 2], [1, -1]], [[1, 1], [1, 1]])
    assert "input_ids are" in refused(client, [[101, 102]], [[1, 1, 1]])


def test_the_longest_text_fits_and_a_longer_one_is_refused_with_its_index(
    client: grpc.InferenceServerClient,
) -> None:
    fits = "word " * (CONTEXT_LENGTH - 2)
    assert embed(client, [fits]).shape == (1, 384)
    with pytest.raises(InferenceServerException) as caught:
        embed(client, ["short", fits, fits + "more"])
    assert "INVALID_ARGUMENT" in caught.value.status()
    assert f"input 2 has {CONTEXT_LENGTH + 1} tokens; the model takes {CONTEXT_LENGTH}" in caught.value.message()
    row = [[101, *[2003] * CONTEXT_LENGTH]]
    assert f"input 0 has {CONTEXT_LENGTH + 1} tokens" in refused(client, row, np.ones_like(row).tolist())


def test_text_that_is_not_utf8_is_refused_with_its_index(client: grpc.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="text 1 is not UTF-8") as caught:
        tokens(client, ["fine", b"\xff\xfe"])
    assert "INVALID_ARGUMENT" in caught.value.status()


def test_tokens_are_padded_within_a_request(client: grpc.InferenceServerClient) -> None:
    ids, mask = tokens(client, ["hello", "hello there world"])
    assert ids.tolist() == [[101, 7592, 102, 0, 0], [101, 7592, 2045, 2088, 102]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_a_text_is_no_question_for_a_file(client: grpc.InferenceServerClient) -> None:
    """A caller that names no outputs gets those that belong to what it sent."""
    result = client.infer(f"{NAME}_tokenizer", [strings("text", ["hello"])])
    assert result.as_numpy("input_ids").tolist() == [[101, 7592, 102]]
    assert result.as_numpy("file_content") is None
    with pytest.raises(InferenceServerException, match="either `text` or `file_name`"):
        client.infer(f"{NAME}_tokenizer", [strings("text", ["a"]), strings("file_name", ["tokenizer.json"])])


def file_content(client: grpc.InferenceServerClient, name: str) -> bytes:
    outputs = [grpc.InferRequestedOutput("file_content")]
    result = client.infer(f"{NAME}_tokenizer", [strings("file_name", [name])], outputs=outputs)
    return bytes(result.as_numpy("file_content")[0, 0])


def test_tokenizer_files_are_handed_out(
    client: grpc.InferenceServerClient, embedding_repository: Path, tmp_path: Path
) -> None:
    source = embedding_repository / f"{NAME}_tokenizer" / "tokenizer"
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            (tmp_path / name).write_bytes(file_content(client, name))
        else:
            with pytest.raises(InferenceServerException) as caught:
                file_content(client, name)
            assert "NOT_FOUND" in caught.value.status()
    parameters = client.get_model_config(f"{NAME}_encoder").config.parameters
    assert tokenizer_digest(tmp_path) == parameters["tokenizer_sha256"].string_value


@pytest.mark.parametrize("name", ["../tokenizer/tokenizer.json", "/etc/hostname", "", "config.pbtxt"])
def test_no_other_file_is_handed_out(client: grpc.InferenceServerClient, name: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        file_content(client, name)
    assert "NOT_FOUND" in caught.value.status()
