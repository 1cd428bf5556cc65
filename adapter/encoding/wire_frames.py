"""Events of a response as server-sent events: each with its type as the event's name."""

from __future__ import annotations

import orjson

from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError


def frames(wires: list[WireEvent]) -> bytes:
    return b"".join([b"event: %b\ndata: %b\n\n" % (wire.type.encode(), wire.data) for wire in wires])


def error_frame(error: APIError, sequence_number: int) -> bytes:
    """The last event of a stream that cannot go on (OpenAI's ResponseErrorEvent)."""
    event = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": error.code or error.type,
        "message": error.message,
        "param": error.param,
    }
    return b"event: error\ndata: %b\n\n" % orjson.dumps(event)
