"""Inputs that are longer than the model's context: refused, or cut where `truncation` allows it."""

from __future__ import annotations

import bisect
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.answers import user
from tests.support.response_client import SHORT, create, text_of

WORDS = "apple pear plum cherry grape melon lemon peach " * 40
INSTRUCTIONS = "Answer in one word."
ANSWER: Any = {"format": {"type": "json_schema", "name": "color", "schema": {"enum": ["red", "green"]}, "strict": True}}
LAST = user("Name three colors.")
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": WORDS}


def talk(turns: int) -> list[dict[str, Any]]:
    said = [[*user(f"{number}: {WORDS}"), {"role": "assistant", "content": "Yes."}] for number in range(turns)]
    return [item for pair in said for item in pair] + LAST


@pytest.fixture(scope="module")
def too_many() -> list[dict[str, Any]]:
    return talk(30)


def test_it_is_refused_unless_it_may_be_cut(openai_client: openai.OpenAI, too_many: list[dict[str, Any]]) -> None:
    for more in ({}, {"truncation": "disabled"}):
        with pytest.raises(openai.BadRequestError) as caught:
            create(openai_client, **{**SHORT, "input": too_many, **more})
        assert (caught.value.param, caught.value.code) == ("input", "context_length_exceeded")


def test_the_oldest_items_are_left_out(openai_client: openai.OpenAI, too_many: list[dict[str, Any]]) -> None:
    """As few as need be, and the instructions stay."""
    # Most of the context is kept for an answer that is soon complete: the prompt is read quickly then.
    asked = {**SHORT, "truncation": "auto", "instructions": INSTRUCTIONS, "max_output_tokens": 7000, "text": ANSWER}
    response = create(openai_client, **{**asked, "input": too_many})
    read = response["usage"]["input_tokens"]
    assert response["truncation"] == "auto" and text_of(response)

    def tokens(kept: int) -> int:
        newest: Any = too_many[-kept:]
        counted = openai_client.responses.input_tokens.count(model=models.CHAT, input=newest, instructions=INSTRUCTIONS)
        return counted.input_tokens

    kept = bisect.bisect_left(range(1, len(too_many)), read, key=tokens) + 1
    assert tokens(kept) == read, "it is no end of the conversation"
    whole = {**asked, "truncation": "disabled"}
    assert text_of(create(openai_client, **{**whole, "input": too_many[-kept:]})) == text_of(response)
    with pytest.raises(openai.BadRequestError):  # one more would not have fitted
        create(openai_client, **{**whole, "input": too_many[-kept - 1 :]})


def test_an_output_goes_with_its_call(openai_client: openai.OpenAI, too_many: list[dict[str, Any]]) -> None:
    said = [CALL, {**OUTPUT, "output": WORDS * 40}, *LAST]
    response = create(openai_client, **{**SHORT, "input": said, "truncation": "auto"})
    assert response["usage"]["input_tokens"] < 100


def test_one_message_that_is_too_long_alone_is_refused(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(openai_client, **{**SHORT, "input": WORDS * 80, "truncation": "auto"})
    assert (caught.value.param, caught.value.code) == ("input", "context_length_exceeded")
