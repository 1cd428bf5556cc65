"""The HTTP side of a response: streamed, in one piece, or taken up again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import orjson
from starlette.types import Send

from adapter.encoding.event_stream import DONE
from adapter.encoding.wire_event import WireEvent
from adapter.encoding.wire_frames import error_frame, frames
from adapter.errors import APIError, internal, stopping
from adapter.request_context import RequestContext
from adapter.responses.recording import Recording
from adapter.routes.generation_response import STREAM_HEADERS
from adapter.routes.watched import WatchedResponse, send_json
from adapter.triton.stream import StreamCancelled

Events = AsyncGenerator[list[WireEvent], None]


class StreamedResponse(WatchedResponse):
    """Sends events as they come. Until the first one a failure is an ordinary error answer with its status.

    Args:
        waiting: whether `events` goes on without having to wait.
        abandon: called when the client leaves. None: nobody else is to know, it is only sent no further.
    """

    def __init__(
        self, events: Events, timeout: float, waiting: Callable[[], bool], abandon: Callable[[], None] | None
    ) -> None:
        super().__init__(timeout)
        self._events = events
        self._waiting = waiting
        self._abandon = abandon
        self._sender: asyncio.Task[None] | None = None

    def abandon(self) -> None:
        if self._abandon is not None:
            self._abandon()
        elif self._sender is not None:
            self._sender.cancel()

    async def run(self, send: Send, context: RequestContext) -> None:
        self._sender = asyncio.current_task()
        waiting = self._waiting
        chunks: list[bytes] = []
        begun = False
        sequence = -1
        try:
            async with contextlib.aclosing(self._events) as events:
                try:
                    async for wires in events:
                        if not begun:
                            await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS]})
                            begun = True
                        chunks.append(frames(wires))
                        sequence = wires[-1].sequence_number
                        # What has arrived together is written together.
                        if not waiting():
                            await send({"type": "http.response.body", "body": b"".join(chunks), "more_body": True})
                            chunks.clear()
                    chunks.append(DONE)  # Open Responses has it; OpenAI's clients take it for the end, too
                except APIError as error:
                    if not begun:
                        raise
                    chunks.append(self._failed(error, sequence + 1, context))
                except StreamCancelled:
                    if context.abandoned or context.expired:
                        raise
                    if not begun:
                        raise _cancelled() from None
                    chunks.append(self._failed(_cancelled(), sequence + 1, context))
                except asyncio.CancelledError:
                    if not begun or context.abandoned or context.expired:
                        raise
                    chunks.append(self._failed(stopping(), sequence + 1, context))
                if not begun:
                    await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS]})
                await send({"type": "http.response.body", "body": b"".join(chunks)})
        except StreamCancelled:
            pass  # nobody is left to tell

    def _failed(self, error: APIError, sequence_number: int, context: RequestContext) -> bytes:
        context.error_code = error.code or error.type
        return error_frame(error, sequence_number)


class WholeResponse(WatchedResponse):
    """Sends the response object, which is the fold of the events that would have been streamed."""

    def __init__(self, recording: Recording, timeout: float) -> None:
        super().__init__(timeout)
        self._recording = recording

    def abandon(self) -> None:
        self._recording.cancel()

    async def run(self, send: Send, context: RequestContext) -> None:
        recording = self._recording
        try:
            async with contextlib.aclosing(recording.events()) as events:
                async for _ in events:
                    pass
        except StreamCancelled:
            if context.abandoned or context.expired:
                return
            raise _cancelled() from None
        if recording.failure is not None:
            raise recording.failure
        body = orjson.dumps(recording.writer.body)
        await send_json(send, body)


def _cancelled() -> APIError:
    """From elsewhere: it was deleted, or its lease went to another process."""
    return internal("The response was cancelled.")


class WorkedAnswer(WatchedResponse):
    """Sends the JSON object that `work` comes to; a client that leaves ends the work."""

    def __init__(self, work: Coroutine[Any, Any, dict[str, Any]], timeout: float) -> None:
        super().__init__(timeout)
        self._work = work
        self._task: asyncio.Future[dict[str, Any]] | None = None

    def abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def run(self, send: Send, context: RequestContext) -> None:
        self._task = asyncio.ensure_future(self._work)
        body = orjson.dumps(await self._task)
        await send_json(send, body)
