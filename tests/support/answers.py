"""Streamed chat completions as the real client hands them out, collected."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from typing import Any

from openai.types.chat import ChatCompletionChunk, ChatCompletionTokenLogprob


@dataclass
class Streamed:
    """All chunks of one streamed answer."""

    chunks: list[ChatCompletionChunk] = field(default_factory=list)

    @property
    def deltas(self) -> list[str]:
        """The text of each chunk that has any."""
        return [choice.delta.content for chunk in self.chunks for choice in chunk.choices if choice.delta.content]

    @property
    def text(self) -> str:
        return "".join(self.deltas)

    @property
    def finish_reason(self) -> str:
        """The one finish reason; it has to stand in the last chunk that has a choice."""
        with_choice = [chunk for chunk in self.chunks if chunk.choices]
        reasons = [chunk.choices[0].finish_reason for chunk in with_choice]
        assert reasons[-1] is not None and not any(reasons[:-1]), reasons
        return reasons[-1]

    @property
    def logprobs(self) -> list[ChatCompletionTokenLogprob]:
        found: list[ChatCompletionTokenLogprob] = []
        for chunk in self.chunks:
            for choice in chunk.choices:
                if choice.logprobs is not None:
                    found += choice.logprobs.content or []
        return found


def collect(stream: Iterable[ChatCompletionChunk]) -> Streamed:
    return Streamed(list(stream))


async def collect_async(stream: AsyncIterable[ChatCompletionChunk]) -> Streamed:
    return Streamed([chunk async for chunk in stream])


def user(text: str) -> list[Any]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def exactly(value: str) -> dict[str, Any]:
    """A `response_format` that leaves one answer: `{"answer": value}`."""
    schema = {
        "type": "object",
        "properties": {"answer": {"const": value}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
