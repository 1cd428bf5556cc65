"""Many requests in one LLM, cancelled ones, and an LLM that dies; in a real Triton, over the stand-in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonFailed
from tests.support.engine_client import EngineClient, word_list
from tests.support.engine_triton import grpc_address
from tests.support.stand_in_model import ENGINE, StandIn, stand_in_triton

BATCH = 2
QUEUE = 3
PROMPT = [300, 301, 302]
LONG = 2000  # 20 s of steps
SOON = 1.0  # seconds; an abort takes some 50 ms, and this machine may be busy

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("llm-api")
    with stand_in_triton(folder, max_batch_size=BATCH, max_queue_size=QUEUE) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(stand_in: StandIn) -> AsyncIterator[EngineClient]:
    async with EngineClient(grpc_address(stand_in.server), ENGINE) as client:
        yield client


def long_answer(engine: EngineClient, **tensors: Any) -> Any:
    return engine.stream(engine.request(PROMPT, LONG, **({"streaming": True, "ignore_eos": True} | tensors)))


async def first(call: Any) -> Any:
    result, error = await anext(aiter(call))
    if error is not None:
        raise error
    return result


async def aborts(stand_in: StandIn, count: int) -> list[dict[str, Any]]:
    """All aborts, once there are so many."""
    deadline = time.monotonic() + 10
    while len(found := stand_in.events("abort")) < count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)
    return found


async def idle(stand_in: StandIn) -> None:
    """Returns when the LLM has nothing left to do."""
    while True:
        before = len(stand_in.events("step"))
        await asyncio.sleep(0.1)
        if len(stand_in.events("step")) == before:
            return


async def test_requests_share_the_llm(engine: EngineClient, stand_in: StandIn) -> None:
    answers = await asyncio.gather(*(engine.generate([400 + number], 40) for number in range(BATCH)))
    assert all(len(answer.ids) == 40 for answer in answers)
    ids = [event["id"] for event in stand_in.events("request")[-BATCH:]]
    together = [step for step in stand_in.events("step") if sorted(step["ids"]) == ids]
    assert len(together) > 30


async def test_cancel_while_answering(engine: EngineClient, stand_in: StandIn) -> None:
    """The LLM is told within two of the model's looks, and the place is free."""
    delays = []
    for _ in range(5):
        before = len(stand_in.events("abort"))
        call = long_answer(engine)
        await first(call)
        cancelled = time.time()
        call.cancel()
        found = await aborts(stand_in, before + 1)
        assert found[-1]["id"] == stand_in.events("request")[-1]["id"]
        delays.append(found[-1]["time"] - cancelled)
        await idle(stand_in)
    assert max(delays) < SOON
    assert len(stand_in.events("abort")) == before + 1  # once
    print(f"from cancel to abort: {', '.join(f'{delay * 1000:.0f} ms' for delay in delays)}")


async def test_cancel_of_what_is_not_streamed(engine: EngineClient, stand_in: StandIn) -> None:
    before = len(stand_in.events("abort"))
    requests = len(stand_in.events("request"))
    call = long_answer(engine, streaming=False)
    reading = asyncio.ensure_future(first(call))
    while len(stand_in.events("request")) == requests:
        await asyncio.sleep(0.01)
    call.cancel()
    await aborts(stand_in, before + 1)
    await asyncio.gather(reading, return_exceptions=True)
    await asyncio.wait_for(idle(stand_in), 5)


async def test_cancel_right_at_the_beginning(engine: EngineClient, stand_in: StandIn) -> None:
    """Whether or not the LLM has heard of it: the request ends, and gives back its place in the queue."""
    for number in range(8 * (BATCH + QUEUE)):
        call = long_answer(engine)
        reading = asyncio.ensure_future(first(call))
        await asyncio.sleep(number % 8 * 0.003)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await asyncio.sleep(0.06)  # a place is free once the model has looked
    await idle(stand_in)
    answers = await asyncio.gather(*(engine.generate(PROMPT, 3) for _ in range(BATCH + QUEUE)))
    assert all(len(answer.ids) == 3 for answer in answers)


async def test_cancel_right_at_the_end(engine: EngineClient, stand_in: StandIn) -> None:
    """Asked about cancellation after the last response, Triton crashes: nobody asks."""
    pid = stand_in.server.pid
    for length in (1, 2, 3) * 10:
        call = engine.stream(engine.request(PROMPT, length, streaming=True))
        await first(call)
        call.cancel()
    assert len((await engine.generate(PROMPT, 3)).ids) == 3
    assert stand_in.server.pid == pid
    assert stand_in.server.starts == 1


async def test_full_queue_is_refused_at_once(engine: EngineClient, stand_in: StandIn) -> None:
    calls = [long_answer(engine) for _ in range(BATCH + QUEUE)]
    reading = [asyncio.ensure_future(first(call)) for call in calls]
    await asyncio.wait(reading[:BATCH])
    await asyncio.sleep(0.2)
    with pytest.raises(InferenceServerException, match="the queue is full: 5 requests are open"):
        await engine.generate(PROMPT, 1)
    before = len(stand_in.events("abort"))
    for call in calls:  # also those that wait
        call.cancel()
    await aborts(stand_in, before + BATCH + QUEUE)
    await asyncio.gather(*reading, return_exceptions=True)
    await idle(stand_in)  # the places are free a moment after the aborts
    assert len((await engine.generate(PROMPT, 3)).ids) == 3


