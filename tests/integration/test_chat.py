"""Chat completions through the real client: streamed and in one piece, how they end, and what they count."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.answers import collect, collect_async, user
from tests.support.engine_client import EngineClient
from tests.support.own_models import smollm2_prompt, tokenizer_of, triton_name

QUESTION = "Name three colors and describe each."
IM_END = 2  # `<|im_end|>` of SmolLM2
# Varied sampling: what holds for each of them holds for the pipeline, not for one lucky path through it.
SAMPLINGS = [
    pytest.param({"temperature": 0, "seed": 1}, id="greedy"),
    pytest.param({"temperature": 1.2, "top_p": 0.9, "seed": 7}, id="hot"),
    pytest.param({"seed": 3}, id="defaults"),
]


def test_answers_in_one_piece(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=models.GOOD_CHAT, messages=user("What is the capital of France?"), temperature=0, max_tokens=40
    )
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == models.GOOD_CHAT
    assert answer.system_fingerprint
    (choice,) = answer.choices
    assert choice.index == 0
    assert choice.message.role == "assistant"
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"


async def test_answers_the_asynchronous_client(async_openai_client: openai.AsyncOpenAI) -> None:
    create = async_openai_client.chat.completions.create
    sampling = {"temperature": 0, "seed": 1, "max_tokens": 16}
    whole = await create(model=models.CHAT, messages=user(QUESTION), **sampling)  # type: ignore[call-overload]
    stream = await create(model=models.CHAT, messages=user(QUESTION), stream=True, **sampling)  # type: ignore[call-overload]
    streamed = await collect_async(stream)
    assert streamed.text == whole.choices[0].message.content
    assert streamed.finish_reason == whole.choices[0].finish_reason == "length"


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_streamed_equals_one_piece(openai_client: openai.OpenAI, sampling: dict[str, float]) -> None:
    request = {"model": models.CHAT, "messages": user(QUESTION), "max_tokens": 24, **sampling}
    whole = openai_client.chat.completions.create(**request)
    streamed = collect(openai_client.chat.completions.create(stream=True, **request))
    assert streamed.text == whole.choices[0].message.content
    assert len(streamed.deltas) > 5, "it was not streamed"
    assert streamed.finish_reason == whole.choices[0].finish_reason
    usage = streamed.chunks[-1].usage
    assert usage is not None and whole.usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)


def test_chunks_have_one_identity(openai_client: openai.OpenAI) -> None:
    streamed = collect(
        openai_client.chat.completions.create(
            model=models.CHAT, messages=user(QUESTION), max_tokens=8, stream=True, seed=1
        )
    )
    first = streamed.chunks[0]
    assert first.object == "chat.completion.chunk" and first.id.startswith("chatcmpl-")
    for chunk in streamed.chunks:
        assert (chunk.id, chunk.created, chunk.model) == (first.id, first.created, models.CHAT)
        assert chunk.system_fingerprint == first.system_fingerprint
    roles = [chunk.choices[0].delta.role for chunk in streamed.chunks]
    assert roles == ["assistant"] + [None] * (len(roles) - 1)
    other = openai_client.chat.completions.create(model=models.CHAT, messages=user(QUESTION), max_tokens=1)
    assert other.id != first.id
    assert other.system_fingerprint == first.system_fingerprint


async def test_usage_and_text_are_the_engines_own(
    openai_client: openai.OpenAI, triton: TritonServer, repository: Path
) -> None:
    """Against the engine asked directly, with a prompt written by hand and tokenized by `tokenizers` itself."""
    tokenizer = tokenizer_of(repository, models.CHAT)
    prompt = tokenizer.encode(smollm2_prompt(("user", QUESTION)), add_special_tokens=False).ids
    async with EngineClient(triton.grpc_url.removeprefix("grpc://"), f"{triton_name(models.CHAT)}_engine") as engine:
        direct = await engine.generate(prompt, 20, runtime_top_k=1, seed=5, end_id=IM_END)
    answer = openai_client.chat.completions.create(
        model=models.CHAT, messages=user(QUESTION), max_tokens=20, temperature=0, seed=5
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.usage.completion_tokens == len(direct.ids) == 20
    assert answer.usage.total_tokens == len(prompt) + 20
    assert answer.choices[0].message.content == tokenizer.decode(direct.ids)


def test_the_end_token_is_counted_and_not_shown(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=models.CHAT,
        messages=user("Say hello."),
        logit_bias={str(IM_END): 100},
        logprobs=True,
        max_tokens=5,
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content == ""
    assert choice.logprobs is not None and choice.logprobs.content == []
    assert answer.usage is not None and answer.usage.completion_tokens == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_ends_at_the_length(openai_client: openai.OpenAI, name: str, stream: bool) -> None:
    request = {"model": models.CHAT, "messages": user(QUESTION), "temperature": 0, name: 3}
    if stream:
        streamed = collect(openai_client.chat.completions.create(stream=True, **request))
        reason, usage = streamed.finish_reason, streamed.chunks[-1].usage
    else:
        answer = openai_client.chat.completions.create(**request)
        reason, usage = answer.choices[0].finish_reason, answer.usage
    assert reason == "length"
    assert usage is not None and usage.completion_tokens == 3


def test_ends_by_itself_without_a_limit(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=models.GOOD_CHAT,
        messages=user("What is 2+2? Answer with one number."),
        temperature=0,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert "4" in (answer.choices[0].message.content or "")
    assert answer.usage is not None and answer.usage.completion_tokens < 40


def test_harmless_fields_are_taken(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=models.CHAT,
        messages=user(QUESTION),
        max_tokens=2,
        user="somebody",
        metadata={"purpose": "test"},
        n=1,
        store=False,
        top_p=None,
        stop=None,
        temperature=None,
    )
    assert answer.usage is not None and answer.usage.completion_tokens == 2
