"""Tokens of texts and chats, and back, against the `tokenizers` library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support import models
from tests.support.own_models import smollm2_prompt, tokenizer_of

TEXT = "Grüße, 世界 🙂 and more."


def post(url: str, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/{path}", json=body, timeout=60.0)


@pytest.mark.parametrize("model", models.ALL)
def test_there_and_back(adapter_url: str, repository: Path, model: str) -> None:
    tokenizer = tokenizer_of(repository, model)
    for special in (True, False):
        answer = post(
            adapter_url, "tokenize", model=model, prompt=TEXT, add_special_tokens=special, return_token_strs=True
        ).json()
        wanted = tokenizer.encode(TEXT, add_special_tokens=special)
        assert answer["tokens"] == wanted.ids and answer["count"] == len(wanted.ids)
        assert answer["token_strs"] == [tokenizer.id_to_token(token) for token in wanted.ids]
        back = post(adapter_url, "detokenize", model=model, tokens=wanted.ids).json()
        assert back == {"prompt": tokenizer.decode(wanted.ids, skip_special_tokens=False)}
    assert answer["max_model_len"] == (256 if model == models.EMBEDDING else 8192)
    assert post(adapter_url, "tokenize", model=model, prompt=TEXT).json()["token_strs"] is None


def test_messages_are_what_a_completion_counts(
    adapter_url: str, repository: Path, openai_client: openai.OpenAI
) -> None:
    messages: list[Any] = [{"role": "user", "content": "Hello there"}]
    answer = post(adapter_url, "tokenize", model=models.CHAT, messages=messages).json()
    prompt = smollm2_prompt(("user", "Hello there"))
    assert answer["tokens"] == tokenizer_of(repository, models.CHAT).encode(prompt, add_special_tokens=False).ids
    completion = openai_client.chat.completions.create(model=models.CHAT, messages=messages, max_tokens=1)
    assert completion.usage is not None and completion.usage.prompt_tokens == answer["count"]


def test_tools_and_files_are_what_a_completion_counts(adapter_url: str, openai_client: openai.OpenAI) -> None:
    data = "data:text/plain;base64,SGVsbG8gd29ybGQ="
    part = {"type": "file", "file": {"filename": "a.txt", "file_data": data}}
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Look"}, part]}]
    tools: list[Any] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    answer = post(adapter_url, "tokenize", model=models.CHAT, messages=messages, tools=tools).json()
    completion = openai_client.chat.completions.create(model=models.CHAT, messages=messages, tools=tools, max_tokens=1)
    assert completion.usage is not None and completion.usage.prompt_tokens == answer["count"]
    plain = post(adapter_url, "tokenize", model=models.CHAT, messages=messages).json()
    assert plain["count"] < answer["count"]


def test_an_empty_text(adapter_url: str) -> None:
    answer = post(adapter_url, "tokenize", model=models.CHAT, prompt="").json()
    assert (answer["count"], answer["tokens"]) == (0, [])


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "messages"),
        ("tokenize", {"prompt": ["a"]}, "prompt"),
        ("tokenize", {"prompt": "a", "colour": 1}, "colour"),
        ("tokenize", {"messages": []}, "messages"),
        ("tokenize", {"prompt": "a", "add_generation_prompt": False}, "add_generation_prompt"),
        ("detokenize", {}, "tokens"),
        ("detokenize", {"tokens": []}, "tokens"),
        ("detokenize", {"tokens": [1, "a"]}, "tokens[1]"),
        ("detokenize", {"tokens": [1, True]}, "tokens[1]"),
        ("detokenize", {"tokens": [1, -1]}, "tokens[1]"),
        ("detokenize", {"tokens": [1, 10**7]}, "tokens[1]"),
    ],
    ids=str,
)
def test_wrong_bodies(adapter_url: str, path: str, body: dict[str, Any], param: str) -> None:
    response = post(adapter_url, path, model=models.CHAT, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_an_embedding_model_has_no_chat(adapter_url: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    error = post(adapter_url, "tokenize", model=models.EMBEDDING, messages=messages).json()["error"]
    assert (error["param"], error["code"]) == ("model", "model_not_supported")
    assert post(adapter_url, "tokenize", model="nobody/nothing", prompt="a").status_code == 404
