"""Several generations side by side, each over its own stream of a Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError
from adapter.generation.choices import Choices
from adapter.generation.events import Event, Finish
from adapter.generation.generation import Generation
from adapter.generation.no_generation import NoGeneration
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel
from adapter.triton.stream import StreamCancelled
from tests.unit.adapter.generation.test_generation import END, PLAIN, Engine, step, text
from tests.unit.adapter.triton.kserve import KServe, serving

FOREVER = 30.0  # seconds that the engine is silent


@dataclass
class Engines:
    """One engine per request, by the request's id; `left` are the ids of those whose stream has ended."""

    engines: dict[str, Engine]
    left: list[str] = field(default_factory=list)

    async def __call__(self, request: pb.ModelInferRequest, context: Any) -> AsyncIterator[pb.ModelInferResponse]:
        try:
            async with aclosing(self.engines[request.id](request, context)) as responses:  # type: ignore[type-var]
                async for response in responses:
                    yield response
        finally:
            self.left.append(request.id)


@asynccontextmanager
async def running(
    model: ServedModel, *steps: list[Any], prompts: list[list[int]] | None = None
) -> AsyncIterator[tuple[Choices, Engines]]:
    """Choices of one engine per list of steps; `prompts` are the different prompts."""
    service = KServe()
    engines = Engines({f"cmpl-{index}": Engine(*each) for index, each in enumerate(steps)})
    service.generate = engines
    each = prompts or [[1, 2, 3]]
    per_prompt = len(steps) // len(each)
    async with serving(service) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        try:
            generations = [
                Generation(channel, model, name, each[index // per_prompt], PLAIN, streaming=True, timeout=10.0)
                for index, name in enumerate(engines.engines)
            ]
            yield Choices(generations, len(each)), engines
        finally:
            await channel.close()


def of(index: int, events: list[tuple[int, Event]]) -> list[Event]:
    return [event for at, event in events if at == index]


def written(model: ServedModel, words: str) -> list[Any]:
    return [*(step([token]) for token in model.tokenizer.encode(words)), step([END], reason="stop"), step([])]


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_every_choice_has_its_own_answer(model: ServedModel, count: int) -> None:
    words = [f"answer {index}" for index in range(count)]
    async with running(model, *(written(model, each) for each in words)) as (choices, _):
        events = [item async for item in choices.events()]
        lengths = [len(model.tokenizer.encode(each)) + 1 for each in words]
        for index in range(count):
            *deltas, finish = of(index, events)
            assert text(deltas) == words[index]
            assert finish == Finish("stop", 3, lengths[index])
        assert choices.prompt_tokens == 3
        assert choices.completion_tokens == sum(lengths)


async def test_choices_do_not_wait_for_each_other(model: ServedModel) -> None:
    async with running(model, [0.3, *written(model, "late")], written(model, "early")) as (choices, _):
        events = [item async for item in choices.events()]
        assert [index for index, event in events if isinstance(event, Finish)] == [1, 0]


async def test_a_failure_of_one_ends_all(model: ServedModel) -> None:
    failing = [step([60]), 0.1, (grpc.StatusCode.INTERNAL, "its words")]
    async with running(model, [step([61]), FOREVER], failing, [FOREVER]) as (choices, engines):
        seen = []
        with pytest.raises(APIError) as caught:
            async for item in choices.events():
                seen.append(item)
        assert caught.value.status == 502
        assert {index for index, _ in seen} == {0, 1}
        await left(engines, 3)
        assert not any(one.record.cancelled for one in choices.generations), "no client has left"


async def test_the_client_leaves(model: ServedModel) -> None:
    async with running(model, [step([60]), FOREVER], [step([61]), FOREVER]) as (choices, engines):
        events = choices.events()
        assert {(await anext(events))[0], (await anext(events))[0]} == {0, 1}
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        choices.cancel()
        with pytest.raises(StreamCancelled):
            await asyncio.wait_for(waiting, 5)
        await left(engines, 2)
        assert all(one.record.cancelled for one in choices.generations)


async def test_a_consumer_that_goes_away_frees_the_engines(model: ServedModel) -> None:
    async with running(model, [step([60]), FOREVER], [step([61]), FOREVER]) as (choices, engines):
        events = choices.events()
        await anext(events)
        await anext(events)
        await events.aclose()
        await left(engines, 2)


async def test_a_reader_that_is_slow_loses_nothing(model: ServedModel) -> None:
    """More events than are kept waiting."""
    words = ["a b c d " * 12, "1 2 3 4 " * 12]
    model = ServedModel(**{**vars(model), "context_length": 4096})
    async with running(model, *(written(model, each) for each in words)) as (choices, _):
        events = []
        async for item in choices.events():
            events.append(item)
            if len(events) == 1:
                await asyncio.sleep(0.3)
                assert choices.waiting
        assert [text(of(index, events)) for index in (0, 1)] == words
        assert len(events) > 64


async def test_each_prompt_counts_once(model: ServedModel) -> None:
    ends = [written(model, "a")] * 4
    async with running(model, *ends, prompts=[[1, 2, 3], [1, 2, 3, 4, 5]]) as (choices, _):
        assert choices.prompt_tokens == 3 + 5
        events = [item async for item in choices.events()]
        finishes = {index: event for index, event in events if isinstance(event, Finish)}
        assert [finishes[index].prompt_tokens for index in range(4)] == [3, 3, 5, 5]
        assert choices.prompt_tokens == 8


async def test_answers_of_no_tokens(model: ServedModel) -> None:
    choices = Choices([NoGeneration(model, [1, 2], "prompt"), NoGeneration(model, [1], "prompt")], 2)
    events = [item async for item in choices.events()]
    assert sorted(events, key=lambda item: item[0]) == [(0, Finish("length", 2, 0)), (1, Finish("length", 1, 0))]
    assert (choices.prompt_tokens, choices.completion_tokens) == (3, 0)


async def left(engines: Engines, count: int) -> None:
    """Waits until so many streams have ended."""

    async def wait() -> None:
        while len(engines.left) < count:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 5)
