"""A request body may not be larger, nor come in more slowly, than this server allows."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope

from adapter.errors import APIError, too_large

_CHUNK_TIMEOUT = 60.0  # seconds that a client may be silent within its body
_BODY_TIMEOUT = 600.0  # seconds for all of it
_MOST_DIGITS = 18  # of a length


def check_content_length(scope: Scope, limit: int) -> None:
    """Raises APIError, 413, if the request announces more than `limit` bytes."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and (len(value) > _MOST_DIGITS or int(value) > limit):
            raise _too_large(limit)


def limited(receive: Receive, limit: int) -> Receive:
    """`receive`, but it raises APIError: 413 past `limit` bytes, 408 when the body stalls."""
    size = 0
    complete = False
    deadline = asyncio.get_running_loop().time() + _BODY_TIMEOUT

    async def limited_receive() -> Message:
        nonlocal size, complete
        if complete:  # what is left to come is the client's leaving
            return await receive()
        try:
            left = deadline - asyncio.get_running_loop().time()
            message = await asyncio.wait_for(receive(), min(_CHUNK_TIMEOUT, left))
        except asyncio.TimeoutError:
            raise APIError(408, "The request body did not arrive in time.", code="request_timeout") from None
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > limit:
                raise _too_large(limit)
        return message

    return limited_receive


def _too_large(limit: int) -> APIError:
    return too_large(f"The request body is larger than the {limit:,} bytes that this server takes.")
