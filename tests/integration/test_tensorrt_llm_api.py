"""The engine over TensorRT-LLM's LLM API in a real Triton: what it answers. The LLM is a stand-in (no GPU here)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from tritonclient.utils import InferenceServerException

from tests.support.engine_client import Answer, EngineClient, word_list
from tests.support.engine_triton import grpc_address
from tests.support.stand_in_model import CONTEXT, END_ID, ENGINE, VOCABULARY, StandIn, stand_in_triton, write_lora

PROMPT = [300, 301, 302]
FAILS = 40_000
SAMPLED: dict[str, Any] = {"temperature": 0.8, "runtime_top_p": 0.9, "runtime_top_k": 5}

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("llm-api")
    loras = {"sql": write_lora(folder / "lora")}
    conduct = {"fail_token": FAILS}
    with stand_in_triton(folder / "model", conduct, max_batch_size=4, loras=loras) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(stand_in: StandIn) -> AsyncIterator[EngineClient]:
    async with EngineClient(grpc_address(stand_in.server), ENGINE) as client:
        yield client


def told(stand_in: StandIn) -> dict[str, Any]:
    """What the LLM was last asked."""
    return stand_in.events("request")[-1]


def expected(count: int, prompt: list[int] = PROMPT, seed: int = 0, sequence: int = 0) -> list[int]:
    """The stand-in's rule, written out again."""
    base = sum(prompt) + seed + 131 * sequence
    return [1000 + (base + 7 * position) % 1000 for position in range(count)]


async def test_the_llm_gets_the_settings(stand_in: StandIn) -> None:
    (load,) = stand_in.events("load")
    assert load["model"].endswith(f"{ENGINE}/engine")
    assert (load["backend"], load["max_batch_size"], load["max_num_tokens"]) == ("pytorch", 4, 8192)
    assert load["max_seq_len"] == CONTEXT
    assert load["guided_decoding_backend"] == "xgrammar"
    assert load["kv_cache_config"]["free_gpu_memory_fraction"] == 0.9
    assert load["lora_config"]["max_loras"] == 1


async def test_streamed_and_whole(engine: EngineClient, stand_in: StandIn) -> None:
    streamed = await engine.generate(PROMPT, 6)
    assert [response["output_ids"][0, 0].tolist() for response in streamed.responses] == [[t] for t in expected(6)]
    assert streamed.finish_reason == "length"
    assert "finish_reason" in streamed.responses[-1]
    assert told(stand_in)["streaming"]
    whole = await engine.generate(PROMPT, 6, streaming=False)
    assert len(whole.responses) == 1
    assert whole.ids == streamed.ids
    assert whole.finish_reason == "length"
    assert not told(stand_in)["streaming"]
    assert "top_token_ids" not in whole.responses[0]
    assert "sequence_index" not in whole.responses[0]


async def test_adapters_of_the_text_ensemble(stand_in: StandIn) -> None:
    """Through Triton's own HTTP, which passes over what a model does not declare."""
    url = f"{stand_in.server.http_url}/v2/models/{ENGINE.removesuffix('_engine')}/generate"
    body = {"text_input": "Hello", "max_tokens": 2}
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        answers = [await client.post(url, json={**body, **more}) for more in ({}, {"lora_task_id": 1})]
        assert [answer.status_code for answer in answers] == [200, 200]
        loras = [event["lora"] for event in stand_in.events("request")[-2:]]
        assert loras[0] is None
        assert loras[1]["lora_name"] == "sql"
        unknown = await client.post(url, json={**body, "lora_task_id": 9})
        assert unknown.status_code == 400
        assert "lora_task_id: no adapter 9 is loaded" in unknown.text


async def test_counts_echo_and_context(engine: EngineClient) -> None:
    counts = {"return_num_input_tokens": True, "return_num_output_tokens": True}
    answer = await engine.generate(PROMPT, 4, streaming=False, exclude_input_in_output=False, **counts)
    assert answer.ids == [*PROMPT, *expected(4)]
    assert answer.responses[0]["num_input_tokens"][0, 0] == 3
    assert answer.responses[0]["num_output_tokens"][0, 0] == 7
    parts = await engine.generate(PROMPT, 3, outputs=["output_ids", "sequence_length", "context_ids"])
    contexts = [response["context_ids"][0].tolist() for response in parts.responses]
    assert contexts == [PROMPT, [*PROMPT, *expected(1)], [*PROMPT, *expected(2)]]


