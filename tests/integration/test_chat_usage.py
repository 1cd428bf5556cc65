"""What a streamed answer says of usage: the reference service's way, OpenAI's way, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import Streamed, collect, user

REQUEST = {"model": models.CHAT, "messages": user("Tell me a story."), "seed": 4, "max_tokens": 12}


def check_continuous(streamed: Streamed) -> None:
    """Every chunk has the counts so far; the last has the complete ones."""
    usages = [chunk.usage for chunk in streamed.chunks]
    assert all(usage is not None for usage in usages)
    counts = [usage.completion_tokens for usage in usages if usage is not None]
    assert counts[0] == 0 and counts[-1] == 12
    assert counts == sorted(counts)
    assert len(set(counts)) > 5, "the counts do not run along"
    for usage in usages:
        assert usage is not None
        assert usage.prompt_tokens == usages[0].prompt_tokens > 0  # type: ignore[union-attr]
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert all(chunk.choices for chunk in streamed.chunks)


def check_final(streamed: Streamed) -> None:
    """OpenAI's include_usage: `usage` is null but in one last chunk, which has no choices."""
    *before, last = streamed.chunks
    assert last.choices == []
    assert last.usage is not None and last.usage.completion_tokens == 12
    assert last.usage.total_tokens == last.usage.prompt_tokens + 12
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set and chunk.choices for chunk in before)
    assert before[-1].choices[0].finish_reason == "length"


def check_none(streamed: Streamed) -> None:
    assert all(chunk.choices and "usage" not in chunk.model_fields_set for chunk in streamed.chunks)
    assert streamed.finish_reason == "length"


def test_without_stream_options_every_chunk_has_usage(openai_client: openai.OpenAI) -> None:
    check_continuous(collect(openai_client.chat.completions.create(stream=True, **REQUEST)))


def test_running_count_is_that_of_the_text_so_far(openai_client: openai.OpenAI) -> None:
    """With log probabilities each chunk also says which tokens it holds."""
    streamed = collect(openai_client.chat.completions.create(stream=True, logprobs=True, **REQUEST))
    tokens = 0
    for chunk in streamed.chunks:
        logprobs = chunk.choices[0].logprobs
        tokens += len(logprobs.content or []) if logprobs is not None else 0
        assert chunk.usage is not None and chunk.usage.completion_tokens == tokens
    assert tokens == 12


@pytest.mark.parametrize(
    ("options", "check"),
    [
        pytest.param({"include_usage": True}, check_final, id="true"),
        pytest.param({"include_usage": False}, check_none, id="false"),
        pytest.param({}, check_none, id="empty"),
    ],
)
def test_stream_options(
    openai_client: openai.OpenAI, options: dict[str, bool], check: Callable[[Streamed], None]
) -> None:
    check(collect(openai_client.chat.completions.create(stream=True, stream_options=options, **REQUEST)))


@pytest.mark.parametrize(
    ("setting", "check"),
    [("continuous", check_continuous), ("final", check_final), ("none", check_none)],
)
def test_servers_default(
    start_adapter: Callable[..., AdapterProcess], setting: str, check: Callable[[Streamed], None]
) -> None:
    adapter = start_adapter(stream_usage=setting)
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0) as client:
        check(collect(client.chat.completions.create(stream=True, **REQUEST)))
        # The request's own wish comes first.
        wish = {"include_usage": setting == "none"}
        other = check_final if setting == "none" else check_none
        other(collect(client.chat.completions.create(stream=True, stream_options=wish, **REQUEST)))


def test_frames_on_the_wire(adapter_url: str) -> None:
    """Server-sent events as the format has them: `data:` lines with JSON, an empty line after each, `[DONE]` last."""
    with httpx.stream(
        "POST", f"{adapter_url}/v1/chat/completions", json={**REQUEST, "stream": True}, timeout=60.0
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        body = response.read().decode()
    assert body.endswith("\n\n")
    *events, done = body[:-2].split("\n\n")
    assert done == "data: [DONE]"
    for event in events:
        assert event.startswith("data: ") and "\n" not in event
        assert json.loads(event[6:])["object"] == "chat.completion.chunk"
