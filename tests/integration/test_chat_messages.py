"""Conversations: every role and every form of content arrives in the prompt as the model was trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.own_models import smollm2_prompt, tokenizer_of


def prompt_tokens(client: openai.OpenAI, messages: list[Any], model: str = models.CHAT) -> int:
    answer = client.chat.completions.create(model=model, messages=messages, max_tokens=1)
    assert answer.usage is not None
    return answer.usage.prompt_tokens


def count(repository: Path, prompt: str, model: str = models.CHAT) -> int:
    return len(tokenizer_of(repository, model).encode(prompt, add_special_tokens=False).ids)


TURNS = [
    ("system", "Answer in one word."),
    ("user", "Is water wet?"),
    ("assistant", "Yes."),
    ("user", "And ice?"),
]


def test_system_user_assistant(openai_client: openai.OpenAI, repository: Path) -> None:
    messages = [{"role": role, "content": content} for role, content in TURNS]
    assert prompt_tokens(openai_client, messages) == count(repository, smollm2_prompt(*TURNS))


def test_developer_is_the_system_message(openai_client: openai.OpenAI, repository: Path) -> None:
    messages = [{"role": role.replace("system", "developer"), "content": content} for role, content in TURNS]
    assert prompt_tokens(openai_client, messages) == count(repository, smollm2_prompt(*TURNS))


def test_developer_message_is_obeyed(openai_client: openai.OpenAI) -> None:
    answers = []
    for role in ("system", "developer"):
        answer = openai_client.chat.completions.create(  # type: ignore[call-overload]
            model=models.CHAT,
            messages=[{"role": role, "content": "You are a pirate."}, {"role": "user", "content": "Who are you?"}],
            temperature=0,
            seed=1,
            max_tokens=12,
        )
        answers.append(answer.choices[0].message.content)
    assert answers[0] == answers[1]


def test_parts_are_lines(openai_client: openai.OpenAI, repository: Path) -> None:
    parts = [{"type": "text", "text": "First."}, {"type": "text", "text": "Second."}]
    found = prompt_tokens(openai_client, [{"role": "user", "content": parts}])
    assert found == count(repository, smollm2_prompt(("user", "First.\nSecond.")))


def test_tool_calls_and_their_results(openai_client: openai.OpenAI, repository: Path) -> None:
    """In the form that Qwen2.5 was trained on, written out by hand."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "Weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ]
    prompt = (
        "<|im_start|>system\nHelp.<|im_end|>\n"
        "<|im_start|>user\nWeather in Paris?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nSunny.\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt_tokens(openai_client, messages, models.GOOD_CHAT) == count(repository, prompt, models.GOOD_CHAT)


def test_an_answer_can_be_sent_back_as_it_came(openai_client: openai.OpenAI) -> None:
    first = openai_client.chat.completions.create(
        model=models.CHAT, messages=[{"role": "user", "content": "Hi"}], max_tokens=4
    )
    turns: list[Any] = [
        {"role": "user", "content": "Hi"},
        first.choices[0].message,
        {"role": "user", "content": "Go on."},
    ]
    assert prompt_tokens(openai_client, turns) > 0
    turns[1] = first.choices[0].message.model_dump()
    assert prompt_tokens(openai_client, turns) > 0


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
    ids=["image", "audio"],
)
def test_a_part_that_is_not_text_is_refused(openai_client: openai.OpenAI, part: dict[str, Any]) -> None:
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, part]},
    ]
    with pytest.raises(openai.BadRequestError) as caught:
        prompt_tokens(openai_client, messages)
    assert caught.value.param == "messages[1].content[1]"
    assert part["type"] in caught.value.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": "x", "colour": "red"}], "messages[0].colour"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": None}], "messages[1].content"),
    ],
)
def test_a_wrong_message_is_refused_by_its_place(openai_client: openai.OpenAI, messages: list[Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        prompt_tokens(openai_client, messages)
    assert caught.value.param == param
