"""The legacy form of log probabilities."""

from __future__ import annotations

import pytest

from adapter.encoding.legacy_logprobs import LegacyLogprobs, token_text
from adapter.generation.events import TokenLogprob
from tokentext import TextTokenizer


def scored(tokenizer: TextTokenizer, text: str) -> list[TokenLogprob]:
    ids = tokenizer.encode(text)
    return [TokenLogprob(token, -float(index), [(ids[0], -0.5)]) for index, token in enumerate(ids)]


def test_parts_of_a_character(tokenizer: TextTokenizer) -> None:
    """They stand where the character does."""
    found = LegacyLogprobs(tokenizer).encode(scored(tokenizer, "a日b"))
    assert found["tokens"] == ["a", "bytes:\\xe6\\x97", "bytes:\\xa5", "b"]
    assert found["text_offset"] == [0, 1, 1, 2]


@pytest.mark.parametrize("cut", range(5))
def test_pieces_are_those_of_the_whole(tokenizer: TextTokenizer, cut: int) -> None:
    items = scored(tokenizer, "a日b")
    whole = LegacyLogprobs(tokenizer, offset=7).encode(items)
    pieces = LegacyLogprobs(tokenizer, offset=7)
    first, second = pieces.encode(items[:cut]), pieces.encode(items[cut:])
    assert {name: first[name] + second[name] for name in whole} == whole
    assert whole["text_offset"][0] == 7


def test_the_first_token_of_a_prompt_and_the_chosen_one(tokenizer: TextTokenizer) -> None:
    a, b = tokenizer.encode("a") + tokenizer.encode("b")
    items = [TokenLogprob(a, 0.0, []), TokenLogprob(b, -1.0, [(a, -0.5)])]
    found = LegacyLogprobs(tokenizer).encode(items, first_unknown=True)
    assert found["token_logprobs"] == [None, -1.0]
    assert found["top_logprobs"] == [None, {"a": -0.5, "b": -1.0}]


@pytest.mark.parametrize("value", [float("-inf"), float("nan")])
def test_a_probability_of_zero(tokenizer: TextTokenizer, value: float) -> None:
    (token,) = tokenizer.encode("a")
    found = LegacyLogprobs(tokenizer).encode([TokenLogprob(token, value, [(token, value)])])
    assert (found["token_logprobs"], found["top_logprobs"]) == ([-9999.0], [{token_text(tokenizer, token): -9999.0}])
