"""What fault tests ask of an adapter: health, readiness after a fault, and streams that must end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import Streamed, user

ENDLESS: dict[str, Any] = {
    "model": models.CHAT,
    "messages": user("Tell me a story."),
    "max_tokens": 4000,
    "logit_bias": {"2": -100},
}
"""A request that goes on for many seconds: the end token is banned."""


@contextmanager
def client_of(adapter: AdapterProcess, timeout: float = 60.0) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=timeout) as client:
        yield client


def status(adapter: AdapterProcess, path: str) -> int:
    return httpx.get(adapter.url + path, timeout=30.0, trust_env=False).status_code


def ask(client: openai.OpenAI) -> str:
    """A short answer."""
    answer = client.chat.completions.create(
        model=models.CHAT, messages=user("Hi"), max_tokens=2, logit_bias={"2": -100}
    )
    assert answer.usage is not None and answer.usage.completion_tokens == 2
    return answer.choices[0].message.content or ""


def wait_until_served(adapter: AdapterProcess, timeout: float = 60.0) -> None:
    """Returns when the adapter is ready again and answers."""
    deadline = time.monotonic() + timeout
    while status(adapter, "/health/ready") != 200:
        assert time.monotonic() < deadline, f"not ready again\n{adapter.output()}"
        time.sleep(0.1)
    with client_of(adapter) as client:
        ask(client)


@dataclass
class RunningStream:
    """A stream that a thread of its own reads to its end.

    error: what the real client raised; None if the stream was complete.
    """

    thread: threading.Thread | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    answer: Streamed = field(default_factory=Streamed)
    error: Exception | None = None

    def join(self, timeout: float) -> None:
        assert self.thread is not None
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the stream hangs"


def start_stream(client: openai.OpenAI, **request: Any) -> RunningStream:
    """Returns when the first text has come."""
    running = RunningStream()

    def read() -> None:
        try:
            for chunk in client.chat.completions.create(stream=True, **request):
                running.answer.chunks.append(chunk)
                if chunk.choices and chunk.choices[0].delta.content:
                    running.begun.set()
        except Exception as error:
            running.error = error
        finally:
            running.begun.set()
            running.ended.set()

    running.thread = threading.Thread(target=read, daemon=True)
    running.thread.start()
    assert running.begun.wait(60), "no first token"
    assert running.error is None, running.error
    return running
