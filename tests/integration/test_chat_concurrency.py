"""Many answers at the same time: each one complete, and none with a piece of another's."""

from __future__ import annotations

import asyncio
import json

import openai

from tests.support import models
from tests.support.answers import collect_async, exactly, user
from tests.support.metrics import Metrics, wait_until_idle

STREAMS = 32


async def test_32_streams_are_not_mixed_up(async_openai_client: openai.AsyncOpenAI, adapter_url: str) -> None:
    """More than the engine has slots for: the others wait their turn."""
    before = Metrics(adapter_url).value("tritongate_completion_tokens_total", model=models.CHAT)

    async def one(number: int) -> tuple[str, int, int]:
        stream = await async_openai_client.chat.completions.create(
            model=models.CHAT,
            messages=user(f"You are number {number}. " * (1 + number % 5)),
            response_format=exactly(f"number {number * 7919} 日本 {chr(0x4E00 + number)}"),  # type: ignore[arg-type]
            max_tokens=60,
            stream=True,
        )
        streamed = await collect_async(stream)
        assert streamed.finish_reason == "stop"
        assert len({chunk.id for chunk in streamed.chunks}) == 1
        usage = streamed.chunks[-1].usage
        assert usage is not None
        return streamed.text, usage.prompt_tokens, usage.completion_tokens

    found = await asyncio.gather(*(one(number) for number in range(STREAMS)))
    for number, (text, _, _) in enumerate(found):
        assert json.loads(text) == {"answer": f"number {number * 7919} 日本 {chr(0x4E00 + number)}"}
    # Prompts of the same number of repetitions differ in their digits only.
    assert len({prompt for _, prompt, _ in found}) >= 5
    after = (await asyncio.to_thread(wait_until_idle, adapter_url)).value
    assert after("tritongate_completion_tokens_total", model=models.CHAT) - before == sum(done for *_, done in found)


async def test_streams_and_whole_answers_and_embeddings_side_by_side(async_openai_client: openai.AsyncOpenAI) -> None:
    client = async_openai_client

    async def streamed(number: int) -> str:
        stream = await client.chat.completions.create(
            model=models.CHAT,
            messages=user("Hi"),
            response_format=exactly(f"s{number}"),  # type: ignore[arg-type]
            stream=True,
            max_tokens=40,
        )
        return (await collect_async(stream)).text

    async def whole(number: int) -> str:
        answer = await client.chat.completions.create(
            model=models.CHAT,
            messages=user("Hi"),
            response_format=exactly(f"w{number}"),  # type: ignore[arg-type]
            max_tokens=40,
        )
        return answer.choices[0].message.content or ""

    async def embedding(number: int) -> str:
        answer = await client.embeddings.create(model=models.EMBEDDING, input=[f"text {number}"] * 3)
        assert len(answer.data) == 3
        return json.dumps({"answer": f"e{number}"})

    jobs = [
        (name, job, number) for number in range(4) for name, job in (("s", streamed), ("w", whole), ("e", embedding))
    ]
    found = await asyncio.gather(*(job(number) for _, job, number in jobs))
    assert [json.loads(text)["answer"] for text in found] == [f"{name}{number}" for name, _, number in jobs]
