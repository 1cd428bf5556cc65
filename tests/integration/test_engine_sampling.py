"""The llama.cpp engine in a real Triton: every tensor it declares has its effect."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import Answer, EngineClient, word_list
from tests.support.engine_triton import engine_triton
from tokentext.tokenizer import TextTokenizer

VOCAB = 49152
END = 2  # <|im_end|>


pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("engine"), slots=4, batch_size=64) as server:
        yield server


@pytest.fixture(scope="module")
def question(tokenizer: TextTokenizer) -> list[int]:
    return chat(tokenizer, "What is the capital of France?")


@pytest.fixture(scope="module")
def story(tokenizer: TextTokenizer) -> list[int]:
    return tokenizer.encode("Once upon a time there was a little")


def chat(tokenizer: TextTokenizer, text: str) -> list[int]:
    return tokenizer.encode(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")


async def greedy(engine: EngineClient, prompt: list[int], length: int = 24, **tensors: object) -> list[int]:
    return (await engine.generate(prompt, length, **tensors)).ids


async def test_answers_and_ends(engine: EngineClient, question: list[int], tokenizer: TextTokenizer) -> None:
    answer = await engine.generate(question, 30, return_num_input_tokens=True, return_num_output_tokens=True)
    assert "Paris" in tokenizer.decode(answer.ids)
    assert answer.ids[-1] == END  # the token that ended it is part of it
    assert answer.finish_reason == "stop"
    assert "finish_reason" in answer.responses[-1]
    assert {int(response["num_input_tokens"][0, 0]) for response in answer.responses} == {len(question)}
    assert sum(int(response["num_output_tokens"][0, 0]) for response in answer.responses) == len(answer.ids)
    for response in answer.responses:
        assert response["output_ids"].shape == (1, 1, int(response["sequence_length"][0, 0]))


async def test_length(engine: EngineClient, story: list[int]) -> None:
    answer = await engine.generate(story, 7)
    assert len(answer.ids) == 7
    assert answer.finish_reason == "length"


async def test_not_streamed_is_one_response(engine: EngineClient, story: list[int]) -> None:
    streamed = await engine.generate(story, 12)
    whole = await engine.generate(story, 12, streaming=False)
    assert len(whole.responses) == 1
    assert len(streamed.responses) > 1
    assert whole.ids == streamed.ids


async def test_prompt_is_shown_on_demand(engine: EngineClient, story: list[int]) -> None:
    shown = await engine.generate(story, 5, streaming=False, exclude_input_in_output=False)
    hidden = await engine.generate(story, 5, streaming=False, exclude_input_in_output=True)
    assert shown.ids == story + hidden.ids
    streamed = await engine.generate(story, 5, exclude_input_in_output=False)
    assert streamed.ids == hidden.ids


async def test_padding_is_cut(engine: EngineClient, story: list[int]) -> None:
    padded = await engine.generate([*story, END, END], 8, input_lengths=len(story))
    assert padded.ids == await greedy(engine, story, 8)


async def test_no_token_is_lost_inside_a_character(engine: EngineClient, tokenizer: TextTokenizer) -> None:
    """Characters of several tokens: each token arrives, and the text comes out whole."""
    prompt = chat(tokenizer, "Repeat: 🦄🦄🦄🦄🦄🦄") + tokenizer.encode("🦄🦄🦄")
    bias = np.zeros(VOCAB, np.float32)
    bias[tokenizer.encode("🦄")] = 25.0
    answer = await engine.generate(prompt, 30, embedding_bias=bias)
    assert len(answer.ids) == 30
    assert answer.ids == (await engine.generate(prompt, 30, embedding_bias=bias, streaming=False)).ids
    assert tokenizer.decode(answer.ids).count("🦄") >= 5


async def test_context_ids_precede_the_new_tokens(engine: EngineClient, story: list[int]) -> None:
    outputs = ["output_ids", "sequence_length", "context_ids"]
    answer = await engine.generate(story, 12, outputs=outputs)
    so_far = list(story)
    for response in answer.responses:
        assert response["context_ids"][0].tolist() == so_far[-8:]
        so_far += response["output_ids"][0, 0].tolist()
    unasked = await engine.generate(story, 3)
    assert all("context_ids" not in response for response in unasked.responses)


async def test_temperature_zero_top_k_one_and_tiny_nuclei_are_greedy(engine: EngineClient, story: list[int]) -> None:
    expected = await greedy(engine, story)
    assert await greedy(engine, story, temperature=0.0, runtime_top_p=0.9) == expected
    assert await greedy(engine, story, temperature=2.0, runtime_top_k=1) == expected
    assert await greedy(engine, story, temperature=2.0, runtime_top_p=1e-6) == expected
    assert await greedy(engine, story, temperature=2.0, min_p=1.0) == expected


async def test_temperature_widens_the_choice(engine: EngineClient, story: list[int]) -> None:
    async def kinds(temperature: float) -> int:
        answers = await asyncio.gather(
            *(engine.generate(story, 1, temperature=temperature, seed=seed) for seed in range(12))
        )
        return len({answer.ids[0] for answer in answers})

    assert await kinds(0.05) == 1
    assert await kinds(3.0) > 4


@pytest.mark.parametrize("limit", [{"runtime_top_k": 3}, {"runtime_top_p": 0.4}, {"min_p": 0.3}])
async def test_truncation_keeps_to_the_likeliest(
    engine: EngineClient, story: list[int], limit: dict[str, float]
) -> None:
    alternatives = await engine.generate(story, 1, return_log_probs=True, top_logprobs=128)
    ids = alternatives.responses[0]["top_token_ids"][0, 0].tolist()
    probabilities = np.exp(alternatives.responses[0]["top_log_probs"][0, 0])
    if "runtime_top_k" in limit:
        count = 3
    elif "runtime_top_p" in limit:
        count = int(np.searchsorted(np.cumsum(probabilities), 0.4)) + 1
    else:
        count = int((probabilities >= 0.3 * probabilities[0]).sum())
    answers = await asyncio.gather(
        *(engine.generate(story, 1, temperature=1.0, seed=seed, **limit) for seed in range(24))
    )
    drawn = {answer.ids[0] for answer in answers}
    assert drawn <= set(ids[:count])
    assert len(drawn) > 1 or count == 1


async def test_seed_decides_alone_and_in_company(engine: EngineClient, story: list[int]) -> None:
    """The same tokens whatever else runs, whatever the cache holds, on whichever slot."""
    long_prompt = story * 15  # more than one piece of prompt
    sampling = {"temperature": 1.0, "runtime_top_p": 0.95}

    async def seeded(seed: int, prompt: list[int]) -> list[int]:
        return await greedy(engine, prompt, 24, seed=seed, **sampling)

    alone = [await seeded(7, long_prompt), await seeded(8, story)]
    assert alone[0] != await seeded(9, long_prompt)
    noise = [asyncio.create_task(engine.generate(story, 40, ignore_eos=True, **sampling)) for _ in range(2)]
    together = await asyncio.gather(seeded(7, long_prompt), seeded(8, story), seeded(7, long_prompt), seeded(8, story))
    await asyncio.gather(*noise)
    assert together == [*alone, *alone]


async def test_unseeded_answers_differ(engine: EngineClient, story: list[int]) -> None:
    answers = [await greedy(engine, story, 12, temperature=1.5) for _ in range(3)]
    assert len({tuple(answer) for answer in answers}) > 1


async def test_repetition_penalty(engine: EngineClient, tokenizer: TextTokenizer) -> None:
    prompt = tokenizer.encode("red blue red blue red blue red blue red blue red")
    plain = await greedy(engine, prompt, 8)
    assert set(plain) <= set(prompt)
    assert not set(await greedy(engine, prompt, 8, repetition_penalty=50.0)) & set(prompt)


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
async def test_penalties_count_the_answer_only(engine: EngineClient, tokenizer: TextTokenizer, penalty: str) -> None:
    prompt = tokenizer.encode("red blue red blue red blue red blue red blue red")
    plain = await greedy(engine, prompt, 8)
    penalized = await greedy(engine, prompt, 8, **{penalty: 100.0})
    assert penalized[0] == plain[0]  # what stands only in the prompt costs nothing
    assert len(set(penalized)) == len(penalized)
    assert len(set(plain)) < len(plain)


async def test_frequency_penalty_grows_with_the_count(engine: EngineClient, story: list[int]) -> None:
    bias = np.zeros(VOCAB, np.float32)
    bias[100], bias[200] = 1000.0, 960.0
    assert await greedy(engine, story, 6, embedding_bias=bias) == [100] * 6
    presence = await greedy(engine, story, 6, embedding_bias=bias, presence_penalty=60.0)
    assert presence == [100, 200, 100, 100, 100, 100]
    frequency = await greedy(engine, story, 6, embedding_bias=bias, frequency_penalty=60.0)
    assert frequency == [100, 200, 100, 200, 100, 200]


async def test_embedding_bias_bans_and_forces(engine: EngineClient, story: list[int]) -> None:
    plain = await greedy(engine, story, 8)
    ban = np.zeros(VOCAB, np.float32)
    ban[plain] = -np.inf
    assert not set(await greedy(engine, story, 8, embedding_bias=ban)) & set(plain)
    for value in (100.0, 3e38, np.inf):
        force = np.zeros(VOCAB, np.float32)
        force[1234] = value
        assert await greedy(engine, story, 4, embedding_bias=force) == [1234] * 4
        assert await greedy(engine, story, 4, embedding_bias=force, temperature=1.0, seed=1) == [1234] * 4
    assert await greedy(engine, story, 8, embedding_bias=np.zeros(0, np.float32)) == plain


async def test_bad_words(engine: EngineClient, story: list[int]) -> None:
    plain = await greedy(engine, story, 10)
    assert plain[0] not in await greedy(engine, story, 10, bad_words_list=word_list([plain[0]]))
    # Of a word of three tokens only the last is banned, and only after the other two.
    without = await greedy(engine, story, 10, bad_words_list=word_list(plain[2:5]))
    assert without[:4] == plain[:4]
    assert without[4] != plain[4]
    assert await greedy(engine, story, 10, bad_words_list=word_list([plain[5], plain[3], 17])) == plain
    # It may begin in the prompt.
    assert (await greedy(engine, story, 10, bad_words_list=word_list([story[-1], plain[0]])))[0] != plain[0]


async def test_stop_words(engine: EngineClient, story: list[int]) -> None:
    plain = await greedy(engine, story, 20)
    answer = await engine.generate(story, 20, stop_words_list=word_list([1, 2, 3], plain[3:6]))
    assert answer.ids == plain[:6]
    assert answer.finish_reason == "stop"
    assert await greedy(engine, story, 20, stop_words_list=word_list([plain[3], plain[5]])) == plain
    # A word does not reach back into the prompt.
    assert await greedy(engine, story, 20, stop_words_list=word_list([story[-1], plain[0]])) == plain


async def test_end_id_and_stop_token_ids(engine: EngineClient, question: list[int], story: list[int]) -> None:
    plain = await greedy(engine, story, 20)
    assert await greedy(engine, story, 20, end_id=plain[4]) == plain[: plain.index(plain[4]) + 1]
    assert await greedy(engine, story, 20, end_id=-1) == plain
    stopped = await engine.generate(story, 20, stop_token_ids=[5, plain[2]])
    assert stopped.ids == plain[: plain.index(plain[2]) + 1]
    assert stopped.finish_reason == "stop"
    answer = await greedy(engine, question, 30)
    assert answer[-1] == END
    # Another end token takes the place of the model's own.
    assert (await greedy(engine, question, len(answer) + 3, end_id=17))[: len(answer)] == answer
    ignored = await engine.generate(question, len(answer) + 5, ignore_eos=True)
    assert ignored.ids[: len(answer)] == answer
    assert (len(ignored.ids), ignored.finish_reason) == (len(answer) + 5, "length")


async def test_min_tokens(engine: EngineClient, question: list[int], story: list[int]) -> None:
    short = await greedy(engine, question, 40)
    longer = await greedy(engine, question, 40, min_tokens=len(short) + 5)
    assert len(longer) >= len(short) + 5
    assert END not in longer[: len(short) + 5]
    plain = await greedy(engine, story, 20)
    later = await greedy(engine, story, 20, stop_words_list=word_list(plain[:2], plain[8:10]), min_tokens=6)
    assert later == plain[:10]


async def test_log_probabilities_are_the_models_own(engine: EngineClient, story: list[int]) -> None:
    answer = await engine.generate(story, 6, return_log_probs=True, top_logprobs=5)
    total = 0.0
    for response in answer.responses:
        ids, top = response["output_ids"][0, 0], response["top_token_ids"][0]
        log_probs, top_log_probs = response["output_log_probs"][0, 0], response["top_log_probs"][0]
        assert top.shape == top_log_probs.shape == (len(ids), 5)
        assert (np.diff(top_log_probs) <= 0).all()
        assert (np.exp(top_log_probs).sum(axis=1) <= 1.0001).all()
        assert (top[:, 0] == ids).all()  # greedy takes the likeliest
        assert np.allclose(top_log_probs[:, 0], log_probs)
        total += float(log_probs.sum())
        assert math.isclose(float(response["cum_log_probs"][0, 0]), total, rel_tol=1e-5)
    # Neither temperature nor bias nor truncation changes them.
    bias = np.zeros(VOCAB, np.float32)
    bias[answer.ids[0]] = 40.0
    biased = await engine.generate(
        story, 1, return_log_probs=True, embedding_bias=bias, temperature=0.3, runtime_top_k=5, seed=1
    )
    assert math.isclose(biased.log_probs[0], answer.log_probs[0], abs_tol=1e-4)
    whole = await engine.generate(story, 6, streaming=False, return_log_probs=True, top_logprobs=5)
    assert whole.responses[0]["top_token_ids"].shape == (1, 6, 5)
    assert np.allclose(whole.log_probs, answer.log_probs, atol=1e-4)


async def test_log_probabilities_only_on_demand(engine: EngineClient, story: list[int]) -> None:
    (response,) = (await engine.generate(story, 2, streaming=False)).responses
    assert set(response) == {"output_ids", "sequence_length", "finish_reason", "cached_tokens"}


async def expect_error(engine: EngineClient, prompt: list[int], length: int, **tensors: object) -> str:
    with pytest.raises(InferenceServerException) as error:
        await engine.generate(prompt, length, **tensors)
    return str(error.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"temperature": float("nan")}, "temperature: must be a number"),
        ({"temperature": -0.5}, "temperature: must be a number"),
        ({"runtime_top_p": 1.5}, "runtime_top_p: must be"),
        ({"runtime_top_k": -1}, "runtime_top_k: must be"),
        ({"min_p": -0.1}, "min_p: must be"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: must be"),
        ({"presence_penalty": float("inf")}, "presence_penalty: must be"),
        ({"min_tokens": 9}, "min_tokens: must be from 0 to 8"),
        ({"end_id": VOCAB}, "end_id: must be"),
        ({"stop_token_ids": [-3]}, "stop_token_ids: token ids must be"),
        ({"top_logprobs": 1000}, "top_logprobs: must be"),
        ({"embedding_bias": np.zeros(5, np.float32)}, "embedding_bias: 49152 values are needed"),
        ({"embedding_bias": np.full(VOCAB, np.nan, np.float32)}, "embedding_bias: must not hold NaN"),
        ({"embedding_bias": np.full(VOCAB, -np.inf, np.float32)}, "embedding_bias: bans every token"),
        ({"stop_words_list": [[1, 2], [5, -1]]}, "stop_words_list: end offset 5"),
        ({"bad_words_list": [[1, 2], [2, 1]]}, "bad_words_list: end offset 1"),
        ({"bad_words_list": [[VOCAB], [1]]}, "bad_words_list: token ids must be"),
        ({"input_lengths": 100}, "input_lengths: must be"),
        ({"beam_width": 2}, "unexpected inference input 'beam_width'"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    engine: EngineClient, story: list[int], tensors: dict[str, object], message: str
) -> None:
    assert message in await expect_error(engine, story, 8, **tensors)


async def test_lengths_and_ids_are_checked(engine: EngineClient, story: list[int]) -> None:
    assert "request_output_len: must be" in await expect_error(engine, story, 0)
    assert "exceed the 8192 tokens" in await expect_error(engine, story, 8192)
    assert "input_ids: token ids must be" in await expect_error(engine, [1, VOCAB], 5)
    assert "input_ids: at least one token" in await expect_error(engine, [], 5, input_lengths=1)
    answer: Answer = await engine.generate(story, 2)  # the engine is none the worse for it
    assert len(answer.ids) == 2
