"""A generation over the wire: an engine that does as it is told, and does what it should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError
from adapter.generation.events import Event, Finish, TextDelta
from adapter.generation.generation import Generation
from adapter.generation.sampling import Sampling
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel
from adapter.triton.stream import StreamCancelled
from tests.unit.adapter.triton.kserve import KServe, serving

END = 7  # the first of the model's end ids
PLAIN = Sampling(temperature=1.0, top_p=1.0)


def step(ids: list[int], *, reason: str = "", cached: int | None = None, **floats: Any) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name="small_engine")

    def add(name: str, datatype: str, shape: list[int], raw: bytes) -> None:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)

    add("output_ids", "INT32", [len(ids)], np.array(ids, "<i4").tobytes())
    if reason:
        add("finish_reason", "BYTES", [1], len(reason).to_bytes(4, "little") + reason.encode())
    if cached is not None:
        add("cached_tokens", "INT32", [1], cached.to_bytes(4, "little"))
    for name, values in floats.items():
        add(name, "FP32", [len(values)], np.array(values, "<f4").tobytes())
    return response


class Engine:
    """Yields steps; an exception among them ends the stream with its code. `requests` are those it was asked."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.requests: list[pb.ModelInferRequest] = []
        self.sent = 0

    async def __call__(self, request: pb.ModelInferRequest, context: Any) -> AsyncIterator[pb.ModelInferResponse]:
        self.requests.append(request)
        for item in self.steps:
            if isinstance(item, tuple):
                await context.abort(*item)
            elif isinstance(item, float):
                await asyncio.sleep(item)
            else:
                self.sent += 1
                yield item


@asynccontextmanager
async def triton(engine: Engine) -> AsyncIterator[tuple[KServe, TritonChannel]]:
    service = KServe()
    service.generate = engine
    async with serving(service) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        try:
            yield service, channel
        finally:
            await channel.close()


def generation(
    channel: TritonChannel, model: ServedModel, sampling: Sampling = PLAIN, timeout: float = 10.0
) -> Generation:
    return Generation(channel, model, "chatcmpl-1", [1, 2, 3], sampling, streaming=True, timeout=timeout)


async def run(model: ServedModel, engine: Engine, sampling: Sampling = PLAIN) -> list[Event]:
    async with triton(engine) as (_, channel):
        return [event async for event in generation(channel, model, sampling).events()]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_tokens_become_events(model: ServedModel) -> None:
    ids = model.tokenizer.encode("Hello, 日本")
    engine = Engine(*(step([token]) for token in ids), step([END], reason="stop", cached=2), step([]))
    *deltas, finish = await run(model, engine)
    assert text(deltas) == "Hello, 日本"
    assert finish == Finish("stop", 3, len(ids) + 1, 2)
    (request,) = engine.requests
    assert (request.model_name, request.id) == ("small_engine", "chatcmpl-1")


async def test_an_engine_that_names_no_reason(model: ServedModel) -> None:
    ids = model.tokenizer.encode("Hello")
    model = replace(model, outputs=model.outputs - {"finish_reason"})
    assert (await run(model, Engine(step(ids), step([END]))))[-1] == Finish("stop", 3, len(ids) + 1)
    assert (await run(model, Engine(step(ids))))[-1] == Finish("stop", 3, len(ids))
    limited = Sampling(temperature=1.0, top_p=1.0, max_tokens=len(ids))
    assert (await run(model, Engine(step(ids)), limited))[-1] == Finish("length", 3, len(ids))


async def test_the_engines_reason_counts(model: ServedModel) -> None:
    ids = model.tokenizer.encode("Hello")
    assert (await run(model, Engine(step(ids, reason="length"))))[-1] == Finish("length", 3, len(ids))
    assert (await run(model, Engine(step(ids), step([], reason="stop"))))[-1] == Finish("stop", 3, len(ids))


async def test_a_stop_string_frees_the_engine(model: ServedModel) -> None:
    ids = model.tokenizer.encode("one#two")
    engine = Engine(*(step([token]) for token in ids), 30.0, step([END]))
    async with triton(engine) as (service, channel):
        sampling = Sampling(temperature=1.0, top_p=1.0, stop=("#",))
        events = [event async for event in generation(channel, model, sampling).events()]
        assert text(events) == "one"
        assert events[-1] == Finish("stop", 3, len(model.tokenizer.encode("one#")))
        await asyncio.wait_for(service.left.wait(), 5)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.INTERNAL, 502),
        (grpc.StatusCode.NOT_FOUND, 404),
    ],
)
async def test_an_error_in_the_middle(model: ServedModel, code: grpc.StatusCode, status: int) -> None:
    ids = model.tokenizer.encode("ab")
    async with triton(Engine(step(ids), (code, "its words"))) as (_, channel):
        events = generation(channel, model).events()
        assert text([await anext(events)]) == "ab"
        with pytest.raises(APIError) as caught:
            await anext(events)
        assert caught.value.status == status


