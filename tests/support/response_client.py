"""Responses as they come over the wire, asked for with the real client, and checked whole.

The client's own objects leave out what they do not know and make other numbers of some: what is compared here is the
JSON itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.response_fold import ResponseFold
from tests.support.response_models import check_event, check_response

Body = dict[str, Any]

NO_END = {"2": -100}
"""A `logit_bias` that bans the end token of `models.CHAT`: the answer is as long as it may be."""

SHORT: Body = {
    "model": models.CHAT,
    "input": "Name three colors.",
    "temperature": 0,
    "max_output_tokens": 8,
    "extra_body": {"seed": 1},
}
"""A request that is answered soon, always the same way."""

ENDLESS: Body = {
    "model": models.CHAT,
    "input": "Tell me a story.",
    "max_output_tokens": 4000,
    "extra_body": {"logit_bias": NO_END},
}
"""A request that goes on for many seconds."""

ENDED = ("completed", "incomplete", "failed", "cancelled")


def client_for(adapter: AdapterProcess, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=adapter.base_url, api_key=key, max_retries=0, timeout=60.0)


def create(client: openai.OpenAI, **asked: Any) -> Body:
    body: Body = client.responses.with_raw_response.create(**asked).http_response.json()
    check_response(body)
    return body


def retrieve(client: openai.OpenAI, response_id: str, **more: Any) -> Body:
    body: Body = client.responses.with_raw_response.retrieve(response_id, **more).http_response.json()
    check_response(body)
    return body


def cancel(client: openai.OpenAI, response_id: str) -> Body:
    body: Body = client.responses.with_raw_response.cancel(response_id).http_response.json()
    check_response(body)
    return body


def post(adapter_url: str, body: Body, path: str = "/v1/responses") -> httpx.Response:
    return httpx.post(adapter_url + path, json=body, timeout=60.0, trust_env=False)


def events(client: openai.OpenAI, **asked: Any) -> Iterator[Body]:
    """Events of a new response, each of them checked by itself."""
    with client.responses.with_streaming_response.create(stream=True, **asked) as answer:
        yield from _events(answer)


def resumed(client: openai.OpenAI, response_id: str, starting_after: int | None = None) -> Iterator[Body]:
    """Events of a response that there is already."""
    more = {} if starting_after is None else {"starting_after": starting_after}
    with client.responses.with_streaming_response.retrieve(response_id, stream=True, **more) as answer:
        yield from _events(answer)


def stream(client: openai.OpenAI, **asked: Any) -> tuple[list[Body], Body]:
    """All the events, and the response that they make: the one that the last of them shows."""
    fold, told = ResponseFold(), []
    for event in events(client, **asked):
        fold.add(event)
        told.append(event)
    assert fold.ended
    assert told[-1]["response"] == fold.response
    check_response(fold.response)
    return told, fold.response


def _events(answer: Any) -> Iterator[Body]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    named = None
    for line in answer.iter_lines():
        if line.startswith("event: "):
            named = line.removeprefix("event: ")
        elif line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            assert named == event["type"]
            check_event(event)
            yield event


def text_of(response: Body) -> str:
    """The texts of its messages, one after the other."""
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def wait_for(client: openai.OpenAI, response_id: str, *statuses: str, timeout: float = 40.0) -> Body:
    """Reads the response until it has one of these statuses; none given: until it has ended."""
    deadline = time.monotonic() + timeout
    while True:
        body = retrieve(client, response_id)
        if body["status"] in (statuses or ENDED):
            return body
        assert time.monotonic() < deadline, f"still {body['status']}"
        time.sleep(0.1)


@dataclass
class Followed:
    """A stream that a thread of its own reads to its end.

    error: what the real client raised; None if the stream was complete.
    """

    events: list[Body] = field(default_factory=list)
    error: Exception | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def join(self, timeout: float) -> None:
        assert self.thread is not None
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the stream hangs"


def follow(told: Callable[[], Iterator[Body]]) -> Followed:
    """Reads in the background; returns when the first text has come, or the end."""
    followed = Followed()

    def read() -> None:
        try:
            for event in told():
                followed.events.append(event)
                if event["type"].endswith(".delta"):
                    followed.begun.set()
        except Exception as error:
            followed.error = error
        finally:
            followed.begun.set()

    followed.thread = threading.Thread(target=read, daemon=True)
    followed.thread.start()
    assert followed.begun.wait(60), "no first text"
    return followed