async def test_sampling_parameters_arrive(engine: EngineClient, stand_in: StandIn) -> None:
    bias = np.zeros(VOCABULARY, dtype=np.float32)
    bias[[5, 9]] = [-100.0, 2.5]
    penalties = {"repetition_penalty": 1.5, "presence_penalty": 0.25, "frequency_penalty": -0.5}
    answer = await engine.generate(
        PROMPT, 5, **SAMPLED, min_p=0.125, seed=2**40, min_tokens=3, embedding_bias=bias, **penalties
    )
    assert answer.ids == expected(5, seed=2**40)
    params = told(stand_in)["params"]
    assert params["temperature"] == pytest.approx(0.8)
    assert params["top_p"] == pytest.approx(0.9)
    assert (params["top_k"], params["min_p"], params["seed"], params["min_tokens"]) == (5, 0.125, 2**40, 3)
    assert {name: params[name] for name in penalties} == penalties
    assert params["prompt_ignore_length"] == len(PROMPT)
    assert params["embedding_bias"] == {"length": VOCABULARY, "dtype": "float32", "values": {"5": -100.0, "9": 2.5}}
    assert params["max_tokens"] == 5
    assert params["end_id"] == END_ID
    assert not params["detokenize"]


@pytest.mark.parametrize("tensors", [{}, {"temperature": 0.0}, {"temperature": 0.7, "runtime_top_k": 1}])
async def test_the_likeliest_token(engine: EngineClient, stand_in: StandIn, tensors: dict[str, Any]) -> None:
    await engine.generate(PROMPT, 1, **tensors)
    params = told(stand_in)["params"]
    assert params["top_k"] == 1
    assert not {"temperature", "top_p", "seed"} & params.keys()


async def test_all_of_the_vocabulary_is_said(engine: EngineClient, stand_in: StandIn) -> None:
    """A temperature without top-k and top-p is the likeliest token to some releases."""
    await engine.generate(PROMPT, 1, temperature=0.5)
    params = told(stand_in)["params"]
    assert (params["temperature"], params["top_k"], params["top_p"]) == (0.5, 0, 1.0)


