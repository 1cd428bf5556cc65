"""Sampling parameters: each one reaches the engine and does what OpenAI's API says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.answers import exactly, user
from tests.support.own_models import tokenizer_of

STORY = {"model": models.CHAT, "messages": user("Tell me a story.")}


def text_of(client: openai.OpenAI, **options: Any) -> str:
    return client.chat.completions.create(**{**STORY, "max_tokens": 16, **options}).choices[0].message.content or ""


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_default_temperature_is_0_7(openai_client: openai.OpenAI, seed: int) -> None:
    """With one seed the text depends on nothing but the distribution: the default's is that of 0.7."""
    default = text_of(openai_client, seed=seed, max_tokens=24)
    assert default == text_of(openai_client, seed=seed, max_tokens=24, temperature=0.7)
    assert default == text_of(openai_client, seed=seed, max_tokens=24, temperature=None, top_p=None)
    assert default != text_of(openai_client, seed=seed, max_tokens=24, temperature=1.6)
    assert default != text_of(openai_client, seed=seed, max_tokens=24, temperature=0)


def test_default_top_p_is_1(openai_client: openai.OpenAI) -> None:
    hot = {"temperature": 1.5, "seed": 5, "max_tokens": 24}
    default = text_of(openai_client, **hot)
    assert default == text_of(openai_client, top_p=1, **hot)
    assert default != text_of(openai_client, top_p=0.5, **hot)


def test_temperature_0_and_top_p_0_are_greedy(openai_client: openai.OpenAI) -> None:
    greedy = text_of(openai_client, temperature=0, seed=1)
    assert greedy == text_of(openai_client, temperature=0, seed=2)
    assert greedy == text_of(openai_client, temperature=2, top_p=0, seed=3)
    assert greedy == text_of(openai_client, temperature=2, top_p=0.000001, seed=4)


def test_without_a_seed_answers_differ(openai_client: openai.OpenAI) -> None:
    assert len({text_of(openai_client, temperature=1.5) for _ in range(3)}) == 3


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
def test_every_seed_of_the_api_works(openai_client: openai.OpenAI, seed: int) -> None:
    assert text_of(openai_client, seed=seed, max_tokens=8) == text_of(openai_client, seed=seed, max_tokens=8)


async def test_equal_seeds_give_equal_texts_side_by_side(async_openai_client: openai.AsyncOpenAI) -> None:
    """Alone, or among others with other seeds: the batch that an answer happens to be in changes nothing."""

    async def answer(seed: int) -> str:
        found = await async_openai_client.chat.completions.create(**STORY, seed=seed, temperature=1, max_tokens=20)  # type: ignore[call-overload]
        return str(found.choices[0].message.content)

    alone = [await answer(seed) for seed in (1, 2)]
    assert alone[0] != alone[1]
    together = await asyncio.gather(*(answer(seed) for seed in (1, 2, 3, 1, 2, 4, 1, 2)))
    assert [together[index] for index in (0, 3, 6)] == [alone[0]] * 3
    assert [together[index] for index in (1, 4, 7)] == [alone[1]] * 3
    assert len(set(together)) == 4


def test_penalties_change_the_text(openai_client: openai.OpenAI) -> None:
    greedy = {"temperature": 0, "seed": 1, "max_tokens": 40}
    plain = text_of(openai_client, **greedy)
    assert text_of(openai_client, frequency_penalty=2, **greedy) != plain
    assert text_of(openai_client, presence_penalty=2, **greedy) != plain
    assert text_of(openai_client, presence_penalty=0, frequency_penalty=0, **greedy) == plain


def test_frequency_counts_and_presence_does_not(openai_client: openai.OpenAI, repository: Path) -> None:
    """A bias writes one word again and again: what grows with each time stops it, what is subtracted once does not."""
    (token,) = tokenizer_of(repository, models.CHAT).encode(" banana", add_special_tokens=False).ids
    biased = {"temperature": 0, "seed": 1, "max_tokens": 24, "logit_bias": {str(token): 40}}
    assert text_of(openai_client, **biased) == " banana" * 24
    assert text_of(openai_client, presence_penalty=2, **biased) == " banana" * 24
    text = text_of(openai_client, frequency_penalty=2, **biased)
    assert text.startswith(" banana" * 5)
    assert text != " banana" * 24


def test_logit_bias_of_100_forces_a_token(openai_client: openai.OpenAI, repository: Path) -> None:
    (token,) = tokenizer_of(repository, models.CHAT).encode(" banana", add_special_tokens=False).ids
    assert text_of(openai_client, logit_bias={str(token): 100}, max_tokens=4) == " banana" * 4


def test_a_guide_holds_against_a_bias(openai_client: openai.OpenAI) -> None:
    text = text_of(openai_client, logit_bias={"2": 100}, response_format=exactly("still"), max_tokens=40)
    assert json.loads(text) == {"answer": "still"}


def test_logit_bias_of_minus_100_bans_a_token(openai_client: openai.OpenAI, repository: Path) -> None:
    greedy = {"temperature": 0, "seed": 1, "max_tokens": 1}
    tokenizer = tokenizer_of(repository, models.CHAT)
    banned: dict[str, int] = {}
    seen = []
    for _ in range(3):
        text = text_of(openai_client, logit_bias=banned, **greedy)
        assert text not in seen
        seen.append(text)
        (token,) = tokenizer.encode(text, add_special_tokens=False).ids
        banned[str(token)] = -100


def test_small_logit_bias_shifts_by_its_value(openai_client: openai.OpenAI, repository: Path) -> None:
    """Log probabilities are the model's own; the bias decides only when it is larger than the distance."""
    request = {**STORY, "temperature": 0, "seed": 1, "max_tokens": 1, "logprobs": True, "top_logprobs": 2}
    (choice,) = openai_client.chat.completions.create(**request).choices
    assert choice.logprobs is not None and choice.logprobs.content
    first, second = choice.logprobs.content[0].top_logprobs
    distance = first.logprob - second.logprob
    assert choice.message.content == first.token
    (token,) = tokenizer_of(repository, models.CHAT).encode(second.token, add_special_tokens=False).ids
    greedy = {"temperature": 0, "seed": 1, "max_tokens": 1}
    below = text_of(openai_client, logit_bias={str(token): distance - 0.1}, **greedy)
    above = text_of(openai_client, logit_bias={str(token): distance + 0.1}, **greedy)
    assert (below, above) == (first.token, second.token)


@pytest.mark.parametrize("bias", [{"49152": 1}, {"999999999999": 1}, {"banana": 1}, {"-1": 1}])
def test_logit_bias_of_no_token_is_refused(openai_client: openai.OpenAI, bias: dict[str, int]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        text_of(openai_client, logit_bias=bias)
    assert caught.value.param is not None and caught.value.param.split(".")[0] == "logit_bias"
