"""The llama.cpp engine in a real Triton: log probabilities of the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import engine_triton
from tokentext.tokenizer import TextTokenizer

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in

VOCAB = 49152
NOISE = 0.05  # one token at a time rounds differently from many in a batch


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("engine"), slots=2, batch_size=64) as server:
        yield server


@pytest.fixture(scope="module")
def text(tokenizer: TextTokenizer) -> list[int]:
    """More than two pieces, and not what the model itself would write."""
    words = "The old lighthouse keeper counted seventeen purple umbrellas before breakfast. "
    return tokenizer.encode(words * 4 + "Nobody asked him why, and he never explained it. " + words * 3)


async def score(engine: EngineClient, prompt: list[int], **tensors: Any) -> np.ndarray:
    answer = await engine.generate(prompt, 0, return_prompt_log_probs=True, **tensors)
    (response,) = answer.responses
    scores: np.ndarray = response["prompt_log_probs"]
    assert (scores.shape, scores.dtype) == ((1, len(prompt)), np.float32)
    return scores[0]


@pytest.mark.parametrize("streaming", [True, False])
async def test_scoring_alone_is_one_response_without_tokens(
    engine: EngineClient, text: list[int], streaming: bool
) -> None:
    answer = await engine.generate(
        text, 0, return_prompt_log_probs=True, streaming=streaming, return_num_output_tokens=True
    )
    (response,) = answer.responses
    assert answer.ids == []
    assert answer.finish_reason == "length"
    assert int(response["num_output_tokens"][0, 0]) == 0
    scores = response["prompt_log_probs"][0]
    assert scores[0] == 0.0
    assert (scores[1:] < 0.0).all()
    assert "prompt_top_token_ids" not in response


async def test_equal_to_what_an_answer_of_forced_tokens_says(engine: EngineClient, text: list[int]) -> None:
    scores = await score(engine, text)
    for position in (1, 2, 31, 32, 33, 63, 64, 65, len(text) - 1):
        force = np.zeros(VOCAB, np.float32)
        force[text[position]] = np.inf
        forced = await engine.generate(text[:position], 1, embedding_bias=force, return_log_probs=True)
        assert forced.ids == [text[position]]
        assert abs(forced.log_probs[0] - scores[position]) < NOISE, position


async def test_equal_to_what_the_answer_itself_says(engine: EngineClient, text: list[int]) -> None:
    answer = await engine.generate(text, 40, return_log_probs=True, top_logprobs=3, ignore_eos=True)
    scored = await engine.generate([*text, *answer.ids], 0, return_prompt_log_probs=True, top_logprobs=3)
    (response,) = scored.responses
    np.testing.assert_allclose(response["prompt_log_probs"][0, len(text) :], answer.log_probs, atol=NOISE)
    top = np.concatenate([response["top_log_probs"][0] for response in answer.responses])
    np.testing.assert_allclose(response["prompt_top_log_probs"][0, len(text) :], top, atol=NOISE)


async def test_alternatives(engine: EngineClient, text: list[int]) -> None:
    answer = await engine.generate(text, 0, return_prompt_log_probs=True, top_logprobs=5)
    (response,) = answer.responses
    ids, log_probs = response["prompt_top_token_ids"][0], response["prompt_top_log_probs"][0]
    assert ids.shape == log_probs.shape == (len(text), 5)
    assert (ids[0] == -1).all()
    assert (log_probs[0] == 0.0).all()
    assert (np.diff(log_probs[1:], axis=1) <= 0).all()
    scores = response["prompt_log_probs"][0]
    assert (scores[1:] <= log_probs[1:, 0]).all()
    hits = 0
    for position in range(1, len(text)):
        if text[position] in ids[position]:
            hits += 1
            assert log_probs[position][ids[position].tolist().index(text[position])] == scores[position]
    assert hits > len(text) // 2  # the text repeats itself


async def test_cached_or_not_they_are_the_same(engine: EngineClient, text: list[int]) -> None:
    prompt = [17, *text]
    plain = await engine.generate(prompt, 8)
    first = await score(engine, prompt)
    again = await score(engine, prompt)
    np.testing.assert_array_equal(first, again)
    answer = await engine.generate(prompt, 0, return_prompt_log_probs=True)
    assert int(answer.responses[0]["cached_tokens"][0, 0]) == 0
    # A scored prompt is computed all the same: an answer starts from it.
    reused = await engine.generate(prompt, 8)
    assert int(reused.responses[0]["cached_tokens"][0, 0]) == len(prompt) - 1
    assert reused.ids == plain.ids


@pytest.mark.parametrize("streaming", [True, False])
async def test_with_an_answer_they_come_in_the_first_response(
    engine: EngineClient, text: list[int], streaming: bool
) -> None:
    answer = await engine.generate(
        text, 6, return_prompt_log_probs=True, top_logprobs=2, return_log_probs=True, streaming=streaming
    )
    assert answer.ids == (await engine.generate(text, 6)).ids
    names = {"prompt_log_probs", "prompt_top_token_ids", "prompt_top_log_probs"}
    assert names <= answer.responses[0].keys()
    for response in answer.responses[1:]:
        assert not names & response.keys()
    np.testing.assert_array_equal(answer.responses[0]["prompt_log_probs"][0], await score(engine, text))


async def test_one_token(engine: EngineClient) -> None:
    assert (await score(engine, [1000])).tolist() == [0.0]
    answer = await engine.generate([1000], 2, return_prompt_log_probs=True, top_logprobs=1)
    assert answer.responses[0]["prompt_top_token_ids"].tolist() == [[[-1]]]
    assert len(answer.ids) == 2


async def test_a_seeded_answer_is_the_same_with_them(engine: EngineClient, text: list[int]) -> None:
    async def seeded(**tensors: Any) -> list[int]:
        return (await engine.generate(text, 12, temperature=1.0, seed=5, **tensors)).ids

    scored = await seeded(return_prompt_log_probs=True)
    assert await seeded(return_prompt_log_probs=True) == scored
    # A prompt computed in smaller pieces is not taken for one computed in whole ones.
    plain = await engine.generate(text, 12, temperature=1.0, seed=5)
    assert int(plain.responses[0]["cached_tokens"][0, 0]) == 0


async def test_only_on_demand(engine: EngineClient, text: list[int]) -> None:
    answer = await engine.generate(text, 2, top_logprobs=2)
    assert not any(name.startswith("prompt_") for response in answer.responses for name in response)
    with pytest.raises(InferenceServerException, match="request_output_len: must be from 1"):
        await engine.generate(text, 0)
    outputs = ["output_ids", "sequence_length", "prompt_log_probs"]
    named = await engine.generate(text, 0, return_prompt_log_probs=True, top_logprobs=2, outputs=outputs)
    assert set(named.responses[0]) == set(outputs)
