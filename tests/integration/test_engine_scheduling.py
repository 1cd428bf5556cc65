"""The llama.cpp engine in a real Triton: slots, queue, cancellation, prompt cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import engine_triton

SLOTS = 2
QUEUE = 3
SHORT = list(range(1000, 1010))
# Without cancellation: a minute and more of computing. Nothing here comes near it but a slot that is not freed.
LONG_ANSWER = 7000
LONG_PROMPT = [5000 + position * 7 % 30000 for position in range(7000)]
PATIENCE = 8.0  # seconds


pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("engine")
    with engine_triton(folder, slots=SLOTS, batch_size=64, max_queue_size=QUEUE) as server:
        yield server


def long_answer(engine: EngineClient, **tensors: Any) -> Any:
    return engine.stream(engine.request(SHORT, LONG_ANSWER, streaming=True, ignore_eos=True, **tensors))


async def first(call: Any) -> Any:
    result, error = await anext(aiter(call))
    if error is not None:
        raise error
    return result


async def occupy(engine: EngineClient) -> list[Any]:
    """All slots busy with long answers."""
    calls = [long_answer(engine) for _ in range(SLOTS)]
    for call in calls:
        await first(call)
    return calls


async def assert_free(engine: EngineClient) -> None:
    """Every slot answers within the time of patience."""
    answers = [engine.generate([17 + slot, *SHORT], 3) for slot in range(SLOTS)]
    for answer in await asyncio.wait_for(asyncio.gather(*answers), PATIENCE):
        assert len(answer.ids) == 3


async def test_cancel_while_answering(engine: EngineClient) -> None:
    for call in await occupy(engine):
        call.cancel()
    await assert_free(engine)


async def test_cancel_while_reading_the_prompt(engine: EngineClient) -> None:
    calls = [engine.stream(engine.request(LONG_PROMPT, 5, streaming=True, temperature=0.0)) for _ in range(SLOTS)]
    reading = [asyncio.ensure_future(first(call)) for call in calls]
    done, _ = await asyncio.wait(reading, timeout=0.7)
    assert not done
    for call in calls:
        call.cancel()
    await assert_free(engine)
    await asyncio.gather(*reading, return_exceptions=True)


async def test_cancel_while_waiting(engine: EngineClient) -> None:
    """Those who wait leave the queue at once: their places are free while the slots are still busy."""
    busy = await occupy(engine)
    for _ in range(3):
        waiting = [long_answer(engine) for _ in range(QUEUE)]
        reading = [asyncio.ensure_future(first(call)) for call in waiting]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in reading)
        with pytest.raises(InferenceServerException, match="places in the queue are taken"):
            await engine.generate(SHORT, 3)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await asyncio.sleep(0.5)
    for call in busy:
        call.cancel()
    await assert_free(engine)


async def test_full_queue_is_unavailable_at_once(engine: EngineClient) -> None:
    busy = await occupy(engine)
    waiting = [asyncio.ensure_future(engine.generate(SHORT, 3)) for _ in range(QUEUE)]
    await asyncio.sleep(0.3)
    refused = engine.stream(engine.request(SHORT, 3), headers={"triton_grpc_error": "true"})
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(refused)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    for call in busy:
        call.cancel()
    for answer in await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE):  # those who wait get their turn
        assert len(answer.ids) == 3


async def test_short_prompt_overtakes_a_long_one(engine: EngineClient) -> None:
    long = engine.stream(engine.request(LONG_PROMPT, 1, streaming=True))
    reading = asyncio.ensure_future(first(long))
    await asyncio.sleep(0.3)
    answer = await asyncio.wait_for(engine.generate([4000 + position for position in range(100)], 3), PATIENCE)
    assert len(answer.ids) == 3
    assert not reading.done()
    long.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await assert_free(engine)


async def test_stop_by_request_id(engine: EngineClient) -> None:
    call = long_answer(engine, request_id="to-be-stopped")
    await first(call)
    stopped = await engine.generate(SHORT, 1, stop=True, request_id="to-be-stopped")
    assert stopped.responses == []
    reasons = []
    async for result, error in call:
        assert error is None
        reason = result.as_numpy("finish_reason")
        if reason is not None:
            reasons.append(reason[0, 0])
    assert reasons == [b"cancelled"]
    with pytest.raises(InferenceServerException, match="stop: a request id is needed"):
        await engine.generate(SHORT, 1, stop=True)
    assert (await engine.generate(SHORT, 1, stop=True, request_id="nobody")).responses == []


async def test_more_answers_than_slots(engine: EngineClient) -> None:
    """Everyone gets the answer he would get alone."""
    prompts = [[2000 + number, *SHORT] for number in range(SLOTS + QUEUE)]
    alone = [(await engine.generate(prompt, 12, temperature=1.0, seed=1)).ids for prompt in prompts]
    together = await asyncio.gather(*(engine.generate(prompt, 12, temperature=1.0, seed=1) for prompt in prompts))
    assert [answer.ids for answer in together] == alone


async def test_prompt_cache(engine: EngineClient) -> None:
    def cached(answer: Any) -> int:
        return int(answer.responses[0]["cached_tokens"][0, 0])

    prompt = [3000 + position for position in range(300)]
    assert cached(await engine.generate(prompt, 3)) == 0
    again = await engine.generate(prompt, 3)
    assert cached(again) == len(prompt) - 1
    # The next turn of a conversation: prompt and answer are known.
    turn = await engine.generate([*prompt, *again.ids, 40, 41], 3)
    assert len(prompt) < cached(turn) <= len(prompt) + 3
    assert cached(await engine.generate([*prompt[:100], 9, 9, 9], 3)) == 100
    # With a seed, only what is bound to come out the same is reused: whole pieces of the prompt.
    seeded = await engine.generate(prompt, 3, temperature=1.0, seed=1)
    assert cached(seeded) % 64 == 0
    reused = await engine.generate(prompt, 3, temperature=1.0, seed=1)
    assert cached(reused) == 256
    assert reused.ids == seeded.ids


async def test_whole_context(engine: EngineClient) -> None:
    """Prompt and answer may fill the context to the last token."""
    prompt = LONG_PROMPT[:1] * 1
    length = 8192 - len(prompt)
    call = engine.stream(engine.request(prompt, length, streaming=True, ignore_eos=True))
    assert (await first(call)) is not None
    call.cancel()
    with pytest.raises(InferenceServerException, match="exceed the 8192 tokens"):
        await engine.generate(prompt, length + 1)
