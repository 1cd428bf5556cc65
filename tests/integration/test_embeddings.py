"""Embeddings through the real client, against vectors that sentence-transformers made."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import openai
import pytest

from tests.support import models
from tests.support.own_models import tokenizer_of

REFERENCE = Path(__file__).parent.parent / "data" / "embedding_reference"
TEXTS: list[str] = json.loads((REFERENCE / "texts.json").read_text(encoding="utf-8"))
DIMENSIONS = 384
CONTEXT = 256


def embed(client: openai.OpenAI, inputs: Any, **options: Any) -> npt.NDArray[np.float64]:
    answer = client.embeddings.create(model=models.EMBEDDING, input=inputs, **options)
    assert answer.object == "list" and answer.model == models.EMBEDDING
    assert [entry.index for entry in answer.data] == list(range(len(answer.data)))
    assert all(entry.object == "embedding" for entry in answer.data)
    return np.array([entry.embedding for entry in answer.data])


def test_vectors_are_those_of_sentence_transformers(openai_client: openai.OpenAI) -> None:
    reference = np.load(REFERENCE / "vectors.npz")["vectors"]
    found = embed(openai_client, TEXTS)
    assert found.shape == reference.shape == (len(TEXTS), DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    cosines = (found * reference).sum(1) / np.linalg.norm(reference, axis=1)
    assert cosines.min() > 0.9999


async def test_asynchronous_client(async_openai_client: openai.AsyncOpenAI, openai_client: openai.OpenAI) -> None:
    answer = await async_openai_client.embeddings.create(model=models.EMBEDDING, input="A text.")
    np.testing.assert_allclose([answer.data[0].embedding], embed(openai_client, ["A text."]), atol=1e-6)


def test_one_text_is_a_list_of_one(openai_client: openai.OpenAI) -> None:
    np.testing.assert_allclose(embed(openai_client, "A text."), embed(openai_client, ["A text."]), atol=1e-6)


def test_token_ids_are_their_text(openai_client: openai.OpenAI, repository: Path) -> None:
    tokenizer = tokenizer_of(repository, models.EMBEDDING)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = [tokenizer.encode(text).ids for text in TEXTS[1:4]]
    np.testing.assert_allclose(embed(openai_client, ids), embed(openai_client, TEXTS[1:4]), atol=1e-5)
    np.testing.assert_allclose(embed(openai_client, ids[0]), embed(openai_client, TEXTS[1]), atol=1e-5)


def test_base64_is_the_same_vector(openai_client: openai.OpenAI, adapter_url: str) -> None:
    """The client asks for base64 unless told otherwise, and decodes it."""
    floats = embed(openai_client, TEXTS[:3], encoding_format="float")
    np.testing.assert_array_equal(embed(openai_client, TEXTS[:3]).astype("f4"), floats.astype("f4"))
    body = {"model": models.EMBEDDING, "input": TEXTS[:3], "encoding_format": "base64"}
    raw = httpx.post(f"{adapter_url}/v1/embeddings", json=body, timeout=60.0).json()
    for entry, vector in zip(raw["data"], floats, strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(entry["embedding"]), "<f4"), vector.astype("f4"))


def test_without_encoding_format_floats(adapter_url: str) -> None:
    body = {"model": models.EMBEDDING, "input": "A text."}
    answer = httpx.post(f"{adapter_url}/v1/embeddings", json=body, timeout=60.0).json()
    assert len(answer["data"][0]["embedding"]) == DIMENSIONS
    assert all(isinstance(value, float) for value in answer["data"][0]["embedding"])


def test_order_is_kept_over_several_batches(openai_client: openai.OpenAI) -> None:
    """Texts of mixed lengths, more of them than a batch holds: each vector is that of its own text."""
    texts = [f"{index} " + "word " * (index * 37 % 90) for index in range(200)]
    together = embed(openai_client, texts)
    for index in range(0, 200, 23):
        np.testing.assert_allclose(together[index], embed(openai_client, texts[index])[0], atol=1e-5)
    # Neighbours are not each other's.
    assert np.abs(together[1:] - together[:-1]).max(axis=1).min() > 1e-3


def test_usage(openai_client: openai.OpenAI, repository: Path) -> None:
    tokenizer = tokenizer_of(repository, models.EMBEDDING)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    expected = sum(len(tokenizer.encode(text).ids) for text in TEXTS)
    usage = openai_client.embeddings.create(model=models.EMBEDDING, input=TEXTS).usage
    assert usage.prompt_tokens == usage.total_tokens == expected
    assert openai_client.embeddings.create(model=models.EMBEDDING, input=[[101, 7592, 102]]).usage.prompt_tokens == 3


def test_its_own_number_of_dimensions_can_be_asked_for(openai_client: openai.OpenAI) -> None:
    assert embed(openai_client, "A text.", dimensions=DIMENSIONS).shape == (1, DIMENSIONS)


@pytest.mark.parametrize("dimensions", [1, 128, DIMENSIONS + 1])
def test_other_dimensions_are_refused(openai_client: openai.OpenAI, dimensions: int) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        embed(openai_client, "A text.", dimensions=dimensions)
    assert caught.value.param == "dimensions"
    assert str(DIMENSIONS) in caught.value.message


def test_the_longest_input(openai_client: openai.OpenAI) -> None:
    embed(openai_client, "word " * (CONTEXT - 2))
    with pytest.raises(openai.BadRequestError) as caught:
        embed(openai_client, ["short", "short", "word " * (CONTEXT - 1)])
    assert caught.value.param == "input[2]"
    assert caught.value.code == "context_length_exceeded"
    assert str(CONTEXT) in caught.value.message and str(CONTEXT + 1) in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        embed(openai_client, [[101], [101] * (CONTEXT + 1)])
    assert caught.value.param == "input[1]"


def test_the_most_inputs(openai_client: openai.OpenAI) -> None:
    assert embed(openai_client, ["a"] * 2048).shape == (2048, DIMENSIONS)
    for one in ("a", [101]):
        with pytest.raises(openai.BadRequestError) as caught:
            embed(openai_client, [one] * 2049)
        assert caught.value.param == "input"
        assert "2048" in caught.value.message


@pytest.mark.parametrize(
    ("inputs", "param"),
    [
        ("", "input"),
        (["fine", ""], "input[1]"),
        ([], "input"),
        ([[]], "input[0]"),
        (["fine", 7], "input[1]"),
        ([[101], "fine"], "input[1]"),
        ([[101, -1]], "input[0][1]"),
        ([[101], [30522]], "input[1]"),
        (7, "input"),
        (None, "input"),
        ({"text": "fine"}, "input"),
    ],
    ids=str,
)
def test_wrong_input(adapter_url: str, inputs: Any, param: str) -> None:
    body = {"model": models.EMBEDDING, "input": inputs}
    response = httpx.post(f"{adapter_url}/v1/embeddings", json=body, timeout=60.0)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("wrong", "param"),
    [({"encoding_format": "hex"}, "encoding_format"), ({"dimensions": 0}, "dimensions"), ({"colour": 1}, "colour")],
)
def test_wrong_parameter(openai_client: openai.OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        embed(openai_client, "A text.", extra_body=wrong)
    assert caught.value.param == param


def test_half_of_a_surrogate_pair(adapter_url: str) -> None:
    content = b'{"model":"%s","input":["fine","\\ud800"]}' % models.EMBEDDING.encode()
    response = httpx.post(
        f"{adapter_url}/v1/embeddings", content=content, headers={"content-type": "application/json"}, timeout=30.0
    )
    assert response.status_code == 400


def test_wrong_model(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        openai_client.embeddings.create(model="nobody/nothing", input="A text.")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as chat:
        openai_client.embeddings.create(model=models.CHAT, input="A text.")
    assert chat.value.param == "model"