async def test_ends(engine: EngineClient, stand_in: StandIn) -> None:
    tokens = expected(20)
    end = await engine.generate(PROMPT, 20, end_id=tokens[4])
    assert (end.ids, end.finish_reason) == (tokens[:5], "stop")
    stop = await engine.generate(PROMPT, 20, stop_token_ids=[tokens[2], 4])
    assert (stop.ids, stop.finish_reason) == (tokens[:3], "stop")
    assert told(stand_in)["params"]["stop_token_ids"] == [4, tokens[2]]
    for streaming in (True, False):
        word = await engine.generate(PROMPT, 20, stop_words_list=word_list([tokens[3]]), streaming=streaming)
        assert (word.ids, word.finish_reason) == (tokens[:4], "stop")
    ignored = await engine.generate(PROMPT, 8, end_id=tokens[4], ignore_eos=True)
    assert (ignored.ids, ignored.finish_reason) == (tokens[:8], "length")
    assert told(stand_in)["params"]["ignore_eos"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_stop_word_of_several_tokens(engine: EngineClient, stand_in: StandIn, streaming: bool) -> None:
    """The LLM API does not know them: the answer is cut here, and the LLM is told to stop."""
    tokens = expected(6)
    words = word_list(tokens[2:5], [tokens[1], 9])
    answer = await engine.generate(PROMPT, 1500, stop_words_list=words, streaming=streaming)
    assert (answer.ids, answer.finish_reason) == (tokens[:5], "stop")
    await asyncio.sleep(0.1)
    assert stand_in.events("abort")[-1]["id"] == told(stand_in)["id"]


async def test_stop_words_wait_for_min_tokens(engine: EngineClient) -> None:
    tokens = expected(20)
    answer = await engine.generate(
        PROMPT, 12, stop_words_list=word_list([tokens[2]]), stop_token_ids=[tokens[8]], min_tokens=6
    )
    assert (answer.ids, answer.finish_reason) == (tokens[:9], "stop")


async def test_bad_words(engine: EngineClient, stand_in: StandIn) -> None:
    await engine.generate(PROMPT, 1, bad_words_list=word_list([70], [400, 401, 402]))
    assert told(stand_in)["bad_words"] == [[70], [400, 401, 402]]


async def test_log_probabilities(engine: EngineClient) -> None:
    answer = await engine.generate(PROMPT, 4, return_log_probs=True)
    assert answer.log_probs == [-0.25, -0.25, -20.0, -0.25]
    assert answer.responses[-1]["cum_log_probs"][0, 0] == pytest.approx(-20.75)
    for streaming in (True, False):
        answer = await engine.generate(PROMPT, 3, return_log_probs=True, top_logprobs=2, streaming=streaming)
        tokens = expected(3)
        ids = [row for response in answer.responses for row in response["top_token_ids"][0].tolist()]
        assert ids[:2] == [[tokens[0], tokens[0] + 1], [tokens[1], tokens[1] + 1]]
        assert ids[2] == [tokens[2] + 1, tokens[2] + 2]  # the chosen one is none of the likeliest
        values = [row for response in answer.responses for row in response["top_log_probs"][0].tolist()]
        assert values == [[-0.25, -1.25], [-0.25, -1.25], [-0.5, -1.5]]


async def test_prompt_log_probabilities(engine: EngineClient) -> None:
    prompt = [10, 11, 12, 13]
    scored = await engine.generate(prompt, 0, return_prompt_log_probs=True, top_logprobs=2)
    (response,) = scored.responses
    assert scored.ids == []
    assert scored.finish_reason == "length"
    assert response["prompt_log_probs"][0].tolist() == [0.0, -0.25, -0.25, -20.0]
    assert response["prompt_top_token_ids"][0].tolist() == [[-1, -1], [11, 12], [12, 13], [14, 15]]
    written = await engine.generate(prompt, 2, return_prompt_log_probs=True)
    assert "prompt_log_probs" in written.responses[0]
    assert "prompt_log_probs" not in written.responses[1]
    assert written.ids == expected(2, prompt)


def by_sequence(answer: Answer) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for response in answer.responses:
        found.setdefault(int(response["sequence_index"][0, 0]), []).extend(response["output_ids"][0, 0].tolist())
    return found


@pytest.mark.parametrize("streaming", [True, False])
async def test_several_answers(engine: EngineClient, stand_in: StandIn, streaming: bool) -> None:
    answers = {sequence: expected(6, sequence=sequence) for sequence in range(3)}
    ends = answers[1][3]  # one of them ends earlier
    answer = await engine.generate(
        PROMPT, 6, **SAMPLED, num_return_sequences=3, stop_token_ids=[ends], streaming=streaming
    )
    assert by_sequence(answer) == {0: answers[0], 1: answers[1][:4], 2: answers[2]}
    reasons = {
        int(response["sequence_index"][0, 0]): response["finish_reason"][0, 0]
        for response in answer.responses
        if "finish_reason" in response
    }
    assert reasons == {0: b"length", 1: b"stop", 2: b"length"}
    assert len([response for response in answer.responses if "finish_reason" in response]) == 3
    assert told(stand_in)["params"]["n"] == 3


async def test_several_answers_of_the_likeliest_token_are_refused(engine: EngineClient) -> None:
    with pytest.raises(InferenceServerException, match="num_return_sequences: several answers"):
        await engine.generate(PROMPT, 2, num_return_sequences=2)


@pytest.mark.parametrize(
    ("kind", "text", "field"),
    [
        ("json", "", {"json_object": True}),
        ("json_schema", '{"type": "object"}', {"json": '{"type": "object"}'}),
        ("regex", "[a-z]+", {"regex": "[a-z]+"}),
        ("ebnf_grammar", 'root ::= "yes"', {"grammar": 'root ::= "yes"'}),
        ("structural_tag", '{"structures": []}', {"structural_tag": '{"structures": []}'}),
    ],
)
async def test_guides_arrive(
    engine: EngineClient, stand_in: StandIn, kind: str, text: str, field: dict[str, Any]
) -> None:
    guide = {"guided_decoding_guide_type": kind, "guided_decoding_guide": text or None}
    assert len((await engine.generate(PROMPT, 2, **guide)).ids) == 2
    assert told(stand_in)["params"]["guided_decoding"] == field


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("xml", "<a/>", "^guided_decoding_guide_type: 'xml' is not one of json, json_schema, regex"),
        ("json_schema", "{", "^guided_decoding_guide: is not JSON"),
        ("json_schema", "[]", "^guided_decoding_guide: must be a JSON object"),
        ("json_schema", "[" * 100_000, "^guided_decoding_guide: is not JSON"),
        ("regex", "", "^guided_decoding_guide: is needed"),
        ("regex", "(((", "^guided_decoding_guide: Grammar parser error"),  # said by the engine, after a while
    ],
)
async def test_bad_guides(engine: EngineClient, kind: str, text: str, message: str) -> None:
    with pytest.raises(InferenceServerException) as error:
        await engine.generate(PROMPT, 2, guided_decoding_guide_type=kind, guided_decoding_guide=text)
    assert error.match(message.removeprefix("^"))
    assert error.value.message().startswith("guided_decoding_guide")


