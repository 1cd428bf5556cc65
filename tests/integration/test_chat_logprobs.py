"""Log probabilities: OpenAI's shape, and values that can be true."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionTokenLogprob

from tests.support import models
from tests.support.answers import collect, user

REQUEST: dict[str, Any] = {
    "model": models.CHAT,
    "messages": user("Name three colors and describe each."),
    "seed": 1,
    "max_tokens": 10,
}


def in_one_piece(client: openai.OpenAI, **options: Any) -> tuple[str, list[ChatCompletionTokenLogprob]]:
    (choice,) = client.chat.completions.create(**REQUEST, logprobs=True, **options).choices
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert choice.logprobs.refusal is None
    return choice.message.content or "", choice.logprobs.content


def test_without_asking_there_are_none(openai_client: openai.OpenAI) -> None:
    assert openai_client.chat.completions.create(**REQUEST).choices[0].logprobs is None
    streamed = collect(openai_client.chat.completions.create(stream=True, **REQUEST))
    assert all(chunk.choices[0].logprobs is None for chunk in streamed.chunks)


def test_one_per_token(openai_client: openai.OpenAI) -> None:
    text, content = in_one_piece(openai_client)
    assert len(content) == 10
    assert "".join(entry.token for entry in content) == text
    for entry in content:
        assert entry.bytes == list(entry.token.encode())
        assert entry.logprob <= 0
        assert entry.top_logprobs == []


@pytest.mark.parametrize("count", [1, 5, 20])
def test_alternatives(openai_client: openai.OpenAI, count: int) -> None:
    _, content = in_one_piece(openai_client, top_logprobs=count, temperature=0)
    for entry in content:
        top = entry.top_logprobs
        assert len(top) == count
        assert len({tuple(one.bytes or []) for one in top}) == count
        values = [one.logprob for one in top]
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1 + 1e-4
        # Greedy: the token that was taken is the likeliest.
        assert (top[0].token, top[0].logprob) == (entry.token, entry.logprob)


def test_alternatives_of_a_sampled_token(openai_client: openai.OpenAI) -> None:
    """Those of the model, before temperature: what was taken is among them with the same value, or less likely."""
    _, content = in_one_piece(openai_client, top_logprobs=5, temperature=1.5)
    taken_otherwise = 0
    for entry in content:
        same = [one for one in entry.top_logprobs if one.bytes == entry.bytes]
        if same:
            assert same[0].logprob == pytest.approx(entry.logprob, abs=1e-5)
        else:
            assert entry.logprob <= entry.top_logprobs[-1].logprob + 1e-5
        taken_otherwise += entry.token != entry.top_logprobs[0].token
    assert taken_otherwise, "at this temperature some token is not the likeliest"


def test_they_do_not_depend_on_temperature(openai_client: openai.OpenAI) -> None:
    first = [in_one_piece(openai_client, temperature=value, top_logprobs=3)[1][0] for value in (0, 0.5, 2)]
    for entry in first[1:]:
        for one, other in zip(entry.top_logprobs, first[0].top_logprobs, strict=True):
            assert one.token == other.token
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


@pytest.mark.parametrize("temperature", [0, 1.2])
def test_streamed_are_the_same(openai_client: openai.OpenAI, temperature: float) -> None:
    _, content = in_one_piece(openai_client, top_logprobs=2, temperature=temperature)
    streamed = collect(
        openai_client.chat.completions.create(
            **REQUEST, temperature=temperature, logprobs=True, top_logprobs=2, stream=True
        )
    )
    assert [entry.token for entry in streamed.logprobs] == [entry.token for entry in content]
    for one, other in zip(streamed.logprobs, content, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [top.token for top in one.top_logprobs] == [top.token for top in other.top_logprobs]


def test_each_chunk_has_those_of_its_own_text(openai_client: openai.OpenAI) -> None:
    streamed = collect(openai_client.chat.completions.create(**REQUEST, logprobs=True, stream=True))
    for chunk in streamed.chunks:
        choice = chunk.choices[0]
        if choice.delta.content:
            assert choice.logprobs is not None and choice.logprobs.content
            assert "".join(entry.token for entry in choice.logprobs.content) == choice.delta.content


def test_alternatives_without_logprobs_are_refused(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(**REQUEST, top_logprobs=2)
    assert caught.value.param == "top_logprobs"
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(**REQUEST, logprobs=True, top_logprobs=21)
    assert caught.value.param == "top_logprobs"