async def test_log_probabilities_that_the_engine_leaves_out(model: ServedModel) -> None:
    sampling = Sampling(temperature=1.0, top_p=1.0, logprobs=True)
    with pytest.raises(APIError) as caught:
        await run(model, Engine(step([60, 61], output_log_probs=[-1.0])), sampling)
    assert (caught.value.status, caught.value.code) == (502, "model_error")


async def test_log_probabilities_of_every_token_that_is_shown(model: ServedModel) -> None:
    ids = model.tokenizer.encode("Hello world")
    sampling = Sampling(temperature=1.0, top_p=1.0, logprobs=True)
    values = [-float(number) for number in range(len(ids))]
    steps = [step([token], output_log_probs=[value]) for token, value in zip(ids, values, strict=True)]
    events = await run(model, Engine(*steps, step([], reason="stop")), sampling)
    handed = [item for event in events if isinstance(event, TextDelta) for item in event.logprobs or ()]
    assert [(item.token_id, item.logprob) for item in handed] == list(zip(ids, values, strict=True))


async def test_the_client_leaves(model: ServedModel) -> None:
    async with triton(Engine(step([60]), 30.0)) as (service, channel):
        running = generation(channel, model)
        events = running.events()
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(StreamCancelled):
            await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(service.left.wait(), 5)
        assert running.record.cancelled


async def test_the_client_leaves_before_the_first_token(model: ServedModel) -> None:
    engine = Engine(step([60]))
    async with triton(engine) as (_, channel):
        running = generation(channel, model)
        running.cancel()
        with pytest.raises(StreamCancelled):
            await anext(running.events())
        assert engine.requests == []


async def test_an_answer_that_takes_too_long(model: ServedModel) -> None:
    async with triton(Engine(step([60]), 30.0)) as (service, channel):
        events = generation(channel, model, timeout=0.3).events()
        await anext(events)
        with pytest.raises(APIError) as caught:
            await anext(events)
        assert (caught.value.status, caught.value.code) == (504, "timeout")
        await asyncio.wait_for(service.left.wait(), 5)


async def test_a_consumer_that_goes_away_frees_the_engine(model: ServedModel) -> None:
    async with triton(Engine(step([60]), 30.0)) as (service, channel):
        events = generation(channel, model).events()
        await anext(events)
        await events.aclose()
        await asyncio.wait_for(service.left.wait(), 5)


@pytest.mark.parametrize("last", [step([], reason="cancelled"), step([])])
async def test_an_engine_that_ends_without_having_finished(model: ServedModel, last: pb.ModelInferResponse) -> None:
    """A part of an answer is not to be taken for a whole one."""
    with pytest.raises(APIError) as caught:
        await run(model, Engine(step([60, 61]), last))
    assert caught.value.status == 503


async def test_a_reason_that_nobody_knows_reaches_no_client(
    model: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        events = await run(model, Engine(step([60]), step([61], reason="eos <|im_end|>")))
        assert events[-1] == Finish("stop", 3, 2)
    for reason in ("stop", "length"):
        events = await run(model, Engine(step([60], reason=reason)))
        assert events[-1] == Finish(reason, 3, 1)
    fields = [vars(record)["fields"] for record in caplog.records if "finish_reason" in record.message]
    assert fields == [{"model": model.id, "finish_reason": "eos <|im_end|>"}]


async def test_a_failure_after_the_end_does_not_spoil_the_answer(model: ServedModel) -> None:
    events = await run(model, Engine(step([60]), step([END]), 0.05, (grpc.StatusCode.UNAVAILABLE, "Socket closed")))
    assert events[-1] == Finish("stop", 3, 2)


async def test_an_engine_that_does_not_know_the_end_token_is_not_waited_for(model: ServedModel) -> None:
    """Nothing told it of a second end token if it declares neither `stop_token_ids` nor `stop_words_list`."""
    engine = Engine(step([60]), step([8]), *(item for _ in range(200) for item in (step([61]), 0.02)))
    async with triton(engine) as (service, channel):
        events = await asyncio.wait_for(collect(generation(channel, model)), 2)
        assert events[-1] == Finish("stop", 3, 2)
        await asyncio.wait_for(service.left.wait(), 5)


async def collect(running: Generation) -> list[Event]:
    return [event async for event in running.events()]