async def test_stop_at_once(engine: EngineClient, stand_in: StandIn) -> None:
    """A stop may overtake the request that it is for; then the answer is complete. In no case does it hang."""
    for number in range(20):
        running = asyncio.ensure_future(engine.generate(PROMPT, 8, request_id=f"at-once-{number}", ignore_eos=True))
        await engine.generate(PROMPT, 1, stop=True, request_id=f"at-once-{number}")
        answer = await asyncio.wait_for(running, 10)
        assert (answer.finish_reason == "cancelled") == (len(answer.ids) < 8)


async def test_stop_by_request_id(engine: EngineClient, stand_in: StandIn) -> None:
    call = long_answer(engine, request_id="to-be-stopped")
    await first(call)
    stopped = await engine.generate(PROMPT, 1, stop=True, request_id="to-be-stopped")
    assert stopped.responses == []
    reasons = []
    async for result, error in call:
        assert error is None
        reason = result.as_numpy("finish_reason")
        if reason is not None:
            reasons.append(reason[0, 0])
    assert reasons == [b"cancelled"]
    with pytest.raises(InferenceServerException, match="stop: a request id is needed"):
        await engine.generate(PROMPT, 1, stop=True)
    await idle(stand_in)


async def test_metrics(engine: EngineClient, stand_in: StandIn) -> None:
    async def read() -> dict[str, float]:
        url = f"http://127.0.0.1:{stand_in.server.ports['metrics']}/metrics"
        async with httpx.AsyncClient(trust_env=False) as client:
            lines = (await client.get(url)).text.splitlines()
        ours = [line for line in lines if line.startswith(("nv_trt_llm", "tritongate_llm")) and ENGINE in line]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in ours)}

    def of(values: dict[str, float], *parts: str) -> float:
        (value,) = [value for name, value in values.items() if all(part in name for part in parts)]
        return value

    before = await read()
    call = long_answer(engine)
    await first(call)
    deadline = time.monotonic() + 10
    while of(await read(), "nv_trt_llm_request_metrics", 'request_type="active"') != 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert of(await read(), "nv_trt_llm_kv_cache_block_metrics", 'type="max"') == 1000
    assert of(await read(), "nv_trt_llm_kv_cache_block_metrics", 'type="free"') == 999
    call.cancel()
    await idle(stand_in)
    await engine.generate(PROMPT, 7)
    after = await read()
    assert of(after, "tokens", '"input"') == of(before, "tokens", '"input"') + 2 * len(PROMPT)
    assert of(after, "tokens", '"output"') >= of(before, "tokens", '"output"') + 8


async def test_an_llm_that_does_not_load(tmp_path: Path) -> None:
    with (
        pytest.raises(TritonFailed, match="no kernel image is available"),
        stand_in_triton(tmp_path, {"fail_to_load": "CUDA error: no kernel image is available"}),
    ):
        pass


async def test_a_setting_that_the_llm_does_not_know(tmp_path: Path) -> None:
    with (
        pytest.raises(TritonFailed, match="invalid argument: enable_magic"),
        stand_in_triton(tmp_path, llm_args='{"enable_magic": true}'),
    ):
        pass


async def test_an_llm_that_dies(tmp_path: Path) -> None:
    """Everyone who waits gets an error, and the supervisor starts the model anew."""
    with stand_in_triton(tmp_path, {"die_token": 41_000}) as dying:
        async with EngineClient(grpc_address(dying.server), ENGINE) as engine:
            calls = [long_answer(engine), engine.stream(engine.request([41_000], 5, streaming=True))]
            for call in calls:
                with pytest.raises(InferenceServerException, match="the engine has died: TensorRT-LLM's processes"):
                    async for _, error in call:
                        if error is not None:
                            raise error
            deadline = time.monotonic() + 60
            while dying.server.starts < 2 or not dying.server.ready:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        async with EngineClient(grpc_address(dying.server), ENGINE) as engine:
            assert len((await engine.generate(PROMPT, 3)).ids) == 3


async def test_release_1_2(tmp_path: Path) -> None:
    """What the sampler of that release takes and passes over is refused; so is what it cannot say."""
    refused: dict[str, Any] = {
        "repetition_penalty": 1.5,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "bad_words_list": word_list([70]),
        "return_prompt_log_probs": True,
    }
    with stand_in_triton(tmp_path, release="1.2.1") as old:
        async with EngineClient(grpc_address(old.server), ENGINE) as engine:
            for name, value in refused.items():
                with pytest.raises(InferenceServerException, match=f"{name}: .*(sampler|release)"):
                    await engine.generate(PROMPT, 2, **{name: value})
            answer = await engine.generate(PROMPT, 3, return_log_probs=True, top_logprobs=2, cache_scope="a")
            assert len(answer.log_probs) == 3


async def test_release_1_2_with_its_other_sampler(tmp_path: Path) -> None:
    with stand_in_triton(tmp_path, release="1.2.1", sampler_type="TRTLLMSampler") as old:
        async with EngineClient(grpc_address(old.server), ENGINE) as engine:
            words = word_list([70], [400, 401])
            await engine.generate(PROMPT, 2, presence_penalty=0.5, bad_words_list=words)
            told = old.events("request")[-1]
            assert told["params"]["presence_penalty"] == 0.5
            assert told["bad_words"] == [[70], [400, 401]]
            assert old.events("load")[0]["sampler_type"] == "TRTLLMSampler"
