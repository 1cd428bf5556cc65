"""Server-sent events, as OpenAI's API frames them."""

from __future__ import annotations

from adapter.errors import APIError

CONTENT_TYPE = b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


def event(data: bytes) -> bytes:
    """One event; `data` is JSON on one line."""
    return b"data: " + data + b"\n\n"


def error_event(error: APIError) -> bytes:
    """An error after the answer has begun: the status is long gone, so it is an event, and the last one."""
    return event(error.body())
