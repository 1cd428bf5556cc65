"""Messages to token ids: on the event loop when short, off it when long; refused in OpenAI's form."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.generation.prompt import Conversation, chat_prompt
from adapter.triton.model import ServedModel
from tests.unit.adapter.served import served_model, tokenizer_folder
from tokentext import TextTokenizer


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_special_tokens_of_the_template_become_their_ids(model: ServedModel) -> None:
    ids, _ = await chat_prompt(model, Conversation([user("Hi")]))
    start, end = model.tokenizer.token_id("<|start|>"), model.tokenizer.token_id("<|end|>")
    assert ids[0] == start and ids.count(start or 0) == 2 and ids.count(end or 0) == 1
    assert model.tokenizer.decode(ids) == "user\nHi\nassistant\n"


@pytest.mark.parametrize(
    ("messages", "inline"),
    [
        ([user("short")], True),
        ([user("long " * 2000)], False),
        ([user("")] * 500, False),  # many turns of the template's loop
        (
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": '"' + "x" * 10000 + '"'}}],
                }
            ],
            False,
        ),
    ],
)
async def test_long_prompts_do_not_hold_the_event_loop(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch, messages: list[dict[str, Any]], inline: bool
) -> None:
    threads = []
    encode = TextTokenizer.encode_batch

    def noted(self: TextTokenizer, texts: list[str], **options: bool) -> list[list[int]]:
        threads.append(threading.current_thread() is threading.main_thread())
        return encode(self, texts, **options)

    monkeypatch.setattr(TextTokenizer, "encode_batch", noted)
    assert await asyncio.wait_for(chat_prompt(model, Conversation(messages)), 20)
    assert threads == [inline]


async def test_the_template_refuses(model: ServedModel) -> None:
    with pytest.raises(APIError) as caught:
        await chat_prompt(model, Conversation([user("refuse me")]))
    assert (caught.value.status, caught.value.param) == (400, "messages")
    assert "no such content" in caught.value.message


async def test_half_of_a_surrogate_pair_in_the_arguments_of_a_tool_call(model: ServedModel) -> None:
    """The body is valid UTF-8; the template parses the arguments, and so gets it."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "\\ud800"}'}}]
    with pytest.raises(APIError) as caught:
        await chat_prompt(model, Conversation([{"role": "assistant", "content": "", "tool_calls": calls}]))
    assert (caught.value.status, caught.value.param) == (400, "messages")


async def test_a_model_without_a_chat_template(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tokenizer_folder(tmp_path_factory.mktemp("plain") / "t", template=None)
    with pytest.raises(APIError) as caught:
        await chat_prompt(served_model(TextTokenizer(folder)), Conversation([user("Hi")]))
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "model", "model_not_supported")
