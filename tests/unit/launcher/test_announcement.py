from __future__ import annotations

import json
import shlex
import types
from typing import Any

from adapter.triton.model import Kind
from launcher.announcement import announcement
from launcher.served_models import ServedModels

URL = "http://127.0.0.1:8000/v1"


def served(*models: tuple[str, Kind]) -> ServedModels:
    described: list[Any] = [types.SimpleNamespace(id=name, kind=kind) for name, kind in models]
    return ServedModels("2.51.0", described, [], [])


def command(text: str) -> list[str]:
    """The example as a shell reads it."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.lstrip().startswith("curl"))
    return shlex.split("\n".join(lines[start : start + 2]).replace("\\\n", ""))


def test_example_is_a_valid_chat_request() -> None:
    models = served(("e/mbed", Kind.EMBEDDING), ("qwen/chat:1", Kind.CHAT))
    text = announcement(URL, models, with_key=False, hint="Triton's log: x")
    assert f"Tritongate is ready: {URL}" in text
    words = command(text)
    assert words[1] == f"{URL}/chat/completions"
    assert json.loads(words[words.index("-d") + 1])["model"] == "qwen/chat:1"
    assert "authorization" not in text
    assert "Triton's log: x. Ctrl-C stops." in text


def test_example_without_a_chat_model_embeds() -> None:
    words = command(announcement(URL, served(("e", Kind.EMBEDDING)), with_key=False, hint="h"))
    assert words[1] == f"{URL}/embeddings"
    assert json.loads(words[words.index("-d") + 1]) == {"model": "e", "input": "hello"}


def test_example_with_keys_shows_where_the_key_goes() -> None:
    words = command(announcement(URL, served(("c", Kind.CHAT)), with_key=True, hint="h"))
    assert "authorization: Bearer YOUR_KEY" in words


def test_no_model_yet() -> None:
    text = announcement(URL, served(), with_key=False, hint="h")
    assert "serves no model yet" in text and "curl" not in text