async def test_lora(engine: EngineClient, stand_in: StandIn) -> None:
    await engine.generate(PROMPT, 1, lora_task_id=1)
    lora = told(stand_in)["lora"]
    assert (lora["lora_name"], lora["lora_int_id"]) == ("sql", 1)
    assert (Path(lora["lora_path"]) / "adapter_config.json").is_file()
    await engine.generate(PROMPT, 1)
    assert told(stand_in)["lora"] is None
    with pytest.raises(InferenceServerException, match="lora_task_id: no adapter 2 is loaded; known are: 1"):
        await engine.generate(PROMPT, 1, lora_task_id=2)


async def test_cached_tokens_and_scopes(engine: EngineClient, stand_in: StandIn) -> None:
    prompt = list(range(5000, 5050))

    async def cached(**tensors: Any) -> int:
        answer = await engine.generate(prompt, 2, **tensors)
        assert "cached_tokens" not in answer.responses[1]
        return int(answer.responses[0]["cached_tokens"][0, 0])

    assert [await cached() for _ in range(2)] == [0, 48]
    assert [await cached(cache_scope="acme") for _ in range(2)] == [0, 48]
    assert told(stand_in)["cache_salt"] == "acme"


async def test_performance_outputs(engine: EngineClient) -> None:
    prompt = list(range(6000, 6020))
    answer = await engine.generate(prompt, 3, return_perf_metrics=True)
    assert not [name for response in answer.responses[:-1] for name in response if name.endswith("_ns")]
    last = {name: value.item() for name, value in answer.responses[-1].items() if value.size == 1}
    times = ["arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns", "last_token_time_ns"]
    assert sorted(last[name] for name in times) == [last[name] for name in times]
    assert last["last_token_time_ns"] - last["arrival_time_ns"] > 2e7  # three steps of 10 ms
    assert (last["kv_cache_alloc_total_blocks"], last["kv_cache_reused_blocks"]) == (3, 0)
    assert "acceptance_rate" not in last  # nothing was drafted


async def test_a_failing_request_costs_itself_alone(engine: EngineClient) -> None:
    other = asyncio.ensure_future(engine.generate(PROMPT, 30))
    with pytest.raises(InferenceServerException, match="TensorRT-LLM: CUDA error: an illegal address"):
        await engine.generate([FAILS], 10)
    assert (await other).ids == expected(30)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"prompt": [VOCABULARY]}, "input_ids: token ids must be from 0"),
        ({"length": CONTEXT}, "request_output_len: prompt .* exceed the 2048 tokens"),
        ({"num_return_sequences": 129}, "num_return_sequences: must be from 1 to 128"),
        ({"runtime_top_p": 1.5}, "runtime_top_p: must be a number"),
        ({"embedding_bias": [1.0]}, "embedding_bias: 49152 values"),
    ],
)
async def test_bad_requests(engine: EngineClient, stand_in: StandIn, tensors: dict[str, Any], message: str) -> None:
    tensors, before = dict(tensors), len(stand_in.events("request"))
    with pytest.raises(InferenceServerException, match=message):
        await engine.generate(tensors.pop("prompt", PROMPT), tensors.pop("length", 2), **tensors)
    assert len(stand_in.events("request")) == before
