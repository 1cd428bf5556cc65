"""Responses that notice a client's leaving while they are being made."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapter.request_context import RequestContext, context_of

# Seconds beyond the generation's own limit that a client may take to read its answer.
_READ_GRACE = 30.0


class WatchedResponse(Response):
    """`run` makes and sends the answer; `abandon` is called at once when the client leaves meanwhile.

    Args:
        timeout: seconds for the whole answer; a client that reads no further is let go after it.
    """

    def __init__(self, timeout: float) -> None:
        self.background = None
        self._timeout = timeout + _READ_GRACE

    @abstractmethod
    async def run(self, send: Send, context: RequestContext) -> None: ...

    @abstractmethod
    def abandon(self) -> None:
        """Ends the work behind the answer; `run` then returns, or raises CancelledError."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        watcher = asyncio.ensure_future(self._watch(receive, context))
        runner = asyncio.current_task()
        assert runner is not None

        def expire() -> None:
            context.expired = True
            self.abandon()
            runner.cancel()

        timer = asyncio.get_running_loop().call_later(self._timeout, expire)
        try:
            await self.run(send, context)
        except asyncio.CancelledError:
            if not context.abandoned:  # the front door knows what to tell the client, if it can still be told
                raise
        finally:
            timer.cancel()
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self, receive: Receive, context: RequestContext) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        context.abandoned = True
        self.abandon()


async def send_json(send: Send, body: bytes) -> None:
    """The whole answer: a JSON object that is written already."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
