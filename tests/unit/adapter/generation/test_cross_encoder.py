"""What becomes of an encoder's answers, and how rows are laid out for it, without a Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError
from adapter.generation.comparison import Comparison, Texts
from adapter.generation.cross_encoder import cross_encode
from adapter.generation.encoder import run_encoder
from adapter.triton.model import Kind, ServedModel
from tests.unit.adapter.served import served_model, tokenizer_folder
from tokentext import TextTokenizer


class Channel:
    """Answers each row with what `answer` makes of its ids; keeps the requests."""

    def __init__(self, answer: Any) -> None:
        self.requests: list[dict[str, np.ndarray]] = []
        self._answer = answer

    async def infer(self, request: pb.ModelInferRequest, timeout: float) -> pb.ModelInferResponse:
        tensors = {
            tensor.name: np.frombuffer(raw, "<i8").reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        self.requests.append(tensors)
        rows = [row[mask == 1] for row, mask in zip(tensors["input_ids"], tensors["attention_mask"], strict=True)]
        values = np.array([self._answer(row) for row in rows], "<f4")
        return pb.ModelInferResponse(raw_output_contents=[values.tobytes()])


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    tokenizer = TextTokenizer(tokenizer_folder(tmp_path / "tokenizer"))
    inputs = frozenset({"input_ids", "attention_mask", "token_type_ids"})
    return served_model(tokenizer, kind=Kind.RERANKER, inputs=inputs, max_batch_size=4)


def comparison(*documents: str, **more: Any) -> Comparison:
    return Comparison(
        Texts(["q"], ["query"]), Texts(documents, [f"documents[{i}]" for i in range(len(documents))]), **more
    )


async def test_rows_come_back_in_their_places_whatever_their_batches(model: ServedModel) -> None:
    random = np.random.default_rng(2)
    rows = [list(range(1, int(length) + 1)) for length in random.integers(1, 30, 21)]
    types = [[1] * len(row) for row in rows]
    channel = Channel(lambda ids: [len(ids), ids.sum()])
    inputs = {"input_ids": rows, "token_type_ids": types}
    found = await run_encoder(channel, model, inputs, "score", 2, 5.0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, [[len(row), sum(row)] for row in rows])
    assert [len(request["input_ids"]) for request in channel.requests] == [4, 4, 4, 4, 4, 1]
    for request in channel.requests:
        np.testing.assert_array_equal(request["token_type_ids"], request["attention_mask"])
        assert not request["input_ids"][request["attention_mask"] == 0].any()


async def test_few_long_rows_share_a_request(model: ServedModel) -> None:
    """At most 16,384 padded tokens."""
    channel = Channel(lambda ids: [len(ids)])
    inputs = {"input_ids": [[1] * 9000, [1] * 8000, [1] * 100]}
    await run_encoder(channel, model, inputs, "score", 1, 5.0)  # type: ignore[arg-type]
    assert [request["input_ids"].shape for request in channel.requests] == [(1, 9000), (2, 8000)]


@pytest.mark.parametrize("value", [[float("nan")], [float("inf")], [1.0, 2.0]], ids=str)
async def test_an_answer_that_is_none(model: ServedModel, value: list[float]) -> None:
    with pytest.raises(APIError) as caught:
        await cross_encode(Channel(lambda ids: value), model, comparison("a"), 5.0)  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.code) == (502, "model_error")


@pytest.mark.filterwarnings("error")
async def test_scores_far_from_zero(model: ServedModel) -> None:
    logits = iter([[-800.0], [0.0], [800.0], [-30.0]])
    channel = Channel(lambda ids: next(logits))
    scores = await cross_encode(channel, model, comparison("aaaa", "bbb", "cc", "d"), 5.0)  # type: ignore[arg-type]
    assert scores.values == pytest.approx([0.0, 0.5, 1.0, 9.357622968839299e-14], rel=1e-12)


async def test_a_model_that_declares_no_segments_gets_none(model: ServedModel) -> None:
    plain = served_model(model.tokenizer, kind=Kind.RERANKER, inputs=frozenset({"input_ids", "attention_mask"}))
    channel = Channel(lambda ids: [0.0])
    await cross_encode(channel, plain, comparison("a"), 5.0)  # type: ignore[arg-type]
    assert channel.requests[0].keys() == {"input_ids", "attention_mask"}
